"""The Transformer of 2017 against nn.Transformer and Hugging Face's Marian; its laws; bad input."""

import copy
import itertools
import math
import re
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.marian.configuration_marian import MarianConfig
from transformers.models.marian.modeling_marian import MarianMTModel

from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.cache import KeyValueCache
from course_lib.models.encoder_decoder import Transformer, TransformerConfig
from course_lib.models.parts import NORMS, POSITIONS
from tests.layers.helpers import assert_same, randn, unchecked
from tests.models.helpers import (
    CONTEXT,
    LAYERS,
    SIZES,
    B,
    D,
    F,
    H,
    S,
    T,
    Tensors,
    V,
    cuts,
    from_marian,
    from_torch,
    gradients,
    in_both_formats,
    load,
    random_ids,
    shrunk,
    transformer,
)

SOURCE, TARGET = random_ids(B, S), random_ids(B, T, seed=1)
REAL = torch.arange(S) < torch.tensor([[S], [S - 3]])

# --- references ------------------------------------------------------------------------------------------------------


def textbook_sinusoids(length: int, width: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5, number by number."""
    table = torch.empty(length, width, dtype=torch.float64)
    for position, i in itertools.product(range(length), range(width // 2)):
        angle = position / 10_000 ** (2 * i / width)
        table[position, 2 * i], table[position, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


class FromTorch(nn.Module):
    """``nn.Transformer`` with the embedding and the head of the paper around it: it has neither."""

    def __init__(self, *, pre_norm: bool, activation: str) -> None:
        super().__init__()
        sizes = {"d_model": D, "nhead": H, "dim_feedforward": F, "dropout": 0.0, "batch_first": True}
        options: dict[str, Any] = {**sizes, "activation": activation, "norm_first": pre_norm}

        def final_norm() -> nn.Module | None:
            return nn.LayerNorm(D) if pre_norm else None  # nn.Transformer would always have one

        self.layers = nn.Transformer(
            **options,
            custom_encoder=nn.TransformerEncoder(
                nn.TransformerEncoderLayer(**options), LAYERS, final_norm(), enable_nested_tensor=False
            ),
            custom_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(**options), LAYERS, final_norm()),
        )
        self.embedding = nn.Parameter(torch.empty(V, D))

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding[ids] * D**0.5 + textbook_sinusoids(ids.shape[1], D).to(self.embedding.dtype)

    def forward(self, source: Tensor, target: Tensor, real: Tensor | None) -> Tensor:
        hidden = None if real is None else ~real
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        x = self.layers(
            self.embed(source),
            self.embed(target),
            tgt_mask=future,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )
        return x @ self.embedding.mT

    def by_our_names(self, tensors: Tensors) -> Tensors:
        layers = {name.removeprefix("layers."): tensor for name, tensor in tensors.items()}
        return {"embedding.weight": layers["embedding"], **from_torch(layers)}


@in_both_formats
@pytest.mark.parametrize("real", [REAL, None], ids=["padded", "whole"])
@pytest.mark.parametrize(("block", "activation"), [("post", "relu"), ("pre", "gelu")])
def test_the_transformer_is_pytorchs_with_copied_weights(block, activation, real, dtype, atol):
    theirs = shrunk(FromTorch(pre_norm=block == "pre", activation=activation), dtype)
    ours = Transformer(TransformerConfig(**SIZES, block=block, feedforward=activation, dropout=0.0))
    load(ours, theirs.by_our_names(dict(theirs.named_parameters())))
    expected = theirs(SOURCE, TARGET, real)
    assert 0.3 < expected.abs().max() < 10
    logits = ours(SOURCE, TARGET, real)
    assert_same(logits, expected, atol=atol)
    wanted = randn(B, T, V, dtype=dtype)
    mine = gradients(ours, (logits * wanted).sum())
    for name, gradient in theirs.by_our_names(gradients(theirs, (expected * wanted).sum())).items():
        assert gradient.any()
        assert_same(mine[name], gradient, atol=atol * max(1.0, float(gradient.abs().max())))


@in_both_formats
def test_the_whole_model_is_hugging_faces_marian_with_its_cache_too(dtype, atol):
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
    )
    theirs = MarianMTModel(config)
    for half in (theirs.model.encoder, theirs.model.decoder):
        half.embed_positions.weight.requires_grad_(False)  # Marian puts sines first, then cosines; so did tensor2tensor
    shrunk(theirs, dtype)
    for half in (theirs.model.encoder, theirs.model.decoder):
        half.embed_positions.weight.data = textbook_sinusoids(CONTEXT, D).to(dtype)
    ours = Transformer(TransformerConfig(**SIZES)).eval()
    learned: Tensors = {name: p for name, p in theirs.named_parameters() if "embed_positions" not in name}
    load(ours, from_marian(learned))

    source = SOURCE.clamp(min=2)  # where Marian knows padding by its id
    expected = theirs(input_ids=source, attention_mask=REAL.long(), decoder_input_ids=TARGET).logits
    assert 0.3 < expected.abs().max() < 10
    logits = ours(source, TARGET, REAL)
    assert_same(logits, expected, atol=atol)
    wanted = randn(B, T, V, dtype=dtype)
    theirs_by_name = dict(
        zip(learned, torch.autograd.grad((expected * wanted).sum(), [*learned.values()]), strict=True)
    )
    mine = gradients(ours, (logits * wanted).sum())
    for name, gradient in from_marian(theirs_by_name).items():
        assert_same(mine[name], gradient, atol=atol * max(1.0, float(gradient.abs().max())))

    with torch.no_grad():
        caches, theirs_cache = ours.new_caches(), EncoderDecoderCache(DynamicCache(), DynamicCache())
        memory = ours.encode(source, REAL)
        encoded = theirs.model.encoder(input_ids=source, attention_mask=REAL.long())
        assert_same(memory[REAL], encoded.last_hidden_state[REAL], atol=atol)
        for start, end in [(0, 3), (3, 4), (4, 5)]:
            piece = TARGET[:, start:end]
            out = theirs(
                encoder_outputs=encoded,
                attention_mask=REAL.long(),
                decoder_input_ids=piece,
                past_key_values=theirs_cache,
            )
            assert_same(ours.decode(piece, memory, REAL, caches), out.logits, atol=atol)


# --- laws ------------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    **{f"{name} positions": {"positions": name} for name in POSITIONS},
    "pre-norm, gated, untied": {"block": "pre", "feedforward": "swiglu", "tied": False, "bias": False, "qk_norm": True},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_kind
def test_the_target_sees_the_whole_source_but_not_its_own_future(kind):
    model = transformer(**(kind | {"tied": False}))  # the head would read the embedding too
    order = torch.randperm(V)
    source, target = order[None, :S], order[None, S : S + T]
    real = torch.arange(S)[None] != S - 2
    for t in range(T):
        logits = model(source, target, real)[0, t]
        (gradient,) = torch.autograd.grad((logits * randn(V)).sum(), model.embedding.weight)
        assert gradient[target[0]].any(dim=-1).tolist() == [s <= t for s in range(T)]
        assert gradient[source[0]].any(dim=-1).tolist() == real[0].tolist()


@each_kind
def test_with_a_cache_every_way_to_cut_the_target_gives_the_same(kind):
    model = transformer(**kind)
    expected = model(SOURCE, TARGET, REAL)
    with torch.no_grad():
        memory = model.encode(SOURCE, REAL)
        for pieces in cuts(T):
            caches = model.new_caches()
            logits = [model.decode(TARGET[:, start:end], memory, REAL, caches) for start, end in pieces]
            assert_same(torch.cat(logits, dim=1), expected)
            assert [(own.length, of_memory.length) for own, of_memory in caches] == [(T, S)] * LAYERS


@each_kind
def test_a_sentence_is_translated_alike_alone_and_in_a_padded_batch(kind):
    model = transformer(**kind)
    lengths = [(S, 3), (S - 3, T)]
    logits = model(SOURCE, TARGET, REAL)
    for b, (source_length, target_length) in enumerate(lengths):
        alone = model(SOURCE[b : b + 1, :source_length], TARGET[b : b + 1, :target_length])
        assert_same(logits[b, :target_length], alone[0])
    assert_same(model(SOURCE, TARGET, torch.ones_like(REAL)), model(SOURCE, TARGET))


@pytest.mark.parametrize("positions", ["learned", "t5", "transformer-xl"])
def test_source_and_target_have_positions_of_their_own(positions):
    model = transformer(positions=positions)
    memory = model.encode(SOURCE)
    names, parameters = zip(*model.named_parameters(), strict=True)
    for out, own in ((memory, "source_positions"), (model.decode(TARGET, memory.detach()), "target_positions")):
        gradients = torch.autograd.grad(out.square().sum(), parameters, allow_unused=True)
        learned = {name for name, g in zip(names, gradients, strict=True) if "positions" in name and g is not None}
        assert learned == {name for name in names if name.startswith(own)} != set()


def test_a_source_of_padding_alone_is_finite():
    model, real = transformer(), REAL & torch.tensor([[True], [False]])
    logits = model(SOURCE, TARGET, real)
    assert logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(model, logits.sum()).values())


@pytest.mark.parametrize("feedforward", ["relu", "swiglu"])
def test_with_zero_init_each_block_begins_as_the_identity(feedforward):
    changes = {"positions": "none", "block": "pre", "zero_init": True, "dropout": 0.0, "feedforward": feedforward}
    model = Transformer(TransformerConfig(**(SIZES | changes)))
    x, memory = randn(B, T, D, dtype=torch.float32), randn(B, S, D, dtype=torch.float32)
    for block in model.encoder:
        assert torch.equal(block(x), x)
    for block in model.decoder:
        assert torch.equal(block(x, memory, causal=True), x)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("block", ["pre", "post"])
def test_the_weights_start_at_their_sizes(tied, block):
    """A standard deviation of 2,304 numbers or more is known to 1.5 in 100; the next factor is √(3/2)."""
    torch.manual_seed(0)
    layers, width = 5, 48
    model = Transformer(TransformerConfig(96, layers=layers, heads=2, width=width, hidden=60, tied=tied, block=block))
    for name, p in model.named_parameters():
        if p.ndim == 1:
            assert torch.equal(p, torch.ones_like(p) if "norm.weight" in name else torch.zeros_like(p))
            continue
        expected = 0.02
        if name.endswith(("out.weight", "down.weight")):  # what is added to the straight line: 2 or 3 a layer
            expected = 0.02 / ((3 if name.startswith("decoder") else 2) * layers) ** 0.5
        if name == "embedding.weight":
            expected = width**-0.5
        assert_same(p.std() / expected, torch.tensor(1.0), atol=0.08)


def test_tied_is_one_tensor_for_source_target_and_head():
    tied, untied = transformer(), transformer(tied=False)
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == V * D
    for model in (tied, copy.deepcopy(tied)):
        assert model.unembedding.weight is model.embedding.weight
    other = Transformer(tied.config).double().eval()
    other.load_state_dict(tied.state_dict())
    assert other.unembedding.weight is other.embedding.weight
    assert torch.equal(other(SOURCE, TARGET, REAL), tied(SOURCE, TARGET, REAL))


@each_kind
def test_a_state_dict_carries_the_whole_model(kind):
    model, other = transformer(**kind), Transformer(TransformerConfig(**(SIZES | kind))).double().eval()
    assert (other(SOURCE, TARGET) - model(SOURCE, TARGET)).abs().max() > 1e-3
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(SOURCE, TARGET), model(SOURCE, TARGET))


@pytest.mark.parametrize("block", ["pre", "post"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_memory_is_normed(block, norm):
    model = Transformer(TransformerConfig(**SIZES, block=block, norm=norm)).double().eval()
    size = model.encode(SOURCE).square().mean(dim=-1).sqrt()
    assert_same(size, torch.ones_like(size), atol=0.01)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_normed_queries_and_keys_bound_the_scores_of_cross_attention_too(qk_norm):
    cross = cast(MultiHeadAttention, transformer(qk_norm=qk_norm).decoder[0].cross)
    weights = cross.weights(1e4 * randn(B, T, D), 1e4 * randn(B, S, D, seed=1))
    ratio = weights.amax(dim=-1) / weights.amin(dim=-1)
    assert (ratio.max() <= math.exp(2 * (D // H) ** 0.5)) == qk_norm


def test_the_cap_keeps_logits_within_it():
    capped, free = (transformer(logit_cap=cap)(SOURCE, TARGET) for cap in (2.0, None))
    assert free.abs().max() > 2
    assert_same(capped, 2 * torch.tanh(free / 2))


def test_dropout_acts_in_training_alone_and_everywhere():
    model, still = transformer(dropout=0.4), transformer(dropout=0.0)
    assert_same(model(SOURCE, TARGET), still(SOURCE, TARGET))
    torch.manual_seed(0)
    places = [name for name, part in model.named_modules() if isinstance(part, nn.Dropout)]
    places += [name for name, part in model.named_modules() if hasattr(part, "scale") and part.dropout]
    # The input, one module for both; in each block what is added, the feed-forward, the weights, twice in a decoder.
    assert len(places) == 1 + 3 * LAYERS + 4 * LAYERS
    assert (model.train()(SOURCE, TARGET) - still(SOURCE, TARGET)).abs().amax(dim=-1).min() > 1e-3


def test_the_default_is_the_base_model_of_the_paper():
    config = TransformerConfig(37_000)
    assert (config.layers, config.width, config.hidden_width, config.heads, config.dropout) == (6, 512, 2048, 8, 0.1)
    # Table 3 says 65 · 10⁶: the embedding, and 6 layers of each half.
    attention, feedforward, norm = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 2 * 512
    total = 37_000 * 512 + 6 * (3 * attention + 2 * feedforward + 5 * norm)
    with torch.device("meta"):
        assert sum(p.numel() for p in Transformer(config).parameters()) == total == 63_082_496


# --- bad input -------------------------------------------------------------------------------------------------------

MEMORY = randn(B, S, D)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.uint16])
def test_ids_may_be_stored_small(dtype):
    model = transformer()
    with unchecked():
        assert torch.equal(model(SOURCE.to(dtype), TARGET.to(dtype)), model(SOURCE, TARGET))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda m: m(SOURCE.float(), TARGET), TypeError, "source must be a tensor of integers with shape (B, T)"),
        (lambda m: m(SOURCE, TARGET[0]), TypeError, "target must be a tensor of integers with shape (B, T)"),
        (lambda m: m(SOURCE + V, TARGET), ValueError, "they must be from 0 to 22"),
        (lambda m: m(SOURCE, TARGET - V), ValueError, "target run from -"),
        (
            lambda m: m(SOURCE, TARGET, REAL.long()),
            TypeError,
            "source_real must be a tensor of bool, True at real tokens",
        ),
        (
            lambda m: m(SOURCE, TARGET, REAL[:, 1:]),
            ValueError,
            "source_real has shape (2, 6): it must be (2, 7), as the source",
        ),
        (
            lambda m: m.decode(TARGET, MEMORY, REAL[:1]),
            ValueError,
            "source_real has shape (1, 7): it must be (2, 7), as the source",
        ),
        (lambda m: m.decode(TARGET, MEMORY[:1]), ValueError, "memory has 1 rows and x has 2"),
        (lambda m: m.decode(TARGET, MEMORY[..., 1:]), ValueError, "memory has shape (2, 7, 23): it must be (B, T, 24)"),
        (lambda m: m.decode(TARGET, None), ValueError, "memory is missing, but this block has cross-attention"),
        (
            lambda m: m.decode(TARGET, MEMORY, None, m.new_caches()[1:]),
            ValueError,
            "caches has 2 entries: each of the 3 layers needs its own",
        ),
    ],
)
def test_what_is_wrong_is_named(action, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        action(transformer())


def test_learned_positions_end_with_the_context():
    long = random_ids(B, CONTEXT + 1)
    for source, target in ((long, TARGET), (SOURCE, long)):
        with pytest.raises(ValueError, match=r"positions run from 0 to 16, but only 0 to 15 were learned"):
            transformer(positions="learned")(source, target)
        assert transformer()(source, target).isfinite().all()


def test_a_cache_is_empty_at_first():
    for own, of_memory in transformer().new_caches():
        assert isinstance(own, KeyValueCache)
        assert own is not of_memory
        assert (own.length, of_memory.length) == (0, 0)
