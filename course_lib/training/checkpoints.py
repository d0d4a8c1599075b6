"""Checkpoints: all that a training needs to go on as if it had never been interrupted.

That is more than the weights: what the optimisers remember, how many steps are done (the schedule follows from it), the
place in the data, and the state of every source of random numbers. A test resumes a training and compares it with an
uninterrupted one, bit for bit.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course_lib.arguments import check_at_least_one
from course_lib.models.storage import (
    CheckpointError,
    discard,
    load_model_tensors,
    model_tensors,
    read_folder,
    write_folder,
)
from course_lib.training.distributed import Process


@dataclass
class Run:
    """A training at one moment."""

    model: nn.Module
    optimisers: Sequence[Optimizer]
    batches: Any
    history: Any
    settings: Mapping[str, Any]  # what must be the same when it is resumed
    process: Process
    steps: int
    step: int = 0  # steps done
    stopped: bool = False  # by a callback, before the last step


class Checkpoints:
    """Given to ``train``: every ``every`` steps, and after the last, ``folder`` gets ``step-000100`` and so on.

    ``train`` goes on from the newest by itself. The newest ``keep`` stay.
    """

    def __init__(self, folder: str | Path, every: int = 100, keep: int = 2) -> None:
        check_at_least_one("every", every)
        check_at_least_one("keep", keep)
        self.folder, self.every, self.keep = Path(folder), every, keep
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"folder is {str(folder)!r}, which is a file: give a folder, or the name of a new one")

    def found(self) -> list[Path]:
        """The checkpoints in the folder, the newest last."""
        steps = [path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d{6,}", path.name)]
        return sorted(steps, key=lambda path: int(path.name[5:]))

    def due(self, run: Run) -> bool:
        return run.step % self.every == 0 or run.step == run.steps or run.stopped

    def save(self, run: Run) -> None:
        """Called in every process; the first one writes. Old checkpoints go when the new one stands on the disk."""
        random_states = run.process.gather(_random_states())
        if not run.process.first:
            return
        tensors: dict[str, Tensor] = {}
        state = {
            "step": run.step,
            "stopped": run.stopped,
            "settings": {**run.settings, "processes": run.process.world},
            "optimisers": [optimiser.state_dict()["state"] for optimiser in run.optimisers],
            "batches": run.batches.state_dict(),
            "history": run.history.state_dict(),
            "random": random_states,
        }
        facts = _taken_apart(state, "training", tensors)
        files = {"weights.safetensors": model_tensors(run.model), "training.safetensors": tensors}
        write_folder(self.folder / f"step-{run.step:06d}", files, facts)
        for old in self.found()[: -self.keep]:
            discard(old)

    def load_newest(self, run: Run) -> None:
        """Set the run to where the newest checkpoint was written; without any, leave it as it is."""
        if run.process.first:
            for leftover in [*self.folder.glob(".step-*.partial"), *self.folder.glob(".step-*.removed")]:
                discard(leftover)  # a process was killed while it wrote
        if not (found := self.found()):
            return
        newest = found.pop()
        try:
            files, facts = read_folder(newest)
            self._set(run, newest, files["weights.safetensors"], _put_together(facts, files["training.safetensors"]))
        except KeyError as error:
            raise CheckpointError(
                f"{newest} has no {error}: it is no checkpoint of train. Move it elsewhere."
            ) from None
        except CheckpointError as error:
            whole = next((path for path in reversed(found) if _is_whole(path)), None)
            if whole is None or _is_whole(newest):
                raise
            raise CheckpointError(f"{error} {whole} is whole: remove {newest} to go on from there.") from error

    def _set(self, run: Run, source: Path, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        settings = {**run.settings, "processes": run.process.world}
        for name, was in state["settings"].items():
            if was != settings[name]:
                raise CheckpointError(
                    f"{source} was made with {name} = {was}, and now it is {settings[name]}. "
                    "Give what it was, to go on; or take another folder, to begin anew."
                )
        if state["step"] > run.steps:
            raise CheckpointError(f"{source} has done more than the {run.steps} steps asked for: ask for more.")
        load_model_tensors(run.model, weights, source)
        for optimiser, remembered in zip(run.optimisers, state["optimisers"], strict=True):
            by_number = {int(number): value for number, value in remembered.items()}
            optimiser.load_state_dict({"state": by_number, "param_groups": optimiser.state_dict()["param_groups"]})
        run.batches.load_state_dict(state["batches"])
        run.history.load_state_dict(state["history"])
        _set_random_states(state["random"][run.process.rank])
        run.step, run.stopped = state["step"], state["stopped"]


def _is_whole(folder: Path) -> bool:
    try:
        read_folder(folder)
    except CheckpointError:
        return False
    return True


def _random_states() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (code that draws from the global generator is the reason)
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def _set_random_states(states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["cpu"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold: each tensor goes to ``tensors`` and leaves its name."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {str(key): _taken_apart(item, f"{name}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_taken_apart(item, f"{name}.{number}", tensors) for number, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{name} is {value!r:.60}: a checkpoint holds tensors, numbers, texts, and lists and dicts of these"
    )


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]]
        return {key: _put_together(item, tensors) for key, item in value.items()}
    return [_put_together(item, tensors) for item in value] if isinstance(value, list) else value
