"""Whole models in each number format, autocast, compiled, on CUDA; on the CPU too, so that these tests stay awake."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from course_lib.data.batches import IGNORE
from course_lib.models.decoder import GPT
from course_lib.objectives.causal import cross_entropy
from course_lib.training.optimisers import muon_and_adamw
from tests.layers.helpers import unchecked
from tests.models.helpers import KV, B, S, T, gpt, gradients, random_ids, shrunk, transformer

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)
on_each_device = pytest.mark.parametrize("device", ["cpu", CUDA])

MODELS: dict[str, Any] = {
    "GPT": lambda: gpt(window=4, kv_heads=KV),
    "GPT, post-norm, gated": lambda: gpt(
        positions="alibi", norm="layer", feedforward="swiglu", block="post", bias=True
    ),
    "Transformer": lambda: transformer(),
    "Transformer, pre-norm": lambda: transformer(block="pre", norm="rms", positions="t5", qk_norm=True, tied=False),
}
each_model = pytest.mark.parametrize("name", MODELS)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def made(name: str) -> tuple[Any, tuple[Tensor, ...]]:
    model = shrunk(MODELS[name](), torch.float32)
    if isinstance(model, GPT):
        return model, (random_ids(B, T),)
    real = torch.arange(S) < torch.tensor([[S], [S - 3]])
    return model, (random_ids(B, S), random_ids(B, T, seed=1), real)


def assert_close(result: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """A format with the relative rounding u = eps / 2 rounds some 30 numbers one behind the other, of the size of the
    largest logit. They mostly cancel out: we saw errors up to 6 u, 1.5 u in the mean, and allow three times as much
    (8 and 2 in 100 of the largest logit in bfloat16). A bug moves logits by their own size."""
    error = result.detach().cpu().double() - expected.detach().cpu().double()
    rounding = torch.finfo(dtype).eps / 2 * float(expected.detach().abs().max())
    assert error.isfinite().all()
    assert error.abs().max() <= 20 * rounding
    assert error.square().mean().sqrt() <= 5 * rounding


def moved(inputs: tuple[Tensor, ...], device: str) -> tuple[Tensor, ...]:
    return tuple(part.to(device) for part in inputs)


@on_each_device
@each_model
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_format_agrees_with_float64(device, name, dtype):
    model, inputs = made(name)
    rounded = copy.deepcopy(model).to(device, dtype)
    exact = copy.deepcopy(rounded).cpu().double()
    logits = rounded(*moved(inputs, device))
    assert logits.dtype == torch.float32  # what a loss is computed from
    assert_close(logits, exact(*inputs), dtype)


@on_each_device
@each_model
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_half_precision_and_learns_in_float32(device, name, dtype):
    model, inputs = made(name)
    expected = model(*inputs)
    targets = random_ids(B, T, seed=2).masked_fill(torch.arange(T) == T - 1, IGNORE)
    expected_gradients = gradients(model, cross_entropy(expected, targets))
    model, inputs, targets = model.to(device), moved(inputs, device), targets.to(device)
    with torch.autocast(device, dtype):
        logits = model(*inputs)
        loss = cross_entropy(logits, targets)
    assert logits.dtype == loss.dtype == torch.float32
    assert_close(logits, expected, dtype)
    for parameter, gradient in gradients(model, loss).items():
        other = expected_gradients[parameter]
        assert gradient.dtype == torch.float32
        # Rounded forward and backward: 14 in 100 of its length is the most that we saw in bfloat16, for a key's bias.
        assert (gradient.cpu() - other).norm() <= 32 * torch.finfo(dtype).eps * other.norm()


@on_each_device
@each_model
def test_autocast_with_caches(device, name):
    model, inputs = made(name)
    model, inputs = model.to(device), moved(inputs, device)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        expected, caches, pieces = model(*inputs), model.new_caches(), []
        for start, end in [(0, 2), (2, 3), (3, T)]:
            if isinstance(model, GPT):
                pieces.append(model(inputs[0][:, start:end], caches=caches))
            else:
                source, target, real = inputs
                pieces.append(model.decode(target[:, start:end], model.encode(source, real), real, caches))
    assert_close(torch.cat(pieces, dim=1), expected, torch.bfloat16)


@on_each_device
@pytest.mark.parametrize("name", ["GPT", "Transformer"])
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself; what is ours is under test elsewhere
def test_compiled_as_one_graph_it_gives_the_same_logits_and_gradients(device, name):
    """On the CPU without the last step, C++: that takes half a minute, and is not ours. Triton's takes it on CUDA."""
    torch.compiler.reset()
    model, inputs = made(name)
    model, inputs = model.to(device), moved(inputs, device)
    with unchecked():
        compiled = torch.compile(model, fullgraph=True, backend="inductor" if device == "cuda" else "aot_eager")
        expected, logits = model(*inputs), compiled(*inputs)
        assert_close(logits, expected, torch.float32)
        mine, theirs = (gradients(model, out.square().mean()) for out in (logits, expected))
    for parameter, gradient in theirs.items():
        assert (mine[parameter] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-8


def trained(model: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor) -> list[float]:
    optimisers = muon_and_adamw(model, lr=0.02, adamw_lr=0.01)
    losses = []
    for _ in range(8):
        loss = cross_entropy(model(*inputs), targets)
        model.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
    return losses


@on_each_device
@pytest.mark.parametrize("name", ["GPT", "Transformer"])
def test_a_few_steps_of_training_are_those_in_float64(device, name):
    model, inputs = made(name)
    targets = random_ids(B, T, seed=2)
    exact = copy.deepcopy(model).double()
    expected = trained(exact, inputs, targets)
    losses = trained(model.to(device), moved(inputs, device), targets.to(device))
    assert losses == pytest.approx(expected, rel=1e-3)  # 8 steps, each on the roundings of those before
    assert expected[-1] < 0.9 * expected[0]
