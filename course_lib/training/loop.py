"""The training loop: draw a batch, compute the loss and its gradient, step, and again.

Around these four lines stands what makes a training fast, stable and safe: mixed precision (Micikevicius et al. 2018),
clipping of the gradient (Pascanu et al. 2013, algorithm 1), accumulation, schedules, several processes, checkpoints.

Sizes: B sequences in a batch.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from course_lib.arguments import check_at_least_one, in_error_words
from course_lib.objectives.causal import LossSum
from course_lib.runtime import late_bar
from course_lib.training.checkpoints import Checkpoints, Run
from course_lib.training.distributed import Process, this_process
from course_lib.training.schedules import Schedule, constant

READ_EVERY = {"cpu": 1, "mps": 20, "cuda": 20}  # steps between two looks at the losses: each makes a GPU wait


class Batches(Protocol):
    """A source of batches: tuples of tensors with B rows each. For checkpoints it must also give and take its state."""

    def __next__(self) -> tuple[Tensor, ...]: ...


LossFunction = Callable[[nn.Module, Any], LossSum]


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
                _check_step(len(self._losses) + 1, total, count, norm)
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


def train(
    model: nn.Module,
    batches: Batches,
    loss: LossFunction,
    optimisers: Optimizer | Sequence[Optimizer],
    *,
    steps: int,
    schedule: Schedule = constant(),
    clip: float | None = 1.0,
    accumulate: int = 1,
    precision: Literal["float32", "bfloat16"] = "float32",
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train for ``steps`` steps, each on ``accumulate`` batches together; every target weighs the same.

    Args:
        loss: gives the loss *summed*, and its number of targets, as ``causal_loss`` does.
        schedule: what each learning rate is multiplied with, by step.
        clip: the gradient of all parameters together gets no longer than this. None for no limit.
        precision: "bfloat16" computes in it where that is safe; parameters and optimisers stay in float32.
        callbacks: called after each step. One that returns True ends the training.
        checkpoints: where to go on from, and to write to. A training that is complete there is not run again; with
            more ``steps`` it is continued.

    A loss that is no number stops the training with FloatingPointError, and no checkpoint is written from there on.
    """
    optimisers = [optimisers] if isinstance(optimisers, Optimizer) else list(optimisers)
    _check_arguments(batches, loss, steps, schedule, clip, accumulate, precision, callbacks, checkpoints)
    parameters = _trained_parameters(model, optimisers, precision)
    process, history = this_process(parameters[0].device), History()
    settings: dict[str, Any] = {
        "clip": clip,
        "accumulate": accumulate,
        "precision": precision,
        "processes": process.world,
    }
    settings["optimisers"] = " ".join(" ".join(map(str, optimisers)).split())  # with their rates, decays, betas
    run = Run(model, optimisers, batches, history, settings, process, steps)
    if checkpoints:
        checkpoints.load_newest(run)

    loss_of = process.parallel(_Loss(model, loss))
    rates = [(group, group["lr"]) for optimiser in optimisers for group in optimiser.param_groups]
    model.train()
    model.zero_grad()
    with _rates_restored(rates), _bar(run) as bar:
        while run.step < steps and not run.stopped:
            factor = _set_rates(rates, schedule, run.step, steps)
            total, count = _add_gradients(loss_of, batches, accumulate, precision, process)
            norm = _average_and_clip(parameters, count, process.world, clip)
            history.add(total, count, norm)
            if run.step % READ_EVERY.get(process.device.type, 20) == 0:
                history.read()
                bar.set_postfix_str(f"loss {history.losses[-1]:.3f}", refresh=False)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            run.step += 1
            bar.update()
            if callbacks:
                progress = Progress(run.step, steps, factor, model, history)
                answers = [callback(progress) for callback in callbacks]
                run.stopped = process.any(any(answers))
                model.train()  # a callback may have left it in evaluation mode
            if checkpoints and checkpoints.due(run):
                history.read()  # before anything is written: are all losses numbers?
                checkpoints.save(run)
    history.read()
    return history


class _Loss(nn.Module):
    """Model and loss as one module: whatever the loss does with the model, DistributedDataParallel sees it."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: tuple[Tensor, ...]) -> LossSum:
        result = self.loss(self.model, batch)
        if not isinstance(result, LossSum):
            raise TypeError(
                f"loss must give a LossSum(total, targets), as causal_loss does, not {in_error_words(result)}"
            )
        return LossSum(result.total, torch.as_tensor(result.targets, device=result.total.device))


def _add_gradients(
    loss_of: Any, batches: Batches, accumulate: int, precision: str, process: Process
) -> tuple[Tensor, Tensor]:
    """Put the gradient of a step's *summed* loss into the parameters. Returns that sum, and over how many targets.

    Sums can be added up. A mean of means would give more weight to targets that have fewer beside them.
    """
    parts = []
    for left in reversed(range(accumulate)):
        batch = process.share(_next(batches))
        with loss_of.no_sync() if left and process.world > 1 else nullcontext():  # gradients travel once a step
            with torch.autocast(process.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                total, count = loss_of(batch)
            total.backward()
        parts.append((total.detach(), count))
    totals, counts = zip(*parts, strict=True)
    return process.sum(sum(totals)), process.sum(sum(counts))


def _average_and_clip(parameters: list[nn.Parameter], count: Tensor, world: int, clip: float | None) -> Tensor:
    """Gradients of a sum become those of the mean, shortened to ``clip`` together. Returns their norm before that."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    factor = world / count.to(gradients[0].dtype)  # DistributedDataParallel has divided by world already
    norm = nn.utils.get_total_norm(gradients) * factor
    if clip is not None:
        factor = factor * (clip / norm).clamp(max=1)
    torch._foreach_mul_(gradients, factor)
    return norm


def _set_rates(rates: list[tuple[dict[str, Any], float]], schedule: Schedule, step: int, steps: int) -> float:
    factor = schedule(step, steps)
    if not 0 <= factor < math.inf:
        raise ValueError(f"schedule gave {factor} at step {step} of {steps}: a factor is at least 0, and finite")
    for group, rate in rates:
        group["lr"] = rate * factor
    return factor


@contextmanager
def _rates_restored(rates: list[tuple[dict[str, Any], float]]) -> Iterator[None]:
    """The optimisers leave with the learning rates that they came with."""
    try:
        yield
    finally:
        for group, rate in rates:
            group["lr"] = rate


def _bar(run: Run) -> tqdm:
    late = late_bar()
    late["disable"] |= not run.process.first
    return tqdm(total=run.steps, initial=run.step, desc="training", unit=" steps", **late)


def _next(batches: Batches) -> tuple[Tensor, ...]:
    try:
        batch = next(batches)
    except StopIteration:
        raise ValueError("batches came to an end: give an endless source, as WindowBatches or EpochBatches") from None
    if not isinstance(batch, tuple) or not all(isinstance(tensor, Tensor) for tensor in batch):
        raise TypeError(f"batches must give tuples of tensors, not {in_error_words(batch)}")
    return batch


def _check_step(step: int, total: float, count: float, norm: float) -> None:
    if not count:
        raise ValueError(f"step {step} had no target at all: leave out batches in which every target is ignored")
    if not math.isfinite(total) or not math.isfinite(norm):
        raise FloatingPointError(
            f"at step {step} the loss is {total / count} and its gradient has norm {norm}: the training has stopped, "
            "and saved nothing from there. Try a smaller learning rate, a longer warm-up, clip=1.0 or "
            "precision='float32', and look whether the batch itself holds nan or inf"
        )


def _trained_parameters(model: object, optimisers: list[Optimizer], precision: str) -> list[nn.Parameter]:
    """The parameters that learn. Each must stand in one optimiser, once."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {model!r:.60}")
    if not optimisers or not all(isinstance(optimiser, Optimizer) for optimiser in optimisers):
        raise TypeError(f"optimisers must be one torch.optim.Optimizer or a list of them, not {optimisers!r:.60}")
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not learning:
        raise ValueError("model has no parameter that needs a gradient: there is nothing to train")
    held = Counter(id(p) for optimiser in optimisers for group in optimiser.param_groups for p in group["params"])
    if held.keys() - {id(p) for p in model.parameters()}:
        raise ValueError("optimisers hold a parameter that is not in model: make them from this very model")
    for name, p in learning.items():
        if held[id(p)] != 1:
            raise ValueError(
                f"optimisers hold {name} {held[id(p)]} times: each parameter that learns must stand in them once. "
                "(To keep one as it is: requires_grad_(False).)"
            )
        if precision == "bfloat16" and p.dtype != torch.float32:
            raise ValueError(f"model has {name} in {p.dtype}: with precision='bfloat16' parameters are torch.float32")
    return list(learning.values())


def _check_arguments(
    batches: object,
    loss: object,
    steps: int,
    schedule: object,
    clip: float | None,
    accumulate: int,
    precision: str,
    callbacks: Iterable[object],
    checkpoints: object,
) -> None:
    check_at_least_one("steps", steps)
    check_at_least_one("accumulate", accumulate)
    functions = {"loss": loss, "schedule": schedule, **{f"callbacks[{i}]": c for i, c in enumerate(callbacks)}}
    for name, value in functions.items():
        if not callable(value):
            raise TypeError(f"{name} must be a function, not {value!r:.60}")
    if clip is not None and not 0 < clip < math.inf:
        raise ValueError(f"clip is {clip}: it must be more than 0, and finite; None for no clipping")
    if precision not in {"float32", "bfloat16"}:
        raise ValueError(f"precision is {precision!r}: it must be 'float32' or 'bfloat16'")
    if not hasattr(batches, "__next__"):
        raise TypeError(f"batches must be a source for next(), as WindowBatches or EpochBatches, not {batches!r:.60}")
    if checkpoints is None:
        return
    if not isinstance(checkpoints, Checkpoints):
        raise TypeError(f"checkpoints must be Checkpoints(folder) or None, not {checkpoints!r:.60}")
    if not hasattr(batches, "state_dict") or not hasattr(batches, "load_state_dict"):
        raise TypeError(f"batches must have state_dict and load_state_dict for checkpoints, not be {batches!r:.60}")
