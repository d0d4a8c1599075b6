"""BERT: a Transformer that reads a text from both sides and fills in the words that were hidden from it.

Devlin et al. 2019, section 3. The default is the paper's: post-norm, LayerNorm, learned positions, exact GELU, biases,
the head tied to the embedding, dropout 0.1. Other parts go in by name: with ``block="pre"`` and
``positions="rotary"`` it is an encoder of today.

Sizes: B sequences, T positions, D model width, V vocabulary.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one
from course_lib.layers.masks import padding_mask
from course_lib.models.parts import (
    NORMS,
    POSITIONS,
    ClassicConfig,
    Config,
    block_of,
    check_ids,
    initialise,
    soft_capped,
)

_SIZES = {"vocabulary", "context", "layers", "heads", "width", "hidden"}


@dataclass(frozen=True)
class BERTConfig(ClassicConfig):
    """``Config`` with the base model of the paper (section 3) as default, and four things of its own.

    ``segments``: how many texts a row may hold, side by side. ``embedding_norm``: a norm before the first block.
    ``masked_head`` is False for a body alone: it has no logits, as in an encoder of sentences. ``head_transform``: one
    more layer between the body and the logits.
    """

    context: int = 512
    layers: int = 12
    heads: int = 12
    width: int = 768
    positions: str = "learned"
    feedforward: str = "gelu"
    norm_eps: float = 1e-12
    segments: int = 2
    embedding_norm: bool = True
    masked_head: bool = True
    head_transform: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_one("segments", self.segments)


def recipe_config(vocabulary: int, context: int, layers: int, heads: int, width: int, **changes: Any) -> BERTConfig:
    """The parts of this course's recipe (see ``Config``), and nothing but blocks between embedding and logits.

    Such an encoder learns much faster than the paper's.
    """
    recipe: dict[str, Any] = {part.name: part.default for part in fields(Config) if part.name not in _SIZES}
    recipe |= {"embedding_norm": False, "head_transform": False}
    return BERTConfig(vocabulary, context, layers, heads, width, **(recipe | changes))


class BERT(nn.Module):
    """Token ids in, at each position a score (logit) for each token that could stand there.

    model = BERT(BERTConfig(vocabulary=1000, context=64, layers=4, heads=4, width=128))
    logits = model(ids, real)        # (B, T), (B, T) -> (B, T, V); logits[b, t] is about ids[b, t] itself

    ``pooler`` is for tasks (see ``heads.py``). Masked language modelling leaves it without a gradient, and a
    pretrained model that comes without it gets a new one.
    """

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.segment_embedding = nn.Embedding(c.segments, c.width)
        self.positions = POSITIONS[c.positions](c, False)
        self.embedding_norm = NORMS[c.norm](c) if c.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(block_of(c, self.positions) for _ in range(c.layers))
        self.norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()
        self.pooler = nn.Linear(c.width, c.width, bias=c.bias)
        if c.masked_head:
            self.transform = self._transform() if c.head_transform else nn.Identity()
            self.unembedding = nn.Linear(c.width, c.vocabulary, bias=c.bias)
        initialise(self, c.layers, zero_outputs=c.zero_init)
        if c.masked_head and c.tied:
            self.unembedding.weight = self.embedding.weight

    def _transform(self) -> nn.Module:
        c = self.config
        return nn.Sequential(nn.Linear(c.width, c.width, bias=c.bias), nn.GELU(), NORMS[c.norm](c))

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """``real`` is False at padding. ``segments`` says of each token which text it belongs to: 0 if not given."""
        return self.head(self.hidden(ids, real, segments))

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Each token's vector, after it has read all others."""
        check_ids("ids", ids, self.config.vocabulary)
        segments = torch.zeros_like(ids) if segments is None else segments
        check_ids("segments", segments, self.config.segments)
        mask = None if real is None else padding_mask(real)
        for name, given in (("segments", segments), ("real", real)):
            if given is not None and given.shape != ids.shape:
                raise ValueError(f"{name} has shape {tuple(given.shape)}: it must be {tuple(ids.shape)}, as ids")
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.embedding(ids.long()) + self.segment_embedding(segments.long())
        x = self.dropout(self.embedding_norm(self.positions.add(x, positions)))
        for block in self.blocks:
            x = block(x, mask=mask, positions=positions)
        return self.norm(x)

    def head(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits of the token at each position. ValueError where ``config.masked_head`` is False."""
        if not self.config.masked_head:
            raise ValueError("this BERT has no head (masked_head is False): use hidden or pooled, or one of heads.py")
        return soft_capped(self.unembedding(self.transform(hidden)), self.config.logit_cap)

    def pooled(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        """One vector for the whole row, made of the first token's, which is [CLS] in BERT."""
        return torch.tanh(self.pooler(hidden[:, 0]))
