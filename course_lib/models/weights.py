"""Models on disk: the weights, and the facts from which the same model is built again. A few small ones ship.

``save_model`` writes a folder of ``course_lib.models.storage``: safetensors and JSON with their SHA-256, no pickle. A
model that writes text is of no use without its tokenizer: ``save_with_tokenizer`` puts both in one folder, and
``load_with_tokenizer`` refuses a pair that does not belong together. What ships is in ``weights/`` beside this file.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.data.files import write_whole
from course_lib.data.tokenizers import BytePairTokenizer, CharacterTokenizer, Tokenizer
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.parts import Config
from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.models.storage import CheckpointError, read_folder, write_folder
from course_lib.models.tensors import load_model_tensors, model_tensors

SHIPPED = Path(__file__).parent / "weights"

MODELS: dict[str, tuple[type[nn.Module], type[Config]]] = {
    "GPT": (GPT, GPTConfig),
    "Transformer": (Transformer, TransformerConfig),
    "BERT": (BERT, BERTConfig),
    "XLNet": (XLNet, XLNetConfig),
}
_TOKENIZERS: dict[str, type[Tokenizer]] = {t.__name__: t for t in (BytePairTokenizer, CharacterTokenizer)}


def save_model(folder: str | Path, model: nn.Module, **facts: Any) -> None:
    """Write the model to ``folder``, with any ``facts`` about it that JSON can hold: corpus, seed, steps, loss.

    Raises TypeError for a model of another kind than those in ``MODELS`` (a compiled or wrapped one: give what is
    inside), ValueError for one with LoRA beside its layers, and for a fact named ``config``: that is the model's own.
    """
    kind = type(model).__name__
    if type(model) is not MODELS.get(kind, (None,))[0]:
        raise TypeError(f"model is a {kind}: it must be one of {', '.join(MODELS)}")
    if "config" in facts:
        raise ValueError("facts has the name 'config': that is the model's own configuration, choose another name")
    tensors = model_tensors(model)
    if detours := [name for name in tensors if name.endswith(".lora_a")]:
        raise ValueError(
            f"model has LoRA, as {detours[0]}: merge_lora(model) makes it a model of its kind, "
            "and save_adapter saves LoRA alone"
        )
    described = {"model": kind, "config": asdict(model.config), **facts}  # type: ignore[call-overload]
    write_folder(folder, {"model.safetensors": tensors}, described)


def load_model(folder: str | Path) -> nn.Module:
    """The model that ``save_model`` wrote, on the CPU, in the dtype it had, ready for use (``.eval()``).

    Raises CheckpointError for a folder that is damaged, or that holds something else. No random number is used up.
    """
    return _load(Path(folder))[0]


def save_with_tokenizer(folder: str | Path, model: nn.Module, tokenizer: Tokenizer, **facts: Any) -> None:
    """``save_model`` to ``folder``/model, and the tokenizer to ``folder``/tokenizer.json.

    Where the model cannot be saved, a pair that was there stays as it was.
    """
    vocabulary: Any = model.config.vocabulary  # type: ignore[union-attr]
    if tokenizer.vocab_size > vocabulary:
        raise ValueError(f"tokenizer has {tokenizer.vocab_size} ids, but the vocabulary of model is {vocabulary}")
    file = Path(folder) / "tokenizer.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(file) as aside:
        tokenizer.save(aside)
        belongs = {"kind": type(tokenizer).__name__, "sha256": _sha256(aside)}
        save_model(file.parent / "model", model, tokenizer=belongs, **facts)


def load_with_tokenizer(folder: str | Path) -> tuple[nn.Module, Tokenizer]:
    """The pair that ``save_with_tokenizer`` wrote. CheckpointError if one of the two is damaged, or of another pair."""
    file = Path(folder) / "tokenizer.json"
    model, facts = _load(file.parent / "model")
    match facts:
        case {"tokenizer": {"kind": str(kind), "sha256": sha256}} if kind in _TOKENIZERS:
            if not file.is_file():
                raise CheckpointError(f"{file} is missing: put back a copy of the folder that is whole")
            if _sha256(file) != sha256:
                raise CheckpointError(
                    f"{file} is not the tokenizer that this model was trained with: its SHA-256 differs"
                )
            return model, _TOKENIZERS[kind].load(file)
    raise CheckpointError(f"{file.parent / 'model'} was saved without a tokenizer: use load_model for it")


def load_shipped(name: str) -> tuple[nn.Module, Tokenizer]:
    """A model that comes with the course, and its tokenizer: ``model, tokenizer = load_shipped("storyworld-gpt")``.

    How it was made stands in the facts beside it: ``read_folder(SHIPPED / name / "model")[1]``.
    """
    names = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
    if name not in names:
        raise ValueError(f"name is {name!r}: with the course come {', '.join(map(repr, names)) or 'no models yet'}")
    return load_with_tokenizer(SHIPPED / name)


def _load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    tensors, facts = read_folder(folder)
    match facts:
        case {"model": str(kind), "config": dict(config)} if kind in MODELS and tensors.keys() == {"model.safetensors"}:
            weights = tensors["model.safetensors"]
            make_model, make_config = MODELS[kind]
            with torch.random.fork_rng(devices=[]):  # the random weights that it starts with are overwritten at once
                model = make_model(_config(folder, make_config, config))
            model.to(next(iter(weights.values())).dtype)
            load_model_tensors(model, weights)
            return model.eval(), facts
    raise CheckpointError(f"{folder} holds no model of the kinds {', '.join(MODELS)}: it was not made by save_model")


def _config(folder: Path, make: type[Config], values: dict[str, Any]) -> Config:
    try:
        return make(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} holds a configuration that cannot be built here: {error}") from error


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
