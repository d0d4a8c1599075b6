"""Next-token prediction as a loss: the mean of -log P(next token | the tokens before it), in nats per token.

Label smoothing: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.

A loss function of the training loop takes a model and a batch, and gives a ``LossSum``: the nats *summed*, and over how
many targets. Only so can the loop weigh batches with different numbers of targets right.

Sizes: B sequences, T positions, V vocabulary.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.arguments import holds_integers, in_error_words
from course_lib.data.batches import IGNORE, PackedBatch
from course_lib.layers.masks import document_mask


class LossSum(NamedTuple):
    """``total / targets`` is the mean loss. ``total`` has the gradient; ``targets`` is their number, on the device."""

    total: Float[Tensor, ""]
    targets: Int[Tensor, ""]


def cross_entropy(
    logits: Float[Tensor, "*B V"],
    targets: Int[Tensor, "*B"],
    *,
    smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    """-log softmax(logits)[target], over all targets that are not ``IGNORE`` (-100).

    ``smoothing`` ε asks for 1 - ε + ε/V on the target and ε/V on each other token, instead of 1 and 0. Raises
    ValueError where there is nothing to learn from: the mean of nothing would be NaN, and silently so. (A *sum* of
    nothing is 0: one of several batches in a step may have no target. The training loop looks at all of them.)
    """
    targets = _checked_targets(logits, targets, smoothing, reduction)
    real = targets != IGNORE
    if reduction == "mean" and not real.any():
        raise ValueError(f"targets are all {IGNORE}: this batch has nothing to learn from, leave it out")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_sum = logits.logsumexp(dim=-1)  # log of the softmax's denominator
    nats = log_sum - logits.gather(-1, targets.masked_fill(~real, 0).unsqueeze(-1)).squeeze(-1)
    if smoothing:
        nats = (1 - smoothing) * nats + smoothing * (log_sum - logits.mean(dim=-1))
    total = nats.masked_fill(~real, 0).sum()
    return total / real.sum() if reduction == "mean" else total


def loss_sum(logits: Float[Tensor, "*B V"], targets: Int[Tensor, "*B"], *, smoothing: float = 0.0) -> LossSum:
    """How a loss function ends: the cross-entropy of all targets that are not ``IGNORE``, and their number."""
    total = cross_entropy(logits, targets, smoothing=smoothing, reduction="sum")
    return LossSum(total, (targets != IGNORE).sum())


def causal_loss(model: nn.Module, batch: tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]) -> LossSum:
    """For ``(ids, targets)``, as ``sample_windows`` gives them: ``targets`` are the ids that come next."""
    ids, targets = batch
    return loss_sum(model(ids), targets)


def packed_loss(model: nn.Module, batch: PackedBatch) -> LossSum:
    """For rows of ``pack_documents``: no document reads from its neighbours, and positions start again with each."""
    logits = model(batch.ids, mask=document_mask(batch.document_ids), positions=batch.positions)
    return loss_sum(logits, batch.targets)


def _checked_targets(logits: Tensor, targets: Tensor, smoothing: float, reduction: str) -> Tensor:
    """``targets`` as int64, where all arguments are as they must be."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim < 2:
        raise TypeError(f"logits must be a tensor of floating-point numbers, (..., V), not {in_error_words(logits)}")
    if not holds_integers(targets):
        raise TypeError(f"targets must be a tensor of integers, not {in_error_words(targets)}")
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)} and targets {tuple(targets.shape)}: "
            "each target needs V logits of its own"
        )
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}: it must be at least 0 and below 1")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}: it must be 'mean' or 'sum'")
    targets = targets.long()
    if targets.device.type != "cpu":
        return targets  # a GPU would have to stop for what follows; it has checks of its own
    wrong = (targets != IGNORE) & ((targets < 0) | (targets >= logits.shape[-1]))
    if wrong.any():
        last = logits.shape[-1] - 1
        raise ValueError(f"targets hold {targets[wrong][0].item()}: they must be 0 to {last}, or {IGNORE} (ignored)")
    return targets
