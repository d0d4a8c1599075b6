"""Masks: which position may attend to which.

One meaning everywhere, that of ``F.scaled_dot_product_attention``: ``mask[..., t, s]`` is True where query position t
may attend to key position s. So masks compose with ``&`` (both allow it) and ``|`` (either does), and broadcasting does
the rest: ``causal_mask(T) & padding_mask(real)`` has the shape (B, T, T).

Sizes: B sequences, T query positions, S key positions. Where S is larger than T, the T queries are the *last* ones:
that is how it is with a key/value cache. (PyTorch's own ``is_causal=True`` aligns them at the start instead.)
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from course_lib.arguments import check_at_least_one, holds_integers, in_error_words


def causal_mask(
    query_length: int, key_length: int | None = None, *, device: torch.device | str | None = None
) -> Bool[Tensor, "T S"]:
    """Each position sees itself and what stands before it (Vaswani et al. 2017, section 3.2.3).

    Raises ValueError for a length below 1 or a ``key_length`` below ``query_length``.
    """
    t, s = _places(query_length, key_length, device)
    return s <= t


def sliding_window_mask(
    query_length: int, window: int, key_length: int | None = None, *, device: torch.device | str | None = None
) -> Bool[Tensor, "T S"]:
    """Causal, and at most ``window`` positions wide, the position itself included (Jiang et al. 2023, section 2).

    Beltagy et al. 2020, section 3.1, look to both sides; that is this mask ``|`` its transpose.
    """
    check_at_least_one("window", window)
    t, s = _places(query_length, key_length, device)
    return (s <= t) & (s > t - window)


def padding_mask(real: Bool[Tensor, "B S"]) -> Bool[Tensor, "B 1 S"]:
    """Nobody attends to padding. ``real`` is True at tokens and False at padding, as ``pad_batch(...).mask``.

    Padding itself may look at the real tokens of its row. What it computes is finite and nobody uses it.
    """
    if not isinstance(real, Tensor) or real.dtype != torch.bool:
        raise TypeError(f"real must be a tensor of bool, True at real tokens, not {in_error_words(real)}")
    if real.ndim != 2:
        raise ValueError(f"real has shape {tuple(real.shape)}: it must be (B, S)")
    return real[:, None, :]


def document_mask(document_ids: Int[Tensor, "B T"]) -> Bool[Tensor, "B T T"]:
    """Each position sees its own document only: a square block for each document packed into a row.

    For a language model, ``document_mask(ids) & causal_mask(T)``. Padding, which has an id of its own (-1 in
    ``pack_documents``), sees padding.
    """
    if not holds_integers(document_ids):
        raise TypeError(f"document_ids must be a tensor of integers, not {in_error_words(document_ids)}")
    if document_ids.ndim != 2:
        raise ValueError(f"document_ids has shape {tuple(document_ids.shape)}: it must be (B, T)")
    return document_ids[:, :, None] == document_ids[:, None, :]


def _places(
    query_length: int, key_length: int | None, device: torch.device | str | None
) -> tuple[Int[Tensor, "T 1"], Int[Tensor, "S"]]:
    """Where queries and keys stand, counted alike: the queries are the last of the keys' positions."""
    check_at_least_one("query_length", query_length)
    if key_length is None:
        key_length = query_length
    check_at_least_one("key_length", key_length)
    if key_length < query_length:
        raise ValueError(f"key_length is {key_length}: it must be at least query_length ({query_length})")
    s = torch.arange(key_length, device=device)
    return s[-query_length:, None], s
