"""XLNet: a model that can be asked for any token, given any others, and never sees the one that it is asked for.

Yang et al. 2019. A language model reads from left to right; BERT reads from both sides, but sees masks that no text
has. XLNet is trained on *random orders*: predict x_3, then x_1 given x_3, then x_4 given x_3 and x_1 ... The tokens
stay where they are; only the mask of attention says who comes before whom (section 2.2, eq. 3).

Which vector predicts x_1? Not the usual one of position 1: it has read x_1. So there are two streams (section 2.3):

    content   h_t  starts as the embedding of x_t;   reads those before t in the order, *and itself*
    query     g_t  starts as one learned vector w;   reads those before t in the order, *not itself*

Both make queries with the same matrices, and both read keys and values of h (appendix A.2 has the layer in full). As
they share every weight, they are rows of one tensor here, T of h and then P of g, which go through the blocks together;
only the mask tells them apart. After training the g are thrown away: without ``queries``, this is an encoder.

That g knows *where* its token stands is due to relative positions alone, those of Transformer-XL. From there comes the
memory, too: what the layers have read in the piece of text before (section 2.4). Whether two tokens are of one segment,
as question and answer may be, is a relative term as well (section 2.5).

Sizes: B sequences, T positions, P positions that are asked for, M positions of the memory, S = M + T, D model width,
H heads, K head width, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import holds_integers, in_error_words
from course_lib.layers.attention import fused_attention, mask_by_heads
from course_lib.layers.masks import padding_mask
from course_lib.layers.positions import TransformerXL
from course_lib.models.parts import FEEDFORWARDS, NORMS, ClassicConfig, check_ids, initialise, soft_capped


@dataclass(frozen=True)
class XLNetConfig(ClassicConfig):
    """``Config`` with the parts of XLNet as default: post-norm, LayerNorm, GELU, biases, a tied head, dropout 0.1.

    So it trains as BERT does, and as post-norm wants it: a small learning rate and a warm-up. ``norm``, ``feedforward``
    and ``block`` take other names; with ``block="pre"`` it stands larger steps. Fixed are the positions of
    Transformer-XL, one set of them for each layer, and that the matrices of attention have no biases. Of the released
    code, one place of dropout is left out (on the waves of the distances), and so are its clamped distances.
    """

    positions: str = "transformer-xl"
    feedforward: str = "gelu"
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions != "transformer-xl":
            raise ValueError(f"positions is {self.positions!r}: XLNet's query stream needs 'transformer-xl'")
        if self.qk_norm:
            raise ValueError("qk_norm is True: XLNet's queries are not normed, it must be False")


class Streams(NamedTuple):
    """What the two streams end in. ``memory`` is for the piece of text that comes next: what each layer has read."""

    content: Float[Tensor, "B T D"]
    query: Float[Tensor, "B P D"]
    memory: list[Float[Tensor, "B S D"]]


class Places(NamedTuple):
    """Where the N = T + P rows of both streams stand, where the S keys stand, and which keys each row may read."""

    rows: Int[Tensor, "B N"]
    keys: Int[Tensor, "S"]
    mask: Bool[Tensor, "B N S"]
    other_segment: Bool[Tensor, "B N S"] | None


class SegmentBias(nn.Module):
    """Section 2.5: the score gets (q + b)·s / √K, with one vector s for keys of the same segment, one for others."""

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(heads, head_width))
        self.s = nn.Parameter(torch.randn(2, heads, head_width) * 0.02)

    def forward(self, q: Float[Tensor, "B H N K"], other_segment: Bool[Tensor, "B N S"]) -> Float[Tensor, "B H N S"]:
        both = (q + self.b[:, None, :]) @ self.s.movedim(0, -1)  # (B, H, N, 2)
        index = other_segment.long()[:, None].expand(-1, q.shape[1], -1, -1)
        return both.gather(-1, index) / math.sqrt(q.shape[-1])


class TwoStreamAttention(nn.Module):
    """Queries from both streams; keys and values from the memory and the content stream."""

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        c = config
        self.head_width, self.dropout = c.head_width, c.dropout
        self.query = nn.Linear(c.width, c.heads * c.head_width, bias=False)
        self.key_value = nn.Linear(c.width, 2 * c.heads * c.head_width, bias=False)
        self.positions = TransformerXL(c.width, c.heads, c.head_width)
        self.segments = SegmentBias(c.heads, c.head_width)
        self.out = nn.Linear(c.heads * c.head_width, c.width, bias=False)

    def forward(
        self, x: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"], places: Places
    ) -> Float[Tensor, "B N D"]:
        """The first T = S - M rows of ``x`` are the content stream."""
        content = x[:, : len(places.keys) - memory.shape[1]]
        q = self._by_heads(self.query(x))
        k, v = self._by_heads(self.key_value(torch.cat([memory, content], dim=1))).chunk(2, dim=1)
        bias = self.positions.bias(q, k, places.rows, places.keys)
        if places.other_segment is not None:
            bias = bias + self.segments(q, places.other_segment)
        dropout = self.dropout if self.training else 0.0
        read = fused_attention(q, k, v, places.mask[:, None], bias, dropout=dropout)
        return self.out(read.transpose(1, 2).flatten(2))

    def _by_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)


class TwoStreamBlock(nn.Module):
    """Attention and feed-forward beside a straight line, as in ``layers.block``, for both streams at once."""

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        self.pre_norm = config.block == "pre"
        self.attention, self.attention_norm = TwoStreamAttention(config), NORMS[config.norm](config)
        self.feedforward, self.feedforward_norm = FEEDFORWARDS[config.feedforward](config), NORMS[config.norm](config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"], places: Places
    ) -> Float[Tensor, "B N D"]:
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), self.attention_norm(memory), places))
            return x + self.dropout(self.feedforward(self.feedforward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, memory, places)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class XLNet(nn.Module):
    """Token ids in, logits out: for every position, or for those that are asked for.

    model = XLNet(XLNetConfig(vocabulary=65, layers=4, heads=4, width=128))
    logits = model(ids, mask=mask, queries=queries)     # (B, T), (B, T, T), (B, P) -> (B, P, V)
    """

    def __init__(self, config: XLNetConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.query_start = nn.Parameter(torch.randn(c.width) * 0.02)  # w of section 2.3
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(TwoStreamBlock(c) for _ in range(c.layers))
        self.norm = NORMS[c.norm](c) if c.block == "pre" else nn.Identity()
        self.unembedding = nn.Linear(c.width, c.vocabulary, bias=c.bias)
        initialise(self, c.layers, zero_outputs=c.zero_init)
        if c.tied:
            self.unembedding.weight = self.embedding.weight

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
        *,
        mask: Bool[Tensor, "*b T T"] | None = None,
        queries: Int[Tensor, "B P"] | None = None,
        memory: Sequence[Float[Tensor, "B M D"]] | None = None,
    ) -> Float[Tensor, "B N V"]:
        """Logits of the tokens at ``queries``; without them, what the content stream gives at each position."""
        streams = self.streams(ids, real, segments, mask=mask, queries=queries, memory=memory)
        return self.head(streams.content if queries is None else streams.query)

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Each token's vector after it has read all others: what a head for a task reads."""
        return self.streams(ids, real, segments).content

    def streams(
        self,
        ids: Int[Tensor, "B T"],
        real: Bool[Tensor, "B T"] | None = None,
        segments: Int[Tensor, "B T"] | None = None,
        *,
        mask: Bool[Tensor, "*b T T"] | None = None,
        queries: Int[Tensor, "B P"] | None = None,
        memory: Sequence[Float[Tensor, "B M D"]] | None = None,
    ) -> Streams:
        """Both streams after the last block.

        ``mask[b, t, s]`` is True where whoever *predicts* position t may read token s; the content stream reads these
        and itself. (A query that may read nothing reads 0. In the released code it reads the mean of all values, its
        own among them.) ``queries`` are the positions to predict. ``real`` is False at padding, which nobody reads but
        itself. ``segments`` may hold any numbers: what counts is whether two are equal. ``memory`` is that of
        ``streams`` for the piece before, all of it visible and of segment 0; cut it to its last m positions by
        ``[layer[:, -m:] for layer in memory]``. No gradient flows into it.
        """
        check_ids("ids", ids, self.config.vocabulary)
        at = _checked_queries(queries, mask, ids)
        memory = self._checked_memory(memory, ids)
        places = _places(ids, real, segments, mask, at, past=memory[0].shape[1])
        (rows, length), asked = ids.shape, at.shape[1]
        x = torch.cat([self.embedding(ids.long()), self.query_start.expand(rows, asked, -1)], dim=1)
        x = self.dropout(x)
        read = []
        for block, before in zip(self.blocks, memory, strict=True):
            read.append(torch.cat([before, x[:, :length]], dim=1).detach())
            x = block(x, before, places)
        content, query = self.dropout(self.norm(x)).split_with_sizes([length, asked], dim=1)
        return Streams(content, query, read)

    def head(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits of the tokens."""
        return soft_capped(self.unembedding(hidden), self.config.logit_cap)

    def _checked_memory(self, memory: Sequence[Tensor] | None, ids: Tensor) -> Sequence[Tensor]:
        """One for each layer; with no positions where there is none."""
        width = self.config.width
        if memory is None:
            return [self.embedding.weight.new_empty(len(ids), 0, width)] * len(self.blocks)
        if len(memory) != len(self.blocks):
            raise ValueError(f"memory has {len(memory)} entries: each of the {len(self.blocks)} layers needs its own")
        shapes = {tuple(before.shape) for before in memory}
        if shapes != {(len(ids), memory[0].shape[1], width)}:
            raise ValueError(
                f"memory has the shapes {sorted(shapes)}: all must be ({len(ids)}, M, {width}), with one M"
            )
        return memory


def _places(
    ids: Tensor, real: Tensor | None, segments: Tensor | None, mask: Tensor | None, at: Tensor, *, past: int
) -> Places:
    rows, length = ids.shape
    here = torch.arange(length, device=ids.device)
    rows_at = torch.cat([here.expand(rows, -1), at], dim=1)  # (B, N)
    if mask is None:
        mask = torch.ones(length, length, dtype=torch.bool, device=ids.device)
    mask = mask_by_heads(mask, (rows, 1, length, length), ids.device).expand(rows, 1, length, length)[:, 0]
    if real is not None:
        visible = padding_mask(real)  # which looks at the type first
        _check_like_ids("real", real, ids)
        mask = mask & visible
    itself = here[:, None] == here
    of_queries = mask.gather(1, at[:, :, None].expand(-1, -1, length))
    may_read = torch.cat([mask | itself, of_queries], dim=1)
    other_segment = None
    if segments is not None:
        if not holds_integers(segments):
            raise TypeError(f"segments must be a tensor of integers, not {in_error_words(segments)}")
        _check_like_ids("segments", segments, ids)
        of_rows, of_keys = segments.gather(1, rows_at), F.pad(segments, (past, 0))
        other_segment = of_rows[:, :, None] != of_keys[:, None, :]
    keys_at = torch.arange(past + length, device=ids.device)
    return Places(past + rows_at, keys_at, F.pad(may_read, (past, 0), value=True), other_segment)


def _checked_queries(queries: Tensor | None, mask: Tensor | None, ids: Tensor) -> Int[Tensor, "B P"]:
    """P is 0 where nothing is asked for."""
    rows, length = ids.shape
    if queries is None:
        return torch.empty(rows, 0, dtype=torch.long, device=ids.device)
    if mask is None:
        raise ValueError("queries are given, but no mask: they would read the tokens that they are to predict")
    if not holds_integers(queries) or queries.ndim != 2 or len(queries) != rows or queries.shape[1] == 0:
        raise TypeError(f"queries must be integers with shape ({rows}, P), not {in_error_words(queries)}")
    queries = queries.long()
    if queries.device.type == "cpu" and (queries.min() < 0 or queries.max() >= length):
        raise ValueError(f"queries run from {queries.min()} to {queries.max()}: they must be from 0 to {length - 1}")
    return queries


def _check_like_ids(name: str, value: Tensor, ids: Tensor) -> None:
    if value.shape != ids.shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}: it must be {tuple(ids.shape)}, as ids")
