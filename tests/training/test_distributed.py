"""Two processes under torchrun give the parameters of one, and end as one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from course_lib.models.storage import CheckpointError
from course_lib.training.distributed import Process, distributed
from tests.training import in_processes
from tests.training.helpers import examples

ROOT = Path(__file__).resolve().parents[2]
TRAININGS = list(in_processes.TRAININGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the same trainings left in one process (this one) and in two (torchrun)."""
    folder = tmp_path_factory.mktemp("processes")
    threads = torch.get_num_threads()
    in_processes.main(folder)
    torch.set_num_threads(threads)
    command = [
        *[sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"],
        *["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"],
        *["-m", "tests.training.in_processes", str(folder)],
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    env["PYTHONWARNINGS"] = "error"
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder


def tensors(folder: Path, world: int, rank: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{world}-{rank}.safetensors")


def facts(folder: Path, world: int, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"{world}-{rank}.json").read_text())


def test_there_were_two_processes_and_one(folder):
    assert [facts(folder, *of)["process"] for of in ((1, 0), (2, 0), (2, 1))] == [[0, 1], [0, 2], [1, 2]]


@pytest.mark.parametrize("name", [name for name in TRAININGS if name != "stopped"])
@pytest.mark.parametrize("what", ["weights", "losses", "norms"])
def test_two_processes_give_what_one_gives_with_the_same_batches(folder, name, what):
    """They add up in another order: a few roundings differ. If any target weighs wrong, everything does."""
    one, first, second = (tensors(folder, *of)[f"{name}/{what}"] for of in ((1, 0), (2, 0), (2, 1)))
    # Muon divides by the size of a gradient, so that it enlarges roundings.
    tolerance = 1e-12 if name not in {"float32", "gpt"} else 1e-5
    torch.testing.assert_close(first, one, rtol=0, atol=tolerance)
    assert torch.equal(first, second)


def test_the_trainings_here_train(folder):
    """Without a difference between trainings there would be nothing to compare."""
    found = tensors(folder, 2, 0)
    assert len({tuple(found[f"{name}/weights"].tolist()) for name in TRAININGS}) == len(TRAININGS)
    assert all(len(set(found[f"{name}/losses"].tolist())) >= 3 for name in TRAININGS)


def test_a_process_that_wants_to_stop_stops_all(folder):
    assert [len(tensors(folder, *of)["stopped/losses"]) for of in ((1, 0), (2, 0), (2, 1))] == [3, 3, 3]


def test_resumed_in_two_processes_is_uninterrupted_to_the_bit_each_with_its_own_random_numbers(folder):
    for rank in range(2):
        found = tensors(folder, 2, rank)
        assert facts(folder, 2, rank)["killed"]
        for what in ("weights", "losses", "norms"):
            assert torch.equal(found[f"dropout resumed/{what}"], found[f"dropout/{what}"])


def test_one_process_writes_the_checkpoints(folder):
    # every 2 of 6 steps: two before the end after step 5, one after it
    assert [facts(folder, 2, rank)["writes"] for rank in range(2)] == [3, 0]


def test_a_loss_that_is_no_number_in_one_process_stops_all_with_the_same_words(folder):
    errors = [facts(folder, *of)["nan"] for of in ((1, 0), (2, 0), (2, 1))]
    assert errors[0].startswith(
        "FloatingPointError: at step 3 the loss is nan and its gradient has norm nan: the training"
    )
    assert errors[1] == errors[2] == errors[0]


def test_a_batch_that_cannot_be_shared_is_named_in_every_process(folder):
    for rank in range(2):
        assert facts(folder, 2, rank)["one row"] == (
            "ValueError: batches gave 1 row for 2 processes: each needs at least one"
        )
        assert facts(folder, 2, rank)["uneven"] == (
            "ValueError: batches gave tensors with 4, 3 rows: all must have the same number, to be shared"
        )


def test_a_parameter_that_the_loss_does_not_reach_is_named_in_every_process(folder):
    """DistributedDataParallel itself would stop a step later, and speak of its own options."""
    for rank in range(2):
        assert facts(folder, 2, rank)["spare"] == (
            "ValueError: loss gives no gradient to spare.weight, spare.bias: several processes need one for each "
            "parameter that learns. Call requires_grad_(False) on what has no part in this training"
        )
    _, history = in_processes.with_a_spare_layer(Process(0, 1, torch.device("cpu")))  # alone, it may be so
    assert len(history.losses) == 6


def test_a_checkpoint_of_two_processes_is_no_start_for_one(folder):
    """Each process's random numbers are in it."""
    process = Process(0, 1, torch.device("cpu"))
    with pytest.raises(CheckpointError, match=r"it was made with processes = 2, and now it is 1"):
        in_processes.with_dropout(process, folder / "checkpoints of 2")


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_shares_of_all_processes_are_all_rows_once(world):
    ids, targets = examples(rows=7)
    shares = [Process(rank, world, torch.device("cpu")).share((ids, targets)) for rank in range(world)]
    for number, whole in enumerate((ids, targets)):
        found = torch.cat([share[number] for share in shares])
        assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, whole.tolist()))
    assert max(len(share[0]) for share in shares) - min(len(share[0]) for share in shares) <= 1


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with distributed() as process:
        assert (process.rank, process.world, process.first) == (0, 1, True)
        assert process.gather("a") == ["a"]
        assert process.any(True)
        assert not process.any(False)
        assert process.sum(torch.tensor(3)) == 3


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(ValueError, match=re.escape("--nproc-per-node is more than 2, the number of GPUs here")),
        distributed(),
    ):
        pass
