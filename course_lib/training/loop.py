"""The training loop: draw a batch, compute the loss and its gradient, step, and again.

Around these four lines stands what makes a training fast, stable and safe: mixed precision (Micikevicius et al. 2018),
clipping of the gradient (Pascanu et al. 2013, algorithm 1), accumulation, schedules, several processes, checkpoints.

Sizes: B sequences in a batch.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from course_lib.arguments import check_at_least_one, in_error_words
from course_lib.objectives.causal import LossSum
from course_lib.runtime import late_bar
from course_lib.training.callbacks import Callback, Evaluation, History, Progress
from course_lib.training.checkpoints import Checkpoints, Run
from course_lib.training.distributed import Process, this_process
from course_lib.training.schedules import Schedule, constant

READ_EVERY = {"cpu": 1, "mps": 20, "cuda": 20}  # steps between two looks at the losses: each makes a GPU wait


class Batches(Protocol):
    """A source of batches: tuples of tensors with B rows each. For checkpoints it must also give and take its state."""

    def __next__(self) -> tuple[Tensor, ...]: ...


LossFunction = Callable[[nn.Module, Any], LossSum]


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
    settings = {
        "optimisers": " ".join(" ".join(map(str, optimisers)).split()),  # with their rates, betas, decays
        "clip": clip,
        "accumulate": accumulate,
        "precision": precision,
        "processes": process.world,
    }
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
                checkpoints.save(run)  # reads the losses first: after one that is no number, nothing is written
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
    if process.world > 1:
        _check_all_reached(loss_of.module.model)
    totals, counts = zip(*parts, strict=True)
    return process.sum(sum(totals)), process.sum(sum(counts))


def _check_all_reached(model: nn.Module) -> None:
    """DistributedDataParallel waits for the gradient of each parameter, and would stop a step later without a name."""
    if names := [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]:
        raise ValueError(
            f"loss gives no gradient to {', '.join(names)}: several processes need one for each parameter that learns. "
            "Call requires_grad_(False) on what has no part in this training"
        )


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
    evaluations = [getattr(c, "evaluation", c) for c in callbacks]  # EarlyStopping has one, too
    if len({id(evaluation) for evaluation in evaluations if isinstance(evaluation, Evaluation)}) > 1:
        raise ValueError("callbacks hold two Evaluations: the history has room for one. Measure more in a function")
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
