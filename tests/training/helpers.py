"""Shared by the tests of training: a small model with dropout and tied weights, a loss, and batches to draw from."""

from typing import Any

import torch
from torch import Tensor, nn

from course_lib.data.batches import IGNORE, EpochBatches
from course_lib.objectives.causal import LossSum
from course_lib.training.callbacks import EarlyStopping, Evaluation, History
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.loop import train
from course_lib.training.schedules import cosine_decay

VOCABULARY, WIDTH, ROWS, LENGTH = 11, 6, 23, 5


class Small(nn.Module):
    """Predicts the next id from the one before. Head and embedding are one tensor, as in GPT-2."""

    scale: Tensor

    def __init__(self, *, dropout: float = 0.0, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.tensor(0.5))
        for p in self.parameters():
            nn.init.normal_(p, std=0.3, generator=generator)
        self.to(dtype)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return self.head(self.dropout(x + torch.tanh(self.mix(x)) * self.scale))


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> LossSum:
    """Written apart from the library's: PyTorch's cross-entropy, summed."""
    ids, targets = batch
    total = nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
    return LossSum(total, (targets != IGNORE).sum())


def examples(seed: int = 0, *, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """Rows with very different numbers of targets: from 1 to all."""
    generator = torch.Generator().manual_seed(seed)
    ids, targets = torch.randint(VOCABULARY, (2, rows, LENGTH), generator=generator)
    for row in range(rows):
        targets[row, 1 + row % LENGTH :] = IGNORE
    return ids, targets


class Listed:
    """The batches of a list, one after the other. As a source it has no state: it can't be resumed."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = iter(batches)

    def __next__(self) -> Any:
        return next(self.batches)


def run(
    model: Small, *, steps: int = 12, checkpoints: Checkpoints | None = None, patience: int = 9, **changes: Any
) -> History:
    """A training with all that a checkpoint must remember: momentum, accumulation, a schedule, early stopping."""
    adamw = torch.optim.AdamW(model.embedding.parameters(), lr=0.02)
    sgd = torch.optim.SGD(model.mix.parameters(), lr=0.1, momentum=0.9)
    stopping = EarlyStopping(Evaluation(mean_loss, every=3), patience=patience)
    arguments: dict[str, Any] = {
        "batches": EpochBatches(examples(), 4, seed=1),
        "loss": loss,
        "optimisers": [adamw, sgd],
        "schedule": cosine_decay(warmup=2),
        "accumulate": 2,
        "callbacks": [stopping],
    }
    return train(model, steps=steps, checkpoints=checkpoints, **(arguments | changes))


def mean_loss(model: nn.Module) -> float:
    total, count = loss(model, examples(seed=9))
    return (total / count).item()
