"""GPT-2 (Radford et al. 2019). Its matrices are stored as (in, out): ``Conv1D``."""

import re

from course_lib.models.decoder import GPT, GPTConfig, gpt2_config
from course_lib.models.pretrained.conversion import (
    ACTIVATIONS,
    Conversion,
    Entry,
    Settings,
    Tensors,
    activation,
    refuse_unless,
    renamed,
    required,
    transposed,
)


def _config_from(settings: Settings, tensors: Tensors) -> GPTConfig:
    refuse_unless(
        settings,
        activation_function=tuple(ACTIVATIONS),
        scale_attn_weights=(True,),
        scale_attn_by_inverse_layer_idx=(False,),
        add_cross_attention=(False,),
    )
    return gpt2_config(
        *(required(settings, name) for name in ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")),
        hidden=settings.get("n_inner"),
        feedforward=ACTIVATIONS[settings.get("activation_function", "gelu_new")],
        norm_eps=settings.get("layer_norm_epsilon", 1e-5),
        dropout=settings.get("resid_pdrop", 0.1),
        tied=settings.get("tie_word_embeddings", True),
    )


def _config_to(c: GPTConfig) -> Settings:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": c.vocabulary,
        "n_positions": c.context,
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_embd": c.width,
        "n_inner": c.hidden,
        "activation_function": activation(c.feedforward),
        "layer_norm_epsilon": c.norm_eps,
        "resid_pdrop": c.dropout,
        "embd_pdrop": c.dropout,
        "attn_pdrop": c.dropout,
        "tie_word_embeddings": c.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _table(c: GPTConfig) -> list[Entry]:
    entries = [
        renamed("embedding.weight", "transformer.wte.weight"),
        renamed("positions.table.weight", "transformer.wpe.weight"),
        renamed("norm.weight", "transformer.ln_f.weight"),
        renamed("norm.bias", "transformer.ln_f.bias"),
    ]
    if not c.tied:
        entries.append(renamed("unembedding.weight", "lm_head.weight"))
    matrices = {
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "feedforward.up": "mlp.c_fc",
        "feedforward.down": "mlp.c_proj",
    }
    norms = {"attention_norm": "ln_1", "feedforward_norm": "ln_2"}
    for i in range(c.layers):
        for kind, names in ((transposed, matrices), (renamed, norms)):
            for ours, theirs in names.items():
                entries.append(kind(f"blocks.{i}.{ours}.weight", f"transformer.h.{i}.{theirs}.weight"))
                entries.append(renamed(f"blocks.{i}.{ours}.bias", f"transformer.h.{i}.{theirs}.bias"))
    return entries


def _tidy(tensors: Tensors) -> Tensors:
    """Older files hold each layer's causal mask, too."""
    return {name: tensor for name, tensor in tensors.items() if not re.search(r"h\.\d+\.attn\.(masked_)?bias$", name)}


GPT2 = Conversion(
    GPT,
    _config_from,
    _config_to,
    _table,
    base="transformer.",
    tidy=_tidy,
    copies={"lm_head.weight": "transformer.wte.weight"},
)
