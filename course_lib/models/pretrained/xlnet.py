"""XLNet (Yang et al. 2019), with its language-model head.

Its matrices are stored as (in, heads, head width). Its waves are first all sines, then all cosines; ours take turns.
"""

import torch
from torch import Tensor

from course_lib.models.permutation import XLNet, XLNetConfig
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
)


def _config_from(settings: Settings, tensors: Tensors) -> XLNetConfig:
    width, heads = required(settings, "d_model"), required(settings, "n_head")
    refuse_unless(
        settings,
        ff_activation=tuple(ACTIVATIONS),
        attn_type=("bi",),  # "uni" is a Transformer-XL
        bi_data=(False,),
        clamp_len=(-1,),
        same_length=(False,),
        untie_r=(True,),
        d_head=(None, width // heads),
    )
    return XLNetConfig(
        required(settings, "vocab_size"),
        context=settings.get("n_positions", 512),
        layers=required(settings, "n_layer"),
        heads=heads,
        width=width,
        hidden=required(settings, "d_inner"),
        feedforward=ACTIVATIONS[settings.get("ff_activation", "gelu")],
        norm_eps=settings.get("layer_norm_eps", 1e-12),
        dropout=settings.get("dropout", 0.1),
        tied=settings.get("tie_word_embeddings", True),
    )


def _config_to(c: XLNetConfig) -> Settings:
    return {
        "architectures": ["XLNetLMHeadModel"],
        "vocab_size": c.vocabulary,
        "n_layer": c.layers,
        "n_head": c.heads,
        "d_model": c.width,
        "d_head": c.head_width,
        "d_inner": c.hidden_width,
        "ff_activation": activation(c.feedforward),
        "attn_type": "bi",
        "layer_norm_eps": c.norm_eps,
        "dropout": c.dropout,
        "tie_word_embeddings": c.tied,
        "n_positions": c.context,
        "mem_len": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def _table(c: XLNetConfig) -> list[Entry]:
    entries = [
        renamed("embedding.weight", "transformer.word_embedding.weight"),
        Entry("query_start", ("transformer.mask_emb",), lambda t: t[0].flatten(), lambda t: [t[None, None]]),
        renamed("unembedding.bias", "lm_loss.bias"),
    ]
    if not c.tied:
        entries.append(renamed("unembedding.weight", "lm_loss.weight"))
    names = {
        "attention.positions.u": "rel_attn.r_w_bias",
        "attention.positions.v": "rel_attn.r_r_bias",
        "attention.segments.b": "rel_attn.r_s_bias",
        "attention.segments.s": "rel_attn.seg_embed",
    }
    parts = {
        "attention_norm": "rel_attn.layer_norm",
        "feedforward.up": "ff.layer_1",
        "feedforward.down": "ff.layer_2",
        "feedforward_norm": "ff.layer_norm",
    }
    names |= {f"{ours}.{end}": f"{theirs}.{end}" for ours, theirs in parts.items() for end in ("weight", "bias")}
    for i in range(c.layers):
        ours, theirs = f"blocks.{i}.", f"transformer.layer.{i}."
        entries += [renamed(ours + a, theirs + b) for a, b in names.items()]
        entries += [
            _by_heads(c, ours + "attention.query.weight", theirs + "rel_attn.q"),
            _by_heads(c, ours + "attention.key_value.weight", theirs + "rel_attn.k", theirs + "rel_attn.v"),
            _waves(c, ours + "attention.positions.project.weight", theirs + "rel_attn.r"),
            _out(c, ours + "attention.out.weight", theirs + "rel_attn.o"),
        ]
    return entries


def _by_heads(c: XLNetConfig, ours: str, *theirs: str) -> Entry:
    """(D, H, K) each ↔ (H K, D), one below the other."""

    def split(tensor: Tensor) -> list[Tensor]:
        return [rows.mT.unflatten(1, (c.heads, c.head_width)) for rows in tensor.chunk(len(theirs))]

    return Entry(ours, theirs, lambda tensors: torch.cat([tensor.flatten(1).mT for tensor in tensors]), split)


def _out(c: XLNetConfig, ours: str, theirs: str) -> Entry:
    """(D, H, K) ↔ (D, H K): here D is what comes out."""
    return Entry(ours, (theirs,), lambda t: t[0].flatten(1), lambda t: [t.unflatten(1, (c.heads, c.head_width))])


def _waves(c: XLNetConfig, ours: str, theirs: str) -> Entry:
    """As ``_by_heads``, with columns in another order: our waves 2i and 2i + 1 are theirs i and D/2 + i."""
    inner = _by_heads(c, ours, theirs)

    def join(tensors: list[Tensor]) -> Tensor:
        return inner.join(tensors).unflatten(1, (2, -1)).mT.flatten(1)

    def split(tensor: Tensor) -> list[Tensor]:
        return inner.split(tensor.unflatten(1, (-1, 2)).mT.flatten(1))

    return Entry(ours, (theirs,), join, split)


XLNET = Conversion(
    XLNet,
    _config_from,
    _config_to,
    _table,
    base="transformer.",
    copies={"lm_loss.weight": "transformer.word_embedding.weight"},
    fresh=("lm_loss.bias",),
)
