"""Measuring: the loss of each batch, computed by hand, and a model that is afterwards as it was."""

import contextlib
from typing import Any

import pytest
import torch
from torch import nn

from course_lib.data.batches import EpochBatches, PaddedBatch, pad_batch
from course_lib.objectives.causal import LossSum
from course_lib.training.measuring import evaluating, nats_of
from tests.training.helpers import Small, examples, loss


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def half_frozen() -> Small:
    """In training, but for one part that somebody has frozen."""
    model = Small(dropout=0.5).train()
    model.mix.eval()
    return model


def test_of_each_batch_the_sum_and_its_targets_without_dropout_and_gradients():
    model, batches = half_frozen(), [examples(seed, rows=rows) for seed, rows in enumerate((3, 1, 7))]
    before = modes(model)
    nats, targets = nats_of(model, iter(batches), loss)
    assert modes(model) == before
    expected = [loss(model.eval(), batch) for batch in batches]
    assert nats == [total.item() for total, _ in expected]
    assert targets == [int(count) for _, count in expected]
    assert [type(value) for value in (*nats, *targets)] == [float] * 3 + [int] * 3


def test_no_gradient_is_kept_while_measuring():
    kept = []

    def look(model: nn.Module, batch: Any) -> LossSum:
        kept.append(model(batch[0]).requires_grad)
        return loss(model, batch)

    nats_of(Small(), [examples()], look)
    assert kept == [False]


def test_the_loss_gets_the_batch_as_it_is_on_the_device_of_the_model():
    seen: list[Any] = []

    def look(model: nn.Module, batch: Any) -> LossSum:
        seen.append(batch)
        return LossSum(torch.tensor(1.0), torch.tensor(2))

    assert nats_of(nn.Linear(1, 1, device="meta"), [pad_batch([[1, 2], [3]], 0)], look) == ([1.0], [2])
    assert isinstance(seen[0], PaddedBatch)
    assert {tensor.device.type for tensor in seen[0]} == {"meta"}


def test_an_endless_source_is_refused():
    with pytest.raises(ValueError, match=r"^batches never end: give a list of them, as list\(islice\(batches, 20\)\)"):
        nats_of(Small(), EpochBatches(examples(), 2, seed=0), loss)


def test_the_modes_come_back_after_an_error():
    model = half_frozen()
    before = modes(model)
    with contextlib.suppress(ZeroDivisionError), evaluating(model):
        assert not any(modes(model))
        raise ZeroDivisionError
    assert modes(model) == before
