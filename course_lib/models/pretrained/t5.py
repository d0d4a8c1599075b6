"""T5 (Raffel et al. 2020), the first and 1.1: the relative positions of each half stand in its first layer."""

import torch

from course_lib.models.encoder_decoder import Transformer, TransformerConfig, t5_config
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


def _config_from(settings: Settings, tensors: Tensors) -> TransformerConfig:
    refuse_unless(
        settings,
        feed_forward_proj=("relu", "gated-gelu"),
        relative_attention_num_buckets=(32,),
        relative_attention_max_distance=(128,),
    )
    vocabulary, layers, heads, width = (
        required(settings, name) for name in ("vocab_size", "num_layers", "num_heads", "d_model")
    )
    if (decoder := settings.get("num_decoder_layers")) not in (None, layers):
        raise PretrainedError(
            f"config.json has {layers} num_layers and {decoder} num_decoder_layers: both are one here"
        )
    # Whether the head is the embedding, and whether its input is multiplied by 1 / √D, are two things. Files say the
    # second by "tie_word_embeddings", or, since transformers 5, by "scale_decoder_outputs"; the tensors say the first.
    shared, head = tensors.get("shared.weight"), tensors.get("lm_head.weight")
    scaled = settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings", True))
    return t5_config(
        *(vocabulary, layers, heads, width),
        head_width=required(settings, "d_kv"),
        hidden=required(settings, "d_ff"),
        gated=settings.get("feed_forward_proj", "relu") == "gated-gelu",
        context=settings.get("n_positions", 512),
        dropout=settings.get("dropout_rate", 0.1),
        norm_eps=settings.get("layer_norm_epsilon", 1e-6),
        tied=head is None or (shared is not None and torch.equal(head, shared)),
        head_scale=width**-0.5 if scaled else 1.0,
    )


def _config_to(c: TransformerConfig) -> Settings:
    scaled = c.head_scale != 1.0
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": c.vocabulary,
        "num_layers": c.layers,
        "num_decoder_layers": c.layers,
        "num_heads": c.heads,
        "d_model": c.width,
        "d_kv": c.head_width,
        "d_ff": c.hidden_width,
        "feed_forward_proj": "gated-gelu" if c.feedforward == "geglu-tanh" else "relu",
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "n_positions": c.context,
        "dropout_rate": c.dropout,
        "layer_norm_epsilon": c.norm_eps,
        "tie_word_embeddings": scaled,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def _table(c: TransformerConfig) -> list[Entry]:
    entries = [renamed("embedding.weight", "shared.weight")]
    if not c.tied:
        entries.append(renamed("unembedding.weight", "lm_head.weight"))
    rows = c.heads * c.head_width
    for half, side, parts in (("encoder", "source", ("attention",)), ("decoder", "target", ("attention", "cross"))):
        buckets = f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        entries.append(renamed(f"{side}_positions.table.weight", buckets))
        entries.append(renamed(f"{half}_norm.weight", f"{half}.final_layer_norm.weight"))
        for i in range(c.layers):
            ours, theirs = f"{half}.{i}.", f"{half}.block.{i}.layer."
            for place, part in enumerate(parts):
                name = f"{theirs}{place}.{'EncDec' if part == 'cross' else 'Self'}Attention."
                entries.append(renamed(f"{ours}{part}_norm.weight", f"{theirs}{place}.layer_norm.weight"))
                matrices = {f"{name}{matrix}.weight": rows for matrix in "qkv"}
                entries.append(stacked(f"{ours}{part}.qkv.weight", matrices))
                entries.append(renamed(f"{ours}{part}.out.weight", f"{name}o.weight"))
            last = f"{theirs}{len(parts)}."
            gated = c.feedforward == "geglu-tanh"
            ups = [f"{last}DenseReluDense.{matrix}.weight" for matrix in (("wi_0", "wi_1") if gated else ("wi",))]
            entries.append(renamed(f"{ours}feedforward_norm.weight", f"{last}layer_norm.weight"))
            entries.append(stacked(f"{ours}feedforward.up.weight", dict.fromkeys(ups, c.hidden_width)))
            entries.append(renamed(f"{ours}feedforward.down.weight", f"{last}DenseReluDense.wo.weight"))
    return entries


def _tidy(tensors: Tensors) -> Tensors:
    """The first files of T5 hold a table for cross-attention, which nothing reads."""
    unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return {name: tensor for name, tensor in tensors.items() if name != unused}


T5 = Conversion(
    Transformer,
    _config_from,
    _config_to,
    _table,
    tidy=_tidy,
    copies={f"{name}.weight": "shared.weight" for name in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")},
)
