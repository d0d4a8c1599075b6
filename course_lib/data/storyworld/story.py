"""A story and the truth about it: texts, entities, the state after each sentence."""

from functools import cached_property
from typing import NamedTuple

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.grammar import Segment
from course_lib.data.storyworld.state import State

ENTITY_LABELS = ("PERSON", "PLACE", "THING")
MOODS = ("happy", "sad", "angry", "scared", "calm")


class Entity(NamedTuple):
    """``text[start:end]`` names somebody or something. ``who`` is the same for every mention of the same entity."""

    start: int
    end: int
    label: str
    who: tuple[str, object]


def entities_of(segments: tuple[Segment, ...], offset: int = 0) -> tuple[Entity, ...]:
    found = []
    for text, label, key in segments:
        if label in ENTITY_LABELS:
            found.append(Entity(offset, offset + len(text), label, (label, key)))
        offset += len(text)
    return tuple(found)


class Facts(NamedTuple):
    """What is true after a sentence, in English: ``{"Rose": "the garden"}``, ``{"kite": "Rose"}`` (None: nobody)."""

    place_of_person: dict[str, str]
    holder_of_thing: dict[str, str | None]
    place_of_thing: dict[str, str]
    mood_of_person: dict[str, str]


class Sentence:
    """One sentence in both languages. ``events`` names what happened in it; ``state`` is what is true after it."""

    def __init__(self, en: tuple[Segment, ...], zh: tuple[Segment, ...], events: tuple[str, ...], state: State) -> None:
        self.segments = {"en": en, "zh": zh}
        self.events = events
        self.state = state

    def __repr__(self) -> str:
        return f"Sentence({self.en!r}, {self.zh!r})"

    @cached_property
    def en(self) -> str:
        return "".join([segment[0] for segment in self.segments["en"]])

    @cached_property
    def zh(self) -> str:
        return "".join([segment[0] for segment in self.segments["zh"]])

    def entities(self, language: str = "en") -> tuple[Entity, ...]:
        """Spans of persons, places and things in this sentence, by character."""
        return entities_of(self.segments[language])

    @property
    def facts(self) -> Facts:
        state = self.state
        names = [lexicon.NAMES[n].en for n in state.names]
        things = [thing_name(item) for item in state.items]
        return Facts(
            {name: lexicon.PLACES[state.location[k]].en for k, name in enumerate(names)},
            {thing: names[h] if (h := state.holder[k]) >= 0 else None for k, thing in enumerate(things)},
            {thing: lexicon.PLACES[state.place_of(k)].en for k, thing in enumerate(things)},
            dict(zip(names, state.mood, strict=True)),
        )


def thing_name(item: tuple[int, int | None, int | None]) -> str:
    noun, _, toy = item
    return lexicon.THINGS[noun].en if toy is None else lexicon.TOY_NAMES[toy].en


class Story:
    """One story. ``mood`` is how its hero feels at the end; ``log_prob`` is log P(en), ``choice_log_prob_zh`` a lower
    bound of log P(zh): the Chinese text does not always tell which choices made it, and :meth:`Storyworld.log_prob`
    adds them up.
    """

    def __init__(
        self, sentences: tuple[Sentence, ...], mood: str, log_prob: float, choice_log_prob_zh: float, split: str
    ) -> None:
        self.sentences = sentences
        self.mood = mood
        self.log_prob = log_prob
        self.choice_log_prob_zh = choice_log_prob_zh
        self.split = split

    def __repr__(self) -> str:
        return f"Story({self.en!r})"

    @cached_property
    def en(self) -> str:
        return " ".join([sentence.en for sentence in self.sentences])

    @cached_property
    def zh(self) -> str:
        return "".join([sentence.zh for sentence in self.sentences])

    def text(self, language: str = "en") -> str:
        return self.zh if language == "zh" else self.en

    def starts(self, language: str = "en") -> list[int]:
        """Where each sentence begins in the story's text."""
        starts, position = [], 0
        for sentence in self.sentences:
            starts.append(position)
            position += len(getattr(sentence, language)) + (language == "en")
        return starts

    def entities(self, language: str = "en") -> tuple[Entity, ...]:
        """Spans of persons, places and things in the story, by character."""
        return tuple(
            entity
            for sentence, start in zip(self.sentences, self.starts(language), strict=True)
            for entity in entities_of(sentence.segments[language], start)
        )

    @property
    def cast(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The persons and the kinds of thing in this story, as indices into the lexicon."""
        state = self.sentences[-1].state
        return tuple(state.names), tuple(noun for noun, _, _ in state.items)
