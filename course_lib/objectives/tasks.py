"""What a pretrained model is fine-tuned for: the class of a text, a label for each token, the place of an answer.

Devlin et al. 2019 (BERT), section 3.2 and figure 4, with the heads of ``course_lib.models.heads``.

The losses leave parts of a pretrained body without a gradient: its own head, and for tags and answers its ``pooler``.
Training in several processes names them; call ``requires_grad_(False)`` on them before.

Sizes: B sequences, T positions, C classes or labels.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from course_lib.data.batches import IGNORE, pad_batch
from course_lib.data.labels import tags_of, token_offsets, words_in
from course_lib.data.tokenizers import Tokenizer
from course_lib.objectives.causal import LossSum, loss_sum
from course_lib.objectives.masked import CLS, PAD, SEP


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


def classification_rows(texts: Iterable[str], classes: Sequence[int], tokenizer: Tokenizer) -> LabelledBatch:
    """``[CLS] text [SEP]``, and the class of each text."""
    _check_tokenizer(tokenizer)
    rows, labels = [_row(tokenizer, tokenizer.encode(text)) for text in texts], list(classes)
    if len(rows) != len(labels):
        raise ValueError(f"texts holds {len(rows)} texts and classes {len(labels)}: each text needs its class")
    return _batch(rows, torch.tensor(labels), tokenizer)


def tagging_rows(
    texts: Iterable[str],
    spans: Iterable[Iterable[tuple[int, int, str]]],
    tags: Sequence[str],
    tokenizer: Tokenizer,
) -> LabelledBatch:
    """``[CLS] text [SEP]``, and at the first token of each word the number of its tag in ``tags``; else ``IGNORE``.

    ``spans`` are, for each text, what is marked in it: (start, end, label) in characters. Raises ValueError for a label
    that ``tags`` do not have.
    """
    _check_tokenizer(tokenizer)
    numbers = {tag: number for number, tag in enumerate(tags)}
    rows, labels = [], []
    for text, marked in zip(texts, spans, strict=True):
        ids = tokenizer.encode(text)
        words = words_in(text, token_offsets(tokenizer, ids))
        row = torch.full((len(ids) + 2,), IGNORE)
        for first, tag in zip(words.first_tokens, tags_of(marked, words.places), strict=True):
            if tag not in numbers:
                raise ValueError(f"spans need the tag {tag!r}: tags has only {', '.join(map(repr, tags))}")
            row[1 + first] = numbers[tag]
        rows.append(_row(tokenizer, ids))
        labels.append(row)
    return _batch(rows, pad_sequence(labels, batch_first=True, padding_value=IGNORE), tokenizer)


def question_rows(
    questions: Iterable[str], texts: Iterable[str], answers: Iterable[tuple[int, int]], tokenizer: Tokenizer
) -> LabelledBatch:
    """``[CLS] question [SEP] text [SEP]``, and the first and last token of the answer, which is ``text[start:end]``.

    Raises ValueError where no tokens hold the answer.
    """
    _check_tokenizer(tokenizer)
    rows, labels = [], []
    for question, text, (start, end) in zip(questions, texts, answers, strict=True):
        asked, ids = tokenizer.encode(question), tokenizer.encode(text)
        offsets = token_offsets(tokenizer, ids)
        inside = [number for number, (first, last) in enumerate(offsets) if first < end and last > start]
        if not 0 <= start < end <= len(text) or not inside:
            raise ValueError(
                f"answers has ({start}, {end}): it must be a part of its text, which has {len(text)} characters"
            )
        rows.append(_row(tokenizer, asked, ids))
        labels.append([len(asked) + 2 + inside[0], len(asked) + 2 + inside[-1]])
    return _batch(rows, torch.tensor(labels), tokenizer)


def _check_tokenizer(tokenizer: object) -> None:
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"tokenizer is a {type(tokenizer).__name__}, and these rows are for one that encodes the text alone, as "
            "BytePairTokenizer. A WordPieceTokenizer makes such rows itself: use its encode_text or encode_pair"
        )


def _row(tokenizer: Tokenizer, *texts: list[int]) -> tuple[list[int], list[int]]:
    """Ids and segments: the texts behind ``[CLS]``, and ``[SEP]`` behind each."""
    separator = tokenizer.special_ids[SEP]
    ids, segments = [tokenizer.special_ids[CLS]], [0]
    for number, text in enumerate(texts):
        ids += [*text, separator]
        segments += [number] * (len(text) + 1)
    return ids, segments


def _batch(rows: list[tuple[list[int], list[int]]], labels: Tensor, tokenizer: Tokenizer) -> LabelledBatch:
    padded = pad_batch((ids for ids, _ in rows), tokenizer.special_ids[PAD])
    segments = pad_batch((numbers for _, numbers in rows), 0)
    return LabelledBatch(padded.ids, padded.mask, segments.ids, labels)
