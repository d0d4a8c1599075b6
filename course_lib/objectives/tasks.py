"""What a pretrained model is fine-tuned for: the class of a text, a label for each token, the place of an answer.

Devlin et al. 2019 (BERT), section 3.2 and figure 4, with the heads of ``course_lib.models.heads``.

Sizes: B sequences, T positions, C classes or labels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from course_lib.objectives.causal import LossSum, loss_sum


class LabelledBatch(NamedTuple):
    """``real`` is False at padding. ``segments`` is 0 in the first text of a row, and 1 in the second.

    ``labels`` are (B,) for a class of each row, (B, T) for a label of each token, (B, 2) for the first and the last
    token of an answer. Where one is ``IGNORE``, nothing is learned.
    """

    ids: Int[Tensor, "B T"]
    real: Bool[Tensor, "B T"]
    segments: Int[Tensor, "B T"]
    labels: Int[Tensor, "B ..."]


def classification_loss(model: nn.Module, batch: LabelledBatch) -> LossSum:
    """For a ``SequenceClassifier``: nats per row."""
    return loss_sum(model(batch.ids, batch.real, batch.segments), batch.labels)


def tagging_loss(model: nn.Module, batch: LabelledBatch) -> LossSum:
    """For a ``TokenClassifier``: nats per token that has a label. Give ``IGNORE`` to all but the first of a word."""
    return loss_sum(model(batch.ids, batch.real, batch.segments), batch.labels)


def span_loss(model: nn.Module, batch: LabelledBatch) -> LossSum:
    """For a ``SpanExtractor``: nats for the start and nats for the end, each a choice among the tokens of its row.

    Padding is no choice, so that a row's loss does not depend on how long the others are. (Transformers'
    ``BertForQuestionAnswering`` lets padding in.)
    """
    logits = model(batch.ids, batch.real, batch.segments)
    return loss_sum(logits.masked_fill(~batch.real[..., None], -torch.inf).mT, batch.labels)
