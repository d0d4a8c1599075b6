"""Chapter 07, fine-tuning: probes and typical mistakes. Their texts stand in ``texts/<language>/chapter_07.toml``.

Sizes: B texts, T tokens; D numbers into a layer, E out of it, R the rank; N sentences, K draws. In the cases no two
sizes are equal.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.workshop.exercises.steps import Equals, Exercise, Gives

_Case = tuple[Any, ...]


def _numbers(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(*size, generator=generator)


# --- adapter_numbers --------------------------------------------------------------------------------------------------

_BLOCKS, _RANK, _SCALE, _D, _F = 12, 8, 2, 768, 3072
_ATTENTION, _FEED_FORWARD = [(_D, _D)] * 4, [(_D, _F), (_F, _D)]  # (in, out) of a block's matrices
_MATRICES = _ATTENTION + _FEED_FORWARD


def _beside(matrices: Iterable[tuple[int, int]]) -> int:
    return _BLOCKS * sum(_RANK * (inputs + outputs) for inputs, outputs in matrices)


_ADAPTER_NUMBERS = _beside(_MATRICES)

_COUNT_MISTAKES: dict[str, int] = {
    "one_block": _ADAPTER_NUMBERS // _BLOCKS,
    "one_of_two": _BLOCKS * sum(_RANK * inputs for inputs, _ in _MATRICES),
    "query_and_value": _beside(_ATTENTION[:2]),
    "attention_only": _beside(_ATTENTION),
    "feed_forward_only": _beside(_FEED_FORWARD),
    "down_missing": _beside(_MATRICES[:-1]),
    "all_square": _beside([(_D, _D)] * 6),
    "three_in_one": _beside([(_D, 3 * _D), (_D, _D), *_FEED_FORWARD]),
    "in_full": _BLOCKS * sum(inputs * outputs for inputs, outputs in _MATRICES),
    "rank_times_matrix": _BLOCKS * sum(_RANK * inputs * outputs for inputs, outputs in _MATRICES),
    "rank_missing": _ADAPTER_NUMBERS // _RANK,
    "scale_counted": _SCALE * _ADAPTER_NUMBERS,
    "biases_counted": _ADAPTER_NUMBERS + _BLOCKS * sum(outputs for _, outputs in _MATRICES),
    "head_counted": _ADAPTER_NUMBERS + 7 * _D + 7,
}


# --- token_labels -----------------------------------------------------------------------------------------------------

_WordOf = list[int | None]


def _labelled(
    further: Callable[[int], int] = lambda label: -100, special: int = -100, begins: Callable[..., bool] | None = None
) -> Callable[[list[int], _WordOf], list[int]]:
    """``begins(word_of, i)`` says whether token i is the one that bears the label of its word."""

    def labelled(labels: list[int], word_of: _WordOf) -> list[int]:
        first = begins or (lambda word_of, i: i == 0 or word_of[i - 1] != word_of[i])
        return [
            special if word is None else labels[word] if first(word_of, i) else further(labels[word])
            for i, word in enumerate(word_of)
        ]

    return labelled


_token_labels = _labelled()


def _ends_a_word(word_of: _WordOf, i: int) -> bool:
    return i + 1 == len(word_of) or word_of[i + 1] != word_of[i]


def _in_a_row(labels: list[int], word_of: _WordOf) -> list[int]:
    """One label after the other, for tokens that are no words of their own."""
    left = iter(labels)
    return [-100 if word is None else next(left, -100) for word in word_of]


def _word_0_special(labels: list[int], word_of: _WordOf) -> list[int]:
    return [label if word else -100 for label, word in zip(_token_labels(labels, word_of), word_of, strict=True)]


def _compares_labels(labels: list[int], word_of: _WordOf) -> list[int]:
    """A label is given only where it is not that of the token before."""
    every = [-100 if word is None else labels[word] for word in word_of]
    return [-100 if label == before else label for before, label in zip([-100, *every], every, strict=False)]


def _without(dropped: Callable[[int | None, int], bool]) -> Callable[[list[int], _WordOf], list[int]]:
    return lambda labels, word_of: [
        label for label, word in zip(_token_labels(labels, word_of), word_of, strict=True) if not dropped(word, label)
    ]


# 0 is O, an odd number opens an entity, the even one behind it continues that.
_PIECES: list[_Case] = [
    ([1, 0, 3], [None, 0, 1, 2, None]),
    ([1, 0, 5, 2, 0], [None, 0, 0, 1, 2, 2, 2, 3, 4, None]),
    ([0, 3, 4, 0], [None, 0, 0, 0, 1, 2, 2, 3, 3, None]),
    ([5, 0, 1], [None, 0, 1, 1, 2, 2, None]),
]
_EDGES: list[_Case] = [
    ([1, 1, 0, 3, 3], [None, 0, 0, 1, 2, 3, 3, 4, None]),  # neighbours with one label
    ([0, 5, 6, 0, 1], [None, 0, 1, 1, 2, None]),  # cut off: two words have no token
    ([1, 2, 0], [None, 0, 0, 1, 2, None, None, None]),  # filled up
    ([3, 0], [0, 0, 1, 1]),  # no special tokens
    ([], [None, None]),
]

_LABEL_MISTAKES: dict[str, Callable[..., Any]] = {
    "every_piece": _labelled(lambda label: label),
    "begin_then_inside": _labelled(lambda label: label + label % 2),
    "further_outside": _labelled(lambda label: 0),
    "specials_outside": _labelled(special=0),
    "all_outside": _labelled(lambda label: 0, special=0),
    "last_piece": _labelled(begins=_ends_a_word),
    "word_0_special": _word_0_special,
    "in_a_row": _in_a_row,
    "specials_dropped": _without(lambda word, label: word is None),
    "further_dropped": _without(lambda word, label: word is not None and label == -100),
    "all_dropped": _without(lambda word, label: label == -100),
    "compares_labels": _compares_labels,
}


# --- entities_of ------------------------------------------------------------------------------------------------------

_Entity = tuple[str, Any, Any]


def _entities_by(
    joins: Callable[[str, str | None, str], bool] = lambda tag, kind, before: tag[:2] == "I-" and tag[2:] == kind,
    opens: Callable[[str], bool] = lambda tag: tag[:2] == "B-",
    outside_closes: bool = True,
    kind_of: Callable[[str], str] = lambda tag: tag[2:],
    pick: Callable[[list[str], _WordOf], list[tuple[Any, str]]] | None = None,
    change: Callable[[list[_Entity], list[Any]], list[_Entity]] = lambda entities, places: entities,
) -> Callable[[list[str], _WordOf], list[_Entity]]:
    """``joins(tag, open kind, tag before)``: the word goes on with the open entity. ``pick`` gives (place, tag)."""

    def entities_of(tags: list[str], word_of: _WordOf) -> list[_Entity]:
        found: list[_Entity] = []
        kind, before = None, "O"
        picked = (pick or _first_pieces)(tags, word_of)
        for place, tag in picked:
            if found and joins(tag, kind, before):
                found[-1] = (*found[-1][:2], place)
            elif opens(tag):
                kind = tag[2:]
                found.append((kind_of(tag), place, place))
            elif outside_closes or tag != "O":
                kind = None
            before = tag
        return change(found, [place for place, _ in picked])

    return entities_of


def _first_pieces(tags: list[str], word_of: _WordOf) -> list[tuple[Any, str]]:
    picked: dict[int, str] = {}
    for tag, word in zip(tags, word_of, strict=True):
        if word is not None:
            picked.setdefault(word, tag)
    return list(picked.items())


def _last_pieces(tags: list[str], word_of: _WordOf) -> list[tuple[Any, str]]:
    return list({word: tag for tag, word in zip(tags, word_of, strict=True) if word is not None}.items())


def _all_pieces(tags: list[str], word_of: _WordOf) -> list[tuple[Any, str]]:
    return [(word, tag) for tag, word in zip(tags, word_of, strict=True) if word is not None]


def _token_places(tags: list[str], word_of: _WordOf) -> list[tuple[Any, str]]:
    return [(word_of.index(word), tag) for word, tag in _first_pieces(tags, word_of)]


def _every_token(tags: list[str], word_of: _WordOf) -> list[tuple[Any, str]]:
    return list(enumerate(tags))


def _specials_too(tags: list[str], word_of: _WordOf) -> list[tuple[Any, str]]:
    """What stands at a special token is read as a word without a number."""
    read = [(word, tag) for i, (tag, word) in enumerate(zip(tags, word_of, strict=True)) if word not in word_of[:i]]
    return read


def _last_lost(entities: list[_Entity], places: list[Any]) -> list[_Entity]:
    return entities[:-1] if entities and entities[-1][2] == places[-1] else entities


_entities = _entities_by()
_strict = _entities_by().__call__


def _one_each(*tags: str) -> _Case:
    """Each word is one token."""
    return list(tags), list(range(len(tags)))


_TAGS: list[_Case] = [
    _one_each("B-PERSON", "O", "B-THING", "I-THING", "O"),
    _one_each("O", "B-PERSON", "B-PERSON", "I-PERSON", "O", "B-PLACE"),
    _one_each("B-THING", "I-THING", "I-THING", "B-THING", "O", "B-PERSON", "B-PLACE", "I-PLACE"),
    _one_each("O", "B-WORK-OF-ART", "I-WORK-OF-ART", "O"),
    _one_each("O", "O"),
]
_STRAY: list[_Case] = [
    _one_each("I-PERSON", "O", "B-THING", "O", "I-THING", "O"),
    _one_each("B-PERSON", "I-PLACE", "O", "B-PLACE", "I-PLACE", "I-THING", "I-THING", "O"),
    _one_each("B-PERSON", "I-PLACE", "I-PERSON", "O", "I-THING", "I-THING", "B-THING"),
]
_TOKENS: list[_Case] = [
    (["O", "B-PERSON", "B-PERSON", "O", "B-THING", "O", "I-THING", "O"], [None, 0, 0, 1, 2, 2, 3, None]),
    (["B-PERSON", "I-PERSON", "O", "O", "B-PLACE", "I-PLACE", "O", "B-PLACE"], [None, 0, 1, 1, 2, 3, 3, None]),
    (["B-PLACE", "O", "B-THING", "B-THING", "I-THING", "I-THING", "B-THING"], [None, 0, 0, 1, 1, 2, None]),
]
_TOKENS[1] = (_TOKENS[1][0], [None, 0, 1, 1, 2, 3, 3, None])

_TAG_MISTAKES: dict[str, Callable[..., Any]] = {
    "neighbours_joined": _entities_by(lambda tag, kind, before: tag != "O" and tag[2:] == kind),
    "one_word_each": _entities_by(lambda tag, kind, before: False),
    "last_lost": _entities_by(change=_last_lost),
    "end_behind": _entities_by(change=lambda entities, places: [(kind, a, b + 1) for kind, a, b in entities]),
    "kind_cut": _entities_by(kind_of=lambda tag: tag.split("-")[1]),
    "kind_cut_left": _entities_by(kind_of=lambda tag: tag.split("-")[-1]),
    "tag_kept": _entities_by(kind_of=lambda tag: tag),
    "other_order": _entities_by(change=lambda entities, places: [(a, b, kind) for kind, a, b in entities]),  # type: ignore[misc]
}
_STRAY_MISTAKES: dict[str, Callable[..., Any]] = {
    "strays_open": _entities_by(opens=lambda tag: tag != "O"),
    "strays_open_behind_o": _entities_by(
        lambda tag, kind, before: tag[:2] == "I-" and before != "O", opens=lambda tag: tag != "O"
    ),
    "other_kind_goes_on": _entities_by(lambda tag, kind, before: tag[:2] == "I-" and kind is not None),
    "over_a_gap": _entities_by(
        lambda tag, kind, before: tag[:2] == "I-" and tag[2:] == kind, outside_closes=False
    ),
    "any_goes_on": _entities_by(lambda tag, kind, before: tag[:2] == "I-"),
    "never_closed": _entities_by(),
}
_PIECE_MISTAKES: dict[str, Callable[..., Any]] = {
    "all_pieces": _entities_by(pick=_all_pieces),
    "last_pieces": _entities_by(pick=_last_pieces),
    "token_places": _entities_by(pick=_token_places),
    "every_token": _entities_by(pick=_every_token),
    "specials_too": _entities_by(pick=_specials_too),
}
