"""Trainings to compare between one process and several: torchrun -m tests.training.in_processes FOLDER, or python -m.

Each process leaves what it ended with: weights and losses by the name of the training, and the errors it met.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib.data.batches import EpochBatches, WindowBatches
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.objectives.causal import LossSum, causal_loss
from course_lib.training import checkpoints as checkpoints_module
from course_lib.training.callbacks import EarlyStopping, Evaluation, History, Progress
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.distributed import Process, distributed
from course_lib.training.loop import train
from course_lib.training.optimisers import muon_and_adamw
from tests.objectives import in_processes as corrupted
from tests.training.helpers import Listed, Small, examples, loss, mean_loss

Result = tuple[nn.Module, History]


def small(process: Process, *, dtype: torch.dtype = torch.float64, steps: int = 6, **changes: Any) -> Result:
    """Rows with 1 to 5 targets: a mean over each process's rows, and then over processes, would be another number."""
    model = Small(dtype=dtype)
    source = EpochBatches(examples(), 7, seed=1)  # 7 rows for 2 processes: 4 and 3
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    arguments: dict[str, Any] = {"batches": source, "loss": loss, "optimisers": optimiser, "model": model}
    arguments |= changes
    return arguments["model"], train(**arguments, steps=steps, clip=0.2)


def gpt(process: Process) -> Result:
    torch.manual_seed(process.rank)  # other weights in the other process: those of the first one count
    model = GPT(GPTConfig(vocabulary=19, context=8, layers=2, heads=2, width=8, tied=True))
    source = WindowBatches(torch.arange(200) ** 2 % 19, 8, 4, seed=2)
    return model, train(model, source, causal_loss, muon_and_adamw(model, lr=0.01), steps=3, accumulate=2)


def twice(process: Process) -> Result:
    """A model can be trained again: nothing of the first time is left on it."""
    model, _ = small(process)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return small(process, model=model, optimisers=optimiser)


def around_forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> LossSum:
    """A loss that never calls the model itself, only what is in it."""
    assert isinstance(model, Small)
    ids, targets = batch
    logits = model.head(model.mix(model.embedding(ids)))
    total = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    return LossSum(total, (targets != -100).sum())


def with_a_spare_layer(process: Process) -> Result:
    """A part of the model that the loss never reaches."""
    model = Small()
    model.spare = nn.Linear(2, 3).double()
    return small(process, model=model, optimisers=torch.optim.SGD(model.parameters(), lr=0.1))


def stopped(process: Process) -> Result:
    """The last process alone wants to stop."""
    return small(process, callbacks=[lambda p: p.step == 3 and process.rank == process.world - 1])


def early(process: Process) -> Result:
    return small(process, callbacks=[EarlyStopping(Evaluation(lambda m: -mean_loss(m), every=1), patience=3)])


class Killed(Exception):
    pass


def with_dropout(process: Process, folder: Path | None = None, killed_after: int = 0) -> Result:
    torch.manual_seed(100 + process.rank)  # each process drops others
    model = Small(dropout=0.4)

    def kill(progress: Progress) -> None:
        if progress.step == killed_after:
            raise Killed

    checkpoints = Checkpoints(folder, every=2) if folder else None
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return small(process, model=model, optimisers=optimiser, accumulate=2, callbacks=[kill], checkpoints=checkpoints)


def broken(process: Process, step: int) -> Result:
    """Row 1, which only the last of two processes sees, holds a weight that is no number."""

    def weighed(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> LossSum:
        total, targets = loss(model, batch[:2])
        return LossSum(total * batch[2].mean(), targets)

    batches = [(*examples(rows=4), torch.ones(4)) for _ in range(6)]
    batches[step - 1][2][1] = torch.nan
    return small(process, batches=Listed(batches), loss=weighed)


TRAININGS: dict[str, Callable[[Process], Result]] = {
    "float64": small,
    "float32": lambda process: small(process, dtype=torch.float32),
    "accumulated": lambda process: small(process, accumulate=3),
    "around forward": lambda process: small(process, loss=around_forward),
    "gpt": gpt,
    "twice": twice,
    "stopped": stopped,
    "early": early,
    "masked": corrupted.masked,
    "spans": corrupted.spans,
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with distributed() as process:
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {"process": [process.rank, process.world]}

        def keep(name: str, result: Result) -> None:
            model, history = result
            tensors[f"{name}/weights"] = nn.utils.parameters_to_vector(model.parameters()).detach()
            tensors[f"{name}/losses"] = torch.tensor(history.losses, dtype=torch.float64)
            tensors[f"{name}/norms"] = torch.tensor(history.gradient_norms, dtype=torch.float64)

        for name, training in TRAININGS.items():
            keep(name, training(process))

        writes = []
        write_folder = checkpoints_module.write_folder
        checkpoints_module.write_folder = lambda *arguments: writes.append(1) or write_folder(*arguments)  # type: ignore
        keep("dropout", with_dropout(process))
        try:
            with_dropout(process, folder / f"checkpoints of {process.world}", killed_after=5)
        except Killed:
            facts["killed"] = True
        keep("dropout resumed", with_dropout(process, folder / f"checkpoints of {process.world}"))
        facts["writes"] = len(writes)

        failing: dict[str, Callable[[], Result]] = {"nan": lambda: broken(process, 3)}
        if process.world > 1:
            ids, targets = examples(rows=4)
            failing["one row"] = lambda: small(process, batches=Listed([examples(rows=1)]))
            failing["spare"] = lambda: with_a_spare_layer(process)
            failing["uneven"] = lambda: small(process, batches=Listed([(ids, targets[:3])]))
        for name, fail in failing.items():
            try:
                fail()
            except (ValueError, ArithmeticError) as error:
                facts[name] = f"{type(error).__name__}: {error}"
        save_file(tensors, folder / f"{process.world}-{process.rank}.safetensors")
        (folder / f"{process.world}-{process.rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
