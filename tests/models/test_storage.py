"""Folders of tensors: what comes out is what went in, and whatever was done to a file is refused, unopened."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from course_lib.models import storage
from course_lib.models.storage import CheckpointError, discard, read_folder, write_folder

FACTS = {"step": 120, "rate": 0.1 + 0.2, "names": ["Rose", "玫瑰"], "none": None, "deep": {"yes": True}}
TENSORS = {
    "weights.safetensors": {
        "matrix": torch.arange(6.0).view(2, 3),
        "turned": torch.arange(6.0).view(2, 3).T,
        "half": torch.tensor([0.1, -1e30, torch.nan], dtype=torch.bfloat16),
        "double": torch.tensor(0.1, dtype=torch.float64),
        "parameter": nn.Parameter(torch.ones(2)),
    },
    "more.safetensors": {
        "ids": torch.tensor([[-(2**62), 7]]),
        "mask": torch.tensor([True, False]),
        "empty": torch.ones(0, 3),
    },
    "none.safetensors": {},
}


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "outer" / "saved"
    write_folder(path, TENSORS, FACTS)
    return path


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    data = tensor.detach().contiguous().flatten()
    return tensor.dtype, tensor.shape, data.view(torch.uint8).numpy().tobytes() if len(data) else b""


def test_what_is_read_is_what_was_written_to_the_bit(folder):
    tensors, facts = read_folder(folder)
    assert facts == FACTS
    assert {name: set(group) for name, group in tensors.items()} == {
        name: set(group) for name, group in TENSORS.items()
    }
    for name, group in tensors.items():
        for key, tensor in group.items():
            assert bits(tensor) == bits(TENSORS[name][key])


def test_tensors_come_in_the_order_of_their_names_so_that_the_first_error_is_always_the_same(tmp_path):
    names = [f"layer.{n}" for n in range(9)]
    write_folder(tmp_path / "many", {"a.safetensors": {name: torch.ones(1) for name in reversed(names)}}, {})
    assert list(read_folder(tmp_path / "many")[0]["a.safetensors"]) == names


def test_the_same_contents_are_the_same_bytes_and_the_sums_are_those_of_the_files(folder, tmp_path):
    write_folder(str(tmp_path / "again"), TENSORS, FACTS)
    content = json.loads((folder / "facts.json").read_text("utf-8"))
    assert content["files"].keys() == TENSORS.keys()
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
        if file.name != "facts.json":
            written = {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
            assert content["files"][file.name] == written


def test_nothing_lies_beside_a_folder_that_was_written_written_again_or_discarded(folder):
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]
    write_folder(folder, {"weights.safetensors": {"a": torch.zeros(1)}}, {})
    assert read_folder(folder) == ({"weights.safetensors": {"a": torch.zeros(1)}}, {})
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]
    discard(folder)
    assert list(folder.parent.iterdir()) == []
    discard(folder)  # what isn't there can be discarded too


def test_no_half_of_a_folder_ever_bears_its_name(folder, monkeypatch):
    """Whoever is killed while a folder is removed file by file leaves a half of it: under a name that nobody reads."""
    removed: list[Path] = []
    rmtree = shutil.rmtree

    def noted(path: Path, **options: Any) -> None:
        removed.append(path)
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", noted)
    write_folder(folder, {}, {})  # in the place of the old one
    discard(folder)
    assert len(removed) > 1
    assert folder not in removed


@pytest.mark.parametrize("when", ["save_file", "_flush", "_sealed"])
def test_where_writing_fails_what_was_there_stays_and_nothing_else(folder, monkeypatch, when):
    place = storage.safetensors.torch if when == "save_file" else storage
    whole = getattr(place, when)
    calls = []

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("no space left")
        return whole(*arguments)

    monkeypatch.setattr(place, when, failing)
    with pytest.raises(OSError, match="no space left"):
        write_folder(folder, TENSORS, {"step": 121})
    monkeypatch.undo()
    assert read_folder(folder)[1] == FACTS
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]


def test_all_is_on_the_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    """Names in the order of flushing: files, the folder aside that lists them, and after renaming the folder above."""
    path = tmp_path / "saved"
    flushed: list[tuple[str, bool]] = []
    monkeypatch.setattr(storage, "_flush", lambda flushing: flushed.append((flushing.name, path.exists())))
    write_folder(path, TENSORS, FACTS)
    aside = f".saved.{os.getpid()}.partial"
    assert flushed == [*((name, False) for name in [*TENSORS, "facts.json", aside]), (tmp_path.name, True)]


def test_a_leftover_of_a_killed_process_with_the_same_number_is_no_obstacle(tmp_path):
    leftover = tmp_path / f".saved.{os.getpid()}.partial"
    leftover.mkdir()
    (leftover / "half.safetensors").write_text("half")
    write_folder(tmp_path / "saved", TENSORS, FACTS)
    assert read_folder(tmp_path / "saved")[1] == FACTS
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


# --- damage ----------------------------------------------------------------------------------------------------------

FILES = ["facts.json", "weights.safetensors", "more.safetensors", "none.safetensors"]


class Trap:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def refused(folder: Path, file: str, reason: str) -> None:
    with pytest.raises(CheckpointError) as error:
        read_folder(folder)
    text = str(error.value)
    assert text.startswith(f"{folder / file} {reason}"), text
    assert text.endswith("Put back a copy of the folder that is whole, or remove the folder and make it again.")


@pytest.mark.parametrize("file", FILES)
def test_a_byte_changed_anywhere_is_refused(folder, file):
    whole = (folder / file).read_bytes()
    reason = "was cut off or changed" if file == "facts.json" else "has other bytes than were written"
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        (folder / file).write_bytes(changed)
        refused(folder, file, reason)


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_off_anywhere_or_longer_is_refused(folder, file):
    whole = (folder / file).read_bytes()
    for data in [*(whole[:size] for size in range(0, len(whole), 7)), whole + b" ", whole + b"\n", whole + b"\0"]:
        (folder / file).write_bytes(data)
        refused(folder, file, "was cut off or changed" if file == "facts.json" else f"has {len(data)} bytes instead of")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_not_opened(folder, tmp_path, file, zipped):
    trap = Trap(tmp_path / "trace")
    torch.save({"weights": trap}, folder / file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"\(it looks like a pickle, which could run a program, so nothing in it"):
        read_folder(folder)
    assert not trap.trace.exists()
    (folder / file).rename(folder / "trap.pt")  # torch.load looks at the ending
    torch.load(folder / "trap.pt", weights_only=False)
    assert trap.trace.exists()


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused(folder, file):
    (folder / file).unlink()
    refused(folder, file, "is missing")


def test_an_additional_file_or_folder_is_refused(folder):
    (folder / "more.bin").write_bytes(b"")
    refused(folder, "more.bin", "is an additional file")
    (folder / "more.bin").unlink()
    (folder / ".hidden").mkdir()
    refused(folder, ".hidden", "is an additional file")


@pytest.mark.parametrize("file", FILES)
def test_a_folder_in_the_place_of_a_file_is_refused(folder, file):
    (folder / file).unlink()
    (folder / file).mkdir()
    refused(folder, file, "is not a file")


def test_files_that_changed_places_are_refused(folder):
    (folder / "weights.safetensors").rename(folder / "aside")
    (folder / "more.safetensors").rename(folder / "weights.safetensors")
    (folder / "aside").rename(folder / "more.safetensors")
    with pytest.raises(CheckpointError, match=r"safetensors has "):
        read_folder(folder)


def test_what_is_not_a_folder_is_refused(folder):
    for path in (folder / "facts.json", folder / "nothing"):
        with pytest.raises(
            CheckpointError, match=f"^{re.escape(str(path))} is no folder: give one that holds facts.json"
        ):
            read_folder(path)


def sealed_anew(folder: Path, content: dict[str, Any]) -> None:
    """What somebody does who knows how the sums are made."""
    content.pop("sha256", None)
    for file in folder.iterdir():
        if file.name in content.get("files", {}):
            data = file.read_bytes()
            content["files"][file.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "facts.json").write_bytes(storage._sealed(content))


def test_a_pickle_with_the_right_sum_is_refused_and_not_opened_either(folder, tmp_path):
    trap = Trap(tmp_path / "trace")
    torch.save(trap, folder / "weights.safetensors")
    sealed_anew(folder, json.loads((folder / "facts.json").read_text("utf-8")))
    refused(folder, "weights.safetensors", "is no safetensors file (it looks like a pickle")
    assert not trap.trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"facts": {}},
        {"facts": 1, "files": {}},
        {"facts": {}, "files": {"../x": 1}},
        {"facts": {}, "files": {"x": {}}},
    ],
)
def test_other_json_with_the_right_sum_is_refused(folder, content):
    sealed_anew(folder, content)
    refused(folder, "facts.json", "was cut off or changed (its SHA-256 differs), or write_folder did not make it")


def test_no_file_outside_of_the_folder_is_ever_read(folder):
    content = json.loads((folder / "facts.json").read_text("utf-8"))
    outside = folder.parent / "outside.safetensors"
    shutil.copy(folder / "more.safetensors", outside)
    content["files"]["../outside.safetensors"] = content["files"]["more.safetensors"]
    sealed_anew(folder, content)
    refused(folder, "../outside.safetensors", "is missing")


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[1]", '"sha256"', "{}", '{"sha256": 1}', "\xff"])
def test_json_of_any_other_kind_is_refused(folder, text):
    (folder / "facts.json").write_text(text, "latin-1")
    refused(folder, "facts.json", "was cut off or changed (its SHA-256 differs), or write_folder did not")


def test_a_file_that_may_not_be_read_is_named(folder, monkeypatch):
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    refused(folder, "facts.json", "cannot be read (Permission denied)")


# --- bad arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "facts", "error", "message"),
    [
        (
            {"weights.bin": {}},
            {},
            ValueError,
            "tensors has the file name 'weights.bin': it must be plain and end in .saf",
        ),
        ({"../w.safetensors": {}}, {}, ValueError, "tensors has the file name '../w.safetensors': it must be plain"),
        ({}, {"a": torch.ones(1)}, TypeError, "facts must hold what JSON can: Object of type Tensor is not"),
        ({}, {"a": float("nan")}, ValueError, "facts must hold what JSON can: Out of range float values"),
        ({"w.safetensors": {"a": 1.0}}, {}, TypeError, "tensors holds 1.0 as a in w.safetensors: it must be a tensor"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path, tensors, facts, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        write_folder(tmp_path / "new" / "saved", tensors, facts)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_or_file_of_the_users_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "rose.jpg").write_text("rose")
    for path in (tmp_path / "photos", tmp_path / "photos" / "rose.jpg"):
        with pytest.raises(ValueError, match=r"which exists and holds no facts.json: it is not replaced, give another"):
            write_folder(path, TENSORS, FACTS)
    assert (tmp_path / "photos" / "rose.jpg").read_text() == "rose"
