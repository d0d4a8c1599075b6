"""Chapter 03, attention: probes and typical mistakes. Their texts stand in ``texts/<language>/chapter_03.toml``.

Sizes: B sequences, T query positions, S key positions, H heads, G key/value heads, K head width. In the cases no two
sizes are equal, except where equal ones are the point.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.workshop.exercises.steps import Catches, Exercise, Gives

_Case = tuple[Any, ...]


def _numbers(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *size: torch.randn(*size, generator=generator)


# --- soft_lookup ------------------------------------------------------------------------------------------------------


def _lookup(query: Tensor, keys: Tensor, values: Tensor, sharpness: float) -> Tensor:
    return (sharpness * (keys @ query)).softmax(dim=0) @ values


def _mixed_lookups() -> Iterator[_Case]:
    randn = _numbers(30)
    for sharpness in (1.0, 0.3, 2.5):
        yield randn(4), randn(6, 4), randn(6, 3), sharpness
    yield randn(4), randn(1, 4), randn(1, 3), 1.5


def _sharp_lookups() -> Iterator[_Case]:
    randn = _numbers(31)
    yield randn(4), randn(6, 4), randn(6, 3), 400.0
    yield randn(5), randn(3, 5), randn(3, 2), -400.0


def _shares(query: Tensor, keys: Tensor, sharpness: float) -> Tensor:
    """Exponentials without the largest score taken off first."""
    return (sharpness * (keys @ query)).exp()


_LOOKUP_MISTAKES = {
    "best_match_only": lambda q, k, v, sharpness: v[(k @ q).argmax()],
    "plain_mean": lambda q, k, v, sharpness: v.mean(dim=0),
    "softmax_missing": lambda q, k, v, sharpness: sharpness * (k @ q) @ v,
    "divided_by_sum_of_scores": lambda q, k, v, sharpness: (k @ q) / (k @ q).sum() @ v,
    "not_normalised": lambda q, k, v, sharpness: _shares(q, k, sharpness) @ v,
    "keys_averaged": lambda q, k, v, sharpness: _lookup(q, k, k, sharpness),
    "weights_only": lambda q, k, v, sharpness: (sharpness * (k @ q)).softmax(dim=0),
    "not_summed": lambda q, k, v, sharpness: (sharpness * (k @ q)).softmax(dim=0)[:, None] * v,
    "sharpness_ignored": lambda q, k, v, sharpness: _lookup(q, k, v, 1.0),
    "sharpness_divides": lambda q, k, v, sharpness: _lookup(q, k, v, 1 / sharpness),
    "sharpness_too_late": lambda q, k, v, sharpness: sharpness * _lookup(q, k, v, 1.0),
    "divided_by_root_K": lambda q, k, v, sharpness: _lookup(q, k, v, sharpness / math.sqrt(len(q))),
}


# --- scaled_scores ----------------------------------------------------------------------------------------------------


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / math.sqrt(q.shape[-1])


def _queries_and_keys() -> Iterator[_Case]:
    randn = _numbers(32)
    yield randn(2, 3, 5, 4), randn(2, 3, 7, 4)
    yield randn(3, 2, 6, 16), randn(3, 2, 10, 16)
    yield randn(2, 5, 1, 9), randn(2, 5, 8, 9)  # one new token in front of a cache


_SCALED_MISTAKES = {
    "never_divided": lambda q, k: q @ k.mT,
    "divided_by_K": lambda q, k: q @ k.mT / q.shape[-1],
    "divided_by_root_of_width": lambda q, k: q @ k.mT / math.sqrt(q.shape[1] * q.shape[-1]),
    "divided_by_root_S": lambda q, k: q @ k.mT / math.sqrt(k.shape[-2]),
    "divided_by_root_T": lambda q, k: q @ k.mT / math.sqrt(q.shape[-2]),
    "divided_by_root_H": lambda q, k: q @ k.mT / math.sqrt(q.shape[1]),
    "divided_twice": lambda q, k: _scores(q, k) / math.sqrt(q.shape[-1] ** 0.5),
    "measured_spread": lambda q, k: (q @ k.mT) / (q @ k.mT).std(),
    "measured_spread_of_each_row": lambda q, k: (q @ k.mT) / (q @ k.mT).std(dim=-1, keepdim=True),
    "multiplied": lambda q, k: q @ k.mT * math.sqrt(q.shape[-1]),
    "keys_reshaped": lambda q, k: q @ k.reshape(*k.shape[:2], k.shape[3], k.shape[2]) / math.sqrt(q.shape[-1]),
    "queries_and_keys_swapped": lambda q, k: _scores(k, q),
    "already_softmax": lambda q, k: _scores(q, k).softmax(dim=-1),
    "cosine": lambda q, k: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT,
}


# --- masked_weights ---------------------------------------------------------------------------------------------------


def _masked(scores: Tensor, mask: Tensor, fill: float = -math.inf) -> Tensor:
    return scores.masked_fill(~mask, fill).softmax(dim=-1)


def _weights(scores: Tensor, mask: Tensor) -> Tensor:
    return _masked(scores, mask, torch.finfo(scores.dtype).min).masked_fill(~mask.any(dim=-1, keepdim=True), 0)


def _some_allowed() -> Iterator[_Case]:
    """In each row and in each column something is allowed and something is not."""
    randn, x, o = _numbers(33), True, False
    yield randn(2, 3, 4, 5), torch.tensor([[x, o, o, o, o], [x, x, o, o, o], [o, x, x, o, x], [o, o, x, x, o]])
    first, second = [[x, o, o, x], [x, x, o, o], [o, x, x, x]], [[o, x, x, o], [x, o, x, o], [o, o, x, x]]
    yield randn(2, 5, 3, 4), torch.tensor([[first], [second]])  # one mask for each sequence


def _hidden_giants() -> Iterator[_Case]:
    """A score that nobody may see is so large that beside it the others vanish."""
    scores, mask = next(_some_allowed())
    scores[0, 1, 2, 3] = scores[1, 0, 0, 4] = 200.0
    yield scores, mask


def _rows_with_nothing() -> Iterator[_Case]:
    randn, x, o = _numbers(34), True, False
    yield randn(2, 4, 3, 5), torch.tensor([[o, o, o, o, o], [x, x, o, o, o], [o, x, x, o, x]])
    yield randn(3, 2, 5, 4), torch.tensor([x, o, x])[:, None, None, None].expand(3, 1, 1, 4)  # a sequence of padding
    yield randn(2, 3, 4, 1), torch.tensor([[o], [x], [o], [x]])


def _renormalised(scores: Tensor, mask: Tensor, least: float) -> Tensor:
    kept = scores.softmax(dim=-1) * mask
    return kept / kept.sum(dim=-1, keepdim=True).clamp(min=least)


_MASK_MISTAKES = {
    "mask_ignored": lambda scores, mask: scores.softmax(dim=-1),
    "inverted": lambda scores, mask: _masked(scores, ~mask),
    "after_softmax": lambda scores, mask: scores.softmax(dim=-1) * mask,
    "filled_with_zero": lambda scores, mask: _masked(scores, mask, 0.0),
    "added": lambda scores, mask: (scores + mask.float()).softmax(dim=-1),
    "over_queries": lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(dim=-2),
    "over_heads": lambda scores, mask: scores.masked_fill(~mask, -math.inf).softmax(dim=1),
    "over_heads_low": lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(dim=1),
    "softmax_missing": lambda scores, mask: scores.masked_fill(~mask, -math.inf),
    "nan_everywhere": lambda scores, mask: (scores + (~mask).float() * -math.inf).softmax(dim=-1),
}
_EMPTY_MISTAKES = {
    "empty_row_nan": _masked,
    "empty_row_even": lambda scores, mask: _masked(scores, mask, -1e9),
    "empty_row_unmasked": lambda scores, mask: _masked(scores, mask | ~mask.any(dim=-1, keepdim=True)),
}


# --- window_mask ------------------------------------------------------------------------------------------------------


def _places(length: int) -> tuple[Tensor, Tensor]:
    s = torch.arange(length)
    return s[:, None], s


def _window_by(allowed: Callable[[Tensor, Tensor, int, int], Tensor]) -> Callable[[int, int, int], Tensor]:
    """A mask from a condition on query positions t and key positions s."""
    return lambda length, window, sinks: allowed(*_places(length), window, sinks).expand(length, length)


def _near(t: Tensor, s: Tensor, window: int) -> Tensor:
    return (s <= t) & (s > t - window)


_sinks = _window_by(lambda t, s, window, sinks: (s <= t) & (s < sinks))
_window = _window_by(lambda t, s, window, sinks: (s <= t) & ((s > t - window) | (s < sinks)))


def _by_rows(row: Callable[[Tensor, int, int], None]) -> Callable[[int, int, int], Tensor]:
    """The sinks, and in each row t what ``row(mask[t], t, window)`` allows."""

    def mask_of(length: int, window: int, sinks: int) -> Tensor:
        mask = _sinks(length, window, sinks)
        for t in range(length):
            row(mask[t], t, window)
        return mask

    return mask_of


def _slice_from_below_zero(row: Tensor, t: int, window: int) -> None:
    row[t - window + 1 : t + 1] = True


def _indices_below_zero(row: Tensor, t: int, window: int) -> None:
    for s in range(max(t - window + 1, -len(row)), t + 1):
        row[s] = True


_WINDOW_MISTAKES = {
    "slice_from_below_zero": _by_rows(_slice_from_below_zero),
    "indices_below_zero": _by_rows(_indices_below_zero),
    "too_wide": _window_by(lambda t, s, w, sinks: (s <= t) & ((s >= t - w) | (s < sinks))),
    "too_narrow": _window_by(lambda t, s, w, sinks: (s <= t) & ((s > t - w + 1) | (s < sinks))),
    "itself_left_out": _window_by(lambda t, s, w, sinks: (s < t) & ((s >= t - w) | (s < sinks))),
    "itself_left_out_and_narrow": _window_by(lambda t, s, w, sinks: (s < t) & ((s > t - w) | (s < sinks))),
    "both_sides": _window_by(lambda t, s, w, sinks: ((s - t).abs() < w) | (s < sinks)),
    "future_allowed": _window_by(lambda t, s, w, sinks: (s > t - w) | (s < sinks)),
    "window_ignored": _window_by(lambda t, s, w, sinks: s <= t),
    "inverted": lambda *case: ~_window(*case),
    "transposed": lambda *case: _window(*case).mT,
    "only_the_far": _window_by(lambda t, s, w, sinks: (s <= t - w) | ((s <= t) & (s < sinks))),
    "both_demanded": _window_by(lambda t, s, w, sinks: _near(t, s, w) & (s < sinks)),
    "sinks_missing": _window_by(lambda t, s, w, sinks: _near(t, s, w)),
    "sinks_from_the_past": _window_by(lambda t, s, w, sinks: _near(t, s, w) | (s < sinks)),
    "sinks_are_queries": _window_by(lambda t, s, w, sinks: _near(t, s, w) | (t < sinks)),
    "sinks_are_past_queries": _window_by(lambda t, s, w, sinks: (s <= t) & ((s > t - w) | (t < sinks))),
    "one_sink_too_many": _window_by(lambda t, s, w, sinks: (s <= t) & ((s > t - w) | (s <= sinks))),
}


# --- split_heads ------------------------------------------------------------------------------------------------------


def _split(packed: Tensor, heads: int) -> tuple[Tensor, ...]:
    return tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in packed.chunk(3, dim=-1))


def _packed_rows() -> Iterator[_Case]:
    randn = _numbers(36)
    yield randn(2, 5, 3 * 3 * 4), 3
    yield randn(3, 4, 3 * 2 * 5), 2
    yield randn(2, 1, 3 * 3 * 2), 3
    yield randn(2, 4, 3 * 1 * 5), 1


_SPLIT_MISTAKES = {
    "never_transposed": lambda packed, heads: tuple(
        part.reshape(len(part), heads, part.shape[1], -1) for part in packed.chunk(3, dim=-1)
    ),
    "reshaped_at_once": lambda packed, heads: packed.reshape(len(packed), 3, heads, packed.shape[1], -1).unbind(1),
    "positions_before_heads": lambda packed, heads: tuple(part.transpose(1, 2) for part in _split(packed, heads)),
    "heads_and_width_swapped": lambda packed, heads: tuple(
        part.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2) for part in packed.chunk(3, dim=-1)
    ),
    "packed_per_head": lambda packed, heads: packed.unflatten(-1, (heads, 3, -1)).permute(3, 0, 2, 1, 4).unbind(),
    "innermost": lambda packed, heads: packed.unflatten(-1, (heads, -1, 3)).permute(4, 0, 2, 1, 3).unbind(),
    "order_k_q_v": lambda packed, heads: tuple(_split(packed, heads)[i] for i in (1, 0, 2)),
    "order_v_k_q": lambda packed, heads: _split(packed, heads)[::-1],
    "order_q_v_k": lambda packed, heads: tuple(_split(packed, heads)[i] for i in (0, 2, 1)),
    "heads_not_split": lambda packed, heads: packed.chunk(3, dim=-1),
    "stacked": lambda packed, heads: torch.stack(_split(packed, heads)),
}


# --- attend_with_cache ------------------------------------------------------------------------------------------------


def _cached(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    diagonal: int | None = None,
    keys: Callable[[Tensor, int], Tensor] | None = None,
    values: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """``keys`` and ``values`` spread the G heads over H; ``diagonal`` is the last key that the first query sees."""
    length, key_length, times = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    diagonal = key_length - length if diagonal is None else diagonal
    k, v = (keys or _neighbours)(k, times), (values or _neighbours)(v, times)
    mask = torch.ones(length, key_length, dtype=torch.bool).tril(diagonal)
    return _masked(_scores(q, k), mask) @ v


def _neighbours(x: Tensor, times: int) -> Tensor:
    return x.repeat_interleave(times, dim=1)


def _round_robin(x: Tensor, times: int) -> Tensor:
    return x.repeat(1, times, 1, 1)


def _first_head(x: Tensor, times: int) -> Tensor:
    return x[:, :1].expand(-1, times * x.shape[1], -1, -1)


def _grouped() -> Iterator[_Case]:
    """As many queries as keys, so that only the heads can be wrong."""
    randn = _numbers(37)
    for heads, groups in ((6, 3), (4, 2), (5, 1)):
        yield randn(2, heads, 7, 8), randn(2, groups, 7, 8), randn(2, groups, 7, 8)


def _with_cache() -> Iterator[_Case]:
    randn = _numbers(38)
    for length, key_length in ((1, 7), (3, 8), (4, 5), (9, 9)):
        yield randn(3, 4, length, 6), randn(3, 2, key_length, 6), randn(3, 2, key_length, 6)


def _by_sizes(diagonal: Callable[[int, int], int]) -> Callable[..., Tensor]:
    return lambda q, k, v: _cached(q, k, v, diagonal(q.shape[2], k.shape[2]))


_GROUP_MISTAKES = {
    "heads_still_there": lambda q, k, v: _cached(q, k, v, keys=_round_robin, values=_round_robin),
    "only_keys_repaired": lambda q, k, v: _cached(q, k, v, values=_round_robin),
    "only_values_repaired": lambda q, k, v: _cached(q, k, v, keys=_round_robin),
    "first_head_for_all": lambda q, k, v: _cached(q, k, v, keys=_first_head, values=_first_head),
}
_CACHE_MISTAKES = {
    "mask_still_there": _by_sizes(lambda length, key_length: 0),
    "no_mask": _by_sizes(lambda length, key_length: key_length),
    "right_for_one_only": _by_sizes(lambda length, key_length: key_length if length == 1 else 0),
    "prompt_or_nothing": _by_sizes(lambda length, key_length: 0 if length == key_length else key_length),
    "one_too_far": _by_sizes(lambda length, key_length: key_length - length + 1),
    "one_too_short": _by_sizes(lambda length, key_length: key_length - length - 1),
    "other_sign": _by_sizes(lambda length, key_length: length - key_length),
}


# --- judge_attention --------------------------------------------------------------------------------------------------


def _allowed(mask: Tensor | None, scores: Tensor) -> Tensor:
    return torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand(scores.shape)


def _attention_of(
    scores: Callable[[Tensor, Tensor], Tensor] = _scores,
    weights: Callable[[Tensor, Tensor], Tensor] = _weights,
    mask_seen: Callable[[Tensor], Tensor] = lambda mask: mask,
    values: Callable[[Tensor], Tensor] = lambda v: v,
) -> Callable[..., Tensor]:
    """Attention in which one part may be another one."""

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        made = scores(q, k)
        return weights(made, mask_seen(_allowed(mask, made))) @ values(v)

    return attend


def _loops(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    allowed = torch.ones(*q.shape[:-1], k.shape[-2], dtype=torch.bool) if mask is None else mask
    allowed = allowed.expand(*q.shape[:-1], k.shape[-2])
    for place in itertools.product(*map(range, q.shape[:-1])):
        seen = allowed[place]
        if seen.any():
            scores = (k[place[:-1]][seen] * q[place]).sum(dim=-1) / q.shape[-1] ** 0.5
            shares = (scores - scores.max()).exp()
            out[place] = ((shares / shares.sum())[:, None] * v[place[:-1]][seen]).sum(dim=0)
    return out


def _by_einsum(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = torch.einsum("...tk,...sk->...ts", q * q.shape[-1] ** -0.5, k)
    return torch.einsum("...ts,...sk->...tk", _weights(scores, _allowed(mask, scores)), v)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _changes_queries(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    q *= q.shape[-1] ** -0.5
    scores = q @ k.mT
    return _weights(scores, _allowed(mask, scores)) @ v


def _over_queries(scores: Tensor, mask: Tensor) -> Tensor:
    return _weights(scores.mT, mask.mT).mT


_JUDGED_RIGHT = {"loops": _loops, "einsum": _by_einsum, "fused": _fused}
_JUDGED_BROKEN = {
    "mask_ignored": _attention_of(mask_seen=torch.ones_like),
    "sees_next": _attention_of(mask_seen=lambda mask: mask | F.pad(mask, (1, 0))[..., :-1]),
    "never_divided": _attention_of(scores=lambda q, k: q @ k.mT),
    "divided_by_K": _attention_of(scores=lambda q, k: q @ k.mT / q.shape[-1]),
    "divided_by_root_S": _attention_of(scores=lambda q, k: q @ k.mT / math.sqrt(k.shape[-2])),
    "plain_mean": _attention_of(scores=lambda q, k: torch.zeros_like(q @ k.mT)),
    "values_reversed": _attention_of(values=lambda v: v.flip(-2)),
    "over_queries": _attention_of(weights=_over_queries),
    "not_renormalised": _attention_of(weights=lambda scores, mask: scores.softmax(dim=-1) * mask),
    "first_head_only": _attention_of(scores=lambda q, k: _scores(q, k[..., :1, :, :].expand_as(k))),
    "empty_row_nan": _attention_of(weights=_masked),
    "changes_queries": _changes_queries,
}


EXERCISES = [
    Exercise(
        "soft_lookup",
        minutes=5,
        difficulty=1,
        section="1",
        steps=[
            Gives("mixes", reference=_lookup, cases=_mixed_lookups, mistakes=_LOOKUP_MISTAKES),
            Gives(
                "sharp",
                reference=_lookup,
                cases=_sharp_lookups,
                mistakes={
                    "overflow": lambda q, k, v, sharpness: _shares(q, k, sharpness) / _shares(q, k, sharpness).sum() @ v
                },
            ),
        ],
    ),
    Exercise(
        "scaled_scores",
        minutes=8,
        difficulty=1,
        section="3",
        steps=[Gives("scores", reference=_scores, cases=_queries_and_keys, mistakes=_SCALED_MISTAKES)],
    ),
    Exercise(
        "masked_weights",
        minutes=12,
        difficulty=2,
        section="4",
        steps=[
            Gives("masked", reference=_weights, cases=_some_allowed, mistakes=_MASK_MISTAKES),
            Gives(
                "giants",
                reference=_weights,
                cases=_hidden_giants,
                mistakes={
                    "giant_leaves_nan": lambda scores, mask: _renormalised(scores, mask, 0.0),
                    "giant_leaves_zero": lambda scores, mask: _renormalised(scores, mask, 1e-9),
                },
            ),
            Gives("nothing", reference=_weights, cases=_rows_with_nothing, mistakes=_EMPTY_MISTAKES),
        ],
    ),
    Exercise(
        "window_mask",
        minutes=10,
        difficulty=2,
        section="5",
        steps=[
            Gives("window", reference=_window, cases=[(7, 3, 0), (6, 2, 0), (5, 1, 0)], mistakes=_WINDOW_MISTAKES),
            Gives("sinks", reference=_window, cases=[(7, 2, 2), (9, 3, 1), (8, 1, 3)], mistakes=_WINDOW_MISTAKES),
            Gives("edges", reference=_window, cases=[(1, 1, 0), (3, 8, 1), (2, 1, 5)]),
        ],
    ),
    Exercise(
        "split_heads",
        minutes=10,
        difficulty=2,
        section="5",
        steps=[Gives("splits", reference=_split, cases=_packed_rows, mistakes=_SPLIT_MISTAKES)],
    ),
    Exercise(
        "attend_with_cache",
        minutes=15,
        difficulty=2,
        section="6",
        steps=[
            Gives("groups", reference=_cached, cases=_grouped, mistakes=_GROUP_MISTAKES | _CACHE_MISTAKES),
            Gives("cache", reference=_cached, cases=_with_cache, mistakes=_CACHE_MISTAKES),
        ],
    ),
    Exercise(
        "judge_attention",
        minutes=25,
        difficulty=3,
        section="4",
        steps=[Catches("judges", right=_JUDGED_RIGHT, broken=_JUDGED_BROKEN)],
    ),
]
