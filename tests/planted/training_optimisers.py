"""Bugs in the optimisers."""

from tests.planted.planting import Bug

OPTIMISERS = ("tests/training/test_optimisers.py",)

_O = "course_lib/training/optimisers.py"

BUGS = [
    Bug(
        "the betas are swapped",
        _O,
        '(beta1, beta2), lr = group["betas"]',
        '(beta2, beta1), lr = group["betas"]',
        OPTIMISERS,
    ),
    Bug(
        "the bias correction is one step late",
        _O,
        "(1 - beta2**step) ** 0.5",
        "(1 - beta2 ** (step + 1)) ** 0.5",
        OPTIMISERS,
    ),
    Bug("the mean is not corrected", _O, "-lr / (1 - beta1**step)", "-lr", OPTIMISERS),
    Bug(
        "eps is added under the correction",
        _O,
        "                torch._foreach_div_(roots, (1 - beta2**step) ** 0.5)\n"
        '                torch._foreach_add_(roots, group["eps"])\n',
        '                torch._foreach_add_(roots, group["eps"])\n'
        "                torch._foreach_div_(roots, (1 - beta2**step) ** 0.5)\n",
        OPTIMISERS,
    ),
    Bug(
        "decay is not scaled by the rate", _O, '1 - lr * group["weight_decay"]', '1 - group["weight_decay"]', OPTIMISERS
    ),
    Bug(
        "decay comes after the step",
        _O,
        "                torch._foreach_addcdiv_(params, means, roots, -lr / (1 - beta1**step))\n",
        '                torch._foreach_div_(params, 1 - lr * group["weight_decay"])\n'
        "                torch._foreach_addcdiv_(params, means, roots, -lr / (1 - beta1**step))\n"
        '                torch._foreach_mul_(params, 1 - lr * group["weight_decay"])\n',
        OPTIMISERS,
    ),
    Bug(
        "decay is part of the gradient",
        _O,
        '                torch._foreach_mul_(params, 1 - lr * group["weight_decay"])\n'
        "                torch._foreach_lerp_",
        '                torch._foreach_add_(grads, params, alpha=group["weight_decay"])\n'
        "                torch._foreach_lerp_",
        OPTIMISERS,
    ),
    Bug(
        "all parameters count the steps of the first",
        _O,
        'by_step.setdefault(state["step"], [])',
        'by_step.setdefault(optimiser.state[params[0]].get("step", 1), [])',
        OPTIMISERS,
    ),
    Bug("Nesterov is forgotten", _O, 'torch._foreach_lerp(grads, means, group["momentum"])', "means", OPTIMISERS),
    Bug(
        "Nesterov looks ahead the wrong way",
        _O,
        'torch._foreach_lerp(grads, means, group["momentum"])',
        'torch._foreach_lerp(means, grads, group["momentum"])',
        OPTIMISERS,
    ),
    Bug(
        "Muon's momentum is the gradient's weight",
        _O,
        'torch._foreach_lerp_(means, grads, 1 - group["momentum"])',
        'torch._foreach_lerp_(means, grads, group["momentum"])',
        OPTIMISERS,
    ),
    Bug(
        "Muon's step has the size of the smaller side",
        _O,
        "0.2 * max(shape) ** 0.5",
        "0.2 * min(shape) ** 0.5",
        OPTIMISERS,
    ),
    Bug(
        "Muon's decay has the size of its step",
        _O,
        '1 - group["lr"] * group["weight_decay"]',
        '1 - group["lr"] * 0.2 * max(shape) ** 0.5 * group["weight_decay"]',
        OPTIMISERS,
    ),
    Bug(
        "tall matrices stay turned",
        _O,
        "return x if wide is matrices else x.mT",
        "return x.reshape(matrices.shape)",
        OPTIMISERS,
    ),
    Bug(
        "one norm for a whole stack of matrices", _O, "wide.norm(dim=(-2, -1), keepdim=True)", "wide.norm()", OPTIMISERS
    ),
    Bug(
        "the iteration has one step too few",
        _O,
        "for step in range(steps):",
        "for step in range(steps - 1 or 1):",
        OPTIMISERS,
    ),
    Bug("a coefficient has another digit", _O, "3.4445, -4.7750, 2.0315", "3.4445, -4.7550, 2.0315", OPTIMISERS),
    Bug("a gradient of zero becomes NaN", _O, ".clamp(min=1e-7)", "", OPTIMISERS),
    Bug("Muon takes vectors too", _O, "if p.ndim != 2:", "if p.ndim > 2:", OPTIMISERS),
    Bug(
        "the head is orthogonalised too",
        _O,
        "blocks = [m for m in model.modules() if isinstance(m, nn.ModuleList)]",
        "blocks = [model]",
        OPTIMISERS,
    ),
    Bug(
        "embeddings and norms decay too",
        _O,
        "AdamW(rest, lr=adamw_lr)",
        "AdamW(rest, lr=adamw_lr, weight_decay=weight_decay)",
        OPTIMISERS,
    ),
]
