"""Llama (Touvron et al. 2023). Queries, keys and values, and the two halves of a gate, have matrices of their own."""

from typing import Any

from course_lib.models.decoder import GPT, GPTConfig, llama_config
from course_lib.models.pretrained.conversion import (
    Conversion,
    Entry,
    PretrainedError,
    Settings,
    Tensors,
    refuse_unless,
    renamed,
    required,
    stacked,
)


def _config_from(settings: Settings, tensors: Tensors) -> GPTConfig:
    refuse_unless(settings, hidden_act=("silu",), attention_dropout=(0.0,))
    names = (
        "vocab_size",
        "max_position_embeddings",
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_size",
    )
    vocabulary, context, layers, heads, width = (required(settings, name) for name in names)
    kv_heads, key_width = settings.get("num_key_value_heads"), settings.get("head_dim")
    bias = settings.get("attention_bias", False)
    if settings.get("mlp_bias", False) != bias:
        raise PretrainedError(f"config.json has attention_bias = {bias} and mlp_bias = {not bias}: both or none, here")
    return llama_config(
        *(vocabulary, context, layers, heads, width),
        hidden=required(settings, "intermediate_size"),
        kv_heads=None if kv_heads == heads else kv_heads,
        key_width=None if key_width is None or key_width * heads == width else key_width,
        rotary_base=_rotary_base(settings),
        norm_eps=settings.get("rms_norm_eps", 1e-6),
        bias=bias,
        tied=settings.get("tie_word_embeddings", False),
    )


def _rotary_base(settings: Settings) -> float:
    """It stands in ``rope_parameters``; in older files beside ``rope_scaling``."""
    rope: dict[str, Any] = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise PretrainedError(f"config.json has rope_type = {kind!r}: only 'default', which scales nothing, is here")
    base: Any = rope.get("rope_theta", settings.get("rope_theta", 10_000.0))
    return float(base)


def _config_to(c: GPTConfig) -> Settings:
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": c.vocabulary,
        "max_position_embeddings": c.context,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads or c.heads,
        "head_dim": c.head_width,
        "hidden_size": c.width,
        "intermediate_size": c.hidden_width,
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rotary_base},
        "rms_norm_eps": c.norm_eps,
        "attention_bias": c.bias,
        "mlp_bias": c.bias,
        "tie_word_embeddings": c.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _table(c: GPTConfig) -> list[Entry]:
    entries = [renamed("embedding.weight", "model.embed_tokens.weight"), renamed("norm.weight", "model.norm.weight")]
    if not c.tied:
        entries.append(renamed("unembedding.weight", "lm_head.weight"))
    q, kv = c.heads * c.head_width, (c.kv_heads or c.heads) * c.head_width
    for i in range(c.layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        entries.append(renamed(ours + "attention_norm.weight", theirs + "input_layernorm.weight"))
        entries.append(renamed(ours + "feedforward_norm.weight", theirs + "post_attention_layernorm.weight"))
        for end in (".weight", ".bias") if c.bias else (".weight",):
            rows = {"q": q, "k": kv, "v": kv}
            attention = {f"{theirs}self_attn.{part}_proj{end}": size for part, size in rows.items()}
            gates = {f"{theirs}mlp.{part}_proj{end}": c.hidden_width for part in ("gate", "up")}
            entries.append(stacked(f"{ours}attention.qkv{end}", attention))
            entries.append(renamed(f"{ours}attention.out{end}", f"{theirs}self_attn.o_proj{end}"))
            entries.append(stacked(f"{ours}feedforward.up{end}", gates))
            entries.append(renamed(f"{ours}feedforward.down{end}", f"{theirs}mlp.down_proj{end}"))
    return entries


def _tidy(tensors: Tensors) -> Tensors:
    """Older files hold the speeds of rotation, too."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}


LLAMA = Conversion(
    GPT,
    _config_from,
    _config_to,
    _table,
    base="model.",
    tidy=_tidy,
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
