"""What a training leaves behind, and what may look at it after each step: evaluation, early stopping, yours.

A callback is a function of ``Progress``. If it returns True, the training ends. Early stopping: Goodfellow et al. 2016,
algorithm 7.1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one


class History:
    """What a training has seen: ``losses`` (nats per target) and ``gradient_norms`` (before clipping) of each step."""

    def __init__(self) -> None:
        self.evaluations: list[tuple[int, float]] = []  # (steps done, value)
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._unread: list[tuple[Tensor, ...]] = []  # on the device

    def add(self, total: Tensor, count: Tensor, norm: Tensor) -> None:
        self._unread.append((total, count, norm))

    def read(self) -> None:
        """Fetch from the device what was added. An error at the first step whose loss or gradient is no number."""
        if self._unread:
            columns = [torch.stack(column).tolist() for column in zip(*self._unread, strict=True)]
            self._unread.clear()
            for total, count, norm in zip(*columns, strict=True):
                _check_finite(len(self._losses) + 1, total, count, norm)
                self._losses.append(total / count)
                self._norms.append(norm)

    @property
    def losses(self) -> list[float]:
        self.read()
        return self._losses

    @property
    def gradient_norms(self) -> list[float]:
        self.read()
        return self._norms

    def state_dict(self) -> dict[str, Any]:
        numbers = {"losses": self.losses, "norms": self.gradient_norms, "values": [v for _, v in self.evaluations]}
        tensors: dict[str, Any] = {name: torch.tensor(n, dtype=torch.float64) for name, n in numbers.items()}
        return {**tensors, "evaluated": [step for step, _ in self.evaluations]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._losses, self._norms = state["losses"].tolist(), state["norms"].tolist()
        self.evaluations = list(zip(state["evaluated"], state["values"].tolist(), strict=True))


@dataclass(frozen=True)
class Progress:
    """What a callback gets after each step. Reading the loss on a GPU makes it wait: not at every step, if possible."""

    step: int  # steps done
    steps: int
    factor: float  # what the schedule gave
    model: nn.Module
    history: History

    @property
    def loss(self) -> float:
        return self.history.losses[-1]

    @property
    def gradient_norm(self) -> float:
        return self.history.gradient_norms[-1]


Callback = Callable[[Progress], bool | None]


class Evaluation:
    """A callback: every ``every`` steps, and after the last, ``function(model)`` goes to ``history.evaluations``.

    The model is in evaluation mode (no dropout) and without gradients. A training has one Evaluation; a callback of
    your own can measure more.
    """

    def __init__(self, function: Callable[[nn.Module], float], every: int) -> None:
        check_at_least_one("every", every)
        self.function, self.every = function, every

    def __call__(self, progress: Progress) -> None:
        evaluations = progress.history.evaluations
        due = progress.step % self.every == 0 or progress.step == progress.steps
        if due and not (evaluations and evaluations[-1][0] == progress.step):  # EarlyStopping may have asked before
            progress.model.eval()
            with torch.no_grad():
                value = float(self.function(progress.model))
            if math.isnan(value):
                raise FloatingPointError(f"the evaluation after step {progress.step} gave nan")
            evaluations.append((progress.step, value))


class EarlyStopping:
    """A callback: stop when the evaluation has not become lower than its lowest value ``patience`` times in a row.

    It calls the evaluation itself. All that it needs to know stands in the history, so a checkpoint holds it too.
    """

    def __init__(self, evaluation: Evaluation, patience: int) -> None:
        check_at_least_one("patience", patience)
        self.evaluation, self.patience = evaluation, patience

    def __call__(self, progress: Progress) -> bool:
        self.evaluation(progress)
        values = [value for _, value in progress.history.evaluations]
        return len(values) - values.index(min(values)) > self.patience if values else False


def _check_finite(step: int, total: float, count: float, norm: float) -> None:
    if not count:
        raise ValueError(f"step {step} had no target at all: leave out batches in which every target is ignored")
    if not math.isfinite(total) or not math.isfinite(norm):
        raise FloatingPointError(
            f"at step {step} the loss is {total / count} and its gradient has norm {norm}: the training has stopped, "
            "and saved nothing from there. Try a smaller learning rate, a longer warm-up, clip=1.0 or "
            "precision='float32', and look whether the batch itself holds nan or inf"
        )
