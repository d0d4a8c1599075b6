"""Trainings on corrupted batches, for ``tests.training.in_processes``: in one process and in several."""

from typing import Any

import torch

from course_lib.data.batches import EpochBatches, PairBatch, pad_batch
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.objectives.corruption import Corrupted
from course_lib.objectives.masked import MaskedBatch, mask_tokens, masked_loss
from course_lib.objectives.spans import span_batch
from course_lib.objectives.translation import translation_loss
from course_lib.training.callbacks import History
from course_lib.training.distributed import Process
from course_lib.training.loop import train
from tests.layers.helpers import randomized, seeded

V, MASK, BEGIN, END, SENTINELS = 24, 14, 16, 15, range(23, 16, -1)
TEXTS = [torch.randint(14, (4 + 2 * row,), generator=seeded(row)) for row in range(6)]
SIZES: dict[str, Any] = {"vocabulary": V, "context": 16, "layers": 1, "heads": 2, "width": 8, "dropout": 0.0}


def hide(batch: Any, generator: torch.Generator) -> MaskedBatch:
    special = range(14, V)
    return mask_tokens(
        batch.ids, batch.mask, mask_id=MASK, vocabulary=V, special_ids=special, share=0.3, generator=generator
    )


def cut(batch: Any, generator: torch.Generator) -> PairBatch:
    texts = [ids[real] for ids, real in zip(batch.ids, batch.mask, strict=True)]
    return span_batch(
        texts,
        sentinel_ids=SENTINELS,
        begin_id=BEGIN,
        end_id=END,
        share=0.5,
        mean_length=1.5,
        generator=generator,
    )


def corrupted(corrupt: Any, seed: int = 1, *, rows: int = 4, order: int = 0) -> Corrupted[Any]:
    return Corrupted(EpochBatches(pad_batch(TEXTS, END), rows, seed=order), corrupt, seed)


def masked(process: Process) -> tuple[BERT, History]:
    model = randomized(BERT(BERTConfig(**SIZES)))
    model.pooler.requires_grad_(False)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, train(model, corrupted(hide, rows=5), masked_loss, optimiser, steps=4, accumulate=2)


def spans(process: Process) -> tuple[Transformer, History]:
    model = randomized(Transformer(TransformerConfig(**SIZES)))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, train(model, corrupted(cut, rows=5), translation_loss, optimiser, steps=4, accumulate=2)
