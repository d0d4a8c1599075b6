"""Interpretation: looking inside a model while it reads.

Sizes: B sequences, T query positions, S key positions, H heads.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.layers.attention import MultiHeadAttention
from course_lib.training.measuring import evaluating


def attention_maps(model: nn.Module, *inputs: Any, **named_inputs: Any) -> dict[str, Float[Tensor, "B H T S"]]:
    """Runs ``model(*inputs, **named_inputs)`` once: what each of its attention layers reads from where, by its name.

    ``attention_maps(gpt, ids)["blocks.0.attention"]`` has row t for position t, and each row adds up to 1 (to 0, where
    nothing may be read). In a translation model, ``"decoder.5.cross"`` says which source token each target token looked
    at (Bahdanau et al. 2015, section 5.2.1). The model is as before afterwards: no dropout inside, and nothing stays
    attached to it.

    Raises ValueError for a model without ``MultiHeadAttention`` (as XLNet, whose attention has two streams), and where
    caches are given: a map needs the whole text at once.
    """
    maps: dict[str, Tensor] = {}

    def looker(name: str) -> Any:
        def look(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            assert isinstance(layer, MultiHeadAttention)
            if named.get("cache") is not None:
                raise ValueError("caches are given: leave them out, for a map needs the whole text at once")
            maps[name] = layer.weights(*args, **{key: value for key, value in named.items() if key != "cache"})

        return look

    layers = {name: module for name, module in model.named_modules() if isinstance(module, MultiHeadAttention)}
    if not layers:
        raise ValueError(f"model is a {type(model).__name__}, which has no MultiHeadAttention: there is nothing to see")
    hooks = [layer.register_forward_pre_hook(looker(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        with evaluating(model), torch.no_grad():
            model(*inputs, **named_inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return maps
