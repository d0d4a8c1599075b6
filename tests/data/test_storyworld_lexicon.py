"""The word lists of Storyworld: complete, unambiguous where they must be, ambiguous where they should be."""

import re
from collections import Counter
from itertools import permutations

import pytest

from course_lib.data.storyworld import lexicon
from course_lib.data.storyworld.lexicon import (
    ADJECTIVES,
    ANIMALS,
    FEELINGS,
    FOODS,
    GAMES,
    HIDING,
    MANNERS,
    NAMES,
    NUMBERS,
    OPENINGS,
    PLACES,
    SONG_TOPICS,
    SOUNDS,
    THINGS,
    TIMES,
    TOY_NAMES,
    Name,
    Pair,
    Place,
    Thing,
)

Entry = Name | Thing | Place | Pair

# How many entries were promised: at least so many in the open classes (AT_LEAST), exactly so many elsewhere.
TABLES: dict[str, tuple[tuple[Entry, ...], int]] = {
    "NAMES": (NAMES, 210),
    "THINGS": (THINGS, 160),
    "PLACES": (PLACES, 90),
    "TOY_NAMES": (TOY_NAMES, 40),
    "ADJECTIVES": (ADJECTIVES, 60),
    "FOODS": (FOODS, 25),
    "ANIMALS": (ANIMALS, 20),
    "SOUNDS": (SOUNDS, 12),
    "GAMES": (GAMES, 12),
    "SONG_TOPICS": (SONG_TOPICS, 12),
    "NUMBERS": (NUMBERS, 21),
    "TIMES": (TIMES, 26),
    "OPENINGS": (OPENINGS, 20),
    "MANNERS": (MANNERS, 24),
    "HIDING": (HIDING, 14),
    **{f"FEELINGS[{mood}]": (pairs, 10) for mood, pairs in FEELINGS.items()},
}
AT_LEAST = {"NAMES", "THINGS", "PLACES"}
SHARED_CHINESE_IS_MEANT = {"THINGS", "TIMES"}

MEASURES = set("个只把本条张顶支朵块件盏封幅双面根颗枚片架艘列匹台床份口节")
NOUN_PHRASE_MEASURES = MEASURES | set("碗盘串袋锅声阵头")

# Written down from an English dictionary's point of view, not read off the lexicon: words with an everyday meaning.
ORDINARY_WORDS = {
    "amber", "april", "archer", "art", "ash", "baker", "basil", "bill", "bob", "brook", "bud", "candy", "carol",
    "chase", "cherry", "chip", "clay", "cliff", "cooper", "dale", "daisy", "dawn", "dean", "dot", "drake",
    "drew", "duke", "earl", "eve", "faith", "fern", "flint", "frank", "gale", "gene", "ginger", "glen", "grace",
    "grant", "hazel", "heath", "heather", "holly", "hope", "hunter", "iris", "ivy", "jack", "jasmine", "jay",
    "josh", "joy", "june", "kitty", "lance", "lane", "lily", "mark", "mason", "may", "melody", "mercy", "merry",
    "miles", "nick", "olive", "page", "pat", "pearl", "penny", "piper", "poppy", "ray", "reed", "rich", "rob",
    "robin", "rocky", "rose", "rowan", "ruby", "rusty", "sage", "sandy", "skip", "star", "stew", "summer",
    "ted", "teddy", "violet", "walker", "will", "willow", "woody", "wren",
}  # fmt: skip

CHINESE_NAMES = {
    "Xiaoming", "Meiling", "Xiaohong", "Lihua", "Haoran", "Yuting", "Zixuan", "Xinyi", "Junjie", "Dawei",
    "Xiaolong", "Jingjing", "Lele", "Xiaoyu", "Mingyue", "Lanlan", "Fangfang", "Dahai", "Caixia", "Jianguo",
    "Tiantian", "Zhiyuan",
}  # fmt: skip


def english(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.en for entry in entries]


def chinese(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.zh for entry in entries]


def repeated(words: list[str]) -> list[str]:
    return [word for word, count in Counter(words).items() if count > 1]


def word_types() -> set[str]:
    return {
        word.lower()
        for entries, _ in TABLES.values()
        for text in english(entries)
        for word in re.findall(r"[A-Za-z'-]+", text)
    }


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_as_many_entries_as_promised(table: str) -> None:
    entries, promised = TABLES[table]
    assert len(entries) >= promised if table in AT_LEAST else len(entries) == promised


def test_the_moods_are_four_and_share_no_word() -> None:
    assert set(FEELINGS) == {"happy", "sad", "angry", "scared"}
    everything = tuple(pair for pairs in FEELINGS.values() for pair in pairs)
    assert repeated(english(everything)) == []
    assert repeated(chinese(everything)) == []


@pytest.mark.parametrize("table", TABLES)
def test_english_is_unique_in_each_table(table: str) -> None:
    assert repeated([text.lower() for text in english(TABLES[table][0])]) == []


@pytest.mark.parametrize("table", sorted(TABLES.keys() - SHARED_CHINESE_IS_MEANT))
def test_chinese_is_unique_in_each_table_but_where_sharing_is_meant(table: str) -> None:
    assert repeated(chinese(TABLES[table][0])) == []


@pytest.mark.parametrize("table", sorted(TABLES.keys() - {"NUMBERS"}))  # 十 must begin 十一
def test_no_chinese_entry_begins_another_of_its_table(table: str) -> None:
    forms = sorted(set(chinese(TABLES[table][0])))
    assert [(a, b) for a, b in permutations(forms, 2) if b.startswith(a)] == []


@pytest.mark.parametrize("table", TABLES)
def test_chinese_fields_hold_chinese_characters_only(table: str) -> None:
    assert [zh for zh in chinese(TABLES[table][0]) if not re.fullmatch(r"[\u4e00-\u9fff]+", zh)] == []


@pytest.mark.parametrize("table", TABLES)
def test_english_fields_hold_plain_words_with_single_spaces(table: str) -> None:
    assert [en for en in english(TABLES[table][0]) if not re.fullmatch(r"[A-Za-z'-]+( [A-Za-z'-]+)*", en)] == []


def test_names_are_single_capitalised_words_of_a_known_gender() -> None:
    assert [name for name in NAMES if not re.fullmatch(r"[A-Z][a-z]+", name.en) or name.gender not in {"f", "m"}] == []
    assert min(Counter(name.gender for name in NAMES).values()) >= 90  # a pronoun must not be guessable from the counts


def test_the_easy_level_has_six_girls_six_boys_and_no_shared_chinese() -> None:
    assert Counter(name.gender for name in NAMES[:12]) == {"f": 6, "m": 6}
    all_things = Counter(chinese(THINGS))
    assert [thing for thing in THINGS[:12] if all_things[thing.zh] > 1] == []
    assert all(place.en.startswith("the ") for place in PLACES[:8])


def test_things_have_a_measure_word_that_chinese_has_for_objects() -> None:
    assert [thing for thing in THINGS if thing.measure not in MEASURES] == []


def test_things_stand_without_article_and_in_lower_case() -> None:
    assert [t.en for t in THINGS if t.en != t.en.lower() or t.en.split()[0] in {"a", "an", "the"}] == []


def test_about_twenty_five_things_may_bear_a_name() -> None:
    assert 22 <= sum(thing.named for thing in THINGS) <= 30


def test_synonyms_share_the_measure_word_with_the_noun() -> None:
    groups = [[thing for thing in THINGS if thing.zh == zh] for zh in repeated(chinese(THINGS))]
    assert len(groups) >= 8
    assert [group for group in groups if len(group) != 2 or len({thing.measure for thing in group}) != 1] == []
    assert {"cup", "mug"} in [{thing.en for thing in group} for group in groups]


def test_six_chinese_openers_have_two_english_ones_each() -> None:
    shared = [{pair.en for pair in TIMES if pair.zh == zh} for zh in repeated(chinese(TIMES))]
    assert [len(group) for group in shared] == [2] * 6
    assert {"Suddenly", "All at once"} in shared
    assert {"Then", "After that"} in shared


def test_places_have_a_known_preposition_and_locative() -> None:
    assert [place for place in PLACES if place.prep not in {"in", "at", "on"}] == []
    assert [place for place in PLACES if place.locative not in {"", "里", "上", "旁", "边"}] == []
    assert [place for place in PLACES if place.locative and place.zh.endswith(place.locative)] == []


def test_proper_places_take_in_and_no_locative_and_common_ones_take_the() -> None:
    proper = [place for place in PLACES if place.en[0].isupper()]
    assert len(proper) >= 35
    assert [p for p in proper if (p.prep, p.locative) != ("in", "") or not re.fullmatch("[A-Z][a-z]+", p.en)] == []
    assert [p for p in PLACES if p not in proper and not re.fullmatch("the [a-z ]+", p.en)] == []


def test_many_names_are_ordinary_words() -> None:
    assert len({name.en.lower() for name in NAMES} & ORDINARY_WORDS) >= 45


def test_a_dozen_names_are_things_too() -> None:
    assert len({name.en.lower() for name in NAMES} & set(english(THINGS))) >= 12


def test_twenty_names_are_places_too() -> None:
    assert len(set(english(NAMES)) & set(english(PLACES))) >= 20


def test_ten_toys_are_called_like_people() -> None:
    assert 8 <= len(set(english(TOY_NAMES)) & set(english(NAMES))) <= 14


def test_about_twenty_people_have_chinese_names() -> None:
    assert len(set(english(NAMES)) & CHINESE_NAMES) >= 18
    assert {("Xiaoming", "小明"), ("Meiling", "美玲")} <= {(name.en, name.zh) for name in NAMES}


def test_a_person_and_a_place_share_chinese_only_if_they_share_english() -> None:
    places = {place.zh: place.en for place in PLACES}
    assert [name for name in NAMES if places.get(name.zh, name.en) != name.en] == []
    told_apart = {place.zh for place in PLACES if place.en == "Florence"}
    assert told_apart == {"佛罗伦萨"} != {name.zh for name in NAMES if name.en == "Florence"}


def test_names_and_things_never_share_chinese() -> None:
    # Lily and a lily are told apart in Chinese (莉莉, 百合花), so a translator needs to know which one was meant.
    assert set(chinese(NAMES)) & set(chinese(THINGS)) == set()


def test_adjectives_and_manners_fit_their_chinese_slots() -> None:
    assert [pair for pair in ADJECTIVES if not pair.zh.endswith("的")] == []
    assert [pair for pair in MANNERS if not (pair.zh.endswith("地") or "着" in pair.zh or pair.zh == "立刻")] == []


@pytest.mark.parametrize("table", ["FOODS", "ANIMALS", "SOUNDS"])
def test_noun_phrases_begin_with_an_article_and_with_one_and_a_measure_word(table: str) -> None:
    for pair in TABLES[table][0]:
        assert pair.zh[0] == "一", pair
        assert pair.zh[1] in NOUN_PHRASE_MEASURES, pair
        # Each vowel letter that begins a noun phrase here is also a vowel sound: no "hour", no "unicorn".
        article = "an " if re.match(r"an? [aeiou]", pair.en) else "a "
        assert pair.en.startswith(article) or pair.en in {"heavy footsteps", "distant drums"}, pair


def test_hiding_spots_end_in_a_chinese_locative() -> None:
    assert [pair for pair in HIDING if not pair.zh.endswith(("下面", "后面", "里", "上"))] == []


def test_openers_are_capitalised_and_leave_the_comma_to_the_sentence() -> None:
    assert [pair for pair in (*TIMES, *OPENINGS) if not pair.en[0].isupper() or pair.en.endswith(",")] == []
    assert set(english(TIMES)) & set(english(OPENINGS)) == set()
    assert set(chinese(TIMES)) & set(chinese(OPENINGS)) == set()


def test_numbers_agree_in_both_languages() -> None:
    units = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
    ]  # fmt: skip
    value = {**{word: number for number, word in enumerate(units)}, "fifty": 50, "a hundred": 100}
    digits = "零一二三四五六七八九"

    def in_chinese(number: int) -> str:
        if number == 100:
            return "一百"
        tens, ones = divmod(number, 10)
        return ("" if tens < 2 else digits[tens]) + ("十" if tens else "") + (digits[ones] if ones else "")

    assert {pair.en: pair.zh for pair in NUMBERS} == {
        word: in_chinese(number) for word, number in value.items() if number >= 2
    }


def test_the_lexicon_has_about_eight_hundred_english_words() -> None:
    assert 800 <= len(word_types()) <= 1000


def test_a_table_entry_with_a_missing_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table entry 'Rose \| f' has 2 fields; it should have 3"):
        lexicon._rows("Lily | f | 莉莉\nRose | f", 3)
