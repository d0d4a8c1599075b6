"""Shared by the tests of the layers: random numbers, loops that say the same slowly, and a layer with any scheme."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jaxtyping
import torch
from torch import Tensor, nn

from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.positions import (
    ALiBi,
    Learned,
    NoPositions,
    PositionScheme,
    Rotary,
    Sinusoidal,
    T5Bias,
    TransformerXL,
)

# No two sizes are equal, and none is a multiple of another by accident: a swapped dimension cannot pass.
B, T, S, HEADS, KV_HEADS, K, WIDTH = 2, 5, 7, 6, 3, 4, 14


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(size, generator=seeded(seed), dtype=torch.float64).to(dtype)


def random_mask(*size: int, seed: int = 0) -> Tensor:
    """About six of ten allowed, and at least one in each row."""
    mask = torch.rand(size, generator=seeded(seed)) < 0.6
    mask[..., 0] |= ~mask.any(dim=-1)
    return mask


def assert_same(result: Tensor, expected: Tensor, *, atol: float = 1e-12) -> None:
    """In float64, 1e-12 is thousands of roundings of the numbers here, which are below 100. A bug moves the first
    digits."""
    torch.testing.assert_close(result, expected, rtol=0, atol=atol)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """As a learner runs it: without the run-time shape checks, which would answer before our own error texts do."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def wrong(value: object) -> Any:
    """A value of a wrong type, meant so: mypy looks away."""
    return value


def attention_by_loops(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs and weights, one number after the other, in float64. (B, H, T, K), and keys may have fewer heads."""
    q, k, v = (part.detach().double() for part in (q, k, v))
    (rows, heads, length, width), (groups, key_length) = q.shape, k.shape[1:3]
    scale = 1 / math.sqrt(width) if scale is None else scale
    weights = torch.zeros(rows, heads, length, key_length, dtype=torch.float64)
    out = torch.zeros(rows, heads, length, v.shape[-1], dtype=torch.float64)
    allowed = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask.expand(weights.shape)
    added = torch.zeros_like(weights) if bias is None else bias.detach().double().expand(weights.shape)
    for b, h, t in itertools.product(range(rows), range(heads), range(length)):
        g = h * groups // heads
        seen = [
            s
            for s in range(key_length)
            if allowed[b, h, t, s] and (not causal or key_length - 1 - s >= length - 1 - t)  # as far from the end
        ]
        scores = [float(q[b, h, t] @ k[b, g, s]) * scale + float(added[b, h, t, s]) for s in seen]
        top = max(scores, default=0.0)
        total = sum(math.exp(score - top) for score in scores)
        for s, score in zip(seen, scores, strict=True):
            weights[b, h, t, s] = math.exp(score - top) / total
            out[b, h, t] += weights[b, h, t, s] * v[b, g, s]
    return out, weights


SCHEMES: dict[str, Callable[[], PositionScheme]] = {
    "no positions": lambda: NoPositions(),
    "sinusoidal": lambda: Sinusoidal(WIDTH),
    "learned": lambda: Learned(40, WIDTH),
    "rotary, half-split": lambda: Rotary(K),
    "rotary, interleaved": lambda: Rotary(K, base=100.0, pairing="interleaved"),
    "ALiBi": lambda: ALiBi(HEADS),
    "T5, one direction": lambda: T5Bias(HEADS, bidirectional=False, buckets=6, max_distance=5),
    "T5, both directions": lambda: T5Bias(HEADS, bidirectional=True, buckets=8, max_distance=5),
    "Transformer-XL": lambda: TransformerXL(10, HEADS, K),
}
RELATIVE = [name for name in SCHEMES if name.split(",")[0] in ("rotary", "ALiBi", "T5", "Transformer-XL")]


M = TypeVar("M", bound=nn.Module)


def randomized(module: M, seed: int = 0) -> M:
    """All parameters random, in float64. (As made, u and v of Transformer-XL are 0, and would hide what they do.)"""
    generator = seeded(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5
    return module


class Layer(nn.Module):
    """One attention layer with positions of any scheme: those of the input are added here."""

    def __init__(self, scheme: str, *, kv_heads: int = KV_HEADS, **options) -> None:
        super().__init__()
        self.positions: PositionScheme = SCHEMES[scheme]()
        self.attention = MultiHeadAttention(
            WIDTH, HEADS, kv_heads=kv_heads, head_width=K, positions=self.positions, bias=True, **options
        )
        randomized(self, seed=5)

    def forward(
        self, x: Tensor, *, positions: Tensor | None = None, cache: KeyValueCache | None = None, **options
    ) -> Tensor:
        start = cache.length if cache is not None else 0
        places = torch.arange(start, start + x.shape[1], device=x.device) if positions is None else positions
        return self.attention(self.positions.add(x, places), positions=positions, cache=cache, **options)
