"""The Transformer of 2017: an encoder reads the source, a decoder writes the target and reads the encoder's memory.

Vaswani et al. 2017, section 3 and figure 1. Source and target share one vocabulary, and one matrix is the embedding of
both (times √D) and the head (section 3.4). The default is the paper's: post-norm, sinusoids, ReLU, dropout 0.1. Other
parts go in by name. Where the blocks are pre-norm, encoder and decoder each end in one more norm.

T5 (Raffel et al. 2020, section 2.1) is the same model with other parts and three other numbers: ``t5_config``.

Sizes: B sequences, S source positions, T target positions, D model width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import in_error_words
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.masks import padding_mask
from course_lib.layers.positions import PositionScheme
from course_lib.models.parts import NORMS, POSITIONS, ClassicConfig, block_of, check_ids, initialise, soft_capped


@dataclass(frozen=True)
class TransformerConfig(ClassicConfig):
    """``Config`` with the base model of the paper (table 3) as default. ``layers`` counts those of each half.

    What attention's scores, embeddings and the head's input are multiplied by: ``score_scale`` (1 / √K where it is not
    given), ``embedding_scale`` (√D where it is not given) and ``head_scale``.
    """

    heads: int = 8
    width: int = 512
    positions: str = "sinusoidal"
    feedforward: str = "relu"
    norm_eps: float = 1e-5
    score_scale: float | None = None
    embedding_scale: float | None = None
    head_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("score_scale", "embedding_scale", "head_scale"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{name} is {value}: it must be above 0, as 1.0")


def t5_config(
    vocabulary: int,
    layers: int,
    heads: int,
    width: int,
    *,
    head_width: int | None = None,
    hidden: int | None = None,
    gated: bool = False,
    **changes: Any,
) -> TransformerConfig:
    """The parts of T5: pre-norm, RMSNorm, buckets of distances, no biases, and nothing divided or multiplied by a root.

    ``gated`` is T5 1.1, as in Flan-T5: GEGLU, and a head of its own. Where the head is the embedding instead, its input
    is multiplied by 1 / √D, or the logits would be √D times too large.
    """
    parts: dict[str, Any] = {
        "hidden": hidden,
        "key_width": None if head_width is None or head_width * heads == width else head_width,
        "positions": "t5",
        "norm": "rms",
        "norm_eps": 1e-6,
        "feedforward": "geglu-tanh" if gated else "relu",
        "block": "pre",
        "bias": False,
        "tied": not gated,
        "score_scale": 1.0,
        "embedding_scale": 1.0,
        "head_scale": 1.0 if gated else width**-0.5,
    }
    return TransformerConfig(vocabulary, layers=layers, heads=heads, width=width, **(parts | changes))


class DecoderCache(NamedTuple):
    """What one layer of the decoder keeps: of the target so far, and of the memory."""

    target: KeyValueCache
    memory: KeyValueCache


class Transformer(nn.Module):
    """Source ids and the target so far in, logits for each next target token out.

    model = Transformer(TransformerConfig(vocabulary=1000, layers=2, heads=4, width=128))
    logits = model(source, target, source_real)     # (B, S), (B, T), (B, S) -> (B, T, V)
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.embedding_scale = c.width**0.5 if c.embedding_scale is None else c.embedding_scale
        self.source_positions = POSITIONS[c.positions](c, False)
        self.target_positions = POSITIONS[c.positions](c, True)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = nn.ModuleList(block_of(c, self.source_positions, scale=c.score_scale) for _ in range(c.layers))
        self.decoder = nn.ModuleList(
            block_of(c, self.target_positions, cross=True, scale=c.score_scale) for _ in range(c.layers)
        )
        self.encoder_norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()
        self.decoder_norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()
        self.unembedding = nn.Linear(c.width, c.vocabulary, bias=False)
        initialise(self, c.layers, zero_outputs=c.zero_init)
        nn.init.normal_(self.embedding.weight, std=1 / self.embedding_scale)  # scaled, it has the size of the positions
        if c.tied:
            self.unembedding.weight = self.embedding.weight

    def forward(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        source_real: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """``source_real`` is False at padding. ``target`` begins with a token of its own and is padded at its end."""
        return self.decode(target, self.encode(source, source_real), source_real)

    def encode(
        self, source: Int[Tensor, "B S"], source_real: Bool[Tensor, "B S"] | None = None
    ) -> Float[Tensor, "B S D"]:
        """The memory: each source token's vector, after it has read all others."""
        check_ids("source", source, self.config.vocabulary)
        positions = torch.arange(source.shape[1], device=source.device)
        mask = _source_mask(source_real, source)
        x = self._embed(source, self.source_positions, positions)
        for block in self.encoder:
            x = block(x, mask=mask, positions=positions)
        return self.encoder_norm(x)

    def decode(
        self,
        target: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"],
        source_real: Bool[Tensor, "B S"] | None = None,
        caches: list[DecoderCache] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits for the token after each of ``target``. With ``caches``, ``target`` goes on where they end."""
        check_ids("target", target, self.config.vocabulary)
        if caches is not None and len(caches) != len(self.decoder):
            raise ValueError(f"caches has {len(caches)} entries: each of the {len(self.decoder)} layers needs its own")
        seen = caches[0].target.length if caches else 0
        positions = torch.arange(seen, seen + target.shape[1], device=target.device)
        memory_mask = _source_mask(source_real, memory)
        x = self._embed(target, self.target_positions, positions)
        for i, block in enumerate(self.decoder):
            own, of_memory = caches[i] if caches else (None, None)
            x = block(
                x,
                memory,
                memory_mask=memory_mask,
                causal=True,
                positions=positions,
                cache=own,
                memory_cache=of_memory,
            )
        return soft_capped(self.unembedding(self.decoder_norm(x) * self.config.head_scale), self.config.logit_cap)

    def new_caches(self) -> list[DecoderCache]:
        """Empty caches for each layer of the decoder."""
        return [DecoderCache(KeyValueCache(), KeyValueCache()) for _ in self.decoder]

    def _embed(self, ids: Tensor, scheme: PositionScheme, positions: Tensor) -> Tensor:
        x = self.embedding(ids.long()) * self.embedding_scale
        return self.dropout(scheme.add(x, positions))


def _source_mask(source_real: Tensor | None, source: Tensor) -> Tensor | None:
    """Hides padding from whoever reads the source, which are its ids or its memory: (B, S, ...)."""
    if source_real is None:
        return None
    if not isinstance(source_real, Tensor) or source_real.dtype != torch.bool:
        raise TypeError(f"source_real must be a tensor of bool, True at real tokens, not {in_error_words(source_real)}")
    if source_real.shape != source.shape[:2]:
        raise ValueError(
            f"source_real has shape {tuple(source_real.shape)}: it must be {tuple(source.shape[:2])}, as the source"
        )
    return padding_mask(source_real)
