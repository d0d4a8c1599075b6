"""GPT against Hugging Face's GPT-2, Llama, Mistral and Qwen3; its laws; bad input."""

import copy
import re
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from course_lib.data.batches import pack_documents, pad_batch
from course_lib.layers.attention import MultiHeadAttention
from course_lib.layers.masks import document_mask, padding_mask
from course_lib.models.decoder import GPT, GPTConfig, gpt2_config, llama_config
from course_lib.models.parts import NORMS, POSITIONS, soft_capped
from tests.layers.helpers import assert_same, randn, unchecked
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
    cuts,
    from_gpt2,
    from_llama,
    gpt,
    gradients,
    in_both_formats,
    load,
    random_ids,
    shrunk,
)

SCHEMES = list(POSITIONS)

# --- references ------------------------------------------------------------------------------------------------------


def their_gpt2(dtype: torch.dtype) -> Any:
    config = GPT2Config(vocab_size=V, n_positions=CONTEXT, n_layer=LAYERS, n_head=H, n_embd=D, n_inner=F)
    return shrunk(GPT2LMHeadModel(config), dtype)


def their_llama_like(config_class: Any, model_class: Any, **changes) -> Any:
    sizes = {
        "vocab_size": V,
        "max_position_embeddings": CONTEXT,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": H,
        "hidden_size": D,
        "head_dim": D // H,
        "intermediate_size": F,
        "num_key_value_heads": KV,
        "rms_norm_eps": 1e-6,
    }
    # Its norms and angles are always float32: float64 would prove no more.
    return shrunk(model_class(config_class(**(sizes | changes))), torch.float32)


def agrees(ours: GPT, theirs: Any, names: Any, atol: float) -> None:
    """Logits, gradients, and logits with a cache, over a text longer than any window here."""
    load(ours, names(dict(theirs.named_parameters())))
    ids = random_ids(B, 9)
    expected = theirs(ids).logits
    assert 0.3 < expected.abs().max() < 10
    logits = ours.eval()(ids)
    assert_same(logits, expected, atol=atol)

    wanted = randn(B, 9, V, dtype=expected.dtype)
    mine = gradients(ours, (logits * wanted).sum())
    for name, gradient in names(gradients(theirs, (expected * wanted).sum())).items():
        assert gradient.any()
        assert_same(mine[name], gradient, atol=atol * max(1.0, float(gradient.abs().max())))

    with torch.no_grad():
        ours_caches, theirs_cache = ours.new_caches(), DynamicCache(config=theirs.config)
        for start, end in [(0, 4), (4, 5), (5, 7), (7, 8), (8, 9)]:
            piece = ids[:, start:end]
            assert_same(ours(piece, caches=ours_caches), theirs(piece, past_key_values=theirs_cache).logits, atol=atol)


@in_both_formats
def test_gpt_with_the_parts_of_gpt2_is_hugging_faces(dtype, atol):
    ours = GPT(gpt2_config(V, CONTEXT, LAYERS, H, D, hidden=F))
    agrees(ours, their_gpt2(dtype), from_gpt2, atol)


@in_both_formats
def test_a_padded_batch_is_hugging_faces_too(dtype, atol):
    theirs = their_gpt2(dtype)
    ours = GPT(gpt2_config(V, CONTEXT, LAYERS, H, D, hidden=F)).eval()
    load(ours, from_gpt2(dict(theirs.named_parameters())))
    ids = random_ids(B, T)
    for real in (torch.arange(T) >= torch.tensor([[0], [2]]), torch.arange(T) < torch.tensor([[3], [T]])):
        positions = (real.cumsum(dim=-1) - 1).clamp(min=0)
        expected = theirs(ids, attention_mask=real.long(), position_ids=positions).logits
        logits = ours(ids, mask=padding_mask(real), positions=positions)
        assert_same(logits[real], expected[real], atol=atol)


@pytest.mark.parametrize("kv_heads", [1, KV, H])
def test_gpt_with_the_parts_of_llama_is_hugging_faces(kv_heads):
    theirs = their_llama_like(LlamaConfig, LlamaForCausalLM, num_key_value_heads=kv_heads)
    ours = GPT(llama_config(V, CONTEXT, LAYERS, H, D, hidden=F, kv_heads=kv_heads))
    agrees(ours, theirs, from_llama, 1e-5)


def test_a_llama_may_turn_slowly_and_have_biases_and_a_tied_head():
    theirs = their_llama_like(
        LlamaConfig,
        LlamaForCausalLM,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 77.0},
        rms_norm_eps=0.1,
    )
    ours = GPT(
        llama_config(
            *(V, CONTEXT, LAYERS, H, D), hidden=F, kv_heads=KV, bias=True, tied=True, rotary_base=77.0, norm_eps=0.1
        )
    )
    agrees(ours, theirs, from_llama, 1e-5)


@pytest.mark.parametrize("window", [2, 3, 20])
def test_a_window_is_mistrals(window):
    theirs = their_llama_like(MistralConfig, MistralForCausalLM, sliding_window=window)
    ours = GPT(llama_config(V, CONTEXT, LAYERS, H, D, hidden=F, kv_heads=KV, window=window))
    agrees(ours, theirs, from_llama, 1e-5)


def test_normed_queries_and_keys_are_those_of_qwen3():
    theirs = their_llama_like(Qwen3Config, Qwen3ForCausalLM)
    for name, parameter in theirs.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            parameter.data.fill_(1.0)  # ours have none
    ours = GPT(llama_config(V, CONTEXT, LAYERS, H, D, hidden=F, kv_heads=KV, qk_norm=True))
    agrees(ours, theirs, from_llama, 1e-5)


def test_the_weights_start_as_those_of_gpt2():
    """A standard deviation of 2,304 numbers or more is known to 1.5 in 100; a bug is √2 or so."""
    vocabulary, context, layers, heads, width = 96, 48, 8, 2, 48
    names = ["vocab_size", "n_positions", "n_layer", "n_head", "n_embd", "bos_token_id", "eos_token_id"]
    sizes: dict[str, Any] = dict(zip(names, [vocabulary, context, layers, heads, width, 0, 0], strict=True))
    theirs = from_gpt2(dict(GPT2LMHeadModel(GPT2Config(**sizes)).named_parameters()), layers)
    torch.manual_seed(0)
    ours = dict(GPT(gpt2_config(vocabulary, context, layers, heads, width)).named_parameters())
    assert theirs.keys() == ours.keys()
    for name, parameter in ours.items():
        if parameter.ndim == 1:
            assert torch.equal(parameter, theirs[name])  # biases 0, norms 1
        else:
            assert_same(parameter.std() / theirs[name].std(), torch.tensor(1.0), atol=0.08)
            assert parameter.mean().abs() < 0.002


# --- laws ------------------------------------------------------------------------------------------------------------

# What stands at each place: for the default recipe, for every scheme of positions, and for what changes the masks.
KINDS: dict[str, dict[str, Any]] = {
    **{f"{name} positions": {"positions": name} for name in SCHEMES},
    "a window": {"window": 2},
    "post-norm": {"block": "post"},
    "few key heads, gated, tied": {"kv_heads": KV, "feedforward": "swiglu", "tied": True, "bias": True},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def seen_by(model: GPT, ids: Tensor, t: int) -> list[bool]:
    """From which places anything reaches place t: exactly those whose token, each another, gets a gradient there."""
    hidden = model.hidden(ids)[0, t]  # before the head, which may be the embedding too
    (gradient,) = torch.autograd.grad((hidden * randn(D)).sum(), model.embedding.weight)
    return gradient[ids[0]].any(dim=-1).tolist()


@each_kind
def test_the_past_ignores_the_future_and_nothing_else(kind):
    model, ids = gpt(**kind), torch.randperm(V)[None, :S]
    reach = LAYERS * (kind.get("window", S) - 1)  # a window moves on by one window in each layer
    for t in range(S):
        assert seen_by(model, ids, t) == [t - reach <= s <= t for s in range(S)]


@pytest.mark.parametrize("window", [1, 2, 4])
def test_one_layer_sees_its_window_exactly(window):
    model, ids = gpt(layers=1, window=window), torch.randperm(V)[None, :S]
    for t in range(S):
        assert seen_by(model, ids, t) == [t - window < s <= t for s in range(S)]


@each_kind
def test_with_a_cache_every_way_to_cut_the_text_gives_the_same(kind):
    model, ids = gpt(**kind), random_ids(B, T)
    expected = model(ids)
    with torch.no_grad():
        for pieces in cuts(T):
            caches = model.new_caches()
            logits = [model(ids[:, start:end], caches=caches) for start, end in pieces]
            assert_same(torch.cat(logits, dim=1), expected)
            assert [cache.length for cache in caches] == [T] * LAYERS


@each_kind
def test_a_row_is_the_same_alone_in_a_padded_batch_and_with_a_cache(kind):
    model = gpt(**kind)
    rows = [[3, 1, 4, 1, 5], [9], [2, 6, 5]]
    right = pad_batch(rows, pad_id=0)
    real = right.mask.flip(1)  # of the batch that is padded on its left
    ids = torch.zeros_like(right.ids).masked_scatter(real, right.ids[right.mask])
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)
    padded = model(right.ids, mask=padding_mask(right.mask))
    unmasked = model(right.ids)  # nobody sees what comes later, padding or not
    left_padded = model(ids, mask=padding_mask(real), positions=positions)
    with torch.no_grad():
        caches = model.new_caches()
        first = model(ids[:, :3], mask=padding_mask(real[:, :3]), positions=positions[:, :3], caches=caches)
        # The rest counts on from the positions in the cache, each row from its own.
        rest = model(ids[:, 3:], mask=padding_mask(real), caches=caches)
    cached = torch.cat([first, rest], dim=1)
    for b, row in enumerate(rows):
        alone = model(torch.tensor([row]))[0]
        assert_same(padded[b, : len(row)], alone)
        assert_same(unmasked[b, : len(row)], alone)
        assert_same(left_padded[b, -len(row) :], alone)
        if len(row) > 2:  # the others have no real token in the first piece, whose positions are then all 0
            assert_same(cached[b, -len(row) :], alone)


@each_kind
def test_packed_documents_are_what_they_are_apart(kind):
    model = gpt(**kind)
    documents = [[3, 1, 4], [9, 8], [2, 6, 5, 11, 12], [7]]
    batch = pack_documents(documents, length=8, eos_id=0)
    logits = model(batch.ids, mask=document_mask(batch.document_ids), positions=batch.positions)
    for number, document in enumerate(documents):
        alone = model(torch.tensor([[*document, 0]]))[0]
        assert_same(logits[batch.document_ids == number], alone)


def test_a_mask_may_differ_from_head_to_head():
    model, ids = gpt(), random_ids(B, T)
    mask = torch.ones(B, H, T, T, dtype=torch.bool)
    assert_same(model(ids, mask=mask), model(ids))
    mask[:, 1:, :, 0] = False
    assert (model(ids, mask=mask) - model(ids))[:, 1:].abs().min() > 1e-6


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi", "t5", "transformer-xl"])
@pytest.mark.parametrize("feedforward", ["relu2", "swiglu"])
def test_with_zero_init_each_block_begins_as_the_identity(positions, feedforward):
    model = GPT(GPTConfig(V, CONTEXT, LAYERS, H, D, positions=positions, feedforward=feedforward, bias=True))
    x = randn(B, T, D, dtype=torch.float32)
    for block in model.blocks:
        assert torch.equal(block(x, causal=True), x)
    ids = random_ids(B, T)
    assert torch.equal(model.hidden(ids), model.norm(model.embedding(ids)))
    other = GPT(GPTConfig(V, CONTEXT, LAYERS, H, D, zero_init=False))
    assert (other.blocks[0](x, causal=True) - x).abs().min() > 0


def test_at_the_start_nothing_is_more_likely_than_anything_else():
    torch.manual_seed(0)
    for config in (GPTConfig(V, CONTEXT, LAYERS, H, D), gpt2_config(V, CONTEXT, LAYERS, H, D)):
        probabilities = GPT(config)(random_ids(B, T)).softmax(dim=-1) * V
        assert 0.5 < probabilities.min() < probabilities.max() < 2


def test_tied_is_one_tensor_that_stays_one():
    untied, tied = gpt(), gpt(tied=True)
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == V * D
    assert untied.unembedding.weight is not untied.embedding.weight
    for model in (tied, copy.deepcopy(tied), gpt(tied=True).float().double()):
        assert model.unembedding.weight is model.embedding.weight
    other = GPT(tied.config).double()
    other.load_state_dict(tied.state_dict())
    before = other(random_ids(B, T))
    assert_same(before, tied(random_ids(B, T)))
    with torch.no_grad():
        other.embedding.weight += 1
    assert other.unembedding.weight is other.embedding.weight
    assert_same(other.unembedding.weight, tied.unembedding.weight + 1)


def test_normed_queries_and_keys_bound_the_scores():
    """Two vectors of root mean square 1 have a product within ±K, a score within ±√K: so two weights differ at most
    by the factor exp(2 √K), however large the input."""
    x = 1e4 * randn(B, T, D)
    bound = torch.tensor(2 * (D // H) ** 0.5).double().exp()
    for qk_norm in (True, False):
        weights = cast(MultiHeadAttention, gpt(qk_norm=qk_norm).blocks[0].attention).weights(x)
        ratio = weights.amax(dim=-1) / weights.amin(dim=-1)
        assert (ratio.max() <= bound) == qk_norm


@pytest.mark.parametrize("block", ["pre", "post"])
@pytest.mark.parametrize("norm", NORMS)
def test_what_the_head_reads_is_normed(block, norm):
    model = GPT(GPTConfig(V, CONTEXT, LAYERS, H, D, block=block, norm=norm, zero_init=False))
    hidden = 100 * model.double().hidden(random_ids(B, T))
    size = hidden.square().mean(dim=-1).sqrt()
    assert_same(size, torch.full_like(size, 100.0), atol=1.0)  # eps is not nothing beside vectors of size 0.02
    last = hidden.mean(dim=-1).abs()
    assert (last.max() < 1e-9) == (norm == "layer")


@pytest.mark.parametrize("block", ["pre", "post"])
def test_behind_the_last_block_stands_a_norm_or_nothing_where_the_block_has_one_itself(block):
    model, ids, seen = gpt(block=block), random_ids(B, T), []
    model.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    hidden = model.hidden(ids)
    assert torch.equal(hidden, model.norm(seen[0]) if block == "pre" else seen[0])


def test_the_cap_keeps_logits_within_it_and_small_ones_as_they_are():
    capped, free = gpt(logit_cap=2.0), gpt(logit_cap=None)
    ids = random_ids(B, T)
    raw = free(ids)
    assert raw.abs().max() > 2
    assert_same(capped(ids), 2 * torch.tanh(raw / 2))
    assert_same(
        soft_capped(torch.tensor([0.0, 1e-3, 15.0, -1e9]), 15.0), torch.tensor([0, 1e-3, 11.423912, -15.0]), atol=1e-6
    )


@each_kind
def test_a_state_dict_carries_the_whole_model(kind):
    model, other, ids = gpt(**kind), GPT(GPTConfig(**(SIZES | kind))).double(), random_ids(B, T)
    assert (other(ids) - model(ids)).abs().max() > 1e-3
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(ids), model(ids))


def test_hidden_and_head_are_the_two_halves_of_the_model():
    model, ids = gpt(), random_ids(B, T)
    assert torch.equal(model.head(model.hidden(ids)), model(ids))
    assert_same(model.head(model.hidden(ids)[1, 3]), model(ids)[1, 3])


@pytest.mark.parametrize("kind", [{}, {"positions": "learned", "feedforward": "swiglu", "block": "post"}])
def test_dropout_acts_in_training_alone_and_everywhere(kind):
    ids = random_ids(B, T)
    model, still = gpt(dropout=0.4, **kind), gpt(**kind)
    assert_same(model(ids), still(ids))
    torch.manual_seed(0)
    places = [name for name, part in model.named_modules() if isinstance(part, nn.Dropout)]
    places += [name for name, part in model.named_modules() if hasattr(part, "scale") and part.dropout]
    assert len(places) == 1 + 3 * LAYERS  # the input; in each block what is added, the feed-forward, the weights
    assert (model.train()(ids) - still(ids)).abs().amax(dim=-1).min() > 1e-3


# --- bad input -------------------------------------------------------------------------------------------------------

IDS = random_ids(B, T)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.uint8, torch.uint16])
def test_ids_may_be_stored_small(dtype):
    model = gpt(positions="learned")
    with unchecked():
        assert torch.equal(model(IDS.to(dtype)), model(IDS))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"ids": IDS.float()},
            TypeError,
            r"ids must be a tensor of integers with shape (B, T), not a tensor of torch.float32",
        ),
        ({"ids": IDS[0]}, TypeError, r"not a tensor of torch.int64 with shape (5,)"),
        ({"ids": IDS[:, :0]}, TypeError, r"with shape (2, 0)"),
        ({"ids": [[1, 2]]}, TypeError, r"not [[1, 2]]"),
        ({"ids": IDS - 1 - IDS.min()}, ValueError, r"ids run from -1 to "),
        ({"ids": IDS + V - IDS.max()}, ValueError, r"to 23: they must be from 0 to 22"),
        ({"mask": torch.ones(T, T)}, TypeError, r"mask must be a tensor of bool, True where attending is allowed"),
        (
            {"mask": torch.ones(B, T, T - 1).bool()},
            ValueError,
            r"mask has shape (2, 5, 4): it must broadcast to the scores, (2, 5, 5)",
        ),
        (
            {"mask": torch.ones(B, T).bool()},
            ValueError,
            r"mask has shape (2, 5): it must broadcast to the scores, (2, 6, 5, 5)",
        ),
        ({"positions": torch.arange(T - 1)}, ValueError, r"positions has shape (4,)"),
        ({"positions": torch.arange(T).float()}, TypeError, r"positions must be a tensor of integers"),
        ({"caches": []}, ValueError, r"caches has 0 entries: each of the 3 layers needs its own"),
    ],
)
@pytest.mark.parametrize("window", [None, 2])
def test_what_is_wrong_is_named(arguments, error, message, window):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        gpt(window=window)(**({"ids": IDS} | arguments))


def test_learned_positions_end_with_the_context_and_others_do_not():
    long = random_ids(B, CONTEXT + 1)
    with pytest.raises(ValueError, match=r"positions run from 0 to 16, but only 0 to 15 were learned"):
        gpt(positions="learned")(long)
    assert gpt()(long).isfinite().all()


def test_what_does_not_fit_is_said_when_the_model_is_made():
    cases: list[tuple[dict[str, Any], str]] = [
        ({"width": 18}, "head_width is 3: it must be even"),
        ({"width": 21, "heads": 7, "positions": "sinusoidal"}, "width is 21: it must be even"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)):
            gpt(**changes)


def test_a_cache_is_for_inference_alone():
    model = gpt()
    with pytest.raises(ValueError, match="track gradients: a cache is for inference"):
        model(IDS, caches=model.new_caches())
