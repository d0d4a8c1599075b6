"""What a learner wrote may do anything: it ends in time, and changes nothing for the cells below."""

import contextlib
import random
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.workshop.exercises import calling
from course_lib.workshop.exercises.calling import Answer, Wrong, run_safely


def forever() -> None:
    while True:
        pass


def swallows_everything() -> None:
    while True:
        try:
            while True:
                pass
        except:  # noqa: E722
            pass


def swallows_a_few() -> None:
    for _ in range(4):
        with contextlib.suppress(BaseException):
            while True:
                pass


def swallows_exceptions() -> None:
    until = time.monotonic() + 3
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            while time.monotonic() < until:
                pass


def sleeps() -> None:
    time.sleep(1.5)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "STOP_SECONDS", 0.4)


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("work", [forever, swallows_exceptions, swallows_a_few])
def test_what_never_ends_is_stopped_at_the_deadline(work: Any, no_thread_stays: None) -> None:
    started = time.monotonic()
    run = run_safely(work, 0.2)
    assert (run.out_of_time, run.abandoned) == (True, False)
    assert time.monotonic() - started < 1.8, "it took until STOP_SECONDS were over"


def test_what_cannot_be_stopped_is_left_behind(impatient: None) -> None:
    started = time.monotonic()
    run = run_safely(sleeps, 0.1)
    assert (run.out_of_time, run.abandoned) == (True, True)
    assert time.monotonic() - started < 1.2
    assert run_safely(lambda: 3, 5).value == 3, "the next check works all the same"
    time.sleep(1.2)  # until it wakes up, finds that it has to stop, and is gone


def test_a_loop_that_swallows_all_exceptions_is_left_behind(impatient: None) -> None:
    go_on = threading.Event()

    def stubborn() -> None:
        while not go_on.is_set():
            with contextlib.suppress(BaseException):
                swallows_everything_while(go_on)

    assert run_safely(stubborn, 0.1).abandoned
    go_on.set()


def swallows_everything_while(go_on: threading.Event) -> None:
    while not go_on.is_set():
        try:
            while not go_on.is_set():
                pass
        except:  # noqa: E722
            pass


def test_an_interrupt_stops_the_work_and_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, no_thread_stays: None
) -> None:
    def interrupted(self: Any, seconds: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(calling._Worker, "wait", interrupted)
    run = run_safely(forever, 5)
    assert (run.interrupted, run.abandoned, run.out_of_time) == (True, False, False)


def test_an_exception_is_handed_back_with_its_frames() -> None:
    def fails() -> None:
        raise ValueError("here")

    run = run_safely(fails, 5)
    assert isinstance(run.error, ValueError)
    assert [code.co_name for code, _ in calling.frames_of(run.error.__traceback__)][-1] == "fails"
    assert isinstance(run_safely(lambda: sys.exit(3), 5).error, SystemExit)


def test_endless_recursion_ends_in_an_error_also_through_pytorch() -> None:
    class Deep(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self(x)

    assert isinstance(run_safely(lambda: Deep()(torch.ones(2)), 10).error, RecursionError)


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_are_on_in_the_worker_where_they_are_on_outside(enabled: bool) -> None:
    weight = torch.ones(3, requires_grad=True)
    with torch.set_grad_enabled(enabled):
        assert run_safely(lambda: (weight * 2).requires_grad, 5).value is enabled
    with torch.inference_mode():
        assert run_safely(torch.is_inference_mode_enabled, 5).value is True


def test_random_state_settings_and_output_are_as_before() -> None:
    def meddles() -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        warnings.simplefilter("ignore")
        print("to nobody")

    def drawn() -> list[Any]:
        return [random.random(), np.random.random(), torch.rand(2).tolist()]  # noqa: NPY002

    def state() -> list[Any]:
        return [sys.stdout, sys.stderr, input, torch.get_default_dtype(), torch.is_grad_enabled(), warnings.filters[:]]

    settings = state()
    torch.manual_seed(4), random.seed(4), np.random.seed(4)  # noqa: NPY002
    expected = drawn()
    torch.manual_seed(4), random.seed(4), np.random.seed(4)  # noqa: NPY002
    assert run_safely(meddles, 5).error is None
    assert drawn() == expected
    assert state() == settings


def test_a_check_computes_with_one_thread_and_leaves_their_number_alone() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        inside = run_safely(torch.get_num_threads, 5).value
        failed = run_safely(lambda: [torch.set_num_threads(2), 1 / 0], 5)  # type: ignore[func-returns-value]
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert (inside, after) == (1, 3)
    assert isinstance(failed.error, ZeroDivisionError)


def test_a_page_of_output_is_cut_and_counted() -> None:
    run = run_safely(lambda: [print(i, object()) for i in range(1000)], 5)
    lines, more = run.printed.lines()
    assert lines == [f"{i} <object object>" for i in range(10)]
    assert more == 990


def test_both_streams_and_warnings_are_kept_without_a_path() -> None:
    def talks() -> None:
        print("out", end="")
        print(" err", file=sys.stderr)
        warnings.warn("careful", UserWarning, stacklevel=1)
        print("x" * 400)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        lines, more = run_safely(talks, 5).printed.lines()
    assert lines == ["out err", "UserWarning: careful", "x" * 150]
    assert more == 0


def test_printing_for_ever_fills_no_memory() -> None:
    printed = calling.Printed()
    for _ in range(3):
        printed.write("a line\n" * 10_000)
    assert len(printed._kept) == 5000
    assert printed.lines() == (["a line"] * 10, 29_990)


def test_input_is_not_waited_for() -> None:
    assert isinstance(run_safely(lambda: input("?"), 5).error, calling.InputAskedError)


# --- copies of the inputs --------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 3)


def inputs() -> Iterator[Any]:
    yield torch.arange(6.0).reshape(2, 3)
    yield torch.tensor([float("nan"), 1.0])
    yield np.arange(5)
    yield [3, [1, 2]]
    yield {"a": [1]}
    yield {1, 2}
    yield Net()


def changes(value: Any) -> None:
    if isinstance(value, torch.nn.Module):
        with torch.no_grad():
            next(value.parameters()).add_(1)
    elif isinstance(value, torch.Tensor | np.ndarray):
        value[-1] += 1
    elif isinstance(value, list):
        value[1].append(5)
    elif isinstance(value, dict):
        value["a"][0] = 7
    else:
        value.add(3)


@pytest.mark.parametrize("value", list(inputs()), ids=lambda value: type(value).__name__)
def test_a_change_of_the_input_is_noticed_and_does_not_reach_ours(value: Any) -> None:
    answer = Answer(changes)
    answer(value)
    assert answer.changed_input
    answer = Answer(lambda given: given)
    result = answer(value)
    assert not answer.changed_input
    assert result is not value


def test_a_change_to_nan_or_to_another_dtype_is_a_change() -> None:
    assert not calling.is_unchanged(torch.tensor([float("nan")]), torch.tensor([1.0]))
    assert not calling.is_unchanged(torch.ones(2, dtype=torch.long), torch.ones(2))
    assert not calling.is_unchanged({"a": 1, "b": 2}, {"a": 1})


@pytest.mark.parametrize(
    ("function", "args", "takes", "names"),
    [(lambda q: q, (1, 2), 1, "q"), (lambda q, k, v: q, (1, 2), 3, "q, k, v"), (lambda: 1, (5,), 0, "")],
)
def test_a_wrong_number_of_arguments_is_counted(function: Any, args: Any, takes: int, names: str) -> None:
    with pytest.raises(Wrong) as caught:
        Answer(function)(*args)
    assert caught.value.name == "wrong_signature"
    values = caught.value.values
    assert (values["takes"], values["needs"], values["names"]) == (takes, len(args), names)


def test_defaults_and_functions_written_in_c_are_called() -> None:
    assert Answer(lambda q, k=3: q + k)(1) == 4
    assert Answer(max)(1, 2) == 2
    assert Answer(dict)(a=1) == {"a": 1}
    with pytest.raises(Wrong, match="wrong_signature"):
        Answer(lambda q, causal: q)(1, mask=2)
