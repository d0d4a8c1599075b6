"""Exercises of chapter 02, positional encoding: probes and mistakes. The texts stand in ``texts/``."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from course_lib.layers import positions as library
from course_lib.layers.positions import rotate, sinusoids, t5_buckets, to_half_split, to_interleaved
from course_lib.workshop.exercises.steps import ByHand, Catches, Exercise, Gives

_BASE = 10_000.0


def _random(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(2))


def _speeds(width: int, *, base: float = _BASE, exponent: float = 2.0) -> Tensor:
    """base^(-exponent × i / width), one for each pair."""
    return base ** (-exponent * torch.arange(width // 2, dtype=torch.float64) / width)


# --- 1 waves_in_halves -----------------------------------------------------------------------------------------------


def _in_halves(positions: Tensor, width: int) -> Tensor:
    waves = sinusoids(positions, width)
    return torch.cat([waves[:, 0::2], waves[:, 1::2]], dim=-1)


def _halves_of(angles: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], Tensor]:
    return lambda p, d: torch.cat([angles(p, d).sin(), angles(p, d).cos()], dim=-1)


def _column_speeds(positions: Tensor, width: int, factor: int = 1) -> Tensor:
    angles = positions[:, None] * _BASE ** (-factor * torch.arange(width) / width)
    half = width // 2
    return torch.cat([angles[:, :half].sin(), angles[:, half:].cos()], dim=-1)


def _reaching_the_base(positions: Tensor, width: int) -> Tensor:
    half = width // 2
    return positions[:, None] * _BASE ** (-torch.arange(half) / max(1, half - 1))


_WAVE_MISTAKES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "alternating": sinusoids,
    "cosines_first": lambda p, d: _in_halves(p, d).roll(d // 2, dims=-1),
    "not_doubled": _halves_of(lambda p, d: p[:, None] * _speeds(d, exponent=1)),
    "doubled_twice": _halves_of(lambda p, d: p[:, None] * _speeds(d, exponent=4)),
    "one_speed_a_column": _column_speeds,
    "one_speed_a_column_doubled": lambda p, d: _column_speeds(p, d, factor=2),
    "reaching_the_base": _halves_of(_reaching_the_base),
    "base_1000": _halves_of(lambda p, d: p[:, None] * _speeds(d, base=1000.0)),
    "counted_from_1": lambda p, d: _in_halves(p + 1, d),
    "own_counting": lambda p, d: _in_halves(torch.arange(len(p)), d),
    "degrees": _halves_of(lambda p, d: p[:, None] * _speeds(d) * math.pi / 180),
    "times_not_divided": _halves_of(lambda p, d: p[:, None] / _speeds(d)),
    "one_speed": _halves_of(lambda p, d: p[:, None] * torch.ones(d // 2)),
    "a_hundred_times_each": _halves_of(lambda p, d: p[:, None] / 100 ** torch.arange(d // 2)),
    "transposed": lambda p, d: _in_halves(p, d).T,
}


def _wave_cases() -> Iterator[tuple[Tensor, int]]:
    yield torch.arange(9), 6
    yield torch.tensor([17, 0, 41]), 10
    yield torch.tensor([5]), 2


_NEAR = [(torch.tensor([0, 3, 5]), 4), (torch.tensor([1, 0]), 6)]  # small angles even where a speed is upside down

_WAVES_IN_HALVES = Exercise(
    "waves_in_halves",
    minutes=6,
    difficulty=1,
    section="3",
    steps=[
        Gives("near", _in_halves, _NEAR, _WAVE_MISTAKES, tolerance=1e-3),
        Gives("values", _in_halves, _wave_cases, _WAVE_MISTAKES, tolerance=1e-4),
    ],
)


# --- 2 linear_bias ---------------------------------------------------------------------------------------------------


def _distance(length: int) -> Tensor:
    return (torch.arange(length)[:, None] - torch.arange(length)).float()


def _future(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def _hidden(bias: Tensor, above: float = -math.inf) -> Tensor:
    return bias.masked_fill(_future(len(bias)), above)


def _zero_times_infinity(slope: float, length: int) -> Tensor:
    return -slope * _distance(length) + _future(length).float() * -math.inf


_HUGE = -1e9


def _all_huge_alike(function: Any, slope: float, length: int) -> Any:
    """-1e9, -1e4, the smallest float: all stand for one mistake, so all become one number."""
    result = function(slope, length)
    if isinstance(result, Tensor) and result.is_floating_point():
        return result.masked_fill((result < -1000) & result.isfinite(), _HUGE)
    return result


_LINEAR_BIAS = Exercise(
    "linear_bias",
    minutes=6,
    difficulty=1,
    section="5",
    steps=[
        Gives(
            "values",
            reference=lambda m, n: _hidden(-m * _distance(n)),
            cases=[(0.5, 3), (0.25, 6), (0.7, 1), (0.0625, 11)],
            mistakes={
                "sign": lambda m, n: _hidden(m * _distance(n)),
                "key_position": lambda m, n: _hidden(m * torch.arange(n).float().expand(n, n)),
                "key_position_subtracted": lambda m, n: _hidden(-m * torch.arange(n).float().expand(n, n)),
                "query_position": lambda m, n: _hidden(-m * torch.arange(n).float()[:, None].expand(n, n)),
                "not_multiplied": lambda m, n: _hidden(-_distance(n)),
                "divided": lambda m, n: _hidden(-_distance(n) / m),
                "one_too_far": lambda m, n: _hidden(-m * (_distance(n) + 1)),
                "not_itself": lambda m, n: (-m * _distance(n)).masked_fill(_distance(n) <= 0, -math.inf),
                "past_hidden": lambda m, n: _hidden(-m * _distance(n)).T,
                "wrong_triangle": lambda m, n: _hidden(m * _distance(n)).T,
                "zero_above": lambda m, n: _hidden(-m * _distance(n), 0.0),
                "huge_above": lambda m, n: _hidden(-m * _distance(n), _HUGE),
                "both_sides": lambda m, n: -m * _distance(n).abs(),
                "future_rewarded": lambda m, n: -m * _distance(n),
                "zero_times_infinity": _zero_times_infinity,
            },
            call=_all_huge_alike,
        )
    ],
)


# --- 3 turn_part -----------------------------------------------------------------------------------------------------


def _part(turn: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The first numbers are turned, the others stay."""
    return lambda x, p, part: torch.cat([turn(x[..., :part], p), x[..., part:]], dim=-1)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)


def _part_by(angles: Callable[[Tensor, int, int], Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    """With other angles, made from the positions, the width of the part and that of the head."""
    return lambda x, p, part: _part(lambda y, p: _turned(y, angles(p, part, x.shape[-1])))(x, p, part)


def _no_minus(x: Tensor, positions: Tensor) -> Tensor:
    angles = positions[:, None] * _speeds(x.shape[-1])
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() + b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)


def _one_half(x: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([rotate(x, positions).chunk(2, dim=-1)[0], x.chunk(2, dim=-1)[1]], dim=-1)


def _first_half_reused(x: Tensor, positions: Tensor) -> Tensor:
    angles = positions[:, None] * _speeds(x.shape[-1])
    a, b = x.chunk(2, dim=-1)
    a = a * angles.cos() - b * angles.sin()
    return torch.cat([a, a * angles.sin() + b * angles.cos()], dim=-1)


def _angles_in_the_other_order(x: Tensor, positions: Tensor) -> Tensor:
    angles = (positions[:, None] * _speeds(x.shape[-1])).repeat_interleave(2, dim=-1)
    a, b = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-b, a], dim=-1) * angles.sin()


def _pairs_of_the_head(x: Tensor, positions: Tensor, part: int) -> Tensor:
    """Only the first part/2 pairs are turned, but a pair is i and i + K/2."""
    angles = torch.zeros(len(positions), x.shape[-1] // 2, dtype=torch.float64)
    angles[:, : part // 2] = positions[:, None] * _speeds(part)
    return _turned(x, angles)


def _last_part(x: Tensor, positions: Tensor, part: int) -> Tensor:
    return torch.cat([x[..., :-part], rotate(x[..., -part:], positions)], dim=-1)


def _rest_is_zero(x: Tensor, positions: Tensor, part: int) -> Tensor:
    return torch.cat([rotate(x[..., :part], positions), torch.zeros_like(x[..., part:])], dim=-1)


_TURN_MISTAKES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "everything": lambda x, p, part: rotate(x, p),
    "speeds_of_the_head": _part_by(lambda p, part, k: p[:, None] * _speeds(k)[: part // 2]),
    "pairs_of_the_head": _pairs_of_the_head,
    "last_part": _last_part,
    "rest_is_lost": lambda x, p, part: rotate(x[..., :part], p),
    "rest_is_zero": _rest_is_zero,
    "interleaved": _part(lambda x, p: rotate(x, p, pairing="interleaved")),
    "angles_in_the_other_order": _part(_angles_in_the_other_order),
    "other_direction": _part(lambda x, p: rotate(x, -p)),
    "no_minus": _part(_no_minus),
    "one_half": _part(_one_half),
    "first_half_reused": _part(_first_half_reused),
    "sine_for_cosine": _part_by(lambda p, part, k: math.pi / 2 - p[:, None] * _speeds(part)),
    "one_angle": _part_by(lambda p, part, k: p[:, None] * torch.ones(part // 2)),
    "not_doubled": _part_by(lambda p, part, k: p[:, None] * _speeds(part, exponent=1)),
    "doubled_twice": _part_by(lambda p, part, k: p[:, None] * _speeds(part, exponent=4)),
    "times_not_divided": _part_by(lambda p, part, k: p[:, None] / _speeds(part)),
    "a_hundred_times_each": _part_by(lambda p, part, k: p[:, None] / 100 ** torch.arange(part // 2)),
    "own_counting": _part(lambda x, p: rotate(x, torch.arange(x.shape[-2]))),
    "counted_from_1": _part(lambda x, p: rotate(x, p + 1)),
    "adds": _part(lambda x, p: x + sinusoids(p, x.shape[-1])),
}


def _turn_cases() -> Iterator[tuple[Tensor, Tensor, int]]:
    yield _random(5, 10), torch.arange(3, 8), 6
    yield _random(2, 3, 4, 12), torch.tensor([0, 1, 2, 0]), 8
    yield _random(3, 7, 6), torch.tensor([2, 0, 30, 1, 11, 4, 17]), 6
    yield _random(1, 8), torch.tensor([9]), 2


_TURN_PART = Exercise(
    "turn_part",
    minutes=12,
    difficulty=2,
    section="4",
    steps=[
        Gives(
            "two_pairs", _part(rotate), [(_random(3, 6), torch.tensor([2, 0, 3]), 4)], _TURN_MISTAKES, tolerance=1e-4
        ),
        Gives("values", _part(rotate), _turn_cases, _TURN_MISTAKES, tolerance=1e-4),
        ByHand("by_hand", library, "rotate", "_check_fits", _turn_cases),
    ],
)


# --- 4 causal_buckets ------------------------------------------------------------------------------------------------


def _distances(queries: Tensor, keys: Tensor) -> Tensor:
    return queries[:, None] - keys


def _bucket(distance: Tensor) -> Tensor:
    return t5_buckets(distance, bidirectional=False)


def _by_hand(distance: Tensor, *, added: int = 0, most: float = 31) -> Tensor:
    """The notebook's own lines, from the distances on."""
    growth = torch.log((distance.clamp(min=1) + added) / 16) / math.log(128 / 16)
    far = (16 + growth * 16).long().clamp(max=int(most))
    return torch.where(distance < 16, distance, far)


def _bucket_cases() -> Iterator[tuple[Tensor, Tensor]]:
    yield torch.arange(7), torch.arange(11)
    yield torch.tensor([149, 150]), torch.arange(152)
    yield torch.tensor([3]), torch.tensor([5, 3, 0])
    yield torch.arange(290, 310, 4), torch.arange(0, 310, 3)


_CAUSAL_BUCKETS = Exercise(
    "causal_buckets",
    minutes=12,
    difficulty=2,
    section="5",
    steps=[
        Gives(
            "values",
            reference=lambda q, k: _bucket(_distances(q, k)),
            cases=_bucket_cases,
            mistakes={
                "still_there": lambda q, k: _bucket(-_distances(q, k)),
                "absolute": lambda q, k: _bucket(_distances(q, k).abs()),
                "not_clamped": lambda q, k: _by_hand(_distances(q, k)),
                "not_clamped_and_turned": lambda q, k: _by_hand(-_distances(q, k)),
                "transposed": lambda q, k: _bucket(_distances(q, k)).T,
                "transposed_only": lambda q, k: _bucket(-_distances(q, k)).T,
                "past_clamped": lambda q, k: _by_hand(_distances(q, k).clamp(max=0)),
                "negative_past": lambda q, k: _by_hand(-_distances(q, k).clamp(min=0)),
                "one_too_far": lambda q, k: _bucket(_distances(q, k).clamp(min=0) + 1),
                "logarithm_moved": lambda q, k: _by_hand(_distances(q, k).clamp(min=0), added=1),
                "no_last_bucket": lambda q, k: _by_hand(_distances(q, k).clamp(min=0), most=10**6),
                "two_directions": lambda q, k: t5_buckets(_distances(q, k), bidirectional=True),
            },
        )
    ],
)


# --- 5 test_turn -----------------------------------------------------------------------------------------------------

# These compute in float64, so that an exact law is not refused for their rounding, and take one position for all, too.


def _exact_angles(x: Tensor, positions: Any, base: float = _BASE) -> Tensor:
    width = x.shape[-1]
    speeds = base ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width)
    return torch.as_tensor(positions).double()[..., None] * speeds


def _exactly_turned(x: Tensor, angles: Tensor) -> Tensor:
    return _turned(x.double(), angles).to(x.dtype)


def _half_split(x: Tensor, positions: Any) -> Tensor:
    return _exactly_turned(x, _exact_angles(x, positions))


def _neighbours(x: Tensor, positions: Any) -> Tensor:
    turned = _half_split(torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1), positions)
    return torch.stack(turned.chunk(2, dim=-1), dim=-1).flatten(-2)


def _clockwise(x: Tensor, positions: Any) -> Tensor:
    return _exactly_turned(x, -_exact_angles(x, positions))


def _large_base(x: Tensor, positions: Any) -> Tensor:
    return _exactly_turned(x, _exact_angles(x, positions, base=500_000.0))


def _partial(x: Tensor, positions: Any) -> Tensor:
    """Only the first two numbers are turned, as GPT-NeoX turns a quarter of each head."""
    return torch.cat([_half_split(x[..., :2], positions), x[..., 2:]], dim=-1)


def _turns_nothing(x: Tensor, positions: Any) -> Tensor:
    return x.clone()


def _adds(x: Tensor, positions: Any) -> Tensor:
    angles = _exact_angles(x, positions)
    return (x + torch.cat([angles.sin(), angles.cos()], dim=-1)).to(x.dtype)


def _adds_from_nothing(x: Tensor, positions: Any) -> Tensor:
    """Nothing is added at position 0."""
    angles = _exact_angles(x, positions)
    return (x + torch.cat([angles.sin(), angles.cos() - 1], dim=-1)).to(x.dtype)


def _grows(x: Tensor, positions: Any) -> Tensor:
    return (_half_split(x, positions) * (1 + 0.02 * torch.as_tensor(positions)[..., None])).to(x.dtype)


def _quarter_turn_at_0(x: Tensor, positions: Any) -> Tensor:
    return _exactly_turned(x, math.pi / 2 - _exact_angles(x, positions))


def _squared(x: Tensor, positions: Any) -> Tensor:
    return _exactly_turned(x, _exact_angles(x, torch.as_tensor(positions) ** 2))


def _counts_itself(x: Tensor, positions: Any) -> Tensor:
    return _half_split(x, torch.arange(x.shape[-2]))


def _one_turn_for_all(x: Tensor, positions: Any) -> Tensor:
    return _half_split(x, torch.as_tensor(positions).flatten()[-1])


_TEST_TURN = Exercise(
    "test_turn",
    minutes=18,
    difficulty=2,
    section="4",
    steps=[
        Catches(
            "verdicts",
            right={
                "half_split": _half_split,
                "neighbours": _neighbours,
                "clockwise": _clockwise,
                "large_base": _large_base,
                "partial": _partial,
            },
            broken={
                "adds": _adds,
                "adds_from_nothing": _adds_from_nothing,
                "grows": _grows,
                "squared": _squared,
                "quarter_turn_at_0": _quarter_turn_at_0,
                "turns_nothing": _turns_nothing,
                "counts_itself": _counts_itself,
                "one_turn_for_all": _one_turn_for_all,
            },
        )
    ],
)


# --- 6 drop_middle ---------------------------------------------------------------------------------------------------


def _dropped(move: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int, int], Tensor]:
    """What follows the gap is moved, and what stands before it is kept."""
    return lambda keys, kept, gap: torch.cat([keys[..., :kept, :], move(keys[..., kept + gap :, :], gap)], dim=-2)


def _by_steps(keys: Tensor, steps: int, **how: Any) -> Tensor:
    """All keys move by the same number of places."""
    return rotate(keys, torch.full((keys.shape[-2],), steps), **how)


def _by_angles(speeds: Callable[[int], Tensor]) -> Callable[[Tensor, int, int], Tensor]:
    return _dropped(lambda keys, gap: _turned(keys, -gap * speeds(keys.shape[-1])))


def _all_moved(keys: Tensor, kept: int, gap: int) -> Tensor:
    return _by_steps(torch.cat([keys[..., :kept, :], keys[..., kept + gap :, :]], dim=-2), -gap)


def _turned_anew(keys: Tensor, kept: int, gap: int) -> Tensor:
    """Turned to the new positions, as if the keys came without any."""
    left = torch.cat([keys[..., :kept, :], keys[..., kept + gap :, :]], dim=-2)
    return rotate(left, torch.arange(left.shape[-2]))


def _rest_turned_anew(keys: Tensor, kept: int, gap: int) -> Tensor:
    rest = keys[..., kept + gap :, :]
    return torch.cat([keys[..., :kept, :], rotate(rest, kept + torch.arange(rest.shape[-2]))], dim=-2)


def _turned_back(keys: Tensor, kept: int, gap: int) -> Tensor:
    """The positions are taken away, and no new ones are given."""
    rest = keys[..., kept + gap :, :]
    return torch.cat([keys[..., :kept, :], rotate(rest, -(kept + gap + torch.arange(rest.shape[-2])))], dim=-2)


def _front_dropped(keys: Tensor, kept: int, gap: int) -> Tensor:
    return _by_steps(keys[..., gap:, :], -gap)


def _moved_to_the_front(keys: Tensor, kept: int, gap: int) -> Tensor:
    """The first key after the gap gets position 0, which is taken."""
    return _dropped(lambda rest, gap: _by_steps(rest, -gap - kept))(keys, kept, gap)


def _cache_cases() -> Iterator[tuple[Tensor, int, int]]:
    for sizes, kept, gap in [((9, 6), 2, 3), ((2, 3, 7, 8), 1, 4), ((5, 4), 0, 2), ((6, 10), 3, 0), ((8, 2), 3, 4)]:
        yield rotate(_random(*sizes), torch.arange(sizes[-2])), kept, gap


_DROP_MIDDLE = Exercise(
    "drop_middle",
    minutes=15,
    difficulty=2,
    section="4",
    steps=[
        Gives(
            "values",
            reference=_dropped(lambda keys, gap: _by_steps(keys, -gap)),
            cases=_cache_cases,
            mistakes={
                "not_moved": _dropped(lambda keys, gap: keys),
                "other_way": _dropped(_by_steps),
                "all_moved": _all_moved,
                "turned_anew": _turned_anew,
                "rest_turned_anew": _rest_turned_anew,
                "turned_back": _turned_back,
                "front_dropped": _front_dropped,
                "moved_to_the_front": _moved_to_the_front,
                "one_too_few": _dropped(lambda keys, gap: _by_steps(keys, -max(0, gap - 1))),
                "interleaved": _dropped(lambda keys, gap: _by_steps(keys, -gap, pairing="interleaved")),
                "one_angle": _by_angles(lambda k: torch.ones(k // 2)),
                "not_doubled": _by_angles(lambda k: _speeds(k, exponent=1)),
            },
            tolerance=1e-4,
        )
    ],
)


# --- 7 to_neighbours -------------------------------------------------------------------------------------------------

_Order = Callable[[Tensor, int], Tensor]


def _rows(queries: _Order, keys: _Order, values: _Order) -> Callable[[Tensor, int, int], Tensor]:
    """Each of the three parts of the weight is put in an order of its own."""

    def ordered(weight: Tensor, heads: int, key_heads: int) -> Tensor:
        q, k, v = weight.split(_parts(weight, heads, key_heads))
        return torch.cat([queries(q, heads), keys(k, key_heads), values(v, key_heads)])

    return ordered


def _parts(weight: Tensor, heads: int, key_heads: int) -> list[int]:
    width = len(weight) // (heads + 2 * key_heads)
    return [heads * width, key_heads * width, key_heads * width]


def _stays(rows: Tensor, heads: int) -> Tensor:
    return rows


def _heads_forgotten(rows: Tensor, heads: int) -> Tensor:
    return to_interleaved(rows, 1)


def _columns(rows: Tensor, heads: int) -> Tensor:
    return to_interleaved(rows.T, heads).T


def _query_heads_for_keys(weight: Tensor, heads: int, key_heads: int) -> Tensor:
    q, k, v = weight.split(_parts(weight, heads, key_heads))
    return torch.cat([to_interleaved(q, heads), to_interleaved(k, heads), v])


def _one_head_only(weight: Tensor, heads: int, key_heads: int) -> Tensor:
    """The place where a head begins is forgotten, so the first head is put in order again and again."""
    width = len(weight) // (heads + 2 * key_heads)
    return torch.cat([to_interleaved(weight[:width], 1), weight[width:]])


def _weight_cases() -> Iterator[tuple[Tensor, int, int]]:
    yield _random(8 * 8, 24), 4, 2
    yield _random(5 * 12, 36), 3, 1
    yield _random(6 * 10, 20), 2, 2


_TO_NEIGHBOURS = Exercise(
    "to_neighbours",
    minutes=25,
    difficulty=3,
    section="4",
    steps=[
        Gives(
            "values",
            reference=_rows(to_interleaved, to_interleaved, _stays),
            cases=_weight_cases,
            mistakes={
                "values_too": _rows(to_interleaved, to_interleaved, to_interleaved),
                "inverse": _rows(to_half_split, to_half_split, _stays),
                "inverse_values_too": _rows(to_half_split, to_half_split, to_half_split),
                "across_heads": _rows(_heads_forgotten, _heads_forgotten, _stays),
                "across_everything": lambda w, h, g: to_interleaved(w, 1),
                "query_heads_for_keys": _query_heads_for_keys,
                "columns": _rows(_columns, _columns, _stays),
                "columns_everywhere": lambda w, h, g: _columns(w, h),
                "queries_only": _rows(to_interleaved, _stays, _stays),
                "keys_only": _rows(_stays, to_interleaved, _stays),
                "unchanged": _rows(_stays, _stays, _stays),
                "one_head_only": _one_head_only,
            },
            tolerance=0.0,
        ),
        ByHand("by_hand", library, "to_interleaved", "_reorder", _weight_cases),
    ],
)

EXERCISES = [
    _WAVES_IN_HALVES,
    _LINEAR_BIAS,
    _TURN_PART,
    _CAUSAL_BUCKETS,
    _TEST_TURN,
    _DROP_MIDDLE,
    _TO_NEIGHBOURS,
]
