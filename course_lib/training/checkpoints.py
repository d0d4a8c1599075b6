"""Checkpoints: all that a training needs to go on as if it had never been interrupted.

That is more than the weights: what the optimisers remember, how many steps are done (the schedule follows from it), the
place in the data, the history, and the state of every source of random numbers.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from course_lib.arguments import check_at_least_one
from course_lib.models.storage import CheckpointError, discard, read_folder, write_folder
from course_lib.models.tensors import load_model_tensors, model_tensors
from course_lib.runtime import random_states, set_random_states
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
        state = {
            "step": run.step,
            "stopped": run.stopped,
            "settings": run.settings,
            "optimisers": [optimiser.state_dict()["state"] for optimiser in run.optimisers],
            "batches": run.batches.state_dict(),
            "history": run.history.state_dict(),
            "random": run.process.gather(random_states()),
        }
        if run.process.first:
            tensors, facts = _taken_apart(state)
            files = {"weights.safetensors": model_tensors(run.model), "training.safetensors": tensors}
            write_folder(self.folder / f"step-{run.step:06d}", files, facts)
            for old in self.found()[: -self.keep]:
                discard(old)

    def load_newest(self, run: Run) -> None:
        """Set the run to where the newest checkpoint was written; without any, leave it as it is."""
        if run.process.first:
            for leftover in self.folder.glob(".step-*"):  # of a process that was killed while it wrote or removed
                discard(leftover)
        if not (found := self.found()):
            return
        newest = found.pop()
        try:
            files, facts = read_folder(newest)
        except CheckpointError as error:
            if whole := next((str(path) for path in reversed(found) if _is_whole(path)), ""):
                raise CheckpointError(f"{error} {whole} is whole: to go on from there, remove {newest}.") from error
            raise
        try:
            _set(run, files["weights.safetensors"], _put_together(files["training.safetensors"], facts))
        except Exception as error:  # whatever it is: the bytes are those that were written, so they do not fit this run
            what = str(error) if isinstance(error, ValueError) else repr(error)
            todo = "Give what it was made with, to go on; or give another folder, to begin anew."
            raise CheckpointError(f"{newest} does not fit this training: {what}. {todo}") from error


def _set(run: Run, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    for name, now in run.settings.items():
        if now != state["settings"][name]:
            raise CheckpointError(f"it was made with {name} = {state['settings'][name]}, and now it is {now}")
    if state["step"] > run.steps:
        raise CheckpointError(f"it has done {state['step']} steps, and now steps is {run.steps}")
    load_model_tensors(run.model, weights)
    for optimiser, remembered in zip(run.optimisers, state["optimisers"], strict=True):
        by_number = {int(number): value for number, value in remembered.items()}
        optimiser.load_state_dict({"state": by_number, "param_groups": optimiser.state_dict()["param_groups"]})
    run.batches.load_state_dict(state["batches"])
    run.history.load_state_dict(state["history"])
    set_random_states(state["random"][run.process.rank])
    run.step, run.stopped = state["step"], state["stopped"]


def _is_whole(folder: Path) -> bool:
    try:
        read_folder(folder)
    except CheckpointError:
        return False
    return True


def _taken_apart(state: dict[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """The tensors in it under numbers, and all else with a number in place of each tensor, as JSON can hold it."""
    tensors: dict[str, Tensor] = {}

    def set_aside(value: object) -> dict[str, str]:
        if not isinstance(value, Tensor):
            raise TypeError(f"a checkpoint holds tensors, and what JSON can hold, not {value!r:.60}")
        number = str(len(tensors))
        tensors[number] = value
        return {"tensor": number}

    return tensors, json.loads(json.dumps(state, default=set_aside))


def _put_together(tensors: dict[str, Tensor], facts: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(facts), object_hook=lambda d: tensors[d["tensor"]] if d.keys() == {"tensor"} else d)
