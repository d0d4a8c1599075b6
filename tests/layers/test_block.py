"""Residual blocks against the layers of PyTorch; the straight line; cross-attention; caches."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.block import PostNormBlock, PreNormBlock
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.feedforward import FeedForward
from course_lib.layers.masks import causal_mask, padding_mask
from course_lib.layers.norms import LayerNorm
from course_lib.layers.positions import Rotary
from tests.layers.helpers import B, S, T, assert_same, randn, random_mask, randomized, unchecked

D, H, F = 12, 3, 9
X, MEMORY = randn(B, T, D), randn(B, S, D, seed=1)
BLOCKS = [PreNormBlock, PostNormBlock]


def made(block: type[PreNormBlock], *, cross: bool = False, dropout: float = 0.0, **attention: Any) -> PreNormBlock:
    return block(
        MultiHeadAttention(D, H, bias=True, **attention),
        FeedForward(D, F),
        lambda: LayerNorm(D),
        cross=MultiHeadAttention(D, H, bias=True) if cross else None,
        dropout=dropout,
    ).double()


def copied(ours: PreNormBlock, theirs: nn.Module, names: dict[str, str]) -> None:
    tensors = theirs.state_dict()
    for a, b in names.items():
        for end in ("weight", "bias"):
            part = tensors[f"{b}_{end}" if b.endswith("in_proj") else f"{b}.{end}"]
            ours.get_parameter(f"{a}.{end}").data = part.clone()


SHARED = {
    "attention.qkv": "self_attn.in_proj",
    "attention.out": "self_attn.out_proj",
    "attention_norm": "norm1",
    "feedforward.up": "linear1",
    "feedforward.down": "linear2",
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_pytorchs_encoder_layer(block):
    theirs = randomized(
        nn.TransformerEncoderLayer(D, H, F, dropout=0.0, batch_first=True, norm_first=block is PreNormBlock)
    )
    ours = made(block)
    copied(ours, theirs, SHARED | {"feedforward_norm": "norm2"})
    real = torch.arange(T) < torch.tensor([[T], [T - 2]])
    allowed = random_mask(T, T)
    assert_same(ours(X), theirs(X))
    assert_same(ours(X, causal=True), theirs(X, src_mask=~causal_mask(T), is_causal=True))
    assert_same(ours(X, mask=allowed & padding_mask(real)), theirs(X, src_mask=~allowed, src_key_padding_mask=~real))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_with_cross_attention_is_pytorchs_decoder_layer(block):
    theirs = randomized(
        nn.TransformerDecoderLayer(D, H, F, dropout=0.0, batch_first=True, norm_first=block is PreNormBlock)
    )
    ours = made(block, cross=True)
    cross = {"cross.qkv": "multihead_attn.in_proj", "cross.out": "multihead_attn.out_proj", "cross_norm": "norm2"}
    copied(ours, theirs, SHARED | cross | {"feedforward_norm": "norm3"})
    real = torch.arange(S) < torch.tensor([[S], [S - 2]])
    allowed = random_mask(T, S)
    future = ~causal_mask(T)
    assert_same(
        ours(X, MEMORY, causal=True, memory_mask=padding_mask(real)),
        theirs(X, MEMORY, tgt_mask=future, memory_key_padding_mask=~real),
    )
    assert_same(
        ours(X, MEMORY, mask=causal_mask(T), memory_mask=allowed),
        theirs(X, MEMORY, tgt_mask=future, memory_mask=~allowed),
    )


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("cross", [False, True])
def test_with_caches_piece_by_piece_is_the_same(block, cross):
    ours = randomized(made(block, cross=cross, positions=Rotary(D // H)))
    memory = MEMORY if cross else None
    positions = torch.tensor([[3, 4, 5, 6, 7], [0, 1, 2, 3, 4]])
    expected = ours(X, memory, causal=True, positions=positions)
    cache, memory_cache = KeyValueCache(), KeyValueCache() if cross else None
    pieces = []
    with torch.no_grad():
        for start, end in [(0, 2), (2, 3), (3, 5)]:
            pieces.append(
                ours(
                    X[:, start:end],
                    memory,
                    causal=True,
                    positions=positions[:, start:end],
                    cache=cache,
                    memory_cache=memory_cache,
                )
            )
    assert_same(torch.cat(pieces, dim=1), expected)
    assert memory_cache is None or memory_cache.length == S


def test_positions_reach_the_attention():
    ours = randomized(made(PreNormBlock, positions=Rotary(D // H)))
    positions = torch.tensor([[0, 3, 4, 9, 10], [0, 1, 0, 1, 2]])  # Rotary would not notice another start
    x = X + ours.attention(ours.attention_norm(X), causal=True, positions=positions)
    expected = x + ours.feedforward(ours.feedforward_norm(x))
    assert_same(ours(X, causal=True, positions=positions), expected)
    assert (ours(X, causal=True) - expected).abs().max() > 1e-3


def test_what_is_added_is_dropped_and_never_the_straight_line():
    """With next to everything dropped, a pre-norm block lets its input pass, and a post-norm block norms it."""
    torch.manual_seed(0)
    almost_all = 1 - 1e-9
    pre = made(PreNormBlock, cross=True, dropout=almost_all)
    assert torch.equal(pre(X, MEMORY), X)
    post = made(PostNormBlock, cross=True, dropout=almost_all)
    normed = functional.layer_norm(functional.layer_norm(functional.layer_norm(X, (D,)), (D,)), (D,))
    assert_same(post(X, MEMORY), normed)
    assert (pre.eval()(X, MEMORY) - X).abs().max() > 0.1


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("cross", [False, True])
def test_each_sublayer_has_a_norm_of_its_own(block, cross):
    norms = []

    def norm() -> nn.Module:
        norms.append(LayerNorm(D))
        return norms[-1]

    ours = block(MultiHeadAttention(D, H), FeedForward(D, F), norm, cross=MultiHeadAttention(D, H) if cross else None)
    assert len(norms) == (3 if cross else 2)
    assert {id(part) for part in ours.modules()} >= {id(part) for part in norms}


def test_a_memory_without_cross_attention_or_the_other_way_round_is_refused():
    for block in BLOCKS:
        with unchecked(), pytest.raises(ValueError, match="memory is given, but this block has no cross-attention"):
            made(block)(X, MEMORY)
        with unchecked(), pytest.raises(ValueError, match="memory is missing, but this block has cross-attention"):
            made(block, cross=True)(X)
        nowhere = {"memory_mask": torch.ones(T, T, dtype=torch.bool), "memory_cache": KeyValueCache()}
        for name, value in nowhere.items():
            with pytest.raises(ValueError, match=f"{name} is given, but this block has no cross-attention"):
                made(block)(X, **{name: value})


def test_what_attention_refuses_is_refused_here_too():
    with unchecked(), pytest.raises(ValueError, match=re.escape("mask has shape (4, 4): it must broadcast")):
        made(PreNormBlock)(X, mask=causal_mask(T - 1))


class Backwards(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1)


def test_any_module_can_be_feed_forward_or_norm():
    ours = PreNormBlock(MultiHeadAttention(D, H), Backwards(), nn.Identity).double()
    nn.init.zeros_(ours.attention.out.weight)
    assert torch.equal(ours(X), X + X.flip(-1))
