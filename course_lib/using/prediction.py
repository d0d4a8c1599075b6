"""What a fine-tuned model says: the class of a text, the tags of its words, the answer to a question.

Each function takes a model with one of the heads of ``course_lib.models.heads`` and the rows that it was trained on the
like of, runs it batch by batch without dropout and gradients, and leaves its mode as it was.

Sizes: N rows, T positions, C classes.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one
from course_lib.data.batches import IGNORE
from course_lib.objectives.tasks import LabelledBatch
from course_lib.training.measuring import evaluating

_ROWS = 64  # at once


@torch.inference_mode()
def logits_of(model: nn.Module, rows: LabelledBatch, batch_size: int = _ROWS) -> Float[Tensor, "N ..."]:
    """The logits of all rows, on the CPU. Rows of like length are computed together; padding has the logit 0."""
    check_at_least_one("batch_size", batch_size)
    device = next(model.parameters()).device
    lengths = rows.real.sum(dim=1).cpu()
    found: list[tuple[Tensor, Tensor]] = []
    with evaluating(model):
        for part in lengths.argsort().split(batch_size):
            longest = int(lengths[part].max())
            texts = (tensor[part, :longest].to(device) for tensor in rows[:3])
            found.append((part, model(*texts).float().cpu()))
    by_token = found[0][1].ndim == 3
    shape = (len(rows.ids), rows.ids.shape[1]) if by_token else (len(rows.ids),)
    every = torch.zeros(*shape, found[0][1].shape[-1])
    for part, logits in found:
        if by_token:
            every[part, : logits.shape[1]] = logits
        else:
            every[part] = logits
    return every.masked_fill(~rows.real.cpu()[..., None], 0) if by_token else every


def predicted_classes(model: nn.Module, rows: LabelledBatch) -> list[int]:
    """The likeliest class of each row."""
    return logits_of(model, rows).argmax(dim=-1).tolist()


def predicted_tags(model: nn.Module, rows: LabelledBatch, tags: Sequence[str]) -> list[list[str]]:
    """The likeliest tag of each word, for each row: at the tokens that have a label in ``rows``."""
    numbers = logits_of(model, rows).argmax(dim=-1)
    labels = rows.labels.cpu()
    return [[tags[n] for n in row[label != IGNORE].tolist()] for row, label in zip(numbers, labels, strict=True)]


def true_tags(rows: LabelledBatch, tags: Sequence[str]) -> list[list[str]]:
    """The tags that ``rows`` were made with."""
    return [[tags[n] for n in label[label != IGNORE].tolist()] for label in rows.labels]


def predicted_answers(model: nn.Module, rows: LabelledBatch, longest: int = 8) -> Int[Tensor, "N 2"]:
    """First and last token of the likeliest answer: it stands in the second text, ends no earlier than it begins, and
    has at most ``longest`` tokens. (Devlin et al. 2019, section 4.2: the sum of the two logits counts.)
    """
    check_at_least_one("longest", longest)
    logits = logits_of(model, rows)
    size = rows.ids.shape[1]
    inside = (rows.real & (rows.segments == 1)).cpu()
    inside &= inside.roll(-1, dims=1)  # without the [SEP] at its end
    start, end = logits.masked_fill(~inside[..., None], -torch.inf).unbind(dim=-1)
    places = torch.arange(size)
    length = places[None, :] - places[:, None] + 1
    no_answer = (length < 1) | (length > longest)
    best = torch.cat(
        [
            (starts[:, :, None] + ends[:, None, :]).masked_fill(no_answer, -torch.inf).flatten(1).argmax(dim=1)
            for starts, ends in zip(start.split(_ROWS), end.split(_ROWS), strict=True)  # (N, T, T) can be gigabytes
        ]
    )
    return torch.stack([best // size, best % size], dim=1)
