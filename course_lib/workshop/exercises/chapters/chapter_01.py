"""Chapter 01: pairs, merges, bits per byte, round trips, the gradient of a table, windows, padding, splits."""

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from course_lib.data.tokenizers import BytePairTokenizer
from course_lib.workshop.exercises.steps import Answer, Catches, Exercise, Gives, Wrong, difference

# --- best_pair: counting neighbours --------------------------------------------------------------------------------

_Words = dict[tuple[str, ...], int]


def _words_without_ties() -> Iterator[_Words]:
    yield _spelled({"found": 9, "banana": 6, "street": 5, "cocoa": 1, "papaya": 8})
    yield {("ee", "l"): 6, ("t", "re", "e"): 5, ("k", "ee", "p", "e", "r"): 4} | _spelled({"rose": 2, "hen": 3})
    yield _spelled({"so": 1, "saw": 2, "raw": 2, "was": 3, "os": 3, "e": 9})


def _words_with_ties() -> Iterator[_Words]:
    yield _spelled({"tom": 2, "hat": 9, "hen": 9, "keeper": 5, "door": 5})
    yield {("s", "t", "re", "e", "t"): 6, ("ee", "l"): 8} | _spelled({"hat": 8, "behind": 1, "hen": 4})


def _spelled(words: dict[str, int]) -> _Words:
    return {tuple(word): count for word, count in words.items()}


def _pair_counts(words: _Words, weigh: Callable[[list[Any], int], dict[Any, int]]) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for word, count in words.items():
        counts.update(weigh(list(itertools.pairwise(word)), count))
    return counts


def _every_time(pairs: list[Any], count: int) -> dict[Any, int]:
    return {pair: count * pairs.count(pair) for pair in pairs}


def _most(counts: Counter[Any]) -> Any:
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _best_pair(words: _Words) -> Any:
    return _most(_pair_counts(words, _every_time))


def _across_words(words: _Words) -> Any:
    row = [piece for word, count in words.items() for _ in range(count) for piece in word]
    return _most(Counter(itertools.pairwise(row)))


def _first_seen(words: _Words) -> Any:
    return _pair_counts(words, _every_time).most_common(1)[0][0]


def _last_in_the_alphabet(words: _Words) -> Any:
    counts = _pair_counts(words, _every_time)
    return max(counts, key=lambda pair: (counts[pair], pair))


def _least_frequent(words: _Words) -> Any:
    counts = _pair_counts(words, _every_time)
    return min(counts, key=lambda pair: (counts[pair], pair))


def _pair_of_letters(words: _Words) -> Any:
    letters: _Words = Counter()
    for word, count in words.items():
        letters[tuple("".join(word))] += count
    return _best_pair(letters)


def _pair_and_count(words: _Words) -> Any:
    counts = _pair_counts(words, _every_time)
    return _most(counts), max(counts.values())


_PAIR_MISTAKES: dict[str, Callable[..., Any]] = {
    "counts_ignored": lambda words: _best_pair(dict.fromkeys(words, 1)),
    "once_per_word": lambda words: _most(_pair_counts(words, lambda pairs, count: dict.fromkeys(pairs, count))),
    "across_words": _across_words,
    "letters_not_pieces": _pair_of_letters,
    "least_frequent": _least_frequent,
    "joined": lambda words: "".join(_best_pair(words)),
    "pair_and_count": _pair_and_count,
    "first_seen": _first_seen,
    "last_in_the_alphabet": _last_in_the_alphabet,
}

# --- encode_word: replaying merges ---------------------------------------------------------------------------------

_Merges = list[tuple[str, str]]

_LEARNED: _Merges = [("i", "t"), ("t", "e"), ("it", "e"), ("k", "i"), ("e", "r"), ("te", "r"), ("k", "ite"), ("o", "w")]


def _one_merge() -> Iterator[tuple[str, _Merges]]:
    yield "banana", [("a", "n")]
    yield "aaaaaaa", [("a", "a")]
    yield "aaxaa", [("a", "a")]
    yield "onion", [("o", "n")]
    yield "kite", [("a", "n")]
    yield "a", [("a", "n")]
    yield "", [("a", "n")]


def _many_merges() -> Iterator[tuple[str, _Merges]]:
    for word in ("kites", "kiter", "writer", "tower", "terikit"):
        yield word, _LEARNED
    yield "exit", [("x", "i"), ("i", "t")]
    yield "seesees", [("s", "e"), ("e", "s"), ("se", "e"), ("e", "se"), ("see", "se")]


def _merged(pieces: list[str], pair: tuple[str, str], step: int = 2, most: int | None = None) -> list[str]:
    """One merge from left to right; ``step`` is how far to go after it, ``most`` how often to do it."""
    out: list[str] = []
    i = done = 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair and done != most:
            out.append("".join(pair))
            done += 1
            i += step
        else:
            out.append(pieces[i])
            i += 1
    return out


def _replayed(merge: Callable[..., list[str]]) -> Callable[[str, _Merges], list[str]]:
    def encode(word: str, merges: _Merges) -> list[str]:
        pieces = list(word)
        for pair in merges:
            pieces = merge(pieces, pair)
        return pieces

    return encode


def _merge_overlaps(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    here = [couple == pair for couple in itertools.pairwise(pieces)] + [False]
    out = []
    for i, piece in enumerate(pieces):
        if here[i]:
            out.append("".join(pair))
        elif i == 0 or not here[i - 1]:
            out.append(piece)
    return out


def _merge_from_the_right(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    flipped = _merged(pieces[::-1], pair[::-1])
    return ["".join(pair) if piece == "".join(pair[::-1]) else piece for piece in flipped[::-1]]


def _merge_without_the_last(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    out, i = [], 0
    while i < len(pieces) - 1:
        if tuple(pieces[i : i + 2]) == pair:
            out.append("".join(pair))
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def _merge_in_text(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    return " ".join(pieces).replace(" ".join(pair), "".join(pair)).split()


def _leftmost_first(word: str, merges: _Merges) -> list[str]:
    pieces = list(word)
    while found := next((i for i, pair in enumerate(itertools.pairwise(pieces), 1) if pair in merges), 0):
        pieces[found - 1 : found + 1] = ["".join(pieces[found - 1 : found + 1])]
    return pieces


def _longest_first(word: str, merges: _Merges) -> list[str]:
    known = {"".join(pair) for pair in merges}
    pieces, i = [], 0
    while i < len(word):
        end = next((j for j in range(len(word), i + 1, -1) if word[i:j] in known), i + 1)
        pieces.append(word[i:end])
        i = end
    return pieces


def _one_walk(word: str, merges: _Merges) -> list[str]:
    pieces, i = [], 0
    while i < len(word):
        size = 2 if tuple(word[i : i + 2]) in merges else 1
        pieces.append(word[i : i + size])
        i += size
    return pieces


def _stops_early(word: str, merges: _Merges) -> list[str]:
    pieces = list(word)
    for pair in merges:
        if pair not in itertools.pairwise(pieces):
            break
        pieces = _merged(pieces, pair)
    return pieces


_MERGE_MISTAKES: dict[str, Callable[..., Any]] = {
    "overlaps": _replayed(_merge_overlaps),
    "first_only": _replayed(lambda pieces, pair: _merged(pieces, pair, most=1)),
    "skips_one": _replayed(lambda pieces, pair: _merged(pieces, pair, step=3)),
    "second_stays": _replayed(lambda pieces, pair: _merged(pieces, pair, step=1)),
    "last_lost": _replayed(_merge_without_the_last),
    "from_the_right": _replayed(_merge_from_the_right),
    "never_merged": lambda word, merges: list(word),
}
_ORDER_MISTAKES: dict[str, Callable[..., Any]] = {
    "reversed_order": lambda word, merges: _replayed(_merged)(word, merges[::-1]),
    "one_walk": _one_walk,
    "leftmost_first": _leftmost_first,
    "longest_first": _longest_first,
    "inside_pieces": _replayed(_merge_in_text),
    "stops_early": _stops_early,
    "only_the_first_merge": lambda word, merges: _replayed(_merged)(word, merges[:1]),
}

# --- bits_per_byte: one ruler for all tokenizers -------------------------------------------------------------------


def _losses(size: int, seed: int) -> Tensor:
    return 0.2 + 3 * torch.rand(size, generator=torch.Generator().manual_seed(seed))


def _english_losses() -> Iterator[tuple[Tensor, str]]:
    yield _losses(6, 1), "Rose found a kite."
    yield _losses(11, 2), "Rose found a kite."
    yield _losses(1, 3), "kites"


def _other_losses() -> Iterator[tuple[Tensor, str]]:
    yield _losses(5, 4), "罗丝发现了一只风筝。"
    yield _losses(9, 5), "a 🪁, naïve!"


def _bits_per_byte(losses: Tensor, text: str) -> float:
    return float(losses.double().sum()) / math.log(2) / len(text.encode())


_BITS_MISTAKES: dict[str, Callable[..., Any]] = {
    "nats": lambda losses, text: _bits_per_byte(losses, text) * math.log(2),
    "times_log_2": lambda losses, text: _bits_per_byte(losses, text) * math.log(2) ** 2,
    "per_character": lambda losses, text: float(losses.sum()) / math.log(2) / len(text),
    "per_token": lambda losses, text: float(losses.mean()) / math.log(2),
    "nats_per_token": lambda losses, text: float(losses.mean()),
    "mean_over_bytes": lambda losses, text: float(losses.mean()) / math.log(2) / len(text.encode()),
    "whole_text": lambda losses, text: float(losses.sum()) / math.log(2),
    "log_10": lambda losses, text: float(losses.sum()) / math.log10(2) / len(text.encode()),
    "upside_down": lambda losses, text: 1 / _bits_per_byte(losses, text),
    "per_bit": lambda losses, text: _bits_per_byte(losses, text) / 8,
    "log_of_losses": lambda losses, text: float(losses.log2().sum()) / len(text.encode()),
}

# --- round_trips: a test for tokenizers ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _ByteTokenizer:
    """One id for each byte; ``change`` and ``most`` are what is broken."""

    change: Callable[[str], str] = str
    most: int | None = None

    def encode(self, text: str) -> list[int]:
        return list(self.change(text).encode())[: self.most]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(map(int, ids)).decode("utf-8", "replace")


class _TokenByToken(_ByteTokenizer):
    def decode(self, ids: Iterable[int]) -> str:
        return "".join(bytes([int(i)]).decode("utf-8", "replace") for i in ids)


class _CodePoints:
    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(chr(int(i)) for i in ids)


_RIGHT_TOKENIZERS: dict[str, Any] = {
    "bytes": _ByteTokenizer(),
    "code_points": _CodePoints(),
    "byte_pairs": BytePairTokenizer([(105, 116), (256, 101), (32, 107), (258, 257)], special_tokens=["<|end|>"]),
}
_BROKEN_TOKENIZERS: dict[str, Any] = {
    "lower_case": _ByteTokenizer(str.lower),
    "joins_with_spaces": _ByteTokenizer(lambda text: " ".join(re.findall(r"\w+|[^\w\s]", text))),
    "token_by_token": _TokenByToken(),
    "drops_unknown": _ByteTokenizer(lambda text: text.encode("latin-1", "ignore").decode("latin-1")),
    "no_emoji": _ByteTokenizer(lambda text: re.sub(r"[\U00010000-\U0010ffff]", "\ufffd", text)),
    "strips_the_end": _ByteTokenizer(str.rstrip),
    "loses_the_first_space": _ByteTokenizer(lambda text: text.removeprefix(" ")),
    "one_space_for_many": _ByteTokenizer(lambda text: re.sub(r"[ \t]+", " ", text)),
    "normalises": _ByteTokenizer(lambda text: unicodedata.normalize("NFKC", text)),
    "eats_markers": _ByteTokenizer(lambda text: text.replace("<|end|>", "")),
    "cuts_long_texts": _ByteTokenizer(most=512),
}

# --- table_gradient: which rows of an embedding learn --------------------------------------------------------------


def _gradients() -> Iterator[tuple[Tensor, Tensor, int]]:
    for ids, width, rows in (([4, 1, 4, 0, 4], 3, 7), ([2, 5, 2, 2, 5, 3], 4, 8), ([3], 2, 5), ([0, 2, 1], 5, 4)):
        yield torch.tensor(ids), torch.randn(len(ids), width, generator=torch.Generator().manual_seed(rows)), rows


def _table_gradient(ids: Tensor, upstream: Tensor, rows: int) -> Tensor:
    return torch.zeros(rows, upstream.shape[1]).index_add(0, ids, upstream)


def _how_often(ids: Tensor, rows: int) -> Tensor:
    return torch.bincount(ids, minlength=rows)[:, None].float()


def _put(ids: Tensor, upstream: Tensor, rows: int) -> Tensor:
    table = torch.zeros(rows, upstream.shape[1])
    for i, row in zip(ids.tolist(), upstream, strict=True):
        table[i] = row
    return table


def _sum_for_each(ids: Tensor, upstream: Tensor, rows: int) -> Tensor:
    return (_how_often(ids, rows) > 0) * upstream.sum(0)


_TABLE_MISTAKES: dict[str, Callable[..., Any]] = {
    "last_wins": _put,
    "first_wins": lambda ids, upstream, rows: _put(ids.flip(0), upstream.flip(0), rows),
    "averaged": lambda ids, g, rows: _table_gradient(ids, g, rows) / _how_often(ids, rows).clamp(min=1),
    "averaged_nan": lambda ids, g, rows: _table_gradient(ids, g, rows) / _how_often(ids, rows),
    "divided_by_all": lambda ids, g, rows: _table_gradient(ids, g, rows) / len(ids),
    "times_count": lambda ids, g, rows: _table_gradient(ids, g, rows) * _how_often(ids, rows),
    "same_for_all": _sum_for_each,
    "counts_only": lambda ids, g, rows: _how_often(ids, rows).expand(rows, g.shape[1]),
    "only_rows_used": lambda ids, g, rows: _table_gradient(ids, g, rows)[ids.unique()],
    "as_many_rows_as_seen": lambda ids, g, rows: _table_gradient(ids, g, int(ids.max()) + 1),
    "a_row_for_each_token": lambda ids, g, rows: g,
    "looked_up_again": lambda ids, g, rows: _table_gradient(ids, g, rows)[ids],
    "turned": lambda ids, g, rows: _table_gradient(ids, g, rows).T,
    "minus": lambda ids, g, rows: -_table_gradient(ids, g, rows),
}

# --- shifted: windows and their targets ----------------------------------------------------------------------------

_Windows = tuple[Tensor, Tensor]


def _long_texts() -> Iterator[tuple[Tensor, int]]:
    for size, length, seed in ((14, 4, 1), (23, 5, 2), (30, 8, 4)):
        yield torch.randperm(90, generator=torch.Generator().manual_seed(seed))[:size] + 5, length


def _texts_that_fit() -> Iterator[tuple[Tensor, int]]:
    for size, length, seed in ((12, 4, 5), (21, 7, 6), (9, 1, 7), (7, 6, 3)):
        yield torch.randperm(90, generator=torch.Generator().manual_seed(seed))[:size] + 5, length


def _shifted(ids: Tensor, length: int) -> _Windows:
    return _shift(ids, length, 1)


def _shift(ids: Tensor, length: int, by: int, fewer: int = 0) -> _Windows:
    used = length * ((len(ids) - by) // length - fewer)
    return ids[:used].reshape(-1, length), ids[by : by + used].reshape(-1, length)


def _shifted_back(ids: Tensor, length: int) -> _Windows:
    targets, inputs = _shifted(ids, length)
    return inputs, targets


def _rolled(ids: Tensor, length: int) -> _Windows:
    used = len(ids) // length * length
    return ids[:used].reshape(-1, length), ids.roll(-1)[:used].reshape(-1, length)


def _rolled_after_cutting(ids: Tensor, length: int) -> _Windows:
    ids = ids[: len(ids) // length * length]
    return ids.reshape(-1, length), ids.roll(-1).reshape(-1, length)


def _rolled_in_windows(ids: Tensor, length: int) -> _Windows:
    inputs = ids[: len(ids) // length * length].reshape(-1, length)
    return inputs, inputs.roll(-1, dims=1)


def _same_twice(ids: Tensor, length: int) -> _Windows:
    inputs, _ = _shifted(ids, length)
    return inputs, inputs


def _filled_up(ids: Tensor, length: int) -> _Windows:
    return _shifted(_filled(ids, 1 - len(ids), length), length)


def _filled_up_apart(ids: Tensor, length: int, target: int = 0) -> _Windows:
    inputs, targets = _filled(ids[:-1], 1 - len(ids), length), _filled(ids[1:], 1 - len(ids), length, target)
    return inputs.reshape(-1, length), targets.reshape(-1, length)


def _filled(ids: Tensor, used: int, length: int, value: int = 0) -> Tensor:
    return torch.cat([ids, torch.full((used % length,), value)])


def _overlapping(ids: Tensor, length: int) -> _Windows:
    return ids[:-1].unfold(0, length, 1), ids[1:].unfold(0, length, 1)


def _too_short(ids: Tensor, length: int) -> _Windows:
    windows = ids[: len(ids) // length * length].reshape(-1, length)
    return windows[:, :-1], windows[:, 1:]


def _long_steps(ids: Tensor, length: int) -> _Windows:
    windows = ids[: len(ids) // (length + 1) * (length + 1)].reshape(-1, length + 1)
    return windows[:, :-1], windows[:, 1:]


def _turned(ids: Tensor, length: int) -> _Windows:
    inputs, targets = _shifted(ids, length)
    return inputs.T, targets.T


def _down_the_columns(ids: Tensor, length: int) -> _Windows:
    inputs, targets = _shifted(ids, length)
    return inputs.reshape(length, -1).T, targets.reshape(length, -1).T


_SHIFT_MISTAKES: dict[str, Callable[..., Any]] = {
    "same_twice": _same_twice,
    "by_two": lambda ids, length: _shift(ids, length, 2),
    "backwards": _shifted_back,
    "rolled_in_windows": _rolled_in_windows,
    "rolled": _rolled,
    "rolled_after_cutting": _rolled_after_cutting,
    "filled_up": _filled_up,
    "filled_up_apart": _filled_up_apart,
    "filled_up_and_ignored": lambda ids, length: _filled_up_apart(ids, length, target=-100),
    "overlapping": _overlapping,
    "too_short": _too_short,
    "long_steps": _long_steps,
    "one_window_fewer": lambda ids, length: _shift(ids, length, 1, fewer=1),
    "turned": _turned,
    "down_the_columns": _down_the_columns,
}

# --- padded_rows: the bug ------------------------------------------------------------------------------------------

_Texts = list[list[int]]


def _texts_of_unequal_length() -> Iterator[tuple[_Texts, int]]:
    yield [[7, 3], [5, 8, 2, 6], [4]], 9
    yield [[1, 2, 3], [4, 5, 6, 7, 8, 11], [12, 2], [3], [6, 1, 5, 4, 2]], 13


def _one_text() -> Iterator[tuple[_Texts, int]]:
    yield [[5, 3, 8]], 0
    yield [[2], [4]], 6


def _pad(texts: _Texts, end: int, filling: int | None = None, ends: int = 1) -> _Windows:
    """Rows filled with ``filling`` (or ``end``), and targets that count up to the ``ends``-th end."""
    width = 1 + max(map(len, texts))
    ids = torch.full((len(texts), width), end if filling is None else filling)
    targets = torch.full((len(texts), width + 1), -100)
    for b, text in enumerate(texts):
        ids[b, : len(text) + 1] = torch.tensor([*text, end])
        targets[b, : len(text)] = torch.tensor([*text[1:], end])
        targets[b, len(text) : len(text) + ends - 1] = end
    targets = targets[:, :width]
    if ends > 1:
        targets[:, -1] = -100
    return ids, targets


def _no_end_is_learned(texts: _Texts, end: int) -> _Windows:
    ids, targets = _pad(texts, end)
    return ids, targets.masked_fill(targets == end, -100)


def _everything_counts(texts: _Texts, end: int) -> _Windows:
    return _pad(texts, end, ends=1 + max(map(len, texts)))


def _last_column_too(texts: _Texts, end: int) -> _Windows:
    ids, targets = _everything_counts(texts, end)
    return ids, torch.cat([targets[:, :-1], torch.full((len(texts), 1), end)], dim=1)


def _wraps_around(texts: _Texts, end: int) -> _Windows:
    ids, targets = _pad(texts, end)
    return ids, torch.cat([targets[:, :-1], ids[:, :1]], dim=1)


def _only_the_longest(texts: _Texts, end: int) -> _Windows:
    ids, targets = _pad(texts, end)
    longest = torch.tensor([len(text) == max(map(len, texts)) for text in texts])[:, None]
    return ids, targets.masked_fill((targets == end) & ~longest, -100)


def _all_but_the_longest(texts: _Texts, end: int) -> _Windows:
    ids, targets = _pad(texts, end)
    longest = torch.tensor([len(text) == max(map(len, texts)) for text in texts])[:, None]
    return ids, targets.masked_fill((targets == end) & longest, -100)


def _not_shifted(texts: _Texts, end: int) -> _Windows:
    ids, _ = _pad(texts, end)
    real = _pad(texts, end, filling=-100)[0]
    return ids, real


def _end_marker_lost(texts: _Texts, end: int) -> _Windows:
    ids, targets = _pad(texts, end)
    ids, targets = ids[:, :-1], targets[:, :-1].masked_fill(targets[:, :-1] == end, -100)
    return ids, targets


_PAD_MISTAKES: dict[str, Callable[..., Any]] = {
    "still_there": _no_end_is_learned,
    "everything_counts": _everything_counts,
    "last_column_too": _last_column_too,
    "one_too_many": lambda texts, end: _pad(texts, end, ends=2),
    "wraps_around": _wraps_around,
    "only_the_longest": _only_the_longest,
    "all_but_the_longest": _all_but_the_longest,
    "not_shifted": _not_shifted,
    "end_marker_lost": _end_marker_lost,
    "minus_100_in_ids": lambda texts, end: _pad(texts, end, filling=-100),
    "minus_1_in_ids": lambda texts, end: _pad(texts, end, filling=-1),
    "zero_in_ids": lambda texts, end: _pad(texts, end, filling=0),
}

# --- side_of: a split by content -----------------------------------------------------------------------------------

_SIGMAS = 6.0  # a fair hash leaves these bounds about once in 500 million


def _sentences(number: int, seed: int = 0) -> list[str]:
    """Different texts of unequal length, as in a pile of web pages."""
    generator = numpy.random.default_rng(seed)
    words = ["Rose", "found", "a", "kite", "behind", "the", "door", "风筝", "café", "and", "Tom", "lost", "his", "hat"]
    rows = [" ".join(generator.choice(words, size=generator.integers(3, 12))) for _ in range(number)]
    return [f"{row} {i}" for i, row in enumerate(rows)]


def _share_in_test(answer: Answer, texts: list[str], share: float) -> float:
    return sum(answer(text, share) == "test" for text in texts) / len(texts)


def _far(found: float, share: float, number: int) -> bool:
    return abs(found - share) > _SIGMAS * math.sqrt(share * (1 - share) / number)


def says_a_side(answer: Answer) -> None:
    for text in ("Rose found a kite.", "罗丝发现了一只风筝。", "a", "", "🪁" * 30):
        side = answer(text, 0.3)
        if isinstance(side, bool):
            raise Wrong("truth_for_a_side")
        if not isinstance(side, str) and (wrong := difference(side, "test")):
            raise wrong
        if side not in {"train", "test"}:
            raise Wrong("another_word", got=repr(side)[:40])


def same_text_same_side(answer: Answer) -> None:
    texts = _sentences(60)
    sides = [answer(text, 0.4) for text in texts]
    for again in (texts, texts[::-1], texts[::2]):
        if [answer(text, 0.4) for text in again] != [sides[texts.index(text)] for text in again]:
            raise Wrong("changes_its_mind")
    copies = ["".join(list(text)) for text in texts]  # equal texts at another address
    if [answer(text, 0.4) for text in copies] != sides:
        raise Wrong("by_address")


def every_process_agrees(answer: Answer) -> None:
    """Python salts ``hash`` anew in each process: so for a while the learner's code sees the hash of another one."""
    texts = _sentences(200, seed=1)
    sides = elsewhere = [answer(text, 0.5) for text in texts]
    names = getattr(answer.value, "__globals__", {})
    if "hash" not in names:  # else it is a function of the learner's own
        names["hash"] = lambda value: hash(("another process", value))
        try:
            elsewhere = [answer(text, 0.5) for text in texts]
        finally:
            del names["hash"]
    moved = sum(here != there for here, there in zip(sides, elsewhere, strict=True))
    if moved or any(sides == [_by_hash(text, n) for text in texts] for n in (2, 10, 100, 1000, 10_000)):
        raise Wrong("salted")


def _by_hash(text: str, n: int) -> str:
    return "test" if hash(text) % n < 0.5 * n else "train"


def _families(number: int) -> Iterator[tuple[Wrong, list[str]]]:
    """Texts that agree in something, and what is wrong where that alone decides."""
    generator = numpy.random.default_rng(3)
    hanzi = "风筝罗丝发现了一只红色的帽子在海边图书馆"

    def letters(size: int | None = None, alphabet: str = "abcdefghijklmnopqrstuvwxyz ") -> str:
        return "".join(generator.choice(list(alphabet), size=size or int(generator.integers(9, 30))))

    yield Wrong("by_length"), [letters(24) for _ in range(number)]
    yield (
        Wrong("by_letters"),
        ["".join(generator.permutation(list("behind the old lighthouse"))) for _ in range(number)],
    )
    yield Wrong("by_beginning"), [f"Once upon a time Rose found {letters()}" for _ in range(number)]
    yield Wrong("by_end"), [f"{letters()} and they all went home again." for _ in range(number)]
    yield Wrong("ascii_only"), [letters(alphabet=hanzi) for _ in range(number)]


def whole_text_decides(answer: Answer) -> None:
    if len({answer(text, 0.5) for text in _sentences(200)}) == 1:
        return  # all on one side: that is for the next step
    for wrong, texts in _families(200):
        if len({answer(text, 0.5) for text in texts}) == 1:
            raise wrong


def about_the_share(answer: Answer) -> None:
    texts = _sentences(2000, seed=2)
    shares = (0.2, 0.9, 0.55, 0.02)
    found = {share: _share_in_test(answer, texts, share) for share in shares}
    wrong = [share for share in shares if _far(found[share], share, len(texts))]
    if wrong:
        share = wrong[0]
        numbers = {"share": f"{share:.0%}", "found": f"{found[share]:.1%}"}
        if all(value in (0, 1) for value in found.values()):
            raise Wrong("one_side_only", **numbers)
        if not any(_far(1 - found[share], share, len(texts)) for share in shares):
            raise Wrong("share_inverted", **numbers)
        if len(set(found.values())) == 1:
            raise Wrong("share_ignored", **numbers)
        for whole in (round, int):
            if not any(_far(found[share], 1 / whole(1 / share), len(texts)) for share in shares):
                raise Wrong("one_in_n", **numbers)
        if wrong == [0.02]:
            raise Wrong("too_coarse", **numbers)
        raise Wrong("wrong_share", **numbers)
    if extra := sum(answer(text, 0.0) == "test" for text in texts):
        raise Wrong("test_at_share_zero", count=extra)


EXERCISES = [
    Exercise(
        "best_pair",
        minutes=5,
        difficulty=1,
        section="3",
        steps=[
            Gives("most_frequent", reference=_best_pair, cases=_words_without_ties, mistakes=_PAIR_MISTAKES),
            Gives("ties", reference=_best_pair, cases=_words_with_ties, mistakes=_PAIR_MISTAKES),
        ],
    ),
    Exercise(
        "encode_word",
        minutes=12,
        difficulty=2,
        section="3",
        steps=[
            Gives("one_merge", reference=_replayed(_merged), cases=_one_merge, mistakes=_MERGE_MISTAKES),
            Gives(
                "many_merges",
                reference=_replayed(_merged),
                cases=_many_merges,
                mistakes=_ORDER_MISTAKES | _MERGE_MISTAKES,
            ),
        ],
    ),
    Exercise(
        "bits_per_byte",
        minutes=8,
        difficulty=2,
        section="4",
        steps=[
            Gives("english", reference=_bits_per_byte, cases=_english_losses, mistakes=_BITS_MISTAKES),
            Gives("any_text", reference=_bits_per_byte, cases=_other_losses, mistakes=_BITS_MISTAKES),
        ],
    ),
    Exercise(
        "round_trips",
        minutes=12,
        difficulty=2,
        section="5",
        steps=[Catches("catches", right=_RIGHT_TOKENIZERS, broken=_BROKEN_TOKENIZERS)],
    ),
    Exercise(
        "table_gradient",
        minutes=10,
        difficulty=2,
        section="6",
        steps=[Gives("values", reference=_table_gradient, cases=_gradients, mistakes=_TABLE_MISTAKES)],
    ),
    Exercise(
        "shifted",
        minutes=8,
        difficulty=1,
        section="7",
        steps=[
            Gives("windows", reference=_shifted, cases=_long_texts, mistakes=_SHIFT_MISTAKES),
            Gives("no_target_left", reference=_shifted, cases=_texts_that_fit, mistakes=_SHIFT_MISTAKES),
        ],
    ),
    Exercise(
        "padded_rows",
        minutes=10,
        difficulty=2,
        section="7",
        steps=[
            Gives("values", reference=_pad, cases=_texts_of_unequal_length, mistakes=_PAD_MISTAKES),
            Gives("nothing_to_pad", reference=_pad, cases=_one_text, mistakes=_PAD_MISTAKES),
        ],
    ),
    Exercise(
        "side_of",
        minutes=20,
        difficulty=3,
        section="8",
        steps=[
            says_a_side,
            same_text_same_side,
            every_process_agrees,
            whole_text_decides,
            about_the_share,
        ],
    ),
]
