"""Our attention against PyTorch's kernel called directly: time and peak memory of forward and backward, in one run.

    python benchmarks/bench_attention.py [--rounds 15] [--length 2048] [--threads 1 2] [--device cpu] [--check]

One sequence, 8 heads of width 64, float32 (on CUDA bfloat16 too), causal. Each round times all candidates of a case,
one right after the other, in another order each time; the table gives medians over the rounds, of seconds on the clock
and of ratios within a round, so that a busy machine disturbs the ratios little.

Peak memory is that of a fresh process for each candidate: how far the resident memory rises above what it was with the
inputs made, the kernels loaded and one small run done (Linux: VmHWM, set back by clear_refs). On CUDA it is
torch.cuda.max_memory_allocated, likewise above the inputs. With --check the exit status is 1 if a limit is missed.
"""

import argparse
import gc
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.layers.attention import attention, fused_attention
from course_lib.layers.masks import causal_mask, sliding_window_mask

HEADS, HEAD_WIDTH, KV_HEADS, WINDOW = 8, 64, 2, 256
LIMIT = 1.05

Run = Callable[[Tensor, Tensor, Tensor], Tensor]


def repeated(k: Tensor) -> Tensor:
    return k.repeat_interleave(HEADS // KV_HEADS, dim=1)


def sliding(q: Tensor) -> Tensor:
    return sliding_window_mask(q.shape[2], WINDOW, device=q.device)


# For each case the number of key/value heads, and the candidates: the first is what the others are compared with.
DIRECT = "F.scaled_dot_product_attention"
CASES: dict[str, tuple[int, dict[str, Run]]] = {
    "causal": (
        HEADS,
        {
            DIRECT: lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            "fused_attention": lambda q, k, v: fused_attention(q, k, v, causal=True),
            "attention (readable)": lambda q, k, v: attention(q, k, v, causal_mask(q.shape[2], device=q.device)),
        },
    ),
    "causal, 2 key/value heads": (
        KV_HEADS,
        {
            f"{DIRECT}, enable_gqa": lambda q, k, v: F.scaled_dot_product_attention(
                q, k, v, is_causal=True, enable_gqa=True
            ),
            "fused_attention": lambda q, k, v: fused_attention(q, k, v, causal=True),
            f"{DIRECT}, heads repeated": lambda q, k, v: F.scaled_dot_product_attention(
                q, repeated(k), repeated(v), is_causal=True
            ),
        },
    ),
    f"window of {WINDOW}": (
        HEADS,
        {
            f"{DIRECT}, mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=sliding(q)),
            "fused_attention": lambda q, k, v: fused_attention(q, k, v, sliding(q)),
            f"{DIRECT}, causal, no window": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        },
    ),
}


def inputs(length: int, groups: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, heads, length, HEAD_WIDTH, generator=generator) for heads in (HEADS, groups, groups, HEADS)]
    return [part.to(device, dtype).requires_grad_(i < 3) for i, part in enumerate(made)]


def forward_and_backward(run: Run, parts: list[Tensor]) -> None:
    q, k, v, gradient = parts
    torch.autograd.grad(run(q, k, v), [q, k, v], gradient)


def seconds(run: Run, parts: list[Tensor]) -> float:
    on_gpu = parts[0].is_cuda
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    forward_and_backward(run, parts)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_so_far() -> int:
    """Bytes: the highest resident memory of this process, on Linux since the last ``forget_the_peak``."""
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_the_peak() -> None:
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def measure_peak(case: str, name: str, length: int, device: str, dtype: torch.dtype) -> float:
    """MiB above the inputs. To be called in a fresh process, with one thread or more."""
    groups, candidates = CASES[case]
    forward_and_backward(candidates[name], inputs(64, groups, device, dtype))
    parts = inputs(length, groups, device, dtype)
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        forward_and_backward(candidates[name], parts)
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    forget_the_peak()
    before = peak_so_far()
    forward_and_backward(candidates[name], parts)
    return (peak_so_far() - before) / 2**20


def peak_in_a_fresh_process(case: str, name: str, options: argparse.Namespace, threads: int, dtype: str) -> float:
    command = [sys.executable, __file__, "--length", str(options.length), "--threads", str(threads)]
    command += ["--device", options.device, "--dtype", dtype, "--peak", case, name]
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)
    )


def compare(case: str, options: argparse.Namespace, threads: int, dtype: str) -> bool:
    """Prints a line for each candidate; True if ours misses a limit."""
    groups, candidates = CASES[case]
    parts = inputs(options.length, groups, options.device, getattr(torch, dtype))
    times: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for run in candidates.values():  # kernels are loaded, buffers are made
        seconds(run, parts)
    for _ in range(options.rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(seconds(candidates[name], parts))
    peaks = {name: peak_in_a_fresh_process(case, name, options, threads, dtype) for name in candidates}
    first = next(iter(candidates))
    missed = False
    for name in candidates:
        ratio = statistics.median(mine / other for mine, other in zip(times[name], times[first], strict=True))
        peak = peaks[name] / peaks[first]
        limited = name == "fused_attention"
        missed |= limited and max(ratio, peak) > LIMIT
        columns = [case, f"{dtype}, {threads}", name, f"{1000 * statistics.median(times[name]):.1f}", f"{ratio:.2f}"]
        columns += [f"{peaks[name]:.1f}", f"{peak:.2f}", str(LIMIT) if limited else ""]
        print("| " + " | ".join(columns) + " |", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # what each fresh process is asked to do
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads[0])
    if options.peak:
        case, name = options.peak
        print(measure_peak(case, name, options.length, options.device, getattr(torch, options.dtype)))
        return 0
    random.seed(0)
    print(f"torch {torch.__version__}, {options.device}, T = {options.length}, {HEADS} heads of {HEAD_WIDTH}; ", end="")
    print(f"forward and backward, medians of {options.rounds} rounds\n")
    print("| case | format, threads | what | ms | ratio | peak MiB | ratio | limit |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    missed = False
    for threads in options.threads if options.device == "cpu" else [1]:
        torch.set_num_threads(threads)
        for dtype in ["float32"] if options.device == "cpu" else ["float32", "bfloat16"]:
            for case in CASES:
                missed |= compare(case, options, threads, dtype)
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
