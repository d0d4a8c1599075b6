"""From characters to tokens, and back: what is marked in a text becomes labels of words, and labels become marks.

Labels of entities are IOB2 (Ramshaw & Marcus 1995, section 4; the scheme of CoNLL-2002): B-PERSON opens a person,
I-PERSON continues it, O is outside of all.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from course_lib.data.tokenizers import Tokenizer


class Span(NamedTuple):
    """``text[start:end]`` is of the kind ``label``."""

    start: int
    end: int
    label: str


def token_offsets(tokenizer: Tokenizer, ids: Iterable[int]) -> list[tuple[int, int]]:
    """For each token the characters (start, end) of ``tokenizer.decode(ids)`` that it stands for, without its space.

    A token that holds a part of a character stands for all of it.
    """
    pieces = [tokenizer.token_bytes(i) for i in ids]
    text = b"".join(pieces)
    started = [0]  # how many characters have begun before each byte
    for byte in text:
        started.append(started[-1] + (byte & 0xC0 != 0x80))  # in UTF-8, 10xxxxxx continues a character
    offsets, place = [], 0
    for piece in pieces:
        begin = place + (len(piece) > 1 and piece[:1] == b" ")
        place += len(piece)
        first = started[begin] - (begin < len(text) and text[begin] & 0xC0 == 0x80)
        offsets.append((first, started[place]))
    return offsets


class Words(NamedTuple):
    """The words of a text: the place of each in characters, and which token is its first."""

    places: list[tuple[int, int]]
    first_tokens: list[int]


def words_in(text: str, offsets: Sequence[tuple[int, int]]) -> Words:
    """Letters and digits that stand together are a word, and so is each other token, as a full stop.

    A name that a tokenizer cuts into pieces is one word, and has one label: that of its first token. Chinese has no
    spaces: each of its characters is a word. (Several that share a token have one label too; they are one word.)
    """
    places: list[tuple[int, int]] = []
    first_tokens = []
    for number, (start, end) in enumerate(offsets):
        if text[start:end].isspace():
            continue
        pair = text[start - 1 : start + 1] if start else ""
        goes_on = pair.isalnum() and not any("\u4e00" <= letter <= "\u9fff" for letter in pair)
        if places and (start < places[-1][1] or goes_on):
            places[-1] = (places[-1][0], end)
        else:
            places.append((start, end))
            first_tokens.append(number)
    return Words(places, first_tokens)


def tags_of(spans: Iterable[tuple[int, int, str]], places: Sequence[tuple[int, int]]) -> list[str]:
    """The IOB2 tag of each word, of which the place in characters is given.

    Raises ValueError where a span does not begin and end where words do: it would be cut; and where two overlap.
    """
    at = {start: number for number, (start, _) in enumerate(places)}
    ends = {end for _, end in places}
    tags = ["O"] * len(places)
    for start, end, label in spans:
        if start not in at or end not in ends:
            raise ValueError(f"spans has ({start}, {end}, {label!r}): it must begin and end where words do")
        for number in range(at[start], len(places)):
            if places[number][0] < end:
                if tags[number] != "O":
                    raise ValueError(f"spans has ({start}, {end}, {label!r}), which overlaps another one")
                tags[number] = f"I-{label}"
        tags[at[start]] = f"B-{label}"
    return tags


def spans_of(tags: Sequence[str], places: Sequence[tuple[int, int]]) -> list[Span]:
    """The spans that IOB2 tags mark. An I- that continues nothing marks nothing, as in strict scoring."""
    found: list[Span] = []
    open_label = None
    for tag, (start, end) in zip(tags, places, strict=True):
        if tag[:2] == "I-" and tag[2:] == open_label:
            found[-1] = found[-1]._replace(end=end)
            continue
        open_label = tag[2:] if tag[:2] == "B-" else None
        if open_label is not None:
            found.append(Span(start, end, open_label))
    return found
