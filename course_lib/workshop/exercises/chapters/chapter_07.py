"""Chapter 07, fine-tuning: probes and typical mistakes. Their texts stand in ``texts/<language>/chapter_07.toml``.

Sizes: B texts, T tokens; D numbers into a layer, E out of it, R the rank; N sentences, K draws. In the cases no two
sizes are equal.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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


# --- tagged_entities --------------------------------------------------------------------------------------------------

_Entity = tuple[Any, Any, Any]
_Picked = list[tuple[Any, str]]  # where a word stands, and its tag


def _first_pieces(tags: list[str], word_of: _WordOf) -> _Picked:
    return [(word, tag) for word, tag in _with_specials(tags, word_of) if word is not None]


def _with_specials(tags: list[str], word_of: _WordOf) -> _Picked:
    pairs = enumerate(zip(tags, word_of, strict=True))
    return [(word, tag) for i, (tag, word) in pairs if i == 0 or word_of[i - 1] != word]


def _last_pieces(tags: list[str], word_of: _WordOf) -> _Picked:
    return list({word: tag for tag, word in zip(tags, word_of, strict=True) if word is not None}.items())


def _all_pieces(tags: list[str], word_of: _WordOf) -> _Picked:
    return [(word, tag) for tag, word in zip(tags, word_of, strict=True) if word is not None]


def _first_tokens(tags: list[str], word_of: _WordOf) -> _Picked:
    return [(word_of.index(word), tag) for word, tag in _first_pieces(tags, word_of)]


def _entities_by(
    goes_on: Callable[[str, str | None], bool] = lambda tag, kind: tag[:2] == "I-" and tag[2:] == kind,
    opens: Callable[[str], bool] = lambda tag: tag[:2] == "B-",
    closes: Callable[[str], bool] = lambda tag: True,
    picked: Callable[[list[str], _WordOf], _Picked] = _first_pieces,
    made: Callable[[str, Any, Any], _Entity] = lambda tag, first, last: (tag[2:], first, last),
) -> Callable[[list[str], _WordOf], list[_Entity]]:
    """``kind`` is that of the entity which is open. ``closes`` is asked for what neither goes on nor opens."""

    def tagged_entities(tags: list[str], word_of: _WordOf) -> list[_Entity]:
        found: list[tuple[str, Any, Any]] = []
        kind = None
        for place, tag in picked(tags, word_of):
            if found and goes_on(tag, kind):
                found[-1] = (*found[-1][:2], place)
            elif opens(tag):
                kind = tag[2:]
                found.append((tag, place, place))
            elif closes(tag):
                kind = None
        return [made(*entity) for entity in found]

    return tagged_entities


_entities = _entities_by()


def _last_lost(tags: list[str], word_of: _WordOf) -> list[_Entity]:
    """Stored is only what something else comes after."""
    return [entity for entity in _entities(tags, word_of) if entity[2] != word_of[-1]]


def _one_each(*tags: str) -> _Case:
    """Each word is one token."""
    return list(tags), list(range(len(tags)))


_PLAIN_TAGS: list[_Case] = [
    _one_each("B-PERSON", "O", "B-THING", "I-THING", "O"),
    _one_each("O", "B-PERSON", "B-PERSON", "I-PERSON", "O", "B-PLACE"),
    _one_each("B-THING", "I-THING", "I-THING", "B-THING", "O", "B-PERSON", "B-PLACE", "I-PLACE"),
    _one_each("O", "B-WORK-OF-ART", "I-WORK-OF-ART", "O"),
    _one_each("O", "O"),
]
_STRAY_TAGS: list[_Case] = [
    _one_each("I-PERSON", "O", "B-THING", "O", "I-THING", "O"),
    _one_each("B-PERSON", "I-PLACE", "O", "B-PLACE", "I-PLACE", "I-THING", "I-THING", "O"),
    _one_each("B-PERSON", "I-PLACE", "I-PERSON", "O", "I-THING", "I-THING", "B-THING"),
]
_TOKENS: list[_Case] = [
    (["O", "B-PERSON", "B-PERSON", "O", "B-THING", "O", "I-THING", "O"], [None, 0, 0, 1, 2, 2, 3, None]),
    (["B-PERSON", "I-PERSON", "O", "O", "B-PLACE", "I-PLACE", "O", "B-PLACE"], [None, 0, 1, 1, 2, 3, 3, None]),
    (["B-PLACE", "O", "B-THING", "B-THING", "I-THING", "I-THING", "B-THING"], [None, 0, 0, 1, 1, 2, None]),
]

_TAG_MISTAKES: dict[str, Callable[..., Any]] = {
    "neighbours_joined": _entities_by(lambda tag, kind: tag != "O" and tag[2:] == kind),
    "one_word_each": _entities_by(lambda tag, kind: False),
    "last_lost": _last_lost,
    "end_behind": _entities_by(made=lambda tag, first, last: (tag[2:], first, last + 1)),
    "kind_cut": _entities_by(made=lambda tag, first, last: (tag.split("-")[1], first, last)),
    "last_part_of_kind": _entities_by(made=lambda tag, first, last: (tag.split("-")[-1], first, last)),
    "tag_kept": _entities_by(made=lambda tag, first, last: (tag, first, last)),
    "kind_last": _entities_by(made=lambda tag, first, last: (first, last, tag[2:])),
}
_STRAY_MISTAKES: dict[str, Callable[..., Any]] = {
    "any_goes_on": _entities_by(lambda tag, kind: tag[:2] == "I-"),
    "never_closed": _entities_by(closes=lambda tag: False),
    "strays_open": _entities_by(opens=lambda tag: tag != "O"),
    "other_kind_goes_on": _entities_by(lambda tag, kind: tag[:2] == "I-" and kind is not None),
    "over_a_gap": _entities_by(closes=lambda tag: tag != "O"),
    "stray_leaves_open": _entities_by(closes=lambda tag: tag == "O"),
}
_PIECE_MISTAKES: dict[str, Callable[..., Any]] = {
    "all_pieces": _entities_by(picked=_all_pieces),
    "last_pieces": _entities_by(picked=_last_pieces),
    "token_places": _entities_by(picked=_first_tokens),
    "every_token": _entities_by(picked=lambda tags, word_of: list(enumerate(tags))),
    "specials_too": _entities_by(picked=_with_specials),
}


# --- with_adapter -----------------------------------------------------------------------------------------------------


def _adapted(
    scale: Callable[[float, Tensor, Tensor], float] = lambda alpha, a, b: alpha / len(a),
    base: Callable[[float], float] = lambda scale: 1.0,
    output_scale: Callable[[float], float] = lambda scale: scale,
    merged_scale: Callable[[float], float] = lambda scale: scale,
    merged: Callable[[Tensor], Tensor] = lambda merged: merged,
) -> Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """A layer with LoRA in which one part may be another one; ``base`` is what W itself is multiplied by."""

    def adapted(x: Tensor, w: Tensor, a: Tensor, b: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        used = scale(alpha, a, b)
        rest, product = base(used) * w.double(), b.double() @ a.double()
        output = x.double() @ (rest + output_scale(used) * product).T
        return output, merged(rest + merged_scale(used) * product)

    return adapted


_with_adapter = _adapted()


def _layers(seed: int) -> Iterator[_Case]:
    """The first one can be computed by hand: (1 + 2 · 6, 2 + 2 · 15)."""
    x, w = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 0.0]])
    yield x, w, torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[2.0], [5.0]]), 2.0
    randn = _numbers(seed)
    for shape, outputs, rank, alpha in (((2, 5, 4), 7, 3, 6.0), ((6, 3), 5, 2, 1.0), ((3, 2, 8), 6, 4, 10)):
        inputs = shape[-1]
        yield randn(*shape), randn(outputs, inputs), randn(rank, inputs), randn(outputs, rank), alpha


def _output_alone(function: Any, *case: Any) -> Any:
    result = function(*case)
    return result[0] if isinstance(result, tuple | list) and len(result) == 2 else result


def _merged_alone(function: Any, *case: Any) -> Any:
    result = function(*case)
    return result[1] if isinstance(result, tuple | list) and len(result) == 2 else result


_SCALE_MISTAKES: dict[str, Callable[..., Any]] = {
    "scale_missing": _adapted(lambda alpha, a, b: 1.0),
    "alpha_alone": _adapted(lambda alpha, a, b: alpha),
    "alpha_missing": _adapted(lambda alpha, a, b: 1 / len(a)),
    "upside_down": _adapted(lambda alpha, a, b: len(a) / alpha),
    "by_root_of_rank": _adapted(lambda alpha, a, b: alpha / math.sqrt(len(a))),
    "by_inputs": _adapted(lambda alpha, a, b: alpha / a.shape[1]),
    "by_outputs": _adapted(lambda alpha, a, b: alpha / b.shape[0]),
    "base_missing": _adapted(base=lambda scale: 0.0),
    "base_scaled": _adapted(base=lambda scale: scale),
    "subtracted": _adapted(lambda alpha, a, b: -alpha / len(a)),
}
_OUTPUT_MISTAKES = _SCALE_MISTAKES | {
    "adapter_missing": _adapted(output_scale=lambda scale: 0.0),
    "adapter_twice": _adapted(output_scale=lambda scale: 2 * scale),
    "scaled_twice": _adapted(output_scale=lambda scale: scale**2),
    "other_order": lambda *case: _with_adapter(*case)[::-1],
}
_MERGED_MISTAKES = _SCALE_MISTAKES | {
    "adapter_missing": _adapted(merged_scale=lambda scale: 0.0),
    "scaled_twice": _adapted(merged_scale=lambda scale: scale**2),
    "transposed": _adapted(merged=lambda merged: merged.T),
}


# --- best_answer ------------------------------------------------------------------------------------------------------

_Answer = tuple[int, int] | None


def _allowed(i: int, j: int, inside: list[bool], longest: int) -> bool:
    return inside[i] and inside[j] and i <= j < i + longest


def _no_answer(start: Tensor, end: Tensor, i: int, j: int, inside: Tensor) -> bool:
    return bool(start[0] + end[0] > start[i] + end[j])


def _answer_by(
    allowed: Callable[[int, int, list[bool], int], bool] = _allowed,
    score: Callable[[float, float], float] = lambda start, end: start + end,
    none: Callable[[Tensor, Tensor, int, int, Tensor], bool] = _no_answer,
    scaled: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> Callable[[Tensor, Tensor, Tensor, int], _Answer]:
    """The best pair by trying all, where one part may be another one."""

    def best(start: Tensor, end: Tensor, inside: Tensor, longest: int) -> _Answer:
        s, e, places = scaled(start).tolist(), scaled(end).tolist(), range(len(start))
        pairs = [(i, j) for i in places for j in places if allowed(i, j, inside.tolist(), longest)]
        i, j = max(pairs, key=lambda pair: score(s[pair[0]], e[pair[1]]))
        return None if none(start, end, i, j, inside) else (i, j)

    return best


def _best_within(logits: Tensor, places: Iterable[int]) -> int:
    return max(places, key=lambda i: float(logits[i]))


def _places(inside: Tensor) -> list[int]:
    return inside.nonzero().flatten().tolist()


def _each_by_itself(start: Tensor, end: Tensor, inside: Tensor, longest: int) -> _Answer:
    return _best_within(start, _places(inside)), _best_within(end, _places(inside))


def _each_anywhere(start: Tensor, end: Tensor, inside: Tensor, longest: int) -> _Answer:
    return int(start.argmax()), int(end.argmax())


def _start_first(start: Tensor, end: Tensor, inside: Tensor, longest: int) -> _Answer:
    i = _best_within(start, _places(inside))
    return i, _best_within(end, [j for j in _places(inside) if i <= j < i + longest])


def _end_first(start: Tensor, end: Tensor, inside: Tensor, longest: int) -> _Answer:
    j = _best_within(end, _places(inside))
    return _best_within(start, [i for i in _places(inside) if i <= j < i + longest]), j


def _ends(change: Callable[[int, int, Tensor], tuple[int, int]]) -> Callable[[Tensor, Tensor, Tensor, int], _Answer]:
    def changed(start: Tensor, end: Tensor, inside: Tensor, longest: int) -> _Answer:
        found = _best(start, end, inside, longest)
        return found and change(*found, inside)

    return changed


def _best_parts(start: Tensor, end: Tensor, i: int, j: int, inside: Tensor) -> bool:
    return bool(start[0] + end[0] > start[inside].max() + end[inside].max())


_best = _answer_by()


def _answers(seed: int, nulls: Sequence[float | None]) -> Iterator[_Case]:
    """Where ``nulls`` has a number, [CLS] is that much better than the best answer."""
    randn = _numbers(seed)
    for number, null in enumerate(nulls):
        size, first, longest = 11 + number % 4, 3 + number % 3, 2 + number % 3
        start, end = 2 * randn(size), 2 * randn(size)
        inside = torch.zeros(size, dtype=torch.bool)
        inside[first : size - 1] = True
        start[0], end[0] = -30.0, 0.5
        if null is not None:
            i, j = _best(start, end, inside, longest) or (0, 0)
            total = float(start[i] + end[j]) + null
            start[0] = total / 2 + 4 * (-1.0) ** (number // 2)
            end[0] = total - start[0]
            start -= 3 * (number % 3)  # so that the best may be below zero
        yield start, end, inside, longest


def _of_the_text(cls: float) -> _Case:
    """The example of the exercise, where [CLS] has this start score."""
    start = torch.tensor([cls, 0.0, 0.0, 2.0, 0.0, 3.0, 0.0])
    end = torch.tensor([1.0, 5.0, 0.0, 4.0, 0.0, 1.0, 0.0])
    return start, end, torch.tensor([0, 0, 0, 1, 1, 1, 0]).bool(), 2


def _pairs_alone() -> Iterator[_Case]:
    yield _of_the_text(cls=1.0)
    yield from _answers(92, [None] * 10)


def _or_none() -> Iterator[_Case]:
    yield _of_the_text(cls=6.0)
    yield from _answers(116, [0.3, -0.3, 1.0, -1.0, 0.1, -0.1, 3.0, -4.0, 0.5, -0.2, 0.2, -0.5])


_PAIR_MISTAKES: dict[str, Callable[..., Any]] = {
    "backwards_too": _answer_by(lambda i, j, inside, longest: inside[i] and inside[j] and j < i + longest),
    "each_by_itself": _each_by_itself,
    "each_anywhere": _each_anywhere,
    "outside_too": _answer_by(lambda i, j, inside, longest: i <= j < i + longest),
    "one_too_long": _answer_by(lambda i, j, inside, longest: _allowed(i, j, inside, longest + 1)),
    "any_length": _answer_by(lambda i, j, inside, longest: inside[i] and inside[j] and i <= j),
    "one_too_short": _answer_by(lambda i, j, inside, longest: _allowed(i, j, inside, longest - 1)),
    "one_token_never": _answer_by(lambda i, j, inside, longest: i != j and _allowed(i, j, inside, longest)),
    "product": _answer_by(score=lambda start, end: start * end),
    "chances_added": _answer_by(scaled=lambda logits: logits.softmax(dim=0)),
    "start_first": _start_first,
    "end_first": _end_first,
    "end_behind": _ends(lambda i, j, inside: (i, j + 1)),
    "counted_in_the_text": _ends(lambda i, j, inside: (i - _places(inside)[0], j - _places(inside)[0])),
}
_NONE_MISTAKES: dict[str, Callable[..., Any]] = {
    "other_way_round": _answer_by(none=lambda *case: not _no_answer(*case)),
    "always_answers": _answer_by(none=lambda start, end, i, j, inside: False),
    "none_by_start": _answer_by(none=lambda start, end, i, j, inside: bool(start[0] > start[i])),
    "none_by_end": _answer_by(none=lambda start, end, i, j, inside: bool(end[0] > end[j])),
    "none_by_both": _answer_by(none=lambda start, end, i, j, inside: bool(start[0] > start[i] and end[0] > end[j])),
    "none_by_best_parts": _answer_by(none=_best_parts),
    "none_below_zero": _answer_by(none=lambda start, end, i, j, inside: bool(start[i] + end[j] < 0)),
    "pair_of_zeros": lambda *case: _best(*case) or (0, 0),
}


# --- answer_scores ----------------------------------------------------------------------------------------------------


def _in_turn(*steps: Callable[[str], str]) -> Callable[[str], str]:
    def normal(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return normal


def _marks(to: str) -> Callable[[str], str]:
    return lambda text: "".join(to if character in string.punctuation else character for character in text)


def _articles(pattern: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, " ", text)


def _filtered(text: str) -> str:
    return " ".join(word for word in text.split() if word not in {"a", "an", "the"})


def _one_space(text: str) -> str:
    return " ".join(text.split())


def _no_articles(text: str) -> str:
    return re.sub(r"\b(a|an|the)\b", "", text)


_no_marks = _marks("")
_normal = _in_turn(str.lower, _no_marks, _filtered)


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    return _f1_of(_common(said, right), said, right)


def _f1_of(common: int, said: Sequence[str], right: Sequence[str]) -> float:
    return 2 * common / (len(said) + len(right)) if common else 0.0


def _common(said: Sequence[str], right: Sequence[str]) -> int:
    return (Counter(said) & Counter(right)).total()


def _scores_by(
    normal: Callable[[str], str] = _normal,
    same: Callable[[str, str], bool] = lambda said, right: said == right,
    f1: Callable[[Sequence[str], Sequence[str]], float] = _f1,
    words: Callable[[str], Sequence[str]] = lambda text: _normal(text).split(),
    best: Callable[[list[float]], float] = max,
) -> Callable[[str, list[str]], tuple[float, float]]:
    """``normal`` is for exact match; the ``words`` of F1 are normalised by themselves."""

    def scores(said: str, answers: list[str]) -> tuple[float, float]:
        exact = best([float(same(normal(said), normal(answer))) for answer in answers])
        return exact, best([f1(words(said), words(answer)) for answer in answers])

    return scores


def _safe(common: int, parts: int) -> float:
    return common / parts if parts else 0.0


def _all_together(said: str, answers: list[str]) -> tuple[float, float]:
    return _scores(said, [" ".join(answers)])


_scores = _scores_by()

_EXACT: list[_Case] = [
    ("the garden", ["garden"]),
    ("Garden.", ["the garden"]),
    ("The garden", ["garden"]),
    ("the garden", ["a garden"]),
    ("in the garden", ["garden"]),
    ("garden", ["the old garden"]),
    ("Tom's kite", ["Toms kite"]),
    ("a red  kite", ["red kite"]),
    ("red the kite", ["red kite"]),
    ("Ann", ["Nan"]),
    ('"The Hobbit"', ["Hobbit"]),
    ("8 am", ["8 a.m."]),
    ("", ["Tom"]),
    ("rose", ["Rose"]),
    ("Rose", ["Tom"]),
]
_WORDS: list[_Case] = [
    ("in the garden", ["the garden"]),
    ("red kite of Tom", ["kite, red and very old"]),
    ("very very red kite", ["very red kite"]),
    ("very, very red kite", ["a very very old kite"]),
    ("the very old tree", ["an old, old tree"]),
    ("A rose!", ["Rose"]),
]
_NOTHING_IN_COMMON: list[_Case] = [("Rose", ["Tom"]), ("", ["Tom"]), ("an old kite", ["the house"])]
_SEVERAL: list[_Case] = [
    ("the garden", ["house", "garden", "the old garden"]),
    ("old garden", ["a house", "garden", "the garden of Tom"]),
    ("red kite", ["red", "a very red kite", "a kite of Tom"]),
    ("Tom", ["Tom", "Rose"]),
]

_EXACT_MISTAKES: dict[str, Callable[..., Any]] = {
    "not_normalised": _scores_by(lambda text: text),
    "case_kept": _scores_by(
        _in_turn(_no_marks, lambda text: re.sub(r"\b(a|an|the|The|A|An)\b", " ", text), _one_space)
    ),
    "marks_kept": _scores_by(_in_turn(str.lower, _filtered)),
    "marks_to_spaces": _scores_by(_in_turn(str.lower, _marks(" "), _filtered)),
    "articles_kept": _scores_by(_in_turn(str.lower, _no_marks, _one_space)),
    "spaces_kept": _scores_by(_in_turn(str.lower, _no_marks, _no_articles)),
    "ends_stripped_only": _scores_by(_in_turn(str.lower, _no_marks, _no_articles, str.strip)),
    "articles_in_words": _scores_by(_in_turn(str.lower, _no_marks, _articles("an|a|the"), _one_space)),
    "articles_before_case": _scores_by(_in_turn(_no_marks, _filtered, str.lower)),
    "articles_before_marks": _scores_by(_in_turn(str.lower, _filtered, _no_marks, _one_space)),
    "articles_by_pattern_before_marks": _scores_by(_in_turn(str.lower, _no_articles, _no_marks, _one_space)),
    "either_holds_other": _scores_by(same=lambda said, right: said in right or right in said),
    "said_holds_answer": _scores_by(same=lambda said, right: right in said),
    "answer_holds_said": _scores_by(same=lambda said, right: said in right),
    "other_order": lambda *case: _scores(*case)[::-1],
}
_F1_MISTAKES: dict[str, Callable[..., Any]] = {
    "exact_again": _scores_by(f1=lambda said, right: float(said == right)),
    "f1_not_normalised": _scores_by(words=str.split),
    "as_sets": _scores_by(f1=lambda said, right: _f1(sorted(set(said)), sorted(set(right)))),
    "common_as_set": _scores_by(f1=lambda said, right: _f1_of(len(set(said) & set(right)), said, right)),
    "counted_twice": _scores_by(f1=lambda said, right: _f1_of(sum(w in right for w in said), said, right)),
    "by_place": _scores_by(
        f1=lambda said, right: _f1_of(sum(s == r for s, r in zip(said, right, strict=False)), said, right)
    ),
    "characters": _scores_by(words=_normal),
    "precision": _scores_by(f1=lambda said, right: _safe(_common(said, right), len(said))),
    "recall": _scores_by(f1=lambda said, right: _safe(_common(said, right), len(right))),
    "plain_mean": _scores_by(
        f1=lambda said, right: (_safe(_common(said, right), len(said)) + _safe(_common(said, right), len(right))) / 2
    ),
    "two_missing": _scores_by(f1=lambda said, right: _f1(said, right) / 2),
    "share_of_all": _scores_by(
        f1=lambda said, right: _safe(_common(said, right), (Counter(said) | Counter(right)).total())
    ),
    "points": _scores_by(f1=lambda said, right: 100 * _f1(said, right)),
}
_SEVERAL_MISTAKES: dict[str, Callable[..., Any]] = {
    "first_alone": _scores_by(best=lambda scores: scores[0]),
    "last_alone": _scores_by(best=lambda scores: scores[-1]),
    "mean_of_answers": _scores_by(best=lambda scores: sum(scores) / len(scores)),
    "worst_answer": _scores_by(best=min),
    "added": _scores_by(best=sum),
    "all_together": _all_together,
    "f1_of_the_first": lambda said, answers: (_scores(said, answers)[0], _scores(said, answers[:1])[1]),
    "f1_mean": lambda said, answers: (
        _scores(said, answers)[0],
        sum(_scores(said, [answer])[1] for answer in answers) / len(answers),
    ),
}


def _truth_as_number(function: Any, *case: Any) -> Any:
    """True may pass for 1.0."""
    result = function(*case)
    if not isinstance(result, tuple | list):
        return result
    return [float(part) if isinstance(part, bool | np.bool_) else part for part in result]


def _exact_alone(function: Any, *case: Any) -> Any:
    result = _truth_as_number(function, *case)
    return result[0] if isinstance(result, list) and len(result) == 2 else result


# --- gain_interval ----------------------------------------------------------------------------------------------------

_Formula = Callable[[Tensor], Tensor]  # of (..., 3) counts: right, found, real


def _points(counts: Tensor) -> Tensor:
    right, found, real = counts.double().unbind(dim=-1)
    return 200 * right / (found + real)


def _drawn(counts: Tensor, draws: Tensor, formula: _Formula = _points) -> Tensor:
    return formula(counts[draws].sum(dim=1))


def _middle(values: Tensor, low: float = 0.025) -> tuple[float, float]:
    a, b = torch.quantile(values.double(), torch.tensor([low, 1 - low], dtype=torch.float64)).tolist()
    return a, b


def _gain_by(
    formula: _Formula = _points,
    ends: Callable[[Tensor], tuple[float, float]] = _middle,
    of: Callable[[Tensor, Tensor], Tensor] = lambda new, old: new - old,
) -> Callable[[Tensor, Tensor, Tensor], tuple[float, float]]:
    return lambda new, old, draws: ends(of(_drawn(new, draws, formula), _drawn(old, draws, formula)))


def _two_intervals(
    ends: Callable[[tuple[float, float], tuple[float, float]], tuple[float, float]],
) -> Callable[[Tensor, Tensor, Tensor], tuple[float, float]]:
    return lambda new, old, draws: ends(_middle(_drawn(new, draws)), _middle(_drawn(old, draws)))


def _mean_of_sentences(new: Tensor, old: Tensor, draws: Tensor) -> tuple[float, float]:
    return _middle((_points(new) - _points(old))[draws].mean(dim=1))


def _repeats_lost(new: Tensor, old: Tensor, draws: Tensor) -> tuple[float, float]:
    gains = [_points(new[drawn].sum(dim=0)) - _points(old[drawn].sum(dim=0)) for drawn in map(torch.unique, draws)]
    return _middle(torch.stack(gains))


def _around(factor: Callable[[Tensor], float]) -> Callable[[Tensor], tuple[float, float]]:
    def ends(values: Tensor) -> tuple[float, float]:
        reach = 1.96 * float(values.std()) * factor(values)
        return float(values.mean()) - reach, float(values.mean()) + reach

    return ends


def _f1_from(numerator: int, denominator: int) -> _Formula:
    return lambda counts: 100 * counts[..., numerator].double() / counts[..., denominator]


def _plain_mean(counts: Tensor) -> Tensor:
    return (_f1_from(0, 1)(counts) + _f1_from(0, 2)(counts)) / 2


_gain = _gain_by()


def _tests(seed: int, *cases: tuple[int, float]) -> Callable[[], Iterator[_Case]]:
    """N sentences, and how often the new system finds what the old one does not.

    Each draw comes four times, and the one in the middle five times. So the ends of the interval stand in the middle
    of equal values, and every usual rule for a quantile gives the same.
    """

    def made() -> Iterator[_Case]:
        new, old = torch.tensor([[1, 1, 1], [1, 1, 2]]), torch.tensor([[1, 1, 1], [0, 1, 2]])
        yield new, old, torch.tensor([[0, 1]] * 4)  # by hand: 80 - 40, in each draw
        generator = torch.Generator().manual_seed(seed)
        for size, gain in cases:
            real = torch.randint(1, 4, (size,), generator=generator)
            extra = torch.randint(0, 2, (size,), generator=generator)
            chance = torch.rand(3, size, generator=generator)
            old_right = (real * chance[0]).round().long()
            new_right = torch.minimum(real, old_right + (chance[1] < gain).long())
            old = torch.stack([old_right, old_right + extra, real], dim=1)
            new = torch.stack([new_right, new_right + (chance[2] < 0.4).long(), real], dim=1)
            once = torch.randint(size, (50, size), generator=generator)
            between = (_drawn(new, once) - _drawn(old, once)).argsort()[25]
            draws = torch.cat([once.repeat(4, 1), once[between, None]])
            yield new, old, draws[torch.randperm(len(draws), generator=generator)]

    return made


_GAIN_MISTAKES: dict[str, Callable[..., Any]] = {
    "old_minus_new": _gain_by(of=lambda new, old: old - new),
    "of_new_alone": _gain_by(of=lambda new, old: new),
    "high_and_low": _gain_by(ends=lambda values: _middle(values)[::-1]),
    "two_intervals": _two_intervals(lambda new, old: (new[0] - old[1], new[1] - old[0])),
    "ends_apart": _two_intervals(lambda new, old: (new[0] - old[0], new[1] - old[1])),
    "sorted_apart": _gain_by(of=lambda new, old: new.sort().values - old.sort().values),
    "every_with_every": _gain_by(of=lambda new, old: (new[:, None] - old[None, :]).flatten()),
    "mean_of_sentences": _mean_of_sentences,
    "repeats_lost": _repeats_lost,
    "all_draws": _gain_by(ends=lambda values: (float(values.min()), float(values.max()))),
    "ninety": _gain_by(ends=lambda values: _middle(values, 0.05)),
    "by_deviation": _gain_by(ends=_around(lambda values: 1.0)),
    "by_error_of_mean": _gain_by(ends=_around(lambda values: len(values) ** -0.5)),
    "shares": _gain_by(lambda counts: _points(counts) / 100),
    "two_missing": _gain_by(lambda counts: _points(counts) / 2),
    "precision": _gain_by(_f1_from(0, 1)),
    "recall": _gain_by(_f1_from(0, 2)),
    "plain_mean": _gain_by(_plain_mean),
}


def _as_pair(function: Any, *case: Any) -> Any:
    """A tensor or an array of the two ends may pass for a pair."""
    result = function(*case)
    return result.tolist() if isinstance(result, Tensor | np.ndarray) and result.shape == (2,) else result


EXERCISES = [
    Exercise(
        "adapter_numbers",
        minutes=6,
        difficulty=1,
        section="6",
        steps=[Equals("number", reference=_ADAPTER_NUMBERS, mistakes=_COUNT_MISTAKES)],
    ),
    Exercise(
        "token_labels",
        minutes=10,
        difficulty=1,
        section="2",
        steps=[
            Gives("pieces", reference=_token_labels, cases=_PIECES, mistakes=_LABEL_MISTAKES),
            Gives("edges", reference=_token_labels, cases=_EDGES, mistakes=_LABEL_MISTAKES),
        ],
    ),
    Exercise(
        "tagged_entities",
        minutes=15,
        difficulty=2,
        section="2",
        seconds=30.0,  # whoever compares with seqeval waits for what that imports
        steps=[
            Gives("plain", reference=_entities, cases=_PLAIN_TAGS, mistakes=_TAG_MISTAKES),
            Gives("stray", reference=_entities, cases=_STRAY_TAGS, mistakes=_STRAY_MISTAKES),
            Gives("tokens", reference=_entities, cases=_TOKENS, mistakes=_PIECE_MISTAKES),
        ],
    ),
    Exercise(
        "with_adapter",
        minutes=10,
        difficulty=2,
        section="6",
        steps=[
            Gives(
                "output",
                reference=_with_adapter,
                cases=lambda: _layers(92),
                mistakes=_OUTPUT_MISTAKES,
                call=_output_alone,
                tolerance=1e-4,
            ),
            Gives(
                "merged",
                reference=_with_adapter,
                cases=lambda: _layers(93),
                mistakes=_MERGED_MISTAKES,
                call=_merged_alone,
                tolerance=1e-4,
            ),
        ],
    ),
    Exercise(
        "best_answer",
        minutes=15,
        difficulty=2,
        section="10",
        steps=[
            Gives("pairs", reference=_best, cases=_pairs_alone, mistakes=_PAIR_MISTAKES),
            Gives("none", reference=_best, cases=_or_none, mistakes=_NONE_MISTAKES),
        ],
    ),
    Exercise(
        "answer_scores",
        minutes=15,
        difficulty=2,
        section="10",
        steps=[
            Gives("exact", reference=_scores, cases=_EXACT, mistakes=_EXACT_MISTAKES, call=_exact_alone),
            Gives("words", reference=_scores, cases=_WORDS, mistakes=_F1_MISTAKES, call=_truth_as_number),
            Gives("nothing", reference=_scores, cases=_NOTHING_IN_COMMON, call=_truth_as_number),
            Gives("several", reference=_scores, cases=_SEVERAL, mistakes=_SEVERAL_MISTAKES, call=_truth_as_number),
        ],
    ),
    Exercise(
        "gain_interval",
        minutes=20,
        difficulty=3,
        section="4",
        steps=[
            Gives(
                "interval",
                reference=_gain,
                cases=_tests(94, (13, 0.6), (17, 0.2)),
                mistakes=_GAIN_MISTAKES,
                call=_as_pair,
            )
        ],
    ),
]
