"""GPT: a Transformer that predicts the next token, a decoder alone.

Radford et al. 2019 (GPT-2), section 2.3 · Touvron et al. 2023 (Llama), section 2.2. One configuration, with a name for
each part, covers both: ``gpt2_config`` and ``llama_config`` choose theirs. The default is the recipe of this course:
RMSNorm, rotary positions, normed queries and keys, squared ReLU, an untied head with soft-capped logits, and output
projections that start at zero (chapter 05 measures what each of them buys).

Sizes: B sequences, T new positions, S positions with those in the cache, D model width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one
from course_lib.layers.attention import mask_by_heads
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.masks import causal_mask, sliding_window_mask
from course_lib.models.parts import NORMS, POSITIONS, Config, block_of, check_ids, initialise, soft_capped


@dataclass(frozen=True)
class GPTConfig(Config):
    """``Config``, and two things of a decoder: fewer ``kv_heads`` than heads, a ``window`` that each position sees."""

    kv_heads: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kv_heads", "window"):
            if getattr(self, name) is not None:
                check_at_least_one(name, getattr(self, name))
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(f"kv_heads is {self.kv_heads}: heads ({self.heads}) must be a multiple of it")


def gpt2_config(vocabulary: int, context: int, layers: int, heads: int, width: int, **changes: Any) -> GPTConfig:
    """The parts of GPT-2: learned positions, LayerNorm, GELU, biases, the head tied to the embedding."""
    parts: dict[str, Any] = {
        "positions": "learned",
        "norm": "layer",
        "norm_eps": 1e-5,
        "feedforward": "gelu-tanh",
        "qk_norm": False,
        "bias": True,
        "tied": True,
        "zero_init": False,
        "logit_cap": None,
    }
    return GPTConfig(vocabulary, context, layers, heads, width, **(parts | changes))


def llama_config(vocabulary: int, context: int, layers: int, heads: int, width: int, **changes: Any) -> GPTConfig:
    """The parts of Llama: rotary positions, RMSNorm, SwiGLU (give it ``hidden``), no biases, an untied head."""
    parts: dict[str, Any] = {
        "norm": "rms",
        "feedforward": "swiglu",
        "qk_norm": False,
        "zero_init": False,
        "logit_cap": None,
    }
    return GPTConfig(vocabulary, context, layers, heads, width, **(parts | changes))


class GPT(nn.Module):
    """Token ids in, a score (logit) for each possible next token out.

    model = GPT(GPTConfig(vocabulary=65, context=64, layers=4, heads=4, width=128))
    logits = model(ids)              # (B, T) -> (B, T, V); logits[b, t] is about ids[b, t + 1]
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.positions = POSITIONS[c.positions](c, True)  # one scheme, shared by all layers
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(block_of(c, self.positions, kv_heads=c.kv_heads) for _ in range(c.layers))
        self.norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()
        self.unembedding = nn.Linear(c.width, c.vocabulary, bias=False)
        initialise(self, c.layers, zero_outputs=c.zero_init)
        if c.tied:
            self.unembedding.weight = self.embedding.weight

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        *,
        mask: Bool[Tensor, "*b #T #S"] | None = None,
        positions: Int[Tensor, "*b T"] | None = None,
        caches: list[KeyValueCache] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """``mask`` joins the causal one: ``document_mask(...)`` for packed rows, ``padding_mask(...)`` for padded ones.

        ``positions`` are 0, 1, ... where they are not given, or go on from the ``caches`` (see ``new_caches``).
        """
        return self.head(self.hidden(ids, mask=mask, positions=positions, caches=caches))

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        *,
        mask: Bool[Tensor, "*b #T #S"] | None = None,
        positions: Int[Tensor, "*b T"] | None = None,
        caches: list[KeyValueCache] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """What ``head`` turns into logits: each position's vector after the last block."""
        check_ids("ids", ids, self.config.vocabulary)
        if caches is not None and len(caches) != len(self.blocks):
            raise ValueError(f"caches has {len(caches)} entries: each of the {len(self.blocks)} layers needs its own")
        length, seen = ids.shape[1], caches[0].length if caches else 0
        if positions is None:
            positions = torch.arange(length, device=ids.device)
            if caches:
                positions = caches[0].behind(positions)
        if mask is not None:
            mask = mask_by_heads(mask, (len(ids), self.config.heads, length, seen + length), ids.device)
        if self.config.window is not None:
            window = sliding_window_mask(length, self.config.window, seen + length, device=ids.device)
            mask = window if mask is None else mask & window
        elif mask is not None:
            mask = mask & causal_mask(length, seen + length, device=ids.device)
        x = self.dropout(self.positions.add(self.embedding(ids.long()), positions))
        for i, block in enumerate(self.blocks):
            cache = caches[i] if caches else None
            x = block(x, mask=mask, causal=mask is None, positions=positions, cache=cache)
        return self.norm(x)

    def head(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits of the next token."""
        return soft_capped(self.unembedding(hidden), self.config.logit_cap)

    def new_caches(self) -> list[KeyValueCache]:
        """An empty cache for each layer."""
        return [KeyValueCache() for _ in self.blocks]
