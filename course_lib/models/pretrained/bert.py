"""BERT (Devlin et al. 2019), with the head of masked language modelling, with one of ``heads.py``, or alone.

What we have no part for is left out: the head that guesses whether two sentences follow each other.
"""

from dataclasses import replace

from course_lib.models.encoder import BERT, BERTConfig
from course_lib.models.heads import SequenceClassifier, SpanExtractor, TokenClassifier
from course_lib.models.pretrained.conversion import (
    Conversion,
    Entry,
    Head,
    Settings,
    Tensors,
    refuse_unless,
    renamed,
    required,
    stacked,
)

_EMBEDDING = "bert.embeddings.word_embeddings.weight"
_HEAD = "cls.predictions."


def _config_from(settings: Settings, tensors: Tensors) -> BERTConfig:
    refuse_unless(
        settings,
        hidden_act=("gelu",),
        position_embedding_type=("absolute",),
        is_decoder=(False,),
        add_cross_attention=(False,),
    )
    return BERTConfig(
        vocabulary=required(settings, "vocab_size"),
        context=required(settings, "max_position_embeddings"),
        layers=required(settings, "num_hidden_layers"),
        heads=required(settings, "num_attention_heads"),
        width=required(settings, "hidden_size"),
        hidden=required(settings, "intermediate_size"),
        segments=settings.get("type_vocab_size", 2),
        dropout=settings.get("hidden_dropout_prob", 0.1),
        norm_eps=settings.get("layer_norm_eps", 1e-12),
        tied=settings.get("tie_word_embeddings", True),
        masked_head=any(name.startswith(_HEAD) for name in tensors),
    )


def _config_to(c: BERTConfig) -> Settings:
    return {
        "architectures": ["BertForMaskedLM" if c.masked_head else "BertModel"],
        "vocab_size": c.vocabulary,
        "max_position_embeddings": c.context,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "hidden_size": c.width,
        "intermediate_size": c.hidden_width,
        "type_vocab_size": c.segments,
        "hidden_act": "gelu",
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": c.dropout,
        "layer_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tied,
    }


def _table(c: BERTConfig) -> list[Entry]:
    entries = [
        renamed("embedding.weight", _EMBEDDING),
        renamed("segment_embedding.weight", "bert.embeddings.token_type_embeddings.weight"),
        renamed("positions.table.weight", "bert.embeddings.position_embeddings.weight"),
    ]
    names = {"embedding_norm": "bert.embeddings.LayerNorm", "pooler": "bert.pooler.dense"}
    for i in range(c.layers):
        parts = {
            "attention.out": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "feedforward.up": "intermediate.dense",
            "feedforward.down": "output.dense",
            "feedforward_norm": "output.LayerNorm",
        }
        names |= {f"blocks.{i}.{ours}": f"bert.encoder.layer.{i}.{theirs}" for ours, theirs in parts.items()}
        for end in ("weight", "bias"):
            attention = [f"bert.encoder.layer.{i}.attention.self.{part}.{end}" for part in ("query", "key", "value")]
            entries.append(stacked(f"blocks.{i}.attention.qkv.{end}", dict.fromkeys(attention, c.width)))
    if c.masked_head:
        names |= {"transform.0": _HEAD + "transform.dense", "transform.2": _HEAD + "transform.LayerNorm"}
        if c.tied:
            entries.append(renamed("unembedding.bias", _HEAD + "bias"))
        else:  # transformers then has two biases, and reads the first
            biases = (_HEAD + "decoder.bias", _HEAD + "bias")
            entries.append(Entry("unembedding.bias", biases, lambda pair: pair[0], lambda bias: [bias, bias.clone()]))
            entries.append(renamed("unembedding.weight", _HEAD + "decoder.weight"))
    return entries + [
        renamed(f"{ours}.{end}", f"{theirs}.{end}") for ours, theirs in names.items() for end in ("weight", "bias")
    ]


def _tidy(tensors: Tensors) -> Tensors:
    """Without what is not learned here, and with the norms' names of today instead of TensorFlow's."""
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("cls.seq_relationship.") and not name.endswith("embeddings.position_ids")
    }
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in kept.items()
    }


BERT_ = Conversion(
    BERT,
    _config_from,
    _config_to,
    _table,
    base="bert.",
    tidy=_tidy,
    copies={_HEAD + "decoder.weight": _EMBEDDING, _HEAD + "decoder.bias": _HEAD + "bias"},
    fresh=("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
    heads={
        "BertForSequenceClassification": Head(SequenceClassifier, SequenceClassifier, "classifier"),
        "BertForTokenClassification": Head(TokenClassifier, TokenClassifier, "classifier"),
        "BertForQuestionAnswering": Head(SpanExtractor, lambda body, *_: SpanExtractor(body), "qa_outputs"),
    },
    bare=lambda config: replace(config, masked_head=False),
)
