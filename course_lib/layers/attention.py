"""Attention: every position reads from the positions that it may attend to.

Vaswani et al. 2017, section 3.2.1 (eq. 1) and 3.2.2 · grouped-query attention: Ainslie et al. 2023, section 2.2; with
one key/value head it is multi-query attention (Shazeer 2019) · fused kernel: Dao et al. 2022, section 3.1.

``attention`` says what is computed; ``fused_attention`` computes it without ever storing the T × S weights. A position
that may attend to nothing gets the weights 0 and so the output 0, in both: finite, and with a finite gradient.

What a mask hides must be finite, as padding is: a weight of 0 times NaN or infinity is NaN, so both functions may give
NaN then, forward and backward, but in that sequence alone.

Sizes: B sequences, T query positions, S key positions, D model width, H heads, G key/value heads, K head width.
"""

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from course_lib.arguments import check_at_least_one, in_error_words
from course_lib.layers.cache import KeyValueCache
from course_lib.layers.masks import causal_mask
from course_lib.layers.positions import NoPositions, PositionScheme, check_fits


def attention_weights(
    q: Float[Tensor, "*B T K"],
    k: Float[Tensor, "*B S K"],
    mask: Bool[Tensor, "*m #T #S"] | None = None,
    bias: Float[Tensor, "*b #T #S"] | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "*B T S"]:
    """Softmax of eq. 1, before V. ``mask[..., t, s]`` is True where t may attend to s; ``bias`` is added to the scores.

    ``scale`` is 1 / √K where it is not given (T5 wants 1), and comes before the bias. Each row adds up to 1, or to 0
    where the mask allows nothing. Half-precision scores are exponentiated and summed in float32, as in fused kernels.
    """
    _check_alike(q, k)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = (q * scale) @ k.mT  # scaled first: in float16 the product alone may overflow
    if bias is not None:
        _check_bias(bias, tuple(scores.shape), q.device)
        scores = scores + bias
    if mask is not None:
        _check_mask(mask, tuple(scores.shape), q.device)
        allowed = mask.any(dim=-1, keepdim=True)
        scores = scores.masked_fill(allowed & ~mask, -math.inf)  # a whole row of -inf would become 0 / 0
    weights = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        weights = weights.masked_fill(~allowed, 0)
    return weights.to(q.dtype)


def attention(
    q: Float[Tensor, "*B T K"],
    k: Float[Tensor, "*B S K"],
    v: Float[Tensor, "*B S K2"],
    mask: Bool[Tensor, "*m #T #S"] | None = None,
    bias: Float[Tensor, "*b #T #S"] | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "*B T K2"]:
    """Eq. 1: each output is a mean of the values, weighted by how well its query fits their keys."""
    _check_alike(q, k, v)
    return attention_weights(q, k, mask, bias, scale=scale) @ v


def fused_attention(
    q: Float[Tensor, "B H T K"],
    k: Float[Tensor, "B G S K"],
    v: Float[Tensor, "B G S K2"],
    mask: Bool[Tensor, "*m #T #S"] | None = None,
    bias: Float[Tensor, "*b #T #S"] | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Float[Tensor, "B H T K2"]:
    """``attention`` by PyTorch's fused kernel: the same numbers, with memory that grows like T and not like T × S.

    (Without ``mask`` and ``bias``, that is: either may be T × S numbers itself.)

    ``causal`` adds a causal mask. Alone it is the fastest case, for the kernel then skips the upper half and needs no
    mask at all. Where G is smaller than H, each key/value head serves H / G neighbouring query heads.
    """
    _check_alike(q, k, v, by_heads=True)
    (heads, length), (groups, key_length) = q.shape[1:3], k.shape[1:3]
    if mask is not None:
        _check_mask(mask, (*q.shape[:-1], key_length), q.device)
    if bias is not None:
        _check_bias(bias, (*q.shape[:-1], key_length), q.device)
    kernel_can = mask is None and bias is None and length == key_length
    if length == 1:
        causal = False  # the last position sees all others
    elif causal and not kernel_can:
        earlier = causal_mask(length, key_length, device=q.device)
        mask, causal = earlier if mask is None else mask & earlier, False
    dtype = q.dtype
    if length == 1 and dtype == torch.bfloat16 and q.device.type == "cpu":
        q, k, v = q.float(), k.float(), v.float()  # for one query the kernel is faster so (256 keys: 3 times, measured)
    if bias is not None:
        bias = bias.to(q.dtype)
        mask = bias if mask is None else bias.masked_fill(~mask, -math.inf)
    read = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, dropout_p=dropout, scale=scale, enable_gqa=groups != heads
    )
    return read.to(dtype)


class MultiHeadAttention(nn.Module):
    """Attention with H heads, each with its own small queries, keys and values (Vaswani et al. 2017, section 3.2.2).

    Without ``memory`` it is self-attention; with it, queries come from ``x`` and keys and values from ``memory``
    (cross-attention, section 3.2.3). ``kv_heads`` below ``heads`` is grouped-query attention, 1 is multi-query. One
    matrix makes queries, keys and values in a single product: its first H K rows are W_Q, then come W_K and W_V with
    G K rows each, as in ``nn.MultiheadAttention.in_proj_weight``. ``qk_norm``, as ``RMSNorm(K, scale=False)``, brings
    every query and key to one size before positions turn them, so that scores cannot grow without end (Henry et al.
    2020; Dehghani et al. 2023, section 2).

    Raises ValueError where ``width`` is not divisible by ``heads`` (and no ``head_width`` is given), or ``heads`` by
    ``kv_heads``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_width: int | None = None,
        positions: PositionScheme | None = None,
        qk_norm: nn.Module | None = None,
        bias: bool = False,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        sizes = {"width": width, "heads": heads, "kv_heads": kv_heads}
        if head_width is not None:
            sizes["head_width"] = head_width
        for name, value in sizes.items():
            check_at_least_one(name, value)
        if heads % kv_heads:
            raise ValueError(f"kv_heads is {kv_heads}: heads ({heads}) must be a multiple of it")
        if head_width is None:
            if width % heads:
                raise ValueError(f"heads is {heads}: width ({width}) must be a multiple of it, or head_width be given")
            head_width = width // heads
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: it must be at least 0 and below 1")
        if positions is not None and not isinstance(positions, PositionScheme):
            raise TypeError(f"positions must be a PositionScheme, as Rotary({head_width}), not {positions!r:.60}")
        self.width, self.heads, self.kv_heads, self.head_width = width, heads, kv_heads, head_width
        self.dropout, self.scale = dropout, scale
        self.positions = NoPositions() if positions is None else positions
        self.qk_norm = nn.Identity() if qk_norm is None else qk_norm
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * head_width, bias=bias)
        self.out = nn.Linear(heads * head_width, width, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        positions: Int[Tensor, "*b T"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """``mask`` is (T, S), (B, T, S) for all heads alike, or (B, H, T, S), with 1 for a size that does not matter.

        ``positions`` are (T) or (B, T); left out, they count on from the cache, or from 0. With a ``cache`` the keys
        and values of ``x`` are appended to it, and S is its new length; in cross-attention it keeps those of
        ``memory``.
        """
        mask = self._check_call(x, memory, mask, causal, cache)
        q, k, v, bias = self._read(x, memory, positions, cache)
        dropout = self.dropout if self.training else 0.0
        with torch.autocast("cpu", enabled=False) if _autocast_on_cpu(q) else nullcontext():  # see _split
            read = fused_attention(q, k, v, mask, bias, causal=causal, dropout=dropout, scale=self.scale)
        return self.out(read.transpose(1, 2).flatten(2))

    def weights(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        positions: Int[Tensor, "*b T"] | None = None,
    ) -> Float[Tensor, "B H T S"]:
        """What ``forward`` would read from where, for looking at. It stores all T × S weights, and so costs more."""
        mask = self._check_call(x, memory, mask, causal, None)
        q, k, _, bias = self._read(x, memory, positions, None)
        if causal:
            earlier = causal_mask(q.shape[2], k.shape[2], device=q.device)
            mask = earlier if mask is None else mask & earlier
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        return attention_weights(q, k, mask, bias, scale=self.scale)

    def _check_call(
        self, x: Tensor, memory: Tensor | None, mask: Tensor | None, causal: bool, cache: KeyValueCache | None
    ) -> Tensor | None:
        """Refuses what is wrong before a cache changes. Returns the mask, a (B, T, S) one as (B, 1, T, S)."""
        self._check_input("x", x)
        length = cache.length if cache is not None else 0
        if memory is None:
            length += x.shape[1]
        else:
            self._check_input("memory", memory)
            if causal:
                raise ValueError("memory is given, but causal is True: places in two texts have no order")
            if len(memory) != len(x):
                raise ValueError(f"memory has {len(memory)} rows and x has {len(x)}: each row reads its own memory")
            if length not in (0, memory.shape[1]):
                raise ValueError(
                    f"memory has {memory.shape[1]} positions, but the cache holds {length}: "
                    "a cache keeps one memory, and each layer has its own"
                )
            length = memory.shape[1]
            if self.positions.where in ("queries and keys", "scores"):
                raise ValueError(
                    f"memory is given, but positions are {type(self.positions).__name__}: "
                    "places in two texts have no distance"
                )
        return None if mask is None else mask_by_heads(mask, (len(x), self.heads, x.shape[1], length), x.device)

    def _read(
        self, x: Tensor, memory: Tensor | None, positions: Tensor | None, cache: KeyValueCache | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries (B, H, T, K), keys and values (B, G, S, K), and the bias of the scores."""
        if memory is not None:
            return *self._read_memory(x, memory, cache), None
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)
            if cache is not None:
                positions = cache.behind(positions)
        check_fits(x, positions)
        qk, v = self._split(self.qkv(x), [self.heads + self.kv_heads, self.kv_heads])
        turned = self.positions.turn(self._normed(qk), positions)  # queries and keys by the same angles
        q, k = turned.split_with_sizes([self.heads, self.kv_heads], dim=1)
        key_positions = positions
        if cache is not None:
            cache.append(k, v, positions)
            k, v, key_positions = cache.keys, cache.values, cache.positions
        return q, k, v, self.positions.bias(q, k, positions, key_positions)

    def _read_memory(self, x: Tensor, memory: Tensor, cache: KeyValueCache | None) -> tuple[Tensor, Tensor, Tensor]:
        at = self.heads * self.head_width
        weight, bias = self.qkv.weight, self.qkv.bias
        [q] = self._split(F.linear(x, weight[:at], None if bias is None else bias[:at]), [self.heads])
        q = self._normed(q)
        if cache is None or cache.length == 0:
            kv = F.linear(memory, weight[at:], None if bias is None else bias[at:])
            k, v = self._split(kv, [self.kv_heads, self.kv_heads])
            k = self._normed(k)
            if cache is None:
                return q, k, v
            cache.append(k, v, torch.arange(memory.shape[1], device=memory.device))
        return q, cache.keys, cache.values

    def _normed(self, qk: Tensor) -> Tensor:
        return self.qk_norm(qk).to(qk.dtype)  # on a GPU, autocast makes every norm float32; the values are not

    def _split(self, projected: Tensor, heads: list[int]) -> list[Tensor]:
        """(B, T, sum of heads × K) to one (B, heads, T, K) for each.

        Autocast on a CPU: back to float32 here, for what follows up to ``out`` is slower in bfloat16 (measured: norm
        and rotation 3 times, the kernel's backward 4 times at T = 64, and no gain below T = 1024).
        """
        if _autocast_on_cpu(projected):
            projected = projected.float()
        rows = projected.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        return list(rows.split_with_sizes(heads, dim=1))

    def _check_input(self, name: str, x: Tensor) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"{name} must be a tensor of floating-point numbers, not {in_error_words(x)}")
        if x.ndim != 3 or x.shape[-1] != self.width or 0 in x.shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}: it must be (B, T, {self.width}), and not be empty")
        weight = next(self.qkv.parameters())  # any: with LoRA, .weight would be computed for this
        if x.device != weight.device:
            raise ValueError(f"{name} is on {x.device}, but the weights are on {weight.device}: move one of them")
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"{name} is {x.dtype}, but the weights are {weight.dtype}: convert one of them")


def _autocast_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu")


def mask_by_heads(
    mask: Bool[Tensor, "*b #T #S"], scores: tuple[int, int, int, int], device: torch.device
) -> Bool[Tensor, "*h #T #S"]:
    """A mask that fits ``scores``, the sizes (B, H, T, S); one of (B, T, S), for all heads alike, as (B, 1, T, S).

    Raises TypeError for anything but bool, ValueError where it does not fit.
    """
    for_all_heads = isinstance(mask, Tensor) and mask.ndim == 3
    _check_mask(mask, (scores[0], *scores[2:]) if for_all_heads else scores, device)
    return mask[:, None] if for_all_heads else mask


def _check_alike(*tensors: Tensor, by_heads: bool = False) -> None:
    """q, k (and v) must fit each other in sizes, dtype and device. ``by_heads``: k and v may have fewer heads."""
    q, k, *rest = tensors
    for name, tensor in zip("qkv", tensors, strict=False):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise TypeError(f"{name} must be a tensor of floating-point numbers, not {in_error_words(tensor)}")
        if tensor.dtype != q.dtype:
            raise TypeError(f"q is {q.dtype} and {name} is {tensor.dtype}: convert one of them")
        if tensor.device != q.device:
            raise ValueError(f"q is on {q.device} and {name} is on {tensor.device}: move one of them")
        if tensor.ndim != q.ndim or tensor.ndim < 2 or (by_heads and tensor.ndim != 4):
            expected = "(B, heads, positions, head width)" if by_heads else "(..., positions, head width)"
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}: it must be {expected}, as q, k and v all are")
        leading = 1 if by_heads and name == "k" else -2
        against = k if name == "v" else q
        if tensor.shape[:leading] != against.shape[:leading]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, which does not fit {tuple(against.shape)}: "
                "only positions and head width may differ"
            )
    if by_heads and (k.shape[1] == 0 or q.shape[1] % k.shape[1]):
        raise ValueError(f"q has {q.shape[1]} heads and k has {k.shape[1]}: the first must be a multiple of the second")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q has head width {q.shape[-1]} and k has {k.shape[-1]}: a product needs the same")
    if rest and rest[0].shape[-2] != k.shape[-2]:
        raise ValueError(f"k has {k.shape[-2]} positions and v has {rest[0].shape[-2]}: each key needs its value")


def _check_mask(mask: Tensor, scores: tuple[int, ...], device: torch.device) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"mask must be a tensor of bool, True where attending is allowed, not {in_error_words(mask)}")
    _check_broadcasts("mask", mask, scores, device)


def _check_bias(bias: Tensor, scores: tuple[int, ...], device: torch.device) -> None:
    if not isinstance(bias, Tensor) or not bias.is_floating_point():
        raise TypeError(
            f"bias must be a tensor of floating-point numbers, added to the scores, not {in_error_words(bias)}"
        )
    _check_broadcasts("bias", bias, scores, device)


def _check_broadcasts(name: str, tensor: Tensor, scores: tuple[int, ...], device: torch.device) -> None:
    sizes = tuple(tensor.shape)
    fits = all(a in (1, b) for a, b in zip(sizes[::-1], scores[::-1], strict=False))
    if not (2 <= len(sizes) <= len(scores) and fits):
        raise ValueError(
            f"{name} has shape {sizes}: it must broadcast to the scores, {tuple(scores)}, with 2 dimensions at least"
        )
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, but what it is for is on {device}: move one of them")
