"""Places in a text, tokens and labels of words: each from the other, and back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from course_lib.data.labels import Span, spans_of, tags_of, token_offsets, words_in
from course_lib.data.storyworld import Storyworld
from course_lib.data.tokenizers import BytePairTokenizer, CharacterTokenizer

STORIES = [Storyworld("full").story(seed) for seed in range(8)]
TOKENIZERS = {
    size: BytePairTokenizer.train([story.en + story.zh for story in STORIES], size) for size in (256, 300, 600)
}
TEXTS = st.text("Rose's ca-fé莉去了🙂. 12\n", min_size=1)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=map(str, TOKENIZERS))
@given(text=TEXTS)
def test_offsets_hold_all_of_the_text_and_no_token_more_than_its_own(tokenizer, text):
    ids = tokenizer.encode(text)
    offsets = token_offsets(tokenizer, ids)
    assert len(offsets) == len(ids)
    covered = {place for start, end in offsets for place in range(start, end)}
    assert set(range(len(text))) - covered <= {i for i, character in enumerate(text) if character == " "}
    for token, (start, end) in zip(ids, offsets, strict=True):
        piece, said = tokenizer.token_bytes(token), text[start:end].encode()
        assert 0 <= start < end <= len(text)
        assert piece.removeprefix(b" ") in said or piece == said
        assert len(said) - len(piece) <= 6  # no more than the rest of the characters at both ends


@given(text=TEXTS)
def test_for_a_tokenizer_of_characters_each_token_is_its_character(text):
    tokenizer = CharacterTokenizer.train(text)
    assert token_offsets(tokenizer, tokenizer.encode(text)) == [(i, i + 1) for i in range(len(text))]


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=map(str, TOKENIZERS))
@pytest.mark.parametrize("story", STORIES[:4], ids=range(4))
def test_words_are_those_that_a_pattern_finds_however_the_text_is_cut(tokenizer, story):
    offsets = token_offsets(tokenizer, tokenizer.encode(story.en))
    words = words_in(story.en, offsets)
    runs = [match.span() for match in re.finditer(r"[A-Za-z0-9]+", story.en)]
    letters = [place for place in words.places if story.en[place[0]].isalnum()]
    assert letters == runs
    assert [offsets[first][0] for first in words.first_tokens] == [start for start, _ in words.places]


def test_a_word_in_pieces_by_hand():
    tokenizer = TOKENIZERS[256]  # a token for each byte
    text = "Zoé's, ok"
    words = words_in(text, token_offsets(tokenizer, tokenizer.encode(text)))
    assert [text[start:end] for start, end in words.places] == ["Zoé", "'", "s", ",", "ok"]
    assert words.first_tokens == [0, 4, 5, 6, 8]


def test_each_chinese_character_is_a_word_whatever_stands_beside_it():
    text = "莉莉和Tom2一起，去bo莉"
    words = words_in(text, token_offsets(TOKENIZERS[256], TOKENIZERS[256].encode(text)))
    assert [text[start:end] for start, end in words.places] == [
        "莉",
        "莉",
        "和",
        "Tom2",
        "一",
        "起",
        "，",
        "去",
        "bo",
        "莉",
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("story", STORIES, ids=range(8))
def test_what_is_marked_comes_back_from_the_tags(story, language):
    tokenizer = TOKENIZERS[300 if language == "en" else 256]
    text = getattr(story, language)
    words = words_in(text, token_offsets(tokenizer, tokenizer.encode(text)))
    marked = [Span(*entity[:3]) for entity in story.entities(language)]
    tags = tags_of(marked, words.places)
    assert spans_of(tags, words.places) == marked
    assert sum(tag != "O" for tag in tags) > len(marked) / 2


TAGS = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]))


@given(tags=TAGS)
def test_spans_are_those_of_seqeval_where_none_begins_with_i(tags):
    legal: list[str] = []
    for tag in tags:
        continues = bool(legal) and legal[-1][1:] == tag[1:]
        legal.append(f"B-{tag[2:]}" if tag[0] == "I" and not continues else tag)
    places = [(3 * i, 3 * i + 2) for i in range(len(legal))]
    expected = [(3 * first, 3 * last + 2, label) for label, first, last in get_entities(legal)]
    assert [tuple(span) for span in spans_of(legal, places)] == expected


def test_an_i_that_continues_nothing_marks_nothing():
    places = [(i, i + 1) for i in range(7)]
    tags = ["B-X", "O", "I-X", "I-X", "B-Y", "I-X", "I-Y"]
    assert spans_of(tags, places) == [(0, 1, "X"), (4, 5, "Y")]


@pytest.mark.parametrize("span", [(1, 4, "X"), (0, 3, "X"), (0, 9, "X")])
def test_a_span_that_cuts_a_word_is_refused(span):
    with pytest.raises(ValueError, match=re.escape(f"spans has {span}: it must begin and end where words do")):
        tags_of([span], [(0, 4), (5, 8)])


@pytest.mark.parametrize("second", [(0, 4, "Y"), (0, 8, "Y"), (5, 11, "Y")])
def test_a_span_that_overlaps_another_is_refused(second):
    with pytest.raises(ValueError, match=re.escape(f"spans has {second}, which overlaps another one")):
        tags_of([(0, 8, "X"), (9, 11, "X"), second], [(0, 4), (5, 8), (9, 11)])
