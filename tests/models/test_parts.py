"""Configurations: JSON, the names in them, parts of a learner's own, and every bad value refused in words."""

import dataclasses
import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from course_lib.layers.block import PostNormBlock, PreNormBlock
from course_lib.layers.feedforward import FeedForward
from course_lib.layers.norms import LayerNorm, RMSNorm
from course_lib.layers.positions import PositionScheme, T5Bias
from course_lib.models.decoder import GPT, GPTConfig, gpt2_config, llama_config
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.parts import BLOCKS, FEEDFORWARDS, NORMS, POSITIONS, Config
from tests.layers.helpers import assert_same, randn, randomized, unchecked
from tests.models.helpers import CONTEXT, SIZES, B, D, F, S, T, V, gpt, random_ids, transformer

CONFIGS: list[Config] = [
    GPTConfig(V),
    GPTConfig(**SIZES, kv_heads=2, window=3, logit_cap=None, positions="t5", tied=True, dropout=0.1),
    gpt2_config(V, CONTEXT, 3, 6, D),
    llama_config(V, CONTEXT, 3, 6, D, hidden=F, rotary_base=5e5),
    TransformerConfig(V),
    TransformerConfig(**SIZES, block="pre", qk_norm=True),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_is_json(config):
    text = json.dumps(dataclasses.asdict(config), allow_nan=False)
    again = type(config)(**json.loads(text))
    assert again == config
    assert type(again) is type(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.width = 3  # as much as to say: make another


def test_from_its_json_comes_the_same_model():
    for make, cls in ((gpt, GPT), (transformer, Transformer)):
        model: Any = make()
        config = type(model.config)(**json.loads(json.dumps(dataclasses.asdict(model.config))))
        again: Any = cls(config).double().eval()
        again.load_state_dict(model.state_dict())
        inputs = (random_ids(B, T),) if cls is GPT else (random_ids(B, S), random_ids(B, T))
        assert torch.equal(again(*inputs), model(*inputs))


@pytest.mark.parametrize("cls", [GPTConfig, TransformerConfig])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        *[
            ({name: 0}, ValueError, f"{name} is 0: it must be at least 1")
            for name in ("vocabulary", "context", "layers")
        ],
        *[
            ({name: -2}, ValueError, f"{name} is -2: it must be at least 1")
            for name in ("heads", "width", "hidden", "key_width")
        ],
        *[
            ({name: 2.0}, TypeError, f"{name} must be an integer, not 2.0")
            for name in ("vocabulary", "width", "hidden")
        ],
        ({"layers": True}, TypeError, "layers must be an integer, not True"),
        ({"heads": 5}, ValueError, "heads is 5: width (24) must be a multiple of it, or key_width be given"),
        ({"logit_cap": 0.0}, ValueError, "logit_cap is 0.0: it must be above 0, or None"),
        ({"logit_cap": float("nan")}, ValueError, "logit_cap is nan: it must be above 0, or None"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0: it must be at least 0 and below 1"),
        ({"dropout": -0.1}, ValueError, "dropout is -0.1: it must be at least 0 and below 1"),
        ({"positions": "sine"}, ValueError, "positions is 'sine': it must be one of 'none', 'sinusoidal', 'learned'"),
        ({"norm": "batch"}, ValueError, "norm is 'batch': it must be one of 'layer', 'rms', 'rms-plain'"),
        ({"feedforward": "moe"}, ValueError, "feedforward is 'moe': it must be one of 'relu', 'gelu', 'gelu-tanh'"),
        ({"block": None}, ValueError, "block is None: it must be one of 'pre', 'post'"),
        ({"rotary_base": 0.0}, ValueError, "rotary_base is 0.0: it must be above 0, as 10_000"),
        ({"norm_eps": -1e-6}, ValueError, "norm_eps is -1e-06: it must be above 0, as 1e-6"),
    ],
)
def test_a_bad_value_is_named(cls, changes, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        cls(**(SIZES | changes))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window": 0}, ValueError, "window is 0: it must be at least 1"),
        ({"window": 2.5}, TypeError, "window must be an integer, not 2.5"),
        ({"kv_heads": 0}, ValueError, "kv_heads is 0: it must be at least 1"),
        ({"kv_heads": 4}, ValueError, "kv_heads is 4: heads (6) must be a multiple of it"),
    ],
)
def test_a_bad_value_of_a_decoder_alone_is_named(changes, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        GPTConfig(**(SIZES | changes))


# --- what the names make ---------------------------------------------------------------------------------------------


def test_the_names_make_what_they_say():
    config = GPTConfig(**SIZES, norm_eps=1e-3, dropout=0.2)
    layer, rms, plain = (NORMS[name](config) for name in ("layer", "rms", "rms-plain"))
    assert isinstance(layer, LayerNorm)
    assert isinstance(rms, RMSNorm)
    assert isinstance(plain, RMSNorm)
    assert layer.eps == rms.eps == plain.eps == 1e-3
    assert layer.bias is plain.weight is None
    with_bias = NORMS["layer"](dataclasses.replace(config, bias=True))
    assert isinstance(with_bias, LayerNorm)
    assert with_bias.bias is not None
    for causal in (True, False):
        t5 = POSITIONS["t5"](config, causal)
        assert isinstance(t5, T5Bias)
        assert t5.bidirectional is not causal
    assert (BLOCKS["pre"], BLOCKS["post"]) == (PreNormBlock, PostNormBlock)


@pytest.mark.parametrize(
    ("name", "theirs"), [("relu", "relu"), ("gelu", "gelu"), ("gelu-tanh", "gelu_new"), ("relu2", "relu2")]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_feed_forward_by_name_is_two_matrices_and_hugging_faces_activation(name, theirs, bias):
    part = randomized(FEEDFORWARDS[name](GPTConfig(**SIZES, bias=bias)))
    assert isinstance(part, FeedForward)
    assert (part.up.bias is not None, part.down.bias is not None) == (bias, bias)
    x = randn(B, T, D)
    inside = ACT2FN[theirs](functional.linear(x, part.up.weight, part.up.bias))
    assert_same(part(x), functional.linear(inside, part.down.weight, part.down.bias))


@pytest.mark.parametrize(("name", "theirs"), [("swiglu", "silu"), ("geglu-tanh", "gelu_new")])
def test_a_gate_by_name_has_hugging_faces_activation(name, theirs):
    part: Any = randomized(FEEDFORWARDS[name](GPTConfig(**SIZES)))
    x = randn(B, T, D)
    gate, value = part.up(x).chunk(2, dim=-1)
    assert_same(part(x), part.down(ACT2FN[theirs](gate) * value))


@pytest.mark.parametrize("make", [gpt, transformer])
def test_the_width_of_a_head_may_be_given_and_then_any_number_of_heads_will_do(make):
    model = make(heads=5, key_width=14, positions="none")
    assert model.config.head_width == 14
    shapes = {tuple(p.shape) for name, p in model.named_parameters() if name.endswith(("qkv.weight", "out.weight"))}
    assert shapes == {(3 * 5 * 14, D), (D, 5 * 14)}


def test_the_feed_forward_width_is_four_times_the_models_unless_given():
    for changes, hidden in (({}, F), ({"hidden": None}, 4 * D)):
        assert gpt(**changes).blocks[0].get_submodule("feedforward.up").weight.shape == (hidden, D)
        up = gpt(feedforward="swiglu", **changes).blocks[0].get_submodule("feedforward.up")
        assert up.weight.shape == (2 * hidden, D)


# --- parts of a learner's own ----------------------------------------------------------------------------------------


class Backwards(PositionScheme):
    """A scheme of a learner's own: the vector is turned round at odd positions."""

    where = "input"

    def add(self, x: Tensor, positions: Tensor) -> Tensor:
        return torch.where((positions % 2 == 1)[..., None], x.flip(-1), x)


def test_a_learners_own_parts_have_a_place_in_both_models(monkeypatch):
    calls = []

    def backwards(config: Config, causal: bool) -> PositionScheme:
        calls.append((config.width, causal))
        return Backwards()

    monkeypatch.setitem(NORMS, "none", lambda config: nn.Identity())
    monkeypatch.setitem(POSITIONS, "backwards", backwards)
    monkeypatch.setitem(FEEDFORWARDS, "one", lambda config: nn.Linear(config.width, config.width))
    names = {"norm": "none", "positions": "backwards", "feedforward": "one"}
    decoder, both = gpt(**names), transformer(**names)
    assert calls == [(D, True), (D, False), (D, True)]
    assert not any("norm" in name for name, _ in [*decoder.named_parameters(), *both.named_parameters()])
    for block in decoder.blocks:
        assert isinstance(block.feedforward, nn.Linear)
    ids = torch.full((1, 2), 3)
    x = decoder.embedding.weight[3]
    seen = []
    decoder.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    decoder(ids)
    assert torch.equal(seen[0], torch.stack([x, x.flip(0)])[None])
    assert both(random_ids(B, S), ids.expand(B, 2)).isfinite().all()


def test_a_block_of_a_learners_own(monkeypatch):
    class Parallel(PreNormBlock):
        """Attention and feed-forward side by side, as in GPT-J."""

        def forward(self, x: Tensor, memory: Tensor | None = None, **options: Any) -> Tensor:
            y = self.attention_norm(x)
            options = {name: options[name] for name in ("mask", "causal", "positions", "cache")}
            return x + self.attention(y, **options) + self.feedforward(y)

    monkeypatch.setitem(BLOCKS, "parallel", Parallel)
    model, ids = gpt(block="parallel"), random_ids(B, T)
    with torch.no_grad():
        caches = model.new_caches()
        pieces = [model(ids[:, :2], caches=caches), model(ids[:, 2:], caches=caches)]
    assert_same(torch.cat(pieces, dim=1), model(ids))
