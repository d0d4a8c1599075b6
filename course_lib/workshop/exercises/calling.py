"""Runs what a learner wrote so that nothing it does can hurt: it may loop, print, exit, or change what it is given.

All of a check runs in one worker thread with a deadline. Python cannot kill a thread, but it can raise an exception in
one; code that swallows it gets it again and again, and a thread stuck outside Python is left behind.
"""

import builtins
import contextlib
import contextvars
import copy
import ctypes
import inspect
import io
import linecache
import random
import re
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import numpy as np
import torch
from IPython.core.getipython import get_ipython

STOP_SECONDS = 2.0  # how long a thread past its deadline is asked to stop
LINES_SHOWN, WIDTH_SHOWN = 10, 150  # of what the learner's code prints
STACK_BYTES = 64 * 2**20  # so that endless recursion meets Python's limit, not the end of the thread's stack

_LIBRARY = Path(__file__).resolve().parents[2]
_NOT_THE_LEARNERS = [
    str(_LIBRARY),
    *{sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")},
]


class Wrong(Exception):
    """The answer is wrong, and this is how: the name of a mistake, and values for the placeholders in its text.

    ``variant`` is the name of another text for the same mistake.
    """

    def __init__(self, name: str, *, variant: str = "", **values: object) -> None:
        super().__init__(name)
        self.name, self.variant, self.values = name, variant or name, values


class OutOfTimeError(BaseException):
    """Raised inside the worker at the deadline. Not an Exception, so that ``except Exception`` lets it pass."""


class InputAskedError(BaseException):
    """Raised where the learner's code asks for input: nobody could answer during a check."""


# --- what the learner's code may do --------------------------------------------------------------------------------


class Answer:
    """What the learner handed in; calling it gives it copies of the arguments.

    ``value`` is the thing itself. ``changed_input`` says whether a call changed one of its arguments in place.
    ``inputs`` are those to speak of: of the last call, or of the call that showed the mistake.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self.changed_input = False
        self.inputs: tuple[Any, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.inputs = (*args, *kwargs.values())
        check_signature(self.value, args, kwargs)
        copied_args, copied_kwargs = copy.deepcopy((args, kwargs))
        result = on_behalf(self.value, *copied_args, **copied_kwargs)
        self.changed_input |= not is_unchanged((copied_args, copied_kwargs), (args, kwargs))
        return result


def on_behalf(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls ``call``. An exception that passed through here counts as the learner's, whoever raised it."""
    return call(*args, **kwargs)


def check_signature(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises Wrong if ``function`` does not take these arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C do not say what they take
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        takes, needs = len(signature.parameters), len(args) + len(kwargs)
        variant = "wrong_argument_names" if takes == needs else ""
        raise Wrong("wrong_signature", variant=variant, takes=takes, needs=needs, names=names, why=error) from None


def is_unchanged(now: Any, before: Any) -> bool:
    """Whether inputs are what they were. What cannot be compared (a random generator) counts as unchanged."""
    if type(now) is not type(before):
        return False
    if isinstance(before, torch.nn.Module):
        return is_unchanged(dict(now.state_dict()), dict(before.state_dict()))
    if isinstance(before, torch.Tensor):
        return now.shape == before.shape and now.dtype == before.dtype and _equal_with_nan(now, before)
    if isinstance(before, np.ndarray):
        return now.shape == before.shape and _equal_with_nan(now, before)
    if isinstance(before, dict):
        return now.keys() == before.keys() and all(is_unchanged(now[key], before[key]) for key in before)
    if isinstance(before, list | tuple):
        return len(now) == len(before) and all(map(is_unchanged, now, before))
    if before is None or isinstance(before, bool | int | float | complex | str | bytes | bytearray | set):
        return bool(now == before) or now != now  # nan is not equal to itself
    return True


def _equal_with_nan(now: Any, before: Any) -> bool:
    return bool(((now == before) | ((now != now) & (before != before))).all())


# --- whose fault an exception is -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LearnersLine:
    number: int
    text: str


def frames_of(trace: TracebackType | None) -> Iterator[tuple[Any, int]]:
    while trace:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next


def is_learners(error: BaseException, chapter_file: str) -> bool:
    """Whether an exception comes from the learner's code, and not from a step of ours."""
    found = [code for code, _ in frames_of(error.__traceback__)]
    return on_behalf.__code__ in found or any(_wrote_it(code, chapter_file) for code in found)


def learners_line(error: BaseException, chapter_file: str) -> LearnersLine | None:
    """The last line of the learner's own that an exception passed through, or None."""
    found = None
    for code, number in frames_of(error.__traceback__):
        if _wrote_it(code, chapter_file) and (text := linecache.getline(code.co_filename, number).strip()):
            found = LearnersLine(number, text)
    return found


def is_untouched_stub(error: BaseException) -> bool:
    """Whether this is the bare ``raise NotImplementedError`` of a stub. PyTorch's own come with a message."""
    return isinstance(error, NotImplementedError) and not error.args


def _wrote_it(code: Any, chapter_file: str) -> bool:
    file = code.co_filename
    if file == chapter_file or file.startswith("<frozen"):
        return False
    return not any(Path(file).is_relative_to(folder) for folder in _NOT_THE_LEARNERS)


def without_addresses(text: str) -> str:
    """A stored output must not differ from run to run, so ``<f at 0x7f..>`` becomes ``<f>``."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


# --- running with a deadline ---------------------------------------------------------------------------------------


class Printed(io.TextIOBase):
    """Keeps the first lines of what is printed and counts the rest, so that printing for ever fills no memory."""

    def __init__(self) -> None:
        self._kept, self._line_ends, self._last = "", 0, "\n"

    def write(self, text: str) -> int:
        self._kept += text[: max(0, 5000 - len(self._kept))]
        self._line_ends += text.count("\n")
        self._last = text[-1:] or self._last
        return len(text)

    def lines(self) -> tuple[list[str], int]:
        """The lines to show, and the number of those left out."""
        shown = [without_addresses(line)[:WIDTH_SHOWN] for line in self._kept.splitlines()[:LINES_SHOWN]]
        return shown, max(0, self._line_ends + (self._last != "\n") - len(shown))


@dataclass
class SafeRun:
    """How it went: a value or an error, or neither if it had to be stopped (``abandoned``: it could not be)."""

    value: Any = None
    error: BaseException | None = None
    out_of_time: bool = False
    interrupted: bool = False
    abandoned: bool = False
    printed: Printed = field(default_factory=Printed)


def run_safely(work: Callable[[], Any], seconds: float) -> SafeRun:
    """Runs ``work`` in a thread for at most ``seconds``; the caller's settings and random state stay as they are."""
    result = SafeRun()
    worker = _Worker(work, result)
    with _nothing_lasts(result.printed):
        try:
            worker.start()
            if not worker.wait(seconds):
                result.out_of_time = True
                worker.stop()
        except KeyboardInterrupt:
            result.interrupted = True
            worker.stop()
    result.abandoned = not worker.finished.is_set()
    return result


class _Worker:
    def __init__(self, work: Callable[[], Any], result: SafeRun) -> None:
        self.finished = threading.Event()
        self._work, self._result, self._lock, self._over = work, result, threading.Lock(), False
        self._gradients, self._inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True)

    def start(self) -> None:
        before = threading.stack_size(STACK_BYTES)
        try:
            self._thread.start()
        finally:
            threading.stack_size(before)

    def wait(self, seconds: float) -> bool:
        """Whether the work ended in time. In short waits, for on Windows a long one cannot be interrupted."""
        deadline = time.monotonic() + seconds
        while not self.finished.wait(min(0.1, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
        return True

    def stop(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with self._lock:
                if not self._over:
                    self._raise_in_thread(ctypes.py_object(OutOfTimeError))
            if self.finished.wait(0.02):
                return

    def _raise_in_thread(self, error: Any) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident or 0), error)

    def _run(self) -> None:
        try:
            try:
                with torch.inference_mode(self._inference), torch.set_grad_enabled(self._gradients):
                    self._result.value = self._work()
            except BaseException as error:
                self._result.error = error
            with self._lock:  # from here on nobody raises anything in this thread
                self._over = True
            self._raise_in_thread(None)  # and what was on its way is called back
        except OutOfTimeError:
            self._over = True
        self.finished.set()


@contextlib.contextmanager
def _nothing_lasts(printed: Printed) -> Iterator[None]:
    """Output goes to ``printed``, nobody is asked for input, and random state and settings are put back at the end."""

    def no_input(*_: object) -> None:
        raise InputAskedError

    def no_exit() -> None:
        raise SystemExit

    def one_line(message: object, category: type, *_: object, **__: object) -> None:
        sys.stderr.write(f"{category.__name__}: {message}\n")  # without the path and line that Python would add

    python, numpy, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()  # noqa: NPY002
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several, begun anew by each worker, wait for each other: 15 times slower at these sizes
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.redirect_stderr(printed))
        stack.enter_context(mock.patch.object(builtins, "input", no_input))
        if (shell := get_ipython()) is not None:  # in a notebook, exit() would end the kernel after the cell
            stack.enter_context(mock.patch.object(shell, "ask_exit", no_exit))
        stack.enter_context(mock.patch.object(warnings, "showwarning", one_line))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)


def seed_a_call() -> None:
    """The same random numbers for everybody who is called next: the reference, a mistake, the learner."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.default_generator.manual_seed(0)
