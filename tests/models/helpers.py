"""Shared by the tests of the models: tiny sizes, weights by the names of Hugging Face and PyTorch, random ids."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.pretrained.folders import CONVERSIONS, load_pretrained
from tests.layers.helpers import assert_same, randomized, seeded

# No two sizes are equal: a swapped dimension cannot pass.
B, T, S, V, H, KV, D, F, LAYERS, CONTEXT = 2, 5, 7, 23, 6, 2, 24, 17, 3, 16

SIZES: dict[str, Any] = {
    "vocabulary": V,
    "context": CONTEXT,
    "layers": LAYERS,
    "heads": H,
    "width": D,
    "hidden": F,
}

Tensors = dict[str, Tensor]

in_both_formats = pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])


def gpt(**changes) -> GPT:
    """Tiny, in float64, with random weights: nothing is 0 or 1 that would hide what it does."""
    return randomized(GPT(GPTConfig(**(SIZES | changes)))).eval()


def transformer(**changes) -> Transformer:
    return randomized(Transformer(TransformerConfig(**(SIZES | changes)))).eval()


def shrunk(module: nn.Module, dtype: torch.dtype) -> Any:
    """Random weights of a third of the usual size: logits stay near 1, so that 1e-5 is some hundred roundings."""
    randomized(module)
    for parameter in module.parameters():
        parameter.data = (parameter.data / 3).to(dtype)
    return module.to(dtype).eval()


def random_ids(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(V, size, generator=seeded(seed))


def cuts(length: int) -> Iterator[list[tuple[int, int]]]:
    """Every way to cut a text into pieces: (start, end) of each."""
    for inner in itertools.product([False, True], repeat=length - 1):
        ends = [place + 1 for place, cut in enumerate(inner) if cut] + [length]
        yield list(zip([0, *ends[:-1]], ends, strict=True))


def load(model: nn.Module, tensors: Tensors) -> None:
    """Every parameter is given, none is left over; a tied one is given once."""
    own = dict(model.named_parameters())
    assert own.keys() == tensors.keys()
    for name, parameter in own.items():
        assert parameter.shape == tensors[name].shape
        parameter.data = tensors[name].detach().clone()


def gradients(model: nn.Module, loss: Tensor) -> Tensors:
    """By name. The gradient of a sum over all outputs, each with a factor of its own, tells them apart."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


# --- weights, or gradients, of others by our names -------------------------------------------------------------------


def _renamed(tensors: Tensors, names: dict[str, str]) -> Tensors:
    """``names`` maps the beginning of our name to the beginning of theirs."""
    return {
        ours + end: tensors[theirs + end]
        for ours, theirs in names.items()
        for end in (".weight", ".bias")
        if theirs + end in tensors
    }


def _stacked(tensors: Tensors, ours: str, theirs: list[str]) -> Tensors:
    return {
        ours + end: torch.cat([tensors[name + end] for name in theirs])
        for end in (".weight", ".bias")
        if theirs[0] + end in tensors
    }


def from_gpt2(tensors: Tensors, layers: int = LAYERS) -> Tensors:
    """Its matrices are stored as (in, out): ``Conv1D``."""
    found = _renamed(
        tensors,
        {"embedding": "transformer.wte", "positions.table": "transformer.wpe", "norm": "transformer.ln_f"},
    )
    for i in range(layers):
        ours, theirs = f"blocks.{i}.", f"transformer.h.{i}."
        parts = {
            "attention.qkv": "attn.c_attn",
            "attention.out": "attn.c_proj",
            "feedforward.up": "mlp.c_fc",
            "feedforward.down": "mlp.c_proj",
        }
        matrices = _renamed(tensors, {ours + a: theirs + b for a, b in parts.items()})
        found |= {name: tensor.mT if name.endswith("weight") else tensor for name, tensor in matrices.items()}
        found |= _renamed(
            tensors, {ours + "attention_norm": theirs + "ln_1", ours + "feedforward_norm": theirs + "ln_2"}
        )
    return found


def from_llama(tensors: Tensors, layers: int = LAYERS) -> Tensors:
    """Llama, and what is built alike: Mistral, Qwen3."""
    found = _renamed(tensors, {"embedding": "model.embed_tokens", "norm": "model.norm", "unembedding": "lm_head"})
    for i in range(layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        found |= _stacked(tensors, ours + "attention.qkv", [f"{theirs}self_attn.{part}_proj" for part in "qkv"])
        found |= _stacked(tensors, ours + "feedforward.up", [theirs + "mlp.gate_proj", theirs + "mlp.up_proj"])
        parts = {
            "attention.out": "self_attn.o_proj",
            "feedforward.down": "mlp.down_proj",
            "attention_norm": "input_layernorm",
            "feedforward_norm": "post_attention_layernorm",
        }
        found |= _renamed(tensors, {ours + a: theirs + b for a, b in parts.items()})
    return found


def from_marian(tensors: Tensors, layers: int = LAYERS) -> Tensors:
    found = {"embedding.weight": tensors["model.shared.weight"]}
    for half in ("encoder", "decoder"):
        for i in range(layers):
            ours, theirs = f"{half}.{i}.", f"model.{half}.layers.{i}."
            for a, b in {"attention": "self_attn", "cross": "encoder_attn"}.items():
                if f"{theirs}{b}.q_proj.weight" in tensors:
                    found |= _stacked(tensors, f"{ours}{a}.qkv", [f"{theirs}{b}.{part}_proj" for part in "qkv"])
                    found |= _renamed(
                        tensors,
                        {f"{ours}{a}.out": f"{theirs}{b}.out_proj", f"{ours}{a}_norm": f"{theirs}{b}_layer_norm"},
                    )
            parts = {"feedforward.up": "fc1", "feedforward.down": "fc2", "feedforward_norm": "final_layer_norm"}
            found |= _renamed(tensors, {ours + a: theirs + b for a, b in parts.items()})
    return found


def from_torch(tensors: Tensors, layers: int = LAYERS) -> Tensors:
    """The layers of ``nn.Transformer``; embeddings and head it has none."""
    found = _renamed(tensors, {"encoder_norm": "encoder.norm", "decoder_norm": "decoder.norm"})
    for half in ("encoder", "decoder"):
        for i in range(layers):
            ours, theirs = f"{half}.{i}.", f"{half}.layers.{i}."
            parts = {
                "attention.out": "self_attn.out_proj",
                "cross.out": "multihead_attn.out_proj",
                "feedforward.up": "linear1",
                "feedforward.down": "linear2",
                "attention_norm": "norm1",
                "feedforward_norm": "norm2" if half == "encoder" else "norm3",
            }
            if half == "decoder":
                parts["cross_norm"] = "norm2"
            found |= _renamed(tensors, {ours + a: theirs + b for a, b in parts.items()})
            for a, b in {"attention": "self_attn", "cross": "multihead_attn"}.items():
                for end in ("weight", "bias"):
                    if f"{theirs}{b}.in_proj_{end}" in tensors:
                        found[f"{ours}{a}.qkv.{end}"] = tensors[f"{theirs}{b}.in_proj_{end}"]
    return found


# --- models in Hugging Face's folders --------------------------------------------------------------------------------


def lively(module: nn.Module, dtype: torch.dtype) -> Any:
    """``shrunk``, but the scales of norms are near 1: otherwise, what layers add would fade from norm to norm."""
    shrunk(module, dtype)
    for name, parameter in module.named_parameters():
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.data += 1
    return module


def converted(theirs: Any, folder: Path) -> Any:
    """Ours, by way of the disk."""
    theirs.save_pretrained(folder)
    return load_pretrained(folder)


def by_our_names(tensors: Tensors, architecture: str, config: Any) -> Tensors:
    """Weights, or gradients."""
    table = CONVERSIONS[architecture].table(config)
    return {e.ours: e.join([tensors[name] for name in e.theirs]) for e in table if set(e.theirs) <= tensors.keys()}


def has_gradients(mine: Tensors, theirs: Tensors, atol: float) -> None:
    """Those of each tensor of theirs, by our names."""
    assert theirs
    for name, gradient in theirs.items():
        assert gradient.any()
        assert_same(mine[name], gradient, atol=atol * max(1.0, float(gradient.abs().max())))


def used_gradients(model: nn.Module, loss: Tensor) -> Tensors:
    """Those that are not None: ``gradients`` of a model that has parts for other tasks, too."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}
