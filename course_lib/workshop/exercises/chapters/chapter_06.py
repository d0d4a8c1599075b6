"""Chapter 06, pretraining objectives: probes and typical mistakes. Their texts stand in ``texts/<language>/``.

Sizes: B sequences, T positions, P positions that are predicted, V vocabulary. In the cases no two sizes are equal.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workshop.exercises.steps import Answer, Equals, Exercise, Gives, Wrong, difference

_Case = tuple[Any, ...]
_IGNORE = -100


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _numbers(seed: int) -> Callable[..., Tensor]:
    generator = _generator(seed)
    return lambda *size: torch.randn(*size, generator=generator)


@dataclass(frozen=True)
class _Item(Equals):
    """One item of a list of answers, as ``read`` reads it."""

    index: int = 0
    count: int = 1
    read: Callable[[Any], Any] = lambda value: value

    def __call__(self, answer: Answer) -> None:
        if not _is_list(answer.value, self.count):
            raise difference(answer.value, [0.0] * self.count) or Wrong("wrong_kind")
        super().__call__(Answer(self.read(answer.value[self.index])))


_OPEN: dict[str, Any] = {"still_open": ...}


def _is_list(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count


# --- counted_targets --------------------------------------------------------------------------------------------------

# A row of 300 places: [CLS], 240 tokens, [SEP], 58 [PAD].


def _counts(index: int, key: str, reference: float, tolerance: float | None = None, **mistakes: float) -> _Item:
    return _Item(key, reference=reference, mistakes=mistakes | _OPEN, tolerance=tolerance, index=index, count=6)


_COUNTS = [
    _counts(0, "gpt", 241, end_forgotten=240, first_asked=242, padding_asked=300, padding_and_shift=299, as_bert=36),
    _counts(1, "bert", 36, of_the_row=45, specials_counted=36.3, masks_only=28.8, changed_only=32.4, all_of_them=240),
    _counts(2, "kept", 3.6, of_all_tokens=24, of_the_row=4.5, random_too=7.2, masks_only=28.8, a_share=0.1),
    _counts(3, "xlnet", 40, as_bert=36, of_the_row=50, specials_counted=242 / 6, the_context=200, all_of_them=240),
    _counts(4, "t5", 48, marks_forgotten=36, one_mark=37, closed=49, marks_alone=12, three_marks=39),
    _counts(5, "epochs", 7, tolerance=0.01, rounded_down=6, not_whole=241 / 36),
]


# --- spans_by_hand ----------------------------------------------------------------------------------------------------

_SHOWN = "<X> gave the kite to <Y> . Then <Z> went home ."
_ASKED = "<X> Rose <Y> Tom in the park <Z> he <U>"
_MENDED = "Lily and Ben met Tom in the garden ."


def _words(value: Any) -> Any:
    """A text with single spaces; a list of words is as good."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        value = " ".join(value)
    return " ".join(value.split()) if isinstance(value, str) else value


_SHOWN_MISTAKES = {
    "exchanged": _ASKED,
    "no_marks": "gave the kite to . Then went home .",
    "a_mark_for_each_word": "<X> gave the kite to <Y> <Z> <U> <V> . Then <W> went home .",
    "one_mark_for_all": "<X> gave the kite to <X> . Then <X> went home .",
    "same_mark_for_each_word": "<X> gave the kite to <Y> <Y> <Y> <Y> . Then <Z> went home .",
    "closing_mark_shown": _SHOWN + " <U>",
    "nothing_cut": "<X> Rose gave the kite to <Y> Tom in the park . Then <Z> he went home .",
    "kept_cut": "Rose <X> Tom in the park <Y> he <Z>",
    "nothing_for_the_first": "gave the kite to <X> . Then <Y> went home .",
}
_ASKED_MISTAKES = {
    "closing_mark_missing": "<X> Rose <Y> Tom in the park <Z> he",
    "marks_behind": "Rose <X> Tom in the park <Y> he <Z>",
    "marks_behind_and_closed": "Rose <X> Tom in the park <Y> he <Z> <U>",
    "no_marks": "Rose Tom in the park he",
    "whole_text": "Rose gave the kite to Tom in the park . Then he went home .",
    "exchanged": _SHOWN,
    "one_mark_for_all": "<X> Rose <X> Tom in the park <X> he <X>",
    "first_mark_missing": "Rose <Y> Tom in the park <Z> he <U>",
    "closed_with_the_last": "<X> Rose <Y> Tom in the park <Z> he <Z>",
    "a_mark_for_each_word": "<X> Rose <Y> Tom <Z> in <U> the <V> park <W> he",
}

_MENDED_MISTAKES = {
    "in_the_order_written": "Tom met Lily and Ben in the garden .",
    "marks_kept": "<X> Lily and Ben met <Y> Tom in the garden .",
    "closing_mark_kept": _MENDED + " <Z>",
    "one_behind_the_other": "<X> met <Y> in the garden . <Y> Tom <X> Lily and Ben <Z>",
}


# --- hidden_words -----------------------------------------------------------------------------------------------------

_SPECIAL = {"[PAD]": 0, "[SEP]": 3, "[CLS]": 7, "[MASK]": 12}
_MASK, _VOCABULARY = 12, 41
_ORDINARY = [token for token in range(_VOCABULARY) if token not in _SPECIAL.values()]

_FATES = {  # masked, random, kept
    "all_masked": (1.0, 0.0, 0.0),
    "kept_not_asked": (8 / 9, 1 / 9, 0.0),
    "tenth_of_the_rest": (0.8, 0.02, 0.18),
    "random_overwrites": (0.72, 0.1, 0.18),
    "half_overwrites": (0.4, 0.5, 0.1),
    "none_kept": (0.8, 0.2, 0.0),
    "none_random": (0.8, 0.0, 0.2),
    "all_random": (0.0, 1.0, 0.0),
    "mask_and_random_exchanged": (0.1, 0.8, 0.1),
    "mask_and_kept_exchanged": (0.1, 0.1, 0.8),
}
_SHARES = {
    "share_ignored": (0.15, 0.15),
    "share_of_all_places": (0.3 / 0.82, 0.1 / 0.82),
    "share_turned": (0.7, 0.9),
}


def _rows(seed: int) -> Tensor:
    """[CLS], words, [SEP], [PAD]: rows of any length up to 90."""
    generator = _generator(seed)
    ids = torch.tensor(_ORDINARY)[torch.randint(len(_ORDINARY), (80, 90), generator=generator)]
    lengths = torch.randint(60, 90, (80, 1), generator=generator)
    place = torch.arange(90)
    ids = ids.masked_fill(place == lengths, _SPECIAL["[SEP]"]).masked_fill(place > lengths, _SPECIAL["[PAD]"])
    return ids.masked_fill(place == 0, _SPECIAL["[CLS]"])


def _hide(answer: Answer, seed: int, share: float = 0.3, chance: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The text, and what the answer makes of it. ``chance`` is the seed of its generator."""
    ids = _rows(seed)
    result = answer(ids, sorted(_SPECIAL.values()), _MASK, _VOCABULARY, share, _generator(chance))
    answer.inputs = ()  # 80 rows: too many to show
    if not _is_list(result, 2):
        raise difference(result, [ids, ids]) or Wrong("wrong_kind")
    for part in result:
        if (wrong := difference(part, ids)) and wrong.name != "unknown":
            raise wrong
    if answer.changed_input:
        raise Wrong("changed_input")
    return ids, result[0].long(), result[1].long()


def specials_stay(answer: Answer) -> None:
    ids, shown, _ = _hide(answer, 60)
    for name, token in _SPECIAL.items():
        if (shown[ids == token] != token).any():
            raise Wrong("specials_hidden", token=name)


def chosen_are_asked(answer: Answer) -> None:
    ids, shown, targets = _hide(answer, 61)
    asked, changed = targets != _IGNORE, shown != ids
    ordinary = torch.isin(ids, torch.tensor(_ORDINARY))
    if not changed.any():
        raise Wrong("nothing_hidden")
    if not asked.any():
        raise Wrong("nobody_asked")
    if asked.all() and (targets != ids).float().mean() > 0.3:
        raise Wrong("other_ignore", value=targets.flatten().mode().values.item())
    if asked.all() or torch.equal(asked, ordinary):
        raise Wrong("all_asked")
    if not (asked & changed).any():
        raise Wrong("asked_elsewhere")
    if torch.equal(targets[asked], shown[asked]):
        raise Wrong("asked_for_what_is_shown")
    for name, token in _SPECIAL.items():
        if asked[ids == token].any():
            raise Wrong("specials_asked", token=name)
    if not torch.equal(targets[asked], ids[asked]):
        raise Wrong("other_words_asked")
    if (changed & ~asked).any():
        raise Wrong("hidden_not_asked")


@dataclass(frozen=True)
class _Fates(Equals):
    """The shares of the chosen that became [MASK], a random token, or stayed what they were."""

    def __call__(self, answer: Answer) -> None:
        ids, shown, targets = _hide(answer, 62)
        asked = targets != _IGNORE
        masked = (shown[asked] == _MASK).double().mean().item()
        kept = (shown[asked] == ids[asked]).double().mean().item()
        if masked + kept == 1 and 0.7 < masked < 0.9:
            raise Wrong("none_random")  # which is near to another mistake: 2%
        super().__call__(Answer(tuple(round(share, 2) for share in (masked, 1 - masked - kept, kept))))


@dataclass(frozen=True)
class _Share(Equals):
    """The share of all words that is chosen, for several shares."""

    shares: tuple[float, ...] = (0.3, 0.1)

    def __call__(self, answer: Answer) -> None:
        found = []
        for share in self.shares:
            ids, _, targets = _hide(answer, 63, share)
            words = torch.isin(ids, torch.tensor(_ORDINARY))
            found.append(round(((targets != _IGNORE).sum() / words.sum()).item(), 2))
        super().__call__(Answer(tuple(found)))


def random_words(answer: Answer) -> None:
    ids, shown, _ = _hide(answer, 64, share=0.5)
    drawn = shown[(shown != ids) & (shown != _MASK)].tolist()
    for name, token in _SPECIAL.items():
        if token in drawn:
            raise Wrong("special_drawn", token=name)
    if unknown := [token for token in drawn if not 0 <= token < _VOCABULARY]:
        raise Wrong("no_such_token", token=unknown[0], last=_VOCABULARY - 1)
    if len(set(drawn)) < len(_ORDINARY) / 2:
        raise Wrong("one_for_all", count=len(set(drawn)))


def one_source_of_chance(answer: Answer) -> None:
    torch.default_generator.manual_seed(1)
    first = _hide(answer, 65)
    torch.default_generator.manual_seed(2)
    again = _hide(answer, 65)
    if not all(map(torch.equal, first, again)):
        raise Wrong("other_chance")
    if all(map(torch.equal, first, _hide(answer, 65, chance=1))):
        raise Wrong("always_the_same")


# --- cut_out ----------------------------------------------------------------------------------------------------------

_MARKS = [f"<{letter}>" for letter in "XYZUVWABCDEFGH"]
_Texts = tuple[list[str], list[str]]


def _runs(tokens: list[str], cut: list[bool]) -> list[tuple[bool, list[str]]]:
    pairs = groupby(zip(tokens, cut, strict=True), key=lambda pair: pair[1])
    return [(gone, [token for token, _ in run]) for gone, run in pairs]


def _cut_by(
    shown_for: Callable[[str, list[str]], list[str]] = lambda mark, run: [mark],
    asked_for: Callable[[str, list[str]], list[str]] = lambda mark, run: [mark, *run],
    closing: Callable[[bool, list[str], int], list[str]] = lambda open_end, marks, used: marks[used : used + open_end],
    mark_of: Callable[[list[str], int], str] = lambda marks, number: marks[number],
) -> Callable[[list[str], list[bool], list[str]], _Texts]:
    """Cutting in which one part may be another one. ``closing`` is told whether the text ends with a kept token."""

    def cut_out(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
        shown: list[str] = []
        asked: list[str] = []
        used = 0
        for gone, run in _runs(tokens, cut):
            if gone:
                mark = mark_of(marks, used)
                shown += shown_for(mark, run)
                asked += asked_for(mark, run)
                used += 1
            else:
                shown += run
        return shown, asked + closing(not cut[-1], marks, used)

    return cut_out


_cut_out = _cut_by()


def _mark_for_each(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
    shown: list[str] = []
    asked: list[str] = []
    used = 0
    for token, gone in zip(tokens, cut, strict=True):
        shown.append(marks[used] if gone else token)
        asked += [marks[used], token] if gone else []
        used += gone
    return shown, asked + marks[used : used + (not cut[-1])]


def _last_lost(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
    """A span is written down when a kept token comes: one at the end never is."""
    end = max((i + 1 for i, gone in enumerate(cut) if not gone), default=0)
    shown, asked = _cut_out(tokens[:end], cut[:end], marks) if end else ([], [])
    return shown, asked[:-1] if cut[-1] else asked


def _none_at_the_beginning(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
    """A span begins where the token before it was kept; before the first token there is none."""
    shown, asked = _cut_out(tokens, cut, [""] * cut[0] + marks)
    return [token for token in shown if token], [token for token in asked if token]


def _last_token_before_the_first(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
    """For the first token, ``cut[i - 1]`` is the last one."""
    return (_none_at_the_beginning if cut[-1] else _cut_out)(tokens, cut, marks)


def _first_mark_skipped(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
    """The mark is counted up before it is used."""
    return _cut_out(tokens, cut, marks[1:])


def _marks_by_place(tokens: list[str], cut: list[bool], marks: list[str]) -> _Texts:
    """A mark for each run, kept or cut."""
    shown: list[str] = []
    asked: list[str] = []
    for number, (gone, run) in enumerate(_runs(tokens, cut)):
        shown += [marks[number]] if gone else run
        asked += [marks[number], *run] if gone else []
    return shown, asked + [marks[len(_runs(tokens, cut))]] * (not cut[-1])


_CUT_MISTAKES: dict[str, Callable[..., Any]] = {
    "closing_missing": _cut_by(closing=lambda open_end, marks, used: []),
    "always_closed": _cut_by(closing=lambda open_end, marks, used: [marks[used]]),
    "closed_with_the_last": _cut_by(closing=lambda open_end, marks, used: [marks[max(used - 1, 0)]] * open_end),
    "mark_for_each_token": _mark_for_each,
    "one_mark_for_all": _cut_by(
        mark_of=lambda marks, number: marks[0], closing=lambda open_end, marks, used: marks[:open_end]
    ),
    "marks_behind": _cut_by(asked_for=lambda mark, run: [*run, mark]),
    "asked_without_marks": _cut_by(asked_for=lambda mark, run: run),
    "shown_without_marks": _cut_by(shown_for=lambda mark, run: []),
    "mark_as_often_as_tokens": _cut_by(shown_for=lambda mark, run: [mark] * len(run)),
    "nothing_taken_out": _cut_by(shown_for=lambda mark, run: [mark, *run]),
    "kept_and_cut_exchanged": lambda tokens, cut, marks: _cut_out(tokens, [not gone for gone in cut], marks),
    "exchanged": lambda *case: _cut_out(*case)[::-1],
    "last_span_lost": _last_lost,
    "no_mark_at_the_beginning": _none_at_the_beginning,
    "last_token_before_the_first": _last_token_before_the_first,
    "first_mark_skipped": _first_mark_skipped,
    "marks_reversed": lambda tokens, cut, marks: _cut_out(tokens, cut, marks[::-1]),
    "marks_counted_over_kept": _marks_by_place,
    "first_token_only": _cut_by(asked_for=lambda mark, run: [mark, run[0]]),
}


def _spans(text: str, cut: str) -> _Case:
    return text.split(), [place == "x" for place in cut], _MARKS[:9]


_THANKS = "Thank you for inviting me to your party last week ."
_IN_THE_MIDDLE = [_spans("Tom met Rose .", ".xx."), _spans(_THANKS, "..xx....x.."), _spans(_THANKS, ".x..xxx.x..")]
_AT_THE_ENDS = [
    _spans("Tom met Rose .", "xx.x"),
    _spans(_THANKS, "x..xx...xxx"),
    _spans("Tom met Rose .", "x.x."),
    _spans("Tom met Rose", "xxx"),
    _spans("Tom met Rose", "..."),
    _spans("Tom", "x"),
]


def _long_texts() -> Iterator[_Case]:
    generator = _generator(66)
    for length in (23, 17, 30):
        cut = (torch.rand(length, generator=generator) < 0.4).tolist()
        yield [f"w{i}" for i in torch.randint(9, (length,), generator=generator)], cut, _MARKS


# --- two_masks --------------------------------------------------------------------------------------------------------

_Reads = Callable[[Tensor, Tensor, int], Tensor]
_ORDERS = [([3, 0, 4, 1, 2], 2), ([5, 2, 0, 6, 3, 1, 4], 3), ([2, 5, 0, 4, 1, 3], 1)]
_EDGES = [([2, 0, 3, 1], 0), ([1, 4, 2, 0, 3], 4), ([0, 1, 2], 0), ([0], 0)]


def _ranks(order: list[int]) -> Tensor:
    """When each place comes."""
    return torch.tensor(order).argsort()


def _query_by(reads: _Reads) -> Callable[[list[int], int], Tensor]:
    """(P, T) from a condition on when the predicted place comes, and when the one that is read."""
    return lambda order, context: reads(
        torch.arange(context, len(order))[:, None], _ranks(order)[None], context
    ).expand(len(order) - context, len(order))


def _content_by(reads: _Reads) -> Callable[[list[int], int], Tensor]:
    return lambda order, context: reads(_ranks(order)[:, None], _ranks(order)[None], context).expand(
        len(order), len(order)
    )


_query_mask = _query_by(lambda reader, read, context: read < reader)
_content_mask = _content_by(lambda reader, read, context: (read <= reader) | (read < context))


def _two_masks(order: list[int], context: int) -> tuple[Tensor, Tensor]:
    return _query_mask(order, context), _content_mask(order, context)


def _first_of_two(function: Any, *case: Any) -> Any:
    result = function(*case)
    return result[0] if _is_list(result, 2) else result


def _second_of_two(function: Any, *case: Any) -> Any:
    result = function(*case)
    return result[1] if _is_list(result, 2) else result


def _numbers_compared(order: list[int]) -> Tensor:
    """The order itself taken for the ranks."""
    return torch.tensor(order)


_QUERY_ALONE: dict[str, Callable[[list[int], int], Tensor]] = {
    "reads_itself": _query_by(lambda reader, read, context: read <= reader),
    "context_only": _query_by(lambda reader, read, context: read < context),
    "all_but_itself": _query_by(lambda reader, read, context: read != reader),
    "reads_what_comes_later": _query_by(lambda reader, read, context: read > reader),
    "inverted": lambda order, context: ~_query_mask(order, context),
    "order_for_ranks": lambda order, context: (
        _numbers_compared(order)[None] < _numbers_compared(order)[torch.tensor(order)[context:], None]
    ),
    "from_left_to_right": lambda order, context: torch.arange(len(order)) < torch.tensor(order)[context:, None],
    "rows_in_text_order": lambda order, context: _query_mask(order, context)[torch.tensor(order)[context:].argsort()],
    "columns_in_the_order": lambda order, context: (
        torch.arange(len(order)) < torch.arange(context, len(order))[:, None]
    ),
    "rows_for_all": lambda order, context: _content_by(lambda reader, read, _: read < reader)(order, context),
    "rows_for_all_with_context": lambda order, context: _content_by(
        lambda reader, read, context: (read < reader) | (read < context)
    )(order, context),
    "turned": lambda order, context: _query_mask(order, context).mT,
    "rows_of_the_context": lambda order, context: _content_by(lambda reader, read, _: read < reader)(order, context)[
        torch.tensor(order)[:context]
    ],
}
_QUERY_MISTAKES: dict[str, Callable[..., Any]] = {
    name: lambda order, context, wrong=wrong: (wrong(order, context), _content_mask(order, context))
    for name, wrong in _QUERY_ALONE.items()
} | {"masks_exchanged": lambda *case: _two_masks(*case)[::-1]}

_CONTENT_ALONE: dict[str, Callable[[list[int], int], Tensor]] = {
    "content_without_itself": _content_by(lambda reader, read, context: (read < reader) | (read < context)),
    "context_one_by_one": _content_by(lambda reader, read, context: read <= reader),
    "context_reads_all": _content_by(lambda reader, read, context: (read <= reader) | (reader < context)),
    "one_by_one_without_itself": _content_by(lambda reader, read, context: read < reader),
    "context_without_itself": _content_by(
        lambda reader, read, context: (read < reader) | ((read < context) & (read != reader))
    ),
    "nobody_reads_itself_or_later": _content_by(lambda reader, read, context: (read < context) & (read != reader)),
    "context_and_itself": _content_by(lambda reader, read, context: (read < context) | (read == reader)),
    "reads_all": _content_by(lambda reader, read, context: read >= 0),
    "inverted": lambda order, context: ~_content_mask(order, context),
    "turned": lambda order, context: _content_mask(order, context).mT,
    "order_for_ranks": lambda order, context: (
        (_numbers_compared(order)[None] <= _numbers_compared(order)[:, None])
        | (_numbers_compared(order)[None] < context)
    ),
    "from_left_to_right": lambda order, context: torch.ones(len(order), len(order)).tril().bool(),
    "left_to_right_and_context": lambda order, context: (
        torch.ones(len(order), len(order)).tril().bool() | (_ranks(order)[None] < context)
    ),
    "in_the_order": lambda order, context: _content_mask(order, context)[order][:, order],
    "rows_in_the_order": lambda order, context: _content_mask(order, context)[order],
}
_CONTENT_MISTAKES: dict[str, Callable[..., Any]] = {
    name: lambda order, context, wrong=wrong: (_query_mask(order, context), wrong(order, context))
    for name, wrong in _CONTENT_ALONE.items()
}


# --- leaks ------------------------------------------------------------------------------------------------------------


class _Predictor:
    """Logits (P, V): each prediction is a weighted sum of what its row of ``mask`` lets it read.

    ``own`` is what each prediction takes from its own place besides, and ``peeks`` says which of them recognise one
    token there, and no other.
    """

    __name__ = "model"  # as a verdict calls it

    def __init__(self, seed: int, mask: Tensor, queries: list[int], vocabulary: int, own: list[float], peeks: int = -1):
        randn = _numbers(seed)
        self.table = randn(vocabulary, vocabulary)
        self.weights = mask * (1 + randn(*mask.shape).abs())
        self.queries, self.own, self.peeks = queries, torch.tensor(own), peeks

    def __call__(self, ids: Tensor) -> Tensor:
        embedded = self.table[ids]
        logits = self.weights @ embedded + self.own[:, None] * embedded[self.queries]
        if self.peeks >= 0:
            logits[0] += 3.0 * (ids[self.queries[0]] == self.peeks)
            logits[0, 0] -= 1.5 * (ids[self.queries[0]] == self.peeks)
        return logits


def _text_for(
    seed: int, order: list[int], context: int, own: list[float], peeks: int = -1, mask: Tensor | None = None
) -> _Case:
    vocabulary, queries = 11, order[context:]
    mask = _query_mask(order, context) if mask is None else mask
    ids = torch.randint(vocabulary, (len(order),), generator=_generator(seed))
    return _Predictor(seed, mask.float(), queries, vocabulary, own, peeks), ids, queries, vocabulary


def _clear_leaks() -> Iterator[_Case]:
    yield _text_for(70, [5, 1, 3, 7, 0, 2, 6, 4], 5, [0.0, 0.0, 0.0])
    yield _text_for(71, [3, 0, 4, 1, 2, 5, 6], 3, [2.0, 2.0, 2.0, 2.0])
    yield _text_for(72, [2, 5, 0, 4, 1, 3], 2, [0.0, 3.0, 0.0, 2.0])
    order = [3, 0, 4, 1, 2]  # as a BERT: all places but its own
    yield _text_for(77, order, 2, [0.0, 0.0, 2.0], mask=_QUERY_ALONE["all_but_itself"](order, 2))


def _small_leaks() -> Iterator[_Case]:
    yield _text_for(73, [3, 0, 4, 1, 2, 5, 6], 3, [0.0, 1e-3, 0.0, 0.0])
    yield _text_for(74, [2, 5, 0, 4, 1, 3], 3, [1e-4, 0.0, 1e-4])


def _rare_leaks() -> Iterator[_Case]:
    """One token is recognised at the first of the places that are predicted: the next one, token 0, or any other."""
    for seed, order in ((75, [4, 0, 3, 1, 2]), (76, [1, 5, 4, 0, 2, 3])):
        case = seed, order, 2, [0.0] * (len(order) - 2)
        _, ids, queries, vocabulary = _text_for(*case)
        here = int(ids[queries[0]])
        for peeks in (here + 4, here + 7, here + 1, 0):
            yield _text_for(*case, peeks % vocabulary)


def _leaks_by(
    differs: Callable[[Tensor, Tensor, int], bool] = lambda one, other, i: not torch.equal(one[i], other[i]),
    place_of: Callable[[list[int], int], list[int]] = lambda queries, i: [queries[i]],
    tokens: Callable[[int, int], Sequence[int]] = lambda own, vocabulary: range(vocabulary),
    keeps: bool = False,
) -> Callable[..., list[bool]]:
    """The test in which one part may be another one. ``keeps``: what was changed for one prediction stays changed."""

    def leaks(model: Callable[[Tensor], Tensor], ids: Tensor, queries: list[int], vocabulary: int) -> list[bool]:
        before, found, working = model(ids), [], ids.clone()
        for i in range(len(queries)):
            places = place_of(queries, i)
            noticed = False
            for token in tokens(int(ids[places[0]]), vocabulary):
                working = working if keeps else ids.clone()
                working[places] = token
                noticed = noticed or differs(before, model(working), i)
            found.append(noticed)
        return found

    return leaks


_leaks = _leaks_by()


_LEAK_MISTAKES: dict[str, Callable[..., Any]] = {
    "looks_at_all_predictions": _leaks_by(differs=lambda one, other, i: not torch.equal(one, other)),
    "all_targets_changed": _leaks_by(place_of=lambda queries, i: list(queries)),
    "changes_stay": _leaks_by(keeps=True),
    "wrong_place": _leaks_by(place_of=lambda queries, i: [i]),
    "finds_all": lambda model, ids, queries, vocabulary: [True] * len(queries),
    "opposite": lambda *case: [not leak for leak in _leaks(*case)],
    "one_answer": lambda *case: any(_leaks(*case)),
    "no_leak_is_true": lambda *case: not any(_leaks(*case)),
    "places_that_leak": lambda model, ids, queries, vocabulary: [
        place for place, leak in zip(queries, _leaks(model, ids, queries, vocabulary), strict=True) if leak
    ],
    "with_tolerance": _leaks_by(differs=lambda one, other, i: not torch.allclose(one[i], other[i], atol=1e-2)),
    "best_guess_only": _leaks_by(differs=lambda one, other, i: bool(one[i].argmax() != other[i].argmax())),
    "one_other_token": _leaks_by(tokens=lambda own, vocabulary: [(own + 1) % vocabulary]),
    "token_0_only": _leaks_by(tokens=lambda own, vocabulary: [0]),
    "last_token_decides": _leaks_by(tokens=lambda own, vocabulary: [vocabulary - 1]),
}
_CLEAR_MISTAKES = _LEAK_MISTAKES | {"finds_nothing": lambda model, ids, queries, vocabulary: [False] * len(queries)}


# --- electra_loss -----------------------------------------------------------------------------------------------------


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return -logits.log_softmax(dim=-1).gather(-1, targets[..., None]).squeeze(-1)


def _verdict_nats(scores: Tensor, replaced: Tensor) -> Tensor:
    """-log of the probability of what is true."""
    return F.softplus(torch.where(replaced, -scores, scores))


def _electra_cases() -> Iterator[_Case]:
    """Padding comes last. Of the hidden words some are drawn right, and elsewhere ``drawn`` has any tokens."""
    for seed, (rows, length, vocabulary), weight in (
        (83, (2, 4, 5), 50.0),
        (80, (3, 8, 7), 20.0),
        (81, (2, 9, 5), 10.0),
        (82, (4, 6, 9), 3.0),
    ):
        generator = _generator(seed)
        randn = _numbers(seed)

        def tokens(many: int, *size: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randint(many, size, generator=generator)

        ids = tokens(vocabulary, rows, length)
        real = torch.arange(length) < length - torch.arange(rows)[:, None]
        chosen = (torch.rand(rows, length, generator=generator) < 0.4) & real
        chosen[:, 1] = chosen[0, 3] = True
        drawn = (ids + 1 + tokens(vocabulary - 1, rows, length)) % vocabulary
        drawn[0, 1] = ids[0, 1]  # drawn right
        drawn[0, 2] = (ids[0, 2] + 1) % vocabulary
        chosen[0, 2] = False
        yield ids, real, chosen, drawn, 1.5 * randn(rows, length, vocabulary), _Judge(seed, vocabulary), weight


class _Judge:
    """Scores (B, T): each is made of its token and of the two beside it."""

    __name__ = "judge"

    def __init__(self, seed: int, vocabulary: int) -> None:
        self.own, self.beside = _numbers(seed + 10)(2, vocabulary)

    def __call__(self, shown: Tensor) -> Tensor:
        beside = 0.5 * self.beside[shown]
        return 1.3 * self.own[shown] + beside.roll(1, dims=1) + beside.roll(-1, dims=1)


def _electra_by(
    first: Callable[..., Tensor] = lambda nats, ids, real, chosen, drawn: nats(ids)[chosen].mean(),
    shown: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda ids, chosen, drawn: torch.where(chosen, drawn, ids),
    replaced: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda ids, chosen, drawn: chosen & (drawn != ids),
    second: Callable[..., Tensor] = lambda nats, real, chosen, replaced: nats[real].mean(),
    verdict: Callable[[Tensor, Tensor], Tensor] = _verdict_nats,
    both: Callable[[Tensor, Tensor, float], Tensor] = lambda one, two, weight: one + weight * two,
) -> Callable[..., float]:
    def electra_loss(
        ids: Tensor,
        real: Tensor,
        chosen: Tensor,
        drawn: Tensor,
        guesses: Tensor,
        judge: Callable[[Tensor], Tensor],
        weight: float,
    ) -> float:
        one = first(lambda targets: _nats(guesses, targets), ids, real, chosen, drawn)
        truth = replaced(ids, chosen, drawn)
        two = second(verdict(judge(shown(ids, chosen, drawn)), truth), real, chosen, truth)
        return float(both(one, two, weight))

    return electra_loss


_electra = _electra_by()


def _generator_alone(function: Any, *case: Any) -> Any:
    return function(*case[:-1], 0.0)


def _judge_alone(function: Any, *case: Any) -> Any:
    """A loss is linear in the weight: the difference is the second part."""
    return function(*case[:-1], 1.0) - function(*case[:-1], 0.0)


def _mean_of_rows(values: Tensor, counted: Tensor) -> Tensor:
    return ((values * counted).sum(dim=1) / counted.sum(dim=1)).mean()


_GENERATOR_MISTAKES: dict[str, Callable[..., Any]] = {
    "asked_everywhere": _electra_by(first=lambda nats, ids, real, chosen, drawn: nats(ids)[real].mean()),
    "asked_at_padding": _electra_by(first=lambda nats, ids, real, chosen, drawn: nats(ids).mean()),
    "asked_for_the_drawn": _electra_by(first=lambda nats, ids, real, chosen, drawn: nats(drawn)[chosen].mean()),
    "asked_where_replaced": _electra_by(
        first=lambda nats, ids, real, chosen, drawn: nats(ids)[chosen & (drawn != ids)].mean()
    ),
    "first_summed": _electra_by(first=lambda nats, ids, real, chosen, drawn: nats(ids)[chosen].sum()),
    "first_over_all": _electra_by(first=lambda nats, ids, real, chosen, drawn: nats(ids)[chosen].sum() / real.sum()),
    "first_over_places": _electra_by(
        first=lambda nats, ids, real, chosen, drawn: nats(ids)[chosen].sum() / real.numel()
    ),
    "first_by_rows": _electra_by(first=lambda nats, ids, real, chosen, drawn: _mean_of_rows(nats(ids), chosen)),
    "weight_on_the_first": _electra_by(both=lambda one, two, weight: weight * one + two),
    "weight_forgotten": _electra_by(both=lambda one, two, weight: one + two),
    "weight_shared": _electra_by(both=lambda one, two, weight: (1 - weight) * one + weight * two),
}
_JUDGE_MISTAKES: dict[str, Callable[..., Any]] = {
    "judges_the_text": _electra_by(shown=lambda ids, chosen, drawn: ids),
    "drawn_everywhere": _electra_by(
        shown=lambda ids, chosen, drawn: drawn, replaced=lambda ids, chosen, drawn: drawn != ids
    ),
    "shown_drawn_everywhere": _electra_by(shown=lambda ids, chosen, drawn: drawn),
    "replaced_outside": _electra_by(replaced=lambda ids, chosen, drawn: drawn != ids),
    "hidden_is_replaced": _electra_by(replaced=lambda ids, chosen, drawn: chosen),
    "labels_exchanged": _electra_by(replaced=lambda ids, chosen, drawn: ~(chosen & (drawn != ids))),
    "hidden_only": _electra_by(second=lambda nats, real, chosen, replaced: nats[chosen].mean()),
    "replaced_only": _electra_by(second=lambda nats, real, chosen, replaced: nats[replaced].mean()),
    "padding_judged": _electra_by(second=lambda nats, real, chosen, replaced: nats.mean()),
    "divided_by_places": _electra_by(second=lambda nats, real, chosen, replaced: nats[real].sum() / nats.numel()),
    "divided_by_hidden": _electra_by(second=lambda nats, real, chosen, replaced: nats[real].sum() / chosen.sum()),
    "second_summed": _electra_by(second=lambda nats, real, chosen, replaced: nats[real].sum()),
    "second_by_rows": _electra_by(second=lambda nats, real, chosen, replaced: _mean_of_rows(nats, real)),
    "sigmoid_twice": _electra_by(verdict=lambda scores, replaced: _verdict_nats(scores.sigmoid(), replaced)),
    "log_missing": _electra_by(verdict=lambda scores, replaced: -torch.where(replaced, scores, -scores).sigmoid()),
    "second_negative": _electra_by(verdict=lambda scores, replaced: -_verdict_nats(scores, replaced)),
}


def both_learn(answer: Answer) -> None:
    ids, real, chosen, drawn, guesses, _, weight = next(_electra_cases())
    loss = answer(ids, real, chosen, drawn, guesses.requires_grad_(), _Judge(80, 5), weight)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise Wrong("no_gradient_for_the_first")
    judge = _Judge(80, 5)
    judge.own.requires_grad_()
    loss = answer(ids, real, chosen, drawn, guesses.detach(), judge, weight)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise Wrong("no_gradient_for_the_second")


EXERCISES = [
    Exercise("counted_targets", minutes=6, difficulty=1, section="1", steps=_COUNTS),
    Exercise(
        "spans_by_hand",
        minutes=8,
        difficulty=1,
        section="5",
        steps=[
            _Item("shown", reference=_SHOWN, mistakes=_SHOWN_MISTAKES | _OPEN, index=0, count=3, read=_words),
            _Item("asked", reference=_ASKED, mistakes=_ASKED_MISTAKES | _OPEN, index=1, count=3, read=_words),
            _Item("mended", reference=_MENDED, mistakes=_MENDED_MISTAKES | _OPEN, index=2, count=3, read=_words),
        ],
    ),
    Exercise(
        "hidden_words",
        minutes=15,
        difficulty=2,
        section="2",
        steps=[
            specials_stay,
            chosen_are_asked,
            _Fates("fates", reference=(0.8, 0.1, 0.1), mistakes=_FATES, tolerance=0.045),
            _Share("share", reference=(0.3, 0.1), mistakes=_SHARES, tolerance=0.025),
            random_words,
            one_source_of_chance,
        ],
    ),
    Exercise(
        "cut_out",
        minutes=12,
        difficulty=2,
        section="5",
        steps=[
            Gives("middle", reference=_cut_out, cases=_IN_THE_MIDDLE, mistakes=_CUT_MISTAKES),
            Gives("ends", reference=_cut_out, cases=_AT_THE_ENDS, mistakes=_CUT_MISTAKES),
            Gives("long", reference=_cut_out, cases=_long_texts),
        ],
    ),
    Exercise(
        "two_masks",
        minutes=15,
        difficulty=2,
        section="4",
        steps=[
            Gives("query", reference=_two_masks, cases=_ORDERS, mistakes=_QUERY_MISTAKES, call=_first_of_two),
            Gives("content", reference=_two_masks, cases=_ORDERS, mistakes=_CONTENT_MISTAKES, call=_second_of_two),
            Gives("edges", reference=_two_masks, cases=_EDGES),
        ],
    ),
    Exercise(
        "leaks",
        minutes=15,
        difficulty=2,
        section="4",
        steps=[
            Gives("clear", reference=_leaks, cases=_clear_leaks, mistakes=_CLEAR_MISTAKES),
            Gives("small", reference=_leaks, cases=_small_leaks, mistakes=_LEAK_MISTAKES),
            Gives("rare", reference=_leaks, cases=_rare_leaks, mistakes=_LEAK_MISTAKES),
        ],
    ),
    Exercise(
        "electra_loss",
        minutes=25,
        difficulty=3,
        section="8",
        steps=[
            Gives(
                "first",
                reference=_electra,
                cases=_electra_cases,
                mistakes=_GENERATOR_MISTAKES,
                call=_generator_alone,
            ),
            Gives(
                "second",
                reference=_electra,
                cases=_electra_cases,
                mistakes=_JUDGE_MISTAKES | {"weight_shared": _GENERATOR_MISTAKES["weight_shared"]},
                call=_judge_alone,
            ),
            Gives("together", reference=_electra, cases=_electra_cases, mistakes=_GENERATOR_MISTAKES),
            both_learn,
        ],
    ),
]
