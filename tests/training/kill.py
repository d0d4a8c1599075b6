"""Kill a training at random moments, start it again each time, and compare its end with an uninterrupted one.

    python -m tests.training.kill                 20 kills
    python -m tests.training.kill --kills 200

The training writes a checkpoint after every step, so that many kills fall into the writing; it goes on killing until at
least one has. The last checkpoints must be the same to the byte: weights, optimisers, history, all random numbers.
"""

import argparse
import hashlib
import multiprocessing
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from course_lib.models.storage import read_folder
from course_lib.runtime import seed_everything
from course_lib.training.checkpoints import Checkpoints, Run
from tests.training.helpers import Small, run

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PROCESSES: Any = multiprocessing.get_context(METHOD)
PROCESSES.set_forkserver_preload(["tests.training.helpers", "torch._dynamo"])  # what takes seconds is imported once


class Reporting(Checkpoints):
    """Says which steps stand on the disk."""

    def __init__(self, folder: Path, reports: Connection) -> None:
        super().__init__(folder, every=1)
        self.reports = reports

    def save(self, run: Run) -> None:
        super().save(run)
        self.reports.send(("saved", run.step))


def life(folder: Path, steps: int, reports: Connection) -> None:
    """One process: it trains from where the last one was killed."""
    torch.set_num_threads(1)
    checkpoints = Reporting(folder, reports)
    seed_everything(
        time.time_ns() % 1000 if checkpoints.found() else 0
    )  # whatever it is, the checkpoint's state counts
    model = Small(dropout=0.3)
    reports.send(("started", 0))
    run(model, steps=steps, checkpoints=checkpoints, patience=10**9)
    reports.send(("ended", 0))


@dataclass
class Life:
    """What became of one process."""

    killed: bool
    seconds: float
    reports: list[tuple[str, int]] = field(default_factory=list)


def lived(folder: Path, steps: int, seconds: float | None) -> Life:
    """Start a process, and kill it after so many seconds of training; None lets it end."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=life, args=(folder, steps, theirs))
    process.start()
    theirs.close()
    reports = [ours.recv()]  # it has started
    began = time.perf_counter()
    if seconds is not None:
        time.sleep(seconds)
        process.kill()
    try:
        while True:
            reports.append(ours.recv())
    except (EOFError, OSError):  # a report may be cut off, too
        pass
    process.join()
    return Life(killed=process.exitcode != 0, seconds=time.perf_counter() - began, reports=reports)


def newest(folder: Path) -> int:
    """The newest step on the disk. Every checkpoint there must be whole."""
    steps = [read_folder(path)[1]["step"] for path in Checkpoints(folder).found()]
    return max(steps, default=0)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.training.kill", description="Kill a training, many times.")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how often to kill (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    options = parser.parse_args(arguments)
    moments, steps = random.Random(options.seed), 10 * options.kills
    with tempfile.TemporaryDirectory(prefix="kill_") as scratch:
        whole, broken = Path(scratch, "uninterrupted"), Path(scratch, "killed")
        uninterrupted = lived(whole, steps, None)
        assert not uninterrupted.killed
        kills = in_writing = in_removing = 0
        while kills < options.kills or not in_writing:
            before = newest(broken)
            # On average the kills take 4/10 of the time that the training needs: it does not end before they do.
            killed = lived(broken, steps, moments.uniform(0, 0.8 * uninterrupted.seconds / options.kills))
            if not killed.killed:
                print(f"the training ended after {kills} kills, before the moment of the next")
                return 1
            kills += 1
            after, saved = newest(broken), [step for what, step in killed.reports if what == "saved"]
            halves = {path.suffix for path in broken.glob(".step-*")} if broken.exists() else set()
            in_writing += ".partial" in halves
            in_removing += ".removed" in halves
            assert saved == [*range(before + 1, before + 1 + len(saved))], "it did not go on from the newest checkpoint"
            assert after - before - len(saved) in {0, 1}, "a checkpoint was lost"  # one may stand, unreported
        survived = newest(broken)
        assert not lived(broken, steps, None).killed
        print(f"{kills} kills, {in_writing} inside writing and {in_removing} inside removing a checkpoint")
        print(f"the last one found {survived} of {steps} steps done; {uninterrupted.seconds:.1f} s without any kill")
        ends = [Checkpoints(folder).found()[-1] for folder in (whole, broken)]
        for folder in ends:
            print(f"{folder.parent.name:<14} {folder.name}  weights {digest(folder)}")
        same = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in ends]
        leftovers = list(broken.glob(".step-*"))
        print("the same to the byte" if same[0] == same[1] and not leftovers else f"NOT THE SAME {leftovers}")
        return 0 if same[0] == same[1] and not leftovers else 1


if __name__ == "__main__":
    sys.exit(main())
