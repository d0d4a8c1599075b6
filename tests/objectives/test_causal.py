"""Cross-entropy against PyTorch's, with gradients, in every number format; the sums that the training loop weighs."""

import itertools
import math
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.data.batches import IGNORE, epoch_windows, pack_documents
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.objectives.causal import LossSum, causal_loss, cross_entropy, packed_loss
from tests.layers.helpers import assert_same, randn, randomized, seeded, unchecked, wrong

B, T, V = 2, 5, 7
LOGITS = 3 * randn(B, T, V)
TARGETS = torch.randint(V, (B, T), generator=seeded(1))
WITH_IGNORED = TARGETS.masked_fill(torch.tensor([[True, False, False, True, True], [False] * 5]), IGNORE)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("targets", [TARGETS, WITH_IGNORED], ids=["all targets", "some ignored"])
def test_it_is_pytorchs_cross_entropy_with_its_gradient(targets, reduction, smoothing):
    logits = LOGITS.clone().requires_grad_()
    expected = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction=reduction, label_smoothing=smoothing
    )
    loss = cross_entropy(logits, targets, smoothing=smoothing, reduction=reduction)
    assert loss.dtype == torch.float64
    assert_same(loss, expected)
    assert_same(torch.autograd.grad(loss, logits)[0], torch.autograd.grad(expected, logits)[0])
    flat = cross_entropy(logits.flatten(0, 1), targets.flatten(), smoothing=smoothing, reduction=reduction)
    assert_same(flat, loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_half_precision_logits_are_summed_in_float32(dtype, smoothing):
    logits = LOGITS.to(dtype)
    loss = cross_entropy(logits, WITH_IGNORED, smoothing=smoothing, reduction="sum")
    assert loss.dtype == torch.float32
    expected = cross_entropy(logits.double(), WITH_IGNORED, smoothing=smoothing, reduction="sum")
    assert_same(loss.double(), expected, atol=1e-5)  # 7 losses below 10, each some roundings of float32


def test_smoothing_is_the_cross_entropy_with_smoothed_targets():
    """Number by number: 1 - ε + ε/V on the target, ε/V on each other token."""
    smoothing, total = 0.3, 0.0
    for b, t in itertools.product(range(B), range(T)):
        exponentials = [math.exp(x) for x in LOGITS[b, t].tolist()]
        for v in range(V):
            wanted = smoothing / V + (1 - smoothing) * (v == int(TARGETS[b, t]))
            total -= wanted * math.log(exponentials[v] / sum(exponentials))
    assert_same(cross_entropy(LOGITS, TARGETS, smoothing=smoothing), torch.tensor(total / (B * T), dtype=torch.float64))


def test_a_number_worked_out_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])  # P = 1/4 and 3/4
    assert_same(cross_entropy(logits, torch.tensor([0])), torch.tensor(math.log(4.0)), atol=1e-6)
    even = torch.zeros(3, V)
    assert_same(cross_entropy(even, torch.tensor([0, IGNORE, 6])), torch.tensor(math.log(V)), atol=1e-6)
    assert_same(
        cross_entropy(even, torch.tensor([0, IGNORE, 6]), reduction="sum"), torch.tensor(2 * math.log(V)), atol=1e-6
    )


def test_large_logits_do_not_overflow():
    logits = torch.tensor([[1000.0, 0.0, -1000.0]]).requires_grad_()
    loss = cross_entropy(logits, torch.tensor([2]))
    assert_same(loss, torch.tensor(2000.0))
    assert_same(torch.autograd.grad(loss, logits)[0], torch.tensor([[1.0, 0.0, -1.0]]))


def test_an_ignored_place_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(logits, WITH_IGNORED, smoothing=0.1), logits)
    assert torch.equal(gradient.any(dim=-1), WITH_IGNORED != IGNORE)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.uint8])
def test_targets_may_be_stored_small(dtype):
    for count in (V, 200):  # more than int8 can name
        logits = randn(B, T, count)
        with unchecked():  # the annotation names signed integers alone
            assert_same(cross_entropy(logits, TARGETS.to(dtype)), cross_entropy(logits, TARGETS))


# --- the loss of the training loop -----------------------------------------------------------------------------------


class Bigram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(randn(V, V))

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids]


def test_the_causal_loss_is_a_sum_and_a_count_so_that_batches_weigh_as_they_should():
    model, ids = Bigram(), torch.randint(V, (12,), generator=seeded(2))
    expected = functional.cross_entropy(model(ids[:-1]), ids[1:], reduction="sum")
    for batch_size in (1, 2, 3):
        losses = [causal_loss(model, batch) for batch in epoch_windows(ids, 4, batch_size)]
        assert all(isinstance(loss, LossSum) for loss in losses)
        assert_same(torch.stack([loss.total for loss in losses]).sum(), expected)
        counts = [int(loss.targets) for loss in losses]
        assert sum(counts) == len(ids) - 1
        assert batch_size == 3 or len(set(counts)) > 1  # the last batch has fewer
    total, _ = causal_loss(model, (ids[None, :-1], ids[None, 1:]))
    assert_same(torch.autograd.grad(total, model.table)[0], torch.autograd.grad(expected, model.table)[0])


def test_the_loss_of_packed_documents_is_that_of_each_alone():
    documents = [[3, 1, 4], [5, 2], [2, 6, 5, 1, 4], [1]]
    model = randomized(GPT(GPTConfig(V, context=8, layers=2, heads=2, width=8, positions="learned")))
    total, targets = packed_loss(model, pack_documents(documents, length=8, eos_id=0))
    alone = torch.stack(
        [
            functional.cross_entropy(model(torch.tensor([d]))[0], torch.tensor([*d[1:], 0]), reduction="sum")
            for d in documents
        ]
    )
    assert_same(total, alone.sum())
    assert int(targets) == sum(map(len, documents))


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_mean_over_nothing_is_refused_and_a_sum_over_nothing_is_0():
    nothing = torch.full((B, T), IGNORE)
    with pytest.raises(ValueError, match="targets are all -100: this batch has nothing to learn from, leave it out"):
        cross_entropy(LOGITS, nothing)
    logits = LOGITS.clone().requires_grad_()
    total = cross_entropy(logits, nothing, reduction="sum", smoothing=0.1)
    assert total.item() == 0
    assert not torch.autograd.grad(total, logits)[0].any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"logits": LOGITS.long()}, TypeError, "logits must be a tensor of floating-point numbers, (..., V)"),
        ({"logits": LOGITS[0, 0]}, TypeError, "not a tensor of torch.float64 with shape (7,)"),
        ({"logits": [[0.5]]}, TypeError, "not [[0.5]]"),
        (
            {"targets": TARGETS.double()},
            TypeError,
            "targets must be a tensor of integers, not a tensor of torch.float64",
        ),
        ({"targets": TARGETS > 3}, TypeError, "targets must be a tensor of integers, not a tensor of torch.bool"),
        (
            {"targets": TARGETS[:, 1:]},
            ValueError,
            "logits have shape (2, 5, 7) and targets (2, 4): each target needs V logits of its own",
        ),
        (
            {"targets": TARGETS.masked_fill(TARGETS[0, 0] == TARGETS, V)},
            ValueError,
            "targets hold 7: they must be 0 to 6",
        ),
        ({"targets": TARGETS - 7}, ValueError, "they must be 0 to 6, or -100 (ignored)"),
        ({"smoothing": 1.0}, ValueError, "smoothing is 1.0: it must be at least 0 and below 1"),
        ({"smoothing": -0.1}, ValueError, "smoothing is -0.1: it must be at least 0 and below 1"),
        ({"smoothing": math.nan}, ValueError, "smoothing is nan: it must be at least 0 and below 1"),
        ({"reduction": "none"}, ValueError, "reduction is 'none': it must be 'mean' or 'sum'"),
    ],
)
def test_what_is_wrong_is_named(changes, error, message):
    arguments = {"logits": LOGITS, "targets": TARGETS} | changes
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        cross_entropy(**wrong(arguments))
