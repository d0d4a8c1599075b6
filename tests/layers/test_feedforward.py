"""Feed-forward layers and activations against PyTorch and Hugging Face; gradients; dropout."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.activations import ACT2FN
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from course_lib.layers.feedforward import FeedForward, GatedFeedForward, gelu_tanh, relu_squared
from tests.layers.helpers import WIDTH, B, T, assert_same, randn, randomized, unchecked, wrong

HIDDEN = 9
X = randn(B, T, WIDTH)
LINE = torch.linspace(-6, 6, 49, dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (relu_squared, ACT2FN["relu2"]),
        (gelu_tanh, ACT2FN["gelu_new"]),
        (gelu_tanh, nn.GELU(approximate="tanh")),
    ],
)
def test_activations_are_those_of_others_and_so_are_their_slopes(ours, theirs):
    x = LINE.clone().requires_grad_()
    assert_same(ours(x), theirs(x))
    assert_same(torch.autograd.grad(ours(x).sum(), x)[0], torch.autograd.grad(theirs(x).sum(), x)[0])


def test_the_slope_of_squared_relu_by_hand_has_a_slope_itself():
    x = torch.tensor([-1.5, -0.2, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relu_squared, x)
    assert torch.autograd.gradgradcheck(relu_squared, x)


def test_gelu_by_tanh_differs_from_gelu_in_the_fourth_digit():
    difference = (gelu_tanh(LINE) - functional.gelu(LINE)).abs().max()
    assert 1e-4 < difference < 1e-3


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [functional.relu, functional.gelu, gelu_tanh, relu_squared])
def test_the_feed_forward_is_two_linear_layers_of_pytorch(bias, activation):
    up, down = randomized(nn.Linear(WIDTH, HIDDEN, bias=bias), 1), randomized(nn.Linear(HIDDEN, WIDTH, bias=bias), 2)
    ours = FeedForward(WIDTH, HIDDEN, activation, bias=bias).double()
    ours.up.load_state_dict(up.state_dict())
    ours.down.load_state_dict(down.state_dict())
    assert_same(ours(X), down(activation(up(X))))


@pytest.mark.parametrize(("name", "activation"), [("silu", functional.silu), ("gelu_new", gelu_tanh)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_gated_feed_forward_is_llamas_with_gradients(name, activation, bias):
    config = LlamaConfig(
        hidden_size=WIDTH, num_attention_heads=1, intermediate_size=HIDDEN, hidden_act=name, mlp_bias=bias
    )
    theirs = randomized(LlamaMLP(config))
    ours = GatedFeedForward(WIDTH, HIDDEN, activation, bias=bias).double()
    names = ["weight", "bias"] if bias else ["weight"]
    ours.load_state_dict(
        {f"up.{n}": torch.cat([getattr(theirs.gate_proj, n), getattr(theirs.up_proj, n)]) for n in names}
        | {f"down.{n}": getattr(theirs.down_proj, n) for n in names}
    )
    x, wanted = X.clone().requires_grad_(), randn(B, T, WIDTH, seed=3)
    assert_same(ours(x), theirs(x))
    mine, gate, value, same = (
        torch.autograd.grad((module(x) * wanted).sum(), weight)[0]
        for module, weight in (
            (ours, ours.up.weight),
            (theirs, theirs.gate_proj.weight),
            (theirs, theirs.up_proj.weight),
            (theirs, theirs.down_proj.weight),
        )
    )
    assert_same(mine, torch.cat([gate, value]))
    assert_same(torch.autograd.grad((ours(x) * wanted).sum(), ours.down.weight)[0], same)


def test_each_position_is_worked_on_alone():
    for layer in (FeedForward(WIDTH, HIDDEN), GatedFeedForward(WIDTH, HIDDEN)):
        layer.double()
        assert_same(layer(X)[1, 3], layer(X[1, 3]))


@pytest.mark.parametrize("make", [FeedForward, GatedFeedForward])
def test_dropout_stands_behind_the_activation_in_training_alone(make):
    # Not ReLU, which doubles with its input: dropout in front of it would be the same.
    layer, still = (make(WIDTH, HIDDEN, functional.gelu, dropout=p).double() for p in (0.5, 0.0))
    layer.load_state_dict(still.state_dict())
    assert_same(layer.eval()(X), still(X))
    seen = []
    layer.down.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    layer(X)
    layer.train()(X)
    whole, dropped = seen
    kept = dropped != 0
    assert_same(dropped[kept], 2 * whole[kept])  # what stays is doubled, so that the mean stays
    share = kept[whole != 0].double().mean()
    assert 0.2 < share < 0.8


@pytest.mark.parametrize("make", [FeedForward, GatedFeedForward])
def test_what_is_wrong_is_named(make):
    for arguments, error, message in [
        ((0, HIDDEN), ValueError, "width is 0: it must be at least 1"),
        ((WIDTH, -1), ValueError, "hidden is -1: it must be at least 1"),
        ((WIDTH, 2.5), TypeError, "hidden must be an integer, not 2.5"),
    ]:
        with unchecked(), pytest.raises(error, match=re.escape(message)):
            make(*wrong(arguments))
