"""Tokenizers: text becomes a list of whole numbers, and comes back unchanged.

``CharacterTokenizer`` gives each character a number. ``BytePairTokenizer`` starts from the 256 bytes and keeps joining
the pair of neighbours that is seen most often: Sennrich, Haddow and Birch 2016, section 3.2, on bytes as in Radford et
al. 2019 (GPT-2), section 2.2. With bytes at the bottom no text is unknown: Chinese, emoji and code all round-trip.

Words used here: a *token* is a piece of text with a number, its *id*; a *word* is what the split pattern cuts from the
text (often a word with the space before it), and no token reaches over the end of a word; a *merge* is the pair of ids
that became one new token; a *special token* is a marker such as ``<|endoftext|>``: it stands for an event, not text.

Three rules hold for both tokenizers:

- ``decode(encode(text)) == text`` for every string, the empty one included. A lone surrogate (half of a UTF-16 pair) is
  no Unicode character, has no UTF-8 form, and is refused with a ``ValueError``.
- Special tokens in a text are plain text, unless you say ``allow_special=True``. Otherwise anybody who types
  ``<|endoftext|>`` into your program could steer the model. When allowed, the leftmost one wins, and of those that
  start at the same place the longest.
- The same input gives the same tokenizer and the same ids, on every machine.
"""

import hashlib
import heapq
import json
import operator
import os
import re
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import regex  # like re, with the Unicode classes that the split patterns need: \p{L} letters, \p{N} numbers

from course_lib.data.files import write_whole

# How GPT-2 cuts text into words (openai/gpt-2, src/encoder.py).
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# How GPT-4 does it (openai/tiktoken, "cl100k_base", in its first and plainest form): capitals in contractions, numbers
# in groups of three, line ends kept together. Both treat an unbroken run of Chinese characters as one word.
GPT4_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_FORMAT = "course_lib tokenizer"
_VERSION = 1


class Tokenizer(ABC):
    """What both tokenizers share: special tokens, streams, decoding and files. The subclasses know the rest.

    Ids run from 0 to ``vocab_size - 1``: first the ordinary tokens, then the special ones in the order given.
    """

    _kind: ClassVar[str]

    def __init__(self, ordinary: Sequence[bytes], special_tokens: Sequence[str]) -> None:
        specials = _checked_special_tokens(special_tokens)
        self._token_bytes = [*ordinary, *(token.encode() for token in specials)]
        self.special_ids: dict[str, int] = {token: len(ordinary) + i for i, token in enumerate(specials)}
        # A regular expression tries its alternatives in order, so the longest token has to stand first.
        longest_first = sorted(specials, key=len, reverse=True)
        self._special_pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if specials else None

    @property
    def vocab_size(self) -> int:
        """The number of ids, special tokens included."""
        return len(self._token_bytes)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return tuple(self.special_ids)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of ``text``. Special tokens in it are plain text unless ``allow_special``.

        Raises ``ValueError`` for a lone surrogate and (characters only) for a character the tokenizer does not know.
        """
        check_text("text", text)
        ids: list[int] = []
        for _, word_ids in self._encode_words(text, allow_special, start=0):
            ids += word_ids
        return ids

    def encode_batch(self, texts: Iterable[str], *, allow_special: bool = False) -> list[list[int]]:
        """One list of ids for each text."""
        if isinstance(texts, str):
            raise TypeError("texts is one string: use encode(text), or give a list of strings")
        return [self.encode(text, allow_special=allow_special) for text in texts]

    def encode_stream(self, pieces: Iterable[str], *, allow_special: bool = False) -> Iterator[int]:
        """The ids of one long text that arrives in pieces, such as the lines or blocks of a file.

        The pieces may be cut anywhere, within a word or a special token too: the ids are those of
        ``encode("".join(pieces))``. They come one by one, and memory holds no more than one piece, the words and ids in
        it, and the longest word. (With a pattern of your own this holds if a word's end depends only on the word, the
        white space behind it and two more characters, as in both patterns here.)
        """
        longest_special = max(map(len, self.special_tokens)) if allow_special and self.special_tokens else 1
        buffer, enough, start = "", 0, 0
        for piece in pieces:
            check_text("a piece of the stream", piece)
            buffer += piece
            if len(buffer) < enough:
                continue
            # What stands before `known` is the same whatever comes next; the last word before it may still grow.
            known = buffer[: max(0, len(buffer) - longest_special + 1)]
            safe = len(known.rstrip()) - 2
            done = 0
            for length, word_ids in self._encode_words(buffer, allow_special, start):
                if done + length > safe:
                    break
                yield from word_ids
                done += length
            buffer, start = buffer[done:], start + done
            enough = 2 * len(buffer)  # wait until an unfinished word has doubled, so that no word costs quadratic time
        for _, word_ids in self._encode_words(buffer, allow_special, start):
            yield from word_ids

    def decode(self, ids: Iterable[int], *, errors: str = "replace") -> str:
        """The text of ``ids`` (any flat sequence of integers, tensors and arrays included).

        Ids chosen by a model may end in the middle of a character. ``errors`` is that of ``bytes.decode``: "replace"
        shows such bytes as U+FFFD, "strict" raises ``UnicodeDecodeError``. Raises ``ValueError`` for an unknown id.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact UTF-8 bytes of ``ids``, which need not be whole characters."""
        return b"".join([self._token_bytes[i] for i in self._checked_ids(ids)])

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one id stands for."""
        return self.decode_bytes([token_id])

    def tokens(self, text: str, *, allow_special: bool = False) -> list[str]:
        r"""The pieces of ``text``, one for each id, to look at. Part of a character is shown as bytes: ``\xe4\xbd``."""
        return [_readable(self._token_bytes[i]) for i in self.encode(text, allow_special=allow_special)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as JSON, for people to read too. The file is complete or not there at all.

        Fields: ``format``, ``version``, ``kind``, then the arguments of the class. ``merges`` holds one
        ``[left id, right id, "text of the new token"]`` a line; the n-th line makes id 256 + n, counted from 0.
        ``sha256`` is taken over all other fields (as compact JSON with sorted keys): ``load`` notices any change.
        """
        fields: dict[str, Any] = {"format": _FORMAT, "version": _VERSION, "kind": self._kind, **self._fields()}
        fields["special_tokens"] = list(self.special_tokens)
        with write_whole(Path(path)) as aside:
            aside.write_text(_json_by_lines({**fields, "sha256": _digest(fields)}), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what ``save`` wrote. Nothing in the file is executed; a damaged one is a ``ValueError`` saying why."""
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no tokenizer file: it should be JSON in UTF-8 ({error})") from error
        if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
            raise ValueError(f'{path} is no tokenizer file: it should be an object with "format": "{_FORMAT}"')
        if fields.get("version") != _VERSION:
            raise ValueError(f"{path} has version {fields.get('version')!r}: this program reads version {_VERSION}")
        if fields.get("kind") != cls._kind:
            raise ValueError(f"{path} holds a tokenizer of {fields.get('kind')!r}: {cls.__name__} reads {cls._kind!r}")
        digest = fields.pop("sha256", None)
        try:
            tokenizer = cls._from_fields(fields)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"field {error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path} is damaged: {problem}") from error
        if digest != _digest(fields):
            raise ValueError(f"{path} was changed after it was written: its sha256 does not fit. Save it again")
        return tokenizer

    def _encode_words(self, text: str, allow_special: bool, start: int) -> Iterator[tuple[int, Sequence[int]]]:
        """For each word or allowed special token: its length in characters and its ids. ``start`` is for messages."""
        parts = self._special_pattern.split(text) if allow_special and self._special_pattern else [text]
        for number, part in enumerate(parts):
            if number % 2:  # split() gives plain text and special tokens in turn
                yield len(part), [self.special_ids[part]]
            else:
                yield from self._encode_plain(part, start)
            start += len(part)

    def _checked_ids(self, ids: Iterable[int]) -> list[int]:
        values = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(values, Iterable):
            raise TypeError(f"ids must be a sequence of integers, not {values!r}")
        checked = []
        for position, value in enumerate(values):
            try:
                token_id = operator.index(value)
            except TypeError:
                raise TypeError(f"ids[{position}] is {value!r:.60}: it must be an integer") from None
            if not 0 <= token_id < self.vocab_size:
                raise ValueError(f"ids[{position}] is {token_id}: this tokenizer has ids 0 to {self.vocab_size - 1}")
            checked.append(token_id)
        return checked

    @abstractmethod
    def _encode_plain(self, text: str, start: int) -> Iterator[tuple[int, Sequence[int]]]:
        """``_encode_words`` for text without special tokens."""

    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """What the file holds, besides the special tokens."""

    @classmethod
    @abstractmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        """The tokenizer of these fields, all of which come from a file that nobody has checked."""


class CharacterTokenizer(Tokenizer):
    """One id for each character that the training text holds, in the order of their code points.

    ``CharacterTokenizer("abc")`` gives a, b and c the ids 0, 1 and 2; ``train`` collects the characters from a text.
    """

    _kind = "characters"

    def __init__(self, characters: str, *, special_tokens: Sequence[str] = ()) -> None:
        check_text("characters", characters)
        if not characters:
            raise ValueError("characters is empty: a tokenizer needs at least one character")
        twice = [character for character, count in Counter(characters).items() if count > 1]
        if twice:
            raise ValueError(f"characters holds {twice[0]!r} twice: each character can have only one id")
        self.characters = characters
        self._ids = {character: (i,) for i, character in enumerate(characters)}
        super().__init__([character.encode() for character in characters], special_tokens)

    @classmethod
    def train(cls, texts: str | Iterable[str], *, special_tokens: Sequence[str] = ()) -> Self:
        """Collect the characters of one text or of many. Characters inside special tokens count like all others."""
        characters: set[str] = set()
        for text in _checked_texts(texts):
            characters.update(text)
        if not characters:
            raise ValueError("texts holds no character: there is nothing to learn from")
        return cls("".join(sorted(characters)), special_tokens=special_tokens)

    def _encode_plain(self, text: str, start: int) -> Iterator[tuple[int, Sequence[int]]]:
        for position, character in enumerate(text, start):
            if character not in self._ids:
                raise ValueError(
                    f"unknown character {character!r} (U+{ord(character):04X}) at position {position}: this tokenizer "
                    f"knows the {len(self._ids)} characters it was trained on. Train it on a text that has this one"
                )
            yield 1, self._ids[character]

    def _fields(self) -> dict[str, Any]:
        return {"characters": self.characters}

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        return cls(fields["characters"], special_tokens=fields["special_tokens"])

    def __repr__(self) -> str:
        return f"CharacterTokenizer(vocab_size={self.vocab_size}, special_tokens={self.special_tokens})"


class BytePairTokenizer(Tokenizer):
    """Byte-level byte-pair encoding: ids 0 to 255 are the bytes, id 256 + n is what merge n makes of two earlier ids.

    To encode a word is to replay the merges on its bytes, the earliest merge first, each from left to right.

    ``BytePairTokenizer(merges)`` takes merges that you already have; ``train`` learns them. ``pattern`` says how text
    is cut into words: ``GPT4_PATTERN``, ``GPT2_PATTERN``, or your own for the ``regex`` package, without capturing
    groups. A character that the pattern leaves out is a word of its own, so that nothing is ever lost.
    """

    _kind = "byte pairs"
    _CACHED_WORDS = 100_000  # about 30 MB at most; a full cache starts again
    _CACHED_LENGTH = 100  # characters; longer words seldom come twice

    def __init__(
        self, merges: Iterable[tuple[int, int]], *, special_tokens: Sequence[str] = (), pattern: str = GPT4_PATTERN
    ) -> None:
        self._set_up(merges, special_tokens, pattern)
        # In merges that come from training, every token is what its own bytes become. If one is not, no text ever gives
        # it, and other programs that read the same merges (tiktoken goes by bytes) would not agree with this one.
        for new in range(256, self.vocab_size - len(self.special_ids)):
            ids = self._merge(self._token_bytes[new])
            if ids != (new,):
                raise ValueError(
                    f"merges[{new - 256}] makes {_readable(self._token_bytes[new])!r}, which the other merges turn "
                    f"into the ids {list(ids)}: no text would ever give id {new}. Use merges that come from training"
                )

    def _set_up(self, merges: Iterable[tuple[int, int]], special_tokens: Sequence[str], pattern: str) -> None:
        self.pattern = pattern
        self._word_pattern = _compiled(pattern)
        self._cache: dict[str, tuple[int, ...]] = {}
        self._merge_ids: dict[tuple[int, int], int] = {}
        token_bytes = [bytes([i]) for i in range(256)]
        for number, merge in enumerate(merges):
            left, right = _checked_merge(number, merge)
            self._merge_ids.setdefault((left, right), len(token_bytes))
            token_bytes.append(token_bytes[left] + token_bytes[right])
        super().__init__(token_bytes, special_tokens)

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = GPT4_PATTERN,
        min_count: int = 2,
    ) -> Self:
        """Learn merges until there are ``vocab_size`` ids: 256 bytes, the merges and the special tokens.

        ``texts`` is one text or an iterable of texts, read once and never held together: no word reaches from one text
        into the next. Special tokens that stand in a text end a word there, and are not learned from. Each step merges
        the pair with the highest count over all words (in "aaa" the pair (a, a) counts twice). Ties: the pair with the
        smaller left id, then the smaller right id. Training stops early when no pair is left that occurs ``min_count``
        times, so ``vocab_size`` is a limit, not a promise.
        """
        smallest = 256 + len(_checked_special_tokens(special_tokens))
        if type(vocab_size) is not int or type(min_count) is not int:
            raise TypeError(f"vocab_size and min_count must be integers, not {vocab_size!r} and {min_count!r}")
        if vocab_size < smallest:
            raise ValueError(f"vocab_size is {vocab_size}: 256 bytes and the special tokens already need {smallest}")
        if min_count < 1:
            raise ValueError(f"min_count is {min_count}: it must be at least 1")
        tokenizer = cls((), special_tokens=special_tokens, pattern=pattern)
        counts: Counter[str] = Counter()
        for text in _checked_texts(texts):
            parts = tokenizer._special_pattern.split(text)[::2] if tokenizer._special_pattern else [text]
            for part in parts:
                counts.update(tokenizer._word_pattern.findall(part))
        tokenizer._set_up(learn_merges(counts, vocab_size - smallest, min_count), special_tokens, pattern)
        return tokenizer

    @property
    def merges(self) -> list[tuple[int, int]]:
        """The merges in the order in which they were learned: number n makes id 256 + n."""
        return list(self._merge_ids)

    def _encode_plain(self, text: str, start: int) -> Iterator[tuple[int, Sequence[int]]]:
        for word in self._word_pattern.findall(text):
            ids = self._cache.get(word)
            if ids is None:
                ids = self._merge(word.encode())
                if len(word) <= self._CACHED_LENGTH:
                    if len(self._cache) >= self._CACHED_WORDS:
                        self._cache.clear()
                    self._cache[word] = ids
            yield len(word), ids

    def _merge(self, word: bytes) -> tuple[int, ...]:
        """The ids of one word. A heap offers the possible merges, the earliest first, then from left to right.

        ``left`` and ``right`` link each token to its neighbours, so a merge costs the same in a short and a long word.
        """
        ids = list(word)
        end = len(ids)
        left, right = list(range(-1, end - 1)), list(range(1, end + 1))
        merge_id = self._merge_ids.get
        heap = [(new, i) for i, pair in enumerate(pairwise(ids)) if (new := merge_id(pair)) is not None]
        heapq.heapify(heap)
        while heap:
            new, here = heapq.heappop(heap)
            there = right[here]
            if there == end or merge_id((ids[here], ids[there])) != new:
                continue  # one of the two has been merged with another neighbour meanwhile
            ids[here], ids[there] = new, -1  # -1: swallowed
            before, after = left[here], right[there]
            right[here] = after
            if after < end:
                left[after] = here
                if (next_id := merge_id((new, ids[after]))) is not None:
                    heapq.heappush(heap, (next_id, here))
            if before >= 0 and (next_id := merge_id((ids[before], new))) is not None:
                heapq.heappush(heap, (next_id, before))
        return tuple([i for i in ids if i >= 0])

    def _fields(self) -> dict[str, Any]:
        merges = [[left, right, _readable(self._token_bytes[new])] for (left, right), new in self._merge_ids.items()]
        return {"pattern": self.pattern, "merges": merges}

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        pattern, merges, special_tokens = fields["pattern"], fields["merges"], fields["special_tokens"]
        if not isinstance(merges, list) or not all(isinstance(merge, list) and len(merge) == 3 for merge in merges):
            raise ValueError('merges must be a list of [left id, right id, "text"]')
        tokenizer = cls([merge[:2] for merge in merges], special_tokens=special_tokens, pattern=pattern)
        for number, (left, right, text) in enumerate(merges):
            if text != _readable(tokenizer._token_bytes[256 + number]):
                raise ValueError(f"merges[{number}] is ({left}, {right}), which does not make {text!r}")
        return tokenizer

    def __repr__(self) -> str:
        special = f"special_tokens={self.special_tokens}"
        return f"BytePairTokenizer(vocab_size={self.vocab_size}, merges={len(self._merge_ids)}, {special})"


def learn_merges(word_counts: dict[str, int], number: int, min_count: int = 2) -> list[tuple[int, int]]:
    """The first ``number`` byte-pair merges of a text that holds each word ``word_counts[word]`` times.

    Counting all pairs again after each merge would be simple and slow. Three ideas make it fast and change no result:
    every different word is kept once, with its count; a merge touches only the places where its pair stands, and
    corrects the counts of the neighbouring pairs; a heap gives the most frequent pair, and an outdated entry in it is
    corrected when it comes to the top (counts of old pairs only fall, so no entry is ever too far down).
    """
    # All words stand in one row. left and right link each token to its neighbours in the same word; -1 is a word's end.
    ids: list[int] = []
    weight: list[int] = []  # how often the word occurs in the text
    left: list[int] = []
    right: list[int] = []
    for word, count in word_counts.items():
        if not word:
            continue
        start = len(ids)
        ids += word.encode()
        end = len(ids)
        weight += [count] * (end - start)
        left += [-1, *range(start, end - 1)]
        right += [*range(start + 1, end), -1]

    pair_count: defaultdict[tuple[int, int], int] = defaultdict(int)
    places: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # where a pair's left half stands, ascending
    for here, there in enumerate(right):
        if there >= 0:
            pair = ids[here], ids[there]
            pair_count[pair] += weight[here]
            places[pair].append(here)

    heap = [(-count, pair) for pair, count in pair_count.items()]  # equal counts: the smaller pair of ids comes first
    heapq.heapify(heap)
    merges: list[tuple[int, int]] = []
    while heap and len(merges) < number:
        negative_count, pair = heapq.heappop(heap)
        count = pair_count[pair]
        if count < min_count:
            continue
        if count != -negative_count:
            heapq.heappush(heap, (-count, pair))
            continue

        first, second = pair
        new = 256 + len(merges)
        merges.append(pair)
        created: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # the places of pairs that hold `new`
        for here in places.pop(pair):
            there = right[here]
            if there < 0 or ids[here] != first or ids[there] != second:
                continue  # swallowed by a merge since the place was noted, for instance by its neighbour in "aaa"
            ids[here], ids[there] = new, -1
            count = weight[here]
            before, after = left[here], right[there]
            right[here] = after
            if before >= 0:
                neighbour = ids[before]
                pair_count[neighbour, first] -= count
                created[neighbour, new].append(before)
                pair_count[neighbour, new] += count
            if after >= 0:
                left[after] = here
                neighbour = ids[after]
                pair_count[second, neighbour] -= count
                created[new, neighbour].append(here)
                pair_count[new, neighbour] += count
        for pair, where in created.items():
            if pair_count[pair] >= min_count:  # it will never be more frequent than now
                places[pair] = where
                heapq.heappush(heap, (-pair_count[pair], pair))
    return merges


def _readable(token: bytes) -> str:
    return token.decode("utf-8", "backslashreplace")


def check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {text!r:.80}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        surrogate = ord(text[error.start])
        raise ValueError(
            f"{name} holds a lone surrogate (U+{surrogate:04X}) at position {error.start}: that is half of a UTF-16 "
            "pair, not a Unicode character. Read the text again with its right encoding, or remove it"
        ) from None


def _checked_texts(texts: str | Iterable[str]) -> Iterator[str]:
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a string or an iterable of strings, not {texts!r:.80}")
    for number, text in enumerate([texts] if isinstance(texts, str) else texts):
        check_text(f"texts[{number}]", text)
        yield text


def _checked_special_tokens(special_tokens: Sequence[str]) -> list[str]:
    if isinstance(special_tokens, str) or not isinstance(special_tokens, Sequence):
        raise TypeError(f"special_tokens must be a tuple or list of strings, not {special_tokens!r:.80}")
    for number, token in enumerate(special_tokens):
        check_text(f"special_tokens[{number}]", token)
        if not token:
            raise ValueError(f"special_tokens[{number}] is empty: a special token needs at least one character")
        if token in special_tokens[:number]:
            raise ValueError(f"special_tokens holds {token!r} twice: each special token can have only one id")
    return list(special_tokens)


def _checked_merge(number: int, merge: object) -> tuple[int, int]:
    if not isinstance(merge, list | tuple) or len(merge) != 2 or not all(type(part) is int for part in merge):
        raise TypeError(f"merges[{number}] is {merge!r:.80}: it must be a pair of ids (left, right)")
    if not all(0 <= part < 256 + number for part in merge):
        raise ValueError(f"merges[{number}] is {tuple(merge)}: it can join only the ids 0 to {255 + number} before it")
    return merge[0], merge[1]


def _compiled(pattern: object) -> "regex.Pattern[str]":
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a string, not {pattern!r:.80}")
    try:
        compiled = regex.compile(pattern + r"|(?s:.)")  # what the pattern does not match must not get lost
    except regex.error as error:
        raise ValueError(f"pattern is no regular expression of the regex package: {error}") from error
    if compiled.groups or compiled.flags & (regex.VERBOSE | regex.REVERSE):
        raise ValueError(f"pattern must have no capturing groups and no flags x and r; (?:...) groups too: {pattern!r}")
    return compiled


def _digest(fields: dict[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _json_by_lines(fields: dict[str, Any]) -> str:
    """JSON with a line for each field and for each entry of a list."""
    lines = []
    for name, value in fields.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            entries = (json.dumps(entry, ensure_ascii=False) for entry in value)
            text = "[\n    " + ",\n    ".join(entries) + "\n  ]"
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
