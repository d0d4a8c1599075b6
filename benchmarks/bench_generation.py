"""Our generate against Hugging Face's: CPU seconds for a text of 256 tokens, with a cache and without, in two formats.

    python benchmarks/bench_generation.py [--rounds 9] [--slow-rounds 3] [--length 256] [--check]

Models of 10.7 million parameters with random weights (6 layers, 6 heads, width 384, 65 tokens). "GPT-2" has the parts
of GPT-2, as Hugging Face's model beside it has; "course" has those that this course trains. One thread. Each round runs
all candidates of a case, one right after the other, in another order each time; the table gives medians over the
rounds, of CPU seconds of the process and of ratios within a round. With --check the exit status is 1 if a ratio is
above its goal.
"""

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: only its model files are used, no weights

import torch
import transformers
from torch import nn
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel

from course_lib.models.decoder import GPT, GPTConfig, gpt2_config
from course_lib.using.generation import generate

VOCABULARY, LAYERS, HEADS, WIDTH = 65, 6, 6, 384
GREEDY, SAMPLED = 0.0, 1.0

Run = Callable[[], Any]


def ours(model: GPT, length: int, temperature: float, *, rows: int = 1, cache: bool = True) -> Run:
    prompt = torch.zeros(rows, 1, dtype=torch.long)
    return lambda: generate(model, prompt, max_tokens=length - 1, temperature=temperature, cache=cache)


def theirs(model: Any, length: int, temperature: float) -> Run:
    prompt = torch.zeros(1, 1, dtype=torch.long)
    options: dict[str, Any] = {"do_sample": True, "top_k": 0} if temperature else {"do_sample": False}
    options |= {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "max_new_tokens": length - 1}
    return lambda: model.generate(prompt, **options)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def cases(length: int) -> dict[str, tuple[bool, dict[str, tuple[Run, float | None]]]]:
    """For each case: whether it is slow, and its candidates, each with its goal: a ratio to the first, or None."""
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=length, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)
    config.bos_token_id = config.eos_token_id = None
    peer: Any = GPT2LMHeadModel(config).eval()
    gpt2 = GPT(gpt2_config(VOCABULARY, length, LAYERS, HEADS, WIDTH)).eval()
    course = GPT(GPTConfig(VOCABULARY, length, LAYERS, HEADS, WIDTH, zero_init=False)).eval()
    assert parameters(peer) == parameters(gpt2)
    halves = {}
    for name, model in {"GPT-2": gpt2, "course": course}.items():
        halves[name] = GPT(model.config).eval().bfloat16()
        halves[name].load_state_dict(model.state_dict())
    found: dict[str, tuple[bool, dict[str, tuple[Run, float | None]]]] = {
        "greedy": (
            False,
            {
                "Hugging Face, GPT-2": (theirs(peer, length, GREEDY), None),
                "ours, GPT-2": (ours(gpt2, length, GREEDY), 1.0),
                "ours, course": (ours(course, length, GREEDY), None),
            },
        ),
        "sampled": (
            False,
            {
                "Hugging Face, GPT-2": (theirs(peer, length, SAMPLED), None),
                "ours, GPT-2": (ours(gpt2, length, SAMPLED), 1.0),
                "ours, course": (ours(course, length, SAMPLED), None),
            },
        ),
        "cache": (
            True,
            {
                "GPT-2, no cache": (ours(gpt2, length, GREEDY, cache=False), None),
                "GPT-2, cache": (ours(gpt2, length, GREEDY), 1 / 6),
            },
        ),
    }
    for rows in (1, 16):
        found[f"format, {rows} {'row' if rows == 1 else 'rows'}"] = (
            False,
            {
                "GPT-2, float32": (ours(gpt2, length, GREEDY, rows=rows), None),
                "GPT-2, bfloat16": (ours(halves["GPT-2"], length, GREEDY, rows=rows), 1 / 1.5),
                "course, float32": (ours(course, length, GREEDY, rows=rows), None),
                "course, bfloat16": (ours(halves["course"], length, GREEDY, rows=rows), None),
            },
        )
    return found


def seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(case: str, candidates: dict[str, tuple[Run, float | None]], rounds: int, length: int) -> bool:
    """Prints a line for each candidate; True if a goal is missed."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(seconds(candidates[name][0]))
    first, missed = next(iter(candidates)), False
    for name, (_, goal) in candidates.items():
        ratio = statistics.median(mine / other for mine, other in zip(times[name], times[first], strict=True))
        missed |= goal is not None and ratio > goal
        columns = [case, name, f"{1000 * statistics.median(times[name]) / (length - 1):.2f}", f"{ratio:.3f}"]
        columns.append("" if goal is None else f"{goal:.3f}")
        print("| " + " | ".join(columns) + " |", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds of the case without a cache")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--case", action="append", help="only this case; may be given several times")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {options.length} tokens, 1 thread\n")
    print("| case | what | CPU ms for a token | ratio | goal |")
    print("|---|---|---:|---:|---:|")
    missed = False
    for case, (slow, candidates) in cases(options.length).items():
        if options.case is None or case in options.case:
            missed |= compare(case, candidates, options.slow_rounds if slow else options.rounds, options.length)
    return int(missed and options.check)


if __name__ == "__main__":
    sys.exit(main())
