"""What all models share: what every configuration says, the parts that it can name, how weights start and logits end.

A configuration holds sizes and *names*, so it can be saved as JSON beside the weights. Each name stands here with what
makes the part. To try a part of your own, give it a name before you build the model:

    NORMS["none"] = lambda config: nn.Identity()
    model = GPT(GPTConfig(vocabulary=65, norm="none"))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one, holds_integers, in_error_words
from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.block import PostNormBlock, PreNormBlock
from course_lib.layers.feedforward import FeedForward, GatedFeedForward, gelu_tanh, relu_squared
from course_lib.layers.norms import LayerNorm, RMSNorm
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


@dataclass(frozen=True)
class Config:
    """Sizes and names that all models share. ``hidden`` is F, the feed-forward width: 4 D where it is not given.
    ``key_width`` is K, the width of a head: D / H where it is not given.

    ``context`` is the longest text in training; only learned positions end there. ``logit_cap`` keeps logits
    small: see ``soft_capped``. Raises ValueError for sizes that do not fit and unknown names.
    """

    vocabulary: int
    context: int = 256
    layers: int = 6
    heads: int = 6
    width: int = 384
    hidden: int | None = None
    key_width: int | None = None
    positions: str = "rotary"
    norm: str = "rms-plain"
    feedforward: str = "relu2"
    block: str = "pre"
    qk_norm: bool = True
    bias: bool = False
    tied: bool = False
    zero_init: bool = True
    logit_cap: float | None = 15.0
    dropout: float = 0.0
    rotary_base: float = 10_000.0
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("vocabulary", "context", "layers", "heads", "width"):
            check_at_least_one(name, getattr(self, name))
        for name in ("hidden", "key_width"):
            if getattr(self, name) is not None:
                check_at_least_one(name, getattr(self, name))
        if self.key_width is None and self.width % self.heads:
            raise ValueError(
                f"heads is {self.heads}: width ({self.width}) must be a multiple of it, or key_width be given"
            )
        if self.logit_cap is not None and not self.logit_cap > 0:
            raise ValueError(f"logit_cap is {self.logit_cap}: it must be above 0, or None")
        for name, usual in (("rotary_base", "10_000"), ("norm_eps", "1e-6")):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0, as {usual}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and below 1")
        tables: dict[str, dict[str, Any]]
        tables = {"positions": POSITIONS, "norm": NORMS, "feedforward": FEEDFORWARDS, "block": BLOCKS}
        for argument, table in tables.items():
            if (name := getattr(self, argument)) not in table:
                raise ValueError(f"{argument} is {name!r}: it must be one of {', '.join(map(repr, table))}")

    @property
    def head_width(self) -> int:
        return self.width // self.heads if self.key_width is None else self.key_width

    @property
    def hidden_width(self) -> int:
        return 4 * self.width if self.hidden is None else self.hidden


NORMS: dict[str, Callable[[Config], nn.Module]] = {
    "layer": lambda c: LayerNorm(c.width, eps=c.norm_eps, bias=c.bias),
    "rms": lambda c: RMSNorm(c.width, eps=c.norm_eps),
    "rms-plain": lambda c: RMSNorm(c.width, eps=c.norm_eps, scale=False),
}

# The second argument: whether the layers are causal. T5 counts distances to both sides where they are not.
POSITIONS: dict[str, Callable[[Config, bool], PositionScheme]] = {
    "none": lambda c, causal: NoPositions(),
    "sinusoidal": lambda c, causal: Sinusoidal(c.width),
    "learned": lambda c, causal: Learned(c.context, c.width),
    "rotary": lambda c, causal: Rotary(c.head_width, base=c.rotary_base),
    "alibi": lambda c, causal: ALiBi(c.heads),
    "t5": lambda c, causal: T5Bias(c.heads, bidirectional=not causal),
    "transformer-xl": lambda c, causal: TransformerXL(c.width, c.heads, c.head_width),
}

FEEDFORWARDS: dict[str, Callable[[Config], nn.Module]] = {
    "relu": lambda c: FeedForward(c.width, c.hidden_width, F.relu, bias=c.bias, dropout=c.dropout),
    "gelu": lambda c: FeedForward(c.width, c.hidden_width, F.gelu, bias=c.bias, dropout=c.dropout),
    "gelu-tanh": lambda c: FeedForward(c.width, c.hidden_width, gelu_tanh, bias=c.bias, dropout=c.dropout),
    "relu2": lambda c: FeedForward(c.width, c.hidden_width, relu_squared, bias=c.bias, dropout=c.dropout),
    "swiglu": lambda c: GatedFeedForward(c.width, c.hidden_width, F.silu, bias=c.bias, dropout=c.dropout),
    "geglu-tanh": lambda c: GatedFeedForward(c.width, c.hidden_width, gelu_tanh, bias=c.bias, dropout=c.dropout),
}

BLOCKS: dict[str, type[PreNormBlock]] = {"pre": PreNormBlock, "post": PostNormBlock}


@dataclass(frozen=True)
class ClassicConfig(Config):
    """The parts that the models of 2017 to 2019 share: post-norm, LayerNorm, biases, a tied head, dropout 0.1."""

    norm: str = "layer"
    block: str = "post"
    qk_norm: bool = False
    bias: bool = True
    tied: bool = True
    zero_init: bool = False
    logit_cap: float | None = None
    dropout: float = 0.1


def block_of(
    config: Config,
    positions: PositionScheme,
    *,
    cross: bool = False,
    kv_heads: int | None = None,
    scale: float | None = None,
) -> PreNormBlock:
    """A residual block of the parts that the configuration names, with cross-attention where ``cross`` is True."""
    c = config

    def attention(positions: PositionScheme | None) -> MultiHeadAttention:
        return MultiHeadAttention(
            c.width,
            c.heads,
            kv_heads=kv_heads,
            head_width=c.head_width,
            positions=positions,
            qk_norm=RMSNorm(c.head_width, eps=c.norm_eps, scale=False) if c.qk_norm else None,
            bias=c.bias,
            dropout=c.dropout,
            scale=scale,
        )

    return BLOCKS[c.block](
        attention(positions),
        FEEDFORWARDS[c.feedforward](c),
        lambda: NORMS[c.norm](c),
        cross=attention(None) if cross else None,
        dropout=c.dropout,
    )


def soft_capped(logits: Float[Tensor, "*B V"], cap: float | None) -> Float[Tensor, "*B V"]:
    """In float32 at least. With a cap c, x becomes c · tanh(x / c): never beyond ±c (Gemma Team 2024, section 2)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if cap is None else cap * torch.tanh(logits / cap)


def check_ids(name: str, ids: Tensor, vocabulary: int) -> None:
    """Raises TypeError for anything but integers, (B, T), and ValueError for ids outside the vocabulary."""
    if not holds_integers(ids) or ids.ndim != 2 or 0 in ids.shape:
        raise TypeError(f"{name} must be a tensor of integers with shape (B, T), not {in_error_words(ids)}")
    if ids.device.type == "cpu" and not torch.compiler.is_compiling():  # a GPU would have to stop for this
        lowest, highest = ids.long().aminmax()
        if lowest < 0 or highest >= vocabulary:
            raise ValueError(f"{name} run from {lowest} to {highest}: they must be from 0 to {vocabulary - 1}")


def initialise(model: nn.Module, layers: int, *, std: float = 0.02, zero_outputs: bool = False) -> None:
    """Weights from N(0, std²), biases 0 (Radford et al. 2018, section 4.1).

    What is added to the straight line of the blocks starts smaller, by √(number of additions) (GPT-2, section 2.3), or
    at zero: then each block begins as the identity (as in Zhang et al. 2019, Fixup).
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, weight in model.named_parameters():
        if name.endswith(("attention.out.weight", "cross.out.weight", "feedforward.down.weight")):
            additions = 3 if "decoder" in name else 2
            if zero_outputs:
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=std / (additions * layers) ** 0.5)
