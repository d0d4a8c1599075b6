"""Answers to the exercises of chapter 02, as learners write them: right ones in several styles, wrong ones by name."""

import bisect
import cmath
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.layers.positions import Rotary, rotate, sinusoids, t5_buckets, to_interleaved

# --- 1 waves_in_halves -----------------------------------------------------------------------------------------------


def speeds_for(width):
    return 1 / 10_000 ** (torch.arange(0, width, 2) / width)


def waves_outer(positions, width):
    angles = torch.outer(positions.float(), speeds_for(width))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def waves_loops(positions, width):
    half = width // 2
    out = torch.zeros(len(positions), width)
    for t, p in enumerate(positions.tolist()):
        for i in range(half):
            angle = p / 10_000 ** (2 * i / width)
            out[t, i], out[t, half + i] = math.sin(angle), math.cos(angle)
    return out


def waves_numpy(positions, width):
    column = np.arange(width)
    angle = positions.numpy()[:, None] / np.power(10_000, 2 * (column % (width // 2)) / width)
    return torch.from_numpy(np.where(column < width // 2, np.sin(angle), np.cos(angle)))


def waves_complex(positions, width):
    rows = [[cmath.exp(1j * p * 10_000 ** (-2 * i / width)) for i in range(width // 2)] for p in positions.tolist()]
    return torch.tensor([[z.imag for z in row] + [z.real for z in row] for row in rows])


def waves_by_exp(positions, width):
    speed = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.einsum("t,i->ti", positions.float(), speed)
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(1)


def waves_from_the_library(positions, width):
    return sinusoids(positions, width).unflatten(1, (-1, 2)).transpose(1, 2).flatten(1)


def waves_as_in_the_chapter(positions, width):
    rows = []
    for p in positions.tolist():
        row = []
        for i in range(width // 2):
            angle = p / 10_000 ** (2 * i / width)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


def waves_cosines_first(positions, width):
    angles = positions[:, None] * speeds_for(width)
    return torch.hstack([angles.cos(), angles.sin()])


def waves_with_exponent(factor, base=10_000):
    def waves(positions, width):
        angles = positions[:, None] * torch.tensor([base ** (factor * i / width) for i in range(width // 2)])
        return torch.cat([angles.sin(), angles.cos()], -1)

    return waves


def waves_all_columns(positions, width):
    angles = positions[:, None] / 10_000 ** (torch.arange(width) / width)
    angles[:, : width // 2] = torch.sin(angles[:, : width // 2])
    angles[:, width // 2 :] = torch.cos(angles[:, width // 2 :])
    return angles


def waves_all_columns_doubled(positions, width):
    out = torch.zeros(len(positions), width)
    for j in range(width):
        angle = positions / 10_000 ** (2 * j / width)
        out[:, j] = angle.sin() if j < width // 2 else angle.cos()
    return out


def waves_as_in_tensor2tensor(positions, width):
    step = math.log(10_000) / max(width // 2 - 1, 1)
    scaled = positions[:, None] * torch.exp(torch.arange(width // 2) * -step)[None, :]
    return torch.cat([scaled.sin(), scaled.cos()], dim=1)


def waves_of_arange(positions, width):
    return waves_outer(torch.arange(positions.shape[0]), width)


def waves_in_degrees(positions, width):
    angles = torch.deg2rad(positions[:, None] * speeds_for(width))
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


def waves_at_one_speed(positions, width):
    return torch.cat(
        [positions[:, None].sin().repeat(1, width // 2), positions[:, None].cos().repeat(1, width // 2)], 1
    )


def waves_as_in_the_example(positions, width):
    """Right for four numbers, where the second hand is 100 times slower."""
    angles = torch.stack([positions / 100**i for i in range(width // 2)], dim=1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def waves_stacked(positions, width):
    angles = positions * speeds_for(width)[:, None]
    return torch.cat([angles.sin(), angles.cos()])


# --- 2 linear_bias ---------------------------------------------------------------------------------------------------


def bias_loops(slope, length):
    out = torch.full((length, length), -math.inf)
    for t in range(length):
        for s in range(t + 1):
            out[t, s] = -slope * (t - s)
    return out


def bias_where(slope, length):
    t, s = torch.meshgrid(torch.arange(length), torch.arange(length), indexing="ij")
    return torch.where(s <= t, slope * (s - t).double(), float("-inf"))


def bias_numpy(slope, length):
    t = np.arange(length)
    distance = np.subtract.outer(t, t)
    return torch.tensor(np.where(distance >= 0, -slope * distance, -np.inf), dtype=torch.float32)


def bias_added_mask(slope, length):
    steps = torch.arange(length).float()
    return (steps - steps[:, None]) * slope + torch.full((length, length), float("-inf")).triu(1)


def bias_with_plus(slope, length):
    return -slope * bias_loops(-1.0, length).where(torch.ones(length, length).tril() == 1, torch.tensor(math.inf))


def bias_rewards(slope, length):
    steps = torch.arange(length)
    bias = slope * (steps[:, None] - steps[None, :])
    return bias.masked_fill(torch.triu(torch.ones(length, length), diagonal=1).bool(), float("-inf"))


def bias_as_in_bloom(slope, length):
    bias = slope * torch.arange(length).repeat(length, 1)
    bias[torch.ones(length, length).triu(1) == 1] = -torch.inf
    return bias


def bias_by_key(slope, length):
    out = torch.full((length, length), -math.inf)
    for t in range(length):
        for s in range(t + 1):
            out[t, s] = -slope * s
    return out


def bias_by_query(slope, length):
    out = torch.full((length, length), -math.inf)
    for t in range(length):
        out[t, : t + 1] = -slope * t
    return out


def bias_without_slope(slope, length):
    return bias_loops(1.0, length)


def bias_from_1(slope, length):
    return bias_loops(slope, length) - slope


def bias_hides_itself(slope, length):
    steps = torch.arange(length).float()
    bias = slope * (steps - steps[:, None])
    return bias.masked_fill(torch.ones(length, length).triu().bool(), -math.inf)


def bias_transposed(slope, length):
    steps = torch.arange(length).float()
    bias = -slope * (steps[None, :] - steps[:, None])
    return bias.masked_fill(torch.tril(torch.ones(length, length), -1).bool(), -math.inf)


def bias_mask_of_the_wrong_triangle(slope, length):
    steps = torch.arange(length).float()
    bias = -slope * (steps[:, None] - steps[None, :])
    return bias.masked_fill(torch.ones(length, length).tril(-1) == 1, -math.inf)


def bias_tril(slope, length):
    steps = torch.arange(length).float()
    return torch.tril(slope * (steps[None, :] - steps[:, None]))


def bias_very_negative(number):
    def bias(slope, length):
        out = bias_tril(slope, length)
        return out.masked_fill(~torch.ones(length, length).tril().bool(), number)

    return bias


def bias_abs(slope, length):
    steps = torch.arange(length).float()
    return -slope * torch.abs(steps[:, None] - steps)


def bias_unmasked(slope, length):
    steps = torch.arange(length).float()
    return slope * (steps - steps[:, None])


def bias_nan(slope, length):
    future = 1 - torch.tril(torch.ones(length, length))
    return bias_unmasked(slope, length) + future * float("-inf")


# --- 3 turn_part -----------------------------------------------------------------------------------------------------


def rotate_half(x, positions):
    """As in Hugging Face's Llama."""
    angles = torch.outer(positions.float(), speeds_for(x.shape[-1]))
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * cos + torch.cat([-second, first], -1) * sin


def turn_rotate_half(x, positions, part):
    """As in Hugging Face's GPT-NeoX."""
    return torch.cat((rotate_half(x[..., :part], positions), x[..., part:]), dim=-1)


def turn_complex(x, positions, part):
    half = part // 2
    numbers = torch.complex(x[..., :half].double(), x[..., half:part].double())
    angles = positions[:, None].double() * speeds_for(part).double()
    turned = numbers * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag, x[..., part:].double()], -1)


def turn_loops(x, positions, part):
    out, half = x.clone(), part // 2
    for t, p in enumerate(positions.tolist()):
        for i in range(half):
            angle = p / 10_000 ** (i / half)
            a, b = x[..., t, i], x[..., t, i + half]
            out[..., t, i] = a * math.cos(angle) - b * math.sin(angle)
            out[..., t, i + half] = a * math.sin(angle) + b * math.cos(angle)
    return out


def turn_matrices(x, positions, part):
    angle = positions[:, None] * speeds_for(part)
    matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))
    out = x.clone()
    out[..., :part] = torch.einsum("tiab,...tbi->...tai", matrix, x[..., :part].unflatten(-1, (2, part // 2))).flatten(
        -2
    )
    return out


def turn_speed_0_for_the_rest(x, positions, part):
    """The rest forms pairs too, which do not turn."""
    half = part // 2
    order = [*range(half), *range(part, part + (x.shape[-1] - part) // 2)]
    partner = [*range(half, part), *range(part + (x.shape[-1] - part) // 2, x.shape[-1])]
    speeds = torch.cat([speeds_for(part), torch.zeros(len(order) - half)])
    angles = positions[:, None] * speeds
    out = torch.empty_like(x)
    out[..., order] = x[..., order] * angles.cos() - x[..., partner] * angles.sin()
    out[..., partner] = x[..., order] * angles.sin() + x[..., partner] * angles.cos()
    return out


def turn_all(x, positions, part):
    return rotate_half(x, positions)


def turn_with_the_speeds_of_the_head(x, positions, part):
    K = x.shape[-1]
    a, b = x[..., : part // 2], x[..., part // 2 : part]
    angles = positions[:, None] / 10_000 ** (2 * torch.arange(part // 2) / K)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos(), x[..., part:]], -1)


def turn_with_a_partner_in_the_second_half(x, positions, part):
    out, half = x.clone(), x.shape[-1] // 2
    for i in range(part // 2):
        angle = positions / 10_000 ** (2 * i / part)
        out[..., i] = x[..., i] * angle.cos() - x[..., i + half] * angle.sin()
        out[..., i + half] = x[..., i] * angle.sin() + x[..., i + half] * angle.cos()
    return out


def turn_the_last(x, positions, part):
    keep = x.shape[-1] - part
    return torch.cat((x[..., :keep], rotate_half(x[..., keep:], positions)), dim=-1)


def turn_and_forget_the_rest(x, positions, part):
    return rotate_half(x[..., :part], positions)


def turn_into_zeros(x, positions, part):
    out = torch.zeros_like(x)
    out[..., :part] = rotate_half(x[..., :part], positions)
    return out


def turn_neighbours(x, positions, part):
    angles = positions[:, None] * speeds_for(part)
    out = x.clone()
    out[..., 0:part:2] = x[..., 0:part:2] * angles.cos() - x[..., 1:part:2] * angles.sin()
    out[..., 1:part:2] = x[..., 0:part:2] * angles.sin() + x[..., 1:part:2] * angles.cos()
    return out


def turn_repeat_interleave(x, positions, part):
    angles = torch.repeat_interleave(torch.outer(positions.float(), speeds_for(part)), 2, dim=1)
    y = x[..., :part]
    turned = y * angles.cos() + torch.cat([-y[..., part // 2 :], y[..., : part // 2]], dim=-1) * angles.sin()
    return torch.cat([turned, x[..., part:]], -1)


def turn_signs(plus_or_minus_a, plus_or_minus_b):
    def turn(x, positions, part):
        angles = torch.outer(positions.float(), speeds_for(part)).repeat(1, 2)
        a, b = x[..., :part].chunk(2, -1)
        turned = x[..., :part] * angles.cos() + angles.sin() * torch.cat([plus_or_minus_b * b, plus_or_minus_a * a], -1)
        return torch.cat([turned, x[..., part:]], -1)

    return turn


def turn_forgets_the_second_half(x, positions, part):
    out, half = x.clone(), part // 2
    angles = positions[:, None] * speeds_for(part)
    out[..., :half] = x[..., :half] * angles.cos() - x[..., half:part] * angles.sin()
    return out


def turn_in_place_on_a_copy(x, positions, part):
    out, half = x.clone(), part // 2
    angles = positions[:, None] * speeds_for(part)
    out[..., :half] = out[..., :half] * angles.cos() - out[..., half:part] * angles.sin()
    out[..., half:part] = out[..., :half] * angles.sin() + out[..., half:part] * angles.cos()
    return out


def turn_sine_for_cosine(x, positions, part):
    angles = positions[:, None] * speeds_for(part)
    sin, cos = angles.cos(), angles.sin()
    a, b, rest = x.tensor_split((part // 2, part), dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1)


def turn_by_position(x, positions, part):
    a, b, rest = x[..., : part // 2], x[..., part // 2 : part], x[..., part:]
    p = positions.unsqueeze(-1)
    return torch.cat([a * torch.cos(p) - b * torch.sin(p), a * torch.sin(p) + b * torch.cos(p), rest], -1)


def turn_with_exponent(factor):
    def turn(x, positions, part):
        half = part // 2
        angles = positions[:, None] * torch.tensor([10_000 ** (factor * i / part) for i in range(half)])
        a, b = x[..., :half], x[..., half:part]
        turned = [a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()]
        return torch.cat([*turned, x[..., part:]], -1)

    return turn


def turn_as_in_the_example(x, positions, part):
    out, half = x.clone(), part // 2
    for i in range(half):
        angle = positions * 0.01**i
        out[..., i] = x[..., i] * angle.cos() - x[..., i + half] * angle.sin()
        out[..., i + half] = x[..., i] * angle.sin() + x[..., i + half] * angle.cos()
    return out


def turn_adds(x, positions, part):
    angles = positions[:, None] * speeds_for(part)
    out = x.clone()
    out[..., 0:part:2] += angles.sin()
    out[..., 1:part:2] += angles.cos()
    return out


def turn_counts_itself(x, positions, part):
    return turn_rotate_half(x, torch.arange(x.size(-2)), part)


def turn_from_the_library(x, positions, part):
    return torch.cat([rotate(x[..., :part], positions), x[..., part:]], dim=-1)


def turn_from_the_module(x, positions, part):
    heads = x[..., :part].reshape(1, -1, *x.shape[-2:-1], part)
    turned = Rotary(part).turn(heads, positions).reshape(*x.shape[:-1], part)
    return torch.cat([turned, x[..., part:]], dim=-1)


def turn_from_1(x, positions, part):
    return turn_rotate_half(x, positions + 1, part)


def turn_overwrites(x, positions, part):
    x[..., :part] = rotate_half(x[..., :part], positions)
    return x


# --- 4 causal_buckets ------------------------------------------------------------------------------------------------


def buckets_library(query_positions, key_positions):
    return t5_buckets(query_positions[:, None] - key_positions[None, :], bidirectional=False)


def buckets_loops(query_positions, key_positions):
    def bucket(d):
        if d < 0:
            return 0
        if d < 16:
            return d
        return min(31, 16 + int(math.log(d / 16) / math.log(8) * 16))

    return torch.tensor([[bucket(q - k) for k in key_positions.tolist()] for q in query_positions.tolist()])


def buckets_edges(query_positions, key_positions):
    edges = [*range(1, 16), *(math.ceil(16 * 8 ** (k / 16)) for k in range(16))]
    distances = (query_positions[:, None] - key_positions).tolist()
    return torch.tensor([[bisect.bisect_right(edges, d) for d in row] for row in distances])


def buckets_t5_minus_minimum(query_positions, key_positions):
    relative = key_positions[None, :] - query_positions[:, None]
    distance = -torch.min(relative, torch.zeros_like(relative))
    far = 16 + (torch.log(distance.float() / 16) / math.log(8) * 16).clamp(-16, 15).long()
    return torch.where(distance < 16, distance, torch.minimum(far, torch.full_like(far, 31)))


def repaired(distance):
    """The lines below the distance, as they stand in the notebook."""
    growth = torch.log(distance.clamp(min=1) / 16) / math.log(128 / 16)
    far = (16 + growth * 16).long().clamp(max=31)
    return torch.where(distance < 16, distance, far)


def buckets_as_found(query_positions, key_positions):
    return repaired((key_positions - query_positions[:, None]).clamp(min=0))


def buckets_abs(query_positions, key_positions):
    return repaired((key_positions - query_positions[:, None]).abs())


def buckets_sign_only(query_positions, key_positions):
    return repaired(query_positions[:, None] - key_positions)


def buckets_clamp_removed(query_positions, key_positions):
    return repaired(key_positions - query_positions[:, None])


def buckets_clamp_turned(query_positions, key_positions):
    return repaired((key_positions - query_positions[:, None]).clamp(max=0))


def buckets_both_turned(query_positions, key_positions):
    return repaired((query_positions[:, None] - key_positions).clamp(max=0))


def buckets_arguments_swapped(query_positions, key_positions):
    return buckets_as_found(key_positions, query_positions)


def buckets_returned_transposed(query_positions, key_positions):
    return buckets_as_found(query_positions, key_positions).T


def buckets_plus_one(query_positions, key_positions):
    return repaired((query_positions[:, None] - key_positions + 1).clamp(min=1))


def buckets_log_of_one_more(query_positions, key_positions):
    distance = (query_positions[:, None] - key_positions).clamp(min=0)
    far = (16 + torch.log((distance + 1) / 16) / math.log(8) * 16).long().clamp(max=31)
    return torch.where(distance < 16, distance, far)


def buckets_without_a_last(query_positions, key_positions):
    distance = (query_positions[:, None] - key_positions).clamp(min=0)
    far = (16 + torch.log(distance.clamp(min=1) / 16) / math.log(8) * 16).long()
    return torch.where(distance < 16, distance, far)


def buckets_of_an_encoder(query_positions, key_positions):
    return t5_buckets(query_positions[:, None] - key_positions[None, :], bidirectional=True)


# --- 5 test_turn -----------------------------------------------------------------------------------------------------


def test_with_scores(turn):
    torch.manual_seed(1)
    q, k = torch.randn(6, 8), torch.randn(6, 8)
    p = torch.tensor([4, 0, 9, 2, 2, 13])
    assert torch.allclose(turn(q, torch.zeros(6, dtype=torch.long)), q, atol=1e-5)
    assert torch.allclose(turn(q, p).norm(dim=-1), q.norm(dim=-1), atol=1e-4)
    before = turn(q, p) @ turn(k, p).T
    after = turn(q, p + 5) @ turn(k, p + 5).T
    assert torch.allclose(before, after, atol=1e-4)
    assert not torch.allclose(before, q @ k.T, atol=1e-2)


def test_returns_bool(turn):
    q = torch.randn(1, 2, 3, 4)
    k = torch.randn(1, 2, 3, 4)
    zero = torch.tensor([0, 0, 0])

    def score(i, j):
        positions = torch.tensor([i, 0, j])
        return (turn(q, positions)[0, 0, 0] * turn(k, positions)[0, 0, 2]).sum()

    return bool(
        (turn(q, zero) - q).abs().max() < 1e-5
        and (turn(q, torch.tensor([3, 1, 8])).norm(dim=-1) - q.norm(dim=-1)).abs().max() < 1e-4
        and abs(score(7, 3) - score(12, 8)) < 1e-4
        and abs(score(7, 3) - score(7, 5)) > 1e-3
    )


def test_with_equal_tokens(turn):
    """All rows are one vector, so scores are a function of two positions."""
    x = torch.tensor([1.0, 2, -1, 0.5, 3, -2]).expand(10, 6)
    assert torch.isclose(turn(x, torch.zeros(10).long()), x, atol=1e-4).all()
    y = turn(x, torch.arange(10))
    gram = y @ y.T
    for distance in range(10):
        diagonal = gram.diagonal(distance)
        np.testing.assert_allclose(diagonal.numpy(), float(diagonal[0]), rtol=1e-4, atol=1e-4)
    assert abs(gram[0, 0] - gram[0, 3]) > 0.01
    far = turn(x, torch.arange(10) * 4)
    assert abs((far @ far.T)[0, 1] - gram[0, 4]) < 1e-3


def test_asserts_nothing(turn):
    x = torch.randn(4, 6)
    torch.allclose(turn(x, torch.zeros(4).long()), x)


def test_compares_exactly(turn):
    q, k, p = torch.randn(5, 8), torch.randn(5, 8), torch.tensor([3, 1, 4, 1, 5])
    assert torch.equal(turn(q, p) @ turn(k, p).T, turn(q, p + 2) @ turn(k, p + 2).T)


def test_against_half_split(turn):
    x, p = torch.randn(5, 8), torch.arange(5)
    assert torch.allclose(turn(x, p), rotate_half(x, p), atol=1e-4)


def test_wants_everything_changed(turn):
    x, p = torch.randn(5, 8), torch.arange(1, 6)
    assert ((turn(x, p) - x).abs() > 0).all()


def test_wants_enough_change_in_slow_pairs(turn):
    q = torch.tensor([[1.0, 1, 1, 1, 1, 1]])
    moved = turn(q, torch.tensor([1]))
    assert torch.allclose(moved.norm(), q.norm(), atol=1e-4)
    assert sorted((moved - q).abs()[0].tolist())[1] > 1.5e-3


def test_first_direction(turn):
    x = torch.eye(8)[:1]
    moved = turn(x, torch.tensor([1]))
    assert (moved > -1e-6).all()
    assert moved.max() < 0.99


def test_only_shape_and_zero(turn):
    x = torch.randn(5, 8)
    assert turn(x, torch.arange(5)).shape == x.shape
    assert torch.allclose(turn(x, torch.zeros(5).long()), x, atol=1e-5)


def test_only_lengths(turn):
    x = torch.randn(5, 8)
    assert torch.allclose(turn(x, torch.arange(5) + 2).norm(dim=-1), x.norm(dim=-1), atol=1e-4)


def test_lengths_and_zero(turn):
    test_only_lengths(turn)
    test_only_shape_and_zero(turn)


def test_only_the_distance(turn):
    q, k, p = torch.randn(5, 8), torch.randn(5, 8), torch.tensor([3, 1, 4, 1, 5])
    assert torch.allclose(turn(q, p) @ turn(k, p).T, turn(q, p + 2) @ turn(k, p + 2).T, atol=1e-4)


def test_three_laws(turn):
    test_lengths_and_zero(turn)
    test_only_the_distance(turn)


def test_three_laws_of_a_single_token(turn):
    q, k = torch.randn(1, 8), torch.randn(1, 8)

    def score(i, j):
        return (turn(q, torch.tensor([i])) * turn(k, torch.tensor([j]))).sum()

    assert torch.allclose(turn(q, torch.tensor([0])), q, atol=1e-5)
    assert torch.allclose(turn(q, torch.tensor([5])).norm(), q.norm(), atol=1e-4)
    assert torch.isclose(score(5, 3), score(9, 7), atol=1e-4)


def test_something_changes(turn):
    test_three_laws(turn)
    x = torch.randn(5, 8)
    assert not torch.allclose(turn(x, torch.arange(5) + 1), x)


def test_adds_would_pass(turn):
    q, k, p = torch.randn(5, 8), torch.randn(5, 8), torch.tensor([3, 1, 4, 1, 5])
    assert not torch.allclose(turn(q, p) @ turn(k, p).T, q @ k.T, atol=1e-2)


def test_lengths_near_position_0(turn):
    """Lengths are only looked at near position 0, where a growing vector has hardly grown."""
    q, zero = torch.randn(5, 8), torch.zeros(5).long()
    assert torch.allclose(turn(q, zero), q, atol=1e-5)
    assert torch.allclose(turn(q, zero + 1).norm(dim=-1), q.norm(dim=-1), rtol=0.05)
    assert not torch.allclose(turn(q, zero + 1), q, atol=1e-2)


def test_always_in_order(turn):
    q, k, p = torch.randn(5, 8), torch.randn(5, 8), torch.arange(5)
    assert torch.allclose(turn(q, p)[0], q[0], atol=1e-5)
    assert torch.allclose(turn(q, p).norm(dim=-1), q.norm(dim=-1), atol=1e-4)
    scores = turn(q, p) @ turn(k, p).T
    assert torch.allclose(scores, turn(q, p + 6) @ turn(k, p + 6).T, atol=1e-4)
    assert not torch.allclose(scores, q @ k.T, atol=1e-2)


def test_at_a_distance_of_position_0(turn):
    q, k = torch.randn(5, 8), torch.randn(5, 8)
    zero, three = torch.zeros(5).long(), torch.full((5,), 3)
    assert torch.allclose(turn(q, zero), q, atol=1e-5)
    assert not torch.allclose(turn(q, three), q, atol=1e-3)
    assert torch.allclose(turn(q, three) @ turn(k, three).T, q @ k.T, atol=1e-3)


def test_refuses(turn):
    x = torch.randn(5, 8)
    assert (turn(x, torch.arange(5)) == 0).all()


# --- 6 drop_middle ---------------------------------------------------------------------------------------------------


def left_over(keys, kept, dropped):
    return torch.cat([keys[..., :kept, :], keys[..., kept + dropped :, :]], dim=-2)


def drop_from_the_library(keys, kept, dropped):
    rest = keys[..., kept + dropped :, :]
    return torch.cat([keys[..., :kept, :], rotate(rest, torch.full((rest.shape[-2],), -dropped))], dim=-2)


def drop_by_hand(keys, kept, dropped):
    K = keys.shape[-1]
    angle = -dropped * speeds_for(K)
    out = torch.cat([keys[..., :kept, :], keys[..., kept + dropped :, :]], dim=-2).clone()
    a, b = out[..., kept:, : K // 2].clone(), out[..., kept:, K // 2 :].clone()
    out[..., kept:, : K // 2] = a * angle.cos() - b * angle.sin()
    out[..., kept:, K // 2 :] = a * angle.sin() + b * angle.cos()
    return out


def drop_back_and_forth(keys, kept, dropped):
    """All turns are undone, and the keys that are left get new ones."""
    plain = rotate(keys, -torch.arange(keys.shape[-2]))
    left = left_over(plain, kept, dropped)
    return rotate(left, torch.arange(left.shape[-2]))


def drop_complex(keys, kept, dropped):
    half = keys.shape[-1] // 2
    left = left_over(keys, kept, dropped).double()
    moved = torch.arange(left.shape[-2]) >= kept
    angles = -dropped * moved[:, None] * speeds_for(2 * half).double()
    turned = torch.complex(left[..., :half], left[..., half:]) * torch.exp(1j * angles)
    return torch.cat([turned.real, turned.imag], -1)


def drop_with_a_matrix(keys, kept, dropped):
    cos, sin = (torch.diag(f(dropped * speeds_for(keys.shape[-1]))) for f in (torch.cos, torch.sin))
    matrix = torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])
    return torch.cat([keys[..., :kept, :], keys[..., kept + dropped :, :] @ matrix], dim=-2)


def drop_only(keys, kept, dropped):
    chosen = [t for t in range(keys.shape[-2]) if not kept <= t < kept + dropped]
    return keys[..., chosen, :]


def drop_and_turn(positions_of):
    """The keys that are left are turned by some positions."""

    def drop(keys, kept, dropped):
        left = left_over(keys, kept, dropped)
        t = torch.arange(left.shape[-2])
        return rotate_half(left, positions_of(t, kept, dropped))

    return drop


def behind(t, kept, value):
    return torch.where(t < kept, 0, value)


def drop_the_front(keys, kept, dropped):
    rest = keys[..., dropped:, :]
    return rotate_half(rest, torch.full((rest.shape[-2],), -dropped))


def drop_neighbours(keys, kept, dropped):
    rest, angle = keys[..., kept + dropped :, :], -dropped * speeds_for(keys.shape[-1])
    out = torch.empty_like(rest)
    out[..., ::2] = rest[..., ::2] * angle.cos() - rest[..., 1::2] * angle.sin()
    out[..., 1::2] = rest[..., ::2] * angle.sin() + rest[..., 1::2] * angle.cos()
    return torch.cat([keys[..., :kept, :], out], dim=-2)


def drop_at_speeds(exponent):
    def drop(keys, kept, dropped):
        half = keys.shape[-1] // 2
        rest = keys[..., kept + dropped :, :]
        angle = torch.tensor([dropped / 10_000 ** (exponent * i / (2 * half)) for i in range(half)])
        a, b = rest[..., :half], rest[..., half:]
        turned = torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin()], -1)
        return torch.cat([keys[..., :kept, :], turned], dim=-2)

    return drop


# --- 7 to_neighbours -------------------------------------------------------------------------------------------------


def zipped(rows):
    """a b c d e f becomes a d b e c f."""
    return torch.stack(rows.chunk(2), dim=1).flatten(0, 1)


def evens_then_odds(rows):
    return torch.cat([rows[0::2], rows[1::2]])


def by_heads(rows, heads, order):
    return torch.cat([order(head) for head in rows.chunk(heads)])


def cut(weight, heads, key_heads):
    K = weight.shape[0] // (heads + 2 * key_heads)
    return weight.split([heads * K, key_heads * K, key_heads * K])


def neighbours_reshape(weight, heads, key_heads):
    """The first heads + key_heads heads are all alike, so there is no need to cut them apart."""
    K = weight.shape[0] // (heads + 2 * key_heads)
    both, v = weight[: -key_heads * K], weight[-key_heads * K :]
    return torch.cat([both.view(heads + key_heads, 2, K // 2, -1).transpose(1, 2).reshape(both.shape), v])


def neighbours_index(weight, heads, key_heads):
    K = weight.shape[0] // (heads + 2 * key_heads)
    order = []
    for head in range(heads + key_heads):
        for i in range(K // 2):
            order += [head * K + i, head * K + K // 2 + i]
    order += range((heads + key_heads) * K, weight.shape[0])
    return weight[order]


def neighbours_slices(weight, heads, key_heads):
    out = weight.clone()
    K = weight.shape[0] // (heads + 2 * key_heads)
    for start in range(0, (heads + key_heads) * K, K):
        out[start : start + K : 2] = weight[start : start + K // 2]
        out[start + 1 : start + K : 2] = weight[start + K // 2 : start + K]
    return out


def neighbours_numpy_matrix(weight, heads, key_heads):
    """A permutation matrix from the left."""
    K = weight.shape[0] // (heads + 2 * key_heads)
    small = np.zeros((K, K), dtype=np.float32)
    for i in range(K // 2):
        small[2 * i, i] = small[2 * i + 1, K // 2 + i] = 1
    whole = np.eye(weight.shape[0], dtype=np.float32)
    turned = (heads + key_heads) * K
    whole[:turned, :turned] = np.kron(np.eye(heads + key_heads, dtype=np.float32), small)
    return torch.from_numpy(whole @ weight.numpy())


def neighbours_module(weight, heads, key_heads):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = neighbours_index(weight, heads, key_heads)
    return layer.weight.data


def neighbours_one_hot(weight, heads, key_heads):
    order = neighbours_index(torch.arange(len(weight))[:, None], heads, key_heads)[:, 0]
    return F.one_hot(order, len(weight)).to(weight.dtype) @ weight


def neighbours_values_too(weight, heads, key_heads):
    return by_heads(weight, heads + 2 * key_heads, zipped)


def neighbours_heads_forgotten(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([zipped(q), zipped(k), v])


def neighbours_parts_forgotten(weight, heads, key_heads):
    return zipped(weight)


def neighbours_inverse(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([by_heads(q, heads, evens_then_odds), by_heads(k, key_heads, evens_then_odds), v])


def neighbours_inverse_of_all(weight, heads, key_heads):
    K = weight.shape[0] // (heads + 2 * key_heads)
    return weight.view(-1, K // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def neighbours_query_heads_for_keys(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([by_heads(q, heads, zipped), by_heads(k, heads, zipped), v])


def neighbours_columns(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([by_heads(q.T, heads, zipped).T, by_heads(k.T, key_heads, zipped).T, v])


def neighbours_columns_everywhere(weight, heads, key_heads):
    return weight.unflatten(1, (heads, 2, -1)).transpose(2, 3).flatten(1)


def neighbours_queries_only(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([by_heads(q, heads, zipped), k, v])


def neighbours_keys_only(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([q, by_heads(k, key_heads, zipped), v])


def neighbours_from_the_library(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    return torch.cat([to_interleaved(q, heads), to_interleaved(k, key_heads), v])


def neighbours_first_head_only(weight, heads, key_heads):
    K = weight.shape[0] // (heads + 2 * key_heads)
    out = weight.clone()
    for _ in range(heads + key_heads):
        for i in range(K // 2):
            out[2 * i], out[2 * i + 1] = weight[i], weight[i + K // 2]
    return out


def neighbours_changes_nothing(weight, heads, key_heads):
    q, k, v = cut(weight, heads, key_heads)
    by_heads(q, heads, zipped)
    by_heads(k, key_heads, zipped)
    return torch.cat([q, k, v])


def neighbours_in_place(weight, heads, key_heads):
    for head in weight.chunk(heads + 2 * key_heads)[: heads + key_heads]:
        head.copy_(zipped(head).clone())
    return weight


RIGHT = {
    "waves_in_halves": [
        ("outer", waves_outer),
        ("loops", waves_loops),
        ("numpy", waves_numpy),
        ("complex", waves_complex),
        ("exp, einsum", waves_by_exp),
        ("library", waves_from_the_library),
    ],
    "linear_bias": [
        ("loops", bias_loops),
        ("where, float64", bias_where),
        ("numpy", bias_numpy),
        ("added mask", bias_added_mask),
    ],
    "turn_part": [
        ("rotate_half", turn_rotate_half),
        ("complex, float64", turn_complex),
        ("loops", turn_loops),
        ("einsum", turn_matrices),
        ("speed 0", turn_speed_0_for_the_rest),
    ],
    "causal_buckets": [
        ("library", buckets_library),
        ("loops", buckets_loops),
        ("edges", buckets_edges),
        ("as in T5's code", buckets_t5_minus_minimum),
    ],
    "test_turn": [
        ("scores", test_with_scores),
        ("returns a bool", test_returns_bool),
        ("equal tokens", test_with_equal_tokens),
    ],
    "drop_middle": [
        ("library", drop_from_the_library),
        ("by hand", drop_by_hand),
        ("back and forth", drop_back_and_forth),
        ("complex, float64", drop_complex),
        ("matrix", drop_with_a_matrix),
    ],
    "to_neighbours": [
        ("reshape", neighbours_reshape),
        ("index", neighbours_index),
        ("slices", neighbours_slices),
        ("numpy matrix", neighbours_numpy_matrix),
        ("module", neighbours_module),
        ("one-hot", neighbours_one_hot),
    ],
}

WRONG = {
    "waves_in_halves": [
        ("alternating", waves_as_in_the_chapter),
        ("cosines_first", waves_cosines_first),
        ("not_doubled", waves_with_exponent(-1)),
        ("doubled_twice", waves_with_exponent(-4)),
        ("one_speed_a_column", waves_all_columns),
        ("one_speed_a_column_doubled", waves_all_columns_doubled),
        ("reaching_the_base", waves_as_in_tensor2tensor),
        ("base_1000", waves_with_exponent(-2, base=1000)),
        ("unknown", waves_with_exponent(-2, base=500)),
        ("counted_from_1", lambda positions, width: waves_outer(positions + 1, width)),
        ("own_counting", waves_of_arange),
        ("degrees", waves_in_degrees),
        ("times_not_divided", waves_with_exponent(2)),
        ("one_speed", waves_at_one_speed),
        ("a_hundred_times_each", waves_as_in_the_example),
        ("transposed", waves_stacked),
        ("wrong_kind", lambda positions, width: waves_outer(positions, width).tolist()),
    ],
    "linear_bias": [
        ("sign", bias_rewards),
        ("key_position", bias_as_in_bloom),
        ("key_position_subtracted", bias_by_key),
        ("query_position", bias_by_query),
        ("not_multiplied", bias_without_slope),
        ("divided", lambda slope, length: bias_loops(1 / slope, length)),
        ("one_too_far", bias_from_1),
        ("not_itself", bias_hides_itself),
        ("past_hidden", bias_transposed),
        ("wrong_triangle", bias_mask_of_the_wrong_triangle),
        ("zero_above", bias_tril),
        ("huge_above", bias_very_negative(-1e9)),
        ("huge_above", bias_very_negative(-10_000.0)),
        ("huge_above", bias_very_negative(torch.finfo(torch.float32).min)),
        ("both_sides", bias_abs),
        ("future_rewarded", bias_unmasked),
        ("zero_times_infinity", bias_nan),
        ("returned_none", lambda slope, length: print(bias_loops(slope, length))),
    ],
    "turn_part": [
        ("everything", turn_all),
        ("speeds_of_the_head", turn_with_the_speeds_of_the_head),
        ("pairs_of_the_head", turn_with_a_partner_in_the_second_half),
        ("last_part", turn_the_last),
        ("rest_is_lost", turn_and_forget_the_rest),
        ("rest_is_zero", turn_into_zeros),
        ("interleaved", turn_neighbours),
        ("angles_in_the_other_order", turn_repeat_interleave),
        ("other_direction", turn_signs(-1, +1)),
        ("no_minus", turn_signs(+1, +1)),
        ("one_half", turn_forgets_the_second_half),
        ("first_half_reused", turn_in_place_on_a_copy),
        ("sine_for_cosine", turn_sine_for_cosine),
        ("one_angle", turn_by_position),
        ("not_doubled", turn_with_exponent(-1)),
        ("doubled_twice", turn_with_exponent(-4)),
        ("times_not_divided", turn_with_exponent(2)),
        ("unknown", turn_with_exponent(-3)),
        ("a_hundred_times_each", turn_as_in_the_example),
        ("own_counting", turn_counts_itself),
        ("counted_from_1", turn_from_1),
        ("adds", turn_adds),
        ("changed_input", turn_overwrites),
        ("from_the_library", turn_from_the_library),
        ("from_the_library", turn_from_the_module),
    ],
    "causal_buckets": [
        ("still_there", buckets_as_found),
        ("absolute", buckets_abs),
        ("not_clamped", buckets_sign_only),
        ("not_clamped_and_turned", buckets_clamp_removed),
        ("negative_past", buckets_clamp_turned),
        ("past_clamped", buckets_both_turned),
        ("transposed", buckets_arguments_swapped),
        ("transposed_only", buckets_returned_transposed),
        ("one_too_far", buckets_plus_one),
        ("logarithm_moved", buckets_log_of_one_more),
        ("no_last_bucket", buckets_without_a_last),
        ("two_directions", buckets_of_an_encoder),
    ],
    "test_turn": [
        ("asserts_nothing", test_asserts_nothing),
        ("refuses_everything", test_refuses),
        ("refuses_half_split", test_compares_exactly),
        ("refuses_neighbours", test_against_half_split),
        ("refuses_partial", test_wants_everything_changed),
        ("refuses_clockwise", test_first_direction),
        ("refuses_large_base", test_wants_enough_change_in_slow_pairs),
        ("misses_adds", test_adds_would_pass),
        ("misses_adds_from_nothing", test_only_shape_and_zero),
        ("misses_grows", test_lengths_near_position_0),
        ("misses_squared", test_lengths_and_zero),
        ("misses_quarter_turn_at_0", test_only_the_distance),
        ("misses_turns_nothing", test_three_laws),
        ("misses_turns_nothing", test_three_laws_of_a_single_token),
        ("misses_one_turn_for_all", test_something_changes),
        ("misses_counts_itself", test_always_in_order),
        ("raised", lambda turn: turn(torch.randn(5, 8), torch.arange(4))),
    ],
    "drop_middle": [
        ("not_moved", drop_only),
        ("other_way", drop_and_turn(lambda t, kept, dropped: behind(t, kept, dropped))),
        ("all_moved", drop_and_turn(lambda t, kept, dropped: torch.full_like(t, -dropped))),
        ("turned_anew", drop_and_turn(lambda t, kept, dropped: t)),
        ("rest_turned_anew", drop_and_turn(lambda t, kept, dropped: behind(t, kept, t))),
        ("turned_back", drop_and_turn(lambda t, kept, dropped: behind(t, kept, -(t + dropped)))),
        ("front_dropped", drop_the_front),
        ("moved_to_the_front", drop_and_turn(lambda t, kept, dropped: behind(t, kept, -(kept + dropped)))),
        ("one_too_few", drop_and_turn(lambda t, kept, dropped: behind(t, kept, min(0, 1 - dropped)))),
        ("interleaved", drop_neighbours),
        ("one_angle", drop_at_speeds(0)),
        ("not_doubled", drop_at_speeds(1)),
        ("unknown", drop_and_turn(lambda t, kept, dropped: behind(t, kept, -dropped - 1))),
        ("wrong_shape", lambda keys, kept, dropped: keys),
    ],
    "to_neighbours": [
        ("values_too", neighbours_values_too),
        ("inverse", neighbours_inverse),
        ("inverse_values_too", neighbours_inverse_of_all),
        ("across_heads", neighbours_heads_forgotten),
        ("across_everything", neighbours_parts_forgotten),
        ("query_heads_for_keys", neighbours_query_heads_for_keys),
        ("columns", neighbours_columns),
        ("columns_everywhere", neighbours_columns_everywhere),
        ("queries_only", neighbours_queries_only),
        ("keys_only", neighbours_keys_only),
        ("unchanged", neighbours_changes_nothing),
        ("one_head_only", neighbours_first_head_only),
        ("changed_input", neighbours_in_place),
        ("from_the_library", neighbours_from_the_library),
    ],
}
