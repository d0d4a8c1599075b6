"""AdamW and Muon against PyTorch's; orthogonalisation against the plain iteration and singular values; their state."""

import copy
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course_lib.models.decoder import GPT, GPTConfig
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.training.optimisers import AdamW, Muon, muon_and_adamw, orthogonalise
from tests.layers.helpers import assert_same, randn, unchecked, wrong

STEPS = 20
SHAPES: list[tuple[int, ...]] = [(3, 5), (7,), (), (2, 4, 6)]
MATRICES: list[tuple[int, ...]] = [(3, 5), (5, 3), (3, 5), (4, 4), (1, 6)]
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")


def parameters(shapes: Iterable[tuple[int, ...]]) -> list[nn.Parameter]:
    return [nn.Parameter(randn(*shape, seed=seed)) for seed, shape in enumerate(shapes)]


def trained(optimiser: Optimizer, steps: Iterable[int], *, sometimes: bool = False) -> list[Tensor]:
    """Steps with random gradients, the same for every optimiser, and another rate each time. In one step of three one
    parameter has no gradient, if ``sometimes``: it then stays as it is, and its own count of steps too."""
    params = [p for group in optimiser.param_groups for p in group["params"]]
    rates = [group.setdefault("first_lr", group["lr"]) for group in optimiser.param_groups]
    for step in steps:
        for number, p in enumerate(params):
            p.grad = randn(*p.shape, seed=1000 * step + number, dtype=p.dtype)
            if sometimes and step % 3 == 1 and number == 1:
                p.grad = None
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (1 + step % 4) / 4
        optimiser.step()
    return [p.detach().clone() for p in params]


def grouped(shapes: list[tuple[int, ...]], decays: tuple[float, float]) -> list[dict[str, Any]]:
    params = parameters(shapes)
    return [
        {"params": params[:2], "lr": 0.3, "weight_decay": decays[0]},
        {"params": params[2:], "lr": 0.1, "weight_decay": decays[1]},
    ]


# --- AdamW -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"betas": (0.8, 0.99), "eps": 0.1}, {"betas": (0.0, 0.5)}])
@pytest.mark.parametrize("sometimes", [False, True])
@pytest.mark.parametrize("decays", [(0.0, 0.0), (0.2, 0.05)])
def test_adamw_is_pytorchs(options, sometimes, decays):
    theirs = torch.optim.AdamW(grouped(SHAPES, decays), **({"betas": (0.9, 0.95)} | options))
    ours = AdamW(grouped(SHAPES, decays), **options)
    for mine, other in zip(
        trained(ours, range(STEPS), sometimes=sometimes),
        trained(theirs, range(STEPS), sometimes=sometimes),
        strict=True,
    ):
        assert_same(mine, other)


def test_adamws_first_step_by_hand():
    """Mean and mean square are corrected to g and g²: a step is the rate, whatever the gradient. Decay is apart."""
    p = nn.Parameter(torch.tensor([2.0, -3.0], dtype=torch.float64))
    p.grad = torch.tensor([0.001, 500.0]).double()
    AdamW([p], lr=0.1, eps=0.0, weight_decay=0.5).step()
    assert_same(p.detach(), torch.tensor([2.0 * 0.95 - 0.1, -3.0 * 0.95 - 0.1], dtype=torch.float64))


# --- Muon ------------------------------------------------------------------------------------------------------------


def plain_iteration(matrix: Tensor, steps: int = 5) -> Tensor:
    """As in Jordan's post, for one matrix, in its own number format."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / matrix.norm()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("steps", [1, 2, 5, 7])
def test_orthogonalise_is_the_plain_iteration(shape, steps):
    matrices = randn(*shape)
    result = orthogonalise(matrices, steps=steps)
    for index in itertools.product(*map(range, shape[:-2])):
        assert_same(result[index], plain_iteration(matrices[index], steps))
    assert_same(orthogonalise(1e6 * matrices, steps=steps), result)


def test_orthogonalise_keeps_directions_and_moves_singular_values_to_about_1():
    matrix = randn(12, 30)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    moved = s / s.norm()
    assert moved.min() > 1 / 500
    for _ in range(5):
        moved = 3.4445 * moved - 4.7750 * moved**3 + 2.0315 * moved**5
    assert_same(orthogonalise(matrix), u @ moved.diag() @ vh)
    line = torch.logspace(-2.69, 0, 4001, dtype=torch.float64)  # from 1/490
    for _ in range(5):
        line = 3.4445 * line - 4.7750 * line**3 + 2.0315 * line**5
    assert 0.68 < line.min() < line.max() < 1.21
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert 0.68 < values.min() < values.max() < 1.21


def test_orthogonalise_in_float32_is_close_and_nothing_stays_nothing():
    """A factor is up to 3.4445 in each of 5 steps, so roundings of 6e-8 grow to some 1e-5 of the largest entry."""
    for rank in (40, 3):
        matrix = randn(40, rank) @ randn(rank, 100, seed=1) + 1e-4 * randn(40, 100, seed=2)
        result = orthogonalise(matrix.float())
        assert_same(result.double(), plain_iteration(matrix), atol=2e-5)
    assert not orthogonalise(torch.zeros(2, 3, 5)).any()


def muon_pair(
    decays: tuple[float, float] = (0.2, 0.05), dtype: torch.dtype = torch.float64
) -> tuple[Optimizer, Optimizer]:
    ours, theirs = grouped(MATRICES, decays), grouped(MATRICES, decays)
    for group in (*ours, *theirs):
        for p in group["params"]:
            p.data = p.data.to(dtype)
    return Muon(ours, momentum=0.9), torch.optim.Muon(theirs, momentum=0.9, adjust_lr_fn="match_rms_adamw")


@needs_muon
@pytest.mark.parametrize("sometimes", [False, True])
def test_muon_around_the_iteration_is_pytorchs_exactly(monkeypatch, sometimes):
    """Theirs iterates in bfloat16. With the plain iteration in its place, all the rest must be the same."""

    def exact(gradient: Tensor, coefficients: Any, steps: int, eps: float) -> Tensor:
        wide = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.mT
        x = plain_iteration(wide, steps)
        return x if wide is gradient else x.mT

    monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", exact)
    ours, theirs = muon_pair()
    for mine, other in zip(
        trained(ours, range(STEPS), sometimes=sometimes),
        trained(theirs, range(STEPS), sometimes=sometimes),
        strict=True,
    ):
        assert_same(mine, other)


@needs_muon
def test_muon_is_pytorchs_within_its_bfloat16():
    """bfloat16 rounds to 1/256, five times with factors above 1: entries of a direction, up to 1, are wrong by 0.05. A
    step is 0.2 √max(rows, columns) times the rate of that: below 0.45 · 0.3 · 0.05 here, and 20 of them add up."""
    ours, theirs = muon_pair()
    for mine, other in zip(trained(ours, range(STEPS)), trained(theirs, range(STEPS)), strict=True):
        assert_same(mine, other, atol=20 * 0.45 * 0.3 * 0.05)
        assert (mine - other).square().mean().sqrt() < 0.02


def test_a_step_of_muon_has_the_size_of_one_of_adamw():
    """Its entries have root mean square 0.2 times the rate, for every shape, up to what singular values miss of 1."""
    for shape in ((20, 50), (50, 20), (30, 30)):
        p = nn.Parameter(torch.zeros(shape).double())
        p.grad = randn(*shape)
        Muon([p], lr=0.5).step()
        assert 0.7 < p.detach().square().mean().sqrt() / (0.2 * 0.5) < 1.2


def test_the_first_step_of_muon_goes_against_the_gradient_and_decay_is_apart():
    p, still = (nn.Parameter(randn(4, 6)) for _ in range(2))
    p.grad, still.grad = randn(4, 6, seed=1), torch.zeros(4, 6).double()
    before = p.detach().clone()
    Muon([p, still], lr=0.1, weight_decay=0.5).step()
    size = 0.2 * 6**0.5
    assert_same(p.detach(), before * 0.95 - 0.1 * size * plain_iteration(randn(4, 6, seed=1)))
    assert_same(still.detach(), before * 0.95)


# --- both ------------------------------------------------------------------------------------------------------------

MAKERS: dict[str, tuple[list[tuple[int, ...]], Callable[[Any], Optimizer]]] = {
    "AdamW": (SHAPES, lambda params: AdamW(params, weight_decay=0.1)),
    "Muon": (MATRICES, lambda params: Muon(params, weight_decay=0.1)),
}
each_optimiser = pytest.mark.parametrize(("shapes", "make"), MAKERS.values(), ids=MAKERS)


@each_optimiser
def test_resumed_from_its_state_is_uninterrupted(shapes, make):
    whole = trained(make(parameters(shapes)), range(STEPS))
    first = make(parameters(shapes))
    trained(first, range(7))
    params = [p for group in first.param_groups for p in group["params"]]
    second = make(copy.deepcopy(params))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for mine, expected in zip(trained(second, range(7, STEPS)), whole, strict=True):
        assert torch.equal(mine, expected)


@each_optimiser
def test_what_has_no_gradient_stays_as_it_is(shapes, make):
    params = parameters(shapes)
    before = [p.detach().clone() for p in params]
    make(params).step()
    assert all(map(torch.equal, params, before))
    params[0].grad = torch.ones_like(params[0])
    optimiser = make(params)
    optimiser.step()
    assert not torch.equal(params[0], before[0])
    assert all(map(torch.equal, params[1:], before[1:]))
    optimiser.zero_grad()
    assert params[0].grad is None


@each_optimiser
def test_it_finds_the_lowest_point(shapes, make):
    params = parameters(shapes)
    optimiser = make([{"params": params, "weight_decay": 0.0}])
    wanted = [randn(*p.shape, seed=50 + i) for i, p in enumerate(params)]
    for step in range(300):
        loss = torch.stack([(p - w).square().sum() for p, w in zip(params, wanted, strict=True)]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimiser.step()
    assert loss.item() < 1e-2


@each_optimiser
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_parameter_keeps_its_number_format(shapes, make, dtype):
    params = [nn.Parameter(p.detach().to(dtype)) for p in parameters(shapes)]
    exact = [nn.Parameter(p.detach().double()) for p in params]
    for few, many in zip(trained(make(params), range(3)), trained(make(exact), range(3)), strict=True):
        assert few.dtype == dtype
        assert_same(few.double(), many, atol=0.02)  # three roundings of numbers below 4 in bfloat16, 1/128 each


def test_a_gpt_is_shared_out_between_muon_and_adamw():
    for positions in ("learned", "transformer-xl"):
        model = GPT(GPTConfig(23, 16, 2, 2, 8, positions=positions, tied=True, bias=True))
        muon, adamw = muon_and_adamw(model, lr=0.3, adamw_lr=0.2, momentum=0.8, weight_decay=0.1)
        assert isinstance(muon, Muon)
        assert isinstance(adamw, AdamW)
        names = {id(p): name for name, p in model.named_parameters()}
        by_muon, by_adamw = ([names[id(p)] for p in o.param_groups[0]["params"]] for o in (muon, adamw))
        assert sorted(by_muon + by_adamw) == sorted(names.values())
        matrices = ["attention.qkv", "attention.out", "feedforward.up", "feedforward.down"]
        expected = {f"blocks.{i}.{name}.weight" for i in range(2) for name in matrices}
        assert set(by_muon) == expected | ({"positions.project.weight"} if positions == "transformer-xl" else set())
        assert (muon.param_groups[0]["lr"], muon.param_groups[0]["weight_decay"]) == (0.3, 0.1)
        assert (adamw.param_groups[0]["lr"], adamw.param_groups[0]["weight_decay"]) == (0.2, 0.0)
        assert muon.param_groups[0]["momentum"] == 0.8


def test_a_transformer_is_shared_out_too():
    model = Transformer(TransformerConfig(23, layers=2, heads=2, width=8, hidden=6))
    muon, adamw = muon_and_adamw(model)
    count = [sum(p.numel() for p in o.param_groups[0]["params"]) for o in (muon, adamw)]
    attention, feedforward = 4 * 8 * 8, 2 * 8 * 6
    assert count[0] == 2 * (3 * attention + 2 * feedforward)
    assert sum(count) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda params: AdamW(params, lr=-0.1), "lr is -0.1: it must be at least 0"),
        (lambda params: AdamW(params, lr=float("nan")), "lr is nan: it must be at least 0"),
        (lambda params: AdamW(params, eps=-1.0), "eps is -1.0: it must be at least 0"),
        (lambda params: AdamW(params, weight_decay=-0.5), "weight_decay is -0.5: it must be at least 0"),
        (lambda params: AdamW(params, betas=(1.0, 0.9)), "betas are (1.0, 0.9): both must be at least 0 and below 1"),
        (lambda params: AdamW(params, betas=(0.9, -0.1)), "betas are (0.9, -0.1): both must be at least 0 and below 1"),
        (lambda params: AdamW([]), "optimizer got an empty parameter list"),
        (lambda params: Muon(params, lr=-0.1), "lr is -0.1: it must be at least 0"),
        (lambda params: Muon(params, weight_decay=-0.1), "weight_decay is -0.1: it must be at least 0"),
        (lambda params: Muon(params, momentum=1.0), "momentum is 1.0: it must be at least 0 and below 1"),
        (lambda params: Muon(params, steps=0), "steps is 0: it must be at least 1"),
        (
            lambda params: Muon([*params, torch.ones(3)]),
            "params hold a tensor of shape (3,): Muon is for matrices alone",
        ),
    ],
)
def test_what_is_wrong_is_named(action, message):
    with unchecked(), pytest.raises(ValueError, match=re.escape(message)):
        action(parameters([(3, 5)]))


def test_a_closure_is_refused_not_forgotten():
    for optimiser in (AdamW(parameters([(3, 5)])), Muon(parameters([(3, 5)]))):
        with pytest.raises(TypeError, match="argument"):
            wrong(optimiser).step(lambda: 0.0)
