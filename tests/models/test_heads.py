"""Heads on a body: those of Hugging Face's BERT with copied weights, on bodies of other parts, and bad input."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.heads import SequenceClassifier, SpanExtractor, TokenClassifier
from tests.layers.helpers import assert_same, randomized, unchecked
from tests.models.helpers import (
    CONTEXT,
    LAYERS,
    SIZES,
    B,
    D,
    F,
    H,
    T,
    V,
    by_our_names,
    converted,
    gradients,
    has_gradients,
    in_both_formats,
    lively,
    random_ids,
    used_gradients,
)

C = 4
IDS = random_ids(B, T)
REAL = torch.arange(T) < torch.tensor([[3], [T]])
SEGMENTS = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]])


def body(**changes: Any) -> BERT:
    return BERT(BERTConfig(**(SIZES | changes)))


def sequence_loss(logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    labels = torch.tensor([2, 0])
    return functional.cross_entropy(logits, labels), {"labels": labels}


def token_loss(logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    labels = torch.tensor([[0, -100, 3, -100, -100], [1, 2, -100, 0, 0]])
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), {"labels": labels}


def span_loss(logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    start, end = torch.tensor([1, 0]), torch.tensor([2, 4])
    both = [functional.cross_entropy(logits[..., i], places) for i, places in enumerate((start, end))]
    return (both[0] + both[1]) / 2, {"start_positions": start, "end_positions": end}


@in_both_formats
@pytest.mark.parametrize(
    ("theirs_kind", "kind", "loss_of", "labels"),
    [
        (BertForSequenceClassification, SequenceClassifier, sequence_loss, C),
        (BertForTokenClassification, TokenClassifier, token_loss, C),
        (BertForQuestionAnswering, SpanExtractor, span_loss, 2),
    ],
)
def test_a_head_is_hugging_faces(tmp_path, theirs_kind, kind, loss_of, labels, dtype, atol):
    settings: dict[str, Any] = {
        "vocab_size": V,
        "max_position_embeddings": CONTEXT,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": H,
        "hidden_size": D,
        "intermediate_size": F,
        "num_labels": labels,
        "classifier_dropout": 0.3,
    }
    theirs = lively(theirs_kind(BertConfig(**settings)), dtype)
    ours = converted(theirs, tmp_path)
    assert type(ours) is kind
    assert not ours.body.config.masked_head
    assert ours.dropout.p == (0.0 if kind is SpanExtractor else 0.3)
    logits = ours(IDS, REAL, SEGMENTS)
    loss, given = loss_of(logits)
    expected = theirs(IDS, attention_mask=REAL, token_type_ids=SEGMENTS, **given)
    if kind is SpanExtractor:
        expected_logits = torch.stack([expected.start_logits, expected.end_logits], dim=-1)
    else:
        expected_logits = expected.logits
    real = slice(None) if kind is SequenceClassifier else REAL
    assert 0.3 < expected_logits.abs().max() < 10
    assert_same(logits[real], expected_logits[real], atol=atol)
    assert_same(loss, expected.loss, atol=atol)

    found = gradients(theirs, expected.loss)
    wanted = {f"body.{name}": g for name, g in by_our_names(found, "bert", ours.body.config).items()}
    last = "qa_outputs" if kind is SpanExtractor else "classifier"
    wanted |= {f"classifier.{end}": found[f"{last}.{end}"] for end in ("weight", "bias")}
    has_gradients(used_gradients(ours, loss), wanted, atol)


KINDS = [
    (lambda body: SequenceClassifier(body, C), (B, C)),
    (lambda body: TokenClassifier(body, C), (B, T, C)),
    (lambda body: SpanExtractor(body), (B, T, 2)),
]


@pytest.mark.parametrize(("make", "shape"), KINDS)
def test_a_head_sits_on_any_encoder_and_begins_as_nothing_special(make, shape):
    parts = {"block": "pre", "positions": "rotary", "norm": "rms", "feedforward": "swiglu", "bias": False}
    model = make(randomized(body(**parts)))
    logits = model.eval()(IDS, REAL, SEGMENTS)
    assert logits.shape == shape
    assert logits.dtype == torch.float64  # that of its body
    assert torch.equal(model.classifier.bias, torch.zeros_like(model.classifier.bias))
    assert 0.01 < model.classifier.weight.std() < 0.03


@pytest.mark.parametrize(("make", "shape"), KINDS)
def test_padding_changes_nothing(make, shape):
    model = randomized(make(body())).eval()
    logits, alone = model(IDS, REAL, SEGMENTS), model(IDS[:1, :3], None, SEGMENTS[:1, :3])
    assert_same(logits[0, :3] if len(shape) == 3 else logits[0], alone[0])


def test_the_body_is_the_one_that_was_given_and_is_trained_too():
    given = body()
    model = SequenceClassifier(given, C)
    assert model.body is given
    trained = used_gradients(model, model(IDS).square().sum())
    assert {"classifier.weight", "body.embedding.weight", "body.pooler.weight"} <= trained.keys()
    assert not any("transform" in name or "unembedding" in name for name in trained)  # the head of another task


@pytest.mark.parametrize("make", [lambda b, p: SequenceClassifier(b, C, p), lambda b, p: TokenClassifier(b, C, p)])
def test_dropout_stands_before_the_matrix(make):
    model, still = (randomized(make(body(dropout=0.0), p)).train() for p in (0.6, 0.0))
    torch.manual_seed(0)
    dropped = model(IDS)
    assert_same(model.eval()(IDS), still(IDS))
    assert (dropped - still(IDS)).abs().max() > 1e-3
    with torch.no_grad():
        model.classifier.bias.fill_(3.0)
        model.classifier.weight.zero_()
    assert torch.equal(model.train()(IDS), torch.full_like(dropped, 3.0))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: SequenceClassifier(body(), 0), ValueError, "classes is 0: it must be at least 1"),
        (lambda: TokenClassifier(body(), 0), ValueError, "labels is 0: it must be at least 1"),
        (
            lambda: TokenClassifier(GPT(GPTConfig(**SIZES)), C),
            TypeError,
            "body must be an encoder such as BERT; a GPT has no 'pooled'",
        ),
        (lambda: SpanExtractor(nn.Linear(1, 1)), TypeError, "a Linear has no 'hidden'"),
        (lambda: SpanExtractor(body())(IDS, REAL[:1]), ValueError, "real has shape (1, 5): it must be (2, 5), as ids"),
    ],
)
def test_what_is_wrong_is_named(action, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        action()


def test_a_classifier_reads_the_pooled_vector():
    model = randomized(SequenceClassifier(body(), C)).eval()
    hidden = model.body.hidden(IDS, REAL)
    assert_same(model(IDS, REAL), model.classifier(model.body.pooled(hidden)))
