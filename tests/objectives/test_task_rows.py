"""Rows for fine-tuning: marks around the texts, each label at its token, whatever is cut into how many pieces."""

import re

import pytest
import torch

from course_lib.data.batches import IGNORE
from course_lib.data.labels import spans_of, token_offsets, words_in
from course_lib.data.storyworld import Storyworld
from course_lib.data.storyworld.questions import questions
from course_lib.data.tokenizers import BytePairTokenizer, CharacterTokenizer
from course_lib.data.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer
from course_lib.objectives.masked import CLS, MASK, PAD, SEP
from course_lib.objectives.tasks import classification_rows, question_rows, tagging_rows
from tests.layers.helpers import unchecked

STORIES = [Storyworld("full").story(seed) for seed in range(30)]
TEXTS = [story.en for story in STORIES]
TOKENIZER = BytePairTokenizer.train(TEXTS, 340, special_tokens=(PAD, CLS, SEP, MASK))
TAGS = ["O", *(f"{edge}-{label}" for label in ("PERSON", "PLACE", "THING") for edge in "BI")]
_PAD, _CLS, _SEP = (TOKENIZER.special_ids[name] for name in (PAD, CLS, SEP))


def check_rows(batch, expected: list[list[int]], segments: list[list[int]]) -> None:
    longest = max(map(len, expected))
    assert batch.ids.tolist() == [[*row, *[_PAD] * (longest - len(row))] for row in expected]
    assert batch.real.sum(dim=1).tolist() == [len(row) for row in expected]
    assert all(bool(real[: len(row)].all()) for real, row in zip(batch.real, expected, strict=True))
    assert batch.segments.tolist() == [[*row, *[0] * (longest - len(row))] for row in segments]


def test_a_text_and_its_class():
    batch = classification_rows(TEXTS[:5], [3, 1, 4, 1, 5], TOKENIZER)
    expected = [[_CLS, *TOKENIZER.encode(text), _SEP] for text in TEXTS[:5]]
    check_rows(batch, expected, [[0] * len(row) for row in expected])
    assert batch.labels.tolist() == [3, 1, 4, 1, 5]


def test_each_word_has_one_label_at_its_first_token_and_they_give_back_what_is_marked():
    marked = [[entity[:3] for entity in story.entities()] for story in STORIES]
    batch = tagging_rows(TEXTS, marked, TAGS, TOKENIZER)
    expected = [[_CLS, *TOKENIZER.encode(text), _SEP] for text in TEXTS]
    check_rows(batch, expected, [[0] * len(row) for row in expected])
    for story, labels, real, spans in zip(STORIES, batch.labels, batch.real, marked, strict=True):
        assert labels[0] == IGNORE
        assert (labels[int(real.sum()) - 1 :] == IGNORE).all()
        words = words_in(story.en, token_offsets(TOKENIZER, TOKENIZER.encode(story.en)))
        assert (labels != IGNORE).nonzero().flatten().tolist() == [1 + first for first in words.first_tokens]
        tags = [TAGS[number] for number in labels[labels != IGNORE].tolist()]
        assert spans_of(tags, words.places) == spans


def test_a_label_that_has_no_tag_is_refused():
    with pytest.raises(ValueError, match="spans need the tag 'B-DOG': tags has only 'O', 'B-PERSON'"):
        tagging_rows(["Rex ran."], [[(0, 3, "DOG")]], TAGS, TOKENIZER)


def test_the_tokens_of_an_answer_read_as_the_answer():
    asked = [(q, story.en) for story in STORIES for q in questions(story)]
    assert len(asked) > 2
    batch = question_rows(
        (q.text for q, _ in asked), (text for _, text in asked), ((q.start, q.end) for q, _ in asked), TOKENIZER
    )
    pairs = [(TOKENIZER.encode(q.text), TOKENIZER.encode(text)) for q, text in asked]
    expected = [[_CLS, *a, _SEP, *b, _SEP] for a, b in pairs]
    check_rows(batch, expected, [[0] * (len(a) + 2) + [1] * (len(b) + 1) for a, b in pairs])
    for (q, text), ids, (first, last) in zip(asked, batch.ids.tolist(), batch.labels.tolist(), strict=True):
        assert TOKENIZER.decode(ids[first : last + 1]).strip() == q.answer == text[q.start : q.end]


@pytest.mark.parametrize("answer", [(3, 3), (-1, 2), (5, 99)])
def test_an_answer_outside_of_its_text_is_refused(answer):
    with pytest.raises(
        ValueError, match=re.escape(f"answers has {answer}: it must be a part of its text, which has 9 characters")
    ):
        question_rows(["Who ran?"], ["Rose ran."], [answer], TOKENIZER)


@pytest.mark.parametrize(
    "rows",
    [
        lambda tokenizer: classification_rows(["Rose ran."], [0], tokenizer),
        lambda tokenizer: tagging_rows(["Rose ran."], [[]], TAGS, tokenizer),
        lambda tokenizer: question_rows(["Who ran?"], ["Rose ran."], [(0, 4)], tokenizer),
    ],
)
def test_a_tokenizer_that_sets_marks_itself_is_refused(rows):
    with (
        unchecked(),
        pytest.raises(TypeError, match=r"^tokenizer is a WordPieceTokenizer, .* encode_text or encode_pair"),
    ):
        rows(WordPieceTokenizer([*SPECIAL_TOKENS, "rose", "ran", "who", "?", "."]))


@pytest.mark.parametrize("classes", [[0, 1, 2], []])
def test_each_text_has_one_class(classes):
    with pytest.raises(
        ValueError, match=rf"^texts holds 2 texts and classes {len(classes)}: each text needs its class"
    ):
        classification_rows(["Rose ran.", "Ben sat."], classes, TOKENIZER)


def test_entities_of_chinese_stories_are_marked_where_each_character_is_a_token_or_more():
    tokenizer = CharacterTokenizer.train("".join(story.zh for story in STORIES), special_tokens=(PAD, CLS, SEP, MASK))
    marked = [[entity[:3] for entity in story.entities("zh")] for story in STORIES]
    batch = tagging_rows([story.zh for story in STORIES], marked, TAGS, tokenizer)
    for story, labels, spans in zip(STORIES, batch.labels, marked, strict=True):
        words = words_in(story.zh, token_offsets(tokenizer, tokenizer.encode(story.zh)))
        assert spans_of([TAGS[n] for n in labels[labels != IGNORE].tolist()], words.places) == spans


def test_labels_are_integers_that_a_loss_takes():
    batch = tagging_rows(["Rose ran."], [[(0, 4, "PERSON")]], TAGS, TOKENIZER)
    assert batch.labels.dtype == batch.ids.dtype == torch.long
    assert batch.labels.shape == batch.ids.shape
