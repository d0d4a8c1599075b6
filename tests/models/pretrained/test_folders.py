"""Folders in Hugging Face's format: read, written, read by transformers again; whatever is wrong with one is named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel, GPT2Model
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaModel
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from course_lib.data.tokenizers import BytePairTokenizer
from course_lib.models.decoder import GPT, GPTConfig, gpt2_config, llama_config
from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.encoder_decoder import Transformer, TransformerConfig, t5_config
from course_lib.models.heads import SequenceClassifier, SpanExtractor, TokenClassifier
from course_lib.models.pretrained.conversion import PretrainedError
from course_lib.models.pretrained.folders import CONVERSIONS, load_pretrained, save_pretrained
from course_lib.using.generation import translate
from tests.layers.helpers import assert_same, randomized, unchecked
from tests.models.helpers import CONTEXT, KV, LAYERS, SIZES, B, D, F, H, T, V, converted, lively, random_ids

IDS = random_ids(B, T)
REAL = torch.arange(T) < torch.tensor([[3], [T]])
BERT_SIZES = {
    "vocab_size": V,
    "max_position_embeddings": CONTEXT,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": H,
    "hidden_size": D,
    "intermediate_size": F,
}
GPT2_SIZES = {"vocab_size": V, "n_positions": CONTEXT, "n_layer": LAYERS, "n_head": H, "n_embd": D, "n_inner": F}
T5_SIZES = {"vocab_size": V, "d_model": D, "d_kv": 5, "d_ff": F, "num_layers": LAYERS, "num_heads": H}


def gpt2(kind: Any = GPT2LMHeadModel, **changes: Any) -> Any:
    return lively(kind(GPT2Config(**(GPT2_SIZES | changes))), torch.float32)


def llama(kind: Any = LlamaForCausalLM, **changes: Any) -> Any:
    return lively(kind(LlamaConfig(**(BERT_SIZES | {"num_key_value_heads": KV} | changes))), torch.float32)


def bert(kind: Any = BertForMaskedLM, **changes: Any) -> Any:
    return lively(kind(BertConfig(**(BERT_SIZES | changes))), torch.float32)


def t5(**changes: Any) -> Any:
    return lively(T5ForConditionalGeneration(T5Config(**(T5_SIZES | changes))), torch.float32)


THEIRS: dict[str, Callable[[], Any]] = {
    "GPT-2": gpt2,
    "GPT-2, other settings": lambda: gpt2(
        n_inner=None, activation_function="relu", layer_norm_epsilon=0.1, tie_word_embeddings=False, resid_pdrop=0.3
    ),
    "GPT-2, exact GELU": lambda: gpt2(activation_function="gelu"),
    "Llama": llama,
    "Llama, other settings": lambda: llama(
        num_key_value_heads=H,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        head_dim=10,
        rms_norm_eps=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 77.0},
    ),
    "BERT": bert,
    "BERT, other settings": lambda: bert(layer_norm_eps=0.1, type_vocab_size=1, tie_word_embeddings=False),
    "T5": t5,
    "T5 1.1": lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, layer_norm_epsilon=0.1),
}


def output(model: Any) -> Tensor:
    """Of theirs or of ours: the logits, or what a body gives."""
    ours = type(model).__module__.startswith("course_lib.")
    with torch.no_grad():
        if isinstance(model, Transformer):
            return model(IDS, IDS[:, :3])
        if isinstance(model, T5ForConditionalGeneration):
            return model(input_ids=IDS, decoder_input_ids=IDS[:, :3]).logits
        if ours and isinstance(model, BERT) and not model.config.masked_head:
            return model.pooled(model.hidden(IDS))
        out = model(IDS)
    if ours:
        return out
    if isinstance(model, BertModel):
        return out.pooler_output
    if "start_logits" in out:
        return torch.stack([out.start_logits, out.end_logits], dim=-1)
    return out.logits


# --- read ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS)
def test_what_transformers_wrote_gives_the_same_logits_here(tmp_path, make):
    theirs = make()
    ours = converted(theirs, tmp_path)
    assert not any(module.training for module in ours.modules())
    assert output(theirs).abs().max() > 0.2
    assert_same(output(ours), output(theirs), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_that_of_the_file(tmp_path, dtype):
    ours = converted(gpt2().to(dtype), tmp_path)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    tensors = load_file(tmp_path / "model.safetensors")
    first = next(iter(tensors))
    save_file(tensors | {first: tensors[first].float()}, tmp_path / "model.safetensors")
    mixed = {p.dtype for p in load_pretrained(tmp_path).parameters()}
    assert mixed == {torch.promote_types(dtype, torch.float32)}  # nothing is rounded


def test_a_file_in_shards_is_the_same_model(tmp_path):
    theirs = gpt2()
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert not (tmp_path / "model.safetensors").exists()
    assert_same(output(load_pretrained(tmp_path)), output(theirs), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "body"),
    [(lambda: gpt2(GPT2Model), "transformer"), (lambda: llama(LlamaModel, tie_word_embeddings=True), "model")],
)
def test_a_file_without_a_head_has_shorter_names(tmp_path, make, body):
    """So has GPT-2's on the hub."""
    theirs = make()
    ours = converted(theirs, tmp_path)
    with torch.no_grad():
        assert_same(ours.hidden(IDS), theirs(IDS).last_hidden_state, atol=1e-5)
    assert not any(name.startswith(f"{body}.") for name in load_file(tmp_path / "model.safetensors"))


def test_an_older_file_of_gpt2_holds_masks_and_a_copy_of_the_head(tmp_path):
    theirs = gpt2()
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    for i in range(LAYERS):
        tensors[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
        tensors[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / "model.safetensors")
    ours: Any = load_pretrained(tmp_path)
    assert_same(output(ours), output(theirs), atol=1e-5)
    assert ours.unembedding.weight is ours.embedding.weight


def test_an_older_file_of_llama_says_its_base_elsewhere(tmp_path):
    theirs = llama(rope_parameters={"rope_type": "default", "rope_theta": 77.0})
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}, tmp_path / "model.safetensors")
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["rope_parameters"], settings["head_dim"]
    for scaling in ({}, {"rope_scaling": None}, {"rope_scaling": {"type": "default"}}):
        (tmp_path / "config.json").write_text(json.dumps(settings | {"rope_theta": 77.0} | scaling))
        assert_same(output(load_pretrained(tmp_path)), output(theirs), atol=1e-5)


def test_an_older_file_of_bert_has_names_of_tensorflow_and_the_guess_of_the_next_sentence(tmp_path):
    """As bert-base-uncased on the hub: a pooler, two heads, gamma and beta, and places."""
    theirs = bert(BertForPreTraining)
    theirs.save_pretrained(tmp_path)
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    assert any("gamma" in name for name in renamed)
    assert "cls.seq_relationship.weight" in renamed
    renamed["bert.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    renamed["cls.predictions.decoder.weight"] = renamed["bert.embeddings.word_embeddings.weight"].clone()
    renamed["cls.predictions.decoder.bias"] = renamed["cls.predictions.bias"].clone()
    save_file(renamed, tmp_path / "model.safetensors")
    ours: Any = load_pretrained(tmp_path)
    with torch.no_grad():
        assert_same(ours(IDS, REAL)[REAL], theirs(IDS, attention_mask=REAL).prediction_logits[REAL], atol=1e-5)
        expected = theirs.bert(IDS, attention_mask=REAL).pooler_output
        assert_same(ours.pooled(ours.hidden(IDS, REAL)), expected, atol=1e-5)


def test_an_older_file_of_t5_holds_every_copy_and_a_table_that_nothing_reads(tmp_path):
    theirs = t5()
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"):
        tensors[f"{name}.weight"] = tensors["shared.weight"].clone()
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.ones(32, H)
    save_file(tensors, tmp_path / "model.safetensors")
    ours: Any = load_pretrained(tmp_path)
    assert ours.unembedding.weight is ours.embedding.weight
    assert_same(output(ours), output(theirs), atol=1e-5)


def test_a_bert_without_a_pooler_gets_a_new_one_and_one_without_a_head_gets_none(tmp_path):
    masked = converted(bert(), tmp_path / "masked")
    assert 0.01 < masked.pooler.weight.std() < 0.03
    assert not masked.pooler.bias.any()
    alone = converted(bert(BertModel), tmp_path / "alone")
    assert not alone.config.masked_head
    assert alone.pooler.weight.std() > 0.1


def test_loading_uses_up_no_random_number(tmp_path):
    bert().save_pretrained(tmp_path)
    before = torch.get_rng_state()
    load_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_name_is_looked_up_on_the_hub_and_nothing_but_what_is_needed_is_fetched(tmp_path, monkeypatch):
    theirs = gpt2()
    theirs.save_pretrained(tmp_path / "cache")
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, sorted(allow_patterns)))
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    for name in ("openai-community/gpt2", "gpt2"):
        assert_same(output(load_pretrained(name)), output(theirs), atol=1e-5)
    needed = ["config.json", "model*.safetensors", "model.safetensors.index.json"]
    assert asked == [("openai-community/gpt2", needed), ("gpt2", needed)]
    (tmp_path / "gpt2").mkdir()
    with pytest.raises(PretrainedError, match=r"^gpt2: config\.json is missing"):
        load_pretrained("gpt2")  # a folder of that name goes first
    assert len(asked) == 2


# --- written ---------------------------------------------------------------------------------------------------------


def ours_of(config: Any, head: Callable[[BERT], nn.Module] | None = None) -> Any:
    kinds = {GPTConfig: GPT, TransformerConfig: Transformer, BERTConfig: BERT}
    model: Any = kinds[type(config)](config)
    return randomized(head(model) if head else model).float().eval()


GPT_SIZES: list[Any] = [V, CONTEXT, LAYERS, H, D]
OURS: dict[str, tuple[Callable[[], Any], Any]] = {
    "GPT-2": (lambda: ours_of(gpt2_config(*GPT_SIZES, dropout=0.3)), GPT2LMHeadModel),
    "GPT-2, other parts": (
        lambda: ours_of(gpt2_config(*GPT_SIZES, hidden=F, tied=False, feedforward="gelu", norm_eps=0.1)),
        GPT2LMHeadModel,
    ),
    "Llama": (lambda: ours_of(llama_config(*GPT_SIZES, hidden=F, kv_heads=KV)), LlamaForCausalLM),
    "Llama, other parts": (
        lambda: ours_of(llama_config(*GPT_SIZES, key_width=10, tied=True, bias=True, rotary_base=77.0, norm_eps=0.1)),
        LlamaForCausalLM,
    ),
    "T5": (lambda: ours_of(t5_config(V, LAYERS, H, D, head_width=5, hidden=F)), T5ForConditionalGeneration),
    "T5 1.1": (lambda: ours_of(t5_config(V, LAYERS, H, D, gated=True, norm_eps=0.1)), T5ForConditionalGeneration),
    "T5, tied and not scaled": (
        lambda: ours_of(t5_config(V, LAYERS, H, D, hidden=F, head_scale=1.0)),
        T5ForConditionalGeneration,
    ),
    "T5, scaled and not tied": (
        lambda: ours_of(t5_config(V, LAYERS, H, D, hidden=F, tied=False)),
        T5ForConditionalGeneration,
    ),
    "BERT": (lambda: ours_of(BERTConfig(**SIZES)), BertForMaskedLM),
    "BERT, other parts": (
        lambda: ours_of(BERTConfig(**(SIZES | {"hidden": None}), tied=False, segments=3, norm_eps=0.1, dropout=0.0)),
        BertForMaskedLM,
    ),
    "BERT alone": (lambda: ours_of(BERTConfig(**SIZES, masked_head=False)), BertModel),
    "a classifier": (
        lambda: ours_of(BERTConfig(**SIZES), lambda body: SequenceClassifier(body, 4, 0.3)),
        BertForSequenceClassification,
    ),
    "labels": (
        lambda: ours_of(BERTConfig(**SIZES), lambda body: TokenClassifier(body, 4)),
        "BertForTokenClassification",
    ),
    "spans": (lambda: ours_of(BERTConfig(**SIZES), SpanExtractor), "BertForQuestionAnswering"),
}


@pytest.mark.parametrize(("make", "kind"), OURS.values(), ids=OURS)
def test_what_was_written_here_transformers_reads_and_so_do_we(tmp_path, make, kind):
    import transformers

    ours = make()
    save_pretrained(tmp_path, ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    kind = getattr(transformers, kind) if isinstance(kind, str) else kind
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["architectures"] == [kind.__name__]
    assert settings["dtype"] == "float32"
    theirs, notes = kind.from_pretrained(tmp_path, output_loading_info=True)
    unused = {name for name in notes.pop("unexpected_keys") if "pooler" not in name}  # they have none in three of these
    assert not any(notes.values())
    assert not unused
    theirs.save_pretrained(tmp_path / "theirs")
    names, theirs_names = (load_file(folder / "model.safetensors").keys() for folder in (tmp_path, tmp_path / "theirs"))
    assert {name for name in names if "pooler" not in name} == {name for name in theirs_names if "pooler" not in name}
    assert_same(output(theirs.eval()), output(ours), atol=1e-5)

    again: Any = load_pretrained(tmp_path)
    assert type(again) is type(ours)
    assert torch.equal(output(again), output(ours))
    if not isinstance(ours, SequenceClassifier | TokenClassifier | SpanExtractor):
        facts, left_open = vars(ours.config), {"hidden": ours.config.hidden_width, "dropout": again.config.dropout}
        assert vars(again.config) | {"hidden": again.config.hidden_width} == facts | left_open
        assert again.config.dropout == (0.0 if "Llama" in kind.__name__ else ours.config.dropout)  # it has none
    own, read = dict(ours.named_parameters()), dict(again.named_parameters())
    assert all(torch.equal(parameter, own[name]) for name, parameter in read.items())
    assert own.keys() - read.keys() <= {name for name in own if "transform" in name or "unembedding" in name}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_kept(tmp_path, dtype):
    ours = ours_of(llama_config(*GPT_SIZES, hidden=F)).to(dtype)
    save_pretrained(tmp_path, ours)
    assert LlamaForCausalLM.from_pretrained(tmp_path).dtype == dtype
    assert torch.equal(output(load_pretrained(tmp_path)), output(ours))


def test_our_tokenizer_goes_with_the_model_and_its_special_tokens_have_their_roles(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = BytePairTokenizer.train("a rose is a rose is a rose", 270, special_tokens=["<|end|>", "<|pad|>"])
    ours = ours_of(gpt2_config(tokenizer.vocab_size + 3, CONTEXT, LAYERS, H, D))
    save_pretrained(tmp_path, ours, tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    their_tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    text = "Is a rose a rose?<|end|>"
    ids = their_tokenizer(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == tokenizer.encode(text, allow_special=True)
    assert_same(theirs(ids[:, :CONTEXT]).logits, ours(ids[:, :CONTEXT]), atol=1e-5)
    ends = tokenizer.special_ids
    assert (theirs.config.eos_token_id, theirs.config.pad_token_id) == (ends["<|end|>"], ends["<|pad|>"])
    assert (their_tokenizer.eos_token, their_tokenizer.pad_token_id) == ("<|end|>", ends["<|pad|>"])
    written = theirs.generate(ids[:, :5], max_new_tokens=4, do_sample=False)
    expected = ids[:, :5]
    for _ in range(4):
        expected = torch.cat([expected, ours(expected)[:, -1:].argmax(dim=-1)], dim=1)
        if expected[0, -1] == ends["<|end|>"]:
            break
    assert written.tolist() == expected.tolist()


def test_the_targets_of_a_t5_begin_with_its_padding_and_both_write_the_same(tmp_path):
    tokenizer = BytePairTokenizer.train("a rose is a rose is a rose", 265, special_tokens=["<pad>", "<end>"])
    pad, end = tokenizer.special_ids.values()
    ours = ours_of(t5_config(tokenizer.vocab_size, LAYERS, H, D))
    save_pretrained(tmp_path, ours, tokenizer, pad_token="<pad>", eos_token="<end>")
    theirs: Any = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert theirs.generation_config.decoder_start_token_id == pad
    source = torch.tensor([[*tokenizer.encode("a rose"), end]])
    written = theirs.generate(source, max_new_tokens=6, do_sample=False)[0, 1:].tolist()
    [expected] = translate(ours, source, begin_id=pad, end_id=end, max_tokens=6)
    assert [i for i in written if i not in (pad, end)] == [i for i in expected if i not in (pad, end)] != []


def test_a_folder_is_written_over_and_keeps_what_else_it_holds(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    for config in (gpt2_config(*GPT_SIZES), llama_config(*GPT_SIZES, hidden=F)):
        ours = ours_of(config)
        save_pretrained(tmp_path, ours)
        assert torch.equal(output(load_pretrained(tmp_path)), output(ours))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    save_pretrained(tmp_path, ours_of(gpt2_config(*GPT_SIZES)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        save_pretrained(tmp_path, ours_of(llama_config(*GPT_SIZES, hidden=F)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GPT(GPTConfig(**SIZES)), "no architecture of transformers has all parts of this model: "),
        (lambda: GPT(GPTConfig(**SIZES)), "logit_cap = 15.0 where llama has None"),
        (lambda: GPT(gpt2_config(*GPT_SIZES, window=3)), "window = 3 where gpt2 has None"),
        (lambda: GPT(gpt2_config(*GPT_SIZES, kv_heads=KV)), "kv_heads = 2 where gpt2 has 6"),
        (lambda: GPT(gpt2_config(*GPT_SIZES, feedforward="relu2")), "feedforward = 'relu2' where gpt2 has 'relu'"),
        (lambda: GPT(llama_config(*GPT_SIZES, positions="alibi")), "positions = 'alibi' where llama has 'rotary'"),
        (lambda: GPT(llama_config(*GPT_SIZES, qk_norm=True)), "qk_norm = True where llama has False"),
        (lambda: Transformer(TransformerConfig(**SIZES)), "positions = 'sinusoidal' where t5 has 't5'"),
        (lambda: Transformer(t5_config(V, LAYERS, H, D, head_scale=2.0)), "head_scale = 2.0 where t5 has 0.204"),
        (lambda: BERT(BERTConfig(**SIZES, positions="rotary")), "positions = 'rotary' where bert has 'learned'"),
        (
            lambda: TokenClassifier(BERT(BERTConfig(**SIZES, block="pre")), 3),
            "block = 'pre' where bert has 'post'",
        ),
        (lambda: nn.Linear(1, 1), "model is a Linear: it must be one of BERT, GPT, Transformer"),
        (lambda: nn.Sequential(GPT(gpt2_config(*GPT_SIZES))), "model is a Sequential: it must be"),
    ],
)
def test_a_model_that_no_architecture_can_say_is_not_written(tmp_path, make, message):
    with pytest.raises(PretrainedError, match=re.escape(message)):
        save_pretrained(tmp_path / "new", make())
    assert not (tmp_path / "new").exists()


TOKENIZER = BytePairTokenizer.train("a rose", 257, special_tokens=["<|end|>"])


@pytest.mark.parametrize(
    ("tokenizer", "roles", "message"),
    [
        (TOKENIZER, {}, "tokenizer has 257 ids, but the vocabulary of model is 23"),
        (None, {"eos_token": "<|end|>"}, "eos_token is given without a tokenizer: give the one that has this token"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path, tokenizer, roles, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        save_pretrained(tmp_path / "new", ours_of(gpt2_config(*GPT_SIZES)), tokenizer, **roles)
    assert not (tmp_path / "new").exists()


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained")
    models = {"gpt2": gpt2(), "llama": llama(), "bert": bert(), "t5": t5()}
    models["classifier"] = bert(BertForSequenceClassification, num_labels=4)
    for name, model in models.items():
        model.save_pretrained(root / name)
    return root


def edited(folders: Path, tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(folders / name, tmp_path / name))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpt2", {"model_type": "gpt_neox"}, "config.json has model_type 'gpt_neox': here are 'bert', 'gpt2', 'llama'"),
        ("gpt2", {"model_type": None}, "config.json has model_type None: here are"),
        ("gpt2", {"n_embd": None}, "config.json has no 'n_embd': a gpt2 needs it"),
        ("gpt2", {"activation_function": "silu"}, "config.json has activation_function = 'silu': only 'gelu_new' or"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False: only True can be built here"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True: only False"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True: only False can be built here"),
        ("gpt2", {"n_head": 7}, "config.json describes a model that cannot be built here: heads is 7: width (24) must"),
        (
            "gpt2",
            {"n_layer": "3"},
            "config.json describes a model that cannot be built here: layers must be an integer",
        ),
        ("gpt2", {"quantization_config": {"bits": 4}}, "config.json has a quantization_config: give the folder of the"),
        ("llama", {"hidden_act": "gelu"}, "config.json has hidden_act = 'gelu': only 'silu' can be built here"),
        ("llama", {"attention_dropout": 0.1}, "attention_dropout = 0.1: only 0.0 can be built here"),
        ("llama", {"mlp_bias": True}, "config.json has attention_bias = False and mlp_bias = True: both or none, here"),
        ("llama", {"intermediate_size": None}, "config.json has no 'intermediate_size': a llama needs it"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}},
            "config.json has rope_type = 'llama3': only 'default', which scales nothing, is here",
        ),
        (
            "llama",
            {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "config.json has rope_type = 'linear'",
        ),
        ("bert", {"hidden_act": "relu"}, "config.json has hidden_act = 'relu': only 'gelu' can be built here"),
        ("bert", {"is_decoder": True}, "is_decoder = True: only False can be built here"),
        (
            "bert",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type = 'relative_key': only 'absolute' can be built here",
        ),
        ("t5", {"feed_forward_proj": "gated-silu"}, "feed_forward_proj = 'gated-silu': only 'relu' or 'gated-gelu'"),
        ("t5", {"num_decoder_layers": 2}, "config.json has 3 num_layers and 2 num_decoder_layers: both are one here"),
        (
            "t5",
            {"relative_attention_num_buckets": 16},
            "relative_attention_num_buckets = 16: only 32 can be built here",
        ),
        ("t5", {"relative_attention_max_distance": 64}, "relative_attention_max_distance = 64: only 128"),
        ("t5", {"d_kv": None}, "config.json has no 'd_kv': a t5 needs it"),
    ],
)
def test_a_setting_that_no_part_here_has_is_refused(folders, tmp_path, name, changes, message):
    folder = edited(folders, tmp_path, name)
    settings = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(settings))
    with unchecked(), pytest.raises(PretrainedError, match=re.escape(f"{folder}: ") + ".*" + re.escape(message)):
        load_pretrained(folder)


def dropped(name: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.pop(name)


def added(**more: Tensor) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.update({name.replace("__", "."): tensor for name, tensor in more.items()})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "gpt2",
            dropped("transformer.h.1.attn.c_attn.bias"),
            "the file has no tensor 'transformer.h.1.attn.c_attn.bias': a model of this config.json needs it",
        ),
        ("llama", dropped("lm_head.weight"), "the file has no tensor 'lm_head.weight'"),
        (
            "llama",
            lambda t: [t.pop(f"model.layers.2.self_attn.{part}_proj.weight") for part in "qkv"],
            "the file has no tensor 'model.layers.2.self_attn.q_proj.weight' (and 2 more)",
        ),
        ("bert", dropped("cls.predictions.bias"), "the file has no tensor 'cls.predictions.bias'"),
        ("classifier", dropped("bert.pooler.dense.bias"), "the file has no tensor 'bert.pooler.dense.bias'"),
        ("classifier", dropped("classifier.weight"), "the file has no tensor 'classifier.weight': the architecture of"),
        ("t5", dropped("shared.weight"), "the file has no tensor 'shared.weight'"),
        (
            "gpt2",
            added(transformer__h__3__ln_1__bias=torch.ones(D)),
            "the file holds a tensor 'transformer.h.3.ln_1.bias' that has no place in a model of this config.json",
        ),
        ("bert", added(classifier__weight=torch.ones(2, D)), "the file holds a tensor 'classifier.weight' that has no"),
        (
            "gpt2",
            lambda t: t.update({"transformer.wpe.weight": torch.ones(CONTEXT + 1, D)}),
            "tensor 'transformer.wpe.weight' has shape (17, 24): by config.json it must be (16, 24)",
        ),
        (
            "gpt2",
            lambda t: t.update({"transformer.h.0.attn.c_attn.weight": torch.ones(3 * D, D)}),
            "tensor 'transformer.h.0.attn.c_attn.weight' has shape (72, 24): by config.json it must be (24, 72)",
        ),
        (
            "llama",
            lambda t: t.update({"model.layers.0.self_attn.k_proj.weight": torch.ones(D, D)}),
            "tensor 'model.layers.0.self_attn.k_proj.weight' has shape (24, 24): by config.json it must be (8, 24)",
        ),
        (
            "gpt2",
            added(lm_head__weight=torch.ones(V, D)),
            "'lm_head.weight' and 'transformer.wte.weight' differ, but config.json says that they are one (tied)",
        ),
        (
            "gpt2",
            lambda t: t.update({"transformer.wte.weight": torch.ones(V, D, dtype=torch.int8)}),
            "tensor 'transformer.wte.weight' is torch.int8: weights must be floating-point, not quantised",
        ),
        ("gpt2", lambda t: t.clear(), "the file has no tensor"),
    ],
)
def test_tensors_that_do_not_fit_the_configuration_are_named(folders, tmp_path, name, change, message):
    folder = edited(folders, tmp_path, name)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(PretrainedError, match=re.escape(f"{folder}: ") + ".*" + re.escape(message)):
        load_pretrained(folder)


def write(name: str, data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


def sharded(weight_map: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing: it says what model the folder"),
        (write("config.json", b'{"model_type": "gp'), "config.json is no JSON: "),
        (write("config.json", b"\xff\xfe"), "config.json is no JSON: "),
        (write("config.json", b"[1]"), "config.json holds a list: it must be an object"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing, and so is model.safe"),
        (write("model.safetensors", b""), "model.safetensors is no whole safetensors file"),
        (write("model.safetensors", b"\x80\x04."), "model.safetensors is no whole safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
            "model.safetensors is no whole safetensors file",
        ),
        (pickled, "pytorch_model.bin is a pickle, which could run a program, so it was not opened"),
        (sharded({"a": "model-1.safetensors"}), "model-1.safetensors has no tensor 'a', but model.safetensors.index."),
        (sharded({"a": "model-2.safetensors"}), "model-2.safetensors is missing, but model.safetensors.index.json"),
        (
            sharded({"a": "../gpt2/model-1.safetensors"}),
            "must have a weight_map from names of tensors to files of this",
        ),
        (sharded(["a"]), "model.safetensors.index.json must have a weight_map"),
        (sharded({"a": 1}), "model.safetensors.index.json must have a weight_map"),
    ],
)
def test_a_folder_that_is_damaged_is_refused(folders, tmp_path, change, message):
    folder = edited(folders, tmp_path, "gpt2")
    change(folder)
    with pytest.raises(PretrainedError, match=re.escape(f"{folder}: ") + ".*" + re.escape(message)):
        load_pretrained(folder)


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/model", "a/b/c", "", Path("gpt2")])
def test_what_can_be_no_name_on_the_hub_is_not_looked_up(source, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PretrainedError, match="is no folder" if source else "config.json is missing"):
        load_pretrained(source)


def test_a_name_that_the_hub_does_not_give_is_refused_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = r"^no-one/nothing is no folder here, and the hub did not give it \(\w+Error: .*give the folder$"
    with pytest.raises(PretrainedError, match=re.compile(message, re.DOTALL)):
        load_pretrained("no-one/nothing")  # offline: see conftest.py


def test_every_table_names_each_tensor_once():
    configs: dict[str, list[Any]] = {
        "gpt2": [gpt2_config(*GPT_SIZES), gpt2_config(*GPT_SIZES, tied=False)],
        "llama": [llama_config(*GPT_SIZES), llama_config(*GPT_SIZES, bias=True, tied=True)],
        "bert": [BERTConfig(**SIZES), BERTConfig(**SIZES, tied=False), BERTConfig(**SIZES, masked_head=False)],
        "t5": [t5_config(V, LAYERS, H, D), t5_config(V, LAYERS, H, D, gated=True)],
    }
    for name, chosen in configs.items():
        conversion = CONVERSIONS[name]
        for config in chosen:
            table = conversion.table(config)
            ours, theirs = [e.ours for e in table], [name for e in table for name in e.theirs]
            assert len(set(ours)) == len(ours)
            assert len(set(theirs)) == len(theirs)
            assert set(ours) == {name for name, _ in conversion.kind(config).named_parameters()}
