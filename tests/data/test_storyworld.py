"""Storyworld as a corpus: the same bytes everywhere, good text in two languages, exact spans, clean splits, fair
questions.
"""

import hashlib
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from course_lib.data.storyworld import Entity, Sentence, Story, Storyworld, checks, lexicon, questions
from course_lib.data.storyworld.events import CLOSING_KINDS, KINDS, OPENING_KINDS
from course_lib.data.storyworld.grammar import LISTS, NEW, article
from course_lib.data.storyworld.questions import Question
from course_lib.data.storyworld.translation import BestTranslator
from course_lib.data.storyworld.world import LEVELS, SPLITS, TOPIC_TABLES

ROOT = Path(__file__).parents[2]


@cache
def world(level: str) -> Storyworld:
    return Storyworld(level)  # type: ignore[arg-type]


@cache
def sample(level: str, split: str, count: int, seed: int = 3) -> tuple[Story, ...]:
    return tuple(islice(world(level).stories(split, seed), count))  # type: ignore[arg-type]


def full_stories() -> tuple[Story, ...]:
    return sample("full", "train", 1900)  # about 1.1 MB of English


def sentences(stories: tuple[Story, ...]) -> list[Sentence]:
    return [sentence for story in stories for sentence in story.sentences]


def english_words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z][A-Za-z'-]*", text)


# ---------------------------------------------------------------- the same bytes everywhere

FINGERPRINT = """
import hashlib, locale, sys
from itertools import islice
sys.path.insert(0, {root!r})
from course_lib.data.storyworld import Storyworld
for level in ("easy", "full"):
    world = Storyworld(level)
    for split in ("train", "validation", "test"):
        digest = hashlib.sha256()
        for story in islice(world.stories(split, 7), 60):
            digest.update((story.en + "\\n" + story.zh + "\\n" + story.mood + "\\n").encode())
        print(level, split, digest.hexdigest())
"""

# Change these only with the generator's text, and say so in the changelog: every stored figure of the course rests on
# them.
GOLDEN = {
    ("easy", "train"): "3249ffb73dc7a7979d89b172c61440bff856cb12ec92ba8f9f18785a91a4aba7",
    ("easy", "validation"): "07d33f65e1b65dbd1714d2a50fa05f2f6dafb18568e9afd3ffe3e351ef7cbc96",
    ("easy", "test"): "08bf28b9f98f4f309ce23d87377055515339cee0c907ba001b64d7ce978ee1ca",
    ("full", "train"): "080870ca1ffe7f5f2eb980385c21db3e3efcbe5cacba9b016a0b941e7c9fc598",
    ("full", "validation"): "95841cd2f79983b1d32c65d79c0e900fbd9fa2be64ea4f443b9066d0a7712ee9",
    ("full", "test"): "159d110b9ef49036f610e6236a13d5f6d668905019b7ab9e29aba00c711d0991",
}


@pytest.mark.parametrize(("level", "split"), GOLDEN)
def test_the_same_seed_gives_the_same_bytes_as_on_every_machine(level: str, split: str) -> None:
    digest = hashlib.sha256()
    for story in sample(level, split, 60, seed=7):
        digest.update(f"{story.en}\n{story.zh}\n{story.mood}\n".encode())
    assert digest.hexdigest() == GOLDEN[level, split]


def other_pythons() -> list[str]:
    """Other Python releases on this machine, as python3.x on the PATH or under pyenv."""
    versions = [f"3.{minor}" for minor in range(11, 16) if minor != sys.version_info.minor]
    found = {v: shutil.which(f"python{v}") for v in versions}
    for path in sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin/python")):
        version = ".".join(path.parts[-3].split(".")[:2])
        if version in versions:
            found[version] = str(path)
    return [path for path in found.values() if path]


def fingerprint(python: str, *flags: str, **environment: str) -> dict[tuple[str, str], str]:
    script = FINGERPRINT.format(root=str(ROOT))
    clean = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    if sys.platform == "win32":
        clean["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    run = subprocess.run(
        [python, *flags, "-c", script], env=clean, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return {(line.split()[0], line.split()[1]): line.split()[2] for line in run.stdout.splitlines()}


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_another_process_with_another_hash_seed_and_locale_writes_the_same_bytes(hash_seed: str) -> None:
    assert fingerprint(sys.executable, "-S", PYTHONHASHSEED=hash_seed, LC_ALL="C", PYTHONUTF8="0") == GOLDEN


def test_every_other_python_on_this_machine_writes_the_same_bytes() -> None:
    pythons, tried = other_pythons(), 0
    for python in pythons:
        probe = subprocess.run([python, "-S", "-E", "-c", "import random"], capture_output=True, check=False)
        if probe.returncode == 0:  # a pyenv shim without its Python is no Python
            assert fingerprint(python, "-S", "-E", LC_ALL="C") == GOLDEN, python
            tried += 1
    if not tried:
        pytest.skip("no other Python of 3.11 or newer on this machine")


@pytest.mark.parametrize("level", LEVELS)
def test_story_k_of_a_stream_is_the_story_of_its_own_seed(level: str) -> None:
    stream = list(islice(world(level).stories("validation", 5), 4))
    again = [world(level).story((5 << 32) + k, "validation") for k in (3, 2, 1, 0)][::-1]  # in any order
    assert [(s.en, s.zh, s.log_prob) for s in stream] == [(s.en, s.zh, s.log_prob) for s in again]


def test_streams_of_other_seeds_and_splits_are_others() -> None:
    easy = world("easy")
    texts = [next(easy.stories(split, seed)).en for split in SPLITS for seed in range(4)]
    assert len(set(texts)) == len(texts)


def test_two_streams_can_be_read_in_turn() -> None:
    easy = world("easy")
    one, two = easy.stories("train", 1), easy.stories("train", 1)
    random.seed(9)
    mixed = [(next(one).en, random.random(), next(two).en) for _ in range(5)]
    assert all(a == b for a, _, b in mixed)
    random.seed(9)
    assert [r for _, r, _ in mixed] == [random.random() for _ in range(5)]  # nobody else's generator is touched


def test_a_stream_does_not_hold_its_stories() -> None:
    for story in islice(world("full").stories("train", 1), 300):  # fills the engine's caches
        last = len(story.en)
    tracemalloc.start()
    try:
        stream = world("full").stories("train", 2)
        for story in islice(stream, 100):
            last = len(story.en)
        grown, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last
    # 100 stories with their states would be some 4 MB; one story and the caches of the engine stay far below.
    assert grown < 500_000
    assert peak < 1_000_000


# ---------------------------------------------------------------- size, charm, skew


@pytest.mark.parametrize("level", LEVELS)
def test_every_length_between_the_bounds_is_equally_likely(level: str) -> None:
    stories = full_stories() if level == "full" else sample("easy", "train", 2000)
    low, high = (3 + bound for bound in world(level).level.middle)  # and an opening, a first thing, a closing
    lengths = Counter(len(story.sentences) for story in stories)
    assert set(lengths) == set(range(low, high + 1))
    expected = len(stories) / (high - low + 1)
    # Chi-square of 2 (easy) or 6 (full) degrees of freedom: above 22.5 with probability 0.001 or less; a fixed seed.
    assert sum((n - expected) ** 2 / expected for n in lengths.values()) < 22.5


def all_forms() -> list[tuple[str, str, str]]:
    return [(kind.name, en, zh) for kind in (*OPENING_KINDS, *KINDS, *CLOSING_KINDS) for en, zh in kind.forms]


def test_there_are_forty_kinds_of_event_and_several_ways_to_tell_each() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40
    assert min(len(kind.forms) for kind in (*OPENING_KINDS, *KINDS, *CLOSING_KINDS)) >= 2
    assert sum(len(kind.forms) for kind in KINDS) / len(KINDS) >= 3
    english = [en for _, en, _ in all_forms()]
    assert len(set(english)) == len(english)


def test_every_kind_and_every_form_occurs() -> None:
    events = Counter(event for sentence in sentences(full_stories()) for event in sentence.events)
    assert set(events) == {kind.name for kind in (*OPENING_KINDS, *KINDS, *CLOSING_KINDS)}
    text = "\n".join(story.en for story in full_stories()).lower()
    for name, en, _ in all_forms():
        literal = max(re.split(r"\{\w+\}", en.lstrip("=~")), key=len).strip()
        assert literal.lower() in text, name


# How each role may be said. A thing or place that the needs do not name (where a dropped thing falls) may stay unsaid.
SAYS = {
    "B": {"B", "Bn", "Bs"}, "t": {"t", "T", "new_t"}, "u": {"U"}, "p": {"p", "at_p", "in_p"},
    "q": {"q", "at_q", "in_q"},    "A": {"A", "A0", "Ao"},
}  # fmt: skip


def slots(template: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", template)


@pytest.mark.parametrize("kind", [*OPENING_KINDS, *KINDS, *CLOSING_KINDS], ids=lambda kind: kind.name)
def test_each_form_tells_who_and_what_takes_part_in_both_languages(kind: Any) -> None:
    needs = dict(token.split(":") for token in kind.needs.split())
    roles = {role for role in needs if role != "A"}
    if ">q" in kind.effects:
        roles.add("q")
    if kind.name == "call_over":
        roles.discard("q")
    for en, zh in kind.forms:
        for template in (en, zh):
            whole = template.startswith("=")
            said = set(slots(template))
            for role in roles | ({"A"} if whole else set()):
                assert said & SAYS[role], f"{kind.name}: {template!r} does not mention {role}"
        listed = [sorted(slot for slot in slots(t) if slot in LISTS or slot in ("feel", "X")) for t in (en, zh)]
        assert listed[0] == listed[1], f"{kind.name}: {en!r} and {zh!r} take different words"
        assert en.startswith("=") == zh.startswith("="), f"{kind.name}: {en!r} is a whole sentence in one language only"


@pytest.mark.parametrize("kind", [*OPENING_KINDS, *KINDS, *CLOSING_KINDS], ids=lambda kind: kind.name)
def test_no_form_makes_a_pronoun_of_an_object_a_subject(kind: Any) -> None:
    # {B} may be said as him or her unless B is new, so it cannot be the subject of a verb.
    if "B:new" not in kind.needs:
        for en, _ in kind.forms:
            assert not re.search(
                r"and \{B\}|(?:that|what|until|whether) \{B\}|\{B\} (?:was|had|came|stared|is)\b", en
            ), en


def test_the_open_classes_are_open() -> None:
    assert len(lexicon.NAMES) >= 200
    assert len(lexicon.THINGS) >= 150
    assert len(lexicon.PLACES) >= 80
    met = Counter(entity.who for story in full_stories() for entity in story.entities())
    assert sum(label == "PERSON" for label, _ in met) > 190  # and they are met, not only listed
    assert sum(label == "PLACE" for label, _ in met) > 80
    assert sum(label == "THING" for label, _ in met) > 150


def test_a_megabyte_holds_about_a_thousand_word_types_and_the_easy_level_a_hundred() -> None:
    text = " ".join(story.en for story in full_stories())[:1_000_000]
    assert len(text) == 1_000_000
    assert 900 <= len({word.lower() for word in english_words(text)}) <= 1500
    easy = {word.lower() for story in sample("easy", "train", 2000) for word in english_words(story.en)}
    assert 60 <= len(easy) <= 200


def test_word_frequencies_are_as_skewed_as_in_real_text() -> None:
    counts = Counter(word.lower() for story in full_stories() for word in english_words(story.en))
    top = [n for _, n in counts.most_common(800)]
    points = [
        (math.log(rank), math.log(top[rank - 1])) for rank in (10 * 1.1**k for k in range(46)) for rank in [int(rank)]
    ]
    mean_x, mean_y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    # Zipf's law is a slope of -1; English books fitted over these ranks lie near -0.9 to -1.2 (Piantadosi 2014,
    # figure 1).
    assert -1.4 < slope < -0.8
    # Half the words of running English are among its 100 or so most frequent types; a closed world's are a little
    # fewer.
    assert 0.5 < sum(top[:100]) / sum(counts.values()) < 0.9


def found_again(story: Story) -> list[int]:
    """For each thing that somebody takes up from the ground: how many sentences it lay there."""
    waits, put = [], dict[int, int]()
    for k, sentence in enumerate(story.sentences):
        for item, holder in enumerate(sentence.state.holder):
            if holder == NEW:
                put.setdefault(item, k)
            elif item in put:
                waits.append(k - put.pop(item))
    return waits


def test_things_put_down_early_are_found_late() -> None:
    stories = full_stories()
    waits = [found_again(story) for story in stories]
    # Counted at 20% and more: memory over five sentences is common and not a curiosity.
    assert sum(any(wait >= 5 for wait in story) for story in waits) / len(stories) > 0.15


def test_pronouns_ellipsis_and_two_events_in_a_sentence_are_common() -> None:
    lines = sentences(full_stories())
    assert 0.3 < sum(line.en.startswith(("He ", "She ")) for line in lines) / len(lines) < 0.7
    assert 0.1 < sum(len(line.events) == 2 for line in lines) / len(lines) < 0.4
    dropped = sum(not re.match("|".join(sorted(WHO_BEGINS)), line.zh) for line in lines if len(line.events) == 1)
    assert 0.15 < dropped / len(lines) < 0.6
    assert sum(" it " in line.en or line.en.endswith(" it.") for line in lines) / len(lines) > 0.02


WHO_BEGINS = (
    {name.zh for name in lexicon.NAMES}
    | {pair.zh for name in ("time", "opening") for pair in LISTS[name]}
    | set("他她")
)


def test_some_words_name_a_person_here_and_a_place_or_a_thing_there() -> None:
    labels: dict[str, set[str]] = {}
    for story in full_stories():
        for entity in story.entities():
            labels.setdefault(story.en[entity.start : entity.end].lower(), set()).add(entity.label)
    both = [word for word, found in labels.items() if len(found) > 1]
    assert len(both) >= 40
    assert sum({"PERSON", "PLACE"} <= labels[word] for word in both) >= 20
    assert sum({"PERSON", "THING"} <= labels[word] for word in both) >= 12


# ---------------------------------------------------------------- the English text

WRONG_ENGLISH = {
    "double space": r"  ",
    "space before a stop": r" [.,]",
    "template left over": r"[{}|=~]",
    "a before a vowel sound": r"\b[Aa] (?=[aeio]|u(?!ni|se))(?!one|eu)",
    "an before a consonant sound": r"\b[Aa]n (?![aeiou]|hour|honest|heir)",
    "the same word twice": r"\b(\w+) \1\b(?<!her her)",
    "two pronouns": r"\b(?:him him|it it|he he|she she|him her his|her him)\b",
    "an object pronoun as a subject": r"(?:^|\. |[Tt]hat |what |until )(?:[Hh]im|[Hh]er) (?:was|had|came|went|and)\b",
    "an object pronoun after and": r"^\w+ and (?:him|her) ",
    "there was several": r"there was (?:heavy|distant)",
    "two one": r"\b1\b|\d",
    "no capital": r"^[^A-Z]",
    "no full stop": r"[^.]$",
    "a capital for nothing": r" (?:The|A|An|He|She|It|And|Someone)\b",
    "two full stops": r"\..+\.|\.\.",
    "the the": r"\bthe (?:the|a|an)\b|\ba (?:the|a|an)\b",
    "the before a bare name": r"\bthe [A-Z]",
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("fault", WRONG_ENGLISH)
def test_no_english_sentence_has_this_fault(fault: str, level: str) -> None:
    stories = full_stories() if level == "full" else sample("easy", "train", 2000)
    pattern = re.compile(WRONG_ENGLISH[fault])
    found = [line.en for line in sentences(stories) if pattern.search(line.en)]
    assert found == []


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("apple", "an"),
        ("hourglass", "an"),
        ("unicorn", "a"),
        ("useful", "a"),
        ("one-eyed", "a"),
        ("kite", "a"),
        ("umbrella", "an"),
    ],
)
def test_a_and_an_follow_the_sound(words: str, right: str) -> None:
    assert article(words) == right


def test_sentences_join_to_the_story() -> None:
    for story in full_stories()[:200]:
        assert " ".join(line.en for line in story.sentences) == story.en == story.text("en") == story.text()
        assert "".join(line.zh for line in story.sentences) == story.zh == story.text("zh")
        for language in ("en", "zh"):
            text, starts = story.text(language), story.starts(language)
            for start, line in zip(starts, story.sentences, strict=True):
                assert text.startswith(getattr(line, language), start)


def test_a_pronoun_has_the_gender_of_whom_it_means() -> None:
    gender = {name.en: name.gender for name in lexicon.NAMES}
    checked = 0
    for story in full_stories():
        actor = None
        for line in story.sentences:
            state = line.state
            assert state.focus is not None
            acting = lexicon.NAMES[state.names[state.focus]]
            if line.en.startswith(("He ", "She ")):
                assert (line.en[0] == "S") == (acting.gender == "f"), line.en
                assert actor == acting.en, f"a pronoun for somebody who did not act last: {line.en}"
                checked += 1
            if line.zh[0] in "他她" and len(line.events) == 1 and "被" not in line.zh:
                assert (line.zh[0] == "她") == (acting.gender == "f"), line.zh
            own = re.search(r"\b(his|her) (?:own|eyes|head|pockets)\b|\b(himself|herself)\b", line.en)
            if own:
                assert (own[1] or own[2][:3]) == ("her" if acting.gender == "f" else "his" if own[1] else "him"), (
                    line.en
                )
            born = re.search(r"a (girl|boy) (?:called ([A-Z]\w+)|who)", line.en)
            if born:
                assert born[1] == ("girl" if gender[acting.en] == "f" else "boy"), line.en
            actor = acting.en
    assert checked > 5000


# ---------------------------------------------------------------- the Chinese text


@pytest.mark.parametrize("level", LEVELS)
def test_chinese_holds_chinese_characters_and_punctuation_only(level: str) -> None:
    stories = full_stories() if level == "full" else sample("easy", "train", 1000)
    wrong = [
        line.zh for line in sentences(stories) if not re.fullmatch("[\u4e00-\u9fff]+(?:，[\u4e00-\u9fff]+)*。", line.zh)
    ]
    assert wrong == []


WRONG_CHINESE = {
    "two before a measure word": "(?<!十)二[枚朵次个只]",
    "one thing that one thing": "那一|一那",
    "de twice": "的的",
    "ba nothing": "把(?:给|放在|留在|藏在|递给|扔给|送给|借给|塞到)",
    "passive and agent": "被被|把把",
    "the same person on both sides": "(她|他)(?:把它)?(?:从|给了?|和|跟|对|向)\\1[^们]",
}


@pytest.mark.parametrize("fault", WRONG_CHINESE)
def test_no_chinese_sentence_has_this_fault(fault: str) -> None:
    pattern = re.compile(WRONG_CHINESE[fault])
    assert [line.zh for line in sentences(full_stories()) if pattern.search(line.zh)] == []


def test_new_things_stand_behind_their_own_measure_word() -> None:
    measure = {thing.zh: thing.measure for thing in lexicon.THINGS}
    checked = 0
    for line in sentences(full_stories()):
        for k, (text, label, _) in enumerate(line.segments["zh"]):
            if label == "measure":
                noun = next(word for word, what, key in line.segments["zh"][k:] if what == "THING" and key[0] == "noun")
                assert text == measure[noun], line.zh
                checked += 1
    assert checked > 3000


# ---------------------------------------------------------------- two languages, one story


def keys(line: Sentence, language: str, *labels: str) -> Counter[tuple[str, object]]:
    return Counter((label or "", key) for _, label, key in line.segments[language] if label in labels)


def test_both_languages_name_the_same_places_and_the_same_words_from_lists() -> None:
    for line in sentences(full_stories()):
        assert keys(line, "en", "PLACE") == keys(line, "zh", "PLACE"), line
        assert keys(line, "en", "adjective", *LISTS) == keys(line, "zh", "adjective", *LISTS), line
        assert keys(line, "en", "and") == keys(line, "zh", "and"), line


def test_who_is_named_in_one_language_only_was_named_before() -> None:
    for story in full_stories():
        known: set[tuple[str, object]] = set()
        for line in story.sentences:
            here = [{entity.who for entity in line.entities(language)} for language in ("en", "zh")]
            items = {("noun", noun): ("toy", toy) for noun, _, toy in line.state.items if toy is not None}
            for who in here[0] ^ here[1]:
                same = {who, *((who[0], toy) for noun, toy in items.items() if noun == who[1])}
                same |= {(who[0], noun) for noun, toy in items.items() if toy == who[1]}
                assert same & known, line
            known |= here[0] | here[1]


def test_english_and_chinese_words_of_a_mention_are_one_entry_of_the_lexicon() -> None:
    for story in full_stories()[:300]:
        for language in ("en", "zh"):
            text = story.text(language)
            for entity in story.entities(language):
                assert text[entity.start : entity.end] == word(entity, language)


def word(entity: Entity, language: str) -> str:
    """The lexicon's word for an entity, by a look-up of this test's own."""
    label: str = entity.who[0]
    key: Any = entity.who[1]
    if label == "PERSON":
        return getattr(lexicon.NAMES[key], language)
    if label == "PLACE":
        return getattr(lexicon.PLACES[key], language).removeprefix("the ")
    kind, index = key
    return getattr((lexicon.THINGS if kind == "noun" else lexicon.TOY_NAMES)[index], language)


# ---------------------------------------------------------------- entities

OPENERS = {pair.en for name in ("time", "opening") for pair in LISTS[name]}
FIRST_WORDS = {"The", "A", "An", "He", "She", "It", "And", "This", "Someone"}


def test_every_capitalised_name_has_a_span_and_nothing_else_has() -> None:
    for line in sentences(full_stories()):
        spans = line.entities()
        covered = {position for span in spans for position in range(span.start, span.end)}
        opener = max((len(opener) for opener in OPENERS if line.en.startswith(opener + ",")), default=0)
        for match in re.finditer(r"\b[A-Z][a-z]+\b", line.en):
            if match.start() < opener or line.en[: match.start()].endswith("the month of "):
                assert match.start() not in covered, line.en
            elif match.start() in covered:
                span = next(s for s in spans if s.start == match.start())
                assert span.end == match.end(), line.en
            else:
                assert match.start() == 0, line.en
                assert match[0] in FIRST_WORDS, line.en
        for span in spans:
            text = line.en[span.start : span.end]
            assert text.lower() not in {"he", "she", "him", "her", "it", "the", "a", "an", ""}, line.en
            assert (
                (span.label == "THING" and text[0].islower())
                or text[0].isupper()
                or line.en[: span.start].endswith("the ")
            ), line.en


def test_every_mention_of_a_thing_of_the_story_has_a_span() -> None:
    for story in full_stories()[:600]:
        for noun, _, _ in story.sentences[-1].state.items:
            title = lexicon.THINGS[noun].en
            spans = {entity.start for entity in story.entities() if entity.who == ("THING", ("noun", noun))}
            # "a ringing bell" may be heard while a bell is in the story: only "the bell" must mean it.
            for match in re.finditer(rf"\bthe {title}\b(?! \w*(?:berry|boat))", story.en):
                longer = [t.en for t in lexicon.THINGS if t.en != title and t.en.startswith(title + " ")]
                if (
                    not any(story.en.startswith("the " + other, match.start()) for other in longer)
                    and title not in HIDING_WORDS
                ):
                    assert match.start() + 4 in spans, story.en[match.start() - 30 : match.end() + 30]


HIDING_WORDS = {word for pair in (*lexicon.HIDING, *lexicon.SONG_TOPICS) for word in pair.en.split()}


def test_every_chinese_mention_of_a_person_of_the_story_has_a_span() -> None:
    checked = 0
    for story in full_stories()[:600]:
        spans = {entity.start for entity in story.entities("zh") if entity.label == "PERSON"}
        others = {entity.start for entity in story.entities("zh")}
        for index in story.cast[0]:
            name = lexicon.NAMES[index].zh
            if name == "大海":  # also the sea, in songs
                continue
            for match in re.finditer(name, story.zh):
                assert match.start() in spans | others, story.zh
                checked += match.start() in spans
    assert checked > 5000


def test_spans_are_sorted_and_do_not_overlap() -> None:
    for story in full_stories()[:500]:
        for language in ("en", "zh"):
            spans = story.entities(language)
            assert all(a.end <= b.start for a, b in pairwise(spans))
            assert {span.label for span in spans} <= {"PERSON", "PLACE", "THING"}


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("level", LEVELS)
def test_each_split_keeps_a_tenth_and_the_proof_holds(level: str) -> None:
    owned = checks.prove_split(world(level))
    total = sum(owned.values())
    assert total == world(level).level.names * world(level).level.things
    for split in ("validation", "test"):
        # A Latin square over ten classes gives each exactly a tenth where the tables' sizes divide by ten, and nearly
        # so elsewhere.
        assert owned[split] / total == pytest.approx(0.1, abs=0.02)
        assert len(checks.held_out_combinations(world(level), split)) == owned[split]


@pytest.mark.parametrize("forgetful", ["_excluded_nouns", "_excluded_names"])
def test_the_proof_fails_when_the_generator_forgets_an_exclusion(
    forgetful: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = Storyworld("easy")
    monkeypatch.setattr(easy, forgetful, lambda *_: set())
    with pytest.raises(
        AssertionError, match=r"\w+ and [\w ]+ \(kept for \w+\) can meet in a \w+ story: a leak|a \w+ story can begin"
    ):
        checks.prove_split(easy)


@pytest.mark.parametrize("level", LEVELS)
def test_stories_hold_their_own_combinations_and_never_those_of_others(level: str) -> None:
    owned: dict[str, set[tuple[str, str]]] = {s: checks.held_out_combinations(world(level), s) for s in SPLITS}
    assert not owned["validation"] & owned["test"]
    for split in SPLITS:
        for story in sample(level, split, 150):
            held = english_combinations(story)
            assert held == checks.combinations(story)
            for other in ("validation", "test"):
                assert bool(held & owned[other]) == (other == split), story.en


def english_combinations(story: Story) -> set[tuple[str, str]]:
    """Read off the facts, not off the engine's cast."""
    facts = story.sentences[-1].facts
    toys = {
        toy.en: noun
        for noun, _, k in story.sentences[-1].state.items
        if k is not None
        for toy in [lexicon.TOY_NAMES[k]]
    }
    things = {lexicon.THINGS[toys[thing]].en if thing in toys else thing for thing in facts.holder_of_thing}
    return {(person, thing) for person in facts.place_of_person for thing in things}


def test_the_latin_square_gives_every_name_and_every_thing_of_the_full_level_to_every_split() -> None:
    for split in SPLITS:
        held = checks.held_out_combinations(world("full"), split)
        assert len({name for name, _ in held}) == len(lexicon.NAMES)
        assert len({thing for _, thing in held}) == len(lexicon.THINGS)


# ---------------------------------------------------------------- repetition


def test_most_pairs_of_sentences_are_new_and_the_count_is_right() -> None:
    stories = full_stories()[:800]
    pairs = [(line.en, line.zh) for line in sentences(stories)]
    found = checks.repetition(stories)
    assert found == (len(pairs), len(set(pairs)), len({en for en, _ in pairs}), len({zh for _, zh in pairs}))
    assert found.share_new == len(set(pairs)) / len(pairs) > 0.8  # the probes of the issue had 16 in 100
    with pytest.raises(ValueError, match="at least one story"):
        checks.repetition([])


def test_unseen_sentences_are_unseen_in_both_languages_and_come_once() -> None:
    train, test = sample("easy", "train", 1500), sample("easy", "test", 300)
    unseen = list(checks.unseen_sentences(test, train))
    texts = {line.en for line in sentences(train)} | {line.zh for line in sentences(train)}
    assert len(unseen) > 50
    assert not [line for line in unseen if line.en in texts or line.zh in texts]
    assert len({line.en for line in unseen}) == len({line.zh for line in unseen}) == len(unseen)


# ---------------------------------------------------------------- translation

TRANSLATED = 1500


def test_the_best_translator_gives_a_reference_where_there_is_one_english_sentence() -> None:
    easy = sentences(sample("easy", "train", TRANSLATED))
    translator = BestTranslator(easy)
    fresh = list(checks.unseen_sentences(sample("easy", "test", 150), sample("easy", "train", TRANSLATED)))
    right = sum(translator.translate(line) == line.en for line in fresh) / len(fresh)
    assert right > 0.5  # pronouns differ from name to name between the languages; the rest is one to one


def test_full_level_translation_is_ambiguous_but_far_from_hopeless() -> None:
    translator = BestTranslator(sentences(full_stories()[:TRANSLATED]))
    fresh = list(checks.unseen_sentences(sample("full", "validation", 60), full_stories()[:TRANSLATED]))
    right = sum(translator.translate(line) == line.en for line in fresh) / len(fresh)
    assert 0.2 < right < 0.7
    reads_only_chinese = Sentence(
        (("Nonsense.", None, None),), fresh[0].segments["zh"], fresh[0].events, fresh[0].state
    )
    assert translator.translate(reads_only_chinese) == translator.translate(fresh[0])


# ---------------------------------------------------------------- questions

QUESTION_STORIES = 700


@cache
def offered(language: str) -> list[tuple[Story, Question]]:
    return [(story, q) for story in full_stories()[:QUESTION_STORIES] for q in questions.questions(story, language)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_answer_stands_where_its_span_says(language: str) -> None:
    for story, question in offered(language):
        assert story.text(language)[question.start : question.end] == question.answer
        spans = {(e.start, e.end): e.who for e in story.entities(language)}
        assert spans[question.start, question.end] == question.answer_who


def test_the_answer_is_the_truth_at_the_end_of_the_story() -> None:
    kinds = Counter[str]()
    for story, question in offered("en"):
        facts = story.sentences[-1].facts
        subject = re.fullmatch(r"(?:Where is|Who has) (?:the )?(.+)\?", question.text)
        assert subject
        if question.kind == "where_thing":
            truth = facts.place_of_thing[subject[1]]
        elif question.kind == "where_person":
            truth = facts.place_of_person[subject[1]]
        else:
            truth = facts.holder_of_thing[subject[1]] or "nobody"
        assert truth.removeprefix("the ") == question.answer, question
        kinds[question.kind] += 1
    assert min(kinds[kind] for kind in ("where_thing", "who_has", "where_person")) >= 10
    assert len(offered("en")) > 0.1 * QUESTION_STORIES  # enough of them to make a data set


def test_chinese_questions_have_chinese_answers_that_are_true() -> None:
    name = {n.zh: n.en for n in lexicon.NAMES}
    place = {(p.zh, p.en) for p in lexicon.PLACES}
    assert len(offered("zh")) > 0.1 * QUESTION_STORIES
    for story, question in offered("zh"):
        facts = story.sentences[-1].facts
        if question.kind == "who_has":
            assert name[question.answer] in facts.holder_of_thing.values()
        else:
            true = facts.place_of_thing if question.kind == "where_thing" else facts.place_of_person
            assert any((question.answer, p) in place for p in true.values())
        assert question.text.endswith("？")


def my_shortcuts(story: Story, question: Question, language: str) -> dict[str, str]:
    """Shortcuts written for this test, from text and spans alone: what a lazy reader would answer."""
    text, starts = story.text(language), [*story.starts(language), len(story.text(language)) + 1]
    label = question.answer_who[0]
    mentions = [
        (e.start, text[e.start : e.end], e.who)
        for e in story.entities(language)
        if e.label == label and e.who != question.subject
    ]
    asked = [e.start for e in story.entities(language) if e.who == question.subject]
    answers = {
        "last": mentions[-1][1],
        "first": mentions[0][1],
        "frequent": Counter(t for _, t, _ in mentions).most_common(1)[0][0],
    }
    if asked:
        answers["closest to the last mention of the subject"] = min(mentions, key=lambda m: abs(m[0] - asked[-1]))[1]
        lines = list(pairwise(starts))
        together = [
            m[1] for low, high in lines if any(low <= a < high for a in asked) for m in mentions if low <= m[0] < high
        ]
        if together:
            answers["last in a sentence with the subject"] = together[-1]
        later = [m[1] for m in mentions if m[0] > asked[-1]]
        earlier = [m[1] for m in mentions if m[0] < asked[-1]]
        if later:
            answers["next after the subject"] = later[0]
        if earlier:
            answers["last before the subject"] = earlier[-1]
    return answers


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_shortcut_answers_a_question(language: str) -> None:
    right: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for story, question in offered(language):
        engine = questions.shortcut_answers(story, question.subject, question.answer_who[0], language)
        assert question.answer_who not in engine.values()
        assert len(engine) >= 3
        for name, answer in my_shortcuts(story, question, language).items():
            tried[name] += 1
            right[name] += answer == question.answer
    assert min(tried[name] for name in ("last", "first", "frequent")) == len(offered(language))
    # Nearness counts from a mention's end in the engine and from its beginning here: a tie may fall the other way.
    assert {n for n, k in right.items() if k} <= {"closest to the last mention of the subject"}
    assert right["closest to the last mention of the subject"] <= 0.05 * len(offered(language))


def test_crossing_out_what_shortcuts_say_leaves_a_guess() -> None:
    chances = []
    for story, question in offered("en"):
        candidates = {
            e.who for e in story.entities() if e.label == question.answer_who[0] and e.who != question.subject
        }
        left = candidates - set(questions.shortcut_answers(story, question.subject, question.answer_who[0]).values())
        assert question.answer_who in left
        chances.append(1 / len(left))
    assert max(chances) <= 0.5  # at least two are left each time
    assert 0.2 < sum(chances) / len(chances) <= 0.5
    majority = Counter(q.answer for _, q in offered("en")).most_common(1)[0][1] / len(offered("en"))
    assert majority < 0.15


def test_bare_names_come_from_all_three_classes() -> None:
    labels = Counter[str]()
    for line in sentences(full_stories()):
        if line.events[-1] == "think_of":
            labels[line.entities()[-1].label] += 1
    assert set(labels) == set(TOPIC_TABLES)
    assert min(labels.values()) > 0.1 * labels.total()


def test_nobody_speaks_of_whoever_is_in_the_clause() -> None:
    for line in sentences(full_stories()):
        if len(line.events) == 1 and line.events[0] in ("ask_about", "think_of", "worry"):
            people = [e.who for e in line.entities() if e.label == "PERSON"]
            assert len(set(people)) == len(people), line.en
