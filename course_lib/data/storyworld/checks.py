"""What must hold of Storyworld as a data set: splits without leakage, and how much of it repeats."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.state import State
from course_lib.data.storyworld.story import Sentence, Story
from course_lib.data.storyworld.world import SPLITS, Split, Storyworld, combination_split


def combinations(story: Story) -> set[tuple[str, str]]:
    """Every person of the story with every kind of thing in it, as English words."""
    names, nouns = story.cast
    return {(lexicon.NAMES[name].en, lexicon.THINGS[noun].en) for name in names for noun in nouns}


def held_out_combinations(world: Storyworld, split: Split) -> set[tuple[str, str]]:
    """The combinations that belong to this split alone."""
    return {
        (lexicon.NAMES[name].en, lexicon.THINGS[noun].en)
        for name in range(world.level.names)
        for noun in range(world.level.things)
        if combination_split(name, noun) == split
    }


def prove_split(world: Storyworld) -> dict[Split, int]:
    """Prove that no story of one split can hold a combination that another split keeps for itself.

    A newcomer's probability is zero as soon as the cast holds one member of a forbidden combination, and a larger
    cast only forbids more. So it is enough to try every pair, in both orders: the thing after the person, the person
    after the thing. Returns the number of combinations that each split keeps for itself; raises AssertionError naming
    the first that leaks.
    """
    owned = dict.fromkeys(SPLITS, 0)
    for name in range(world.level.names):
        for noun in range(world.level.things):
            owner = combination_split(name, noun)
            owned[owner] += 1
            person, thing = State(), State()
            person.names, thing.items = [name], [(noun, None, None)]
            for split in SPLITS:
                allowed = owner in ("train", split)
                as_second_thing = noun not in world._excluded_nouns(person, 2, split)
                as_second_person = name not in world._excluded_names(thing, split)
                as_first_thing = noun not in world._excluded_nouns(person, 1, split)
                pair = f"{lexicon.NAMES[name].en} and {lexicon.THINGS[noun].en} (kept for {owner})"
                assert as_second_thing == as_second_person == allowed, f"{pair} can meet in a {split} story: a leak"
                assert as_first_thing == (owner == split), f"a {split} story can begin with {pair}"
    return owned


class Repetition(NamedTuple):
    """How much of a stream of sentence pairs is new."""

    sentences: int
    distinct_pairs: int
    distinct_en: int
    distinct_zh: int

    @property
    def share_new(self) -> float:
        return self.distinct_pairs / self.sentences


def repetition(stories: Iterable[Story]) -> Repetition:
    """Count sentences and distinct sentences; holds the distinct ones in memory."""
    pairs: set[tuple[str, str]] = set()
    total = 0
    for story in stories:
        for sentence in story.sentences:
            total += 1
            pairs.add((sentence.en, sentence.zh))
    if not total:
        raise ValueError("stories must hold at least one story, but it was empty")
    return Repetition(total, len(pairs), len({en for en, _ in pairs}), len({zh for _, zh in pairs}))


def unseen_sentences(test: Iterable[Story], train: Iterable[Story]) -> Iterator[Sentence]:
    """The sentences of ``test`` that stand nowhere in ``train``, in either language, each once: a fair test set."""
    seen: set[str] = set()
    for story in train:
        for sentence in story.sentences:
            seen.update((sentence.en, sentence.zh))
    for story in test:
        for sentence in story.sentences:
            if sentence.en not in seen and sentence.zh not in seen:
                seen.update((sentence.en, sentence.zh))
                yield sentence
