"""T5 as a configuration of the Transformer: Hugging Face's with copied weights, 1.0 and 1.1, long texts, a cache."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration, T5LayerNorm

from course_lib.data.batches import PairBatch
from course_lib.models.encoder_decoder import Transformer, TransformerConfig, t5_config
from course_lib.objectives.translation import translation_loss
from tests.layers.helpers import assert_same, randn, randomized, seeded, wrong
from tests.models.helpers import (
    LAYERS,
    B,
    D,
    F,
    H,
    S,
    T,
    V,
    by_our_names,
    converted,
    gradients,
    has_gradients,
    lively,
    random_ids,
)

K = 5  # not D / H
SOURCE, TARGET = random_ids(B, S, seed=1), random_ids(B, T, seed=2)
REAL = torch.arange(S) < torch.tensor([[S], [S - 3]])

VERSIONS: dict[str, dict[str, Any]] = {
    "1.0": {},
    "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
each_version = pytest.mark.parametrize("version", VERSIONS)


def their_t5(version: str, dtype: torch.dtype = torch.float32, *, own_head: bool | None = None, **changes: Any) -> Any:
    sizes = {"vocab_size": V, "d_model": D, "d_kv": K, "d_ff": F, "num_layers": LAYERS, "num_heads": H}
    model = T5ForConditionalGeneration(
        T5Config(**(sizes | {"decoder_start_token_id": 3} | VERSIONS[version] | changes))
    )
    if version == "1.1" if own_head is None else own_head:  # as after loading a file that has one
        model.lm_head.weight = torch.nn.Parameter(torch.empty(V, D))
        model.all_tied_weights_keys.pop("lm_head.weight")
    return lively(model, dtype)


@pytest.fixture
def norm_of_pytorch(monkeypatch):
    """Theirs counts variance in float32, whatever it is given: in float64 that would be all that a test sees."""
    forward = lambda self, x: functional.rms_norm(x, x.shape[-1:], self.weight, self.variance_epsilon)  # noqa: E731
    monkeypatch.setattr(T5LayerNorm, "forward", forward)


def agrees(ours: Transformer, theirs: Any, atol: float, real: Tensor | None = REAL) -> None:
    """Hidden states of both halves, logits, loss, gradients, and logits with a cache."""
    labels = TARGET.where(torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]).bool(), -100)
    begun = theirs.prepare_decoder_input_ids_from_labels(labels)
    expected = theirs(SOURCE, attention_mask=real, labels=labels, output_hidden_states=True, return_dict=True)
    seen: list[Tensor] = []
    hooks = [block.register_forward_pre_hook(lambda block, args: seen.append(args[0])) for block in ours.encoder]
    hooks += [block.register_forward_pre_hook(lambda block, args: seen.append(args[0])) for block in ours.decoder]
    logits = ours(SOURCE, begun, real)
    for hook in hooks:
        hook.remove()
    states = expected.encoder_hidden_states[:LAYERS] + expected.decoder_hidden_states[:LAYERS]
    here = torch.ones_like(REAL) if real is None else real
    for mine, state in zip(seen, states, strict=True):
        of_source = mine.shape[1] == S
        assert_same(mine[here] if of_source else mine, state[here] if of_source else state, atol=atol)
    assert_same(ours.encode(SOURCE, real)[here], expected.encoder_last_hidden_state[here], atol=atol)
    assert 0.1 < expected.logits.abs().max() < 10
    assert_same(logits, expected.logits, atol=atol)
    loss = translation_loss(ours, PairBatch(SOURCE, here, begun, labels))
    assert_same(loss.total / loss.targets, expected.loss, atol=atol)

    wanted = randn(B, T, V, dtype=logits.dtype)
    found = gradients(theirs, (expected.logits * wanted).sum())
    named = by_our_names(found, "t5", ours.config)
    assert named.keys() == dict(ours.named_parameters()).keys()
    has_gradients(gradients(ours, (logits * wanted).sum()), named, atol)

    with torch.no_grad():
        caches, their_cache = ours.new_caches(), EncoderDecoderCache(DynamicCache(), DynamicCache())
        memory, encoded = ours.encode(SOURCE, real), theirs.encoder(SOURCE, attention_mask=real)
        for start, end in [(0, 3), (3, 4), (4, 5)]:
            piece = begun[:, start:end]
            out = theirs(
                encoder_outputs=encoded, attention_mask=real, decoder_input_ids=piece, past_key_values=their_cache
            )
            assert_same(ours.decode(piece, memory, real, caches), out.logits, atol=atol)


@each_version
@pytest.mark.parametrize("real", [REAL, None], ids=["padded", "whole"])
def test_t5_is_hugging_faces(tmp_path, version, real):
    theirs = their_t5(version)
    agrees(converted(theirs, tmp_path), theirs, 1e-5, real)


@each_version
def test_t5_is_hugging_faces_in_float64_where_the_norm_is_pytorchs(tmp_path, version, norm_of_pytorch):
    theirs = their_t5(version, torch.float64, layer_norm_epsilon=0.1)
    agrees(converted(theirs, tmp_path), theirs, 1e-10)


@pytest.mark.parametrize(("version", "own_head"), [("1.0", True), ("1.1", False)])
def test_a_head_of_its_own_and_a_scaled_one_are_two_things(tmp_path, version, own_head):
    theirs = their_t5(version, own_head=own_head)
    ours = converted(theirs, tmp_path)
    assert ours.config.tied != own_head
    assert ours.config.head_scale == (D**-0.5 if version == "1.0" else 1.0)
    agrees(ours, theirs, 1e-5)


def test_distances_far_beyond_the_last_bucket_are_hugging_faces(tmp_path):
    theirs = their_t5("1.0")
    ours = converted(theirs, tmp_path)
    source = torch.randint(V, (1, 170), generator=seeded(1))
    target = torch.randint(V, (1, 150), generator=seeded(2))
    assert_same(ours(source, target), theirs(input_ids=source, decoder_input_ids=target).logits, atol=1e-5)


# --- the configuration -----------------------------------------------------------------------------------------------


def test_what_t5_config_says_is_what_the_files_of_t5_say(tmp_path):
    for version, config in (
        ("1.0", t5_config(V, LAYERS, H, D, head_width=K, hidden=F)),
        ("1.1", t5_config(V, LAYERS, H, D, head_width=K, hidden=F, gated=True)),
    ):
        read = converted(their_t5(version), tmp_path / version).config
        assert read == TransformerConfig(**(vars(config) | {"context": 512}))


def test_t5_small_has_the_parameters_that_the_paper_counts():
    """Section 3.1.2 and 3.2.2: "about 60 million" for the small one, 220 million for the base."""
    with torch.device("meta"):
        small = Transformer(t5_config(32_128, 6, 8, 512, hidden=2048))
        theirs = T5ForConditionalGeneration(T5Config())
        assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in theirs.parameters()) == 60_506_624


def test_t5_starts_at_the_sizes_that_its_scales_ask_for():
    """Logits of a new model are of size 1 or so, with a head of its own or without: √D times more would not train."""
    for gated in (False, True):
        torch.manual_seed(0)
        model = Transformer(t5_config(V, 2, 3, 48, head_width=20, gated=gated, dropout=0.0)).eval()
        assert_same(model.embedding.weight.std(), torch.tensor(1.0), atol=0.08)
        assert 0.05 < model(SOURCE, TARGET).std() < 2


@pytest.mark.parametrize("name", ["score_scale", "embedding_scale", "head_scale"])
def test_a_scale_is_above_zero(name):
    with pytest.raises(ValueError, match=f"^{name} is 0.0: it must be above 0"):
        TransformerConfig(V, **wrong({name: 0.0}))


@pytest.mark.parametrize(
    ("name", "usual"), [("score_scale", K**-0.5), ("embedding_scale", D**0.5), ("head_scale", 1.0)]
)
def test_a_scale_that_is_not_given_is_the_papers(name, usual):
    sizes: dict[str, Any] = {"layers": 2, "heads": H, "width": D, "key_width": K}
    models = [
        randomized(Transformer(TransformerConfig(V, **sizes, **given))).eval()
        for given in ({}, {name: usual}, {name: 3 * usual})
    ]
    same, stated, other = (model(SOURCE, TARGET) for model in models)
    assert_same(same, stated)
    assert (same - other).abs().max() > 1e-3
