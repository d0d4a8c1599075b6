"""Corrupted batches: anew each time, the same for the same seeds, resumed to the bit, and dealt out to processes."""

import re
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from course_lib.data.batches import EpochBatches, PairBatch, pad_batch
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.objectives.corruption import Corrupted
from course_lib.objectives.masked import MaskedBatch, masked_loss
from course_lib.objectives.translation import translation_loss
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.distributed import Process
from course_lib.training.loop import train
from tests.layers.helpers import assert_same, randomized, seeded, wrong
from tests.objectives.in_processes import END, TEXTS, V, corrupted, cut, hide


def masked(seed: int = 1, **changes: int) -> Corrupted[MaskedBatch]:
    return corrupted(hide, seed, **changes)


def spans(seed: int = 1, **changes: int) -> Corrupted[PairBatch]:
    return corrupted(cut, seed, **changes)


class Reader(nn.Module):
    """Reads all real tokens of a row, of both sides. Small, and all of it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(V, 5), nn.Linear(5, V)
        randomized(self)

    def forward(self, ids: Tensor, real: Tensor) -> Tensor:
        x = self.embedding(ids) * real[..., None]
        return self.head(torch.tanh(x + x.mean(dim=1, keepdim=True)))


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return type(one) is type(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("source", [masked, spans])
def test_the_same_seeds_give_the_same_batches_and_another_seed_others(source):
    for one, again, other in islice(zip(source(1), source(1), source(2), strict=True), 5):
        assert same(one, again)
        assert not same(one, other)


def test_one_text_is_hidden_otherwise_each_time():
    """Alone, for among others it would stand in another row each time."""
    source = Corrupted(EpochBatches(pad_batch(TEXTS[5:], END), 1, seed=0), hide, 1)
    seen = {tuple(batch.targets[0].tolist()) for batch in islice(source, 5)}
    assert len(seen) == 5


@pytest.mark.parametrize("corrupt", [hide, cut])
def test_each_batch_is_the_next_of_the_source_corrupted(corrupt):
    clean, generator = EpochBatches(pad_batch(TEXTS, END), 4, seed=0), seeded(1)
    for batch, plain in islice(zip(corrupted(corrupt), clean, strict=True), 4):
        assert same(batch, corrupt(plain, generator))


@pytest.mark.parametrize("source", [masked, spans])
def test_after_load_state_dict_come_the_batches_that_came_after_state_dict(source):
    there = source()
    for _ in range(3):
        next(there)
    state = there.state_dict()
    expected = list(islice(there, 4))
    here = source()
    next(here)
    here.load_state_dict(state)
    assert all(map(same, islice(here, 4), expected))


def training(tmp_path: Any, steps: int, *, accumulate: int = 2) -> list[Tensor]:
    model = Reader()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    checkpoints = Checkpoints(tmp_path, every=2) if tmp_path else None
    train(model, masked(), masked_loss, optimiser, steps=steps, accumulate=accumulate, checkpoints=checkpoints)
    return list(model.parameters())


def test_a_training_that_was_stopped_goes_on_to_the_bit(tmp_path):
    whole = training(None, 6)
    training(tmp_path, 4)
    assert all(map(torch.equal, training(tmp_path, 6), whole))
    assert not all(map(torch.equal, training(None, 4), whole))


@pytest.mark.parametrize("source", [masked, spans])
def test_accumulated_batches_weigh_each_target_the_same(source):
    """One step on three batches together is one on the mean over all their targets."""
    config = TransformerConfig(V, layers=1, heads=2, width=8, hidden=6, dropout=0.0)
    model: nn.Module = Reader() if source is masked else randomized(Transformer(config))
    loss: Any = masked_loss if source is masked else translation_loss
    sums = [loss(model, batch) for batch in islice(source(), 3)]
    assert len({int(targets) for _, targets in sums}) > 1
    mean = torch.stack([total for total, _ in sums]).sum() / sum(int(targets) for _, targets in sums)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(mean, parameters)
    expected = [p.detach() - 0.1 * gradient for p, gradient in zip(parameters, gradients, strict=True)]
    train(model, source(), loss, torch.optim.SGD(parameters, lr=0.1), steps=1, accumulate=3, clip=None)
    for p, wanted in zip(parameters, expected, strict=True):
        assert_same(p.detach(), wanted, atol=1e-10)


@pytest.mark.parametrize("source", [masked, spans])
def test_the_shares_of_two_processes_are_the_batch(source):
    """Each draws the whole batch, and takes its rows of it."""
    for one, two in islice(zip(source(rows=5), source(rows=5), strict=True), 3):
        shares = [Process(rank, 2, torch.device("cpu")).share(batch) for rank, batch in enumerate((one, two))]
        assert [len(share[0]) for share in shares] == [3, 2]
        assert all(type(share) is type(one) for share in shares)
        for whole, first, second in zip(one, *shares, strict=True):
            assert torch.equal(whole[0::2], first)
            assert torch.equal(whole[1::2], second)


def test_a_state_of_other_batches_is_refused():
    state = masked(1).state_dict()
    message = "state is of batches made with {'seed': 1}, and these were made with {'seed': 2}"
    with pytest.raises(ValueError, match=re.escape(message)):
        masked(2).load_state_dict(state)
    message = "state is of batches made with {'kind': 'EpochBatches', 'rows': 6, 'batch_size': 4, 'seed': 0}"
    with pytest.raises(ValueError, match=re.escape(message)):
        masked(1, order=3).load_state_dict(state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": [1, 2]}, "batches must be a source, as EpochBatches is: [1, 2] has no __next__"),
        ({"batches": iter(())}, "has no state_dict"),
        ({"corrupt": None}, "corrupt must be a function of a batch and a torch.Generator, not None"),
        ({"seed": 0.5}, "seed must be an integer, not 0.5"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    arguments = {"batches": EpochBatches(pad_batch(TEXTS, END), 2, seed=0), "corrupt": lambda b, g: b, "seed": 0}
    with pytest.raises(TypeError, match=re.escape(message)):
        Corrupted(**wrong(arguments | changes))
