"""LoRA: a trained model learns something new, and its own weights stay as they are.

Hu et al. 2021, section 4. Beside a frozen matrix W stands a detour of two small ones, and the layer computes

    W x + α/R · B A x        (eq. 3)

A is random and B is zero at first, so the model begins as exactly what it was. Only A and B learn: R (D + E) numbers in
place of D E. The optimiser remembers so much less, and an adapter, which is A and B of all layers, is a small file.

Sizes: D numbers into a layer, E out of it, R the rank.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one
from course_lib.models.storage import CheckpointError, read_folder, write_folder
from course_lib.models.tensors import kind_of, model_tensors

AnyModel = TypeVar("AnyModel", bound=nn.Module)

_FILE = "adapter.safetensors"
_LORA = ("lora_a", "lora_b")


class LoRALinear(nn.Module):
    """``base``, which is frozen, and beside it α/R · B A. Dropout, if any, acts on what the detour reads.

    A comes from N(0, 1/D), so A x begins about as large as x. Raises ValueError for sizes outside their range.
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float | int,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(base, rank, alpha, dropout)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.base = base.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        device = "cpu" if generator is None else generator.device  # where it is drawn: the same numbers everywhere
        a = torch.randn(rank, base.in_features, generator=generator, device=device) * base.in_features**-0.5
        self.lora_a = nn.Parameter(a.to(base.weight))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.train(base.training)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        return self.base(x) + F.linear(F.linear(self.dropout(x), self.lora_a), self.lora_b) * self.scale

    @property
    def weight(self) -> Float[Tensor, "E D"]:
        """W + α/R · B A, for a layer that reads the matrix itself, as cross-attention reads the rows of ``qkv``.

        Raises ValueError in training with dropout: that acts on x, which is not seen here.
        """
        if self.training and self.dropout.p > 0:
            raise ValueError(
                f"dropout is {self.dropout.p}, but this layer's weight is read directly (as cross-attention does), and "
                "dropout of LoRA acts on its input: use dropout=0, or leave the layer out of targets"
            )
        return self.merged_weight()

    @property
    def bias(self) -> Float[Tensor, "E"] | None:
        return self.base.bias

    def merged_weight(self) -> Float[Tensor, "E D"]:
        """W + α/R · B A: what the layer computes without dropout, as one matrix."""
        return self.base.weight + self.lora_b @ self.lora_a * self.scale

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha}"


class MergedLinear(nn.Linear):
    """An ``nn.Linear`` whose weight is W + α/R · B A. It remembers the layer that it was made of."""

    def __init__(self, lora: LoRALinear) -> None:
        super().__init__(lora.in_features, lora.out_features, bias=lora.bias is not None, device="meta")
        self.weight = nn.Parameter(lora.merged_weight().detach(), requires_grad=False)
        self.bias = lora.base.bias
        self._made_of = [lora]  # in a list, so that it is no part of this module and its state_dict
        self.train(lora.training)

    def apart(self) -> LoRALinear:
        """The layer as it was, on the device where this one is now."""
        return self._made_of[0].to(self.weight).train(self.training)


def add_lora(
    model: AnyModel,
    *,
    rank: int,
    alpha: float | int,
    targets: Sequence[str] = ("qkv", "out"),
    also: Sequence[str] = (),
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> AnyModel:
    """Puts LoRA beside every ``nn.Linear`` that ``targets`` name. From then on only LoRA, and ``also``, learn.

    A name is that of a module, or the end of it: "qkv", "attention.qkv", "blocks.3.attention.qkv". ``also`` names
    modules that learn in full, as a new head: ("classifier",). The model itself is changed, and returned. Without a
    ``generator``, PyTorch's own random numbers are used. Optimisers are made afterwards.

    Raises ValueError for a name that fits nothing or no ``nn.Linear``, and for a weight that two modules share.
    """
    if lora_parameters(model) or _merged_layers(model):
        raise ValueError("model has LoRA already: give the model that it was before, or use load_adapter to replace it")
    linears = _linears(model, targets)
    learning = _named(model, "also", also)
    for name, linear in linears.items():
        if inside := [other for other in learning if f"{name}.".startswith(f"{other}.")]:
            raise ValueError(f"also names {inside[0]}, and targets {name} in it: a layer learns in full, or by LoRA")
        _check_sizes(linear, rank, alpha, dropout)
    for name, module in learning.items():
        if not any(True for _ in module.parameters()):
            raise ValueError(f"also names {name}, which has no parameter: there is nothing to learn")
    model.requires_grad_(False)
    _replace(
        model,
        {
            linear: LoRALinear(linear, rank=rank, alpha=alpha, dropout=dropout, generator=generator)
            for linear in linears.values()
        },
    )
    for module in learning.values():
        module.requires_grad_(True)
    return model


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every A and B, by name. (What learns is also what ``also`` named: ``requires_grad`` says so.)"""
    return {f"{name}.{which}": getattr(layer, which) for name, layer in _lora_layers(model).items() for which in _LORA}


def merge_lora(model: AnyModel) -> AnyModel:
    """Puts W + α/R · B A in the place of each layer with LoRA: the same outputs, as fast as without, the old names.

    Both are kept, so ``unmerge_lora`` gives W, A and B back bit for bit. Merged, a model can be saved like any other;
    it is not for training.
    """
    if not (layers := _lora_layers(model)):
        raise ValueError("model has no LoRA to merge: add_lora or load_adapter puts it in")
    return _replace(model, {layer: MergedLinear(layer) for layer in layers.values()})


def unmerge_lora(model: AnyModel) -> AnyModel:
    """The model as it was before ``merge_lora``."""
    if not (layers := _merged_layers(model)):
        raise ValueError("model has no merged LoRA: merge_lora makes it")
    return _replace(model, {layer: layer.apart() for layer in layers})


def save_adapter(folder: str | Path, model: nn.Module) -> None:
    """Write what learns to ``folder``: A and B, and what ``also`` named. The base itself is not written.

    It is a folder of ``course_lib.models.storage``, with the SHA-256 of all that was frozen, to know the base again.
    """
    _check_not_merged(model)
    layers = _lora_layers(model)
    if not layers:
        raise ValueError("model has no LoRA: there is no adapter to save")
    if still := [name for name, p in lora_parameters(model).items() if not p.requires_grad]:
        raise ValueError(f"model has {still[0]}, which is frozen: what learns is saved, so save before you freeze it")
    learned = {_base_name(n, layers): p.detach() for n, p in model.named_parameters() if p.requires_grad}
    settings = {n: {"rank": m.rank, "alpha": m.alpha, "dropout": m.dropout.p} for n, m in layers.items()}
    frozen = {name: tensor for name, tensor in _base_tensors(model).items() if name not in learned}
    write_folder(folder, {_FILE: learned}, {"adapter": "LoRA", "layers": settings, "base": _sha256(frozen)})


def load_adapter(folder: str | Path, model: AnyModel) -> AnyModel:
    """Put the adapter of ``save_adapter`` on its base, in the place of one that is there. Returns the model, changed.

    So one base in memory serves many tasks. Raises CheckpointError, and changes nothing, for a folder that is damaged
    and for the adapter of another base: other layers, other sizes, or other numbers in them.
    """
    tensors, facts = read_folder(folder)
    if facts.get("adapter") != "LoRA" or tensors.keys() != {_FILE}:
        raise CheckpointError(f"{folder} holds no adapter: it was not made by save_adapter")
    _check_not_merged(model)
    learned, settings = tensors[_FILE], facts["layers"]
    detours = {name: [learned.pop(f"{name}.{which}") for which in _LORA] for name in settings}
    old, own = _lora_layers(model), _base_tensors(model)
    linears = _checked_linears(folder, model, detours)
    for name, tensor in learned.items():
        if (here := kind_of(own.get(name))) != kind_of(tensor):
            _refuse(folder, f"for {name} it holds {kind_of(tensor)}, and the model {here}")
    if _sha256({name: tensor for name, tensor in own.items() if name not in learned}) != facts["base"]:
        _refuse(folder, "all sizes fit, but the weights that were frozen are other numbers here, or of another dtype")

    model.requires_grad_(False)
    _replace(model, {layer: layer.base for layer in old.values()})
    layers = {n: LoRALinear(linears[n], **settings[n], generator=torch.Generator()) for n in settings}
    with torch.no_grad():
        for name, (a, b) in detours.items():
            layers[name].lora_a.copy_(a)
            layers[name].lora_b.copy_(b)
        for name, tensor in learned.items():
            own[name].copy_(tensor)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learned)
    return _replace(model, {linears[name]: layer for name, layer in layers.items()})


def _lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def _merged_layers(model: nn.Module) -> list[MergedLinear]:
    return [module for module in model.modules() if isinstance(module, MergedLinear)]


def _check_not_merged(model: nn.Module) -> None:
    if _merged_layers(model):
        raise ValueError("model has merged LoRA: unmerge_lora(model) first")


def _replace(model: AnyModel, new: Mapping[nn.Module, nn.Module]) -> AnyModel:
    """Each key gives its place to its value, wherever in the model it stands: a shared layer has several places."""
    for parent in [*model.modules()]:
        for name, child in [*parent._modules.items()]:  # named_children gives a shared layer once
            if child is not None and child in new:
                setattr(parent, name, new[child])
    return model


def _named(model: nn.Module, argument: str, words: Sequence[str]) -> dict[str, nn.Module]:
    """The modules whose names are, or end in, one of the words; each word must be the name of some."""
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"{argument} must be a list of names, as ('qkv', 'out'), not {words!r:.60}")
    called = {word: {name for name, _ in model.named_modules() if f".{name}".endswith(f".{word}")} for word in words}
    if unknown := [word for word, names in called.items() if not names]:
        there = sorted({name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear)})
        raise ValueError(f"{argument} has {unknown[0]!r}, and no module is called so; nn.Linear are {', '.join(there)}")
    return {name: module for name, module in model.named_modules() if any(name in names for names in called.values())}


def _linears(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The ``nn.Linear`` that the targets name, each with a weight of its own."""
    if not (found := _named(model, "targets", targets)):
        raise ValueError("targets is empty: give at least one name, as ('qkv', 'out')")
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    linears: dict[str, nn.Linear] = {}
    for name, module in found.items():
        if not isinstance(module, nn.Linear):
            raise ValueError(f"targets name {name}, which is a {type(module).__name__}: LoRA is for nn.Linear")
        if owners[id(module.weight)] > 1:
            raise ValueError(f"targets name {name}, whose weight is tied to another module's: leave it out")
        linears[name] = module
    return linears


def _checked_linears(
    folder: str | Path, model: nn.Module, detours: Mapping[str, Sequence[Tensor]]
) -> dict[str, nn.Linear]:
    """The layers of the model, without LoRA, beside which A and B of an adapter fit."""
    modules = {n: m.base if isinstance(m, LoRALinear) else m for n, m in model.named_modules()}
    linears: dict[str, nn.Linear] = {}
    for name, (a, b) in detours.items():
        linear = modules.get(name)
        if not isinstance(linear, nn.Linear):
            _refuse(folder, f"it has LoRA for {name}, and the model has no nn.Linear of this name")
        if (a.shape[1], b.shape[0]) != (linear.in_features, linear.out_features):
            sizes = f"from {a.shape[1]} to {b.shape[0]} numbers, and here from {linear.in_features} to "
            _refuse(folder, f"{name} is a layer {sizes}{linear.out_features}")
        linears[name] = linear
    return linears


def _base_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors but A and B, by the names that they have without LoRA."""
    layers = _lora_layers(model)
    tensors = {_base_name(name, layers): tensor for name, tensor in model_tensors(model).items()}
    return {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in _LORA}


def _base_name(name: str, layers: Iterable[str]) -> str:
    """Without LoRA there is no ``base`` between a layer and its weight."""
    owner, _, last = name.rpartition(".")
    return f"{layer}.{last}" if (layer := owner.removesuffix(".base")) in layers else name


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {kind_of(tensors[name])} ".encode())
        digest.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _refuse(folder: str | Path, reason: str) -> NoReturn:
    raise CheckpointError(f"{folder} is the adapter of another base: {reason}. Give the model that it was trained on")


def _check_sizes(base: nn.Linear, rank: int, alpha: float | int, dropout: float) -> None:
    check_at_least_one("rank", rank)
    if rank > min(base.in_features, base.out_features):
        sizes = f"{base.out_features} x {base.in_features}"
        raise ValueError(f"rank is {rank}: a matrix of {sizes} has at most {min(base.in_features, base.out_features)}")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha is {alpha}: it must be above 0, as {2 * rank} (alpha / rank multiplies B A)")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}: it must be at least 0 and below 1")
