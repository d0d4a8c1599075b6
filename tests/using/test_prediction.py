"""What fine-tuned models say: the same as one row alone would say, and never outside of where it may be."""

import itertools

import pytest
import torch
from torch import Tensor

from course_lib.data.batches import IGNORE
from course_lib.data.labels import token_offsets, words_in
from course_lib.data.storyworld import Storyworld
from course_lib.data.tokenizers import BytePairTokenizer
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.heads import SequenceClassifier, SpanExtractor, TokenClassifier
from course_lib.objectives.masked import CLS, MASK, PAD, SEP
from course_lib.objectives.tasks import classification_rows, question_rows, tagging_rows
from course_lib.using.prediction import logits_of, predicted_answers, predicted_classes, predicted_tags, true_tags
from tests.elsewhere import elsewhere
from tests.layers.helpers import randomized

STORIES = [Storyworld("easy").story(seed) for seed in range(23)]
TEXTS = [story.en for story in STORIES]
TOKENIZER = BytePairTokenizer.train(TEXTS, 340, special_tokens=(PAD, CLS, SEP, MASK))
TAGS = ["O", *(f"{edge}-{label}" for label in ("PERSON", "PLACE", "THING") for edge in "BI")]


def body() -> BERT:
    return BERT(BERTConfig(TOKENIZER.vocab_size, context=160, layers=1, heads=2, width=12, dropout=0.5))


def alone(model, row) -> Tensor:
    """The logits of one row, without any padding."""
    size = int(row.real.sum())
    with torch.no_grad():
        return model(row.ids[None, :size], None, row.segments[None, :size])[0]


def each(batch):
    return [type(batch)(*(tensor[i] for tensor in batch)) for i in range(len(batch.ids))]


def test_classes_are_those_of_each_row_alone_and_the_mode_comes_back():
    model = randomized(SequenceClassifier(body(), 4, dropout=0.5)).train()
    batch = classification_rows(TEXTS, [0] * len(TEXTS), TOKENIZER)
    said, logits = predicted_classes(model, batch), logits_of(model, batch, batch_size=5)
    assert all(module.training for module in model.modules())
    expected = torch.stack([alone(model.eval(), row) for row in each(batch)])
    torch.testing.assert_close(logits.double(), expected.double(), atol=1e-4, rtol=1e-4)
    assert said == expected.argmax(dim=1).tolist()
    assert expected.std(dim=0).min() > 1e-3  # each row has logits of its own


def test_tags_are_those_of_each_row_alone_one_for_each_word():
    model = randomized(TokenClassifier(body(), len(TAGS))).eval()
    batch = tagging_rows(TEXTS, [[e[:3] for e in story.entities()] for story in STORIES], TAGS, TOKENIZER)
    said = predicted_tags(model, batch, TAGS)
    for text, row, tags in zip(TEXTS, each(batch), said, strict=True):
        numbers = alone(model, row).argmax(dim=1)
        assert tags == [TAGS[n] for n in numbers[row.labels[: len(numbers)] != IGNORE].tolist()]
        assert len(tags) == len(words_in(text, token_offsets(TOKENIZER, TOKENIZER.encode(text))).places)
    real_labels = [row.labels[row.labels != IGNORE].tolist() for row in each(batch)]
    assert [[TAGS.index(tag) for tag in tags] for tags in true_tags(batch, TAGS)] == real_labels
    assert (logits_of(model, batch)[~batch.real] == 0).all()


@pytest.mark.parametrize("longest", [1, 3, 8])
def test_an_answer_is_the_best_pair_of_start_and_end_in_the_text(longest, monkeypatch):
    monkeypatch.setattr("course_lib.using.prediction._ROWS", 10)  # so three parts, the last one smaller
    model = randomized(SpanExtractor(body())).eval()
    batch = question_rows(["Where is Rose?"] * len(TEXTS), TEXTS, [(0, 4)] * len(TEXTS), TOKENIZER)
    found = predicted_answers(model, batch, longest).tolist()
    for row, answer in zip(each(batch), found, strict=True):
        start, end = alone(model, row).T.tolist()
        first = int((row.segments == 1).nonzero()[0])
        places = range(first, int(row.real.sum()) - 1)  # the last token is [SEP]
        pairs = [(a, b) for a, b in itertools.product(places, places) if a <= b < a + longest]
        assert tuple(answer) == max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])
    assert len({b - a for a, b in found}) > (longest > 1)


def test_rows_may_be_on_another_device():
    tagged = tagging_rows(TEXTS, [[e[:3] for e in story.entities()] for story in STORIES], TAGS, TOKENIZER)
    asked = question_rows(["Where is Rose?"] * len(TEXTS), TEXTS, [(0, 4)] * len(TEXTS), TOKENIZER)
    tagger, reader = randomized(TokenClassifier(body(), len(TAGS))), randomized(SpanExtractor(body()))
    assert torch.equal(logits_of(tagger, elsewhere(tagged)), logits_of(tagger, tagged))
    assert predicted_tags(tagger, elsewhere(tagged), TAGS) == predicted_tags(tagger, tagged, TAGS)
    assert true_tags(elsewhere(tagged), TAGS) == true_tags(tagged, TAGS)
    assert torch.equal(predicted_answers(reader, elsewhere(asked)), predicted_answers(reader, asked))


def test_a_model_may_be_in_half_precision():
    model = randomized(SequenceClassifier(body(), 4)).eval().bfloat16()
    assert logits_of(model, classification_rows(TEXTS, [0] * len(TEXTS), TOKENIZER)).dtype == torch.float32


def test_a_batch_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0"):
        logits_of(SequenceClassifier(body(), 2), classification_rows(TEXTS, [0] * len(TEXTS), TOKENIZER), 0)
