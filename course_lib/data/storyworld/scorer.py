"""Reading a text back: every chain of choices that could have written it, and their total probability."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.grammar import (
    LISTS,
    NEW,
    PRONOUNS,
    Binding,
    Part,
    Prefixes,
    article,
    capitalised,
    text_of,
)
from course_lib.data.storyworld.state import State

if TYPE_CHECKING:
    from course_lib.data.storyworld.world import Event, Form, Language, Split, Storyworld

Outcome = tuple[int, State, float]  # where the reading stands in the text, what is then true, and how probable it is


class Scorer:
    """The forward algorithm over the states of a story. See :mod:`course_lib.data.storyworld.world`."""

    def __init__(self, world: "Storyworld", language: "Language", split: "Split") -> None:
        from course_lib.data.storyworld.world import CONJUNCTION_WEIGHTS, CONJUNCTIONS, FULL_STOP, SUBJECT

        self.world, self.language, self.split = world, language, split
        self.realiser = realiser = world.realisers[language]
        self.gap = " " if language == "en" else ""
        self.stop = FULL_STOP[language]
        self.comma = ", " if language == "en" else "，"
        self.conjunctions = list(zip(CONJUNCTIONS[language], CONJUNCTION_WEIGHTS, strict=True))
        self.subject: tuple[Part, ...] = getattr(SUBJECT, language)
        level = world.level
        self.names = Prefixes([(text_of(x), k) for k, x in enumerate(realiser.names[: level.names])])
        self.places = Prefixes([(text_of(x), k) for k, x in enumerate(realiser.places[: level.places])])
        self.located = Prefixes([(text_of(x), k) for k, x in enumerate(realiser.located[: level.places])])
        self.nouns = Prefixes([(text_of(x), k) for k, x in enumerate(realiser.nouns[: level.things])])
        self.toys = Prefixes([(text_of(x), k) for k, x in enumerate(realiser.toys)])
        adjectives = lexicon.ADJECTIVES[: level.adjectives]
        self.adjectives = Prefixes([(x.zh if language == "zh" else x.en + " ", k) for k, x in enumerate(adjectives)])
        self.lists = {name: Prefixes([(text_of(x), k) for k, x in enumerate(realiser.lists[name])]) for name in LISTS}
        self.topics = Prefixes([(word, k) for k, word in enumerate(world.topics[language])])
        self.topic_words = list(world.topics[language].values())

    def log_prob(self, text: str) -> float:
        """log P(text), in nats."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        probability = sum(probability for _, _, probability in self.forward(text)[-1])
        if not probability:
            raise ValueError(f"text is a story, but so unlikely that its probability is 0 as a float: {text[:60]!r}...")
        return math.log(probability)

    def forward(self, text: str) -> list[list[Outcome]]:
        """After each sentence: the positions and states that the text so far allows. Last come whole stories."""
        hypotheses: list[Outcome] = [(0, State(), 1.0)]
        steps: list[list[Outcome]] = []
        done: list[Outcome] = []
        furthest = 0
        while hypotheses:
            merged: dict[tuple, Outcome] = {}
            for position, state, probability in hypotheses:
                for end, after, p, closed in self.sentence(text, position, state, len(steps)):
                    furthest = max(furthest, end)
                    if closed and end == len(text):
                        done.append((end, after, probability * p))
                    elif not closed and text.startswith(self.gap, end):
                        start = end + len(self.gap)
                        key = (start, after.key())
                        merged[key] = (start, after, probability * p + (merged[key][2] if key in merged else 0.0))
            hypotheses = list(merged.values())
            if hypotheses:
                steps.append(hypotheses)
        if not done:
            raise ValueError(
                f"text must be one whole Storyworld story ({self.language}, level {self.world.level_name!r}, split "
                f"{self.split!r}); it makes sense up to character {furthest}, but not this: "
                f"{text[furthest : furthest + 60]!r}"
            )
        return [*steps, done]

    def sentence(self, text: str, start: int, state: State, step: int) -> Iterator[tuple[int, State, float, bool]]:
        world, level = self.world, self.world.level
        ending = world._ending(step)
        for closing, weight in ((False, 1 - ending), (True, ending)):
            if not weight:
                continue
            middle = step > 1 and not closing
            phase = "closing" if closing else "opening" if step == 0 else "middle"
            beginnings = [(start, weight)]
            if middle and level.time:
                beginnings = [(start, weight * (1 - level.time))]
                for end, index in self.lists["time"].at(text, start):
                    if text.startswith(self.comma, end):
                        p = level.time * world.tables["time"].probability(index)
                        beginnings.append((end + len(self.comma), weight * p))
            for position, before in beginnings:
                for a, p in world._subjects(state, step, closing).items():
                    for end, after, q, chains in self.clause(text, start, position, state, a, phase, step, False):
                        total = before * p * q
                        if not (middle and level.chain and chains):
                            if text.startswith(self.stop, end):
                                yield end + len(self.stop), after, total, closing
                            continue
                        if text.startswith(self.stop, end):
                            yield end + len(self.stop), after, total * (1 - level.chain), closing
                        for word, r in self.conjunctions:
                            if text.startswith(word, end):
                                here = end + len(word)
                                assert after.focus is not None
                                for last, then, s, _ in self.clause(
                                    text, start, here, after, after.focus, "middle", step, True
                                ):
                                    if text.startswith(self.stop, last):
                                        yield last + len(self.stop), then, total * level.chain * r * s, closing

    def clause(
        self, text, start, position, state: State, a: int, phase: str, step: int, chained: bool
    ) -> Iterator[tuple[int, State, float, bool]]:
        world = self.world
        kinds, cumulative = world._kinds(state, a, phase, step, chained)
        for number in kinds:
            event: Event = world.phases[phase][number]
            kind_p = world._kind_probability(state, kinds, cumulative, number)
            for candidate, candidate_p in world._candidates(state, a, event):
                for form, form_p in event.readings[self.language][chained]:
                    parts = getattr(form, self.language)
                    if not chained and not form.whole:
                        parts = self.subject + parts
                    for end, e, p in self.match(parts, 0, text, position, start, state, candidate):
                        total = kind_p * candidate_p * form_p * p * self.newcomers(state, candidate, e, form, step)
                        if total:
                            after = state.copy()
                            after.apply(event.kind, number if phase == "middle" else -1, e)
                            yield end, after, total, form.chains

    def newcomers(self, state: State, candidate: Binding, e: Binding, form: "Form", step: int) -> float:
        """Probability of the names, places, things and words that this clause drew from the lexicon."""
        world, p = self.world, 1.0
        for index, name in ((e.a, e.A), (e.b, e.B)):
            if index == NEW:
                assert name is not None
                p *= world.tables["name"].probability(name, world._excluded_names(state, self.split))
        if candidate.p == NEW:
            assert e.p is not None
            p *= world.tables["place"].probability(e.p, world._excluded_places(state, e))
        if e.t == NEW:
            assert e.T is not None
            p *= world._item_probability(state, e.T, step, self.split)
        for name_ in form.lists:
            p *= world.tables[world._list_name(name_, state, e)].probability(e.lists[name_])
        if form.topic:
            assert e.X is not None
            p *= world._topic_probability(state, e, e.X)
        return p

    def match(
        self, parts, k: int, text: str, position: int, start: int, state: State, e: Binding
    ) -> Iterator[tuple[int, Binding, float]]:
        """All ways in which ``parts[k:]`` fit the text from ``position`` on."""
        if k == len(parts):
            yield position, e, 1.0
            return
        part = parts[k]
        if isinstance(part, str):
            end = self.fits(part, text, position, start)
            if end is not None:
                yield from self.match(parts, k + 1, text, end, start, state, e)
            return
        slot = part[0]
        for end, bound, p in self.read(slot, text, position, start, state, e):
            for last, final, q in self.match(parts, k + 1, text, end, start, state, bound):
                yield last, final, p * q

    def fits(self, piece: str, text: str, position: int, start: int) -> int | None:
        """The first letter of an English sentence is a capital."""
        if position == start and self.language == "en":
            piece = capitalised(piece)
        return position + len(piece) if text.startswith(piece, position) else None

    def read(
        self, slot: str, text: str, position: int, start: int, state: State, e: Binding
    ) -> Iterator[tuple[int, Binding, float]]:
        if slot in ("A", "A0", "Ao") and e.A is None:
            for end, name in self.names.at(text, position):
                if e.lists.get("gender", name) in (name, -2 - (self.realiser.gender[name] == "f")):
                    yield end, self.bound(e, A=name), 1.0
        elif slot in PRONOUNS and e.A is None:  # "a girl called …": the gender is known before the name
            for gender, word in PRONOUNS[slot].items():
                end_ = self.fits(word, text, position, start)
                if end_ is not None:
                    after = e.copy()
                    after.lists["gender"] = -2 - (gender == "f")
                    yield end_, after, 1.0
        elif slot in ("B", "Bs") and e.B is None:
            for end, name in self.names.at(text, position):
                if slot == "B" or text.startswith("'s", end):
                    yield end + (2 if slot == "Bs" else 0), self.bound(e, B=name), 1.0
        elif slot in ("p", "at_p", "in_p") and e.p == NEW:
            for end, place in (self.places if slot == "p" else self.located).at(text, position):
                yield end, self.bound(e, p=place), 1.0
        elif slot == "new_t" and e.T is None:
            for end, item in self.item(text, position):
                yield end, self.bound(e, T=item), 1.0
        elif slot == "X" and e.X is None:
            for end, entry in self.topics.at(text, position):
                for topic in self.topic_words[entry]:
                    yield end, self.bound(e, X=topic), 1.0
        elif (slot in LISTS or slot == "feel") and slot not in e.lists:
            words = self.lists[f"feel:{state.mood[e.a]}" if slot == "feel" else slot]
            for end, index in words.at(text, position):
                after = e.copy()
                after.lists[slot] = index
                yield end, after, 1.0
            if position == start and self.language == "en":  # "A goose …"
                beginning = text[position : position + words.lengths[-1]]
                lowered = beginning[:1].lower() + beginning[1:]
                if lowered != beginning:
                    for end, index in words.at(lowered, 0):
                        after = e.copy()
                        after.lists[slot] = index
                        yield position + end, after, 1.0
        else:
            for p, surface in self.realiser.slots[slot](state, e):
                end_ = self.fits(text_of(surface), text, position, start)
                if end_ is not None:
                    yield end_, e, p

    @staticmethod
    def bound(e: Binding, **roles) -> Binding:
        after = e.copy()
        for role, value in roles.items():
            setattr(after, role, value)
        return after

    def item(self, text: str, position: int) -> Iterator[tuple[int, tuple[int, int | None, int | None]]]:
        """Everything that the text at ``position`` may introduce: "a red kite", 一只叫胡椒的玩具兔."""
        if self.language == "en":
            for a in ("a ", "an "):
                if not text.startswith(a, position):
                    continue
                at = position + len(a)
                if article(text[at:]) + " " != a:
                    continue
                for adjective, here in [(None, at), *((k, end) for end, k in self.adjectives.at(text, at))]:
                    for end, noun in self.nouns.at(text, here):
                        yield end, (noun, adjective, None)
                        if text.startswith(" called ", end):
                            for last, toy in self.toys.at(text, end + len(" called ")):
                                yield last, (noun, adjective, toy)
            return
        measures = {thing.measure for thing in lexicon.THINGS[: self.world.level.things]}
        for measure in sorted(measures):
            if not text.startswith("一" + measure, position):
                continue
            at = position + 1 + len(measure)
            starts: list[tuple[int | None, int]] = [(None, at)]
            if text.startswith("叫", at):
                starts += [(toy, end + 1) for end, toy in self.toys.at(text, at + 1) if text.startswith("的", end)]
            for toy_, here in starts:
                for adjective, then in [(None, here), *((k, end) for end, k in self.adjectives.at(text, here))]:
                    for end, noun in self.nouns.at(text, then):
                        if lexicon.THINGS[noun].measure == measure:
                            yield end, (noun, adjective, toy_)
