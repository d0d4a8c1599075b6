"""Checkpoints: a resumed training is the uninterrupted one, bit for bit, and a damaged one is never gone on from."""

import contextlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from course_lib.data.batches import EpochBatches, WindowBatches
from course_lib.models import storage
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.storage import CheckpointError, read_folder
from course_lib.objectives.causal import LossSum, causal_loss
from course_lib.runtime import random_states, seed_everything
from course_lib.training import checkpoints as module
from course_lib.training.callbacks import EarlyStopping, Evaluation, History, Progress
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.loop import train
from course_lib.training.optimisers import muon_and_adamw
from course_lib.training.schedules import cosine_decay
from tests.training.helpers import Small, examples, loss, mean_loss


class Killed(BaseException):
    """Ends a training anywhere."""


def noisy_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> LossSum:
    """Draws from all sources of random numbers: dropout from PyTorch's, weights of the loss from the two others."""
    total, targets = loss(model, batch)
    return LossSum(total * (1 + random.gauss(0, 0.1)) * (1 + np.random.normal(0, 0.1)), targets)  # noqa: NPY002


class Training:
    """One training from its beginning in a fresh state, or from its checkpoints: everything is made anew."""

    steps = 11

    def __init__(
        self, checkpoints: Checkpoints | None = None, *, killed_after: int | None = None, seed: int = 0
    ) -> None:
        seed_everything(seed)
        self.model = Small(dropout=0.3, seed=seed)
        self.optimisers = [
            torch.optim.AdamW(self.model.embedding.parameters(), lr=0.02, amsgrad=True),
            torch.optim.SGD(self.model.mix.parameters(), lr=0.1, momentum=0.9),
        ]
        self.batches = EpochBatches(examples(), 4, seed=1)
        self.ran: list[int] = []
        stopping = EarlyStopping(Evaluation(mean_loss, every=2), patience=3)

        def kill(progress: Progress) -> None:
            self.ran.append(progress.step)
            if progress.step == killed_after:
                raise Killed

        self.history = History()
        with contextlib.suppress(Killed):
            self.history = train(
                self.model,
                self.batches,
                noisy_loss,
                self.optimisers,
                steps=self.steps,
                schedule=cosine_decay(warmup=2),
                accumulate=2,
                callbacks=[stopping, kill],
                checkpoints=checkpoints,
            )

    def everything(self) -> dict[str, Any]:
        """All that training changes, by name."""
        found: dict[str, Any] = {f"model {name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, optimiser in enumerate(self.optimisers):
            assert optimiser.state
            found |= {f"optimiser {number} {p} {key}": value for p, key, value in flat(optimiser)}
            found[f"groups {number}"] = optimiser.state_dict()["param_groups"]
        found["next batch"] = next(self.batches)[0]
        found["evaluations"] = self.history.evaluations
        found["losses"], found["norms"] = self.history.losses, self.history.gradient_norms
        states = random_states()
        found["torch"], found["python"], found["numpy"] = states["cpu"], states["python"][1], states["numpy"][1]
        found["places"] = [states["python"][2], states["numpy"][2:]]
        return found


def flat(optimiser: torch.optim.Optimizer) -> list[tuple[int, str, Any]]:
    state = optimiser.state_dict()["state"]
    return [(number, key, value) for number, of_one in state.items() for key, value in of_one.items()]


def assert_equal_to_the_bit(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, Tensor):
            assert value.dtype == other[name].dtype, name
            assert torch.equal(value, other[name]), name
        else:
            assert value == other[name], name


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Any]:
    torch.set_num_threads(1)
    return Training().everything()


def test_the_training_here_has_all_that_must_be_remembered(uninterrupted):
    assert len(uninterrupted["losses"]) == Training.steps
    assert len(set(uninterrupted["losses"])) == Training.steps
    assert [step for step, _ in uninterrupted["evaluations"]] == [2, 4, 6, 8, 10, 11]
    assert {"optimiser 0 0 exp_avg", "optimiser 0 0 max_exp_avg_sq", "optimiser 1 1 momentum_buffer"} < set(
        uninterrupted
    )


@pytest.mark.parametrize("killed_after", range(1, Training.steps + 1))
@pytest.mark.parametrize("every", [1, 4])
def test_resumed_is_uninterrupted_to_the_bit(tmp_path, uninterrupted, every, killed_after):
    first = Training(Checkpoints(tmp_path, every=every), killed_after=killed_after)
    saved = (killed_after - 1) // every * every  # the callback that kills comes before the checkpoint of its step
    assert [path.name for path in Checkpoints(tmp_path).found()][-1:] == ([f"step-{saved:06d}"] if saved else [])
    second = Training(Checkpoints(tmp_path, every=every), seed=0 if not saved else 7)
    assert first.ran == [*range(1, killed_after + 1)]
    assert second.ran == [*range(saved + 1, Training.steps + 1)]
    assert_equal_to_the_bit(second.everything(), uninterrupted)
    assert second.model.head.weight is second.model.embedding.weight


def test_killed_again_and_again_it_is_still_the_uninterrupted_one(tmp_path, uninterrupted):
    for seed, killed_after in enumerate((2, 3, 4, 4, 8, 10)):
        Training(Checkpoints(tmp_path, every=1, keep=1), killed_after=killed_after, seed=seed)
    assert_equal_to_the_bit(Training(Checkpoints(tmp_path, every=1), seed=99).everything(), uninterrupted)


def test_checkpoints_change_nothing_in_the_training_that_writes_them(tmp_path, uninterrupted):
    assert_equal_to_the_bit(Training(Checkpoints(tmp_path, every=1)).everything(), uninterrupted)


@pytest.mark.parametrize("killed_after", [3, 5, 9, 10])
def test_early_stopping_goes_on_counting_and_an_ended_training_is_not_run_again(tmp_path, killed_after):
    evaluations = iter([5.0, 4.0, 6.0, 7.0, 8.0, 1.0])

    def attempt(killed_after: int | None) -> tuple[History | None, list[int]]:
        ran: list[int] = []

        def kill(progress: Progress) -> None:
            ran.append(progress.step)
            if progress.step == killed_after:
                raise Killed

        model = Small()
        stopping = EarlyStopping(Evaluation(lambda model: next(evaluations), every=2), patience=3)
        arguments: dict[str, Any] = {"callbacks": [kill, stopping], "checkpoints": Checkpoints(tmp_path, every=1)}
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        try:
            return train(model, EpochBatches(examples(), 4, seed=1), loss, optimiser, steps=20, **arguments), ran
        except Killed:
            return None, ran

    attempt(killed_after)
    history, ran = attempt(None)
    assert history is not None
    assert history.evaluations == [(2, 5.0), (4, 4.0), (6, 6.0), (8, 7.0), (10, 8.0)]
    assert ran == [*range(killed_after, 11)]
    again, ran = attempt(None)
    assert ran == []
    assert again is not None
    assert (again.losses, again.evaluations) == (history.losses, history.evaluations)


def plain(folder: Path | None, *, steps: int, seed: int = 0, **changes: Any) -> tuple[Small, History]:
    model = Small(seed=seed)
    arguments: dict[str, Any] = {
        "model": model,
        "batches": EpochBatches(examples(), 4, seed=1),
        "loss": loss,
        "optimisers": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "checkpoints": Checkpoints(folder, every=2) if folder else None,
    }
    return model, train(**({"steps": steps} | arguments | changes))


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_a_complete_training_is_loaded_and_not_run_again(tmp_path):
    model, history = plain(tmp_path, steps=5)
    other, again = plain(tmp_path, steps=5, seed=3, loss=never)
    assert torch.equal(weights(other), weights(model))
    assert again.losses == history.losses


def never(model: nn.Module, batch: object) -> LossSum:
    raise AssertionError("nothing should be trained")


def test_with_more_steps_a_complete_training_is_continued(tmp_path):
    plain(tmp_path, steps=5)
    model, history = plain(tmp_path, steps=9, seed=3)
    expected, at_once = plain(None, steps=9)
    assert torch.equal(weights(model), weights(expected))
    assert history.losses == at_once.losses
    with pytest.raises(
        CheckpointError, match=r"step-000009 does not fit this training: it has done 9 steps, and now st"
    ):
        plain(tmp_path, steps=8)


# --- what lies on the disk -------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_safetensors_and_json_and_tied_weights_once(tmp_path):
    Training(Checkpoints(tmp_path, every=4, keep=9))
    assert [path.name for path in Checkpoints(tmp_path).found()] == ["step-000004", "step-000008", "step-000011"]
    newest = tmp_path / "step-000011"
    assert {path.name for path in newest.iterdir()} == {"facts.json", "training.safetensors", "weights.safetensors"}
    tensors, facts = read_folder(newest)
    assert tensors["weights.safetensors"].keys() == {"embedding.weight", "mix.weight", "mix.bias", "scale"}
    assert (facts["step"], facts["stopped"]) == (11, False)
    assert json.loads((newest / "facts.json").read_text("utf-8"))["facts"] == facts


@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_stay_and_old_ones_go_only_when_the_new_one_stands(tmp_path, monkeypatch, keep):
    write_folder, before = module.write_folder, []

    def watched(path: Path, *arguments: Any) -> None:
        before.append(len(Checkpoints(tmp_path).found()))
        write_folder(path, *arguments)
        assert len(Checkpoints(tmp_path).found()) == before[-1] + 1

    monkeypatch.setattr(module, "write_folder", watched)
    plain(None, steps=6, checkpoints=Checkpoints(tmp_path, every=1, keep=keep))
    assert before == [min(written, keep) for written in range(6)]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert [path.name for path in Checkpoints(tmp_path).found()] == [f"step-00000{i}" for i in range(7 - keep, 7)]


def test_where_writing_fails_the_old_checkpoint_stays(tmp_path, monkeypatch):
    plain(tmp_path, steps=4, checkpoints=Checkpoints(tmp_path, every=1, keep=1))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_flush", full)
    with pytest.raises(OSError, match="No space left"):
        plain(tmp_path, steps=5, checkpoints=Checkpoints(tmp_path, every=1, keep=1))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]


def test_what_a_killed_process_left_is_removed_and_anything_else_stays(tmp_path):
    plain(tmp_path, steps=4)
    for name in (".step-000006.4711.partial", ".step-000002.4711.removed", "notes", "step-7", "step-000006.old"):
        shutil.copytree(tmp_path / "step-000004", tmp_path / name)
    (tmp_path / ".step-000006.4711.partial" / "facts.json").unlink()
    plain(tmp_path, steps=5)
    names = {"notes", "step-7", "step-000006.old", "step-000004", "step-000005"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_steps_are_ordered_as_numbers_where_they_outgrow_their_six_digits(tmp_path):
    for name in ("step-999999", "step-1000000", "step-000002"):
        (tmp_path / name).mkdir()
    assert [path.name for path in Checkpoints(tmp_path).found()] == ["step-000002", "step-999999", "step-1000000"]


# --- damage ----------------------------------------------------------------------------------------------------------

FILES = ["facts.json", "training.safetensors", "weights.safetensors"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def pickled(path: Path) -> None:
    torch.save({"weights": torch.ones(3)}, path.with_name("x.pt"))
    path.with_name("x.pt").replace(path)


def missing(path: Path) -> None:
    path.unlink()


def additional(path: Path) -> None:
    path.with_name("more.bin").write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    plain(folder, steps=4)
    return folder


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", [cut, flip, pickled, missing, additional])
def test_from_a_damaged_checkpoint_nothing_is_trained_and_the_older_one_that_is_whole_is_named(
    two_checkpoints, tmp_path, file, damage
):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    damage(folder / "step-000004" / file)
    model = Small()
    with pytest.raises(CheckpointError) as error:
        plain(folder, steps=6, model=model, optimisers=torch.optim.SGD(model.parameters()), loss=never)
    named = "more.bin" if damage is additional else file
    assert str(error.value).startswith(f"{folder / 'step-000004' / named} ")
    assert str(error.value).endswith(
        f" {folder / 'step-000002'} is whole: to go on from there, remove {folder / 'step-000004'}."
    )
    assert torch.equal(weights(model), weights(Small()))
    assert [path.name for path in Checkpoints(folder).found()] == ["step-000002", "step-000004"]

    shutil.rmtree(folder / "step-000004")  # what the error says
    resumed, _ = plain(folder, steps=6)
    assert torch.equal(weights(resumed), weights(plain(None, steps=6)[0]))


def test_an_older_checkpoint_that_is_damaged_too_is_not_named(two_checkpoints, tmp_path):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    for name in ("step-000002", "step-000004"):
        cut(folder / name / "facts.json")
    with pytest.raises(CheckpointError) as error:
        plain(folder, steps=6)
    assert "step-000002" not in str(error.value)
    assert str(error.value).endswith("remove the folder and make it again.")


def test_a_damaged_older_checkpoint_is_no_obstacle(two_checkpoints, tmp_path):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    cut(folder / "step-000002" / "facts.json")
    assert len(plain(folder, steps=6)[1].losses) == 6


# --- another training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": None}, "it was made with clip = 1.0, and now it is None"),
        ({"accumulate": 2}, "it was made with accumulate = 1, and now it is 2"),
        ({"steps": 3}, "it has done 4 steps, and now steps is 3"),
        (
            {"batches": EpochBatches(examples(), 5, seed=1)},
            "state is of batches made with {'kind': 'EpochBatches', 'rows': 23, 'batch_size': 4",
        ),
        (
            {"batches": WindowBatches([1, 2, 3], 1, 1, seed=0)},
            "state is of batches made with {'kind': 'EpochBatches', 'rows': 23, 'batch_size': ",
        ),
        (
            {"model": Small(dtype=torch.float32)},
            "the weights are of another model: for embedding.weight they hold torch.fl",
        ),
        (
            {"model": nn.Linear(2, 3)},
            "the weights are of another model: for bias they hold nothing, the model torch.float",
        ),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(two_checkpoints, change, message):
    if "model" in change:
        change["optimisers"] = torch.optim.SGD(change["model"].parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(CheckpointError) as error:
        plain(two_checkpoints, **({"steps": 6} | change))
    text = f"{two_checkpoints / 'step-000004'} does not fit this training: {message}"
    assert str(error.value).startswith(text), error.value
    assert str(error.value).endswith("Give what it was made with, to go on; or give another folder, to begin anew.")


def test_another_learning_rate_is_refused(two_checkpoints):
    model = Small()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    with pytest.raises(
        CheckpointError, match=r"made with optimisers = SGD .* lr: 0\.1 .*, and now it is SGD .* lr: 0\.2 "
    ):
        plain(two_checkpoints, steps=6, model=model, optimisers=optimiser)


def test_the_rate_that_the_schedule_gave_last_does_not_count_as_another(tmp_path):
    for steps in (2, 3):
        plain(tmp_path, steps=steps, schedule=cosine_decay())


@pytest.mark.parametrize("drop", ["step", "optimisers", "batches", "history", "random", "settings"])
def test_a_whole_folder_that_is_no_checkpoint_is_refused(two_checkpoints, tmp_path, drop):
    tensors, facts = read_folder(two_checkpoints / "step-000004")
    del facts[drop]
    storage.write_folder(tmp_path / "step-000004", tensors, facts)
    with pytest.raises(CheckpointError, match=rf"step-000004 does not fit this training: KeyError\('{drop}'\)"):
        plain(tmp_path, steps=6)


def test_a_state_that_a_checkpoint_cannot_hold_is_named_and_nothing_is_written(tmp_path):
    class Odd(EpochBatches[Any]):
        def state_dict(self) -> dict[str, Any]:
            return {"place": [1, {"of": object()}]}

    with pytest.raises(TypeError, match=r"^a checkpoint holds tensors, and what JSON can hold, not <object object"):
        plain(tmp_path, steps=2, batches=Odd(examples(), 4, seed=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["every", "keep"])
def test_bad_numbers_are_named(tmp_path, name):
    with pytest.raises(ValueError, match=rf"^{name} is 0: it must be at least 1"):
        Checkpoints(tmp_path, **{name: 0})


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"^folder is '.*file', which is a file: give a folder, or the name of a new one"
    ):
        Checkpoints(tmp_path / "file")


# --- the optimisers and the model of the course ----------------------------------------------------------------------


def gpt(folder: Path | None, *, killed_after: int = 0) -> Tensor:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocabulary=19, context=8, layers=2, heads=2, width=8, dropout=0.2, tied=True))

    def kill(progress: Progress) -> None:
        if progress.step == killed_after:
            raise Killed

    train(
        model,
        WindowBatches(torch.arange(200) ** 2 % 19, 8, 3, seed=2),
        causal_loss,
        muon_and_adamw(model, weight_decay=0.1),
        steps=7,
        precision="bfloat16",
        callbacks=[kill],
        checkpoints=Checkpoints(folder, every=2) if folder else None,
    )
    return weights(model)


def test_a_gpt_with_muon_and_adamw_is_resumed_to_the_bit(tmp_path):
    with pytest.raises(Killed):
        gpt(tmp_path, killed_after=6)
    assert torch.equal(gpt(tmp_path), gpt(None))
