"""The losses of fine-tuning against those of Transformers' BERT, and the law that padding changes nothing."""

import pytest
import torch
from torch import nn
from transformers import BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification

from course_lib.data.batches import IGNORE, row_batches
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.heads import SequenceClassifier, SpanExtractor, TokenClassifier
from course_lib.objectives.causal import LossSum
from course_lib.objectives.tasks import LabelledBatch, classification_loss, span_loss, tagging_loss
from tests.layers.helpers import assert_same, randomized, seeded
from tests.objectives.helpers import LikeOurs, V

B, T, C = 3, 7, 5
LENGTHS = (4, 7, 5)
LABELS = {
    "classes": torch.tensor([4, 0, 2]),
    "tags": torch.randint(C, (B, T), generator=seeded(2)).masked_fill(
        torch.rand(B, T, generator=seeded(3)) < 0.3, IGNORE
    ),
    "spans": torch.tensor([[1, 3], [2, 2], [0, 4]]),
}


def batch(labels: str, *, padded: bool = True) -> LabelledBatch:
    ids = torch.randint(V, (B, T), generator=seeded(1))
    real = torch.arange(T) < torch.tensor(LENGTHS if padded else (T,) * B)[:, None]
    segments = (torch.arange(T) >= torch.tensor([2, 4, 3])[:, None]).long()
    wanted = LABELS[labels]
    return LabelledBatch(ids, real, segments, wanted.masked_fill(~real, IGNORE) if labels == "tags" else wanted)


KINDS = {
    "classes": (classification_loss, BertForSequenceClassification),
    "tags": (tagging_loss, BertForTokenClassification),
    "spans": (span_loss, BertForQuestionAnswering),
}


def model_for(labels: str) -> LikeOurs:
    return LikeOurs(KINDS[labels][1], num_labels=2 if labels == "spans" else C)


def our_model_for(labels: str) -> nn.Module:
    body = BERT(BERTConfig(V, context=11, layers=2, heads=3, width=12, hidden=8))
    heads = {"classes": lambda: SequenceClassifier(body, C), "tags": lambda: TokenClassifier(body, C)}
    return randomized(heads.get(labels, lambda: SpanExtractor(body))()).eval()


@pytest.mark.parametrize("labels", list(KINDS))
@pytest.mark.parametrize("padded", [True, False])
def test_the_loss_is_that_of_transformers(labels, padded):
    """With its gradient. For answers only without padding: theirs may point there, ours may not."""
    if labels == "spans" and padded:
        return
    given, model = batch(labels, padded=padded), model_for(labels)
    wanted = {"labels": given.labels}
    if labels == "spans":
        wanted = {"start_positions": given.labels[:, 0].clone(), "end_positions": given.labels[:, 1].clone()}
    expected = model.outputs(given.ids, given.real, given.segments, **wanted).loss
    loss = KINDS[labels][0](model, given)
    assert isinstance(loss, LossSum)
    assert_same(loss.total / loss.targets, expected)
    head = (model.bert.qa_outputs if labels == "spans" else model.bert.classifier).weight
    ours, theirs = torch.autograd.grad(loss.total / loss.targets, head)[0], torch.autograd.grad(expected, head)[0]
    assert_same(ours, theirs)
    assert theirs.any()


@pytest.mark.parametrize("model_of", [model_for, our_model_for], ids=["Transformers", "ours"])
@pytest.mark.parametrize("labels", list(KINDS))
def test_the_loss_of_a_batch_is_that_of_each_row_alone_without_its_padding(labels, model_of):
    given, model = batch(labels), model_of(labels)
    loss_of = KINDS[labels][0]
    total, targets = loss_of(model, given)
    alone = []
    for length, row in zip(LENGTHS, row_batches(given, 1), strict=True):
        short = LabelledBatch(*(tensor[..., :length] for tensor in row))
        alone.append(loss_of(model, short if labels == "tags" else short._replace(labels=row.labels)))
    assert_same(total, torch.stack([loss.total for loss in alone]).sum())
    assert int(targets) == sum(int(loss.targets) for loss in alone)
    assert int(targets) == {"classes": B, "tags": int((given.labels != IGNORE).sum()), "spans": 2 * B}[labels]


@pytest.mark.parametrize("labels", list(KINDS))
def test_a_row_whose_labels_are_ignored_counts_nothing(labels):
    given, model = batch(labels), model_for(labels)
    without = given.labels.clone()
    without[1] = IGNORE
    others = LabelledBatch(*(tensor[[0, 2]] for tensor in given))
    with_ignored, expected = KINDS[labels][0](model, given._replace(labels=without)), KINDS[labels][0](model, others)
    assert_same(with_ignored.total, expected.total)
    assert int(with_ignored.targets) == int(expected.targets)


@pytest.mark.parametrize("labels", list(KINDS))
def test_the_model_sees_the_segments(labels):
    given, model = batch(labels), our_model_for(labels)
    other = given._replace(segments=torch.zeros_like(given.segments))
    assert abs(KINDS[labels][0](model, given).total - KINDS[labels][0](model, other).total) > 1e-3


def test_an_answer_in_the_padding_is_a_loss_without_end():
    """So that the training loop stops there, and nobody learns from a wrong label."""
    given, model = batch("spans"), model_for("spans")
    outside = given._replace(labels=torch.tensor([[1, 6], [2, 2], [0, 4]]))
    assert torch.isinf(span_loss(model, outside).total)
