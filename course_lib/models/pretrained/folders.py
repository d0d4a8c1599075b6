"""Models in Hugging Face's format: a folder with ``config.json`` and ``model.safetensors``, whole or in shards.

    model = load_pretrained("openai-community/gpt2")        # a name on the hub, or a folder
    save_pretrained("my_model", model, tokenizer)           # AutoModelForCausalLM.from_pretrained("my_model") reads it

Every tensor of the file must have its place, and every place its tensor, of the right shape: a model that is half
loaded writes nonsense and raises no error. Settings that change the result and that no part here has are refused.
No pickle (``pytorch_model.bin``) is ever opened, for it could run a program.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from course_lib.data.files import write_whole
from course_lib.models.parts import Config
from course_lib.models.pretrained.bert import BERT_
from course_lib.models.pretrained.conversion import (
    Conversion,
    Entry,
    Head,
    PretrainedError,
    Settings,
    Tensors,
    renamed,
)
from course_lib.models.pretrained.gpt2 import GPT2
from course_lib.models.pretrained.llama import LLAMA
from course_lib.models.pretrained.t5 import T5
from course_lib.models.pretrained.tokenizers import to_hugging_face
from course_lib.models.pretrained.xlnet import XLNET
from course_lib.models.tensors import model_tensors

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"

# By config.json's "model_type".
CONVERSIONS: dict[str, Conversion] = {"bert": BERT_, "gpt2": GPT2, "llama": LLAMA, "t5": T5, "xlnet": XLNET}

# What a file need not say: it acts in training alone, or at the start.
_NOT_COMPARED = ("dropout", "zero_init")


def load_pretrained(source: str | Path) -> nn.Module:
    """The model in a folder, or of that name on the hub, on the CPU, in the dtype of the file, ready for use.

    GPT, Transformer, BERT or XLNet, or a head of ``heads.py`` on a BERT, as config.json says. Raises PretrainedError
    for anything that would give other numbers than transformers gives.
    """
    folder = _folder(source)
    with _naming(folder):
        settings = _settings(folder / CONFIG)
        kind = settings.get("model_type")
        if kind not in CONVERSIONS:
            raise PretrainedError(f"{CONFIG} has model_type {kind!r}: here are {', '.join(map(repr, CONVERSIONS))}")
        conversion = CONVERSIONS[kind]
        tensors = _with_base(conversion.tidy(_tensors(folder)), conversion.base)
        head = conversion.heads.get((settings.get("architectures") or [""])[0])
        with torch.random.fork_rng(devices=[]):  # the random weights that it starts with are overwritten at once
            model = _built(conversion, head, settings, tensors)
        _fill(model, _entries(conversion, head, _body(model, head).config), tensors, conversion)
    return model.eval()


def save_pretrained(folder: str | Path, model: nn.Module, tokenizer: Any = None, **roles: str) -> None:
    """Write the model so that transformers' ``from_pretrained`` reads it, with its ``tokenizer`` if you give one.

    ``roles`` say what special tokens are for, as ``eos_token="<|endoftext|>"`` or ``pad_token=...``. Files of the same
    names are replaced. Raises PretrainedError for a model with parts that no architecture there has.
    """
    conversion, head, name = _architecture(model)
    config = _body(model, head).config
    if head:
        config = conversion.bare(config)
    tensors = _theirs(model, _entries(conversion, head, config))
    settings = conversion.config_to(config) | {"model_type": name, "dtype": _dtype_name(tensors)}
    if head:
        classes = len(model.classifier.weight)  # type: ignore[union-attr, arg-type]
        settings["architectures"] = [their for their, known in conversion.heads.items() if known is head]
        settings["id2label"] = {str(i): f"LABEL_{i}" for i in range(classes)}
        settings["label2id"] = {f"LABEL_{i}": i for i in range(classes)}
        settings["classifier_dropout"] = model.dropout.p  # type: ignore[union-attr]
    if tokenizer is not None:
        theirs = to_hugging_face(tokenizer, **roles)
        if len(theirs) > config.vocabulary:
            raise ValueError(f"tokenizer has {len(theirs)} ids, but the vocabulary of model is {config.vocabulary}")
        settings |= {f"{role}_id": theirs.convert_tokens_to_ids(token) for role, token in roles.items()}
        if "pad_token" in roles and "decoder_start_token_id" in settings:  # a T5's targets begin with padding
            settings["decoder_start_token_id"] = settings["pad_token_id"]
    elif roles:
        raise ValueError(f"{next(iter(roles))} is given without a tokenizer: give the one that has this token")
    if re.search(r"(?<!LMHead)Model$", settings["architectures"][0]):  # no head: names without what stands before them
        tensors = {key.removeprefix(conversion.base): tensor for key, tensor in tensors.items()}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {key: tensor.contiguous() for key, tensor in tensors.items()}
    with write_whole(folder / WEIGHTS) as aside:
        safetensors.torch.save_file(written, aside, metadata={"format": "pt"})
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    with write_whole(folder / CONFIG) as aside:
        aside.write_text(text, encoding="utf-8")
    if tokenizer is not None:
        theirs.save_pretrained(folder)


# --- between the two -------------------------------------------------------------------------------------------------


def _body(model: nn.Module, head: Head | None) -> Any:
    return model.body if head else model


def _entries(conversion: Conversion, head: Head | None, config: Config) -> list[Entry]:
    if head is None:
        return conversion.table(config)
    body = [entry._replace(ours=f"body.{entry.ours}") for entry in conversion.table(conversion.bare(config))]
    return body + [renamed(f"classifier.{end}", f"{head.theirs}.{end}") for end in ("weight", "bias")]


def _theirs(model: nn.Module, entries: list[Entry]) -> Tensors:
    """The tensors of the model by their names: views, nothing is copied."""
    own = model_tensors(model)
    return {
        name: part.detach()
        for entry in entries
        for name, part in zip(entry.theirs, entry.split(own[entry.ours]), strict=True)
    }


def _architecture(model: nn.Module) -> tuple[Conversion, Head | None, str]:
    """The conversion that can say all that the model is. Where none can: what the nearest one has instead."""
    reasons: list[list[str]] = []
    body = getattr(model, "body", model)
    for name, conversion in CONVERSIONS.items():
        head = next((head for head in conversion.heads.values() if type(model) is head.kind), None)
        if type(body) is not conversion.kind or (head is None) != (body is model):
            continue
        config: Any = conversion.bare(body.config) if head else body.config
        settings = conversion.config_to(config) | {"model_type": name}
        names = [key for entry in conversion.table(config) for key in entry.theirs]
        hints = {key: torch.tensor(float(i)) for i, key in enumerate(names)}  # that they are there is all that matters
        wanted, possible = _comparable(config), _comparable(conversion.config_from(settings, hints))
        differ = [
            f"{key} = {wanted[key]!r} where {name} has {possible[key]!r}"
            for key in wanted
            if key in possible and wanted[key] != possible[key]
        ]
        if not differ:
            return conversion, head, name
        reasons.append(differ)
    if not reasons:
        known = ", ".join(sorted({c.kind.__name__ for c in CONVERSIONS.values()}))
        raise PretrainedError(f"model is a {type(model).__name__}: it must be one of {known}, or a head on a BERT")
    nearest = min(reasons, key=lambda differ: len(differ))
    raise PretrainedError(f"no architecture of transformers has all parts of this model: {', '.join(nearest)}")


def _comparable(config: Any) -> dict[str, Any]:
    """The facts of a configuration, what is left open filled in, and without what changes no output."""
    facts = asdict(config) | {"hidden": config.hidden_width, "key_width": config.head_width}
    if "kv_heads" in facts:
        facts["kv_heads"] = facts["kv_heads"] or config.heads
    unused = [] if config.positions == "rotary" else ["rotary_base"]
    return {key: value for key, value in facts.items() if key not in (*_NOT_COMPARED, *unused)}


def _built(conversion: Conversion, head: Head | None, settings: Settings, tensors: Tensors) -> nn.Module:
    if settings.get("quantization_config") is not None:
        raise PretrainedError(f"{CONFIG} has a quantization_config: give the folder of the model before quantisation")
    try:
        config: Any = conversion.config_from(settings, tensors)
        model = conversion.kind(config)
    except PretrainedError:
        raise
    except (TypeError, ValueError) as error:
        raise PretrainedError(f"{CONFIG} describes a model that cannot be built here: {error}") from error
    if head is None:
        return model
    rate = settings.get("classifier_dropout")
    matrix = f"{head.theirs}.weight"
    if matrix not in tensors:
        raise PretrainedError(f"the file has no tensor {matrix!r}: the architecture of {CONFIG} needs it")
    return head.make(model, len(tensors[matrix]), config.dropout if rate is None else rate)


def _fill(model: nn.Module, entries: list[Entry], tensors: Tensors, conversion: Conversion) -> None:
    """Copy what the file holds into the model. All names and shapes are compared first."""
    expected = _theirs(model, entries)
    for name, original in conversion.copies.items():
        if name in tensors and name not in expected and original in tensors:
            if not torch.equal(tensors[name], tensors[original]):
                raise PretrainedError(f"{name!r} and {original!r} differ, but {CONFIG} says that they are one (tied)")
            del tensors[name]
    missing = [name for name in expected if name not in tensors]
    if missing and set(missing) == set(conversion.fresh) & set(expected):
        entries = [entry for entry in entries if not set(entry.theirs) <= set(missing)]
        missing = []
    for names, problem in (
        (missing, "the file has no tensor {}: a model of this {config} needs it"),
        (
            [name for name in tensors if name not in expected],
            "the file holds a tensor {} that has no place in a model of this {config}",
        ),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise PretrainedError(problem.format(f"{names[0]!r}{more}", config=CONFIG))
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise PretrainedError(
                f"tensor {name!r} has shape {tuple(tensor.shape)}: by {CONFIG} it must be {tuple(expected[name].shape)}"
            )
    model.to(reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()}))
    own = model_tensors(model)
    for entry in entries:
        own[entry.ours].copy_(entry.join([tensors[name] for name in entry.theirs]))


# --- files -----------------------------------------------------------------------------------------------------------


def _folder(source: str | Path) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists() or isinstance(source, Path) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        raise PretrainedError(
            f"{source} is no folder: give one that holds {CONFIG} and {WEIGHTS}, or a name on the hub"
        )
    import huggingface_hub  # here, for it takes half a second

    try:
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=[CONFIG, "model*.safetensors", INDEX]))
    except Exception as error:  # the hub has a class of its own for each: no network, no such name, no permission, ...
        raise PretrainedError(
            f"{source} is no folder here, and the hub did not give it ({type(error).__name__}: {error}). "
            "Without a network, download it elsewhere and give the folder"
        ) from error


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    try:
        yield
    except PretrainedError as error:
        raise PretrainedError(f"{folder}: {error}") from error.__cause__


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PretrainedError(f"{path.name} is missing: it says what model the folder holds")
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PretrainedError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(settings, dict):
        raise PretrainedError(f"{path.name} holds a {type(settings).__name__}: it must be an object")
    return settings


def _tensors(folder: Path) -> Tensors:
    if (folder / WEIGHTS).is_file():
        return _read(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return _from_shards(folder)
    pickles = [path.name for path in sorted(folder.glob("*.bin"))]
    if pickles:
        raise PretrainedError(
            f"{pickles[0]} is a pickle, which could run a program, so it was not opened: it must be {WEIGHTS}. Many "
            "models have one under another revision; where you trust the file, transformers' save_pretrained writes one"
        )
    raise PretrainedError(f"{WEIGHTS} is missing, and so is {INDEX}")


def _from_shards(folder: Path) -> Tensors:
    places = _settings(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(file, str) and Path(file).name == file for file in places.values()
    ):
        raise PretrainedError(f"{INDEX} must have a weight_map from names of tensors to files of this folder")
    shards = {file: _read(folder / file) for file in sorted(set(places.values()))}
    for name, file in places.items():
        if name not in shards[file]:
            raise PretrainedError(f"{file} has no tensor {name!r}, but {INDEX} says so")
    return {name: shards[file][name] for name, file in places.items()}


def _read(path: Path) -> Tensors:
    try:
        tensors = dict(sorted(safetensors.torch.load_file(path).items()))  # it keeps no order itself
    except FileNotFoundError as error:
        raise PretrainedError(f"{path.name} is missing, but {INDEX} names it") from error
    except (OSError, SafetensorError) as error:
        raise PretrainedError(f"{path.name} is no whole safetensors file ({error}): get it again") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and not name.endswith("position_ids"):
            raise PretrainedError(f"tensor {name!r} is {tensor.dtype}: weights must be floating-point, not quantised")
    return tensors


def _with_base(tensors: Tensors, base: str) -> Tensors:
    """A file of a model without a head has shorter names."""
    if any(name.startswith(base) for name in tensors):
        return tensors
    return {base + name: tensor for name, tensor in tensors.items()}


def _dtype_name(tensors: Tensors) -> str:
    return str(next(iter(tensors.values())).dtype).removeprefix("torch.")
