"""Norms against PyTorch's own: values and gradients, in every number format; their laws."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from course_lib.layers.norms import LayerNorm, RMSNorm, layer_norm, rms_norm
from tests.layers.helpers import WIDTH, B, T, assert_same, randn, randomized, unchecked, wrong

EPS = 0.03  # large enough to be noticed
X = randn(B, T, WIDTH) + 0.7  # its mean is not 0

in_each_format = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])


def tolerance(dtype: torch.dtype) -> float:
    """Values are below 5: a handful of roundings of the vector, and as many of the statistics."""
    return max(5 * 8 * torch.finfo(dtype).eps, 1e-13)


@in_each_format
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_is_pytorchs(dtype, bias):
    theirs, ours = (
        randomized(made) for made in (nn.LayerNorm(WIDTH, eps=EPS, bias=bias), LayerNorm(WIDTH, eps=EPS, bias=bias))
    )
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(X.to(dtype).double())
    for module in (ours.to(dtype), lambda x: layer_norm(x, ours.weight, ours.bias, eps=EPS)):
        out = module(X.to(dtype))
        assert out.dtype == dtype
        assert_same(out.double(), expected, atol=tolerance(dtype))
    plain = functional.layer_norm(X, (WIDTH,), eps=EPS)
    assert_same(layer_norm(X, eps=EPS), plain)
    assert_same(layer_norm(X, weight=ours.weight.double(), eps=EPS), plain * ours.weight)


@in_each_format
@pytest.mark.parametrize("scale", [True, False])
def test_rms_norm_is_pytorchs(dtype, scale):
    theirs = randomized(nn.RMSNorm(WIDTH, eps=EPS, elementwise_affine=scale))
    ours = randomized(RMSNorm(WIDTH, eps=EPS, scale=scale))
    ours.load_state_dict(theirs.state_dict())
    expected = theirs(X.to(dtype).double())
    for module in (ours.to(dtype), lambda x: rms_norm(x, ours.weight, eps=EPS)):
        out = module(X.to(dtype))
        assert out.dtype == dtype
        assert_same(out.double(), expected, atol=tolerance(dtype))


def test_rms_norm_is_that_of_llama():
    theirs, x = randomized(LlamaRMSNorm(WIDTH, eps=EPS)).float(), X.float()
    assert_same(rms_norm(x, theirs.weight, eps=EPS), theirs(x), atol=1e-6)


@pytest.mark.parametrize("name", ["layer", "rms"])
def test_gradients_are_pytorchs(name):
    theirs, ours = (
        (nn.LayerNorm(WIDTH, eps=EPS), LayerNorm(WIDTH, eps=EPS))
        if name == "layer"
        else (nn.RMSNorm(WIDTH, eps=EPS), RMSNorm(WIDTH, eps=EPS))
    )
    randomized(theirs)
    ours.double().load_state_dict(theirs.state_dict())
    x, wanted = X.clone().requires_grad_(), randn(B, T, WIDTH, seed=3)

    def by_function(x: Tensor) -> Tensor:
        if isinstance(ours, LayerNorm):
            return layer_norm(x, ours.weight, ours.bias, eps=EPS)
        return rms_norm(x, ours.weight, eps=EPS)

    expected = torch.autograd.grad((theirs(x) * wanted).sum(), [x, *theirs.parameters()])
    for module in (ours, by_function):
        for mine, other in zip(
            torch.autograd.grad((module(x) * wanted).sum(), [x, *ours.parameters()]), expected, strict=True
        ):
            assert_same(mine, other)


def test_a_vector_is_normed_by_itself_and_its_size_does_not_matter():
    for norm in (LayerNorm(WIDTH, eps=1e-12), RMSNorm(WIDTH, eps=1e-12)):
        norm.double()
        out = norm(X)
        assert_same(out.square().mean(dim=-1), torch.ones(B, T).double(), atol=1e-9)
        assert_same(norm(1000 * X), out, atol=1e-9)
        assert_same(norm(X[1, 3]), out[1, 3])
        assert_same(norm(torch.zeros(B, T, WIDTH).double()), torch.zeros(B, T, WIDTH).double())
    assert_same(LayerNorm(WIDTH, eps=1e-12).double()(X + 5), LayerNorm(WIDTH, eps=1e-12).double()(X), atol=1e-9)


def test_a_number_worked_out_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 6.0]).double()  # mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5, mean square 12.5
    assert_same(layer_norm(x, eps=0.5), torch.tensor([-1.0, -0.5, 0.0, 1.5]).double())  # eps is under the root: 4
    assert_same(rms_norm(x, eps=3.5), x / 4)


def test_large_half_precision_is_squared_in_float32():
    x = torch.tensor([300.0, -400.0, 0.0, 0.0], dtype=torch.float16)  # 400² is infinity in float16
    for out in (rms_norm(x), RMSNorm(4, scale=False)(x)):
        assert_same(out, torch.tensor([1.2, -1.6, 0, 0], dtype=torch.float16), atol=2e-3)
    for out in (layer_norm(x), LayerNorm(4).half()(x)):  # the mean is -25, the deviation 249
        assert_same(out, torch.tensor([1.307, -1.508, 0.1005, 0.1005], dtype=torch.float16), atol=2e-3)


@pytest.mark.parametrize("make", [LayerNorm, RMSNorm])
def test_what_is_wrong_is_named(make):
    for arguments, error, message in [
        ({"width": 0}, ValueError, "width is 0: it must be at least 1"),
        ({"width": 2.0}, TypeError, "width must be an integer, not 2.0"),
        ({"width": 4, "eps": 0.0}, ValueError, "eps is 0.0: it must be above 0, as 1e-6"),
        ({"width": 4, "eps": float("nan")}, ValueError, "eps is nan: it must be above 0, as 1e-6"),
    ]:
        with unchecked(), pytest.raises(error, match=re.escape(message)):
            make(**wrong(arguments))
