"""The loss of translation is the sum over the targets of each pair alone, whatever stands beside it in the batch."""

import pytest
import torch
from torch.nn import functional

from course_lib.data.batches import pair_batch
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.objectives.translation import translation_loss
from tests.layers.helpers import assert_same, randomized

V, BEGIN, END = 11, 9, 10
PAIRS = [([3, 1, 4, 1, 5], [2, 7]), ([8], [2, 8, 1]), ([6, 6, 2], [5])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_batch_is_that_of_each_pair_alone(smoothing):
    model = randomized(Transformer(TransformerConfig(V, layers=2, heads=2, width=8, hidden=6, dropout=0.0)))
    batch = pair_batch([s for s, _ in PAIRS], [t for _, t in PAIRS], begin_id=BEGIN, end_id=END)
    total, targets = translation_loss(model, batch, smoothing=smoothing)
    alone = []
    for source, target in PAIRS:
        logits = model(torch.tensor([source]), torch.tensor([[BEGIN, *target]]))[0]
        wanted = torch.tensor([*target, END])
        alone.append(functional.cross_entropy(logits, wanted, reduction="sum", label_smoothing=smoothing))
    assert_same(total, torch.stack(alone).sum())
    assert int(targets) == sum(len(target) + 1 for _, target in PAIRS)
