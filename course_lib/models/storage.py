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
from torch import Tensor

FACTS = "facts.json"
Tensors = Mapping[str, Tensor]


class CheckpointError(ValueError):
    """A folder that is damaged, or one of another model. The text names it, says why, and what to do."""


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
            data = (aside / name).read_bytes()
            files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
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
    """The tensors, by name, and facts of ``write_folder``. CheckpointError if any byte or file is not as it was."""
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path} is no folder: give one that holds {FACTS}, as write_folder makes it")
    content = _unsealed(path / FACTS)
    files: dict[str, dict[str, Any]] = content["files"]
    present = {entry.name for entry in path.iterdir()} - {FACTS}
    for name in sorted(files.keys() ^ present):
        raise _refusal(
            path / name, "is missing" if name in files else "is an additional file, not written with the rest"
        )
    tensors = {}
    for name, written in files.items():
        data = _read(path / name)
        if len(data) != written["size"]:
            raise _refusal(path / name, f"has {len(data)} bytes instead of {written['size']}{_kind(data)}")
        if hashlib.sha256(data).hexdigest() != written["sha256"]:
            raise _refusal(path / name, f"has other bytes than were written: its SHA-256 differs{_kind(data)}")
        try:
            tensors[name] = dict(sorted(safetensors.torch.load(data).items()))  # it keeps no order itself
        except SafetensorError as error:
            raise _refusal(path / name, f"is no safetensors file{_kind(data)} ({error})") from error
    return tensors, content["facts"]


def discard(folder: Path) -> None:
    """Remove a folder, if it is there. No half of it ever bears its name: it is renamed first."""
    shutil.rmtree(_set_aside(folder), ignore_errors=True)


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
        described = all(file.keys() == {"size", "sha256"} for file in content["files"].values())
        if described and isinstance(content["facts"], dict) and _sealed(content) == data:
            return content
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise _refusal(path, f"was cut off or changed (its SHA-256 differs), or write_folder did not make it{_kind(data)}")


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise _refusal(path, "is not a file")
        return path.read_bytes()
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        raise _refusal(path, "is missing" if absent else f"cannot be read ({error.strerror})") from error


def _kind(data: bytes) -> str:
    """What the file seems to be instead, where its first bytes say so."""
    pickled = data.startswith((b"\x80", b"PK"))
    return " (it looks like a pickle, which could run a program, so nothing in it was opened)" if pickled else ""


def _refusal(path: Path, reason: str) -> CheckpointError:
    todo = "Put back a copy of the folder that is whole, or remove the folder and make it again."
    return CheckpointError(f"{path} {reason}. {todo}")


def _check_writable(path: Path, tensors: Mapping[str, Tensors], facts: Mapping[str, Any]) -> None:
    for name, group in tensors.items():
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ValueError(f"tensors has the file name {name!r}: it must be plain and end in .safetensors")
        if wrong := [key for key, tensor in group.items() if not isinstance(tensor, Tensor)]:
            raise TypeError(f"tensors holds {group[wrong[0]]!r:.60} as {wrong[0]} in {name}: it must be a tensor")
    try:
        _sealed({"facts": facts})
    except (TypeError, ValueError) as error:
        raise type(error)(f"facts must hold what JSON can: {error}") from error
    if path.exists() and not (path / FACTS).is_file():
        raise ValueError(f"path is {str(path)!r}, which exists and holds no {FACTS}: it is not replaced, give another")


def _flush(path: Path) -> None:
    """Wait until the disk has it. Windows can do so for files only."""
    if path.is_file() or os.name != "nt":
        descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
