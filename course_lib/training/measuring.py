"""Measuring a model: its loss on what it does not learn from, without dropout, and without a trace left in it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_lib.training.distributed import Process
from course_lib.training.loop import LossFunction


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards, also after an error, every module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def nats_of(
    model: nn.Module, batches: Iterable[tuple[Tensor, ...]], loss: LossFunction
) -> tuple[list[float], list[int]]:
    """Of each batch the loss, summed, and its number of targets; without dropout. For a bootstrap, one text a batch."""
    if hasattr(batches, "load_state_dict"):
        raise ValueError("batches never end: give a list of them, as list(islice(batches, 20))")
    process = Process(0, 1, next(model.parameters()).device)
    with evaluating(model):
        sums = [loss(model, process.share(batch)) for batch in batches]
    return [float(total) for total, _ in sums], [int(targets) for _, targets in sums]
