"""Feed-forward: what attention has collected at a position is worked on, at each position alone.

Two matrices with something bent between them (Vaswani et al. 2017, section 3.3, eq. 2). What is bent, and how: ReLU in
2017, GELU in BERT and GPT-2 (Hendrycks & Gimpel 2016, section 2), squared ReLU (So et al. 2021, section 4.1), a gate in
Llama (SwiGLU: Shazeer 2020, eq. 6). Most of a Transformer's parameters stand here.

Sizes: D model width, F feed-forward width.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one

Activation = Callable[[Tensor], Tensor]


class _ReluSquared(torch.autograd.Function):
    """The gradient of max(0, x)² is 2 max(0, x): by hand it takes two thirds of the time that autograd takes on a CPU.

    What is kept is x, not max(0, x), so that this gradient has a gradient too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        r = F.relu(x)
        return r * r

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [x] = ctx.saved_tensors
        return 2 * F.relu(x) * gradients[0]


def relu_squared(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """max(0, x)²: nearly as cheap as ReLU, and without its kink at 0."""
    return _ReluSquared.apply(x)


def gelu_tanh(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """GELU as GPT-2 computes it, by a formula with tanh. It differs from the exact x · Φ(x) in the fourth digit."""
    return F.gelu(x, approximate="tanh")


class FeedForward(nn.Module):
    """Eq. 2: W₂ · activation(W₁ x). Dropout, if any, stands behind the activation, as in PyTorch and tensor2tensor."""

    def __init__(
        self, width: int, hidden: int, activation: Activation = F.relu, *, bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_at_least_one("width", width)
        check_at_least_one("hidden", hidden)
        self.activation = activation
        self.up = nn.Linear(width, hidden, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return self.down(self.dropout(self.activation(self.up(x))))


class GatedFeedForward(nn.Module):
    """W₂ · (activation(W x) · V x): one half decides how much of the other half passes. With SiLU it is SwiGLU.

    Three matrices instead of two: for the same number of parameters, ``hidden`` is 2/3 of what ``FeedForward`` has.
    ``up`` holds W and V in one matrix, W first.
    """

    def __init__(
        self, width: int, hidden: int, activation: Activation = F.silu, *, bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_at_least_one("width", width)
        check_at_least_one("hidden", hidden)
        self.activation = activation
        self.up = nn.Linear(width, 2 * hidden, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(self.dropout(self.activation(gate) * value))
