"""Positions: what tells attention, which by itself sees a set, that its tokens stand in an order.

A scheme enters at one of three places, and ``PositionScheme`` has one method for each:

    add    a vector joins the input                    sinusoidal, learned
    turn   queries and keys are rotated                rotary
    bias   a number joins each attention score         ALiBi, T5's buckets, Transformer-XL

``positions`` are integers, (T) for all rows alike or (B, T) for each row its own, as ``pack_documents`` gives them.

Sizes: B sequences, T query positions, S key positions, D model width, H heads, G key/value heads, K head width.

Vaswani et al. 2017, section 3.5 · Su et al. 2021 (RoFormer), section 3.4.2 · Press et al. 2022 (ALiBi), section 3 ·
Raffel et al. 2020 (T5), section 2.1 · Dai et al. 2019 (Transformer-XL), section 3.3.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one, holds_integers, in_error_words

Where = Literal["nowhere", "input", "queries and keys", "scores"]


class PositionScheme(nn.Module):
    """The interface. Each scheme overrides one of the three methods; the other two leave everything as it is."""

    where: ClassVar[Where] = "nowhere"

    def add(self, x: Float[Tensor, "B T D"], positions: Int[Tensor, "*b T"]) -> Float[Tensor, "B T D"]:
        """The input of the first layer, with positions."""
        return x

    def turn(self, x: Float[Tensor, "B H T K"], positions: Int[Tensor, "*b T"]) -> Float[Tensor, "B H T K"]:
        """Queries, or keys, of one layer, with positions."""
        return x

    def bias(
        self,
        q: Float[Tensor, "B H T K"],
        k: Float[Tensor, "B G S K"],
        query_positions: Int[Tensor, "*b T"],
        key_positions: Int[Tensor, "*c S"],
    ) -> Float[Tensor, "*h T S"] | None:
        """What is added to the scores (already divided by √K), broadcastable to (B, H, T, S); None for nothing."""
        return None


class NoPositions(PositionScheme):
    """No scheme at all. With a causal mask a model can still learn something of the order (Haviv et al. 2022)."""


# --- added to the input ----------------------------------------------------------------------------------------------


def sinusoids(
    positions: Int[Tensor, "*b T"], width: int, *, base: float = 10_000.0, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*b T D"]:
    """Vaswani et al. 2017, section 3.5: sine at the even places 2i, cosine at 2i + 1, both of p / base^(2i / width).

    Positions may be negative (Transformer-XL needs distances). Raises ValueError for an odd ``width``.
    """
    angles = _angles(positions, width, base, dtype)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Sinusoidal(PositionScheme):
    """Fixed waves, one pair for each speed, added to the input. Nothing is learned, and no length is too long."""

    where: ClassVar[Where] = "input"

    def __init__(self, width: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        _check_even("width", width)
        self.width, self.base = width, base

    def add(self, x: Float[Tensor, "B T D"], positions: Int[Tensor, "*b T"]) -> Float[Tensor, "B T D"]:
        check_fits(x, positions)
        _check_width("width", x, self.width)
        return x + sinusoids(positions, self.width, base=self.base, dtype=_at_least_float32(x)).to(x.dtype)


class Learned(PositionScheme):
    """A vector for each of ``max_length`` positions, learned like an embedding (GPT-2, BERT). Beyond that: nothing."""

    where: ClassVar[Where] = "input"

    def __init__(self, max_length: int, width: int) -> None:
        super().__init__()
        check_at_least_one("max_length", max_length)
        check_at_least_one("width", width)
        self.table = nn.Embedding(max_length, width)
        nn.init.normal_(self.table.weight, std=0.02)  # as GPT-2: small beside the token's own vector

    def add(self, x: Float[Tensor, "B T D"], positions: Int[Tensor, "*b T"]) -> Float[Tensor, "B T D"]:
        """Raises ValueError for a position below 0 or beyond the last one that has a vector (on the CPU)."""
        check_fits(x, positions)
        _check_width("width", x, self.table.embedding_dim)
        max_length = self.table.num_embeddings
        if positions.device.type == "cpu" and not torch.compiler.is_compiling():  # a GPU would have to stop for this
            lowest, highest = positions.aminmax()
            if lowest < 0 or highest >= max_length:
                raise ValueError(
                    f"positions run from {lowest} to {highest}, but only 0 to {max_length - 1} were learned: "
                    f"shorten the text, or choose a scheme that has no last position"
                )
        return x + self.table(positions.long())  # int8 is a position too


# --- queries and keys are turned -------------------------------------------------------------------------------------

Pairing = Literal["half-split", "interleaved"]


def rotate(
    x: Float[Tensor, "*b T K"],
    positions: Int[Tensor, "*p T"],
    *,
    base: float = 10_000.0,
    pairing: Pairing = "half-split",
) -> Float[Tensor, "*b T K"]:
    """RoPE: turns each pair of numbers of ``x`` by position × base^(-2i / K) (Su et al. 2021, eq. 34).

    Which two numbers are a pair? ``"interleaved"``: 2i and 2i + 1, as in the paper, GPT-J and Meta's own Llama code.
    ``"half-split"``: i and i + K/2, as in GPT-NeoX and everything in Hugging Face's Llama format. Weights trained with
    one work with the other only after ``to_half_split``. Angles are computed in float32 even for half-precision ``x``:
    in bfloat16, position 257 would be position 256.
    """
    if pairing not in ("half-split", "interleaved"):
        raise ValueError(f"pairing is {pairing!r}: it must be 'half-split' or 'interleaved'")
    _check_fits(x, positions)
    angles = _angles(positions, x.shape[-1], base, _at_least_float32(x))
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    if pairing == "half-split":
        a, b = x.chunk(2, dim=-1)
        # (a cos - b sin, b cos + a sin), with products over the whole width: half as many operations, and faster so
        return x * torch.cat([cos, cos], dim=-1) + torch.cat([b, a], dim=-1) * torch.cat([-sin, sin], dim=-1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def to_half_split(weight: Float[Tensor, "*n D"], heads: int) -> Float[Tensor, "*n D"]:
    """Rows (or a bias) of a query or key projection, re-ordered from interleaved to half-split pairs in each head.

    Its first dimension is heads × K. Scores stay what they were, for queries and keys are permuted alike.
    ``to_interleaved`` is the inverse.
    """
    return _reorder(weight, heads, lambda rows: rows.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2))


def to_interleaved(weight: Float[Tensor, "*n D"], heads: int) -> Float[Tensor, "*n D"]:
    """The inverse of ``to_half_split``."""
    return _reorder(weight, heads, lambda rows: rows.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))


class Rotary(PositionScheme):
    """Rotary positions (RoPE). Scores depend on the *distance* of two positions alone."""

    where: ClassVar[Where] = "queries and keys"

    def __init__(self, head_width: int, *, base: float = 10_000.0, pairing: Pairing = "half-split") -> None:
        super().__init__()
        _check_even("head_width", head_width)
        if pairing not in ("half-split", "interleaved"):
            raise ValueError(f"pairing is {pairing!r}: it must be 'half-split' or 'interleaved'")
        self.head_width, self.base, self.pairing = head_width, base, pairing

    def turn(self, x: Float[Tensor, "B H T K"], positions: Int[Tensor, "*b T"]) -> Float[Tensor, "B H T K"]:
        _check_width("head width", x, self.head_width)
        if positions.ndim == 2:
            positions = positions[:, None, :]  # the same for all heads
        return rotate(x, positions, base=self.base, pairing=self.pairing)


# --- scores get a bias -----------------------------------------------------------------------------------------------


def alibi_slopes(heads: int) -> Float[Tensor, "H"]:
    """Press et al. 2022, section 3: 2^(-8/H), 2^(-16/H), ... for H a power of two.

    For other H their published code, which BLOOM follows, takes the slopes of the next lower power of two and fills up
    with every second slope of twice that power. So do we.
    """
    check_at_least_one("heads", heads)
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)]
    return torch.tensor(slopes)


class ALiBi(PositionScheme):
    """Attention with linear biases: each head subtracts its slope times the distance. Nothing is learned."""

    where: ClassVar[Where] = "scores"

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.slopes = alibi_slopes(heads)  # no buffer: .half() would round it

    def bias(
        self,
        q: Float[Tensor, "B H T K"],
        k: Float[Tensor, "B G S K"],
        query_positions: Int[Tensor, "*b T"],
        key_positions: Int[Tensor, "*c S"],
    ) -> Float[Tensor, "*h T S"]:
        """The paper is causal; to both sides, distance is |t - s|. In half precision large biases are rounded."""
        _check_heads(q, len(self.slopes))
        distance = _distances(query_positions, key_positions).abs()
        self.slopes = self.slopes.to(q.device)  # moved once, not at each call
        return (-self.slopes[:, None, None] * distance[..., None, :, :]).to(q.dtype)


def t5_buckets(
    distance: Int[Tensor, "*t S"], *, bidirectional: bool, buckets: int = 32, max_distance: int = 128
) -> Int[Tensor, "*t S"]:
    """Raffel et al. 2020, section 2.1: the bucket of ``distance`` = query position - key position.

    Half of the buckets hold one distance each; the other half grow logarithmically up to ``max_distance``, and the
    last one takes everything beyond. ``bidirectional`` (the encoder): the upper half is for keys *after* the query.
    Otherwise (the decoder) those, which a causal mask hides anyway, fall into bucket 0.
    """
    _check_positions("distance", distance)
    _check_buckets(bidirectional, buckets, max_distance)
    distance = distance.long()
    if bidirectional:
        buckets //= 2
        start, distance = torch.where(distance < 0, buckets, 0), distance.abs()
    else:
        start, distance = torch.zeros_like(distance), distance.clamp(min=0)
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = exact + (growth * (buckets - exact)).long()
    return start + torch.where(distance < exact, distance, far.clamp(max=buckets - 1))


class T5Bias(PositionScheme):
    """One learned number for each head and bucket of distances, added to the score. T5 shares one among its layers."""

    where: ClassVar[Where] = "scores"

    def __init__(self, heads: int, *, bidirectional: bool, buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        check_at_least_one("heads", heads)
        _check_buckets(bidirectional, buckets, max_distance)
        self.bidirectional, self.buckets, self.max_distance = bidirectional, buckets, max_distance
        self.table = nn.Embedding(buckets, heads)

    def bias(
        self,
        q: Float[Tensor, "B H T K"],
        k: Float[Tensor, "B G S K"],
        query_positions: Int[Tensor, "*b T"],
        key_positions: Int[Tensor, "*c S"],
    ) -> Float[Tensor, "*h T S"]:
        _check_heads(q, self.table.embedding_dim)
        bucket = t5_buckets(
            _distances(query_positions, key_positions),
            bidirectional=self.bidirectional,
            buckets=self.buckets,
            max_distance=self.max_distance,
        )
        return self.table(bucket).movedim(-1, -3).to(q.dtype)


class TransformerXL(PositionScheme):
    """Relative positions of Transformer-XL, which XLNet uses too: content and distance each get their own score.

    Dai et al. 2019, section 3.3. The score of query q at distance d from key k is (q·k + u·k + (q + v)·W r_d) / √K:
    the first term is attention's own, the rest is the bias. r_d are sinusoids of the distance; u, v (a vector per head)
    and W are learned. Unlike the other biases it depends on q and k, so it costs a product of its own.
    """

    where: ClassVar[Where] = "scores"

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        _check_even("width", width)
        check_at_least_one("heads", heads)
        check_at_least_one("head_width", head_width)
        self.width = width
        self.u = nn.Parameter(torch.zeros(heads, head_width))
        self.v = nn.Parameter(torch.zeros(heads, head_width))
        self.project = nn.Linear(width, heads * head_width, bias=False)

    def bias(
        self,
        q: Float[Tensor, "B H T K"],
        k: Float[Tensor, "B G S K"],
        query_positions: Int[Tensor, "*b T"],
        key_positions: Int[Tensor, "*c S"],
    ) -> Float[Tensor, "B H T S"]:
        heads, head_width = self.u.shape
        _check_heads(q, heads)
        _check_width("head width", q, head_width)
        distance = _distances(query_positions, key_positions)
        first, last = int(distance.min()), int(distance.max())
        every = torch.arange(first, last + 1, device=q.device)  # N distances, each projected once
        waves = sinusoids(every, self.width, dtype=_at_least_float32(q)).to(q.dtype)
        r = self.project(waves).unflatten(-1, (heads, head_width)).movedim(0, 1)  # (H, N, K)
        by_distance = (q + self.v[:, None, :]) @ r.mT  # (B, H, T, N)
        index = (distance - first).unsqueeze(-3).expand(*by_distance.shape[:-1], distance.shape[-1])
        k = k.repeat_interleave(heads // k.shape[-3], dim=-3)
        by_content = self.u[:, None, :] @ k.mT  # (B, H, 1, S)
        return (by_content + by_distance.gather(-1, index)) / math.sqrt(head_width)


# --- shared ----------------------------------------------------------------------------------------------------------


def _angles(positions: Int[Tensor, "*b T"], width: int, base: float, dtype: torch.dtype) -> Float[Tensor, "*b T half"]:
    """positions × base^(-2i / width), i = 0, 1, ... A stored table would be rounded by ``.half()``; this is not."""
    _check_even("width", width)
    _check_positions("positions", positions)
    if not base > 0:
        raise ValueError(f"base is {base}: it must be above 0, as 10_000")
    speeds = base ** (-torch.arange(0, width, 2, device=positions.device, dtype=dtype) / width)
    return positions.unsqueeze(-1).to(dtype) * speeds


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _distances(query_positions: Tensor, key_positions: Tensor) -> Int[Tensor, "*b T S"]:
    _check_positions("query_positions", query_positions)
    _check_positions("key_positions", key_positions)
    return query_positions.long().unsqueeze(-1) - key_positions.long().unsqueeze(-2)


def _reorder(weight: Tensor, heads: int, order: Callable[[Tensor], Tensor]) -> Tensor:
    check_at_least_one("heads", heads)
    rows = weight.shape[0]
    if rows % (2 * heads):
        raise ValueError(f"weight has {rows} rows: they must be heads ({heads}) times an even head width")
    return order(weight.unflatten(0, (heads, -1))).flatten(0, 1)


def _check_positions(name: str, positions: object) -> None:
    if not holds_integers(positions):
        raise TypeError(f"{name} must be a tensor of integers, as torch.arange(T), not {in_error_words(positions)}")


def check_fits(x: Tensor, positions: object) -> None:
    """(T) or (B, T) positions for ``x`` of (B, T, ...); ``rotate`` takes whatever broadcasts to all but the width."""
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}: positions need floating-point numbers")
    _check_positions("positions", positions)
    assert isinstance(positions, Tensor)
    if positions.device != x.device:
        raise ValueError(f"positions are on {positions.device} and x is on {x.device}: move them to one device")
    sizes, wanted = tuple(positions.shape), tuple(x.shape[:-1])
    broadcasts = all(a in (1, b) for a, b in zip(sizes[::-1], wanted[::-1], strict=False))
    if not (0 < len(sizes) <= len(wanted) and broadcasts and sizes[-1] == wanted[-1] > 0):
        raise ValueError(f"positions has shape {sizes}, but x has {tuple(x.shape)}: it must be (T) or (B, T)")


_check_fits = check_fits  # as chapter 02 shows it


def _check_heads(q: Tensor, heads: int) -> None:
    if q.shape[-3] != heads:
        raise ValueError(f"q has {q.shape[-3]} heads, but these positions were made for {heads}")


def _check_width(name: str, x: Tensor, width: int) -> None:
    if x.shape[-1] != width:
        raise ValueError(f"x has {name} {x.shape[-1]}, but these positions were made for {width}")


def _check_buckets(bidirectional: bool, buckets: int, max_distance: int) -> None:
    check_at_least_one("buckets", buckets)
    exact = buckets // 2 // (2 if bidirectional else 1)
    if buckets % 2 or exact < 1:
        raise ValueError(f"buckets is {buckets}: it must be even, and at least {4 if bidirectional else 2}")
    if max_distance <= exact:
        raise ValueError(f"max_distance is {max_distance}: it must be above {exact}, the distances with a bucket each")


def _check_even(name: str, value: object) -> None:
    check_at_least_one(name, value)
    assert isinstance(value, int)
    if value % 2:
        raise ValueError(f"{name} is {value}: it must be even, for the numbers are used in pairs")
