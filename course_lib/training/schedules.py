"""Schedules: how the learning rate rises at the start of a training and falls towards its end.

Warm-up and decay: Vaswani et al. 2017, section 5.3 · cosine: Loshchilov & Hutter 2017, eq. 5, without restarts.

A schedule is a function of ``step``, from 0, and ``steps``. It gives the factor that every learning rate is multiplied
with. During a warm-up of w steps it is 1/(w+1), 2/(w+1), … and then 1: no step is wasted on a rate of 0.
"""

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]


def constant(warmup: int = 0) -> Schedule:
    """1 after the warm-up."""
    return _after_warmup(warmup, lambda done: 1.0)


def linear_decay(warmup: int = 0, to: float = 0.0) -> Schedule:
    """From 1 after the warm-up in a straight line to ``to``, which stands at the end of the last step."""
    _check_end(to)
    return _after_warmup(warmup, lambda done: 1 - (1 - to) * done)


def cosine_decay(warmup: int = 0, to: float = 0.1) -> Schedule:
    """From 1 to ``to`` along half a wave of the cosine: slow at first, fast in the middle, slow at the end."""
    _check_end(to)
    return _after_warmup(warmup, lambda done: to + (1 - to) * (1 + math.cos(math.pi * done)) / 2)


def _after_warmup(warmup: int, decay: Callable[[float], float]) -> Schedule:
    """``decay`` gets the part of the steps after the warm-up that is done, from 0 to just below 1."""
    if type(warmup) is not int:
        raise TypeError(f"warmup must be a number of steps, as 100, not {warmup!r}")
    if warmup < 0:
        raise ValueError(f"warmup is {warmup}: it must be at least 0")

    def schedule(step: int, steps: int) -> float:
        if warmup >= steps:
            raise ValueError(f"warmup is {warmup}, but there are only {steps} steps: it must be shorter")
        return (step + 1) / (warmup + 1) if step < warmup else decay((step - warmup) / (steps - warmup))

    return schedule


def _check_end(to: float) -> None:
    if not 0 <= to <= 1:
        raise ValueError(f"to is {to}: it must be from 0 to 1")
