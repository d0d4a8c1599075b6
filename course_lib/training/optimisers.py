"""Optimisers: from a gradient to a step. AdamW for anything, Muon for the matrices inside the blocks.

AdamW: Kingma & Ba 2015, algorithm 1, with the weight decay of Loshchilov & Hutter 2019, algorithm 2 · Muon: Jordan
2024, https://kellerjordan.github.io/posts/muon/ · its size of step: Liu et al. 2025, section 2.2.

Both are ``torch.optim.Optimizer``: they have ``step``, ``zero_grad``, ``param_groups`` and ``state_dict`` as usual.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from course_lib.arguments import check_at_least_one


class AdamW(Optimizer):
    """Each parameter gets a step of its own size: the mean of its gradients over the root of their mean square.

    Raises ValueError for a rate, decay or beta outside its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        _check_rates(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {betas}: both must be at least 0 and below 1")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing here evaluates a model again
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for step, params in _by_step(self, group["params"]).items():
                grads = [p.grad for p in params if p.grad is not None]
                means = [self.state[p]["mean"] for p in params]
                squares = [self.state[p]["mean_square"] for p in params]
                # One call for a whole list of tensors: "foreach" saves the time of hundreds of small calls.
                torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
                torch._foreach_lerp_(means, grads, 1 - beta1)
                torch._foreach_mul_(squares, beta2)
                torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
                # Both start at 0, so early on they are too small: by 1 - beta^step (section 3 of the paper).
                roots = torch._foreach_sqrt(squares)
                torch._foreach_div_(roots, (1 - beta2**step) ** 0.5)
                torch._foreach_add_(roots, group["eps"])
                torch._foreach_addcdiv_(params, means, roots, -lr / (1 - beta1**step))


class Muon(Optimizer):
    """For matrices: the mean of the gradients, *orthogonalised*, so that no direction gets a larger step than others.

    ``lr`` is the size of the step as AdamW would make it: the orthogonal matrix is scaled by 0.2 · √max(rows, columns),
    which gives its entries the root mean square 0.2 that AdamW's steps typically have. Raises ValueError for anything
    but matrices: embeddings, norms and biases belong to AdamW.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, momentum: float = 0.95, weight_decay: float = 0.0, steps: int = 5
    ) -> None:
        _check_rates(lr=lr, weight_decay=weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}: it must be at least 0 and below 1")
        check_at_least_one("steps", steps)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.ndim != 2:
                raise ValueError(f"params hold a tensor of shape {tuple(p.shape)}: Muon is for matrices alone")

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: nothing here evaluates a model again
        for group in self.param_groups:
            same_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    same_shape.setdefault(p.shape, []).append(p)
            for shape, params in same_shape.items():
                grads = [p.grad for p in params if p.grad is not None]
                for p in params:
                    if not self.state[p]:
                        self.state[p]["mean"] = torch.zeros_like(p)
                means = [self.state[p]["mean"] for p in params]
                torch._foreach_lerp_(means, grads, 1 - group["momentum"])
                ahead = torch._foreach_lerp(grads, means, group["momentum"])  # Nesterov: one step ahead of the mean
                directions = orthogonalise(torch.stack(ahead), steps=group["steps"])
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                size = 0.2 * max(shape) ** 0.5
                torch._foreach_add_(params, list(directions.to(params[0].dtype)), alpha=-group["lr"] * size)


def orthogonalise(matrices: Float[Tensor, "*n R C"], *, steps: int = 5) -> Float[Tensor, "*n R C"]:
    """About U Vᵀ for each matrix U S Vᵀ: its singular values all become roughly 1, its directions stay.

    Roughly: 0.68 to 1.21 where they were more than 1/500 of the matrix' norm. Smaller ones grow up to 485 times.

    Newton and Schulz's iteration X ← (a + b XXᵀ + c (XXᵀ)²) X with Jordan's coefficients, which push small singular
    values up fast and never settle at exactly 1. We iterate on the small matrix XXᵀ alone and collect the factors, for
    all of them commute; X itself is multiplied once, at the end: the same result, and over the matrices of a block a
    third less work (half for those four times as long as wide, a quarter more for square ones).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT  # XXᵀ is the smaller of the two
    x = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)  # no singular value above 1
    gram, product = x @ x.mT, torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    for step in range(steps):
        factor = b * gram + c * (gram @ gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor @ product if step else factor
        if step < steps - 1:
            gram = factor @ gram @ factor
    x = product @ x
    return x if wide is matrices else x.mT


def muon_and_adamw(
    model: nn.Module,
    *,
    lr: float = 1e-2,
    adamw_lr: float = 1e-2,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
) -> list[Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for everything else (embeddings, head, norms, biases).

    Weight decay is for the matrices alone. A training of few steps may learn more with a shorter memory: momentum 0.85.
    """
    blocks = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    matrices = {m.weight: None for block in blocks for m in block.modules() if isinstance(m, nn.Linear)}
    rest = [p for p in model.parameters() if p not in matrices]
    return [Muon(matrices, lr=lr, momentum=momentum, weight_decay=weight_decay), AdamW(rest, lr=adamw_lr)]


def _by_step(optimiser: Optimizer, params: list[Tensor]) -> dict[int, list[Tensor]]:
    """Parameters that have a gradient, with their state made and their step counted, those of one step together."""
    by_step: dict[int, list[Tensor]] = {}
    for p in params:
        if p.grad is not None:
            state = optimiser.state[p]
            if not state:
                state.update(step=0, mean=torch.zeros_like(p), mean_square=torch.zeros_like(p))
            state["step"] += 1
            by_step.setdefault(state["step"], []).append(p)
    return by_step


def _check_rates(**rates: float) -> None:
    for name, value in rates.items():
        if not value >= 0:
            raise ValueError(f"{name} is {value}: it must be at least 0")
