"""Schedules: those of PyTorch after the warm-up, and a warm-up in which no step is wasted."""

import math
import re
import warnings

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, LRScheduler

from course_lib.training.schedules import constant, cosine_decay, linear_decay

STEPS, WARMUP, TO = 17, 5, 0.15


def factors(schedule, steps: int = STEPS) -> list[float]:
    return [schedule(step, steps) for step in range(steps)]


def torch_factors(make, steps: int) -> list[float]:
    optimiser = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: LRScheduler = make(optimiser)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimiser never stepped
        for _ in range(steps):
            found.append(float(scheduler.get_last_lr()[0]))
            scheduler.step()
    return found


@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (linear_decay, lambda steps: lambda o: LinearLR(o, start_factor=1, end_factor=TO, total_iters=steps)),
        (cosine_decay, lambda steps: lambda o: CosineAnnealingLR(o, T_max=steps, eta_min=TO)),
    ],
)
def test_after_the_warm_up_the_factors_are_those_of_pytorch(schedule, reference, warmup):
    after = STEPS - warmup
    # PyTorch multiplies from step to step, so its roundings add up.
    assert factors(schedule(warmup, to=TO))[warmup:] == pytest.approx(torch_factors(reference(after), after), abs=1e-12)


@pytest.mark.parametrize("schedule", [constant, linear_decay, cosine_decay])
def test_the_warm_up_rises_in_equal_steps_from_above_0_to_1(schedule):
    expected = torch_factors(lambda o: LambdaLR(o, lambda step: (step + 1) / (WARMUP + 1)), WARMUP + 1)
    assert factors(schedule(WARMUP))[: WARMUP + 1] == pytest.approx(expected)
    assert factors(schedule(WARMUP))[WARMUP] == factors(schedule())[0] == 1


def test_numbers_worked_out_by_hand():
    assert factors(constant(3), 6) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert factors(linear_decay(1), 5) == [0.5, 1, 0.75, 0.5, 0.25]
    assert factors(linear_decay(to=0.5), 4) == [1, 0.875, 0.75, 0.625]
    assert factors(cosine_decay(to=0.0), 4) == pytest.approx(
        [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert cosine_decay(to=0.2)(4, 4) == pytest.approx(0.2)  # where the last step ends


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: constant(-1), ValueError, "warmup is -1: it must be at least 0"),
        (lambda: constant(None), TypeError, "warmup must be a number of steps, as 100, not None"),  # type: ignore[arg-type]
        (lambda: linear_decay(True), TypeError, "warmup must be a number of steps, as 100, not True"),
        (lambda: linear_decay(to=-0.1), ValueError, "to is -0.1: it must be from 0 to 1"),
        (lambda: cosine_decay(to=1.1), ValueError, "to is 1.1: it must be from 0 to 1"),
        (lambda: cosine_decay(to=math.nan), ValueError, "to is nan: it must be from 0 to 1"),
        (lambda: constant(9)(0, 9), ValueError, "warmup is 9, but there are only 9 steps: it must be shorter"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()
