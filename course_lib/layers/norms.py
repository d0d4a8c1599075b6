"""Norms: each token's vector is brought back to one size, so that forty layers train as well as four.

LayerNorm: Ba et al. 2016, section 3 · RMSNorm: Zhang & Sennrich 2019, eq. 4. Statistics are over the last dimension
alone: a token is normed by itself, whatever stands beside it in the batch.

The functions say what is computed; the modules own the weights, and call PyTorch's fused kernels where there are any.

Sizes: D model width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one


def layer_norm(
    x: Float[Tensor, "*B D"],
    weight: Float[Tensor, "D"] | None = None,
    bias: Float[Tensor, "D"] | None = None,
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "*B D"]:
    """Mean 0 and variance 1, then a learned scale and shift. ``eps`` keeps a constant vector from becoming 0 / 0.

    Half precision is squared and averaged in float32.
    """
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    y = y - y.mean(dim=-1, keepdim=True)
    y = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + eps)  # variance over D, not D - 1
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias).to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*B D"], weight: Float[Tensor, "D"] | None = None, *, eps: float = 1e-6
) -> Float[Tensor, "*B D"]:
    """Root mean square 1, then a learned scale. LayerNorm without the mean: less to compute, and as good.

    Half precision is squared and averaged in float32.
    """
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    y = y * torch.rsqrt((y * y).mean(dim=-1, keepdim=True) + eps)
    return (y if weight is None else y * weight).to(x.dtype)


class LayerNorm(nn.Module):
    """``layer_norm`` with its weights, which start as 1 and 0 (GPT-2, BERT, the Transformer of 2017)."""

    def __init__(self, width: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        _check(width, eps)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """``rms_norm`` with its weights, which start as 1 (Llama, T5), or without any (``scale=False``)."""

    def __init__(self, width: int, *, eps: float = 1e-6, scale: bool = True) -> None:
        super().__init__()
        _check(width, eps)
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.ones(width)) if scale else None

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        if x.device.type == "cpu":  # where PyTorch has no fused version, and its parts take longer than these
            return rms_norm(x, self.weight, eps=self.eps)
        return F.rms_norm(x, (self.width,), self.weight, self.eps)


def _check(width: int, eps: float) -> None:
    check_at_least_one("width", width)
    if not eps > 0:
        raise ValueError(f"eps is {eps}: it must be above 0, as 1e-6")
