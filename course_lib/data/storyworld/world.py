"""The generator of Storyworld, and the exact probability of every text it can write.

A story is a chain of choices: an opening, a first thing, some events, a closing. Each choice has a known probability,
and each event changes a :class:`State` on which the next choice depends. The scorer reads a text against the same
tables, keeps *every* chain of choices that could have written it, and adds their probabilities: the forward algorithm
of a hidden Markov model (Rabiner 1989, section III.A) with the story's state as the hidden state. So ``log_prob`` is
the probability of the text itself, also where two chains of choices give the same words, and no language model can do
better on average (Shannon 1948, theorem 3).
"""

import math
import random
from bisect import bisect
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, count
from typing import Any, Literal, NamedTuple, get_args

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.events import CLOSING_KINDS, EASY, KINDS, OPENING_KINDS, Kind
from course_lib.data.storyworld.grammar import (
    LANGUAGES,
    LISTS,
    NEW,
    Binding,
    Options,
    Part,
    Realiser,
    Segment,
    Table,
    capitalised,
    compile_template,
    text_of,
)
from course_lib.data.storyworld.state import CALM, State
from course_lib.data.storyworld.story import Sentence, Story

LevelName = Literal["easy", "full"]
Split = Literal["train", "validation", "test"]
Language = Literal["en", "zh"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Level(NamedTuple):
    """How much of Storyworld a level uses."""

    names: int
    things: int
    places: int
    adjectives: int
    kinds: tuple[str, ...] | None  # only the kinds of these names; None: all
    forms: int | None  # only the first so many forms of each kind; None: all
    middle: tuple[int, int]  # how many events stand between the first thing and the closing
    time: float  # probability of "After lunch, …"
    chain: float  # probability of "… and …", two events in one sentence
    adjective: float
    toy: float  # probability that a thing which may bear a name has one
    max_persons: int
    max_things: int
    max_places: int
    options: Options


LEVELS: dict[LevelName, Level] = {
    "easy": Level(
        12, 12, 8, 6, EASY, 1, (3, 5), 0.0, 0.0, 0.5, 0.0, 2, 2, 3, Options(0.5, 0.0, 0.5, 0.0, 0.5, 0.0, 0.0)
    ),
    "full": Level(
        len(lexicon.NAMES), len(lexicon.THINGS), len(lexicon.PLACES), len(lexicon.ADJECTIVES), None, None, (7, 13),
        0.2, 0.25, 0.55, 0.6, 4, 4, 5, Options(0.7, 0.4, 0.5, 0.5, 0.3, 0.3, 0.25),
    ),
}  # fmt: skip

CONJUNCTIONS = {"en": (" and ", " and then "), "zh": ("，", "，然后")}
CONJUNCTION_WEIGHTS = (0.75, 0.25)
FULL_STOP = {"en": ".", "zh": "。"}
STAY_WITH_SUBJECT = 0.6  # the person who acted last acts again
NEW_PLACE = 0.4
CAST_TOPIC = 0.5  # a bare name comes from the story itself
TOPIC_CLASSES = {"PERSON": 0.4, "PLACE": 0.35, "THING": 0.25}
AGAIN = 3  # the thing just mentioned is this many times likelier than another


class Form(NamedTuple):
    """One way to say an event in both languages."""

    en: tuple[Part, ...]
    zh: tuple[Part, ...]
    whole: bool  # a whole sentence, not a predicate
    chains: bool  # may stand in "… and …"
    lists: tuple[str, ...]  # the slots that a lexicon's list fills
    topic: bool


class Event(NamedTuple):
    """An event kind as the engine uses it. Of each pair of tables, the second is for the second half of a sentence."""

    kind: Kind
    number: int
    need: dict[str, str]
    mask: int
    forms: tuple[list[Form], list[Form]]  # all, chained
    cumulative: tuple[list[float], list[float]]
    # By language: the distinct templates with their probabilities, and the probability of each form's template.
    readings: dict[str, tuple[list[tuple[Form, float]], list[tuple[Form, float]]]]
    probability: dict[str, tuple[list[float], list[float]]]


FLAGS = {
    name: 1 << i
    for i, name in enumerate((
        "t:held", "t:here", "t:new", "t:lost", "B:here", "B:new", "B:apart", "B:angry", "B:sad", "p:other", "Bs:here",
        "Bs:apart", "A:fresh", "A:new", "A:happy", "A:sad", "A:angry", "A:scared",
    ))
}  # fmt: skip


class Storyworld:
    """A world of small stories in English and Chinese at once, with the truth about them.

    ``level`` is "easy" (a few dozen word types, learned in a minute), "full" (open classes, about a thousand word
    types), or a :class:`Level` of your own.

        world = Storyworld("full")
        story = world.story(seed=0)
        story.en, story.zh, story.mood, story.log_prob
        world.log_prob(story.en)            # nats; equal to story.log_prob
        for story in world.stories("train", seed=1): ...   # never ends

    *Splits are by content.* A person and a thing are a combination. One combination in ten is kept for validation and
    one in ten for testing: no training story has both its members in its cast, and every validation (test) story
    begins with one of its own.
    """

    def __init__(self, level: LevelName | Level = "full") -> None:
        if not isinstance(level, Level) and level not in tuple(LEVELS):
            raise ValueError(f"level must be one of {', '.join(map(repr, LEVELS))}, not {level!r}")
        self.level_name = "custom" if isinstance(level, Level) else level
        self.level = level if isinstance(level, Level) else LEVELS[level]
        self.realisers = {language: Realiser(language, self.level.options) for language in LANGUAGES}
        self.tables = {
            "name": Table(self.level.names), "thing": Table(self.level.things), "place": Table(self.level.places),
            "adjective": Table(self.level.adjectives), "toy": Table(len(lexicon.TOY_NAMES)),
        } | {name: Table(len(pairs)) for name, pairs in LISTS.items()}  # fmt: skip
        self.phases = {
            phase: self._compile(kinds)
            for phase, kinds in (("opening", OPENING_KINDS), ("middle", KINDS), ("closing", CLOSING_KINDS))
        }
        self._kind_cache: dict[tuple[str, bool, int], tuple[list[int], list[float]]] = {}
        self._banned_nouns: dict[Split, list[frozenset[int]]] = {}
        self._banned_names: dict[Split, list[frozenset[int]]] = {}
        self._owned_nouns: dict[Split, list[frozenset[int]]] = {}
        for split in SPLITS:
            owner = [[combination_split(n, t) for t in range(self.level.things)] for n in range(self.level.names)]
            banned = [[o not in ("train", split) for o in row] for row in owner]
            self._banned_nouns[split] = [frozenset(t for t, b in enumerate(row) if b) for row in banned]
            self._banned_names[split] = [
                frozenset(n for n, row in enumerate(banned) if row[t]) for t in range(self.level.things)
            ]
            self._owned_nouns[split] = [frozenset(t for t, o in enumerate(row) if o == split) for row in owner]
        toys, places = lexicon.TOY_NAMES, lexicon.PLACES
        clash = [
            (n, frozenset(k for k, toy in enumerate(toys) if name.en == toy.en or name.zh == toy.zh),
             frozenset(k for k, place in enumerate(places[: self.level.places]) if name.en == place.en))
            for n, name in enumerate(lexicon.NAMES[: self.level.names])
        ]  # fmt: skip
        self._toys_like_name = {n: k for n, k, _ in clash}
        self._places_like_name = {n: k for n, _, k in clash}
        self._names_like_toy = {k: frozenset(n for n, ks, _ in clash if k in ks) for k in range(len(toys))}
        self._names_like_place = {k: frozenset(n for n, _, ks in clash if k in ks) for k in range(len(places))}
        self.topics: dict[str, dict[str, list[tuple[str, int]]]] = {}
        for language, realiser in self.realisers.items():
            words: dict[str, list[tuple[str, int]]] = {}
            for label, table in TOPIC_TABLES.items():
                for k in range(len(self.tables[table].weights)):
                    if label != "PLACE" or not places[k].en.startswith("the "):
                        words.setdefault(text_of(realiser.topic((label, k))), []).append((label, k))
            self.topics[language] = words
        self._proper_places = frozenset(
            k for k, p in enumerate(places[: self.level.places]) if not p.en.startswith("the ")
        )

    def __repr__(self) -> str:
        return f"Storyworld({self.level_name!r})"

    # ---------------------------------------------------------------- generating

    def story(self, seed: int, split: Split = "train") -> Story:
        """The story that this seed gives. The same seed gives the same bytes on every machine."""
        check_seed(seed)
        check_split(split)
        # One generator a story, seeded by one integer: random access to an endless corpus.
        rng = random.Random(seed * len(SPLITS) + SPLITS.index(split)).random
        state, sentences, total = State(), [], {"en": 0.0, "zh": 0.0}
        for step in count():
            ending = self._ending(step)
            closing = ending > 0 and rng() < ending
            sentence = self._sentence(rng, state, step, closing, split, total)
            for language in LANGUAGES:
                if 0 < ending < 1:
                    total[language] += math.log(ending if closing else 1 - ending)
            sentences.append(sentence)
            if closing:
                break
        return Story(tuple(sentences), state.mood[0], total["en"], total["zh"], split)

    def stories(self, split: Split = "train", seed: int = 0) -> Iterator[Story]:
        """Stories without end, one at a time. Streams of different seeds share no story's seed below 2**32 stories."""
        check_seed(seed)
        check_split(split)
        return (self.story((seed << 32) + i, split) for i in count())

    def _ending(self, step: int) -> float:
        """Probability that the story closes at this step; every length between the level's bounds is equally likely."""
        low, high = (2 + bound for bound in self.level.middle)
        return 0.0 if step < low else 1 / (high - step + 1)

    def _sentence(self, rng, state: State, step: int, closing: bool, split: Split, total: dict[str, float]) -> Sentence:
        segments: dict[str, list[Segment]] = {"en": [], "zh": []}
        kinds: list[str] = []
        middle = step > 1 and not closing
        shared = 0.0  # log-probability of what both languages say

        if middle and self.level.time:
            if rng() < self.level.time:
                time = self.tables["time"].draw(rng)
                shared += math.log(self.level.time * self.tables["time"].probability(time))
                for language, comma in (("en", ", "), ("zh", "，")):
                    segments[language] += [*self.realisers[language].lists["time"][time], (comma, None, None)]
            else:
                shared += math.log(1 - self.level.time)

        subjects = self._subjects(state, step, closing)
        a = pick(rng, subjects)
        shared += math.log(subjects[a])
        phase = "closing" if closing else "opening" if step == 0 else "middle"
        event, chains = self._clause(rng, state, a, phase, step, False, split, segments, total)
        kinds.append(event.kind.name)
        if middle and self.level.chain and chains:
            if rng() < self.level.chain:
                shared += math.log(self.level.chain)
                which = pick(rng, dict(enumerate(CONJUNCTION_WEIGHTS)))
                shared += math.log(CONJUNCTION_WEIGHTS[which])
                for language in LANGUAGES:
                    segments[language].append((CONJUNCTIONS[language][which], "and", which))
                assert state.focus is not None
                event, _ = self._clause(rng, state, state.focus, "middle", step, True, split, segments, total)
                kinds.append(event.kind.name)
            else:
                shared += math.log(1 - self.level.chain)
        for language in LANGUAGES:
            total[language] += shared
            segments[language].append((FULL_STOP[language], None, None))
        first = segments["en"][0]
        segments["en"][0] = (capitalised(first[0]), *first[1:])
        return Sentence(tuple(segments["en"]), tuple(segments["zh"]), tuple(kinds), state.copy())

    def _clause(
        self, rng, state: State, a: int, phase: str, step: int, chained: bool, split: Split, segments, total
    ) -> tuple[Event, bool]:
        events = self.phases[phase]
        kinds, weights = self._kinds(state, a, phase, step, chained)
        number = kinds[choose(rng, weights)]
        event = events[number]
        shared = math.log(self._kind_probability(state, kinds, weights, number))
        candidates = self._candidates(state, a, event)
        weights = list(accumulate(probability for _, probability in candidates))
        e, probability = candidates[choose(rng, weights)]
        shared += math.log(probability)
        forms, cumulative = event.forms[chained], event.cumulative[chained]
        which = choose(rng, cumulative)
        form = forms[which]
        shared += self._draw_newcomers(rng, state, e, form, event, step, split)
        if not chained and not form.whole:  # the subject goes before its predicate
            self._say(rng, state, e, SUBJECT, segments, total)
        for language in LANGUAGES:
            total[language] += shared + math.log(event.probability[language][chained][which])
        if form.topic:
            for language in LANGUAGES:
                total[language] += math.log(self._topic_surface_probability(state, e, language))
        self._say(rng, state, e, form, segments, total)
        state.apply(event.kind, number if phase == "middle" else -1, e)
        return event, form.chains

    def _say(self, rng, state: State, e: Binding, form: Any, segments, total) -> None:
        for language in LANGUAGES:
            slots, out = self.realisers[language].slots, segments[language]
            for part in getattr(form, language):
                if isinstance(part, str):
                    out.append((part, None, None))
                    continue
                choices = slots[part[0]](state, e)
                if len(choices) == 1:
                    out += choices[0][1]
                    continue
                at, r = 0, rng()
                while at < len(choices) - 1 and r >= choices[at][0]:
                    r -= choices[at][0]
                    at += 1
                out += choices[at][1]
                total[language] += math.log(sum(p for p, s in choices if s == choices[at][1]))

    def _draw_newcomers(
        self, rng, state: State, e: Binding, form: Form, event: Event, step: int, split: Split
    ) -> float:
        """Fill in who or what is new in this clause, and the words from lists; return the log-probability."""
        log = 0.0
        if e.a == NEW:
            excluded = self._excluded_names(state, split)
            e.A = self.tables["name"].draw(rng, excluded)
            log += math.log(self.tables["name"].probability(e.A, excluded))
        if e.b == NEW:
            excluded = self._excluded_names(state, split)
            e.B = self.tables["name"].draw(rng, excluded)
            log += math.log(self.tables["name"].probability(e.B, excluded))
        if e.p == NEW:
            excluded = self._excluded_places(state, e)
            e.p = self.tables["place"].draw(rng, excluded)
            log += math.log(self.tables["place"].probability(e.p, excluded))
        if e.t == NEW:
            excluded = self._excluded_nouns(state, step, split)
            noun = self.tables["thing"].draw(rng, excluded)
            adjective = self.tables["adjective"].draw(rng) if rng() < self.level.adjective else None
            toy = None
            if lexicon.THINGS[noun].named and rng() < self.level.toy:
                toy = self.tables["toy"].draw(rng, self._excluded_toys(state))
            e.T = (noun, adjective, toy)
            log += math.log(self._item_probability(state, e.T, step, split))
        for name in form.lists:
            table = self._list_name(name, state, e)
            e.lists[name] = self.tables[table].draw(rng)
            log += math.log(self.tables[table].probability(e.lists[name]))
        if form.topic:
            e.X = self._draw_topic(rng, state, e)
        return log

    # ---------------------------------------------------------------- probabilities that generator and scorer share

    def _subjects(self, state: State, step: int, closing: bool) -> dict[int, float]:
        """Who acts next. The story begins with its hero and ends with them."""
        if step == 0:
            return {NEW: 1.0}
        if closing or len(state.names) == 1:
            return {0: 1.0}
        focus, others = state.focus, len(state.names) - 1
        return {a: STAY_WITH_SUBJECT if a == focus else (1 - STAY_WITH_SUBJECT) / others for a in range(others + 1)}

    def _flags(self, state: State, a: int, step: int) -> int:
        if a == NEW:
            return FLAGS["A:new"] | FLAGS["t:new"] | FLAGS["B:new"] | FLAGS["p:other"]
        if step == 1:
            return FLAGS["t:new"]  # the first thing must come now, with nobody else about
        flags, here = 0, state.location[a]
        for i, holder in enumerate(state.holder):
            if holder == a:
                flags |= FLAGS["t:held"]
            elif holder >= 0:
                flags |= FLAGS["Bs:here"] if state.location[holder] == here else FLAGS["Bs:apart"]
            else:
                flags |= FLAGS["t:here"] if state.lies[i] == here else FLAGS["t:lost"]
        for b, location in enumerate(state.location):
            if b == a:
                continue
            if location == here:
                flags |= FLAGS["B:here"]
                if state.mood[b] in ("angry", "sad"):
                    flags |= FLAGS["B:" + state.mood[b]]
            else:
                flags |= FLAGS["B:apart"]
        if len(state.names) < self.level.max_persons:
            flags |= FLAGS["B:new"]
        if len(state.items) < self.level.max_things:
            flags |= FLAGS["t:new"]
        if len(state.places) > 1 or len(state.places) < self.level.max_places:
            flags |= FLAGS["p:other"]
        if state.fresh[a]:
            flags |= FLAGS["A:fresh"]
        if state.mood[a] != CALM:
            flags |= FLAGS["A:" + state.mood[a]]
        return flags

    def _kinds(self, state: State, a: int, phase: str, step: int, chained: bool) -> tuple[list[int], list[float]]:
        """The kinds of event that can happen to ``a`` now, with cumulative weights. The last four kinds rest."""
        flags = self._flags(state, a, step)
        key = (phase, chained, flags if step != 1 else -1)
        if key not in self._kind_cache:
            fitting = [
                (event.number, event.kind.weight)
                for event in self.phases[phase]
                if event.mask & flags == event.mask
                and event.forms[chained]
                and (step != 1 or event.need.get("t") == "new")
            ]
            self._kind_cache[key] = [k for k, _ in fitting], list(accumulate(w for _, w in fitting))
        kinds, cumulative = self._kind_cache[key]
        if phase == "middle" and any(k in state.history for k in kinds) and not all(k in state.history for k in kinds):
            fitting = [(k, self.phases[phase][k].kind.weight) for k in kinds if k not in state.history]
            return [k for k, _ in fitting], list(accumulate(w for _, w in fitting))
        return kinds, cumulative

    def _kind_probability(self, state: State, kinds: list[int], cumulative: list[float], number: int) -> float:
        at = kinds.index(number)
        return (cumulative[at] - (cumulative[at - 1] if at else 0)) / cumulative[-1]

    def _candidates(self, state: State, a: int, event: Event) -> list[tuple[Binding, float]]:
        """Every way to fill the roles from the cast (newcomers stay open), with its probability."""
        need = event.need
        base = Binding()
        base.a = a
        here = None
        if a != NEW:
            base.A, here = state.names[a], state.location[a]
            base.h = here
        options = [(base, 1.0)]

        want = need.get("B")
        if want:
            if want == "new":
                chosen: list[tuple[int, int | None]] = [(NEW, None)]
            else:
                chosen = [
                    (b, None)
                    for b in range(len(state.names))
                    if b != a and (state.location[b] == here) != (want == "apart")
                ]
                if want in ("angry", "sad"):
                    chosen = [(b, None) for b, _ in chosen if state.mood[b] == want]
                if "Bs" in (need.get("t"), need.get("u")):
                    chosen = [(b, i) for b, _ in chosen for i, holder in enumerate(state.holder) if holder == b]
            result = []
            for b, item in chosen:
                e = base.copy()
                e.b = b
                if b != NEW:
                    e.B = state.names[b]
                if want == "apart":
                    e.q = state.location[b]
                if need.get("t") == "Bs" and item is not None:
                    e.t, e.T = item, state.items[item]
                elif item is not None:
                    e.u, e.U = item, state.items[item]
                result.append((e, 1 / len(chosen)))
            options = result

        want = need.get("t")
        if want == "new":
            for e, _ in options:
                e.t = NEW
        elif want and want != "Bs":
            if want == "held":
                items = [i for i, holder in enumerate(state.holder) if holder == a]
            else:
                items = [
                    i
                    for i, holder in enumerate(state.holder)
                    if holder < 0 and (state.lies[i] == here) == (want == "here")
                ]
            # What was just spoken of comes up again; but what is remembered was mostly put down a while ago.
            weights = [AGAIN if (i == state.it) != (want == "lost") else 1 for i in items]
            result = []
            for e, probability in options:
                for item, weight in zip(items, weights, strict=True):
                    f = e.copy()
                    f.t, f.T = item, state.items[item]
                    if want == "lost":
                        f.q = state.lies[item]
                    result.append((f, probability * weight / sum(weights)))
            options = result

        if need.get("p"):
            known = [p for p in state.places if p != here]
            new = NEW_PLACE if len(state.places) < self.level.max_places else 0.0
            if not known:
                new = 1.0
            result = []
            for e, probability in options:
                for p in known:
                    f = e.copy()
                    f.p = p
                    result.append((f, probability * (1 - new) / len(known)))
                if new:
                    e.p = NEW
                    result.append((e, probability * new))
            options = result
        return options

    def _list_name(self, name: str, state: State, e: Binding) -> str:
        return f"feel:{state.mood[e.a]}" if name == "feel" else name

    def _excluded_names(self, state: State, split: Split) -> set[int]:
        excluded = set(state.names)
        for noun, _, toy in state.items:
            excluded |= self._banned_names[split][noun]
            if toy is not None:
                excluded |= self._names_like_toy[toy]
        for place in state.places:
            excluded |= self._names_like_place[place]
        return excluded

    def _excluded_places(self, state: State, e: Binding) -> set[int]:
        excluded = set(state.places)
        for name in (*state.names, e.A, e.B):
            if name is not None:
                excluded |= self._places_like_name[name]
        return excluded

    def _excluded_nouns(self, state: State, step: int, split: Split) -> set[int]:
        excluded = {noun for noun, _, _ in state.items}
        for name in state.names:
            excluded |= self._banned_nouns[split][name]
        if step == 1 and split != "train":  # the combination that makes this story a held-out one
            excluded |= set(range(self.level.things)) - self._owned_nouns[split][state.names[0]]
        return excluded

    def _excluded_toys(self, state: State) -> set[int]:
        excluded = {toy for _, _, toy in state.items if toy is not None}
        for name in state.names:
            excluded |= self._toys_like_name[name]
        return excluded

    def _item_probability(
        self, state: State, item: tuple[int, int | None, int | None], step: int, split: Split
    ) -> float:
        noun, adjective, toy = item
        p = self.tables["thing"].probability(noun, self._excluded_nouns(state, step, split))
        level = self.level
        p *= (
            1 - level.adjective
            if adjective is None
            else level.adjective * self.tables["adjective"].probability(adjective)
        )
        if lexicon.THINGS[noun].named:
            p *= (
                1 - level.toy
                if toy is None
                else level.toy * self.tables["toy"].probability(toy, self._excluded_toys(state))
            )
        elif toy is not None:
            return 0.0
        return p

    def _cast_topics(self, state: State, e: Binding) -> list[tuple[str, int]]:
        persons = [("PERSON", n) for k, n in enumerate(state.names) if k not in (e.a, e.b)]
        return persons + [("THING", toy) for _, _, toy in state.items if toy is not None]

    def _excluded_topics(self, label: str, e: Binding) -> set[int]:
        """Nobody speaks of those who are in the clause; a common place ("the park") is no bare name."""
        if label == "PERSON":
            return {name for name in (e.A, e.B) if name is not None}
        return set(range(self.level.places)) - self._proper_places if label == "PLACE" else set()

    def _draw_topic(self, rng, state: State, e: Binding) -> tuple[str, int]:
        cast = self._cast_topics(state, e)
        if cast and rng() < CAST_TOPIC:
            return cast[min(int(rng() * len(cast)), len(cast) - 1)]
        label = pick(rng, TOPIC_CLASSES)
        return label, self.tables[TOPIC_TABLES[label]].draw(rng, self._excluded_topics(label, e))

    def _topic_probability(self, state: State, e: Binding, topic: tuple[str, int]) -> float:
        label, index = topic
        cast = self._cast_topics(state, e)
        p = TOPIC_CLASSES[label] * self.tables[TOPIC_TABLES[label]].probability(index, self._excluded_topics(label, e))
        if not cast:
            return p
        return CAST_TOPIC * cast.count(topic) / len(cast) + (1 - CAST_TOPIC) * p

    def _topic_surface_probability(self, state: State, e: Binding, language: str) -> float:
        """A bare name may name a person, a place or a toy: the probability of the *word* is the sum."""
        assert e.X is not None
        word = text_of(self.realisers[language].topic(e.X))
        return sum(self._topic_probability(state, e, topic) for topic in self.topics[language][word])

    # ---------------------------------------------------------------- from kinds to tables

    def _compile(self, kinds: list[Kind]) -> list[Event]:
        chosen = self.level.kinds
        kinds = [
            kind._replace(forms=kind.forms[: self.level.forms])
            for kind in kinds
            if chosen is None or kind.name in chosen
        ]
        return [self._compile_kind(number, kind) for number, kind in enumerate(kinds)]

    def _compile_kind(self, number: int, kind: Kind) -> Event:
        need = dict(token.split(":") for token in kind.needs.split())
        tokens = [f"{role}:{value}" for role, value in need.items()]
        if "Bs" in need.values():
            tokens = [token for token in tokens if not token.endswith(":Bs")] + [f"Bs:{need['B']}"]
        mask = sum(FLAGS[token] for token in tokens)
        forms = [compile_form(en, zh) for en, zh in kind.forms]
        chained = [form for form in forms if form.chains]
        every: list[list[Form]] = [forms, chained]
        weights = [[1 / (rank + 2) for rank in range(len(group))] for group in every]
        probability: dict[str, tuple[list[float], list[float]]] = {}
        readings: dict[str, Any] = {}
        for language in LANGUAGES:
            marginals: list[list[float]] = []
            distinct: list[list[tuple[Form, float]]] = []
            for group, weight in zip(every, weights, strict=True):
                by_template: dict[tuple, float] = {}
                first: dict[tuple, Form] = {}
                for form, w in zip(group, weight, strict=True):
                    template = (getattr(form, language), form.chains)
                    by_template[template] = by_template.get(template, 0.0) + w / sum(weight)
                    first.setdefault(template, form)
                marginals.append([by_template[getattr(form, language), form.chains] for form in group])
                distinct.append([(first[template], p) for template, p in by_template.items()])
            probability[language] = (marginals[0], marginals[1])
            readings[language] = (distinct[0], distinct[1])
        cumulative = [list(accumulate(weight)) for weight in weights]
        return Event(kind, number, need, mask, (forms, chained), (cumulative[0], cumulative[1]), readings, probability)

    # ---------------------------------------------------------------- scoring

    def log_prob(self, text: str, language: Language = "en", split: Split = "train") -> float:
        """The exact log-probability of one story, in nats, summed over every way in which it could have come about.

        Raises ValueError where no choices lead to ``text``, and says how far the text makes sense.
        """
        return self.scorer(language, split).log_prob(text)

    @lru_cache(maxsize=8)  # noqa: B019 (a world lives as long as the session)
    def scorer(self, language: Language = "en", split: Split = "train") -> "Scorer":
        """The reader behind :meth:`log_prob`; it also lists the readings of a text."""
        from course_lib.data.storyworld.scorer import Scorer

        if language not in LANGUAGES:
            raise ValueError(f"language must be 'en' or 'zh', not {language!r}")
        check_split(split)
        return Scorer(self, language, split)


def compile_form(en: str, zh: str) -> Form:
    whole = en.startswith("=")
    english, chinese = compile_template(en.lstrip("=~")), compile_template(zh.removeprefix("="))
    if whole and chinese[0] == ("A",):
        chinese = (("A0",), *chinese[1:])  # only a subject that comes first can be dropped
    slots = [part[0] for part in english if not isinstance(part, str)]
    return Form(
        english, chinese, whole, en[0] not in "=~", tuple(s for s in slots if s in LISTS or s == "feel"), "X" in slots
    )


SUBJECT = Form((("A",), " "), (("A0",),), False, False, (), False)
TOPIC_TABLES = {"PERSON": "name", "PLACE": "place", "THING": "toy"}


def combination_split(name: int, noun: int) -> Split:
    """The split of a person and a kind of thing: a Latin square, so that every name has its share of each."""
    return ("validation", "test", *("train",) * 8)[(3 * name + 7 * noun) % 10]


def pick(rng, probabilities: dict) -> Any:
    """One key of a small table of probabilities."""
    r = rng()
    for key, probability in probabilities.items():
        r -= probability
        if r < 0:
            return key
    return key


def choose(rng, cumulative: list[float]) -> int:
    """An index, given cumulative weights."""
    return min(bisect(cumulative, rng() * cumulative[-1]), len(cumulative) - 1)


def check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or larger, not {seed!r}")


def check_split(split: object) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(map(repr, SPLITS))}, not {split!r}")
