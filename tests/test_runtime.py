"""Seeds, device, threads and scale: what stands at the top of every notebook."""

import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib import runtime
from course_lib.runtime import (
    Scale,
    best_device,
    device_report,
    random_states,
    scale,
    seed_everything,
    set_random_states,
    set_threads,
)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def settings_and_threads_as_before(monkeypatch):
    """Each test starts without the course's settings, and leaves PyTorch's thread count and generators alone."""
    monkeypatch.delenv("COURSE_SCALE", raising=False)
    monkeypatch.delenv("COURSE_THREADS", raising=False)
    threads, numpy_state, python_state = torch.get_num_threads(), np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


def three_draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_a_seed_starts_all_three_generators_at_their_published_first_numbers():
    seed_everything(0)
    python, numpy, pytorch = three_draws()
    # The first draw after seed 0, as printed in countless pages on each library. Rounding: PyTorch draws in float32.
    assert python == 0.8444218515250481
    assert round(numpy, 8) == 0.5488135
    assert round(pytorch, 4) == 0.4963


def test_the_same_seed_gives_the_same_numbers_and_another_seed_gives_others():
    draws = []
    for seed in (7, 7, 8):
        seed_everything(seed)
        draws.append(three_draws())
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[0], draws[2], strict=True))


def test_random_numbers_go_on_from_states_that_were_kept_also_in_the_middle_of_a_pair():
    """A Gaussian is drawn in pairs: the second half waits in the state of Python and of NumPy."""
    seed_everything(3)
    gauss = lambda: (random.gauss(0, 1), float(np.random.normal()), float(torch.randn(())))  # noqa: E731, NPY002
    gauss()
    states = random_states()
    drawn = [gauss(), three_draws(), gauss()]
    seed_everything(4)
    set_random_states(states)
    assert [gauss(), three_draws(), gauss()] == drawn
    set_random_states(states)
    assert gauss() == drawn[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_random_numbers_of_a_gpu_go_on_too():
    states = random_states()
    drawn = torch.rand(5, device="cuda")
    set_random_states(states)
    assert torch.equal(torch.rand(5, device="cuda"), drawn)


def test_the_largest_seed_is_accepted_and_the_next_one_is_not():
    seed_everything(2**32 - 1)
    with pytest.raises(ValueError, match=r"seed must be from 0 to 4294967295, but is 4294967296"):
        seed_everything(2**32)
    with pytest.raises(ValueError, match=r"seed must be from 0 to 4294967295, but is -1"):
        seed_everything(-1)


@pytest.mark.parametrize("seed", [None, "0", 1.0, True])
def test_a_seed_that_is_no_int_is_refused_by_name_and_type(seed):
    with pytest.raises(TypeError, match=re.escape(f"seed must be an int, such as 0, but is {seed!r}")):
        seed_everything(seed)


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_is_cuda_then_mps_then_cpu(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(device)


def test_a_warning_about_an_old_driver_does_not_reach_the_page(monkeypatch):
    def warn():
        warnings.warn("CUDA initialization: the driver is too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warn)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device() == torch.device("cpu")  # warnings are errors here: one that got out would fail this test


def test_one_thread_is_the_default():
    torch.set_num_threads(2)
    assert set_threads() == 1
    assert torch.get_num_threads() == 1


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr(runtime, "_cores", lambda: 3)


def test_a_number_of_threads_is_set_and_returned(three_cores):
    assert set_threads(2) == 2
    assert torch.get_num_threads() == 2


def test_course_threads_is_the_default_and_an_argument_wins(three_cores, monkeypatch):
    monkeypatch.setenv("COURSE_THREADS", " 3 ")
    assert set_threads() == torch.get_num_threads() == 3
    assert set_threads(2) == torch.get_num_threads() == 2


@pytest.mark.parametrize("n", [0, -1, 4])
def test_a_number_of_threads_that_no_core_stands_for_is_refused(three_cores, monkeypatch, n):
    set_threads(2)
    with pytest.raises(ValueError, match=f"^n must be from 1 to 3, the number of cores here, but is {n}$"):
        set_threads(n)
    monkeypatch.setenv("COURSE_THREADS", str(n))
    with pytest.raises(ValueError, match=f"^COURSE_THREADS must be from 1 to 3, .* but is {n}$"):
        set_threads()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("n", [1.0, "2", True])
def test_a_number_of_threads_that_is_no_int_is_refused(n):
    with pytest.raises(TypeError, match=re.escape(f"n must be an int, such as 1, but is {n!r}")):
        set_threads(n)


def test_course_threads_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_THREADS", "two")
    with pytest.raises(ValueError, match="COURSE_THREADS must be a whole number, such as 1, but is 'two'"):
        set_threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_cores_that_the_process_may_not_use_are_not_counted():
    one = next(iter(os.sched_getaffinity(0)))
    program = f"import os; os.sched_setaffinity(0, [{one}]); from course_lib import runtime; print(runtime._cores())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("value", "name"), [(None, "laptop"), ("", "laptop"), ("laptop", "laptop"), ("gpu", "gpu"), ("GPU ", "gpu")]
)
def test_course_scale_chooses_the_scale(monkeypatch, value, name):
    if value is not None:
        monkeypatch.setenv("COURSE_SCALE", value)  # "GPU " with its blank is what `set COURSE_SCALE=GPU & ...` leaves
    assert scale() == Scale(name)
    assert scale().choose(laptop=3, gpu=5) == {"laptop": 3, "gpu": 5}[name]


def test_an_unknown_scale_is_refused_with_the_words_that_are_known(monkeypatch):
    monkeypatch.setenv("COURSE_SCALE", "cluster")
    with pytest.raises(ValueError, match="COURSE_SCALE must be 'laptop' or 'gpu', but is 'cluster': set one of them"):
        scale()


def test_a_scale_cannot_be_changed_and_both_choices_must_be_named():
    laptop = Scale("laptop")
    with pytest.raises(AttributeError):
        laptop.name = "gpu"  # type: ignore[misc]
    with pytest.raises(TypeError):
        laptop.choose(3, 5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="gpu"):
        laptop.choose(laptop=3)  # type: ignore[call-arg]


def test_the_report_tells_what_the_machine_has(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(runtime, "_cores", lambda: 3)
    monkeypatch.setattr(runtime.psutil, "virtual_memory", lambda: SimpleNamespace(total=5 * 2**30))
    monkeypatch.setattr(runtime, "_CGROUP_LIMIT", tmp_path / "absent")
    set_threads(2)
    report = device_report()
    assert report["device"].startswith("cpu (no GPU found")
    assert (report["cores"], report["memory"], report["scale"]) == ("3", "5.0 GiB", "laptop")
    assert report["threads"] == "2 for PyTorch on the CPU"
    assert report["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["PyTorch"] == torch.__version__
    assert all(isinstance(line, str) and line for line in report.values())


@pytest.mark.parametrize(
    ("limit", "shown"), [("2147483648\n", "2.0 GiB"), ("max\n", "5.0 GiB"), (f"{2**60}", "5.0 GiB")]
)
def test_the_memory_is_what_a_container_allows(monkeypatch, tmp_path, limit, shown):
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(runtime, "_CGROUP_LIMIT", tmp_path / "memory.max")
    monkeypatch.setattr(runtime.psutil, "virtual_memory", lambda: SimpleNamespace(total=5 * 2**30))
    assert device_report()["memory"] == shown


@pytest.mark.parametrize(
    ("share", "line"),
    [
        (0.52, "yes, and a matrix product is faster than in float32"),
        (0.97, "runs, but a matrix product is hardly faster than in float32, or slower"),
        (2.7, "runs, but a matrix product is hardly faster than in float32, or slower"),
        (RuntimeError("not implemented for BFloat16"), "no"),
    ],
)
def test_the_line_on_bfloat16_says_what_was_measured(monkeypatch, share, line):
    def measured(device, size):
        if isinstance(share, Exception):
            raise share
        return share

    monkeypatch.setattr(runtime, "_bfloat16_share", measured)
    assert device_report()["bfloat16"] == line


def test_products_in_both_formats_take_turns_and_the_best_of_each_is_compared(monkeypatch):
    # bfloat16, float32, bfloat16, ...: the first two set things up, and a load that comes and goes makes most slower.
    took = [50, 70, 9, 16, 6, 9, 3, 12, 8, 4, 7, 5]
    clock = iter(t for start, seconds in enumerate(took) for t in (100 * start, 100 * start + seconds))
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: float(next(clock)))
    assert runtime._bfloat16_share(torch.device("cpu"), size=3) == 3 / 4
    assert next(clock, None) is None


def test_the_report_names_the_gpu_and_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = SimpleNamespace(name="Some Accelerator", total_memory=7 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(runtime, "_bfloat16_line", lambda device: f"asked about {device.type}")
    report = device_report()
    assert report["device"] == "cuda (Some Accelerator)"
    assert report["GPU memory"] == "7.0 GiB"
    assert report["bfloat16"] == "asked about cuda"


@pytest.mark.gpu
def test_the_report_works_on_a_real_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    assert device_report()["device"].startswith("cuda (")
