"""BERT against Hugging Face's, with copied weights; its laws; bad input."""

import copy
import itertools
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM, BertModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from course_lib.models.encoder import BERT, BERTConfig, recipe_config
from course_lib.models.parts import NORMS, POSITIONS
from course_lib.objectives.causal import cross_entropy
from tests.layers.helpers import assert_same, randn, randomized, unchecked
from tests.models.helpers import (
    CONTEXT,
    LAYERS,
    SIZES,
    B,
    D,
    F,
    H,
    T,
    V,
    by_our_names,
    converted,
    from_llama,
    gradients,
    has_gradients,
    in_both_formats,
    lively,
    load,
    random_ids,
    used_gradients,
)

IDS = random_ids(B, T)
REAL = torch.arange(T) < torch.tensor([[3], [T]])
SEGMENTS = torch.tensor([[0, 0, 1, 1, 1], [0, 2, 2, 1, 0]])


def bert(**changes: Any) -> BERT:
    return randomized(BERT(BERTConfig(**(SIZES | {"segments": 3} | changes)))).eval()


def their_bert(kind: Any, dtype: torch.dtype, **changes: Any) -> Any:
    sizes = {
        "vocab_size": V,
        "max_position_embeddings": CONTEXT,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": H,
        "hidden_size": D,
        "intermediate_size": F,
        "type_vocab_size": 3,
    }
    return lively(kind(BertConfig(**(sizes | changes))), dtype)


def hidden_states(model: BERT, *inputs: Tensor | None) -> list[Tensor]:
    """What each block gives, and before it what the first one gets."""
    seen: list[Tensor] = []
    hooks = [model.blocks[0].register_forward_pre_hook(lambda block, args: seen.append(args[0]))]
    hooks += [block.register_forward_hook(lambda block, args, out: seen.append(out)) for block in model.blocks]
    model.hidden(*inputs)  # type: ignore[arg-type]
    for hook in hooks:
        hook.remove()
    return seen


# --- references ------------------------------------------------------------------------------------------------------


@in_both_formats
@pytest.mark.parametrize("real", [REAL, None], ids=["padded", "whole"])
@pytest.mark.parametrize("segments", [SEGMENTS, None], ids=["segments", "one text"])
def test_the_masked_model_is_hugging_faces(tmp_path, real, segments, dtype, atol):
    theirs = their_bert(BertForMaskedLM, dtype)
    ours = converted(theirs, tmp_path)
    targets = IDS.where(torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]]).bool(), -100)
    expected = theirs(
        IDS, attention_mask=real, token_type_ids=segments, labels=targets, output_hidden_states=True, return_dict=True
    )
    here = torch.ones_like(REAL) if real is None else real  # nobody uses what stands at padding
    for mine, states in zip(hidden_states(ours, IDS, real, segments), expected.hidden_states, strict=True):
        assert_same(mine[here], states[here], atol=atol)
    logits = ours(IDS, real, segments)
    assert 0.3 < expected.logits.abs().max() < 10
    assert_same(logits[here], expected.logits[here], atol=atol)
    assert_same(cross_entropy(logits, targets), expected.loss, atol=atol)

    wanted = randn(B, T, V, dtype=dtype) * here[..., None]
    found = gradients(theirs, (expected.logits * wanted).sum())
    has_gradients(
        used_gradients(ours, (logits * wanted).sum()),
        {
            name: gradient
            for name, gradient in by_our_names(found, "bert", ours.config).items()
            if segments is not None or name != "segment_embedding.weight"
        },
        atol,
    )


@in_both_formats
def test_the_pooled_vector_is_hugging_faces(tmp_path, dtype, atol):
    theirs = their_bert(BertModel, dtype, layer_norm_eps=0.1)
    ours = converted(theirs, tmp_path)
    expected = theirs(IDS, attention_mask=REAL, token_type_ids=SEGMENTS)
    pooled = ours.pooled(ours.hidden(IDS, REAL, SEGMENTS))
    assert_same(pooled, expected.pooler_output, atol=atol)
    wanted = randn(B, D, dtype=dtype)
    found = {f"bert.{name}": g for name, g in gradients(theirs, (expected.pooler_output * wanted).sum()).items()}
    has_gradients(gradients(ours, (pooled * wanted).sum()), by_our_names(found, "bert", ours.config), atol)


@in_both_formats
def test_an_untied_head_is_hugging_faces(tmp_path, dtype, atol):
    theirs = their_bert(BertForMaskedLM, dtype, tie_word_embeddings=False)
    ours = converted(theirs, tmp_path)
    assert_same(ours(IDS, REAL, SEGMENTS)[REAL], theirs(IDS, REAL, SEGMENTS).logits[REAL], atol=atol)


def test_with_nothing_around_its_blocks_it_is_a_llama_that_may_look_ahead():
    sizes: Any = {"vocab_size": V, "max_position_embeddings": CONTEXT, "hidden_size": D, "intermediate_size": F}
    counts: Any = {"num_hidden_layers": LAYERS, "num_attention_heads": H, "num_key_value_heads": H}
    theirs: Any = lively(LlamaForCausalLM(LlamaConfig(**sizes, **counts, rms_norm_eps=1e-6)), torch.float32)
    llama: Any = {"norm": "rms", "feedforward": "swiglu", "qk_norm": False, "logit_cap": None, "zero_init": False}
    ours = BERT(recipe_config(V, CONTEXT, LAYERS, H, D, hidden=F, **llama))
    ours.segment_embedding.weight.data.zero_()
    given = {n: p for n, p in ours.named_parameters() if n.startswith(("pooler", "segment"))}
    load(ours, given | from_llama(dict(theirs.named_parameters())))
    all_may = torch.zeros(B, 1, T, T).masked_fill(~REAL[:, None, None], -torch.inf)
    assert_same(ours(IDS, REAL)[REAL], theirs(IDS, attention_mask=all_may).logits[REAL], atol=1e-4)


# --- laws ------------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    **{f"{name} positions": {"positions": name} for name in POSITIONS},
    "of today": {"block": "pre", "positions": "rotary", "norm": "rms", "feedforward": "swiglu", "bias": False},
    "normed queries, wide heads": {"qk_norm": True, "key_width": 10},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_kind
def test_each_position_sees_all_real_ones_and_no_padding(kind):
    model = bert(**(kind | {"tied": False}))  # the head would read the embedding too
    ids = torch.randperm(V)[None, :T]
    real = torch.arange(T)[None] != 2
    for t in range(T):
        (gradient,) = torch.autograd.grad((model(ids, real)[0, t] * randn(V)).sum(), model.embedding.weight)
        seen = real[0] | (torch.arange(T) == t)  # padding itself passes on, for itself alone
        assert gradient[ids[0]].any(dim=-1).tolist() == seen.tolist()


@each_kind
def test_a_text_is_read_alike_alone_and_in_a_padded_batch(kind):
    model = bert(**kind)
    logits = model(IDS, REAL, SEGMENTS)
    assert_same(logits[:1, :3], model(IDS[:1, :3], None, SEGMENTS[:1, :3]))
    assert_same(logits[1:], model(IDS[1:], None, SEGMENTS[1:]))
    changed = IDS.where(REAL, 0)
    assert_same(model(changed, REAL, SEGMENTS)[REAL], logits[REAL])


@each_kind
def test_segments_are_told_apart_and_are_the_first_where_not_given(kind):
    model = bert(**kind)
    assert_same(model(IDS, REAL, torch.zeros_like(IDS)), model(IDS, REAL))
    outputs = [model(IDS, REAL, torch.full_like(IDS, segment)) for segment in range(3)]
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(outputs, 2))


@pytest.mark.parametrize("positions", sorted(POSITIONS))
def test_only_without_positions_is_the_order_lost(positions):
    model = bert(positions=positions)
    order = torch.tensor([3, 1, 4, 0, 2])
    moved = (model(IDS[:, order]) - model(IDS)[:, order]).abs().max()
    assert (moved < 1e-12) == (positions == "none")


@pytest.mark.parametrize("positions", sorted(POSITIONS))
def test_what_comes_later_has_an_order_too(positions):
    model = bert(positions=positions, layers=1)
    swapped = IDS[:, [0, 3, 2, 1, 4]]  # 4 and 10 in the first row
    moved = (model(swapped)[:, 0] - model(IDS)[:, 0]).abs().max()
    assert (moved < 1e-12) == (positions == "none")


def test_the_pooled_vector_is_made_of_the_first_position_alone():
    model, hidden = bert(), randn(B, T, D)
    other = hidden.clone()
    other[:, 1:] = 0
    assert torch.equal(model.pooled(hidden), model.pooled(other))
    assert not torch.equal(model.pooled(hidden), model.pooled(hidden.roll(1, dims=1)))
    assert model.pooled(1e3 * hidden).abs().max() == 1


def test_logits_are_the_head_of_the_hidden_vectors():
    model = bert(logit_cap=2.0)
    logits = model(IDS, REAL, SEGMENTS)
    assert torch.equal(logits, model.head(model.hidden(IDS, REAL, SEGMENTS)))
    assert_same(logits, 2 * torch.tanh(bert()(IDS, REAL, SEGMENTS) / 2))


def test_a_row_of_padding_alone_is_finite():
    model, real = bert(), REAL & torch.tensor([[True], [False]])
    logits = model(IDS, real)
    assert logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in used_gradients(model, logits.sum()).values())


def test_tied_is_one_tensor():
    tied, untied = bert(), bert(tied=False)
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == V * D
    for model in (tied, copy.deepcopy(tied)):
        assert model.unembedding.weight is model.embedding.weight


def test_without_the_head_there_is_a_body_that_says_so():
    body, whole = bert(masked_head=False), bert()
    assert {name for name, _ in whole.named_parameters()} - {name for name, _ in body.named_parameters()} == {
        *(f"transform.{place}.{end}" for place in (0, 2) for end in ("weight", "bias")),
        "unembedding.bias",
    }
    assert body.pooled(body.hidden(IDS)).shape == (B, D)
    for action in (lambda: body(IDS), lambda: body.head(randn(B, T, D))):
        with pytest.raises(ValueError, match=r"^this BERT has no head \(masked_head is False\)"):
            action()


@each_kind
def test_a_state_dict_carries_the_whole_model(kind):
    model, other = bert(**kind), BERT(BERTConfig(**(SIZES | {"segments": 3} | kind))).double().eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IDS, REAL, SEGMENTS), model(IDS, REAL, SEGMENTS))


@pytest.mark.parametrize("block", ["pre", "post"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_hidden_vectors_are_normed(block, norm):
    model = BERT(BERTConfig(**SIZES, block=block, norm=norm)).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("down.weight"):
            parameter.data *= 100  # the straight line grows
    size = model.hidden(IDS).square().mean(dim=-1).sqrt()
    assert_same(size, torch.ones_like(size), atol=0.01)


def test_the_weights_start_at_their_sizes():
    """A standard deviation of 2,304 numbers or more is known to 1.5 in 100."""
    torch.manual_seed(0)
    layers = 5
    for name, p in BERT(BERTConfig(96, layers=layers, heads=2, width=48, context=60, segments=50)).named_parameters():
        if p.ndim == 1:
            norm = "norm.weight" in name or name == "transform.2.weight"
            assert torch.equal(p, torch.ones_like(p) if norm else torch.zeros_like(p)), name
        else:
            added = name.endswith(("out.weight", "down.weight"))
            assert_same(p.std() / (0.02 / (2 * layers) ** 0.5 if added else 0.02), torch.tensor(1.0), atol=0.08)


def test_with_zero_init_each_block_begins_as_the_identity():
    model = BERT(BERTConfig(**SIZES, block="pre", zero_init=True, dropout=0.0))
    x = randn(B, T, D, dtype=torch.float32)
    assert all(torch.equal(block(x), x) for block in model.blocks)


def test_dropout_acts_in_training_alone_and_everywhere():
    model, still = bert(dropout=0.4), bert(dropout=0.0)
    assert_same(model(IDS), still(IDS))
    torch.manual_seed(0)
    places = [name for name, part in model.named_modules() if isinstance(part, nn.Dropout)]
    places += [name for name, part in model.named_modules() if hasattr(part, "scale") and part.dropout]
    assert len(places) == 1 + 3 * LAYERS  # the input; in each block the weights, the feed-forward, what is added
    assert (model.train()(IDS) - still(IDS)).abs().amax(dim=-1).min() > 1e-3


def test_the_default_is_the_base_model_of_the_paper():
    config = BERTConfig(30_522)
    assert (config.layers, config.width, config.hidden_width, config.heads) == (12, 768, 3072, 12)
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in BERT(BERTConfig(30_522, masked_head=head)).parameters()) for head in (False, True)
        ]
        theirs = [sum(p.numel() for p in kind(BertConfig()).parameters()) for kind in (BertModel, BertForMaskedLM)]
    pooler = 768 * 768 + 768  # theirs has one without the head only
    assert sizes == [theirs[0], theirs[1] + pooler] == [109_482_240, 110_104_890]  # "110M", section 3


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.uint16])
def test_ids_may_be_stored_small(dtype):
    model = bert()
    with unchecked():
        assert torch.equal(model(IDS.to(dtype), REAL, SEGMENTS.to(dtype)), model(IDS, REAL, SEGMENTS))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ((IDS.float(),), TypeError, "ids must be a tensor of integers with shape (B, T)"),
        ((IDS[0],), TypeError, "ids must be a tensor of integers with shape (B, T)"),
        ((IDS + V,), ValueError, "they must be from 0 to 22"),
        ((IDS, REAL.long()), TypeError, "real must be a tensor of bool, True at real tokens"),
        ((IDS, REAL[:, 1:]), ValueError, "real has shape (2, 4): it must be (2, 5), as ids"),
        ((IDS, REAL[:1]), ValueError, "real has shape (1, 5): it must be (2, 5), as ids"),
        ((IDS, REAL, SEGMENTS.bool()), TypeError, "segments must be a tensor of integers with shape (B, T)"),
        ((IDS, REAL, SEGMENTS + 1), ValueError, "segments run from 1 to 3: they must be from 0 to 2"),
        ((IDS, REAL, SEGMENTS[:1]), ValueError, "segments has shape (1, 5): it must be (2, 5), as ids"),
    ],
)
def test_what_is_wrong_is_named(inputs, error, message):
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        bert()(*inputs)


def test_learned_positions_end_with_the_context():
    with pytest.raises(ValueError, match=r"positions run from 0 to 16, but only 0 to 15 were learned"):
        bert()(random_ids(B, CONTEXT + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"segments": 0}, "segments is 0: it must be at least 1"), ({"heads": 5}, "heads is 5: width (24) must be")],
)
def test_a_bad_configuration_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BERTConfig(**(SIZES | changes))
