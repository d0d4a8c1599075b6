"""Masked language modeling: some tokens are hidden, and the model says what stood there, reading from both sides.

Devlin et al. 2019 (BERT), section 3.1 and appendix A.1. Of the tokens chosen, 80 % become the mask token, 10 % a random
one and 10 % stay: in use there is no mask token, so the model must not learn that all others are right. Whole words:
the notes of May 2019 in BERT's released code.

Sizes: B sequences, T positions, V vocabulary.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one, check_generator, holds_integers, in_error_words
from course_lib.data.batches import IGNORE
from course_lib.data.wordpiece import SPECIAL_TOKENS
from course_lib.objectives.causal import LossSum, loss_sum

PAD, _, CLS, SEP, MASK = SPECIAL_TOKENS  # of an encoder, as BERT named them


class MaskedBatch(NamedTuple):
    """``targets`` has the ids that stood at the chosen places, and ``IGNORE`` at all others. ``real``: no padding."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    real: Bool[Tensor, "B T"]


def mask_tokens(
    ids: Integer[Tensor, "B T"],
    real: Bool[Tensor, "B T"] | None = None,
    *,
    mask_id: int,
    vocabulary: int,
    special_ids: Iterable[int],
    generator: torch.Generator,
    share: float = 0.15,
    word_ids: Integer[Tensor, "B T"] | None = None,
) -> MaskedBatch:
    """Choose each token with the probability ``share``, hide it as BERT does, and make it a target.

    A row in which none was chosen gets one (with ``word_ids``: one word), if it has any that can be. Padding
    (``real`` is False) and ``special_ids`` are never chosen, and no special token comes in as a random one.

    Where ``word_ids`` are given, words are chosen, not tokens: neighbours with the same number are one word. (What
    becomes of each token of a word is drawn for itself.)
    """
    ordinary = _ordinary(vocabulary, mask_id, special_ids)
    ids, real = _checked_places(ids, real, word_ids, share, vocabulary)
    check_generator(generator)

    def draw() -> Tensor:
        return torch.rand(ids.shape, generator=generator, device=generator.device).to(ids.device)

    lots = draw()
    if word_ids is not None:
        begins = word_ids[:, 1:] != word_ids[:, :-1]
        lots[:, 1:] = lots.gather(1, begins.cumsum(dim=1))  # all tokens of a word have one lot
    can_be = real & ordinary.to(ids.device)[ids]
    lots = lots.masked_fill(~can_be, torch.inf)
    chosen = can_be & ((lots < share) | (lots == lots.amin(dim=1, keepdim=True)))

    known = ordinary.nonzero().flatten()
    numbers = torch.randint(len(known), ids.shape, generator=generator, device=generator.device)
    fate = draw()
    shown = torch.where(fate < 0.9, known[numbers.cpu()].to(ids.device), ids).masked_fill(fate < 0.8, mask_id)
    return MaskedBatch(torch.where(chosen, shown, ids), ids.masked_fill(~chosen, IGNORE), real)


def masked_loss(model: nn.Module, batch: MaskedBatch) -> LossSum:
    """For a model that reads both sides, such as ``BERT``: ``model(ids, real)`` gives the logits of each position.

    The pooler of a ``BERT`` has no part in this. Training in several processes wants to know: call
    ``model.pooler.requires_grad_(False)`` before.
    """
    return loss_sum(model(batch.ids, batch.real), batch.targets)


def _ordinary(vocabulary: int, mask_id: int, special_ids: Iterable[int]) -> Bool[Tensor, "V"]:
    """Which ids are no special ones."""
    check_at_least_one("vocabulary", vocabulary)
    ordinary = torch.ones(vocabulary, dtype=torch.bool)
    for name, value in [("mask_id", mask_id), *(("special_ids", value) for value in special_ids)]:
        if type(value) is not int:
            raise TypeError(f"{name} must be of integers, not {value!r:.60}")
        if not 0 <= value < vocabulary:
            raise ValueError(f"{name} has {value}: the ids of this vocabulary are 0 to {vocabulary - 1}")
        ordinary[value] = False
    if not ordinary.any():
        raise ValueError(f"special_ids are all {vocabulary} ids: there is no token left to hide")
    return ordinary


def _checked_places(
    ids: Tensor, real: Tensor | None, word_ids: Tensor | None, share: float, vocabulary: int
) -> tuple[Tensor, Tensor]:
    """``ids`` as int64 and ``real``, where all arguments are as they must be."""
    if not holds_integers(ids) or ids.ndim != 2:
        raise TypeError(f"ids must be a tensor of integers, (B, T), not {in_error_words(ids)}")
    if real is not None and (not isinstance(real, Tensor) or real.dtype != torch.bool):
        raise TypeError(f"real must be a tensor of bool, not {in_error_words(real)}: attention_mask.bool() is one")
    for name, tensor in (("real", real), ("word_ids", word_ids)):
        if tensor is not None and tensor.shape != ids.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}: it must have that of ids, {tuple(ids.shape)}")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it must be more than 0, and at most 1")
    wrong = (ids < 0) | (ids >= vocabulary)
    if wrong.any():
        raise ValueError(f"ids hold {ids[wrong][0].item()}: the ids of this vocabulary are 0 to {vocabulary - 1}")
    return ids.long(), torch.ones_like(ids, dtype=torch.bool) if real is None else real
