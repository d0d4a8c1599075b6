"""The loop: the steps of a loop written out by hand, where every target weighs the same and an end is said clearly."""

import io
import math
import re
import sys
from typing import Any

import pytest
import torch
from torch import nn

from course_lib.data.batches import IGNORE, EpochBatches
from course_lib.models.decoder import GPT, gpt2_config
from course_lib.objectives.causal import LossSum, causal_loss
from course_lib.training import loop
from course_lib.training.callbacks import EarlyStopping, Evaluation, History, Progress
from course_lib.training.checkpoints import Checkpoints
from course_lib.training.loop import train
from course_lib.training.schedules import constant, linear_decay
from tests.training.helpers import LENGTH, VOCABULARY, Listed, Small, examples, loss, mean_loss


def batches(count: int, rows: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [examples(seed, rows=rows) for seed in range(count)]


def sgd(model: nn.Module, lr: float = 0.5) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def assert_same_weights(model: nn.Module, other: nn.Module, atol: float = 1e-12) -> None:
    for (name, tensor), expected in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        difference = (tensor - expected).abs().max().item()
        assert difference <= atol, f"{name} differs by {difference}"


# --- the steps themselves --------------------------------------------------------------------------------------------


def by_hand(
    model: nn.Module, optimiser: torch.optim.Optimizer, groups: list[list[Any]], rates: list[float], clip: float
) -> tuple[list[float], list[float]]:
    """The mean loss of all targets of a step, its gradient shortened to ``clip``, and a step of PyTorch's optimiser."""
    losses, norms = [], []
    for group, rate in zip(groups, rates, strict=True):
        ids, targets = (torch.cat(tensors) for tensors in zip(*group, strict=True))
        value = nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        value.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
        for g in gradients:
            g *= min(1, clip / norms[-1])
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
        losses.append(value.item())
    return losses, norms


@pytest.mark.parametrize(("accumulate", "clip"), [(1, 0.3), (3, 0.19)])
def test_training_is_the_loop_written_out_by_hand(accumulate, clip):
    """With momentum, a schedule and clipping: a step that differs anywhere moves all that follow."""
    model, other = Small(), Small()
    drawn = batches(4 * accumulate)
    history = train(
        model,
        Listed(drawn),
        loss,
        sgd(model),
        steps=4,
        schedule=linear_decay(),
        clip=clip,
        accumulate=accumulate,
    )
    groups = [drawn[i : i + accumulate] for i in range(0, len(drawn), accumulate)]
    losses, norms = by_hand(other, sgd(other), groups, [0.5, 0.375, 0.25, 0.125], clip=clip)
    assert max(norms) > clip > min(norms)  # clipping does something, and not always
    assert history.losses == pytest.approx(losses, abs=1e-12)
    assert history.gradient_norms == pytest.approx(norms, abs=1e-12)
    assert_same_weights(model, other)


def test_accumulated_batches_are_one_large_batch_however_unequal_their_targets_are():
    parts = [examples(seed, rows=rows) for seed, rows in ((0, 1), (1, 13), (2, 4))]
    parts[1][1][:, 1:] = IGNORE  # 13 rows with one target each, beside few rows with many
    assert sorted((targets != IGNORE).sum().item() for _, targets in parts) == [1, 10, 13]
    whole = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
    model, other = Small(), Small()
    accumulated = train(model, Listed(parts * 3), loss, sgd(model), steps=3, accumulate=3)
    at_once = train(other, Listed([whole] * 3), loss, sgd(other), steps=3)
    assert_same_weights(model, other)
    assert accumulated.losses == pytest.approx(at_once.losses, abs=1e-12)
    assert accumulated.gradient_norms == pytest.approx(at_once.gradient_norms, abs=1e-12)


def test_the_loss_of_the_library_trains_as_the_one_written_here():
    model, other = Small(), Small()
    assert train(model, Listed(batches(3)), causal_loss, sgd(model), steps=3).losses == pytest.approx(
        train(other, Listed(batches(3)), loss, sgd(other), steps=3).losses, abs=1e-12
    )


def test_without_a_limit_gradients_are_not_clipped():
    model, other = Small(), Small()
    train(model, Listed(batches(1)), loss, sgd(model), steps=1, clip=None)
    by_hand(other, sgd(other), [batches(1)], [0.5], clip=1e9)
    assert_same_weights(model, other)


def test_clipping_shortens_the_gradient_of_all_parameters_to_its_limit_and_keeps_its_direction():
    model, other = Small(), Small()
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    moved = {}
    for one, clip in ((model, 0.01), (other, None)):
        train(one, Listed(batches(1)), loss, torch.optim.SGD(one.parameters(), lr=1.0), steps=1, clip=clip)
        moved[clip] = nn.utils.parameters_to_vector(one.parameters()).detach() - before
    assert moved[0.01].norm().item() == pytest.approx(0.01, abs=1e-12)
    torch.testing.assert_close(moved[0.01] / 0.01, moved[None] / moved[None].norm(), rtol=0, atol=1e-10)


def test_clipping_is_that_of_pytorch():
    model, other = Small(), Small()
    train(model, Listed(batches(1)), loss, sgd(model), steps=1, clip=0.1)
    result = loss(other, batches(1)[0])
    (result.total / result.targets).backward()
    nn.utils.clip_grad_norm_(other.parameters(), 0.1)
    sgd(other).step()
    assert_same_weights(model, other, atol=1e-5)  # PyTorch divides by the norm plus 1e-6


def test_each_optimiser_has_its_own_rate_and_leaves_with_it():
    model = Small()
    first = torch.optim.SGD(model.mix.parameters(), lr=0.4)
    second = torch.optim.SGD([{"params": model.embedding.parameters(), "lr": 0.1}], lr=9.0)
    seen = []
    train(
        model,
        Listed(batches(4)),
        loss,
        [first, second],
        steps=4,
        schedule=linear_decay(),
        callbacks=[lambda p: seen.append((p.factor, first.param_groups[0]["lr"], second.param_groups[0]["lr"]))],
    )
    assert seen == [(f, pytest.approx(0.4 * f), pytest.approx(0.1 * f)) for f in (1, 0.75, 0.5, 0.25)]
    other = Small()
    groups: list[dict[str, Any]] = [
        {"params": other.mix.parameters()},
        {"params": other.embedding.parameters(), "lr": 0.1},
    ]
    train(other, Listed(batches(4)), loss, torch.optim.SGD(groups, lr=0.4), steps=4, schedule=linear_decay())
    assert_same_weights(model, other)
    assert (first.param_groups[0]["lr"], second.param_groups[0]["lr"]) == (0.4, 0.1)


def test_the_rates_come_back_after_an_error_too():
    model = Small()
    optimiser = sgd(model)
    with pytest.raises(ValueError, match="batches came to an end"):
        train(model, Listed(batches(2)), loss, optimiser, steps=9, schedule=linear_decay())
    assert optimiser.param_groups[0]["lr"] == 0.5


def test_gradients_left_from_before_are_not_trained_on():
    model, other = Small(), Small()
    loss(model, examples(5)).total.backward()
    train(model, Listed(batches(2)), loss, sgd(model), steps=2)
    train(other, Listed(batches(2)), loss, sgd(other), steps=2)
    assert_same_weights(model, other)


def test_a_frozen_parameter_stays_as_it_is():
    model = Small()
    model.mix.requires_grad_(False)
    before = model.mix.weight.clone()
    train(model, Listed(batches(2)), loss, torch.optim.SGD(model.embedding.parameters()), steps=2)
    assert torch.equal(model.mix.weight, before)


def leave_in_evaluation_mode(progress: Progress) -> None:
    progress.model.eval()


class Named(nn.Module):
    """Keeps the dtype that its product is computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        self.dtype = y.dtype
        return y


def squares(model: nn.Module, batch: tuple[torch.Tensor]) -> LossSum:
    y = model(batch[0])
    return LossSum(y.float().square().sum(), torch.tensor(y.numel()))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bfloat16_computes_in_it_and_keeps_parameters_and_optimiser_in_float32(precision):
    model = Named()
    optimiser = torch.optim.AdamW(model.parameters())
    train(model, Listed([(torch.randn(5, 3),)] * 2), squares, optimiser, steps=2, precision=precision)
    assert model.dtype == getattr(torch, precision)
    tensors = [*model.parameters(), *(s[k] for s in optimiser.state.values() for k in ("exp_avg", "exp_avg_sq"))]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_in_bfloat16_the_first_loss_is_that_of_float32_to_two_digits_and_falls_like_it():
    seen = {}
    for precision in ("float32", "bfloat16"):
        model = Small(dtype=torch.float32)
        source = EpochBatches(examples(), 8, seed=0)
        seen[precision] = train(model, source, loss, sgd(model, 0.1), steps=30, precision=precision).losses
    assert seen["bfloat16"] != seen["float32"]
    # bfloat16 has 8 bits: a relative error of 1/256 in each number, less in their mean
    assert seen["bfloat16"] == pytest.approx(seen["float32"], rel=0.02)


# --- history, callbacks, the end -------------------------------------------------------------------------------------


def test_a_callback_sees_each_step_and_one_that_says_true_ends_the_training():
    model, seen = Small(), []

    def look(progress: Progress) -> bool:
        seen.append((progress.step, progress.steps, progress.loss, progress.gradient_norm))
        assert progress.model is model
        return progress.step == 3

    history = train(model, Listed(batches(5)), loss, sgd(model), steps=5, callbacks=[look, lambda progress: None])
    expected = zip((1, 2, 3), (5, 5, 5), history.losses, history.gradient_norms, strict=True)
    assert seen == list(expected)


def test_all_callbacks_are_called_when_one_of_them_ends_the_training():
    model, seen = Small(), []
    callbacks = [lambda p: True, lambda p: seen.append(p.step)]
    train(model, Listed(batches(5)), loss, sgd(model), steps=5, callbacks=callbacks)
    assert seen == [1]


def test_an_evaluation_runs_every_so_many_steps_and_after_the_last_without_dropout_or_gradients():
    model, seen = Small(dropout=0.5), []

    def function(evaluated: nn.Module) -> float:
        seen.append((evaluated.training, torch.is_grad_enabled()))
        return float(len(seen))

    training_again = lambda progress: seen.append((progress.model.training, torch.is_grad_enabled()))  # noqa: E731
    history = train(model, Listed(batches(5)), loss, sgd(model), steps=5, callbacks=[Evaluation(function, every=2)])
    assert history.evaluations == [(2, 1.0), (4, 2.0), (5, 3.0)]
    assert seen == [(False, False)] * 3
    seen.clear()
    train(model, Listed(batches(2)), loss, sgd(model), steps=2, callbacks=[leave_in_evaluation_mode])
    train(model, Listed(batches(2)), loss, sgd(model), steps=2, callbacks=[training_again])
    assert seen == [(True, True)] * 2


def test_a_callback_that_leaves_the_model_in_evaluation_mode_does_not_turn_dropout_off():
    losses = []
    for callbacks in ([], [leave_in_evaluation_mode]):
        torch.manual_seed(0)
        model = Small(dropout=0.5)
        losses.append(train(model, Listed(batches(3)), loss, sgd(model), steps=3, callbacks=callbacks).losses)
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("values", "patience", "last"),
    [
        ([5, 4, 3, 2, 1, 0], 1, 6),  # always lower: to the end
        ([5, 4, 4, 3, 9, 9], 1, 3),  # equal is not lower
        ([5, 4, 6, 3, 7, 8], 2, 6),
        ([5, 4, 6, 7, 3, 8], 2, 4),
        ([1, 2, 3, 4, 5, 6], 3, 4),
    ],
)
def test_early_stopping_waits_as_often_as_its_patience_for_a_new_lowest_value(values, patience, last):
    model, answers = Small(), iter(values)
    evaluation = Evaluation(lambda model: next(answers), every=2)
    history = train(
        model, Listed(batches(12)), loss, sgd(model), steps=12, callbacks=[EarlyStopping(evaluation, patience=patience)]
    )
    assert history.evaluations == [(2 * i + 2, value) for i, value in enumerate(values[:last])]
    assert len(history.losses) == 2 * last


def test_an_evaluation_that_stands_alone_and_in_early_stopping_is_made_once():
    model, evaluation = Small(), Evaluation(mean_loss, every=1)
    history = train(
        model, Listed(batches(4)), loss, sgd(model), steps=4, callbacks=[evaluation, EarlyStopping(evaluation, 9)]
    )
    assert [step for step, _ in history.evaluations] == [1, 2, 3, 4]


def test_an_evaluation_that_is_no_number_is_an_error():
    model = Small()
    with pytest.raises(FloatingPointError, match=r"^the evaluation after step 2 gave nan"):
        train(model, Listed(batches(3)), loss, sgd(model), steps=3, callbacks=[Evaluation(lambda m: math.nan, every=2)])


class Breaking(nn.Module):
    """Its loss is what it is told to be from a step on."""

    def __init__(self, value: float, step: int) -> None:
        super().__init__()
        self.weight, self.value, self.left = nn.Parameter(torch.ones(3)), value, step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        return (self.weight * x).sum() * (self.value if self.left <= 0 else 1.0)


def of_breaking(model: nn.Module, batch: tuple[torch.Tensor]) -> LossSum:
    return LossSum(model(*batch), torch.tensor(2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_the_training_saves_nothing_and_says_what_to_try(tmp_path, value):
    model = Breaking(value, step=4)
    source = EpochBatches((torch.ones(2, 3),), 1, seed=0)
    with pytest.raises(FloatingPointError) as error:
        train(model, source, of_breaking, sgd(model, 0.1), steps=9, checkpoints=Checkpoints(tmp_path, every=1, keep=9))
    assert re.match(rf"at step 4 the loss is {value} and .*Try a smaller learning rate, .*clip=1.0", str(error.value))
    assert [path.name for path in Checkpoints(tmp_path).found()] == ["step-000001", "step-000002", "step-000003"]
    assert model.weight.isfinite().all()  # on a CPU, the step was not made


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_noticed_also_where_its_gradient_is_one(value):
    model = Small()
    added = lambda m, batch: LossSum(loss(m, batch).total + value, loss(m, batch).targets)  # noqa: E731
    with pytest.raises(FloatingPointError, match=rf"^at step 1 the loss is {value} and its gradient has norm \d"):
        train(model, Listed(batches(1)), added, sgd(model), steps=1)


class Root(nn.Module):
    """A number as its loss, and a gradient that is none: the root of 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight.sqrt().sum() * x.sum()


def test_a_gradient_that_is_no_number_stops_the_training_before_it_reaches_the_weights(tmp_path):
    model = Root()
    source = EpochBatches((torch.ones(2, 1),), 1, seed=0)
    checkpoints = Checkpoints(tmp_path, every=1)
    with pytest.raises(FloatingPointError, match=r"^at step 1 the loss is 0.0 and its gradient has norm inf"):
        train(model, source, of_breaking, sgd(model), steps=3, checkpoints=checkpoints)
    assert checkpoints.found() == []
    assert model.weight.item() == 0


@pytest.mark.parametrize("every", [1, 7])
def test_where_losses_are_read_late_the_error_names_the_same_step_and_nothing_is_saved(tmp_path, monkeypatch, every):
    """As on a GPU: the loop is told to read only now and then."""
    monkeypatch.setitem(loop.READ_EVERY, "cpu", 7)
    model = Breaking(math.nan, step=4)
    source = EpochBatches((torch.ones(2, 3),), 1, seed=0)
    checkpoints = Checkpoints(tmp_path, every=every, keep=9)
    with pytest.raises(FloatingPointError, match=r"^at step 4 the loss is nan"):
        train(model, source, of_breaking, sgd(model, 0.1), steps=9, checkpoints=checkpoints)
    assert [path.name for path in checkpoints.found()] == [f"step-00000{step}" for step in (1, 2, 3) if every == 1]


def test_losses_that_are_read_late_are_the_same(monkeypatch):
    model, other = Small(), Small()
    at_once = train(model, Listed(batches(9)), loss, sgd(model), steps=9)
    monkeypatch.setitem(loop.READ_EVERY, "cpu", 20)
    reads: list[int] = []
    read_all = History.read

    def watched(history: History) -> None:
        reads.append(len(history._unread))
        read_all(history)

    monkeypatch.setattr(History, "read", watched)
    late = train(other, Listed(batches(9)), loss, sgd(other), steps=9)
    assert late.losses == at_once.losses
    assert late.gradient_norms == at_once.gradient_norms
    assert max(reads) == 8  # the first at once, all others at the end


def test_a_step_without_any_target_is_an_error():
    ids, targets = examples()
    model = Small()
    with pytest.raises(ValueError, match=r"^step 1 had no target at all: leave out batches"):
        train(model, Listed([(ids, torch.full_like(targets, IGNORE))]), causal_loss, sgd(model), steps=1)


@pytest.mark.parametrize("summed", [loss, causal_loss])
def test_a_batch_without_targets_beside_one_with_some_changes_nothing(summed):
    ids, targets = examples()
    nothing = (ids, torch.full_like(targets, IGNORE))
    model, other = Small(), Small()
    train(model, Listed([nothing, (ids, targets)]), summed, sgd(model), steps=1, accumulate=2)
    train(other, Listed([(ids, targets)]), summed, sgd(other), steps=1)
    assert_same_weights(model, other)


def test_a_number_of_targets_may_be_a_plain_number():
    model, other = Small(), Small()
    plain = lambda m, batch: LossSum(loss(m, batch).total, int(loss(m, batch).targets))  # type: ignore[arg-type]  # noqa: E731
    assert (
        train(model, Listed(batches(2)), plain, sgd(model), steps=2).losses
        == train(other, Listed(batches(2)), loss, sgd(other), steps=2).losses
    )


# --- the bar ---------------------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("disabled", "delay", "shown"), [("", 0, True), ("1", 0, False), ("", 2, False)])
def test_the_bar_shows_the_loss_late_and_never_where_outputs_are_compared(monkeypatch, disabled, delay, shown):
    monkeypatch.setenv("TQDM_DISABLE", disabled)
    before = loop.late_bar()
    assert before["delay"] == 2
    monkeypatch.setattr(loop, "late_bar", lambda: {**before, "delay": delay, "mininterval": 0})
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    model = Small()
    history = train(model, Listed(batches(3)), loss, sgd(model), steps=3)
    text = screen.getvalue()
    assert ("3/3 [" in text and f"loss {history.losses[-1]:.3f}" in text) == shown
    assert bool(text) == shown


# --- bad arguments ---------------------------------------------------------------------------------------------------

NOT_IN_ANY = Small()
HALF = Small(dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps is 0: it must be at least 1"),
        ({"steps": 1.5}, TypeError, "steps must be an integer, not 1.5"),
        ({"accumulate": 0}, ValueError, "accumulate is 0: it must be at least 1"),
        ({"clip": 0.0}, ValueError, "clip is 0.0: it must be more than 0, and finite; None for no clipping"),
        ({"clip": math.nan}, ValueError, "clip is nan: it must be more than 0"),
        ({"precision": "float16"}, ValueError, "precision is 'float16': it must be 'float32' or 'bfloat16'"),
        (
            {"precision": "bfloat16"},
            ValueError,
            "model has embedding.weight in torch.float64: with precision='bfloat16'",
        ),
        ({"loss": 3.0}, TypeError, "loss must be a function, not 3.0"),
        (
            {"loss": lambda m, b: loss(m, b).total},
            TypeError,
            "loss must give a LossSum(total, targets), as causal_loss does",
        ),
        ({"schedule": 0.1}, TypeError, "schedule must be a function, not 0.1"),
        (
            {"schedule": lambda step, steps: -1.0},
            ValueError,
            "schedule gave -1.0 at step 0 of 2: a factor is at least 0",
        ),
        ({"schedule": constant(2)}, ValueError, "warmup is 2, but there are only 2 steps"),
        ({"callbacks": [mean_loss, "stop"]}, TypeError, "callbacks[1] must be a function, not 'stop'"),
        (
            {"callbacks": [EarlyStopping(Evaluation(mean_loss, every=1), 2), Evaluation(mean_loss, every=1)]},
            ValueError,
            "callbacks hold two Evaluations: the history has room for one",
        ),
        ({"checkpoints": "folder"}, TypeError, "checkpoints must be Checkpoints(folder) or None, not 'folder'"),
        (
            {"checkpoints": Checkpoints("unused")},
            TypeError,
            "batches must have state_dict and load_state_dict for checkp",
        ),
        (
            {"batches": batches(1)},
            TypeError,
            "batches must be a source for next(), as WindowBatches or EpochBatches, not",
        ),
        ({"batches": Listed([])}, ValueError, "batches came to an end: give an endless source"),
        ({"batches": Listed([torch.ones(2)])}, TypeError, "batches must give tuples of tensors, not a tensor of"),
        (
            {"batches": Listed([((1, 2), torch.ones(2))])},
            TypeError,
            "batches must give tuples of tensors, not ((1, 2), ",
        ),
        ({"optimisers": []}, TypeError, "optimisers must be one torch.optim.Optimizer or a list of them, not []"),
        (
            {"optimisers": [loss]},
            TypeError,
            "optimisers must be one torch.optim.Optimizer or a list of them, not [<func",
        ),
        ({"optimisers": sgd(NOT_IN_ANY)}, ValueError, "optimisers hold a parameter that is not in model"),
        ({"model": loss}, TypeError, "model must be a torch.nn.Module, not <function"),
        ({"model": Small().requires_grad_(False)}, ValueError, "model has no parameter that needs a gradient"),
    ],
)
def test_a_bad_argument_is_named_before_anything_is_trained(change, error, message):
    model = Small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    arguments: dict[str, Any] = {
        "model": model,
        "batches": Listed(batches(9)),
        "loss": loss,
        "optimisers": sgd(model),
        "steps": 2,
    }
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        train(**(arguments | change))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda m: [torch.optim.SGD(m.mix.parameters())],
            "optimisers hold embedding.weight 0 times: each parameter that",
        ),
        (lambda m: [sgd(m), torch.optim.SGD(m.mix.parameters())], "optimisers hold mix.weight 2 times: each parameter"),
    ],
)
def test_a_parameter_in_no_optimiser_or_in_two_is_named(make, message):
    model = Small()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        train(model, Listed(batches(2)), loss, make(model), steps=2)


@pytest.mark.parametrize(
    "make", [lambda: Evaluation(mean_loss, every=0), lambda: EarlyStopping(Evaluation(mean_loss, 1), 0)]
)
def test_bad_arguments_of_callbacks_are_named(make):
    with pytest.raises(ValueError, match="is 0: it must be at least 1"):
        make()


# --- a GPU -----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("make", "loss_of"),
    [
        (lambda: Small(dtype=torch.float32), loss),
        (lambda: GPT(gpt2_config(VOCABULARY, LENGTH, 1, 1, 4)), causal_loss),  # its positions are learned
    ],
)
def test_on_a_gpu_the_loop_never_waits_for_it_between_two_looks(make, loss_of):
    model = make().to("cuda")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    gpu_batches = [tuple(tensor.to("cuda") for tensor in batch) for batch in batches(40)]
    train(model, Listed(gpu_batches[:2]), loss_of, optimiser, steps=2)
    modes = []

    def strict(progress: Progress) -> None:
        # From the first step (which is read) to the last, anything that waits is an error.
        modes.append(progress.step)
        torch.cuda.set_sync_debug_mode("error" if progress.step < progress.steps else "default")

    try:
        train(model, Listed(gpu_batches), loss_of, optimiser, steps=19, callbacks=[strict])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(modes) == 19
