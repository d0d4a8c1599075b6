"""The machine under the notebook: seeds, the device, threads, and the size of what is run.

Four small questions stand at the top of every chapter, and they are answered here, once:

    seed_everything(0)                      the same random numbers in every run
    device = best_device()                  cuda, mps or cpu
    set_threads()                           how many threads PyTorch computes with
    scale().choose(laptop=64, gpu=1024)     how large the run is

Environment variables: ``COURSE_SCALE`` (``laptop``, the default, or ``gpu``) and ``COURSE_THREADS`` (a number).
"""

import math
import os
import platform
import random
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import psutil
import torch

_Value = TypeVar("_Value")

_GIB = 2**30
_DEFAULT_THREADS = 1  # measured: see set_threads
_LARGEST_SEED = 2**32 - 1  # NumPy takes no larger one
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # what a container (Binder, JupyterHub) may use


def seed_everything(seed: int) -> None:
    """Start the random numbers of Python, NumPy and PyTorch (all devices) at ``seed``, from 0 to 2**32 - 1.

    Library code never calls this: there a ``torch.Generator`` is an argument. It is for the top of a notebook.
    Raises TypeError for anything but an int, ValueError outside the range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, such as 0, but is {seed!r} ({type(seed).__name__})")
    if not 0 <= seed <= _LARGEST_SEED:
        raise ValueError(f"seed must be from 0 to {_LARGEST_SEED}, but is {seed}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (code that still draws from NumPy's global generator is the reason)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """Where the random numbers of Python, NumPy and PyTorch (all devices) stand: numbers, texts and tensors."""
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Go on from what ``random_states`` gave. Devices that are not here any more are left out."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["cpu"])
    for number, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, number)
    if torch.backends.mps.is_available():
        for state in states["mps"]:
            torch.mps.set_rng_state(state)


def best_device() -> torch.device:
    """The fastest device of this machine: ``cuda`` (NVIDIA, or AMD with ROCm), else ``mps`` (Apple), else ``cpu``."""
    with warnings.catch_warnings():
        # An old driver makes PyTorch warn, with a path of the machine in the text. What follows from it is "cpu".
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
    return torch.device("cpu")


def _cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux: fewer than the machine has, in many containers
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(n: int | None = None) -> int:
    """Let PyTorch compute with ``n`` threads on the CPU, and return ``n``.

    Without ``n``: ``COURSE_THREADS`` where that is set, else 1. One thread is a choice for this course's small models.
    Measured on two cores, a training step of a GPT (B = 16, T = 64, D = 96, 0.5 million parameters): a second thread
    makes it 1.4 times faster while the machine is quiet, and 3 times *slower* as soon as another program keeps one
    core busy, for each thread waits for the other at every operation. (0.06 million parameters: no gain, and 2.2 times
    slower. 2.9 million: 1.6 times faster, and 1.8 times slower.) A browser beside the notebook is such a program.

    Raises TypeError for anything but an int, ValueError below 1 or above the number of cores.
    """
    name = "n"
    if n is None:
        name, text = "COURSE_THREADS", os.environ.get("COURSE_THREADS", "").strip()
        try:
            n = int(text) if text else _DEFAULT_THREADS
        except ValueError:
            raise ValueError(f"COURSE_THREADS must be a whole number, such as 1, but is {text!r}") from None
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an int, such as 1, but is {n!r} ({type(n).__name__})")
    if not 1 <= n <= _cores():
        raise ValueError(f"{name} must be from 1 to {_cores()}, the number of cores here, but is {n}")
    torch.set_num_threads(n)
    return n


@dataclass(frozen=True)
class Scale:
    """How large a run is: ``laptop`` (two cores, two minutes for a notebook) or ``gpu`` (more data, a larger model)."""

    name: Literal["laptop", "gpu"]

    def choose(self, *, laptop: _Value, gpu: _Value) -> _Value:
        """The value for this scale. Both are always named, so that a reader sees what the other machine would do."""
        return laptop if self.name == "laptop" else gpu


def scale() -> Scale:
    """The scale that ``COURSE_SCALE`` asks for; ``laptop`` where it is not set. ValueError for any other word.

    It is set before JupyterLab starts, for instance ``COURSE_SCALE=gpu python course.py lab``. A cell then says

        steps = scale().choose(laptop=200, gpu=20_000)

    and there is no other place where a notebook asks what machine it is on.
    """
    asked = os.environ.get("COURSE_SCALE", "")
    match asked.strip().lower():
        case "" | "laptop":
            return Scale("laptop")
        case "gpu":
            return Scale("gpu")
    raise ValueError(f"COURSE_SCALE must be 'laptop' or 'gpu', but is {asked!r}: set one of them, or remove it")


def late_bar() -> dict[str, Any]:
    """What makes a bar of tqdm show itself after two seconds, and never where outputs are compared (TQDM_DISABLE=1).

    tqdm reads that variable itself, but its bar for notebooks does not.
    """
    return {"delay": 2, "leave": False, "disable": os.environ.get("TQDM_DISABLE", "") not in {"", "0"}}


def device_report() -> dict[str, str]:
    """What this machine has, as plain text for a reader: one line for each thing. It differs from machine to machine.

    Keys: system, Python, PyTorch, scale, device, cores, threads, memory, bfloat16; on a CUDA device also GPU memory.
    The line on bfloat16 rests on a short measurement, of 0.2 seconds where bfloat16 is slow.
    """
    device = best_device()
    report = {
        "system": f"{platform.system()} on {platform.machine()}",
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "scale": scale().name,
        "device": "cpu (no GPU found: everything at the laptop scale was made for this)",
        "cores": f"{_cores()}",
        "threads": f"{torch.get_num_threads()} for PyTorch on the CPU",
        "memory": f"{_memory() / _GIB:.1f} GiB",
        "bfloat16": _bfloat16_line(device),
    }
    if device.type == "mps":
        report["device"] = "mps (the GPU of an Apple chip)"
    elif device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        report["device"] = f"cuda ({gpu.name})"
        report["GPU memory"] = f"{gpu.total_memory / _GIB:.1f} GiB"
    return report


def _memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less where a container sets a limit."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or its limit is the word "max"
        return total


def _bfloat16_line(device: torch.device) -> str:
    """Does bfloat16 run here, and does it pay? Asking a library which chips can is a table that ages; this tries it."""
    try:
        share = _bfloat16_share(device, size=256 if device.type == "cpu" else 2048)  # a GPU needs more to be busy
    except RuntimeError:
        return "no"
    if share < 0.8:  # no figure on the page, and not 1 here: both would differ from run to run
        return "yes, and a matrix product is faster than in float32"
    return "runs, but a matrix product is hardly faster than in float32, or slower"


def _bfloat16_share(device: torch.device, size: int) -> float:
    """Seconds of a ``size`` by ``size`` matrix product in bfloat16, divided by those in float32.

    The two take turns, and the best of each counts: whatever else the machine does can only add to the seconds, as
    does setting things up in the first. Without instructions for bfloat16 one product takes up to 0.03 s on a CPU.
    """
    matrices = [torch.ones(size, size, device=device, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
    best = [math.inf, math.inf]
    for _ in range(6):
        for i, matrix in enumerate(matrices):
            start = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # .item() waits until the device has finished
            best[i] = min(best[i], time.perf_counter() - start)
    return best[0] / best[1]
