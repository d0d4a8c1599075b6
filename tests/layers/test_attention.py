"""Attention against PyTorch, Hugging Face and loops; its laws; rows that see nothing; every number format."""

import inspect
import itertools
import math
import shutil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from course_lib.data.batches import pack_documents, pad_batch
from course_lib.layers.attention import MultiHeadAttention, attention, attention_weights, fused_attention
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.masks import causal_mask, document_mask, padding_mask, sliding_window_mask
from course_lib.layers.norms import RMSNorm
from course_lib.layers.positions import ALiBi, Rotary, T5Bias
from tests.layers.helpers import (
    HEADS,
    KV_HEADS,
    RELATIVE,
    SCHEMES,
    WIDTH,
    B,
    K,
    Layer,
    S,
    T,
    assert_same,
    attention_by_loops,
    randn,
    random_mask,
    randomized,
    seeded,
    unchecked,
    wrong,
)

H, V = 3, 9  # heads, and a width of the values that is not that of the keys


def q_k_v(
    dtype: torch.dtype = torch.float64, *, groups: int = H, value_width: int = V, length: int = T, key_length: int = S
) -> tuple[Tensor, Tensor, Tensor]:
    q = randn(B, H, length, K, seed=1, dtype=dtype)
    return (
        q,
        randn(B, groups, key_length, K, seed=2, dtype=dtype),
        randn(B, groups, key_length, value_width, seed=3, dtype=dtype),
    )


MASKS = {
    "none": None,
    "(T, S)": random_mask(T, S),
    "(B, 1, T, S)": random_mask(B, 1, T, S),
    "(B, H, T, S)": random_mask(B, H, T, S),
    "(B, 1, 1, S)": random_mask(B, 1, 1, S),
    "(1, S)": random_mask(1, S),
    "(H, T, 1)": torch.ones(H, T, 1, dtype=torch.bool),
}


# --- references ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_readable_and_fused_attention_are_those_of_pytorch_and_of_loops(mask, scale, with_bias):
    q, k, v = q_k_v()
    bias = randn(H, T, S, seed=4) if with_bias else None
    added = torch.zeros(B, H, T, S, dtype=torch.float64) if bias is None else bias.expand(B, H, T, S)
    added = added if mask is None else added.masked_fill(~mask, -math.inf)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale)
    out, weights = attention_by_loops(q, k, v, mask, bias, scale=scale)
    assert_same(out, theirs)
    assert_same(attention(q, k, v, mask, bias, scale=scale), theirs)
    assert_same(attention_weights(q, k, mask, bias, scale=scale), weights)
    assert_same(fused_attention(q, k, v, mask, bias, scale=scale), theirs)


@pytest.mark.parametrize("size", [(), (B,), (2, 3, 1)])
def test_readable_attention_takes_any_number_of_leading_dimensions(size):
    q, k, v = randn(*size, T, K, seed=1), randn(*size, S, K, seed=2), randn(*size, S, V, seed=3)
    mask = random_mask(T, S)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert_same(attention(q, k, v, mask), theirs)


@pytest.mark.parametrize(("length", "key_length"), [(S, S), (T, S), (1, S), (1, 1)])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_fused_causal_mask_is_aligned_at_the_end(length, key_length, mask, with_bias):
    q, k, v = q_k_v(length=length, key_length=key_length)
    seen = random_mask(B, 1, length, key_length) if mask else None
    bias = randn(B, H, length, key_length, seed=4) if with_bias else None
    expected, _ = attention_by_loops(q, k, v, seen, bias, causal=True)
    assert_same(fused_attention(q, k, v, seen, bias, causal=True), expected)
    if length == key_length and not mask and not with_bias:
        assert_same(F.scaled_dot_product_attention(q, k, v, is_causal=True), expected)


def test_causal_alone_lets_the_kernel_do_without_a_mask(monkeypatch):
    calls = []
    kernel = F.scaled_dot_product_attention

    def watched(*args, **options):
        calls.append(options)
        return kernel(*args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    q, k, v = q_k_v(length=S)
    fused_attention(q, k, v, causal=True)
    assert (calls[0]["attn_mask"], calls[0]["is_causal"]) == (None, True)
    fused_attention(q[:, :, :1], k, v, causal=True)  # one token and a cache: it sees everything
    assert (calls[1]["attn_mask"], calls[1]["is_causal"]) == (None, False)


def from_torch(theirs: nn.MultiheadAttention, **options) -> MultiHeadAttention:
    ours = MultiHeadAttention(
        theirs.embed_dim, theirs.num_heads, bias=theirs.in_proj_bias is not None, **options
    ).double()
    weights = {"qkv.weight": theirs.in_proj_weight, "out.weight": theirs.out_proj.weight}
    if theirs.in_proj_bias is not None:
        weights |= {"qkv.bias": theirs.in_proj_bias, "out.bias": theirs.out_proj.bias}
    ours.load_state_dict(weights)
    return ours


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_the_layer_is_nn_multihead_attention_with_copied_weights(bias, cross):
    width, key_length = 12, S if cross else T
    theirs = randomized(nn.MultiheadAttention(width, H, bias=bias, batch_first=True))
    ours = from_torch(theirs)
    x, memory = randn(B, T, width, seed=1), randn(B, S, width, seed=2)
    sources = (x, memory, memory) if cross else (x, x, x)
    real = torch.arange(key_length) < torch.tensor([[key_length], [key_length - 2]])
    allowed = random_mask(T, key_length)
    per_head = random_mask(B, H, T, key_length)
    for mask, options in [
        (None, {}),
        (padding_mask(real), {"key_padding_mask": ~real}),
        (allowed, {"attn_mask": ~allowed}),
        (per_head, {"attn_mask": ~per_head.flatten(0, 1)}),
        (allowed & padding_mask(real), {"attn_mask": ~allowed, "key_padding_mask": ~real}),
    ]:
        expected, weights = theirs(*sources, average_attn_weights=False, **options)
        assert_same(ours(x, memory if cross else None, mask=mask), expected)
        assert_same(ours.weights(x, memory if cross else None, mask=mask), weights)


def test_the_causal_layer_and_its_gradients_are_those_of_nn_multihead_attention():
    width = 12
    theirs = randomized(nn.MultiheadAttention(width, H, batch_first=True))
    ours = from_torch(theirs)
    x, wanted = randn(B, T, width), randn(B, T, width, seed=9)
    hidden = ~causal_mask(T)
    expected, weights = theirs(x, x, x, attn_mask=hidden, is_causal=True, average_attn_weights=False)
    out = ours(x, causal=True)
    assert_same(out, expected)
    assert_same(ours.weights(x, causal=True), weights)
    for result in (out, expected):
        (result * wanted).sum().backward()
    for mine, other in [
        (ours.qkv.weight, theirs.in_proj_weight),
        (ours.qkv.bias, theirs.in_proj_bias),
        (ours.out.weight, theirs.out_proj.weight),
    ]:
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad)


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
def test_the_layer_is_hugging_faces_llama_attention_with_a_cache_too(kv_heads):
    heads, width = 6, 18
    config = LlamaConfig(
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=K,
        attention_bias=True,
    )
    config._attn_implementation = "sdpa"  # the other one rounds its weights to float32
    theirs = randomized(LlamaAttention(config, layer_idx=0))
    ours = MultiHeadAttention(width, heads, kv_heads=kv_heads, head_width=K, positions=Rotary(K), bias=True).double()
    projections = (theirs.q_proj, theirs.k_proj, theirs.v_proj)
    ours.load_state_dict(
        {
            "qkv.weight": torch.cat([part.weight for part in projections]),
            "qkv.bias": torch.cat([part.bias for part in projections]),
            "out.weight": theirs.o_proj.weight,
            "out.bias": theirs.o_proj.bias,
        }
    )
    x = randn(B, S, width)
    angles = torch.arange(S, dtype=torch.float64)[:, None] / 10_000 ** (torch.arange(0, K, 2) / K).double()
    angles = torch.cat([angles, angles], dim=-1).expand(B, S, K)
    ours_cache, theirs_cache = KeyValueCache(), DynamicCache()

    with torch.no_grad():
        whole, _ = theirs(x, (angles.cos(), angles.sin()), causal_mask(S)[None, None])
        assert_same(ours(x, causal=True), whole)
        for start, end in [(0, 4), (4, 6), (6, 7)]:
            here = angles[:, start:end]
            expected, _ = theirs(
                x[:, start:end],
                (here.cos(), here.sin()),
                causal_mask(end - start, end)[None, None],
                past_key_values=theirs_cache,
            )
            assert_same(ours(x[:, start:end], causal=True, cache=ours_cache), expected)
            assert_same(whole[:, start:end], expected)
    kept = wrong(theirs_cache.layers[0])
    assert_same(ours_cache.keys, kept.keys)
    assert_same(ours_cache.values, kept.values)


@pytest.mark.parametrize("decoder", [True, False])
def test_the_layer_is_hugging_faces_t5_attention(decoder):
    config = T5Config(
        d_model=WIDTH,
        d_kv=K,
        num_heads=H,
        dropout_rate=0.0,
        is_decoder=decoder,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=5,
    )
    theirs = randomized(T5Attention(config, has_relative_attention_bias=True, layer_idx=0))
    positions = T5Bias(H, bidirectional=not decoder, buckets=8, max_distance=5)
    ours = MultiHeadAttention(WIDTH, H, head_width=K, positions=positions, scale=1.0).double()
    ours.load_state_dict(
        {
            "qkv.weight": torch.cat([theirs.q.weight, theirs.k.weight, theirs.v.weight]),
            "out.weight": theirs.o.weight,
            "positions.table.weight": theirs.relative_attention_bias.weight,
        }
    )
    x = randn(B, T, WIDTH)
    hidden = torch.zeros(1, 1, T, T, dtype=torch.float64)
    if decoder:
        hidden = hidden.masked_fill(~causal_mask(T), -math.inf)
    expected, _, weights = theirs(x, mask=hidden)
    assert_same(ours(x, causal=decoder), expected)
    if weights is not None:
        assert_same(ours.weights(x, causal=decoder), weights)


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("how", ["causal", "mask", "causal and mask", "weights"])
def test_what_comes_later_has_a_gradient_of_exactly_zero(name, how):
    layer = Layer(name)
    x = randn(B, T, WIDTH).requires_grad_()
    mask = causal_mask(T) if how == "mask" else random_mask(B, T, T) | torch.eye(T).bool()
    for t in range(T):
        if how == "weights":
            out = layer.attention.weights(layer.positions.add(x, torch.arange(T)), causal=True)[:, :, t].square()
        else:
            out = layer(x, mask=mask if "mask" in how else None, causal="causal" in how)[:, t]
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert not gradient[:, t + 1 :].any()
        if how == "causal":
            assert gradient[:, : t + 1].abs().amax(dim=-1).min() > 0


@pytest.mark.parametrize("name", SCHEMES)
def test_a_window_hides_what_is_too_far_back_exactly(name):
    layer = Layer(name)
    x = randn(B, T, WIDTH).requires_grad_()
    out = layer(x, mask=sliding_window_mask(T, 2))
    for t in range(T):
        (gradient,) = torch.autograd.grad(out[:, t].sum(), x, retain_graph=True)
        seen = gradient.abs().amax(dim=(0, 2)) > 0
        assert seen.tolist() == [t - 2 < s <= t for s in range(T)]
    assert_same(layer(x, mask=sliding_window_mask(T, T)), layer(x, causal=True))


@pytest.mark.parametrize("name", SCHEMES)
def test_without_positions_attention_sees_a_set_and_with_them_an_order(name):
    layer = Layer(name)
    x, order = randn(B, T, WIDTH), torch.tensor([3, 0, 4, 1, 2])
    difference = (layer(x)[:, order] - layer(x[:, order])).abs().max()
    assert difference < 1e-12 if name == "no positions" else difference > 1e-2
    moved = layer(x[:, order], positions=order)  # each token keeps its place: then only the rows change seats
    assert_same(moved, layer(x)[:, order])


@pytest.mark.parametrize("name", SCHEMES)
def test_relative_schemes_know_only_distances(name):
    layer = Layer(name)
    x, positions = randn(B, T, WIDTH), torch.tensor([[0, 1, 2, 3, 4], [2, 0, 1, 0, 1]])
    difference = (layer(x, positions=positions + 20) - layer(x, positions=positions)).abs().max()
    assert difference < 1e-12 if name in RELATIVE or name == "no positions" else difference > 1e-2


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_row_of_a_padded_batch_is_what_the_row_is_alone(name, causal):
    layer = Layer(name)
    table = randn(20, WIDTH)
    sequences = [[3, 1, 4, 1, 5], [9], [2, 6, 5]]
    for pad_id in (0, 7):
        batch = pad_batch(sequences, pad_id)
        out = layer(table[batch.ids], mask=padding_mask(batch.mask), causal=causal)
        for row, real, ids in zip(out, batch.mask, sequences, strict=True):
            assert_same(row[real], layer(table[torch.tensor([ids])], causal=causal)[0])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", SCHEMES)
def test_padding_on_the_left_changes_nothing_either(name, causal):
    layer = Layer(name)
    x = randn(B, T, WIDTH)
    real = torch.arange(T) >= torch.tensor([[0], [2]])
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)
    out = layer(x, mask=padding_mask(real), causal=causal, positions=positions)
    assert_same(out[0], layer(x[:1], causal=causal)[0])
    assert_same(out[1, 2:], layer(x[1:, 2:], causal=causal)[0])
    assert out.isfinite().all()


@pytest.mark.parametrize("name", SCHEMES)
def test_packed_documents_are_what_they_are_apart(name):
    layer = Layer(name)
    table = randn(40, WIDTH)
    documents = [[3, 1, 4], [9, 8], [2, 6, 5, 11, 12], [7]]
    batch = pack_documents(documents, length=8, eos_id=0)
    mask = document_mask(batch.document_ids) & causal_mask(8)
    out = layer(table[batch.ids], mask=mask, positions=batch.positions)
    for number, document in enumerate(documents):
        alone = layer(table[torch.tensor([[*document, 0]])], causal=True)[0]
        assert_same(out[batch.document_ids == number], alone)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("kv_heads", [1, 2, 3])
def test_grouped_queries_are_all_heads_with_repeated_weights(name, kv_heads):
    few, many = Layer(name, kv_heads=kv_heads), Layer(name, kv_heads=HEADS)

    def repeated(weight: Tensor) -> Tensor:
        q, k, v = weight.unflatten(0, (-1, K)).split([HEADS, kv_heads, kv_heads])
        k, v = (torch.stack([part[h * kv_heads // HEADS] for h in range(HEADS)]) for part in (k, v))
        return torch.cat([q, k, v]).flatten(0, 1)

    state = few.state_dict()
    for key in ("attention.qkv.weight", "attention.qkv.bias"):
        state[key] = repeated(state[key])
    many.load_state_dict(state)
    x, mask = randn(B, T, WIDTH), random_mask(B, T, T)
    assert_same(few(x, mask=mask), many(x, mask=mask))
    assert_same(few(x, causal=True), many(x, causal=True))
    assert_same(few.attention.weights(x, causal=True), many.attention.weights(x, causal=True))


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("causal", [True, False])
def test_the_weights_times_the_values_are_what_forward_reads(name, causal):
    layer = Layer(name)
    x, positions = randn(B, T, WIDTH), torch.tensor([[0, 1, 2, 3, 4], [5, 6, 0, 1, 2]])
    module = layer.attention
    values = F.linear(x, module.qkv.weight, module.qkv.bias)[..., -KV_HEADS * K :]
    values = values.unflatten(-1, (KV_HEADS, K)).transpose(1, 2).repeat_interleave(HEADS // KV_HEADS, dim=1)
    for mask in (None, random_mask(T, T), random_mask(B, T, T), random_mask(B, HEADS, T, T), random_mask(B, 1, T)):
        options = {"mask": mask, "causal": causal, "positions": positions}
        weights = module.weights(x, **options)
        total = weights.sum(dim=-1)
        assert_same(total, total.round())  # 1, or 0 where causal and mask leave nothing
        read = (weights @ values).transpose(1, 2).flatten(2)
        assert_same(module(x, **options), module.out(read))


def test_dropout_acts_in_training_alone_and_on_the_weights():
    layer = Layer("no positions", dropout=0.5)
    still = Layer("no positions")
    x = randn(B, T, WIDTH)
    torch.manual_seed(0)
    assert (layer(x) - still(x)).abs().max() > 0.1
    assert_same(layer.attention.weights(x), still.attention.weights(x))  # what is looked at is whole
    assert_same(layer.eval()(x), still(x))
    q, k, v = q_k_v(value_width=K)
    torch.manual_seed(0)
    mean = torch.stack([fused_attention(q, k, v, dropout=0.5) for _ in range(3000)]).mean(dim=0)
    # Each is the sum of 7 weighted values, kept or doubled: a standard deviation below 2.5, so 0.046 for the mean.
    assert_same(mean, attention(q, k, v), atol=0.25)


def test_the_names_of_the_arguments_are_those_that_the_course_uses():
    assert [*inspect.signature(fused_attention).parameters] == [
        *("q", "k", "v", "mask", "bias", "causal", "dropout", "scale")
    ]
    layer = MultiHeadAttention(12, 3)
    assert (layer.width, layer.heads, layer.kv_heads, layer.head_width) == (12, 3, 3, 4)
    assert layer.qkv.weight.shape == (36, 12)
    assert layer.qkv.bias is layer.out.bias is None
    grouped = MultiHeadAttention(12, 6, kv_heads=2, head_width=5, bias=True)
    assert grouped.qkv.weight.shape == ((6 + 2 * 2) * 5, 12)
    assert grouped.out.weight.shape == (12, 30)


# --- what a mask hides -----------------------------------------------------------------------------------------------


def compute_with_a_hidden_key(compute, *, key: float | None = None, value: float | None = None):
    """Output and gradients where the last key is hidden, and in the first sequence is one of these numbers."""
    q, k, v = q_k_v(torch.float32)
    for part, number in ((k, key), (v, value)):
        if number is not None:
            part[0, :, -1] = number
    mask = torch.ones(T, S, dtype=torch.bool)
    mask[:, -1] = False
    out = compute(*(part.requires_grad_() for part in (q, k, v)), mask)
    return [out, *torch.autograd.grad(out.sum(), (q, k, v))]


@pytest.mark.parametrize("compute", [attention, fused_attention])
@pytest.mark.parametrize("hidden", [{"key": 1e30}, {"key": -1e30}, {"value": 1e30}])
def test_a_hidden_number_leaves_no_trace_however_large_while_it_is_finite(compute, hidden):
    with_it, without = compute_with_a_hidden_key(compute, **hidden), compute_with_a_hidden_key(compute)
    for got, expected in zip(with_it, without, strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("compute", [attention, fused_attention])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_hidden_nan_or_infinity_reaches_its_own_sequence_alone_and_there_it_may_come_out(compute, number):
    for part in ("key", "value"):
        out, *gradients = compute_with_a_hidden_key(compute, **{part: number})
        assert all(tensor[1].isfinite().all() for tensor in (out, *gradients))
        assert gradients[0][0].isnan().all()  # of q, in both functions: 0 · NaN
    assert out[0].isnan().all()  # a hidden value, too; a hidden key comes out of the fused kernel only


# --- rows that see nothing -------------------------------------------------------------------------------------------

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", ["no bias", "a bias", "a learned bias"])
@pytest.mark.parametrize("groups", [H, 1])
def test_a_row_that_may_attend_to_nothing_gives_zeros_and_finite_gradients(dtype, bias, groups):
    q, k, v = (part.requires_grad_() for part in q_k_v(dtype, groups=groups, value_width=K))
    added = None if bias == "no bias" else randn(H, T, S, seed=4, dtype=dtype).requires_grad_("learned" in bias)
    mask = random_mask(B, 1, T, S)
    mask[0, 0, 2] = mask[1, 0, 0] = mask[1, 0, 4] = False
    expected, _ = attention_by_loops(q, k, v, mask, added)
    repeat = H // groups

    def readable() -> Tensor:
        return attention(q, k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1), mask, added)

    inputs = [part for part in (q, k, v, added) if part is not None and part.requires_grad]
    for compute in (readable, lambda: fused_attention(q, k, v, mask, added)):
        out = compute()
        assert not out[0, :, 2].any()
        assert not out[1, :, [0, 4]].any()
        assert_same(out.double(), expected, atol=TOLERANCE[dtype])
        gradients = torch.autograd.grad((out * randn(B, H, T, K, seed=8, dtype=dtype)).sum(), inputs)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert not gradients[0][0, :, 2].any()  # what sees nothing learns nothing
        assert gradients[0][0, :, 3].any()
    weights = attention_weights(q, k.repeat_interleave(repeat, dim=1), mask, added)
    assert not weights[0, :, 2].any()


@pytest.mark.parametrize("compute", [attention, fused_attention])
def test_no_nan_appears_on_the_way_back_either(compute):
    q, k, v = (part.requires_grad_() for part in q_k_v())
    nothing = torch.zeros(T, S, dtype=torch.bool)
    with torch.autograd.set_detect_anomaly(True):
        compute(q, k, v, nothing).sum().backward()
    for part in (q, k, v):
        assert part.grad is not None
        assert not part.grad.any()


@pytest.mark.parametrize("name", SCHEMES)
def test_a_layer_whose_rows_see_nothing_gives_the_bias_of_its_last_matrix(name):
    layer = Layer(name)
    mask = random_mask(B, T, T)
    mask[1, 3] = False
    out = layer(randn(B, T, WIDTH), mask=mask)
    assert_same(out[1, 3], layer.attention.out.bias)
    out.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize("compute", [attention, fused_attention])
@pytest.mark.parametrize("where", ["q", "k", "v"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_nan_in_the_input_is_not_hidden(compute, where, masked):
    parts = dict(zip("qkv", q_k_v(), strict=True))
    parts[where][0, 1, 2] = math.nan
    mask = causal_mask(T, S) if masked else None
    out = compute(parts["q"], parts["k"], parts["v"], mask)
    assert out[0, 1, 2 if where == "q" else slice(None)].isnan().all()
    assert out[1].isfinite().all()


# --- number formats --------------------------------------------------------------------------------------------------

# The output is a mean of values, most below 3. A format with the relative rounding u = eps / 2 rounds the scaled query,
# the score (below 5) and the bias, so a weight is wrong by some 10 u; then weights, products and output are rounded.
# 24 u covers all of it: 1.4e-6, 0.094 and 0.012. What a bug moves is of the size of the values themselves.
TOLERANCE = {dtype: max(24 * torch.finfo(dtype).eps / 2, 1e-12) for dtype in DTYPES}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_all_formats_agree_with_float64(dtype, mask, with_bias):
    q, k, v = q_k_v(dtype)
    bias = randn(B, H, T, S, seed=4, dtype=dtype) if with_bias else None
    expected, weights = attention_by_loops(q, k, v, mask, bias)
    for out in (attention(q, k, v, mask, bias), fused_attention(q, k, v, mask, bias)):
        assert out.dtype == dtype
        assert_same(out.double(), expected, atol=TOLERANCE[dtype])
    result = attention_weights(q, k, mask, bias)
    assert result.dtype == dtype
    assert_same(result.double(), weights, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_bias_in_float32_does_not_change_the_format(dtype):
    q, k, v = q_k_v(dtype)
    bias = randn(H, T, S, seed=4, dtype=torch.float32)
    assert attention(q, k, v, None, bias).dtype == fused_attention(q, k, v, None, bias).dtype == dtype
    assert_same(attention(q, k, v, None, bias).double(), attention_by_loops(q, k, v, None, bias)[0], atol=0.1)


def test_large_float16_queries_and_keys_do_not_overflow():
    q, k = (torch.full((1, 1, 1, 64), 40.0, dtype=torch.float16) for _ in range(2))  # q·k is 102,400: infinity
    assert attention_weights(q, k).item() == 1
    assert attention(q, k, k).isfinite().all()


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_in_each_format_agrees_with_float64(name, dtype):
    layer, x = Layer(name), randn(B, T, WIDTH, dtype=dtype)
    rounded = Layer(name).to(dtype)
    layer.load_state_dict({key: value.double() for key, value in rounded.state_dict().items()})
    expected = layer(x.double(), causal=True)
    # Outputs are below 20. Before the attention stand a matrix product and positions, after it another product.
    assert expected.abs().max() < 20
    out = rounded(x, causal=True)
    assert out.dtype == dtype
    assert_same(out.double(), expected, atol=20 * 8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", SCHEMES)
def test_autocast_computes_in_bfloat16_and_learns_in_float32(name):
    layer, x = Layer(name), randn(B, T, WIDTH, dtype=torch.float32)
    expected = layer(x.double(), causal=True)
    layer = layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x, causal=True)
        weights = layer.attention.weights(x, causal=True)
    assert out.dtype == torch.bfloat16
    assert_same(out.double(), expected, atol=20 * 8 * torch.finfo(torch.bfloat16).eps)
    assert_same(weights.sum(dim=-1).double(), torch.ones(B, HEADS, T).double(), atol=0.02)
    out.float().sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert {gradient.dtype for gradient in gradients if gradient is not None} == {torch.float32}


def test_autocast_takes_a_cache():
    layer, x = Layer("rotary, half-split").float(), randn(B, T, WIDTH, dtype=torch.float32)
    cache = KeyValueCache()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole = layer(x, causal=True)
        pieces = [layer(x[:, :3], causal=True, cache=cache), layer(x[:, 3:], causal=True, cache=cache)]
    assert cache.keys.dtype == torch.float32  # on a CPU, attention itself stays in float32: it is faster so
    assert_same(torch.cat(pieces, dim=1).double(), whole.double(), atol=20 * 4 * torch.finfo(torch.bfloat16).eps)


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="torch.compile needs C++")
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself; what is ours is under test elsewhere
def test_compiling_changes_no_number():
    torch.compiler.reset()
    layer, x = Layer("rotary, half-split").float(), randn(B, T, WIDTH, dtype=torch.float32)
    with unchecked():
        compiled = torch.compile(layer, fullgraph=True)
        assert_same(compiled(x, causal=True), layer(x, causal=True), atol=1e-5)  # a few float32 roundings of 20
        mask = random_mask(B, T, T)
        assert_same(compiled(x, mask=mask), layer(x, mask=mask), atol=1e-5)


# --- Bad input -------------------------------------------------------------------------------------------------------

Q, X = torch.zeros(B, H, T, K), torch.zeros(B, T, 12)
ALL = torch.ones(T, T, dtype=torch.bool)


def layer(**options) -> MultiHeadAttention:
    return MultiHeadAttention(12, H, **options)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (
            lambda: MultiHeadAttention(10, 3),
            ValueError,
            r"heads is 3: width \(10\) must be a multiple of it, or head_wid",
        ),
        (
            lambda: MultiHeadAttention(12, 6, kv_heads=4),
            ValueError,
            r"kv_heads is 4: heads \(6\) must be a multiple of",
        ),
        (lambda: MultiHeadAttention(12, 0), ValueError, "heads is 0: it must be at least 1"),
        (lambda: MultiHeadAttention(12, 3, kv_heads=0), ValueError, "kv_heads is 0: it must be at least 1"),
        (lambda: MultiHeadAttention(-12, 3), ValueError, "width is -12: it must be at least 1"),
        (lambda: MultiHeadAttention(wrong(12.0), 3), TypeError, "width must be an integer, not 12.0"),
        (lambda: MultiHeadAttention(12, 3, head_width=0), ValueError, "head_width is 0: it must be at least 1"),
        (lambda: MultiHeadAttention(12, 3, head_width=wrong(2.5)), TypeError, "head_width must be an integer, not 2.5"),
        (lambda: MultiHeadAttention(12, 3, dropout=1), ValueError, "dropout is 1: it must be at least 0 and below 1"),
        (lambda: MultiHeadAttention(12, 3, dropout=-0.1), ValueError, "dropout is -0.1: it must be at least 0"),
        (lambda: layer(positions="rotary"), TypeError, r"positions must be a PositionScheme, as Rotary\(4\), not 'rot"),
        (lambda: layer()(X[0]), ValueError, r"x has shape \(5, 12\): it must be \(B, T, 12\)"),
        (lambda: layer()(X[..., :6]), ValueError, r"x has shape \(2, 5, 6\): it must be \(B, T, 12\)"),
        (lambda: layer()(X[:, :0]), ValueError, r"x has shape \(2, 0, 12\): .* not be empty"),
        (lambda: layer()(X[0], mask=ALL), ValueError, r"x has shape \(5, 12\): it must be \(B, T, 12\)"),
        (lambda: layer()(X.tolist()), TypeError, r"x must be a tensor of floating-point numbers, not \[\[\[0.0"),
        (
            lambda: layer()(X.long()),
            TypeError,
            "x must be a tensor of floating-point numbers, not a tensor of torch.int",
        ),
        (lambda: layer()(X.double()), TypeError, "x is torch.float64, but the weights are torch.float32: convert one"),
        (lambda: layer()(X.to("meta")), ValueError, "x is on meta, but the weights are on cpu: move one of them"),
        (lambda: layer().to("meta")(X), ValueError, "x is on cpu, but the weights are on meta: move one of them"),
        (lambda: layer()(X, X[:1]), ValueError, "memory has 1 rows and x has 2: each row reads its own memory"),
        (lambda: layer()(X, X[..., :3]), ValueError, r"memory has shape \(2, 5, 3\): it must be \(B, T, 12\)"),
        (lambda: layer()(X, X.half()), TypeError, "memory is torch.float16, but the weights are torch.float32"),
        (lambda: layer(positions=Rotary(4))(X, X), ValueError, "memory is given, but positions are Rotary: places in"),
        (
            lambda: layer(positions=ALiBi(3))(X, X),
            ValueError,
            "memory is given, but positions are ALiBi: places in two",
        ),
        (lambda: layer()(X, X, causal=True), ValueError, "memory is given, but causal is True: places in two texts"),
        (lambda: layer().weights(X, X, causal=True), ValueError, "memory is given, but causal is True: places in two"),
        (lambda: layer().weights(X, X[:1]), ValueError, "memory has 1 rows and x has 2"),
        (lambda: layer()(X, mask=ALL.float()), TypeError, "mask must be a tensor of bool, True where .* torch.float32"),
        (lambda: layer()(X, mask=[[True]]), TypeError, r"mask must be a tensor of bool, .* not \[\[True\]\]"),
        (
            lambda: layer()(X, mask=ALL[:3]),
            ValueError,
            r"mask has shape \(3, 5\): it must broadcast to the scores, \(2,",
        ),
        (lambda: layer()(X, mask=ALL[0]), ValueError, r"mask has shape \(5,\): .* with 2 dimensions at least"),
        (
            lambda: layer()(X, mask=ALL.expand(3, T, T)),
            ValueError,
            r"mask has shape \(3, 5, 5\): it must broadcast to the scores, \(2, 5, 5\)",
        ),
        (lambda: layer()(X, mask=ALL.expand(B, 2, T, T)), ValueError, r"mask has shape \(2, 2, 5, 5\): it must broadc"),
        (lambda: layer()(X, mask=ALL[None, None, None]), ValueError, r"mask has shape \(1, 1, 1, 5, 5\)"),
        (
            lambda: layer()(X, mask=ALL.to("meta")),
            ValueError,
            "mask is on meta, but what it is for is on cpu: move one",
        ),
        (
            lambda: layer().weights(X, mask=ALL[:3], causal=True),
            ValueError,
            r"mask has shape \(3, 5\): it must broadca",
        ),
        (lambda: layer().weights(X, mask=ALL.int(), causal=True), TypeError, "mask must be a tensor of bool"),
        (
            lambda: layer()(X, positions=torch.arange(4)),
            ValueError,
            r"positions has shape \(4,\), but x has \(2, 5, 12\)",
        ),
        (lambda: layer()(X, positions=torch.zeros(3, T).int()), ValueError, r"positions has shape \(3, 5\), but x has"),
        (
            lambda: layer()(X, positions=torch.zeros(T)),
            TypeError,
            "positions must be a tensor of integers, as torch.ara",
        ),
        (lambda: layer()(X, positions=[0, 1]), TypeError, r"positions must be a tensor of integers, .* not \[0, 1\]"),
        (lambda: layer()(X, positions=torch.arange(T).to("meta")), ValueError, "positions are on meta and x is on cpu"),
        (lambda: layer(positions=Rotary(6))(X), ValueError, "x has head width 4, but these positions were made for 6"),
        (lambda: layer(positions=ALiBi(4))(X), ValueError, "q has 3 heads, but these positions were made for 4"),
        (
            lambda: attention(Q, Q.double(), Q),
            TypeError,
            "q is torch.float32 and k is torch.float64: convert one of th",
        ),
        (
            lambda: attention(Q, Q, Q.half()),
            TypeError,
            "q is torch.float32 and v is torch.float16: convert one of them",
        ),
        (lambda: attention(Q, Q.to("meta"), Q), ValueError, "q is on cpu and k is on meta: move one of them"),
        (
            lambda: attention(Q.int(), Q, Q),
            TypeError,
            "q must be a tensor of floating-point numbers, not a tensor of t",
        ),
        (lambda: attention(Q, Q, wrong([1])), TypeError, r"v must be a tensor of floating-point numbers, not \[1\]"),
        (lambda: attention(Q, Q[..., :3], Q), ValueError, "q has head width 4 and k has 3: a product needs the same"),
        (lambda: attention(Q, Q[:, :, :3], Q), ValueError, "k has 3 positions and v has 5: each key needs its value"),
        (
            lambda: attention(Q, Q[:, :1], Q),
            ValueError,
            r"k has shape \(2, 1, 5, 4\), which does not fit \(2, 3, 5, 4\)",
        ),
        (lambda: attention(Q, Q, Q[:1]), ValueError, r"v has shape \(1, 3, 5, 4\), which does not fit \(2, 3, 5, 4\)"),
        (
            lambda: attention(Q, Q[0], Q),
            ValueError,
            r"k has shape \(3, 5, 4\): it must be \(..., positions, head width",
        ),
        (
            lambda: attention(Q[0, 0, 0], Q, Q),
            ValueError,
            r"q has shape \(4,\): it must be \(..., positions, head width",
        ),
        (lambda: attention(Q, Q, Q, ALL.float()), TypeError, "mask must be a tensor of bool, True where attending"),
        (
            lambda: attention(Q, Q, Q, ALL, ALL),
            TypeError,
            "bias must be a tensor of floating-point numbers, added to th",
        ),
        (
            lambda: attention(Q, Q, Q, None, Q),
            ValueError,
            r"bias has shape \(2, 3, 5, 4\): it must broadcast to the sco",
        ),
        (lambda: attention(Q, Q, Q, None, Q.mT.to("meta")[..., :1]), ValueError, "bias has shape"),
        (lambda: attention(Q, Q, Q, None, ALL.to("meta") / 1), ValueError, "bias is on meta, but what it is for is on"),
        (lambda: attention(Q, Q, Q, ALL.to("meta")), ValueError, "mask is on meta, but what it is for is on cpu: move"),
        (
            lambda: fused_attention(Q, Q[:, :2], Q[:, :2]),
            ValueError,
            "q has 3 heads and k has 2: the first must be a mul",
        ),
        (lambda: fused_attention(Q, Q[:, :0], Q[:, :0]), ValueError, "q has 3 heads and k has 0: the first must be"),
        (
            lambda: fused_attention(Q, Q, Q[:, :1]),
            ValueError,
            r"v has shape \(2, 1, 5, 4\), which does not fit \(2, 3, 5",
        ),
        (
            lambda: fused_attention(Q[0], Q[0], Q[0]),
            ValueError,
            r"q has shape \(3, 5, 4\): it must be \(B, heads, posi",
        ),
        (
            lambda: fused_attention(Q, Q, Q, ALL[:2]),
            ValueError,
            r"mask has shape \(2, 5\): it must broadcast to the scor",
        ),
        (lambda: fused_attention(Q, Q, Q, None, Q), ValueError, r"bias has shape \(2, 3, 5, 4\): it must broadcast"),
        (lambda: fused_attention(Q, Q, Q, wrong(1)), TypeError, "mask must be a tensor of bool, .* not 1$"),
        (
            lambda: fused_attention(Q, Q[:, :, :3], Q[:, :, :3], causal=True),
            ValueError,
            "key_length is 3: it must be at",
        ),
        (lambda: fused_attention(Q, Q, Q.to("meta")), ValueError, "q is on cpu and v is on meta: move one of them"),
    ],
)
def test_bad_input_is_refused_with_a_reason(action, error, message):
    with unchecked(), pytest.raises(error, match=f"^{message}"):
        action()


# --- anything at all -------------------------------------------------------------------------------------------------

OURS = ("q", "k", "v", "x", "mask", "bias", "memory", "positions", "key_length", "query_length", "cache")


def from_us(error: Exception) -> bool:
    return type(error) in (ValueError, TypeError) and str(error).split()[0] in OURS


@st.composite
def anything(draw, wanted: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """The shape of a mask or bias, and whether it broadcasts to ``wanted``: it mostly does, but not always."""
    size = [n if draw(st.integers(0, 3)) else 1 for n in wanted][draw(st.integers(0, len(wanted))) :]
    if size and draw(st.integers(0, 7)) == 0:
        size[draw(st.integers(0, len(size) - 1))] = draw(st.integers(0, 4))
    fits = len(size) >= 2 and all(a in (1, b) for a, b in zip(size[::-1], wanted[::-1], strict=False))
    return tuple(size), fits


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_attention_gives_the_right_numbers_or_says_why_not(data):
    draw = data.draw
    rows, groups, repeat = (draw(st.integers(1, 3), label=label) for label in ("rows", "groups", "repeat"))
    length, key_length, value_width = (draw(st.integers(1, 4), label=label) for label in ("T", "S", "K2"))
    dtype = draw(st.sampled_from(DTYPES))
    heads = groups * repeat
    q = randn(rows, heads, length, K, seed=1, dtype=dtype)
    k = randn(rows, groups, key_length, K, seed=2, dtype=dtype)
    v = randn(rows, groups, key_length, value_width, seed=3, dtype=dtype)
    causal = draw(st.booleans())
    right = not causal or length <= key_length or length == 1
    mask = bias = None
    if draw(st.booleans()):
        size, fits = draw(anything((rows, heads, length, key_length)))
        mask, right = torch.rand(size, generator=seeded(5)) < 0.6, right and fits
    if draw(st.booleans()):
        size, fits = draw(anything((rows, heads, length, key_length)))
        bias, right = randn(*size, seed=6, dtype=draw(st.sampled_from(DTYPES))), right and fits
    if draw(st.integers(0, 9)) == 0:
        mistake = draw(st.sampled_from(["dtype", "width", "heads", "rows", "keys", "mask", "dimensions"]))
        right = False
        q = q.to(torch.int64) if mistake == "dtype" else q[..., :3] if mistake == "width" else q
        k = k[:, :, :0] if mistake == "keys" else k[0] if mistake == "dimensions" else k
        v = torch.cat([v, v], dim=1) if mistake == "heads" else torch.cat([v, v]) if mistake == "rows" else v
        mask = torch.ones(length, key_length) if mistake == "mask" else mask
    with unchecked():
        try:
            out = fused_attention(q, k, v, mask, bias, causal=causal)
        except Exception as error:
            assert not right
            assert from_us(error), repr(error)  # noqa: PT017 (what else may come is the question)
            return
        assert right
        expected, _ = attention_by_loops(q, k, v, mask, bias, causal=causal)
        if causal:
            earlier = causal_mask(length, key_length)
            mask = earlier if mask is None else mask & earlier
        k, v = (part.repeat_interleave(repeat, dim=1) for part in (k, v))
        readable = attention(q, k, v, mask, bias)
    assert out.shape == readable.shape == (rows, heads, length, value_width)
    assert out.dtype == readable.dtype == dtype
    # A bias in a wider format is rounded to that of q: one rounding more of a number below 4.
    assert_same(out.double(), expected, atol=2 * TOLERANCE[dtype])
    assert_same(readable.double(), expected, atol=2 * TOLERANCE[dtype])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(SCHEMES)), st.data())
def test_a_layer_gives_the_right_numbers_or_says_why_not(name, data):
    draw = data.draw
    rows, length, key_length = (draw(st.integers(1, 4), label=label) for label in ("rows", "T", "memory"))
    layer = Layer(name, kv_heads=draw(st.sampled_from([1, 2, 3, 6])))
    x, right = randn(rows, length, WIDTH), True
    options: dict[str, Any] = {}
    cross = draw(st.integers(0, 3)) == 0
    if cross:
        options["memory"] = randn(rows, key_length, WIDTH, seed=2)
        right &= layer.positions.where in ("input", "nowhere")
    key_length = key_length if cross else length
    options["causal"] = draw(st.booleans())
    right &= not (cross and options["causal"])
    if draw(st.booleans()):
        wanted = (rows, HEADS, length, key_length)
        size, fits = draw(anything(wanted if draw(st.booleans()) else (rows, length, key_length)))
        if len(size) == 3:
            fits = all(a in (1, b) for a, b in zip(size, (rows, length, key_length), strict=True))
        options["mask"], right = torch.rand(size, generator=seeded(5)) < 0.6, right and fits
    if draw(st.booleans()):
        size = draw(st.sampled_from([(length,), (rows, length), (1, length), (length + 1,), (rows + 1, length), ()]))
        options["positions"] = torch.randint(0, 40, size, generator=seeded(7))
        adds = layer.positions.where == "input"  # those of cross-attention are not looked at where nothing is added
        right &= size in [(length,), (rows, length), (1, length)] or (cross and not adds)
    with unchecked():
        try:
            out = layer(x, **options)
        except Exception as error:
            assert not right, repr(error)  # noqa: PT017
            assert from_us(error), repr(error)  # noqa: PT017
            return
        assert right
        added = layer.positions.add(x, torch.arange(length) if "positions" not in options else options["positions"])
        weights = layer.attention.weights(added, **options)
    assert out.shape == x.shape
    assert weights.shape == (rows, HEADS, length, key_length)
    assert out.isfinite().all()
    source = options["memory"] if cross else added
    module = layer.attention
    values = F.linear(source, module.qkv.weight, module.qkv.bias)[..., -module.kv_heads * K :].unflatten(-1, (-1, K))
    read = torch.zeros(rows, length, HEADS, K, dtype=torch.float64)
    for h, s in itertools.product(range(HEADS), range(key_length)):
        read[:, :, h] += weights[:, h, :, s, None] * values[:, s, None, h * module.kv_heads // HEADS]
    assert_same(out, module.out(read.flatten(2)))


# --- normed queries and keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kv_heads", [1, 3, 6])
def test_normed_queries_and_keys_are_those_of_qwen3(kv_heads):
    config = Qwen3Config(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_key_value_heads=kv_heads,
        head_dim=K,
        rms_norm_eps=1e-6,
    )
    config._attn_implementation = "sdpa"
    theirs = randomized(Qwen3Attention(config, layer_idx=0)).float()
    for norm in (theirs.q_norm, theirs.k_norm):
        norm.weight.data.fill_(1.0)
    ours = MultiHeadAttention(
        WIDTH, HEADS, kv_heads=kv_heads, head_width=K, positions=Rotary(K), qk_norm=RMSNorm(K, scale=False)
    )
    projections = (theirs.q_proj, theirs.k_proj, theirs.v_proj)
    weights = {"qkv.weight": torch.cat([part.weight for part in projections]), "out.weight": theirs.o_proj.weight}
    ours.load_state_dict(weights)
    x = randn(B, T, WIDTH, dtype=torch.float32)
    angles = torch.arange(T)[:, None] / 10_000 ** (torch.arange(0, K, 2) / K)
    angles = torch.cat([angles, angles], dim=-1).expand(B, T, K)
    expected, _ = theirs(x, (angles.cos(), angles.sin()), causal_mask(T)[None, None])
    assert_same(ours(x, causal=True), expected, atol=1e-5)  # outputs below 10, a few dozen float32 roundings


def test_the_norm_of_queries_and_keys_may_have_weights_and_acts_before_positions_turn_them():
    norm = RMSNorm(K)
    normed, plain = (Layer("rotary, half-split", qk_norm=part) for part in (norm, None))
    plain.load_state_dict({name: p for name, p in normed.state_dict().items() if "qk_norm" not in name})
    x = randn(B, T, WIDTH)
    qkv = plain.attention.qkv(plain.positions.add(x, torch.arange(T))).unflatten(-1, (-1, K)).transpose(1, 2)
    q, k, v = qkv.split([HEADS, KV_HEADS, KV_HEADS], dim=1)
    q, k = (plain.positions.turn(F.rms_norm(part, (K,), norm.weight, 1e-6), torch.arange(T)) for part in (q, k))
    expected, _ = attention_by_loops(q, k, v, causal=True)
    out = normed.attention.out(expected.transpose(1, 2).flatten(2))
    assert_same(normed(x, causal=True), out)
    cache = KeyValueCache()
    with torch.no_grad():
        pieces = [normed(x[:, :2], causal=True, cache=cache), normed(x[:, 2:], causal=True, cache=cache)]
    assert_same(torch.cat(pieces, dim=1), out)
    assert_same(cache.keys, k)


def test_normed_cross_attention_norms_both_sides_with_a_cache_too():
    layer, x, memory = (
        Layer("no positions", qk_norm=RMSNorm(K, scale=False)),
        randn(B, T, WIDTH),
        randn(B, S, WIDTH, seed=1),
    )
    at = HEADS * K
    weight, bias = layer.attention.qkv.weight, layer.attention.qkv.bias
    assert bias is not None
    q = F.linear(x, weight[:at], bias[:at]).unflatten(-1, (-1, K)).transpose(1, 2)
    kv = F.linear(memory, weight[at:], bias[at:]).unflatten(-1, (-1, K)).transpose(1, 2)
    k, v = kv.split([KV_HEADS, KV_HEADS], dim=1)
    read, _ = attention_by_loops(F.rms_norm(q, (K,), None, 1e-6), F.rms_norm(k, (K,), None, 1e-6), v)
    expected = layer.attention.out(read.transpose(1, 2).flatten(2))
    assert_same(layer.attention(x, memory), expected)
    cache = KeyValueCache()
    with torch.no_grad():
        for start, end in [(0, 2), (2, 5)]:
            assert_same(layer.attention(x[:, start:end], memory, cache=cache), expected[:, start:end])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_norm_that_answers_in_float32_does_not_change_the_format(dtype):
    """Autocast on a GPU makes every norm float32; on a CPU it does not, so here the norm itself does."""

    class InFloat32(RMSNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).float()

    x, memory = randn(B, T, WIDTH, dtype=dtype), randn(B, S, WIDTH, seed=1, dtype=dtype)
    layers = [Layer("no positions", qk_norm=norm(K, scale=False)).to(dtype) for norm in (InFloat32, RMSNorm)]
    for memory_or_none in (None, memory):
        out, expected = (layer.attention(x, memory_or_none) for layer in layers)
        assert out.dtype == dtype
        assert torch.equal(out, expected)
