"""One training step of our GPT against Hugging Face's GPT-2 and a stack of PyTorch's own layers, in one run.

    python benchmarks/bench_training.py [--rounds 15] [--sizes 0.8M 10.7M] [--threads 1] [--device cpu] [--check]

A step is forward, loss, backward, clipping and the optimiser (AdamW everywhere: ours for our models, PyTorch's for the
others; the last line has Muon). All models have the same depth, width, heads and context, and get the same batch.
"GPT, parts of GPT-2" is like for like; "GPT, the course's recipe" is what chapter 05 trains.

Each round gives every candidate one step, in another order each time. The table shows medians over the rounds, of CPU
seconds (all threads together; on a GPU seconds on the clock) and of ratios within a round, so that a busy machine
disturbs the ratios little. With --check the exit status is 1 if a limit is missed.

On a GPU, ``--sizes 124M --device cuda`` trains GPT-2's small size in bfloat16, ours compiled and not, beside Hugging
Face's, and prints tokens per second and the utilisation of the model's floating-point operations (6 N per token and 12
L D T for attention, PaLM's appendix B) of ``--peak`` TFLOP/s.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from course_lib.models.decoder import GPT, GPTConfig, gpt2_config
from course_lib.objectives.causal import cross_entropy
from course_lib.training.optimisers import AdamW, muon_and_adamw


@dataclass(frozen=True)
class Size:
    vocabulary: int
    context: int
    layers: int
    heads: int
    width: int
    batch: int

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return self.vocabulary, self.context, self.layers, self.heads, self.width


SIZES = {
    "0.8M": Size(65, 64, 4, 4, 128, batch=12),
    "10.7M": Size(65, 256, 6, 6, 384, batch=4),
    "124M": Size(50304, 1024, 12, 12, 768, batch=16),
}
HUGGING_FACE, STACK = "Hugging Face GPT-2 (sdpa)", "nn.TransformerEncoder"
LIKE_FOR_LIKE, RECIPE, BFLOAT16 = (
    "GPT, parts of GPT-2",
    "GPT, the course's recipe",
    "GPT, the course's recipe, bfloat16",
)
# (size, candidate, what it is compared with): the ratio of time may be at most this.
LIMITS = {
    ("0.8M", LIKE_FOR_LIKE, HUGGING_FACE): 1 / 1.25,
    ("0.8M", LIKE_FOR_LIKE, STACK): 1 / 1.1,
    ("0.8M", RECIPE, HUGGING_FACE): 1 / 1.25,
    ("0.8M", RECIPE, STACK): 1 / 1.1,
    ("10.7M", LIKE_FOR_LIKE, HUGGING_FACE): 1.0,
    ("10.7M", RECIPE, HUGGING_FACE): 1.0,
    ("0.8M", BFLOAT16, RECIPE): 1 / 1.15,
    ("10.7M", BFLOAT16, RECIPE): 1 / 2.0,
}


class Stack(nn.Module):
    """What one builds from PyTorch's own layers: pre-norm, GELU, learned positions, the head tied to the embedding."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            size.width, size.heads, 4 * size.width, 0.0, F.gelu, batch_first=True, norm_first=True
        )
        self.embedding = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        norm = nn.LayerNorm(size.width)
        self.encoder = nn.TransformerEncoder(layer, size.layers, norm, enable_nested_tensor=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(size.context))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return F.linear(self.encoder(x, mask=self.mask, is_causal=True), self.embedding.weight)


def hugging_face(size: Size) -> Callable[[Tensor], Tensor]:
    config = GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=size.context,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    config._attn_implementation = "sdpa"
    return GPT2LMHeadModel(config)


def candidates(size: Size, device: str) -> dict[str, Callable[[Tensor, Tensor], None]]:
    """Name -> a function that does one step on (ids, targets)."""

    def step_of(
        model: nn.Module, optimisers: list[torch.optim.Optimizer], ours: bool, half: bool
    ) -> Callable[[Tensor, Tensor], None]:
        parameters = list(model.parameters())

        def step(ids: Tensor, targets: Tensor) -> None:
            with torch.autocast(device, torch.bfloat16, enabled=half):
                logits = model(ids)
                if not isinstance(logits, Tensor):
                    logits = logits.logits
                if ours:
                    loss = cross_entropy(logits, targets)
                else:
                    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()

        return step

    def make(kind: str, half: bool, muon: bool = False, compiled: bool = False) -> Callable[[Tensor, Tensor], None]:
        torch.manual_seed(0)
        model: nn.Module
        match kind:
            case "recipe":
                vocabulary, context, layers, heads, width = size.shape
                model = GPT(GPTConfig(vocabulary, context=context, layers=layers, heads=heads, width=width))
            case "gpt2":
                model = GPT(gpt2_config(*size.shape))
            case "stack":
                model = Stack(size)
            case _:
                model = hugging_face(size)  # type: ignore[assignment]
        model = model.to(device)
        ours = kind in ("recipe", "gpt2")
        if muon:
            optimisers = muon_and_adamw(model)
        elif ours:
            optimisers = [AdamW(model.parameters(), 1e-3)]
        else:
            optimisers = [torch.optim.AdamW(model.parameters(), 1e-3)]
        if compiled:
            model.compile()
        return step_of(model, optimisers, ours, half)

    if device == "cpu":
        return {
            HUGGING_FACE: make("hugging face", False),
            STACK: make("stack", False),
            LIKE_FOR_LIKE: make("gpt2", False),
            RECIPE: make("recipe", False),
            BFLOAT16: make("recipe", True),
            "GPT, the course's recipe, Muon": make("recipe", False, muon=True),
        }
    return {
        HUGGING_FACE: make("hugging face", True),
        LIKE_FOR_LIKE: make("gpt2", True),
        LIKE_FOR_LIKE + ", compiled": make("gpt2", True, compiled=True),
        RECIPE: make("recipe", True),
        RECIPE + ", compiled": make("recipe", True, compiled=True),
    }


def seconds(step: Callable[[Tensor, Tensor], None], ids: Tensor, targets: Tensor) -> float:
    if ids.is_cuda:
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(ids, targets)
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    step(ids, targets)
    return time.process_time() - start


def measure(size: Size, rounds: int, device: str) -> dict[str, list[float]]:
    steps = candidates(size, device)
    generator, order = torch.Generator().manual_seed(0), random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(-3, rounds):
        ids = torch.randint(size.vocabulary, (size.batch, size.context + 1), generator=generator).to(device)
        for name in order.sample(list(steps), len(steps)):
            took = seconds(steps[name], ids[:, :-1], ids[:, 1:])
            if number >= 0:
                taken[name].append(took)
    return taken


def utilisation(size: Size, tokens_per_second: float, peak: float) -> float:
    parameters = 12 * size.layers * size.width**2 + size.vocabulary * size.width
    per_token = 6 * parameters + 12 * size.layers * size.width * size.context
    return tokens_per_second * per_token / (peak * 1e12)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", nargs="+", default=["0.8M", "10.7M"], choices=SIZES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU in bfloat16 (989: H100, H200)")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    missed = 0
    for name in arguments.sizes:
        size = SIZES[name]
        taken = measure(size, arguments.rounds, arguments.device)
        print(f"\n{name}: {size}")
        print(f"{'':36} {'ms a step':>9} {'tokens/s':>9}  times the speed of Hugging Face, of {STACK}")
        for candidate, times in taken.items():
            median = statistics.median(times)
            rate = size.batch * size.context / median
            row = f"{candidate:36} {median * 1e3:9.1f} {rate:9.0f}"
            for peer in (HUGGING_FACE, STACK):
                if peer in taken:
                    row += f"  {statistics.median(a / b for a, b in zip(taken[peer], times, strict=True)):5.2f}"
            if arguments.device == "cuda":
                row += f"  utilisation {utilisation(size, rate, arguments.peak):.1%}"
            print(row)
        for (of_size, candidate, peer), limit in LIMITS.items():
            if of_size == name and arguments.device == "cpu":
                ratio = statistics.median(a / b for a, b in zip(taken[candidate], taken[peer], strict=True))
                kept = "kept" if ratio <= limit else "MISSED"
                missed += ratio > limit
                print(f"  {kept:6} {candidate} / {peer}: {ratio:.3f} of the time, at most {limit:.3f}")
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
