"""Splits that do not leak, and a measure of leakage (chapter 01).

What belongs together stays together: all sentences of a story, all pages of a book, everything one person wrote. So a
split goes by a *key* (the story, the book, the person), never by the single sentence; and it goes by a hash of the key,
so that the answer is the same in every run, on every machine, and does not change when data is added.
"""

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal

Split = Literal["train", "validation", "test"]


def split_of(key: str, *, validation: float = 0.1, test: float = 0.1, salt: str = "") -> Split:
    """The split to which everything with this key belongs.

    Args:
        key: what must not be torn apart, as text: a title, a path, a user's name.
        validation, test: shares of the keys (not of the text), from 0 to 1, together below 1.
        salt: another salt gives another split.

    Raises TypeError if the key is no string, ValueError for impossible shares.
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be a string, not {key!r}: str() of it, if that names it for good")
    if min(validation, test) < 0 or not validation + test < 1:
        raise ValueError(f"validation and test must be 0 or more and together below 1, not {validation!r} and {test!r}")
    digest = hashlib.blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64  # evenly spread over 0 … 1
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def shared_ngrams(test: Iterable[Sequence[Hashable]], train: Iterable[Sequence[Hashable]], n: int = 8) -> float:
    """The share of all runs of ``n`` tokens in ``test`` that also stand in ``train``: 0 is clean, 1 is a copy.

    Long runs are seldom alike by chance, so a large share means that text leaked. GPT-3's authors looked for
    contamination in this way, with n = 8 to 13 (Brown et al. 2020, appendix C). Holds the runs of ``test`` in memory,
    and reads ``train`` as a stream.

    Raises ValueError if ``n`` is no positive whole number or no text of ``test`` is ``n`` tokens long.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number, 1 or larger, not {n!r}")
    runs = [gram for sequence in test for gram in _ngrams(sequence, n)]
    if not runs:
        raise ValueError(f"test must hold at least one sequence of n = {n} tokens or more")
    wanted = set(runs)
    found = {gram for sequence in train for gram in _ngrams(sequence, n) if gram in wanted}
    return sum(gram in found for gram in runs) / len(runs)


def _ngrams(sequence: Sequence[Hashable], n: int) -> Iterable[tuple[Hashable, ...]]:
    if isinstance(sequence, str):
        raise TypeError(f"a sequence must be a list of tokens, not one string ({sequence[:20]!r}): split it first")
    return zip(*(sequence[i:] for i in range(n)), strict=False)
