"""Tokenizers against tiktoken, Hugging Face tokenizers and the slowest obvious program, and the laws they keep."""

import hashlib
import itertools
import json
import os
import pydoc_data.topics
import random
import subprocess
import sys
import tracemalloc
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import pytest
import regex
import tiktoken
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as HuggingFaceTokenizer

from course_lib.data.tokenizers import (
    GPT2_PATTERN,
    GPT4_PATTERN,
    BytePairTokenizer,
    CharacterTokenizer,
    Tokenizer,
    learn_merges,
)

PATTERNS = {"GPT-4": GPT4_PATTERN, "GPT-2": GPT2_PATTERN}
END = "<|endoftext|>"
SPECIALS = (END, "<|user|>", "<|model|>")

CHINESE = """小玫把一朵红色的玫瑰放进木盒，然后去了河边。天黑以前，她的弟弟找到了木盒，却没有找到玫瑰。
“玫瑰在哪里？”他问。“在我手里，”小玫说，“一直都在。”２０２４年，河边有３２１只鸭子。"""
ENGLISH = """Rose found a rose in the garden, and she'll give it to Will. It's Will's rose now; they're happy.
The old lantern WASN'T where Rose had put it. "Where is it?" asked the miller. "I've no idea," said Rose.
12345 lanterns, 3.14 roses,   three spaces	a tab, trailing spaces  \x20
\r\nWindows lines\r\n\r\n\n  and blank ones\n\n\n\tthe end of the lantern and the rose and the miller"""
CODE = '''def found(rose, *, where="the old mill"):
    """Return where the rose is (None if lost)."""
    for step in range(10_000):
        if rose != where and not (rose == 'x'):
            return {"rose": rose, "where": [where] * 3}  # \\n stays
'''
EMOJI = "👩🏽‍🚀 found a 🌹! 👨‍👩‍👧‍👦 and 🇩🇪🇨🇳 e\u0301 ﬁ ſ's K \u200b\u2028\x85\x00\x7f"
CORPUS = "\n\n".join([ENGLISH, CHINESE, CODE, EMOJI])


@cache
def trained(
    pattern: str = GPT4_PATTERN, vocab_size: int = 600, specials: tuple[str, ...] = SPECIALS
) -> BytePairTokenizer:
    return BytePairTokenizer.train(CORPUS, vocab_size, special_tokens=specials, pattern=pattern, min_count=1)


@cache
def as_tiktoken(tokenizer: BytePairTokenizer) -> tiktoken.Encoding:
    ordinary = tokenizer.vocab_size - len(tokenizer.special_ids)
    return tiktoken.Encoding(
        "ours",
        pat_str=tokenizer.pattern,
        mergeable_ranks={tokenizer.token_bytes(i): i for i in range(ordinary)},
        special_tokens=tokenizer.special_ids,
    )


# Text that looks for trouble: every kind of space, contractions, runs, several scripts. Characters that this Python's
# Unicode tables do not know are left out, for another engine may have newer tables and know them.
pieces_of_text = st.one_of(
    st.sampled_from(list(" \t\n\r\v\f\x1c\x1f\x85\xa0\u2028\u3000'\"_-.,!?0aAzZéßſK中玫🌹\u0301\u200d٣½")),
    st.sampled_from(
        ["'s", "'LL", "'ve", "'ſ", "  ", "\n\n", "\r\n", " \n ", "the", " Rose", "玫瑰", "12345", "====", "aaaa"]
    ),
    st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=8),
    st.sampled_from(CORPUS.split()),
)
texts = st.lists(pieces_of_text, max_size=40).map("".join)
texts_with_specials = st.lists(
    st.one_of(pieces_of_text, st.sampled_from([*SPECIALS, "<|", "|>", "<|end", "<", ">"])), max_size=30
).map("".join)


# --- Training ---------------------------------------------------------------------------------------------------------


def slow_merges(words: list[str], number: int, min_count: int = 1) -> list[tuple[int, int]]:
    """Count all pairs, merge the best one everywhere, start again."""
    rows = [list(word.encode()) for word in words]
    merges: list[tuple[int, int]] = []
    while len(merges) < number:
        counts = Counter(pair for row in rows for pair in itertools.pairwise(row))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < min_count:
            break
        merges.append(best)
        rows = [slow_merge(row, best, 255 + len(merges)) for row in rows]
    return merges


def slow_merge(row: list[int], pair: tuple[int, int], new: int) -> list[int]:
    merged = []
    while row:
        if tuple(row[:2]) == pair:
            merged.append(new)
            row = row[2:]
        else:
            merged.append(row[0])
            row = row[1:]
    return merged


small_words = st.lists(st.text("ab", max_size=9) | st.text("abc 玫🌹", max_size=6), max_size=12)


@given(small_words, st.integers(0, 30), st.integers(1, 3))
@example(["aaaaaaa", "aaa", "baaab"], 9, 1)
@settings(deadline=None, max_examples=300)
def test_fast_training_learns_the_merges_of_the_slow_obvious_trainer(words, number, min_count):
    assert learn_merges(Counter(words), number, min_count) == slow_merges(words, number, min_count)


def test_fast_training_learns_the_merges_of_the_slow_trainer_on_real_text():
    words = regex.findall(GPT4_PATTERN, CORPUS)
    assert trained().merges == slow_merges(words, 600 - 256 - 3)


def test_the_merges_of_a_classic_example_are_those_worked_out_by_hand():
    # Sennrich et al. 2016, section 3.2, without their end-of-word mark. (e, s) and (s, t) both stand 9 times, in newest
    # and widest; s and t have the larger codes, so (e, s) goes first. Then es+t 9, l+o 7, lo+w 7, e+w 6, n+ew 6.
    counts = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
    tokens = [bytes([i]).decode("latin-1") for i in range(256)]
    for left, right in learn_merges(counts, 6):
        tokens.append(tokens[left] + tokens[right])
    assert tokens[256:] == ["es", "est", "lo", "low", "ew", "new"]


def test_of_equally_frequent_pairs_the_smaller_left_id_goes_first_and_then_the_smaller_right_id():
    tokenizer = BytePairTokenizer.train(["zb", "ac", "ab", "aa"] * 2, 260)
    assert [tokenizer.token_bytes(i) for i in range(256, 260)] == [b"aa", b"ab", b"ac", b"zb"]


def test_overlapping_pairs_count_each_time():
    # (a, a) stands twice in "aaa", so 2 x 2 beats the three (b, c).
    tokenizer = BytePairTokenizer.train(["aaa", "aaa", "bc", "bc", "bc"], 257)
    assert tokenizer.token_bytes(256) == b"aa"


def hugging_face_merges(words: list[str], number: int, min_count: int) -> list[tuple[int, int]]:
    """What the BpeTrainer of Hugging Face learns from the bytes of these words.

    It settles ties by its own ids, which follow the order of the characters. With byte b as character U+4E00 + b they
    are the byte values, as in our tokenizer. (Its ByteLevel alphabet has another order; see the next test but one.)
    """
    tokenizer = HuggingFaceTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + number,
        min_frequency=min_count,
        initial_alphabet=[chr(0x4E00 + b) for b in range(256)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["".join(chr(0x4E00 + b) for b in word.encode()) for word in words], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


@given(small_words, st.integers(0, 30), st.integers(1, 3))
@settings(deadline=None, max_examples=200)
def test_training_learns_the_merges_of_hugging_face(words, number, min_count):
    assert learn_merges(Counter(words), number, min_count) == hugging_face_merges(words, number, min_count)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_training_learns_the_merges_of_hugging_face_on_real_text(pattern):
    words = regex.findall(pattern, CORPUS)
    assert trained(pattern, 650, ()).merges == hugging_face_merges(words, 650 - 256, 1)


def hugging_face_byte_level(pattern: str) -> HuggingFaceTokenizer:
    tokenizer = HuggingFaceTokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return tokenizer


def test_training_compresses_as_well_as_the_byte_level_trainer_of_hugging_face():
    # Used as everybody uses it, theirs settles ties in another order of the bytes. That changes a few rare merges.
    text = "\n".join(pydoc_data.topics.topics.values())[:150_000]
    theirs = hugging_face_byte_level(GPT4_PATTERN)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator([text], trainer)
    ours = BytePairTokenizer.train(text, 1000)
    assert ours.vocab_size == theirs.get_vocab_size() == 1000
    # Both take a most frequent pair each time, so neither can be better by more than what single ties are worth.
    assert abs(len(ours.encode(text)) / len(theirs.encode(text).ids) - 1) < 0.002


def test_special_tokens_in_the_training_text_are_no_part_of_any_merge_and_separate_words():
    text = f"rose{END}rose{END}" * 50
    tokenizer = BytePairTokenizer.train(text, 300, special_tokens=(END,))
    assert tokenizer.merges == BytePairTokenizer.train(["rose"] * 100, 300).merges
    assert tokenizer.vocab_size == 256 + 3 + 1


def test_several_texts_are_read_one_by_one_and_no_token_reaches_from_one_into_the_next():
    tokenizer = BytePairTokenizer.train(iter(["rose", "mary"] * 10), 400)
    assert {tokenizer.token_bytes(i) for i in range(256, tokenizer.vocab_size)} == {
        *(b"os", b"ros", b"rose", b"ar", b"mar", b"mary")
    }
    joined = BytePairTokenizer.train("rosemary" * 10, 400, pattern=r"rosemary")
    assert b"rosemary" in [joined.token_bytes(i) for i in range(256, joined.vocab_size)]


def test_the_order_of_the_texts_does_not_matter():
    lines = CORPUS.splitlines()
    shuffled = random.Random(3).sample(lines, len(lines))
    assert BytePairTokenizer.train(lines, 600).merges == BytePairTokenizer.train(shuffled, 600).merges


def test_training_stops_at_the_vocabulary_size_or_when_no_pair_is_frequent_enough():
    assert trained().vocab_size == 600
    assert BytePairTokenizer.train("", 300).vocab_size == 256
    assert BytePairTokenizer.train("abab cd", 300).merges == [(97, 98)]
    assert len(BytePairTokenizer.train("abab cd", 300, min_count=1).merges) == 4  # ab, " c", " cd", abab
    assert BytePairTokenizer.train("aaaa", 257 + 1, special_tokens=("<x>",)).vocab_size == 258


def test_training_and_encoding_do_not_depend_on_the_hash_seed_of_the_process():
    program = (
        "import sys; from course_lib.data.tokenizers import BytePairTokenizer, CharacterTokenizer\n"
        "text = sys.stdin.buffer.read().decode(); tokenizer = BytePairTokenizer.train(text, 600)\n"
        "print(tokenizer.merges, tokenizer.encode(text), ascii(CharacterTokenizer.train(text).characters))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=CORPUS.encode(),
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert str(BytePairTokenizer.train(CORPUS, 600).merges).encode() in outputs.pop()


# --- Encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@given(text=texts)
@settings(deadline=None, max_examples=100)
def test_ids_are_those_of_replaying_the_merges_one_after_the_other(pattern, text):
    tokenizer = trained(pattern)
    expected = []
    for word in regex.findall(pattern, text):
        row = list(word.encode())
        for number, merge in enumerate(tokenizer.merges):
            row = slow_merge(row, merge, 256 + number)
        expected += row
    assert tokenizer.encode(text) == expected


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@given(text=texts_with_specials)
@example(text=CORPUS)
@example(text=f"{END}{END}<|user|><|model|>{END} a")
@settings(deadline=None, max_examples=300)
def test_ids_are_those_of_tiktoken(pattern, text):
    tokenizer = trained(pattern)
    reference = as_tiktoken(tokenizer)
    assert tokenizer.encode(text) == reference.encode(text, disallowed_special=())
    assert tokenizer.encode(text, allow_special=True) == reference.encode(text, allowed_special="all")


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_ids_are_those_of_tiktoken_around_every_character_there_is(pattern):
    characters = [c for i in range(sys.maxunicode + 1) if unicodedata.category(c := chr(i)) not in ("Cn", "Cs", "Co")]
    assert len(characters) > 140_000
    tokenizer, reference = trained(pattern), as_tiktoken(trained(pattern))
    for start in range(0, len(characters), 500):
        text = "".join(f"a{c}1 {c}'{c} " for c in characters[start : start + 500])
        assert tokenizer.encode(text) == reference.encode(text), f"near {characters[start]!r}"


@pytest.mark.parametrize("alphabet", ["a", "ab", "the rose found".replace(" ", ""), "玫瑰在河边"], ids=ascii)
def test_a_word_of_a_hundred_thousand_characters_costs_no_more_per_character_than_a_short_one(alphabet):
    # Trying all merges at each place anew would take hours here. tiktoken has a heap for long words too.
    word = "".join(random.Random(5).choices(alphabet, k=100_000))
    tokenizer = trained()
    assert tokenizer.encode(word) == as_tiktoken(tokenizer).encode(word)


def test_a_long_word_in_the_training_text_costs_no_more_per_character_than_a_short_one():
    word = "".join(random.Random(6).choices("玫瑰在河边找到", k=30_000))
    tokenizer = BytePairTokenizer.train(word, 1500)
    assert tokenizer.merges == hugging_face_merges([word], 1500 - 256, 2)


def as_hugging_face(tokenizer: BytePairTokenizer) -> HuggingFaceTokenizer:
    """Our merges in a byte-level tokenizer of Hugging Face, which writes each byte as one printable character."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    shown = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    name = ["".join(shown[b] for b in tokenizer.token_bytes(i)) for i in range(256 + len(tokenizer.merges))]
    theirs = hugging_face_byte_level(tokenizer.pattern)
    theirs.model = models.BPE(
        {token: i for i, token in enumerate(name)}, [(name[a], name[b]) for a, b in tokenizer.merges]
    )
    theirs.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokenizer.special_tokens])
    return theirs


@given(
    st.lists(st.text("甲乙丙", min_size=1, max_size=4), min_size=1, max_size=5, unique=True),
    st.lists(st.text("甲乙丙 a", max_size=5), max_size=8),
    st.randoms(use_true_random=False),
)
@example(["<|a|>", "<|a|>b"], ["<|a|>b<|a|>"], random.Random(0))
@example(["乙", "甲乙", "甲乙乙"], ["甲甲乙乙乙"], random.Random(0))
@settings(deadline=None, max_examples=200)
def test_of_overlapping_special_tokens_the_leftmost_wins_and_then_the_longest(specials, plain, rng):
    # tiktoken leaves open which of two wins that start alike; Hugging Face searches leftmost, longest. (To Hugging Face
    # a special token that is also an ordinary one, such as "a", is one and the same: hence special tokens in Chinese.)
    tokenizer = BytePairTokenizer(trained().merges[:100], special_tokens=specials)
    mixed = [*plain, *specials, *specials]
    rng.shuffle(mixed)
    text = "".join(mixed)
    assert tokenizer.encode(text, allow_special=True) == as_hugging_face(tokenizer).encode(text).ids


@given(texts_with_specials)
@settings(deadline=None)
def test_special_tokens_in_a_text_are_plain_text_unless_allowed(text):
    tokenizer = trained()
    assert not set(tokenizer.encode(text)) & set(tokenizer.special_ids.values())
    assert tokenizer.encode(text) == BytePairTokenizer(tokenizer.merges).encode(text)
    assert Counter(tokenizer.encode(text, allow_special=True))[tokenizer.special_ids[END]] == text.count(END)


def test_allowing_special_tokens_changes_nothing_where_there_are_none():
    tokenizer = BytePairTokenizer(trained().merges)
    assert tokenizer.encode(ENGLISH, allow_special=True) == trained().encode(ENGLISH)


def test_a_batch_is_each_text_encoded_alone():
    batch = [ENGLISH, "", f"a{END}", CHINESE]
    assert trained().encode_batch(batch) == [trained().encode(text) for text in batch]
    assert trained().encode_batch(iter(batch), allow_special=True)[2] == [97, trained().special_ids[END]]


def test_what_was_encoded_before_changes_no_result():
    tokenizer = BytePairTokenizer(trained().merges)
    cold = tokenizer.encode("rose")
    tokenizer.encode("rose").append(-1)
    tokenizer.encode("rose").clear()
    next(iter(tokenizer.encode_batch(["rose"]))).clear()
    assert tokenizer.encode("rose") == cold
    warm = [tokenizer.encode(text) for text in (CORPUS, "rose", CORPUS)]
    assert warm == [BytePairTokenizer(trained().merges).encode(text) for text in (CORPUS, "rose", CORPUS)]


def test_two_tokenizers_do_not_share_what_they_remember():
    assert BytePairTokenizer([]).encode("rose") == list(b"rose")
    assert BytePairTokenizer([(114, 111)]).encode("rose") == [256, 115, 101]
    assert BytePairTokenizer([]).encode("rose") == list(b"rose")


def test_the_memory_of_words_is_bounded_in_number_and_length(monkeypatch):
    monkeypatch.setattr(BytePairTokenizer, "_CACHED_LENGTH", 4)
    tokenizer = BytePairTokenizer(trained().merges)
    assert tokenizer.encode(CORPUS) == trained().encode(CORPUS)
    assert tokenizer._cache.keys() == {word for word in regex.findall(GPT4_PATTERN, CORPUS) if len(word) <= 4}
    monkeypatch.setattr(BytePairTokenizer, "_CACHED_WORDS", 10)
    for line in CORPUS.splitlines():
        assert tokenizer.encode(line) == trained().encode(line)
    tokenizer.encode("a new word")
    assert 0 < len(tokenizer._cache) <= 10


# --- Streams ----------------------------------------------------------------------------------------------------------


def cut(text: str, places: list[int]) -> list[str]:
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(borders)]


@pytest.mark.parametrize("allow_special", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@given(text=texts_with_specials, places=st.lists(st.integers(0, 10_000), max_size=25))
@example(text="I'll go \n \n\n", places=[2, 3, 5, 6, 7])
@example(text="a\n     \nb", places=[6])  # a line end far ahead makes all this white space one word
@example(text=f"ab{END}ab", places=[3, 9, 14, 15])
@settings(deadline=None, max_examples=200)
def test_a_stream_gives_the_ids_of_the_whole_text_wherever_it_is_cut(pattern, allow_special, text, places):
    # Trained to the end on this very text, so that each word has become one token and a word cut wrongly shows.
    tokenizer = BytePairTokenizer.train(text, 10_000, special_tokens=SPECIALS, pattern=pattern, min_count=1)
    whole = tokenizer.encode(text, allow_special=allow_special)
    assert list(tokenizer.encode_stream(cut(text, places), allow_special=allow_special)) == whole
    assert list(tokenizer.encode_stream(text, allow_special=allow_special)) == whole  # one character at a time


@given(
    st.lists(st.text("<|ab>", min_size=1, max_size=5), min_size=1, max_size=4, unique=True),
    st.lists(st.text("<|ab> \n", max_size=6), max_size=6),
)
@settings(deadline=None, max_examples=200)
def test_a_stream_may_be_cut_within_overlapping_special_tokens(specials, plain):
    text = "".join(itertools.chain(*itertools.zip_longest(plain, specials, fillvalue="a")))
    for tokenizer in (
        BytePairTokenizer([], special_tokens=specials),
        CharacterTokenizer("<|ab> \n", special_tokens=specials),
    ):
        whole = tokenizer.encode(text, allow_special=True)
        assert list(tokenizer.encode_stream(text, allow_special=True)) == whole


@given(texts, st.lists(st.integers(0, 10_000), max_size=9))
@settings(deadline=None)
def test_a_stream_of_characters_gives_the_ids_of_the_whole_text(text, places):
    tokenizer = CharacterTokenizer.train(text + "a")
    assert list(tokenizer.encode_stream(cut(text, places))) == tokenizer.encode(text)


@pytest.mark.parametrize("tokenizer", [trained(), CharacterTokenizer.train(CORPUS)], ids=lambda t: type(t).__name__)
def test_a_stream_is_read_only_as_far_as_needed(tokenizer):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield "a rose \n"

    stream = tokenizer.encode_stream(endless())
    assert read == 0
    first = list(itertools.islice(stream, 100))
    assert first == tokenizer.encode("a rose \n" * 200)[:100]
    assert read <= 100 / len(tokenizer.encode("a rose \n")) + 3


@pytest.mark.parametrize(
    "tokenizer", [trained(), CharacterTokenizer.train("0123456789 roses in boxes, ")], ids=lambda t: type(t).__name__
)
def test_a_long_stream_needs_the_memory_of_one_piece(tokenizer):
    def peak(pieces: int) -> int:
        tracemalloc.start()
        count = sum(
            1 for _ in tokenizer.encode_stream(f"{i % 90} roses in {i % 91} boxes, " * 10 for i in range(pieces))
        )
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count > 50 * pieces
        return size

    peak(50)  # fill the memory of words
    assert peak(550) < peak(50) + 20_000  # bytes; to hold the other 500 pieces takes more than 100,000


def test_a_long_word_that_arrives_letter_by_letter_is_not_scanned_again_for_each_letter(monkeypatch):
    scanned = 0
    encode_words = BytePairTokenizer._encode_words

    def counting(self, text, allow_special, start):
        nonlocal scanned
        scanned += len(text)
        return encode_words(self, text, allow_special, start)

    monkeypatch.setattr(BytePairTokenizer, "_encode_words", counting)
    assert len(list(BytePairTokenizer([]).encode_stream("a" for _ in range(20_000)))) == 20_000
    assert scanned < 4 * 20_000  # 1 + 2 + 4 + ... + 16,384, and once at the end; each time anew would be 200 million


# --- Decoding, looking at tokens --------------------------------------------------------------------------------------


@given(text=st.one_of(st.text(), texts_with_specials), allow_special=st.booleans())
@example("", False)
@example(CORPUS, True)
@settings(deadline=None, max_examples=200)
def test_every_string_round_trips(text, allow_special):
    for pattern in PATTERNS.values():
        tokenizer = trained(pattern)
        assert tokenizer.decode(tokenizer.encode(text, allow_special=allow_special)) == text
        assert tokenizer.decode(tokenizer.encode(text, allow_special=allow_special), errors="strict") == text
    characters = CharacterTokenizer.train(text + "a", special_tokens=SPECIALS)
    assert characters.decode(characters.encode(text, allow_special=allow_special)) == text


@pytest.mark.parametrize("pattern", [r"\w+", r"\s*", "(?:)", "a|", "", r"(?i:A)b?"])
@given(text=st.one_of(st.text(), texts))
@settings(deadline=None, max_examples=30)
def test_every_string_round_trips_when_the_pattern_leaves_characters_out(pattern, text):
    tokenizer = BytePairTokenizer.train([CORPUS, text], 300, pattern=pattern)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(list(tokenizer.encode_stream([text]))) == text


def test_ids_that_end_within_a_character_decode_as_asked():
    tokenizer = BytePairTokenizer([])
    ids = tokenizer.encode("a玫")[:-1]
    assert tokenizer.decode_bytes(ids) == b"a\xe7\x8e"
    assert tokenizer.decode(ids) == "a\ufffd"
    assert tokenizer.decode(ids, errors="ignore") == "a"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(ids, errors="strict")


def test_any_sequence_of_integers_can_be_decoded():
    ids = trained().encode(CORPUS)
    assert trained().decode([]) == ""
    forms: list[Any] = [tuple(ids), iter(ids), numpy.array(ids, dtype=numpy.uint16), torch.tensor(ids)]
    for form in [*forms, map(numpy.int64, ids)]:
        assert trained().decode(form) == CORPUS


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([5, 600], ValueError, r"ids\[1\] is 600: this tokenizer has ids 0 to 599"),
        ([-1], ValueError, r"ids\[0\] is -1: this tokenizer has ids 0 to 599"),
        ([1, 2.0], TypeError, r"ids\[1\] is 2.0: it must be an integer"),
        (torch.tensor([[1, 2]]), TypeError, r"ids\[0\] is \[1, 2\]: it must be an integer"),
        ("rose", TypeError, r"ids\[0\] is 'r': it must be an integer"),
        (7, TypeError, "ids must be a sequence of integers, not 7"),
        (torch.tensor(7), TypeError, "ids must be a sequence of integers, not 7"),
    ],
)
def test_ids_that_cannot_be_decoded_are_named(ids, error, message):
    for method in (trained().decode, trained().decode_bytes):
        with pytest.raises(error, match=f"^{message}$"):
            method(ids)


def test_tokens_are_shown_one_for_each_id():
    tokenizer = trained()
    assert "".join(tokenizer.tokens(ENGLISH)) == ENGLISH
    assert len(tokenizer.tokens(CORPUS)) == len(tokenizer.encode(CORPUS))
    assert BytePairTokenizer([]).tokens("a玫") == ["a", "\\xe7", "\\x8e", "\\xab"]
    assert tokenizer.tokens(f"a{END}", allow_special=True) == ["a", END]
    assert len(tokenizer.tokens(f"a{END}")) > 2
    assert CharacterTokenizer("a玫").tokens("玫a") == ["玫", "a"]


def test_bytes_come_first_then_merges_then_special_tokens_in_the_order_given():
    tokenizer = trained()
    assert [tokenizer.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    for number, (left, right) in enumerate(tokenizer.merges):
        assert tokenizer.token_bytes(256 + number) == tokenizer.token_bytes(left) + tokenizer.token_bytes(right)
    assert tokenizer.special_ids == {END: 597, "<|user|>": 598, "<|model|>": 599}
    assert tokenizer.special_tokens == SPECIALS
    assert [tokenizer.decode([i]) for i in (597, 598, 599)] == list(SPECIALS)
    assert tokenizer.vocab_size == 256 + len(tokenizer.merges) + 3
    assert repr(tokenizer) == f"BytePairTokenizer(vocab_size=600, merges=341, special_tokens={SPECIALS})"


def test_chinese_learns_characters_and_words():
    tokenizer = BytePairTokenizer.train(CHINESE * 5, 400)
    assert "玫瑰" in tokenizer.tokens("玫瑰")
    assert len(tokenizer.encode(CHINESE)) < len(CHINESE) < len(CHINESE.encode())


# --- Characters -------------------------------------------------------------------------------------------------------


def test_characters_are_numbered_in_the_order_of_their_code_points():
    tokenizer = CharacterTokenizer.train(["玫b", "ab\n"], special_tokens=("<s>",))
    assert tokenizer.characters == "\nab玫"
    assert tokenizer.encode("b玫\n") == [2, 3, 0]
    assert tokenizer.special_ids == {"<s>": 4}
    assert tokenizer.vocab_size == 5
    assert tokenizer.token_bytes(3) == "玫".encode()
    assert repr(tokenizer) == "CharacterTokenizer(vocab_size=5, special_tokens=('<s>',))"


def test_characters_treat_special_tokens_as_text_unless_allowed():
    tokenizer = CharacterTokenizer("<ab>", special_tokens=("<a", "<ab>"))
    assert tokenizer.encode("<ab>") == [0, 1, 2, 3]
    assert tokenizer.encode("a<ab><a>", allow_special=True) == [1, 5, 4, 3]


def test_an_unknown_character_is_named_with_its_position():
    tokenizer = CharacterTokenizer("ab <>", special_tokens=("<b>",))
    message = r"unknown character '玫' \(U\+73AB\) at position 5: this tokenizer knows the 5 characters"
    with pytest.raises(ValueError, match=message):
        tokenizer.encode("a b a玫b")
    with pytest.raises(ValueError, match=message):
        tokenizer.encode("a<b>a玫b", allow_special=True)
    with pytest.raises(ValueError, match=message):
        list(tokenizer.encode_stream(["a b", " ", "a", "玫b"]))


# --- Files ------------------------------------------------------------------------------------------------------------

EXAMPLES: list[Tokenizer] = [
    BytePairTokenizer.train("a玫 a玫 a\\ a\\", 262, special_tokens=("<结束>", "<s>")),
    BytePairTokenizer([], pattern=GPT2_PATTERN),
    CharacterTokenizer('\n "\\玫🌹\u2028', special_tokens=("<s>",)),
    CharacterTokenizer("a"),
]
by_name = pytest.mark.parametrize("tokenizer", EXAMPLES, ids=repr)


def assert_equal(loaded: Tokenizer, tokenizer: Tokenizer) -> None:
    assert vars(loaded).keys() == vars(tokenizer).keys()
    for name in vars(tokenizer).keys() - {"_cache"}:
        assert getattr(loaded, name) == getattr(tokenizer, name), name


@pytest.mark.parametrize("tokenizer", [*EXAMPLES, trained()], ids=repr)
def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = type(tokenizer).load(str(tmp_path / "tokenizer.json"))
    assert_equal(loaded, tokenizer)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"tokenizer.json", "again.json"}


def test_the_file_is_written_as_documented(tmp_path):
    path = tmp_path / "tokenizer.json"
    BytePairTokenizer([(231, 142), (256, 171)], special_tokens=("<s>",), pattern=r"\S+|\s").save(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = json.loads(path.read_text(encoding="utf-8"))
    digest = fields.pop("sha256")
    compact = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(compact.encode()).hexdigest()
    assert lines == [
        "{",
        '  "format": "course_lib tokenizer",',
        '  "version": 1,',
        '  "kind": "byte pairs",',
        '  "pattern": "\\\\S+|\\\\s",',
        '  "merges": [',
        '    [231, 142, "\\\\xe7\\\\x8e"],',
        '    [256, 171, "玫"]',
        "  ],",
        '  "special_tokens": [',
        '    "<s>"',
        "  ],",
        f'  "sha256": "{digest}"',
        "}",
    ]


def test_other_programs_can_read_the_file(tmp_path):
    trained().save(tmp_path / "tokenizer.json")
    fields = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = [bytes([i]) for i in range(256)]
    for left, right, _ in fields["merges"]:
        tokens.append(tokens[left] + tokens[right])
    special = {token: len(tokens) + i for i, token in enumerate(fields["special_tokens"])}
    ranks = {token: i for i, token in enumerate(tokens)}
    reference = tiktoken.Encoding("file", pat_str=fields["pattern"], mergeable_ranks=ranks, special_tokens=special)
    text = CORPUS + END
    assert reference.encode(text, allowed_special="all") == trained().encode(text, allow_special=True)


@by_name
@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_whatever_byte_of_the_file_changes_loading_notices_it(tokenizer, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "tokenizer.json"
    tokenizer.save(path)
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.one_of(st.binary(max_size=2), st.sampled_from([b"0", b"1", b"a", b'"', b",", b"]", b" "])))
    changed = content[:place] + new + content[place + 1 :]
    assume(changed != content)
    path.write_bytes(changed)
    try:
        same = json.loads(changed) == json.loads(content)  # white space, or a character written in another way
    except ValueError:
        same = False
    if same:
        assert_equal(type(tokenizer).load(path), tokenizer)
    else:
        with pytest.raises(ValueError, match=r"^.*tokenizer\.json "):
            type(tokenizer).load(path)


@by_name
def test_a_file_that_was_cut_off_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    content = path.read_bytes().rstrip()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer file: it should be JSON in UTF-8"):
            type(tokenizer).load(path)


def fields_of(tokenizer: Tokenizer, path: Path) -> dict:
    tokenizer.save(path)
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "a cake"}, r'is no tokenizer file: it should be an object with "format": "course_lib tokenizer"$'),
        ({"version": 2}, "has version 2: this program reads version 1$"),
        ({"kind": "characters"}, "holds a tokenizer of 'characters': BytePairTokenizer reads 'byte pairs'$"),
        ({"merges": None}, "is damaged: field 'merges' is missing$"),
        ({"pattern": None}, "is damaged: field 'pattern' is missing$"),
        ({"special_tokens": None}, "is damaged: field 'special_tokens' is missing$"),
        ({"pattern": "("}, "is damaged: pattern is no regular expression of the regex package: "),
        ({"pattern": 5}, "is damaged: pattern must be a string, not 5$"),
        ({"merges": 5}, r'is damaged: merges must be a list of \[left id, right id, "text"\]$'),
        ({"merges": [[97, 98]]}, r'is damaged: merges must be a list of \[left id, right id, "text"\]$'),
        ({"merges": [[97, 9.5, "ab"]]}, r"is damaged: merges\[0\] is \[97, 9.5\]: it must be a pair of ids"),
        ({"merges": [[97, 256, "ab"]]}, r"is damaged: merges\[0\] is \(97, 256\): it can join only the ids 0 to 255 "),
        ({"merges": [[97, 98, "ac"]]}, r"is damaged: merges\[0\] is \(97, 98\), which does not make 'ac'$"),
        ({"merges": [[97, 98, "ab"], [97, 98, "ab"]]}, r"is damaged: merges\[1\] makes 'ab', which the other merges "),
        ({"special_tokens": "<s>"}, "is damaged: special_tokens must be a tuple or list of strings, not '<s>'$"),
        ({"special_tokens": ["<s>", "<s>"]}, "is damaged: special_tokens holds '<s>' twice"),
        ({"special_tokens": [1]}, r"is damaged: special_tokens\[0\] must be a string, not 1$"),
        ({"special_tokens": ["<t>"]}, "was changed after it was written: its sha256 does not fit. Save it again$"),
        ({"sha256": None}, "was changed after it was written: its sha256 does not fit. Save it again$"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_file_is_said(change, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    fields = {**fields_of(BytePairTokenizer([(97, 98)], special_tokens=("<s>",)), path), **change}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        BytePairTokenizer.load(path)


@pytest.mark.parametrize("content", ["", "[]", "null", '"text"', "[" * 100_000, "\x00", "{}"])
def test_a_file_that_is_something_else_is_refused(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    for kind in (BytePairTokenizer, CharacterTokenizer):
        with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer file: it should be "):
            kind.load(path)
    path.write_bytes(b'{"format": "\xff"}')
    with pytest.raises(ValueError, match="it should be JSON in UTF-8"):
        BytePairTokenizer.load(path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        CharacterTokenizer.load(tmp_path / "none.json")


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    CharacterTokenizer("ab").save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full_disk)
        with pytest.raises(OSError, match="no space left"):
            CharacterTokenizer("abc").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]

    written = Path.write_text

    def half(self, text, **how):
        written(self, text[: len(text) // 2], **how)
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(OSError, match="no space left"):
            CharacterTokenizer("abc").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    CharacterTokenizer("abc").save(path)
    assert CharacterTokenizer.load(path).characters == "abc"


# --- Bad input --------------------------------------------------------------------------------------------------------


def anything(value: Any) -> Any:
    """A value of a type that the type checker would rightly refuse."""
    return value


def train(**changes: Any) -> BytePairTokenizer:
    return BytePairTokenizer.train(**{"texts": "a rose", "vocab_size": 300, **changes})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: train(vocab_size=255),
            ValueError,
            "vocab_size is 255: 256 bytes and the special tokens already need 256",
        ),
        (lambda: train(vocab_size=257, special_tokens=("a", "b")), ValueError, "vocab_size is 257: .* need 258"),
        (lambda: train(vocab_size=1e3), TypeError, "vocab_size and min_count must be integers, not 1000.0 and 2"),
        (lambda: train(vocab_size=True), TypeError, "vocab_size and min_count must be integers, not True and 2"),
        (lambda: train(min_count=0), ValueError, "min_count is 0: it must be at least 1"),
        (lambda: train(min_count="2"), TypeError, "must be integers, not 300 and '2'"),
        (lambda: train(texts=5), TypeError, "texts must be a string or an iterable of strings, not 5"),
        (lambda: train(texts=["a", b"b"]), TypeError, r"texts\[1\] must be a string, not b'b'"),
        (
            lambda: train(texts=["a", "b\ud800"]),
            ValueError,
            r"texts\[1\] holds a lone surrogate \(U\+D800\) at position 1",
        ),
        (
            lambda: train(special_tokens="<s>"),
            TypeError,
            "special_tokens must be a tuple or list of strings, not '<s>'",
        ),
        (
            lambda: train(special_tokens={"<s>"}),
            TypeError,
            "special_tokens must be a tuple or list of strings, not {'<s>'}",
        ),
        (lambda: train(special_tokens=("<s>", "")), ValueError, r"special_tokens\[1\] is empty"),
        (lambda: train(special_tokens=("<s>", "<s>")), ValueError, "special_tokens holds '<s>' twice"),
        (
            lambda: train(special_tokens=("\udfff",)),
            ValueError,
            r"special_tokens\[0\] holds a lone surrogate \(U\+DFFF\)",
        ),
        (lambda: train(pattern="["), ValueError, "pattern is no regular expression of the regex package: "),
        (lambda: train(pattern=None), TypeError, "pattern must be a string, not None"),
        (lambda: train(pattern="(a)b"), ValueError, r"pattern must have no capturing groups .*'\(a\)b'"),
        (lambda: train(pattern="(?x) a # b"), ValueError, r"pattern must have no .* flags x and r"),
        (
            lambda: BytePairTokenizer(anything([(97, 98, 99)])),
            TypeError,
            r"merges\[0\] is \(97, 98, 99\): it must be a pair of ids",
        ),
        (
            lambda: BytePairTokenizer(anything([(97, "b")])),
            TypeError,
            r"merges\[0\] is \(97, 'b'\): it must be a pair of ids",
        ),
        (lambda: BytePairTokenizer([(97, 98), (97, 257)]), ValueError, r"merges\[1\] is \(97, 257\): .* ids 0 to 256"),
        (lambda: BytePairTokenizer([(-1, 98)]), ValueError, r"merges\[0\] is \(-1, 98\)"),
        (
            lambda: BytePairTokenizer([(97, 98), (98, 99), (97, 257)]),
            ValueError,
            r"merges\[2\] makes 'abc', which the other merges turn into the ids \[256, 99\]: no text .* id 258",
        ),
        (lambda: CharacterTokenizer(""), ValueError, "characters is empty"),
        (lambda: CharacterTokenizer("abca"), ValueError, "characters holds 'a' twice"),
        (lambda: CharacterTokenizer(anything(["a"])), TypeError, r"characters must be a string, not \['a'\]"),
        (lambda: CharacterTokenizer.train([]), ValueError, "texts holds no character"),
        (
            lambda: CharacterTokenizer.train(anything(3.5)),
            TypeError,
            "texts must be a string or an iterable of strings, not 3.5",
        ),
        (lambda: trained().encode(anything(b"rose")), TypeError, "text must be a string, not b'rose'"),
        (lambda: trained().encode(anything(None)), TypeError, "text must be a string, not None"),
        (lambda: trained().encode_batch("rose"), TypeError, r"texts is one string: use encode\(text\), or give a list"),
        (
            lambda: list(trained().encode_stream(anything(["a", 5]))),
            TypeError,
            "a piece of the stream must be a string, not 5",
        ),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("tokenizer", [trained(), CharacterTokenizer("ab")], ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("text", ["ab\\ud83d", "ab\\udc00", "ab\\ud83d\\ude00"])
def test_a_lone_surrogate_is_refused_and_its_position_given(tokenizer, text):
    text = text.encode().decode("unicode_escape")
    message = r"holds a lone surrogate \(U\+D(83D|C00)\) at position 2: that is half of a UTF-16 pair"
    for encode in (tokenizer.encode, tokenizer.tokens, lambda text: list(tokenizer.encode_stream([text]))):
        with pytest.raises(ValueError, match=message):
            encode(text)
