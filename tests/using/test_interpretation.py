"""Maps of attention: the numbers of Hugging Face, of every layer, and a model that is afterwards as it was before."""

from typing import Any

import pytest
import torch
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.marian.configuration_marian import MarianConfig
from transformers.models.marian.modeling_marian import MarianMTModel

from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.positions import sinusoids
from course_lib.models.decoder import GPT, gpt2_config
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.parts import POSITIONS
from course_lib.models.permutation import XLNet, XLNetConfig
from course_lib.using.interpretation import attention_maps
from tests.layers.helpers import assert_same, randomized
from tests.models.helpers import (
    CONTEXT,
    KV,
    LAYERS,
    SIZES,
    B,
    D,
    F,
    H,
    S,
    T,
    V,
    from_gpt2,
    from_marian,
    gpt,
    load,
    random_ids,
    shrunk,
    transformer,
)

IDS, SOURCE, TARGET = random_ids(B, T), random_ids(B, S).clamp(min=2), random_ids(B, T, seed=1)
REAL = torch.arange(S) < torch.tensor([[S], [S - 3]])


def test_the_maps_of_a_gpt_are_hugging_faces():
    config = GPT2Config(
        vocab_size=V,
        n_positions=CONTEXT,
        n_layer=LAYERS,
        n_head=H,
        n_embd=D,
        n_inner=F,
        bos_token_id=0,
        eos_token_id=0,
    )
    config._attn_implementation = "eager"  # the fused kernel has no weights to show
    theirs: Any = shrunk(GPT2LMHeadModel(config), torch.float64)
    ours = GPT(gpt2_config(V, CONTEXT, LAYERS, H, D, hidden=F)).double()
    load(ours, from_gpt2(dict(theirs.named_parameters())))
    expected = theirs(IDS, output_attentions=True).attentions
    maps = attention_maps(ours, IDS)
    assert list(maps) == [f"blocks.{i}.attention" for i in range(LAYERS)]
    for map_, weights in zip(maps.values(), expected, strict=True):
        assert_same(map_, weights, atol=1e-10)


def test_the_maps_of_a_transformer_are_hugging_faces_those_of_the_memory_too():
    config = MarianConfig(
        vocab_size=V,
        d_model=D,
        max_position_embeddings=CONTEXT,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=H,
        decoder_attention_heads=H,
        encoder_ffn_dim=F,
        decoder_ffn_dim=F,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
    )
    config._attn_implementation = "eager"
    theirs: Any = shrunk(MarianMTModel(config), torch.float64)
    for half in (theirs.model.encoder, theirs.model.decoder):
        half.embed_positions.weight.data = sinusoids(torch.arange(CONTEXT), D, dtype=torch.float64)
    ours = Transformer(TransformerConfig(**SIZES)).double()
    load(ours, from_marian({n: p for n, p in theirs.named_parameters() if "embed_positions" not in n}))
    said = theirs(
        input_ids=SOURCE, attention_mask=REAL.long(), decoder_input_ids=TARGET, output_attentions=True, return_dict=True
    )
    expected = {f"encoder.{i}.attention": weights for i, weights in enumerate(said.encoder_attentions)}
    expected |= {f"decoder.{i}.attention": weights for i, weights in enumerate(said.decoder_attentions)}
    expected |= {f"decoder.{i}.cross": weights for i, weights in enumerate(said.cross_attentions)}
    maps = attention_maps(ours, SOURCE, TARGET, source_real=REAL)
    assert maps.keys() == expected.keys()
    for name, weights in expected.items():
        assert_same(maps[name], weights, atol=1e-10)
    assert maps["decoder.0.cross"].shape == (B, H, T, S)
    assert not maps["decoder.2.cross"][1, ..., S - 3 :].any()  # padding is read by nobody


@pytest.mark.parametrize(
    "parts",
    [*({"positions": name} for name in POSITIONS), {"window": 2}, {"kv_heads": KV}, {"block": "post"}],
    ids=str,
)
def test_the_maps_say_what_the_layers_read(parts):
    """Weights times values, through the matrix behind them, is what the layer gave."""
    model, seen = gpt(**parts), {}
    for name, layer in model.named_modules():
        if isinstance(layer, MultiHeadAttention):
            layer.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args[0], out)}))
    for name, weights in attention_maps(model, IDS).items():
        found: Any = model.get_submodule(name)
        x, out = seen[name]
        values = found.qkv(x).unflatten(-1, (-1, found.head_width)).transpose(1, 2)[:, -found.kv_heads :]
        read = weights @ values.repeat_interleave(found.heads // found.kv_heads, dim=1)
        assert_same(found.out(read.transpose(1, 2).flatten(2)), out, atol=1e-10)


def state(model: Any) -> Any:
    hooks = [(len(m._forward_pre_hooks), len(m._forward_pre_hooks_with_kwargs)) for m in model.modules()]
    return hooks, [m.training for m in model.modules()], torch.get_rng_state().tolist()


def test_afterwards_the_model_is_as_it_was():
    model = randomized(gpt(dropout=0.5)).train()
    model.blocks[1].eval()
    before = state(model)
    maps = attention_maps(model, IDS)
    assert state(model) == before
    for name, weights in attention_maps(model.eval(), IDS).items():
        assert torch.equal(weights, maps[name])
        assert not weights.requires_grad
        assert not weights.is_inference()
    model.train()
    model(IDS).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_after_an_error_too():
    model = gpt()
    before = state(model)
    with pytest.raises(ValueError, match=f"they must be from 0 to {V - 1}"):
        attention_maps(model, IDS + V)
    with pytest.raises(ValueError, match=r"^caches are given: leave them out, for a map needs the whole text at once"):
        attention_maps(model, IDS, caches=model.new_caches())
    assert state(model) == before


def test_a_model_whose_attention_is_of_another_kind_is_refused():
    model = XLNet(XLNetConfig(V, layers=1, heads=2, width=8, hidden=6))
    with pytest.raises(
        ValueError, match=r"^model is a XLNet, which has no MultiHeadAttention: there is nothing to see"
    ):
        attention_maps(model, IDS)


def test_what_the_model_takes_goes_in_by_place_or_by_name():
    model, mask = gpt(), torch.ones(B, T, T, dtype=torch.bool)
    mask[1, :, 0] = False
    maps = attention_maps(model, ids=IDS, mask=mask)
    assert not maps["blocks.2.attention"][1, :, 1:, 0].any()
    by_place, by_name = (
        attention_maps(transformer(), SOURCE, TARGET, REAL),
        attention_maps(transformer(), SOURCE, source_real=REAL, target=TARGET),
    )
    assert all(torch.equal(by_place[name], by_name[name]) for name in by_place)


def test_a_layer_alone_has_a_map_without_a_name():
    layer = MultiHeadAttention(12, 3).double()
    [(name, weights)] = attention_maps(layer, torch.ones(B, T, 12, dtype=torch.float64), causal=True).items()
    assert name == ""
    assert_same(weights[1, 2], torch.ones(T, T, dtype=torch.float64).tril() / torch.arange(1, T + 1)[:, None])
