"""Positions against Hugging Face's models, against loops, and against the laws that each scheme promises."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gptj import modeling_gptj
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as llama_rotate
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.xlnet.configuration_xlnet import XLNetConfig
from transformers.models.xlnet.modeling_xlnet import XLNetModel, XLNetRelativeAttention

from course_lib.layers.attention import attention
from course_lib.layers.masks import causal_mask
from course_lib.layers.positions import (
    ALiBi,
    Learned,
    PositionScheme,
    Rotary,
    Sinusoidal,
    T5Bias,
    TransformerXL,
    alibi_slopes,
    rotate,
    sinusoids,
    t5_buckets,
    to_half_split,
    to_interleaved,
)
from tests.layers.helpers import SCHEMES, B, K, S, T, assert_same, randn, randomized, seeded, unchecked, wrong

H, G, D = 3, 1, 14
PAIRINGS = ["half-split", "interleaved"]


def q_and_k(heads: int = H, length: int = T, key_length: int = S) -> tuple[Tensor, Tensor]:
    return randn(B, heads, length, K, seed=1), randn(B, heads, key_length, K, seed=2)


# --- added to the input ----------------------------------------------------------------------------------------------


def test_sinusoids_are_those_of_the_formula():
    positions = torch.tensor([[0, 1, 300], [7, -5, 12]])
    waves = sinusoids(positions, 6, base=50.0, dtype=torch.float64)
    assert waves.shape == (2, 3, 6)
    for b, t, i in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).tolist():
        angle = positions[b, t].item() / 50.0 ** (2 * i / 6)
        assert waves[b, t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
        assert waves[b, t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_sinusoids_are_those_of_xlnet_in_another_order():
    theirs = xlnet_waves(torch.arange(9.0, -5.0, -1.0), D)[:, 0]
    ours = sinusoids(torch.arange(9, -5, -1), D, dtype=torch.float64)
    assert_same(torch.cat([ours[:, 0::2], ours[:, 1::2]], dim=-1), theirs)


def test_what_is_added_is_the_wave_or_the_learned_vector_of_each_position():
    x, positions = randn(B, T, D), torch.tensor([[0, 1, 2, 0, 1], [3, 4, 5, 6, 0]])
    expected = x + sinusoids(positions, D, base=77.0, dtype=torch.float64)
    assert_same(Sinusoidal(D, base=77.0).add(x, positions), expected)
    learned = Learned(7, D)
    expected = x + torch.stack([torch.stack([learned.table.weight[p] for p in row]) for row in positions])
    assert_same(learned.add(x, positions), expected)
    assert_same(learned.add(x, positions[1]), x + learned.table.weight[positions[1]])
    assert learned.table.weight.std().item() == pytest.approx(0.02, rel=0.3)  # 98 numbers: 4 standard errors are 0.29


def test_learned_positions_make_no_other_device_wait():
    """What is on "meta" cannot be read at all."""
    added = Learned(7, D).to("meta").add(randn(B, T, D).to("meta"), torch.arange(T).to("meta"))
    assert added.shape == (B, T, D)


# --- queries and keys are turned -------------------------------------------------------------------------------------


def cos_and_sin(positions: Tensor, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """(..., T, K / 2) each, in float64, written with powers and not with the library's helper."""
    angles = torch.stack([positions.double() / base ** (2 * i / K) for i in range(K // 2)], dim=-1)
    return angles.cos(), angles.sin()


@pytest.mark.parametrize("positions", [torch.arange(3, 3 + T), torch.tensor([[0, 1, 2, 0, 1], [40, 7, 9, 11, 900]])])
def test_half_split_rotary_is_that_of_llama(positions):
    x = randn(B, H, T, K)
    for base in (10_000.0, 7.0):
        cos, sin = (torch.cat([part, part], dim=-1).expand(B, T, K) for part in cos_and_sin(positions, base))
        theirs, _ = llama_rotate(x, x, cos, sin)
        assert_same(Rotary(K, base=base).turn(x, positions), theirs)
    assert Rotary(K).base == 10_000


@pytest.mark.parametrize("positions", [torch.arange(3, 3 + T), torch.tensor([[0, 1, 2, 0, 1], [40, 7, 9, 11, 900]])])
def test_interleaved_rotary_is_that_of_gpt_j(positions):
    x = randn(B, H, T, K)
    cos, sin = (part.expand(B, T, K // 2) for part in cos_and_sin(positions))
    theirs = modeling_gptj.apply_rotary_pos_emb(x.transpose(1, 2), sin, cos).transpose(1, 2)
    assert_same(Rotary(K, pairing="interleaved").turn(x, positions), theirs)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_the_speeds_are_those_of_llama_and_gpt_j(base):
    head_width, length = 12, 50
    config = LlamaConfig(
        hidden_size=36, num_attention_heads=3, rope_parameters={"rope_type": "default", "rope_theta": base}
    )
    positions = torch.arange(length)
    x = randn(1, 3, length, head_width, dtype=torch.float32)
    cos, sin = LlamaRotaryEmbedding(config)(x, positions[None])
    # Theirs is float32. An angle below 50 has a rounding of 2e-6, and x is below 5.
    assert_same(rotate(x, positions, base=base), llama_rotate(x, x, cos, sin)[0], atol=2e-5)
    if base == 10_000:
        sin, cos = modeling_gptj.create_sinusoidal_positions(length, head_width)[None].chunk(2, dim=-1)
        theirs = modeling_gptj.apply_rotary_pos_emb(x.transpose(1, 2), sin, cos).transpose(1, 2)
        assert_same(rotate(x, positions, pairing="interleaved"), theirs, atol=2e-5)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_rotary_scores_depend_on_the_distance_alone(pairing):
    rotary = Rotary(K, base=30.0, pairing=pairing)
    q, k = q_and_k()
    at_q, at_k = torch.tensor([4, 0, 9, 17, 2]), torch.tensor([3, 1, 4, 11, 5, 9, 2])

    def scores(shift: int) -> Tensor:
        return rotary.turn(q, at_q + shift) @ rotary.turn(k, at_k + shift).mT

    assert_same(scores(1000), scores(0))
    assert_same(scores(-13), scores(0))
    assert (scores(0) - rotary.turn(q, at_q + 1) @ rotary.turn(k, at_k).mT).abs().max() > 0.1
    assert_same(rotary.turn(q, at_q).norm(dim=-1), q.norm(dim=-1))
    assert_same(rotary.turn(q, torch.zeros(T, dtype=torch.long)), q)


@pytest.mark.parametrize("shape", [(H * 8, D), (H * 8,)])
def test_conversions_are_inverse_and_name_the_order(shape):
    weight = randn(*shape)
    assert torch.equal(to_interleaved(to_half_split(weight, H), H), weight)
    assert torch.equal(to_half_split(to_interleaved(weight, H), H), weight)
    rows = torch.arange(H * 8.0)
    assert to_half_split(rows, H).tolist() == [8 * h + i for h in range(H) for i in (0, 2, 4, 6, 1, 3, 5, 7)]
    assert to_interleaved(rows, H).tolist() == [8 * h + i for h in range(H) for i in (0, 4, 1, 5, 2, 6, 3, 7)]


def test_converted_weights_give_the_same_scores_with_the_other_pairing():
    x, positions = randn(B, T, D, seed=3), torch.tensor([[0, 1, 2, 3, 4], [9, 8, 5, 1, 0]])
    wq, wk, bq = randn(H * 8, D, seed=4), randn(H * 8, D, seed=5), randn(H * 8, seed=6)

    def scores(convert, pairing) -> Tensor:
        rotary = Rotary(8, pairing=pairing)
        q, k = (F.linear(x, convert(w), b) for w, b in ((wq, convert(bq)), (wk, None)))
        q, k = (rotary.turn(part.unflatten(-1, (H, 8)).transpose(1, 2), positions) for part in (q, k))
        return q @ k.mT

    expected = scores(lambda w: w, "interleaved")
    assert_same(scores(lambda w: to_half_split(w, H), "half-split"), expected)
    assert (scores(lambda w: w, "half-split") - expected).abs().max() > 0.1
    expected = scores(lambda w: w, "half-split")
    assert_same(scores(lambda w: to_interleaved(w, H), "interleaved"), expected)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_far_positions_keep_their_angle_in_half_precision(dtype, pairing):
    # bfloat16 holds integers up to 256, float16 up to 2048: rounded, these neighbours would be turned alike.
    positions = torch.tensor([257, 2051, 4099])
    x = randn(2, 3, 8, dtype=dtype)
    turned = rotate(x, positions, pairing=pairing)
    assert turned.dtype == dtype
    exact = rotate(x.double(), positions, pairing=pairing)
    # Two products of numbers below 4 with a rounded sine or cosine, and a rounded sum: four roundings.
    assert_same(turned.double(), exact, atol=4 * 4 * torch.finfo(dtype).eps / 2)


# --- scores get a bias -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16, 20, 25, 33, 48])
def test_alibi_is_that_of_bloom_whatever_the_number_of_heads(heads):
    theirs = build_alibi_tensor(torch.ones(1, S, dtype=torch.long), heads, torch.float32)  # (H, 1, S): slope × s
    torch.testing.assert_close(alibi_slopes(heads), theirs[:, 0, 1])
    q, k = randn(B, heads, T, K), randn(B, 1, S, K)
    ours = ALiBi(heads).bias(q, k, torch.arange(S - T, S), torch.arange(S)).float()
    assert ours.shape == (heads, T, S)
    # Theirs differs by slope × t, the same for a whole row, which softmax does not see.
    mask = causal_mask(T, S)
    weights = [bias.expand(heads, T, S).masked_fill(~mask, -math.inf).softmax(dim=-1) for bias in (ours, theirs)]
    torch.testing.assert_close(*weights)


def test_alibi_of_eight_heads_is_the_one_in_the_paper_and_counts_distances_to_both_sides():
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    q, k = randn(1, 2, 3, K), randn(1, 2, 3, K)
    bias = ALiBi(2).bias(q, k, torch.arange(3), torch.arange(3))
    assert bias[0].tolist() == [[0, -1 / 16, -2 / 16], [-1 / 16, 0, -1 / 16], [-2 / 16, -1 / 16, 0]]
    rows = ALiBi(2).bias(q, k, torch.tensor([[5, 6, 9]]), torch.tensor([[9, 5, 0]]))
    assert (rows[0, 1] * -256).tolist() == [[4, 0, 5], [3, 1, 6], [0, 4, 9]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_keeps_its_alibi_slopes(dtype):
    q, k = randn(1, 12, 1, K, dtype=dtype), randn(1, 12, 99, K, dtype=dtype)  # the ninth slope of 12 is 1 / √2
    expected = ALiBi(12).bias(q.float(), k.float(), torch.tensor([98]), torch.arange(99))
    assert torch.equal(ALiBi(12).to(dtype).bias(q, k, torch.tensor([98]), torch.arange(99)), expected.to(dtype))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (4, 3), (6, 5), (8, 20), (64, 1000), (128, 1024)])
def test_buckets_are_those_of_hugging_faces_t5_for_every_distance(buckets, max_distance, bidirectional):
    relative = torch.arange(-3000, 3001)  # theirs is key - query
    theirs = T5Attention._relative_position_bucket(relative, bidirectional, buckets, max_distance)
    ours = t5_buckets(-relative, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("decoder", [True, False])
def test_the_bias_is_that_of_hugging_faces_t5(decoder):
    config = T5Config(
        d_model=D,
        d_kv=K,
        num_heads=H,
        is_decoder=decoder,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=6,
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    ours = T5Bias(H, bidirectional=not decoder, buckets=8, max_distance=6).double()
    ours.load_state_dict({"table.weight": theirs.relative_attention_bias.weight})
    q, k = q_and_k()
    expected = theirs.compute_bias(T, S, past_seen_tokens=S - T)
    assert_same(ours.bias(q, k, torch.arange(S - T, S), torch.arange(S)), expected[0])
    rows = ours.bias(q, k, torch.arange(S - T, S).expand(B, T), torch.arange(S))
    assert_same(rows, expected.expand(B, H, T, S))


def xlnet_waves(distances: Tensor, width: int) -> Tensor:
    speeds = 1 / 10_000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return XLNetModel.positional_embedding(distances.double(), speeds)


def transformer_xl_like(theirs: XLNetRelativeAttention, width: int, heads: int) -> TransformerXL:
    """With copied weights. XLNet's waves are first all sines, then all cosines; ours take turns."""
    ours = TransformerXL(width, heads, K).double()
    order = (
        torch.arange(width).unflatten(0, (2, -1)).mT.flatten()
    )  # ours[2i] is theirs[i], ours[2i + 1] theirs[D/2 + i]
    ours.load_state_dict(
        {"u": theirs.r_w_bias, "v": theirs.r_r_bias, "project.weight": theirs.r.flatten(1).T[:, order]}
    )
    return ours


@pytest.mark.parametrize("memory", [0, 2])
def test_transformer_xl_is_that_of_xlnet(memory):
    width, heads, length = 12, 3, T
    key_length = length + memory
    config = XLNetConfig(d_model=width, n_head=heads, d_inner=8, n_layer=1, vocab_size=9)
    theirs = randomized(XLNetRelativeAttention(config).double()).eval()
    q, k, v = (randn(B, heads, n, K, seed=seed) for seed, n in ((1, length), (2, key_length), (3, key_length)))
    mask = causal_mask(length, key_length)

    def their_order(x: Tensor) -> Tensor:
        return x.permute(2, 0, 1, 3)  # positions, rows, heads, head width

    # Their keys reach from the farthest distance, key_length, to -length (relative_positional_encoding, "bi").
    waves = xlnet_waves(torch.arange(key_length, -length, -1), width).expand(-1, B, -1)
    places = torch.einsum("ibh,hnd->ibnd", waves, theirs.r)
    hidden = (~mask).double()[:, :, None, None].expand(-1, -1, B, 1)
    out, _ = theirs.rel_attn_core(
        their_order(q), their_order(k), their_order(v), places, attn_mask=hidden, output_attentions=True
    )
    bias = transformer_xl_like(theirs, width, heads).bias(
        q, k, torch.arange(memory, key_length), torch.arange(key_length)
    )
    assert_same(attention(q, k, v, mask, bias), out.permute(1, 2, 0, 3))
    everything = theirs.rel_attn_core(their_order(q), their_order(k), their_order(v), places)
    assert_same(attention(q, k, v, None, bias), everything.permute(1, 2, 0, 3))


def test_transformer_xl_follows_the_positions_of_each_row_and_grouped_keys():
    scheme = randomized(TransformerXL(10, 6, K))
    q, k = randn(B, 6, T, K, seed=1), randn(B, 3, S, K, seed=2)
    at_q = torch.tensor([[4, 0, 9, 17, 2], [1, 2, 3, 0, 0]])
    at_k = torch.tensor([[3, 1, 4, 11, 5, 9, 2], [0, 1, 2, 3, 4, 5, 6]])
    bias = scheme.bias(q, k, at_q, at_k)
    for b in range(B):
        for h in range(6):
            for t in range(T):
                for s in range(S):
                    wave = sinusoids(at_q[b, t] - at_k[b, s, None], 10, dtype=torch.float64)[0]
                    r = (scheme.project.weight @ wave).unflatten(0, (6, K))[h]
                    expected = scheme.u[h] @ k[b, h // 2, s] + (q[b, h, t] + scheme.v[h]) @ r
                    assert bias[b, h, t, s].item() == pytest.approx(expected.item() / 2, abs=1e-12)  # √K is 2


# --- what all schemes share ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_does_one_thing_and_says_where(name):
    scheme = randomized(SCHEMES[name]())
    q, k, x = randn(B, 6, T, K), randn(B, 3, T, K), randn(B, T, D)
    positions = torch.arange(1, T + 1)
    does = {
        "input": not torch.equal(scheme.add(x, positions), x),
        "queries and keys": not torch.equal(scheme.turn(q, positions), q),
        "scores": scheme.bias(q, k, positions, positions) is not None,
    }
    assert [place for place, it_does in does.items() if it_does] == (
        [] if scheme.where == "nowhere" else [scheme.where]
    )


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_small_integers_are_positions_too(name, dtype):
    scheme = randomized(SCHEMES[name]())
    q, k, x = randn(B, 6, T, K), randn(B, 3, T, K), randn(B, T, D)
    long = torch.tensor([0, 39, 3, 7, 1])
    short = long.to(dtype)  # 0 - 39 in uint8 is 217
    with unchecked():
        assert torch.equal(scheme.add(x, short), scheme.add(x, long))
        assert torch.equal(scheme.turn(q, short), scheme.turn(q, long))
        bias = scheme.bias(q, k, long, long)
        again = scheme.bias(q, k, short, short)
        assert (bias is None and again is None) or torch.equal(wrong(again), wrong(bias))


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_scheme_keeps_the_dtype_of_what_it_gets(name, dtype):
    scheme = randomized(SCHEMES[name]()).to(dtype)
    q, k, x = (randn(*size, dtype=dtype) for size in ((B, 6, T, K), (B, 3, T, K), (B, T, D)))
    positions = torch.arange(T)
    assert scheme.add(x, positions).dtype == scheme.turn(q, positions).dtype == dtype
    bias = scheme.bias(q, k, positions, positions)
    assert bias is None or bias.dtype == dtype


def test_learning_reaches_what_is_learned():
    for name, count in [("learned", 1), ("T5, both directions", 1), ("Transformer-XL", 3)]:
        scheme = randomized(SCHEMES[name]())
        q, k, positions = randn(B, 6, T, K), randn(B, 3, T, K), torch.arange(T)
        bias = scheme.bias(q, k, positions, positions)
        result = scheme.add(randn(B, T, D), positions) if bias is None else bias
        result.square().sum().backward()
        gradients = [parameter.grad for parameter in scheme.parameters()]
        assert len(gradients) == count
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


# --- Bad input -------------------------------------------------------------------------------------------------------

X, Q = torch.zeros(B, T, D), torch.zeros(B, 3, T, K)
FINE = torch.arange(T)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: Sinusoidal(7), ValueError, "width is 7: it must be even, for the numbers are used in pairs"),
        (lambda: Sinusoidal(wrong(6.0)), TypeError, "width must be an integer, not 6.0"),
        (lambda: Sinusoidal(0), ValueError, "width is 0: it must be at least 1"),
        (lambda: Sinusoidal(6).add(X, FINE), ValueError, "x has width 14, but these positions were made for 6"),
        (lambda: sinusoids(FINE, 5), ValueError, "width is 5: it must be even"),
        (
            lambda: sinusoids(FINE / 2, 4),
            TypeError,
            "positions must be a tensor of integers, as torch.arange.T., not a",
        ),
        (lambda: sinusoids(FINE, 4, base=0), ValueError, "base is 0: it must be above 0"),
        (lambda: Learned(0, D), ValueError, "max_length is 0: it must be at least 1"),
        (lambda: Learned(3, True), TypeError, "width must be an integer, not True"),
        (lambda: Learned(9, 1).add(X, FINE), ValueError, "x has width 14, but these positions were made for 1"),
        (
            lambda: Learned(4, D).add(X, FINE),
            ValueError,
            "positions run from 0 to 4, but only 0 to 3 were learned: shorten the text, or choose a scheme that has",
        ),
        (lambda: Learned(9, D).add(X, FINE - 1), ValueError, "positions run from -1 to 3, but only 0 to 8"),
        (lambda: Learned(9, D).add(X, FINE[:4]), ValueError, r"positions has shape \(4,\), but x has \(2, 5, 14\): it"),
        (lambda: Learned(9, D).add(X, FINE[0]), ValueError, r"positions has shape \(\), but x has"),
        (lambda: Learned(9, D).add(X, FINE.expand(3, T)), ValueError, r"positions has shape \(3, 5\), but x has"),
        (
            lambda: Learned(9, D).add(X, FINE.expand(1, 1, T)),
            ValueError,
            r"positions has shape \(1, 1, 5\), but x has",
        ),
        (
            lambda: Learned(9, D).add(X[:, :0], FINE[:0]),
            ValueError,
            r"positions has shape \(0,\), but x has \(2, 0, 14",
        ),
        (
            lambda: Learned(9, D).add(X, wrong([0, 1])),
            TypeError,
            r"positions must be a tensor of integers, .* not \[0, 1\]",
        ),
        (lambda: Learned(9, D).add(X, FINE > 1), TypeError, "positions must be a tensor of integers, .* torch.bool"),
        (lambda: Learned(9, D).add(X.long(), FINE), TypeError, "x is torch.int64: positions need floating-point"),
        (lambda: Learned(9, D).add(X, FINE.to("meta")), ValueError, "positions are on meta and x is on cpu: move them"),
        (lambda: Rotary(5), ValueError, "head_width is 5: it must be even"),
        (
            lambda: Rotary(4, pairing=wrong("halves")),
            ValueError,
            "pairing is 'halves': it must be 'half-split' or 'interleav",
        ),
        (
            lambda: rotate(Q, FINE, pairing=wrong("both")),
            ValueError,
            "pairing is 'both': it must be 'half-split' or 'interl",
        ),
        (lambda: rotate(Q[..., :3], FINE), ValueError, "width is 3: it must be even"),
        (lambda: rotate(Q.int(), FINE), TypeError, "x is torch.int32: positions need floating-point numbers"),
        (lambda: Rotary(6).turn(Q, FINE), ValueError, "x has head width 4, but these positions were made for 6"),
        (lambda: Rotary(4).turn(Q, FINE.expand(3, T)), ValueError, r"positions has shape \(3, 1, 5\), but x has"),
        (lambda: Rotary(4).turn(Q, FINE[:1]), ValueError, r"positions has shape \(1,\), but x has \(2, 3, 5, 4\)"),
        (
            lambda: to_half_split(torch.zeros(10, 3), 3),
            ValueError,
            r"weight has 10 rows: they must be heads \(3\) times",
        ),
        (
            lambda: to_interleaved(torch.zeros(9, 3), 3),
            ValueError,
            r"weight has 9 rows: they must be heads \(3\) times",
        ),
        (lambda: to_interleaved(torch.zeros(9, 3), 0), ValueError, "heads is 0: it must be at least 1"),
        (lambda: ALiBi(0), ValueError, "heads is 0: it must be at least 1"),
        (lambda: ALiBi(2).bias(Q, Q, FINE, FINE), ValueError, "q has 3 heads, but these positions were made for 2"),
        (lambda: ALiBi(3).bias(Q, Q, FINE / 1, FINE), TypeError, "query_positions must be a tensor of integers"),
        (
            lambda: ALiBi(3).bias(Q, Q, FINE, wrong(5)),
            TypeError,
            "key_positions must be a tensor of integers, .* not 5",
        ),
        (lambda: T5Bias(0, bidirectional=True), ValueError, "heads is 0: it must be at least 1"),
        (lambda: T5Bias(3, bidirectional=True, buckets=7), ValueError, "buckets is 7: it must be even, and at least 4"),
        (lambda: T5Bias(3, bidirectional=False, buckets=0), ValueError, "buckets is 0: it must be at least 1"),
        (lambda: T5Bias(3, bidirectional=True, buckets=2), ValueError, "buckets is 2: it must be even, and at least 4"),
        (lambda: t5_buckets(FINE, bidirectional=True, buckets=2), ValueError, "buckets is 2: it must be even, and at"),
        (lambda: t5_buckets(FINE / 1, bidirectional=True), TypeError, "distance must be a tensor of integers"),
        (
            lambda: T5Bias(3, bidirectional=True, max_distance=8),
            ValueError,
            "max_distance is 8: it must be above 8, the distances with a bucket each",
        ),
        (
            lambda: T5Bias(2, bidirectional=True).bias(Q, Q, FINE, FINE),
            ValueError,
            "q has 3 heads, but these positions were made for 2",
        ),
        (lambda: TransformerXL(5, 3, K), ValueError, "width is 5: it must be even"),
        (lambda: TransformerXL(6, 0, K), ValueError, "heads is 0: it must be at least 1"),
        (lambda: TransformerXL(6, 3, -1), ValueError, "head_width is -1: it must be at least 1"),
        (lambda: TransformerXL(6, 2, K).bias(Q, Q, FINE, FINE), ValueError, "q has 3 heads, but these positions were"),
        (lambda: TransformerXL(6, 3, 1).bias(Q, Q, FINE, FINE), ValueError, "x has head width 4, but these positions"),
    ],
)
def test_bad_input_is_refused_with_a_reason(action, error, message):
    with unchecked(), pytest.raises(error, match=f"^{message}"):
        action()


LAST_LEARNED = Learned(T, D)
sizes = st.lists(st.integers(0, 6), min_size=0, max_size=2)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(SCHEMES)), sizes, st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_positions_of_any_shape_are_taken_or_refused(name, size, rows, length, seed):
    scheme: PositionScheme = randomized(SCHEMES[name]())
    positions = torch.randint(0, 40, size, generator=seeded(seed))
    x, q = randn(rows, length, D), randn(rows, 6, length, K)
    fits = size in ([length], [1, length], [rows, length])
    used, result = {
        "input": (x, lambda: scheme.add(x, positions)),
        "queries and keys": (q, lambda: scheme.turn(q, positions)),
        "scores": (q, lambda: scheme.turn(q, positions)),
        "nowhere": (x, lambda: scheme.add(x, positions)),
    }[scheme.where]
    with unchecked():
        if scheme.where in ("input", "queries and keys") and not fits:
            with pytest.raises(ValueError, match=r"^positions has shape"):
                result()
        else:
            assert result().shape == used.shape
            assert result().isfinite().all()
