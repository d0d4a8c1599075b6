"""WordPiece, the tokenizer of BERT: words are cut into the longest pieces that a vocabulary has.

Devlin et al. 2019, section 3; Wu et al. 2016, section 4.1, for the pieces. A vocabulary comes with a pretrained model;
nothing is trained here. Pieces and offsets are those of Transformers' ``BertTokenizer``, which is made of the package
``tokenizers``. (Only some hundred rare characters, newer than the tables of that package, may be cut otherwise.)

    tokenizer = WordPieceTokenizer.from_file("vocab.txt")
    tokenizer.encode("Unbelievable!")       # [CLS] un ##bel ##ievable ! [SEP], as ids

Two steps. First the text is made plain: control characters go, each Chinese character becomes a word, and, in an
*uncased* vocabulary, letters become small and lose their accents. Then it is cut at spaces and around punctuation, and
each word from left to right into pieces; all but the first of a word are written with ``##``. A word that cannot be
cut so is ``[UNK]`` as a whole.

So, unlike with the tokenizers of ``course_lib.data.tokenizers``, the text does not come back: ``decode`` gives a
readable one. What a token stands for in the *original* text, its ``offsets`` say.
"""

import json
import os
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from course_lib.data.tokenizers import check_text

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100  # characters; a longer one is [UNK]

# As in the package ``tokenizers``. In BERT's own code the block at U+2B920 begins at U+2B820.
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class Encoding(NamedTuple):
    """What is known of each token of a text, or of two. ``[CLS]`` and ``[SEP]`` have the offsets (0, 0) and no word.

    ``offsets``: where it begins and ends, in characters of its text as it was given. ``segments``: 0, and 1 for the
    second text and its ``[SEP]``. ``words``: the number of its word in its text, -1 for none.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    segments: list[int]
    words: list[int]


class WordPieceTokenizer:
    """``vocabulary`` holds the tokens by id: the special ones, words, and pieces that begin with ``##``.

    ``lowercase`` is True for an uncased vocabulary. ``strip_accents`` is the same where it is not given.

    Special tokens that stand in a text are plain text, unless you say ``allow_special=True``, which is how
    Transformers always reads them.
    """

    def __init__(self, vocabulary: Sequence[str], *, lowercase: bool = True, strip_accents: bool | None = None) -> None:
        self.vocabulary = list(vocabulary)
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self._ids = {token: i for i, token in enumerate(self.vocabulary)}
        if len(self._ids) < len(self.vocabulary):
            twice = next(token for i, token in enumerate(self.vocabulary) if self._ids[token] != i)
            raise ValueError(f"vocabulary holds {twice!r} twice: each token can have only one id")
        if missing := [token for token in SPECIAL_TOKENS if token not in self._ids]:
            raise ValueError(f"vocabulary has no {missing[0]}: it needs {', '.join(SPECIAL_TOKENS)}")
        self.special_ids: dict[str, int] = {token: self._ids[token] for token in SPECIAL_TOKENS}
        self.pad_id, self.unknown_id, self.class_id, self.separator_id, self.mask_id = self.special_ids.values()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, lowercase: bool = True) -> Self:
        """Read ``vocab.txt`` (a token a line) or ``tokenizer.json``.

        ``lowercase`` is for ``vocab.txt``, which does not say it. Raises ValueError for a file of another kind, or of a
        WordPiece that does not do what this one does.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            if Path(path).suffix != ".json":
                return cls(text.removesuffix("\n").split("\n"), lowercase=lowercase)
            return cls._from_fields(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"field {error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path} cannot be read as a vocabulary of WordPiece: {problem}") from error

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        for (part, name), right in _SETTINGS.items():
            value = (fields.get(part) or {}).get(name)
            if value != right or type(value) is not type(right):
                raise ValueError(f"{part} has {name} {value!r}, and {right!r} is what {cls.__name__} can do")
        vocabulary = sorted(fields["model"]["vocab"], key=fields["model"]["vocab"].get)
        if [fields["model"]["vocab"][token] for token in vocabulary] != list(range(len(vocabulary))):
            raise ValueError(f"vocab must have the ids 0 to {len(vocabulary) - 1}, each once")
        if added := [token["content"] for token in fields["added_tokens"] if token["content"] not in SPECIAL_TOKENS]:
            raise ValueError(f"added_tokens has {added[0]!r}, and {cls.__name__} knows {', '.join(SPECIAL_TOKENS)}")
        normalizer = fields["normalizer"]
        return cls(vocabulary, lowercase=normalizer["lowercase"], strip_accents=normalizer["strip_accents"])

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, *, max_length: int | None = None, allow_special: bool = False) -> list[int]:
        """The ids of ``[CLS] text [SEP]``. What would be more than ``max_length`` is cut from the text's end."""
        return self.encode_text(text, max_length=max_length, allow_special=allow_special).ids

    def encode_text(self, text: str, *, max_length: int | None = None, allow_special: bool = False) -> Encoding:
        """``encode``, with offsets and words."""
        tokens = self._tokens("text", text, allow_special)
        if max_length is not None:
            if max_length < 3:
                raise ValueError(f"max_length is {max_length}: with 2 special tokens it must be at least 3")
            tokens = tokens[: max_length - 2]
        return self._framed(tokens)

    def encode_pair(
        self,
        first: str,
        second: str,
        *,
        max_length: int | None = None,
        truncate: Literal["longest", "first", "second"] = "longest",
        allow_special: bool = False,
    ) -> Encoding:
        """``[CLS] first [SEP] second [SEP]``.

        Where that is more than ``max_length``, tokens are cut from the end of the ``first`` text or of the ``second``
        alone, or of the ``longest``: from one, and, when they are equally long, from both in turn.
        """
        if truncate not in ("longest", "first", "second"):
            raise ValueError(f"truncate is {truncate!r}: it must be 'longest', 'first' or 'second'")
        pair = self._tokens("first", first, allow_special), self._tokens("second", second, allow_special)
        if max_length is not None:
            left = _truncated_lengths(len(pair[0]), len(pair[1]), max_length - 3, truncate)
            if any(now < min(len(tokens), 1) for now, tokens in zip(left, pair, strict=True)):
                raise ValueError(
                    f"max_length is {max_length}: the texts have {len(pair[0])} and {len(pair[1])} tokens, and with 3 "
                    f"special ones, and truncate={truncate!r}, nothing would be left of one. Make it larger"
                )
            pair = pair[0][: left[0]], pair[1][: left[1]]
        return self._framed(*pair)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens, to look at."""
        values = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        for i, value in enumerate(values):
            if not isinstance(value, int) or not 0 <= value < self.vocab_size:
                raise ValueError(f"ids[{i}] is {value!r:.60}: this tokenizer has ids 0 to {self.vocab_size - 1}")
        return [self.vocabulary[i] for i in values]

    def decode(self, ids: Iterable[int], *, keep_special: bool = False) -> str:
        """A text that reads well: pieces joined, a space before each word but not before ``. ? ! ,``."""
        tokens = [token for token in self.tokens(ids) if keep_special or token not in self.special_ids]
        return "".join([tokens[0], *map(_spaced, tokens[1:])]) if tokens else ""

    def _tokens(self, name: str, text: str, allow_special: bool) -> list[tuple[int, tuple[int, int], int]]:
        """Id, offsets and word of each token."""
        check_text(name, text)
        found = []
        for number, (word, places) in enumerate(self._words(text, allow_special)):
            pieces = [(self._ids[word], 0, len(places))] if word in self.special_ids else self._pieces(word)
            found += [(i, (places[start], places[end - 1] + 1), number) for i, start, end in pieces]
        return found

    def _framed(self, *texts: list[tuple[int, tuple[int, int], int]]) -> Encoding:
        rows = [(self.class_id, (0, 0), 0, -1)]
        for segment, tokens in enumerate(texts):
            rows += [(i, offsets, segment, word) for i, offsets, word in tokens]
            rows.append((self.separator_id, (0, 0), segment, -1))
        return Encoding(*map(list, zip(*rows, strict=True)))

    def _words(self, text: str, allow_special: bool) -> Iterator[tuple[str, Sequence[int]]]:
        """The words of the text made plain, and for each character where it comes from in the text.

        A special token is a word, where it is allowed. Otherwise none can be: its brackets are punctuation.
        """
        start = 0
        for part in _SPECIAL.split(text) if allow_special else [text]:
            places = range(start, start := start + len(part))
            if allow_special and part in self.special_ids:
                yield part, places
            else:
                yield from self._plain_words(part, places)

    def _plain_words(self, text: str, places: range) -> Iterator[tuple[str, Sequence[int]]]:
        word = ""
        origins: list[int] = []
        for character, place in zip(text, places, strict=True):
            for plain in _made_plain(character, self.lowercase, self.strip_accents):
                alone = _is_punctuation(plain)
                if word and (alone or plain == " "):
                    yield word, origins
                    word, origins = "", []
                if alone:
                    yield plain, [place]
                elif plain != " ":
                    word += plain
                    origins.append(place)
        if word:
            yield word, origins

    def _pieces(self, word: str) -> list[tuple[int, int, int]]:
        """Id, start and end of each piece: from the left, each as long as the vocabulary allows."""
        unknown = [(self.unknown_id, 0, len(word))]
        if len(word) > LONGEST_WORD:
            return unknown
        pieces: list[tuple[int, int, int]] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                return unknown
            pieces.append((self._ids[prefix + word[start:end]], start, end))
            start = end
        return pieces


_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")

_SETTINGS: dict[tuple[str, str], Any] = {  # of tokenizer.json: part, name and the value that is built in here
    ("model", "type"): "WordPiece",
    ("model", "unk_token"): "[UNK]",
    ("model", "continuing_subword_prefix"): "##",
    ("model", "max_input_chars_per_word"): LONGEST_WORD,
    ("normalizer", "type"): "BertNormalizer",
    ("normalizer", "clean_text"): True,
    ("normalizer", "handle_chinese_chars"): True,
    ("pre_tokenizer", "type"): "BertPreTokenizer",
}


@lru_cache(maxsize=100_000)
def _made_plain(character: str, lowercase: bool, strip_accents: bool) -> str:
    """What one character becomes: nothing, one or several."""
    if character.isspace() and character not in "\x0b\x0c\x1c\x1d\x1e\x1f\x85":  # those count as control characters
        return " "
    if character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co"):
        return ""
    plain = character
    if any(first <= ord(character) <= last for first, last in _CHINESE):
        plain = f" {character} "
    if strip_accents:
        plain = "".join(c for c in unicodedata.normalize("NFD", plain) if unicodedata.category(c) != "Mn")
    return "".join(map(str.lower, plain)) if lowercase else plain


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _spaced(token: str) -> str:
    """A token that is not the first, as it follows the one before it."""
    if token.startswith("##"):
        return token[2:]
    return token if token.startswith((".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")) else f" {token}"


def _truncated_lengths(first: int, second: int, room: int, truncate: str) -> tuple[int, int]:
    """How many tokens of two texts stay, so that they are at most ``room``."""
    if (excess := first + second - room) <= 0:
        return first, second
    if truncate == "first":
        return first - excess, second
    if truncate == "second":
        return first, second - excess
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
