"""Folders of tensors on disk: written whole or not at all, and read only if every byte is the one that was written.

A folder holds safetensors files (https://github.com/huggingface/safetensors) and ``facts.json``, which is text. Neither
format can hold a program. A pickle, the format of ``torch.save``, can: whoever loads one runs it.

``facts.json`` states size and SHA-256 of each file, and its own SHA-256. This finds damage. It is no signature: who can
write the folder can also write a new sum.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

FACTS = "facts.json"
_WHAT_TO_DO = "Put back a copy of the folder that is whole, or remove the folder and make it again."

Tensors = Mapping[str, Tensor]


class CheckpointError(ValueError):
    """A folder that is damaged, or one of another model. The text names the file, why, and what to do."""


def write_folder(path: str | Path, tensors: Mapping[str, Tensors], facts: Mapping[str, Any]) -> None:
    """Write ``tensors`` (file name → name → tensor) and ``facts`` (what JSON can hold; tuples become lists).

    All is written to a folder aside, flushed to the disk and then renamed: wherever the power fails, ``path`` is whole
    or isn't there. A folder that this function wrote before is replaced (for a moment, there is neither); any other
    stays, with a ValueError.
    """
    path = Path(path)
    _check_writable(path, tensors, facts)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    discard(aside)  # of a process that had the same number, and was killed
    aside.mkdir(parents=True)
    try:
        files = {}
        for name, group in tensors.items():
            safetensors.torch.save_file({key: t.detach().contiguous() for key, t in group.items()}, aside / name)
            _flush(aside / name)
            with open(aside / name, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            files[name] = {"size": (aside / name).stat().st_size, "sha256": sha256}
        (aside / FACTS).write_bytes(_sealed({"facts": facts, "files": files}))
        _flush(aside / FACTS)
        _flush(aside)
        old = _set_aside(path)
        aside.rename(path)
        _flush(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        discard(aside)
        raise


def read_folder(path: str | Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors and facts that ``write_folder`` was given. CheckpointError if any byte or file is not as it was."""
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path} is no folder: give one that holds {FACTS}, as write_folder makes it")
    content = _unsealed(path / FACTS)
    files: dict[str, dict[str, Any]] = content["files"]
    present = {entry.name for entry in path.iterdir()} - {FACTS}
    if absent := sorted(files.keys() - present):
        raise _refusal(path / absent[0], "is missing")
    if additional := sorted(present - files.keys()):
        raise _refusal(path / additional[0], "is an additional file, which the folder was not written with")
    tensors = {}
    for name, written in files.items():
        data = _read(path / name)
        if len(data) != written["size"]:
            raise _refusal(path / name, f"has {len(data):,} bytes instead of {written['size']:,}{_kind(data)}")
        if hashlib.sha256(data).hexdigest() != written["sha256"]:
            raise _refusal(path / name, f"has other bytes than were written: its SHA-256 differs{_kind(data)}")
        try:
            tensors[name] = safetensors.torch.load(data)
        except SafetensorError as error:
            raise _refusal(path / name, f"is no safetensors file{_kind(data)} ({error})") from error
    return tensors, content["facts"]


def discard(folder: Path) -> None:
    """Remove a folder, if it is there. No half of it ever bears its name: it is renamed first."""
    shutil.rmtree(_set_aside(folder), ignore_errors=True)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of ``state_dict``, each once: tied weights bear the first of their names."""
    seen: set[object] = set()
    once = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        if place not in seen:
            seen.add(place)
            once[name] = tensor
    return once


def load_model_tensors(model: nn.Module, tensors: Tensors) -> None:
    """Copy what ``model_tensors`` gave into a model of the same kind. What is tied in it stays tied."""
    own = model_tensors(model)
    for name in sorted(own.keys() | tensors.keys()):
        here, there = (f"{t[name].dtype} {tuple(t[name].shape)}" if name in t else "nothing" for t in (own, tensors))
        if here != there:
            raise CheckpointError(f"the weights are of another model: for {name} they hold {there}, the model {here}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _set_aside(folder: Path) -> Path:
    aside = folder.with_name(f".{folder.name.lstrip('.')}.{os.getpid()}.removed")
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    return aside


def _sealed(content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    return f'{{\n "sha256": "{sha256}",{body[1:]}\n'.encode()


def _unsealed(path: Path) -> dict[str, Any]:
    """What ``_sealed`` was given. Written again, it must give the same bytes: so no change passes, not even a space."""
    data = _read(path)
    try:
        content = json.loads(data)
        del content["sha256"]
        whole = _sealed(content) == data
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise _refusal(path, f"was cut off or changed: it does not agree with its own SHA-256{_kind(data)}")
    match content:
        case {"facts": dict(), "files": dict(files)} if all(map(_is_description, files.values())):
            return content
    raise _refusal(path, "is whole, but was not written by write_folder")


def _is_description(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"size", "sha256"}


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise _refusal(path, "is not a file")
        return path.read_bytes()
    except FileNotFoundError:
        raise _refusal(path, "is missing") from None
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror})") from error


def _kind(data: bytes) -> str:
    """What the file seems to be instead, where its first bytes say so."""
    pickled = data.startswith((b"\x80", b"PK"))
    return " (it looks like a pickle, which could run a program, so nothing in it was opened)" if pickled else ""


def _refusal(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} {reason}. {_WHAT_TO_DO}")


def _check_writable(path: Path, tensors: Mapping[str, Tensors], facts: Mapping[str, Any]) -> None:
    """Before anything is written."""
    for name, group in tensors.items():
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ValueError(f"tensors has the file name {name!r}: it must be plain and end in .safetensors")
        for key, tensor in group.items():
            if not isinstance(tensor, Tensor):
                raise TypeError(f"tensors holds {tensor!r:.60} as {key} in {name}: it must be a tensor")
    try:
        _sealed({"facts": facts})
    except (TypeError, ValueError) as error:
        raise type(error)(f"facts must hold what JSON can: {error}") from error
    if path.exists() and not (path / FACTS).is_file():
        raise ValueError(f"path is {str(path)!r}, which exists and holds no {FACTS}: it is not replaced, give another")


def _flush(path: Path) -> None:
    """Wait until the disk has it. Windows can do so for files only."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
