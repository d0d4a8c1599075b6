"""Permutation as a loss: the mean of -log P(token | the tokens before it in a random order), in nats per token.

Yang et al. 2019, section 2.2 (eq. 3). Each row of each batch draws a *factorisation order* z of its positions: first
z_0, then z_1 given x at z_0, and so on. The tokens stay where they are; only a mask says who comes before whom. Over
many orders, each token is predicted from every set of the others.

The first tokens of an order have little to be predicted from. So only the last 1/K of it are targets, with K = 6; what
comes before is context (section 2.3, eq. 5). Context tokens may all read one another, as in the released code: none of
them is predicted, and so they are encoded as they will be in fine-tuning, from both sides. (In the paper's figure 1 (c)
they read only those before them in the order; that is ``order_mask`` with a context of 0.) The released code draws
spans of one to five neighbours as targets; here each order is as likely as any other.

Sizes: B sequences, T positions, P positions that are predicted.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from course_lib.arguments import check_generator, holds_integers, in_error_words
from course_lib.data.batches import IGNORE
from course_lib.objectives.causal import LossSum, loss_sum


class PermutationBatch(NamedTuple):
    """``mask[b, t, s]`` is True where whoever predicts position t may read token s; ``queries`` are what is predicted.

    The targets stand in their order: ``targets[b, i]`` is the token at ``queries[b, i]``, and may be read by those
    behind i. Rows with fewer targets begin with ``IGNORE``.
    """

    ids: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T T"]
    queries: Int[Tensor, "B P"]
    targets: Int[Tensor, "B P"]


def sample_orders(real: Bool[Tensor, "B T"], generator: torch.Generator) -> Int[Tensor, "B T"]:
    """A factorisation order for each row: ``orders[b, i]`` is the position that comes i-th. Padding comes last."""
    check_generator(generator)
    draws = torch.rand(real.shape, generator=generator, device=generator.device, dtype=torch.float64)
    return draws.masked_fill(~real.to(draws.device), 1.0).argsort(dim=1).to(real.device)  # mps knows no float64


def order_mask(orders: Int[Tensor, "B T"], context: Int[Tensor, "B"]) -> Bool[Tensor, "B T T"]:
    """Each position reads what comes before it in the order, and the first ``context[b]`` of the order in any case.

    So context reads context, itself included. What is predicted does not read itself, nor what comes after it.
    """
    rank = orders.argsort(dim=1)  # the inverse: rank[b, t] says when position t comes
    before = rank[:, None, :] < rank[:, :, None]
    in_context = rank < context[:, None]
    return before | in_context[:, None, :]


def permutation_batch(
    ids: Int[Tensor, "B T"],
    real: Bool[Tensor, "B T"] | None = None,
    *,
    share: float = 1 / 6,
    generator: torch.Generator,
) -> PermutationBatch:
    """Draws an order for each row, whose last ``share`` is to be predicted (rounded; one token at least).

        Corrupted(rows, lambda batch, g: permutation_batch(batch.ids, batch.mask, generator=g), seed=1)

    ``real`` is False at padding, which is neither read nor predicted. With ``share=1`` all tokens are predicted, the
    first of them from nothing.
    """
    if not holds_integers(ids) or ids.ndim != 2 or 0 in ids.shape:
        raise TypeError(f"ids must be a tensor of integers with shape (B, T), not {in_error_words(ids)}")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it must be above 0 and at most 1, as 1/6")
    check_generator(generator)
    if real is None:
        real = torch.ones_like(ids, dtype=torch.bool)
    if not isinstance(real, Tensor) or real.dtype != torch.bool or real.shape != ids.shape:
        raise TypeError(f"real must be a tensor of bool with shape {tuple(ids.shape)}, not {in_error_words(real)}")
    lengths = real.sum(dim=1)
    if not lengths.all():
        raise ValueError(f"real is False in all of row {int(lengths.argmin())}: each row needs a token to predict")
    predicted = (share * lengths).round().long().clamp(min=1)
    orders = sample_orders(real, generator)
    asked = int(predicted.max())
    places = lengths[:, None] - asked + torch.arange(asked, device=ids.device)  # in the order: the last ones
    queries = orders.gather(1, places.clamp(min=0))
    context = lengths - predicted
    targets = ids.long().gather(1, queries).masked_fill(places < context[:, None], IGNORE)
    return PermutationBatch(ids, order_mask(orders, context), queries, targets)


def permutation_loss(model: nn.Module, batch: PermutationBatch) -> LossSum:
    """For an ``XLNet``: eq. 3, at the positions that are predicted.

    These batches have no segments, so ``attention.segments`` of its blocks has no part in this. Training in several
    processes wants to know: call ``requires_grad_(False)`` on each before.
    """
    return loss_sum(model(batch.ids, mask=batch.mask, queries=batch.queries), batch.targets)
