"""From events to words and back: templates, the ways to refer to somebody or something, and their probabilities.

The same tables serve two readers. The generator draws one surface form for each slot; the scorer tries every surface
form that fits the text and adds up their probabilities. So the probability that the scorer reports is the
generator's own.

A *surface* is a tuple of segments ``(text, label, key)``. Labels in capitals are entities (PERSON, PLACE, THING),
labels in small letters are words from a lexicon's list, and ``None`` is plain text; ``key`` says which entity or
entry.
"""

import re
from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from course_lib.data.storyworld import lexicon

NEW = -1  # a role whose referent enters the story with this clause
LANGUAGES = ("en", "zh")
Segment = tuple[str, str | None, Any]
Surface = tuple[Segment, ...]
Part = str | tuple[str]  # literal text, or a slot as a one-tuple of its name

LISTS: dict[str, tuple[lexicon.Pair, ...]] = {
    "opening": lexicon.OPENINGS, "time": lexicon.TIMES, "manner": lexicon.MANNERS, "food": lexicon.FOODS,
    "animal": lexicon.ANIMALS, "sound": lexicon.SOUNDS, "game": lexicon.GAMES, "song": lexicon.SONG_TOPICS,
    "number": lexicon.NUMBERS, "hiding": lexicon.HIDING,
    # Before a measure word, two is 两 and not 二.
    "amount": tuple(lexicon.Pair(x.en, "两" if x.zh == "二" else x.zh) for x in lexicon.NUMBERS),
} | {f"feel:{mood}": pairs for mood, pairs in lexicon.FEELINGS.items()}  # fmt: skip

PRONOUNS = {
    "he": {"f": "she", "m": "he"}, "him": {"f": "her", "m": "him"}, "his": {"f": "her", "m": "his"},
    "himself": {"f": "herself", "m": "himself"}, "girl": {"f": "girl", "m": "boy"},
    "他": {"f": "她", "m": "他"}, "女孩": {"f": "女孩", "m": "男孩"},
}  # fmt: skip


class Table:
    """Entries 0 … n-1 with Zipf–Mandelbrot weights 1 / (rank + 2), and a draw that leaves some of them out.

    Only ``random()``, ``+`` and ``/`` are used: Python promises the same results for these everywhere.
    """

    def __init__(self, size: int) -> None:
        self.weights = [1 / (rank + 2) for rank in range(size)]
        self.cumulative = list(accumulate(self.weights))

    def probability(self, index: int, excluded: frozenset[int] | set[int] = frozenset()) -> float:
        if index in excluded:
            return 0.0
        return self.weights[index] / (self.cumulative[-1] - sum(self.weights[i] for i in sorted(excluded)))

    def draw(self, random: Callable[[], float], excluded: frozenset[int] | set[int] = frozenset()) -> int:
        assert len(excluded) < len(self.weights), "nothing is left to draw: the level is too small for its cast"
        while True:
            index = bisect(self.cumulative, random() * self.cumulative[-1])
            if index < len(self.weights) and index not in excluded:
                return index


class Prefixes:
    """Which of these strings stand in ``text`` at ``position``? All of them, short ones first, with their meaning."""

    def __init__(self, entries: list[tuple[str, int]]) -> None:
        self.by_text: dict[str, list[int]] = {}
        for text, value in entries:
            self.by_text.setdefault(text, []).append(value)
        self.lengths = sorted({len(text) for text in self.by_text})

    def at(self, text: str, position: int) -> Iterator[tuple[int, int]]:
        for length in self.lengths:
            for value in self.by_text.get(text[position : position + length], ()):
                yield position + length, value


def compile_template(template: str) -> tuple[Part, ...]:
    pieces = re.split(r"\{(\w+)\}", template)
    return tuple((piece,) if i % 2 else piece for i, piece in enumerate(pieces) if i % 2 or piece)


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


class Binding:
    """Who and what a clause is about. Small letters index the cast, capitals the lexicon; NEW comes with the clause."""

    __slots__ = ("A", "B", "T", "U", "X", "a", "b", "h", "lists", "p", "q", "t", "u")

    def __init__(self) -> None:
        self.a: int = 0
        self.b = self.t = self.u = self.p = self.q = self.h = None  # type: int | None
        self.A = self.B = None  # type: int | None
        self.T = self.U = None  # type: tuple[int, int | None, int | None] | None
        self.X: tuple[str, int] | None = None
        self.lists: dict[str, int] = {}

    def copy(self) -> "Binding":
        other = Binding.__new__(Binding)
        for slot in Binding.__slots__:
            setattr(other, slot, getattr(self, slot))
        other.lists = self.lists.copy()
        return other


class Options(NamedTuple):
    """How freely a level refers back. Probabilities, given that the rule of the reference allows the form at all."""

    subject_pronoun: float  # English he/she for the person who acted last
    object_pronoun: float  # English him/her for A when A acted last, and for B when no one else can be meant
    it: float  # English it for the thing of the clause before
    drop: float  # Chinese: no subject at all
    zh_pronoun: float  # Chinese 他/她
    zh_that: float  # Chinese 那只风筝 beside 风筝
    toy_noun: float  # "the toy rabbit" beside "Pepper"


Choices = list[tuple[float, Surface]]


class Realiser:
    """All surface forms of a slot in one language, with their probabilities, in a given state of the story."""

    def __init__(self, language: str, options: Options) -> None:
        self.options = options
        self.zh = language == "zh"
        self.gender = [name.gender for name in lexicon.NAMES]
        i = LANGUAGES.index(language)
        self.names: list[Surface] = [(((n.en, n.zh)[i], "PERSON", k),) for k, n in enumerate(lexicon.NAMES)]
        self.places: list[Surface] = [
            (((x.en, x.zh)[i].removeprefix("the "), "PLACE", k),) for k, x in enumerate(lexicon.PLACES)
        ]
        self.nouns = [(((x.en, x.zh)[i], "THING", ("noun", k)),) for k, x in enumerate(lexicon.THINGS)]
        self.toys = [(((x.en, x.zh)[i], "THING", ("toy", k)),) for k, x in enumerate(lexicon.TOY_NAMES)]
        self.lists = {
            name: [(((x.en, x.zh)[i], name, k),) for k, x in enumerate(pairs)] for name, pairs in LISTS.items()
        }
        the = [(("the ", "the", k),) if x.en.startswith("the ") else () for k, x in enumerate(lexicon.PLACES)]
        self.located: list[Surface]
        if self.zh:
            self.located = [(*p, (lexicon.PLACES[k].locative, "loc", k)) for k, p in enumerate(self.places)]
        else:
            self.places = [t + p for t, p in zip(the, self.places, strict=True)]
            self.located = [
                ((lexicon.PLACES[k].prep, "prep", k), (" ", None, None), *p) for k, p in enumerate(self.places)
            ]
        self.slots: dict[str, Callable] = {
            "A": self.subject, "A0": self.droppable_subject, "Ao": self.object_a,
            "B": self.other, "Bs": self.possessive, "Bn": lambda s, e: [(1.0, self.names[e.B])],
            "t": lambda s, e: self.thing(s, e.t, e.T), "T": lambda s, e: self.definite(e.T),
            "U": lambda s, e: self.definite(e.U), "new_t": lambda s, e: [(1.0, self.new_thing(e.T))],
            "p": lambda s, e: [(1.0, self.places[e.p])], "q": lambda s, e: [(1.0, self.places[e.q])],
            "h": lambda s, e: [(1.0, self.places[e.h])],
            "at_p": lambda s, e: [(1.0, self.located[e.p])], "in_p": lambda s, e: [(1.0, self.located[e.p])],
            "at_q": lambda s, e: [(1.0, self.located[e.q])], "in_q": lambda s, e: [(1.0, self.located[e.q])],
            "at_h": lambda s, e: [(1.0, self.located[e.h])], "in_h": lambda s, e: [(1.0, self.located[e.h])],
            "X": lambda s, e: [(1.0, self.topic(e.X))],
            "it": lambda s, e: [(1.0, (("它" if self.zh else "it", None, None),))],
            "B_he": lambda s, e: [(1.0, ((PRONOUNS["他" if self.zh else "he"][self.gender[e.B]], None, None),))],
        }  # fmt: skip
        self.slots["feel"] = lambda s, e: [(1.0, self.lists[f"feel:{s.mood[e.a]}"][e.lists["feel"]])]
        for word, forms in PRONOUNS.items():
            fixed = {g: [(1.0, ((text, None, None),))] for g, text in forms.items()}
            self.slots[word] = lambda s, e, fixed=fixed: fixed[self.gender[e.A]]
        for name in LISTS:
            self.slots[name] = lambda s, e, name=name: [(1.0, self.lists[name][e.lists[name]])]

    # Each of these returns every surface with its probability.

    def subject(self, s, e) -> Choices:
        name = self.names[e.A]
        if e.a == NEW or s.focus != e.a:
            return [(1.0, name)]
        p = self.options.zh_pronoun if self.zh else self.options.subject_pronoun
        return [(p, ((PRONOUNS["他" if self.zh else "he"][self.gender[e.A]], None, None),)), (1 - p, name)]

    def droppable_subject(self, s, e) -> Choices:
        choices = self.subject(s, e)
        if len(choices) == 1 or not self.options.drop:
            return choices
        keep = 1 - self.options.drop
        return [(self.options.drop, ()), *((p * keep, surface) for p, surface in choices)]

    def object_a(self, s, e) -> Choices:
        if self.zh or e.a == NEW or s.focus != e.a:
            return self.subject(s, e)
        p = self.options.object_pronoun
        return [(p, ((PRONOUNS["him"][self.gender[e.A]], None, None),)), (1 - p, self.names[e.A])]

    def other(self, s, e) -> Choices:
        name, gender = self.names[e.B], self.gender[e.B]
        if e.b == NEW or e.b not in s.recent or e.a == NEW:
            return [(1.0, name)]
        if self.zh and gender == self.gender[e.A]:
            return [(1.0, name)]  # "她把它给了她" would be hard to read
        if any(self.gender[n] == gender for k, n in enumerate(s.names) if k not in (e.a, e.b)):
            return [(1.0, name)]  # a third person could be meant
        p = self.options.zh_pronoun if self.zh else self.options.object_pronoun
        return [(p, ((PRONOUNS["他" if self.zh else "him"][gender], None, None),)), (1 - p, name)]

    def possessive(self, s, e) -> Choices:
        return [(1.0, (*self.names[e.B], ("'s", None, None)))]

    def thing(self, s, index, item) -> Choices:
        definite = self.definite(item)
        if s.it != index or s.it is None:
            return definite
        p = self.options.it
        return [(p, (("它" if self.zh else "it", None, None),)), *((q * (1 - p), surface) for q, surface in definite)]

    def definite(self, item) -> Choices:
        noun, _, toy = item
        the = (self.the_noun(noun), self.nouns[noun])
        plain: Choices = [(1.0, the[0])]
        if self.zh and self.options.zh_that:
            plain = [(self.options.zh_that, the[0]), (1 - self.options.zh_that, the[1])]
        elif self.zh:
            plain = [(1.0, the[1])]
        if toy is None:
            return plain
        p = self.options.toy_noun
        return [(1 - p, self.toys[toy]), *((q * p, surface) for q, surface in plain)]

    def the_noun(self, noun: int) -> Surface:
        if self.zh:
            return (("那", None, None), (lexicon.THINGS[noun].measure, "measure", noun), *self.nouns[noun])
        return (("the ", None, None), *self.nouns[noun])

    def new_thing(self, item) -> Surface:
        """ "a red kite", "a toy rabbit called Pepper"; 一只红色的风筝, 一只叫胡椒的玩具兔."""
        noun, adjective, toy = item
        if self.zh:
            segments: list[Segment] = [("一", None, None), (lexicon.THINGS[noun].measure, "measure", noun)]
            if toy is not None:
                segments += [("叫", None, None), *self.toys[toy], ("的", None, None)]
            if adjective is not None:
                segments.append((lexicon.ADJECTIVES[adjective].zh, "adjective", adjective))
            return (*segments, *self.nouns[noun])
        first = lexicon.ADJECTIVES[adjective].en if adjective is not None else lexicon.THINGS[noun].en
        segments = [(article(first), "article", None), (" ", None, None)]
        if adjective is not None:
            segments += [(lexicon.ADJECTIVES[adjective].en, "adjective", adjective), (" ", None, None)]
        segments += self.nouns[noun]
        if toy is not None:
            segments += [(" called ", None, None), *self.toys[toy]]
        return tuple(segments)

    def topic(self, topic: tuple[str, int]) -> Surface:
        kind, index = topic
        if kind == "PLACE":
            return self.places[index]
        return self.names[index] if kind == "PERSON" else self.toys[index]


def article(word: str) -> str:
    """a or an, by sound: "an hourglass", "a unicorn", "a one-eyed cat"."""
    if re.match(r"(hour|honest|heir)", word):
        return "an"
    return "an" if word[0].lower() in "aeiou" and not re.match(r"(uni|use|one|eu)", word) else "a"


def text_of(surface: Surface) -> str:
    return "".join(segment[0] for segment in surface)
