"""Answers to the exercises of chapter 03, right and wrong, as learners write them."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from course_lib.layers.attention import attention
from course_lib.layers.masks import causal_mask

# --- soft_lookup ------------------------------------------------------------------------------------------------------


def lookup_by_loop(query, keys, values, sharpness):
    scores = [sharpness * float(key @ query) for key in keys]
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return sum(power / sum(powers) * value for power, value in zip(powers, values, strict=True))


def lookup_in_numpy(query, keys, values, sharpness):
    scores = sharpness * keys.numpy().astype(np.float64) @ query.numpy().astype(np.float64)
    shares = np.exp(scores - np.logaddexp.reduce(scores))
    return torch.from_numpy(shares @ values.numpy())


def lookup_einsum(query, keys, values, sharpness):
    shares = F.softmax(torch.einsum("k,sk->s", query * sharpness, keys), dim=-1)
    return torch.einsum("s,sv->v", shares, values)


def lookup_fused(query, keys, values, sharpness):
    return F.scaled_dot_product_attention(query[None], keys, values, scale=sharpness)[0]


def lookup_hard(query, keys, values, sharpness):
    best = torch.argmax(torch.mv(keys, query))
    return values[int(best)]


def lookup_raw(query, keys, values, sharpness):
    answer = torch.zeros(values.shape[1])
    for key, value in zip(keys, values, strict=True):
        answer += sharpness * torch.dot(key, query) * value
    return answer


def lookup_linear(query, keys, values, sharpness):
    scores = sharpness * (keys @ query)
    return scores / torch.sum(scores) @ values


def lookup_unnormalised(query, keys, values, sharpness):
    return torch.exp(sharpness * query @ keys.T) @ values


def lookup_mixes_keys(query, keys, values, sharpness):
    shares = torch.softmax(sharpness * query @ keys.T, 0)
    return (shares.unsqueeze(1) * keys).sum(0)


def lookup_shares(query, keys, values, sharpness):
    return torch.softmax(sharpness * query @ keys.T, 0)


def lookup_rows(query, keys, values, sharpness):
    shares = torch.softmax(sharpness * query @ keys.T, 0)
    return shares.unsqueeze(1) * values


def lookup_no_knob(query, keys, values, sharpness):
    return torch.softmax(query @ keys.T, 0) @ values


def lookup_temperature(query, keys, values, sharpness):
    return torch.softmax(query @ keys.T / sharpness, 0) @ values


def lookup_late(query, keys, values, sharpness):
    shares = torch.softmax(query @ keys.T, 0) * sharpness
    return shares @ values


def lookup_scaled(query, keys, values, sharpness):
    scores = query @ keys.T / query.shape[0] ** 0.5
    return (scores * sharpness).softmax(-1) @ values


def lookup_by_powers(query, keys, values, sharpness):
    powers = torch.exp(sharpness * torch.matmul(keys, query))
    shares = powers / powers.sum()
    return torch.matmul(shares, values)


def lookup_mean(query, keys, values, sharpness):
    return values.sum(0) / len(values)


# --- scaled_scores ----------------------------------------------------------------------------------------------------


def scores_by_loops(q, k):
    B, H, T, K = q.shape
    scores = torch.zeros(B, H, T, k.shape[2])
    for b in range(B):
        for h in range(H):
            for t in range(T):
                for s in range(k.shape[2]):
                    scores[b, h, t, s] = sum(q[b, h, t, i] * k[b, h, s, i] for i in range(K)) / K**0.5
    return scores


def scores_einsum(q, k):
    return torch.einsum("bhtk,bhsk->bhts", q, k) * q.size(-1) ** -0.5


def scores_both_sides(q, k):
    fourth_root = q.shape[-1] ** 0.25
    return (q / fourth_root).double() @ (k / fourth_root).double().permute(0, 1, 3, 2)


def scores_einsum_raw(q, k):
    return torch.einsum("bhtk,bhsk->bhts", q, k)


def scores_over_K(q, k):
    return torch.einsum("bhtk,bhsk->bhts", q, k) / q.size(-1)


def scores_over_width(q, k):
    H, K = q.shape[1], q.shape[3]
    D = H * K
    return torch.matmul(q, k.transpose(2, 3)) / math.sqrt(D)


def scores_over_S(q, k):
    scores = torch.matmul(q, k.transpose(2, 3))
    return scores / scores.shape[-1] ** 0.5


def scores_over_T(q, k):
    d_k = q.size(2)
    return torch.matmul(q, k.transpose(2, 3)) / math.sqrt(d_k)


def scores_over_H(q, k):
    d_k = q.shape[1]
    return torch.matmul(q, k.transpose(2, 3)) / math.sqrt(d_k)


def scores_by_their_spread(q, k):
    scores = torch.einsum("bhtk,bhsk->bhts", q, k)
    return scores / torch.std(scores)


def scores_by_the_spread_of_rows(q, k):
    scores = torch.einsum("bhtk,bhsk->bhts", q, k)
    return scores / torch.std(scores, dim=3, keepdim=True)


def scores_times(q, k):
    return torch.matmul(q, k.transpose(2, 3)) * q.size(3) ** 0.5


def scores_viewed(q, k):
    B, H, S, K = k.shape
    return torch.matmul(q, k.view(B, H, K, S)) / math.sqrt(K)


def scores_swapped(q, k):
    return torch.einsum("bhsk,bhtk->bhst", k, q) / math.sqrt(k.shape[-1])


def scores_softmax(q, k):
    return F.softmax(torch.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(k.shape[-1]), -1)


def scores_cosine(q, k):
    return F.cosine_similarity(q[:, :, :, None], k[:, :, None], dim=-1)


def scores_scaled_again(q, k):
    q = q / math.sqrt(q.shape[-1])
    return q @ k.transpose(-2, -1) / q.shape[-1] ** 0.25


# --- masked_weights ---------------------------------------------------------------------------------------------------


def weights_nan_to_num(scores, mask):
    return torch.nan_to_num(torch.where(mask, scores, -torch.inf).softmax(-1), 0.0)


def weights_twice(scores, mask):
    return (scores.masked_fill(mask == 0, -1e9)).softmax(-1) * mask


def weights_by_powers(scores, mask):
    allowed = mask.expand(scores.shape).double()
    top = torch.where(mask, scores, -1e30).max(-1, keepdim=True).values.clamp(min=-1e20)
    powers = torch.exp(torch.where(mask, scores - top, 0.0)) * allowed
    return powers / powers.sum(-1, keepdim=True).clamp(min=1e-30)


def weights_by_rows(scores, mask):
    weights = torch.zeros_like(scores)
    mask = mask.expand_as(scores)
    for b in range(scores.shape[0]):
        for h in range(scores.shape[1]):
            for t in range(scores.shape[2]):
                seen = mask[b, h, t]
                if seen.any():
                    weights[b, h, t, seen] = F.softmax(scores[b, h, t, seen], dim=0)
    return weights


def weights_inverted(scores, mask):
    return F.softmax(scores.masked_fill(mask, float("-inf")), dim=-1)


def weights_inverted_low(scores, mask):
    return F.softmax(torch.where(mask, torch.tensor(-1e9), scores), dim=-1)


def weights_lost(scores, mask):
    scores.clone().masked_fill_(~mask, float("-inf"))
    return F.softmax(scores, dim=-1)


def weights_masked_late(scores, mask):
    return F.softmax(scores, dim=-1).masked_fill(~mask, 0)


def weights_zero_scores(scores, mask):
    return F.softmax(scores * mask, dim=-1)


def weights_added(scores, mask):
    return F.softmax(scores + mask, dim=-1)


def weights_columns(scores, mask):
    return F.softmax(scores.masked_fill(~mask, -1e9), dim=2)


def weights_heads(scores, mask):
    return F.softmax(scores.masked_fill(~mask, float("-inf")), dim=1)


def weights_heads_low(scores, mask):
    return F.softmax(scores.masked_fill(~mask, -1e9), dim=1)


def weights_no_softmax(scores, mask):
    return torch.where(mask, scores, float("-inf"))


def weights_times_infinity(scores, mask):
    return F.softmax(scores + (1 - mask.int()) * float("-inf"), dim=-1)


def weights_new_sum(scores, mask):
    weights = F.softmax(scores, dim=-1) * mask
    return weights / weights.sum(dim=-1, keepdim=True)


def weights_new_sum_careful(scores, mask):
    weights = F.softmax(scores, dim=-1) * mask
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-12)


def weights_textbook(scores, mask):
    return F.softmax(scores.masked_fill(mask == 0, float("-inf")), dim=-1)


def weights_bert(scores, mask):
    return F.softmax(scores + (1.0 - mask.float()) * -1e9, dim=-1)


def weights_empty_rows_open(scores, mask):
    some = mask.any(-1, keepdim=True)
    return F.softmax(scores.masked_fill(some & ~mask, float("-inf")), dim=-1)


# --- window_mask ------------------------------------------------------------------------------------------------------


def window_by_loops(length, window, sinks):
    rows = [[s <= t and (t - s < window or s < sinks) for s in range(length)] for t in range(length)]
    return torch.tensor(rows)


def window_by_triangles(length, window, sinks):
    ones = torch.ones(length, length).bool()
    mask = ones.triu(1 - window)
    mask[:, :sinks] = True
    return mask.tril()


def window_by_slices(length, window, sinks):
    mask = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        mask[t, max(0, t + 1 - window) : t + 1] = True
        mask[t, : min(sinks, t + 1)] = True
    return mask


def window_by_difference(length, window, sinks):
    causal = torch.ones(length, length).tril()
    near = causal - torch.ones(length, length).tril(-window)
    near[:, :sinks] = causal[:, :sinks]
    return near == 1


def window_rows(length, window, sinks):
    mask = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        mask[t, t - window + 1 : t + 1] = True
        mask[t, : min(sinks, t + 1)] = True
    return mask


def window_wraps(length, window, sinks):
    mask = torch.zeros(length, length, dtype=torch.bool)
    for t in range(length):
        for back in range(window):
            mask[t, t - back] = True
        for s in range(min(sinks, t + 1)):
            mask[t, s] = True
    return mask


def window_wide(length, window, sinks):
    mask = torch.ones(length, length).bool().triu(-window)
    mask[:, :sinks] = True
    return mask.tril()


def window_narrow(length, window, sinks):
    mask = torch.ones(length, length).bool().triu(2 - window)
    mask[:, :sinks] = True
    return mask.tril()


def window_before(length, window, sinks):
    return torch.tensor([[s < t and (t - s <= window or s < sinks) for s in range(length)] for t in range(length)])


def window_before_narrow(length, window, sinks):
    return torch.tensor([[0 < t - s < window or (s < sinks and s < t) for s in range(length)] for t in range(length)])


def window_symmetric(length, window, sinks):
    i = torch.arange(length)
    return ((i[:, None] - i[None]).abs() < window) | (i[None] < sinks)


def window_open(length, window, sinks):
    mask = torch.ones(length, length).bool().triu(1 - window)
    mask[:, :sinks] = True
    return mask


def window_causal(length, window, sinks):
    return causal_mask(length)


def window_inverted(length, window, sinks):
    return torch.tensor([[s > t or (t - s >= window and s >= sinks) for s in range(length)] for t in range(length)])


def window_transposed(length, window, sinks):
    t, s = torch.arange(length), torch.arange(length)[:, None]
    return (s <= t) & ((t - s < window) | (s < sinks))


def window_far(length, window, sinks):
    i = torch.arange(length)
    distance = i[:, None] - i
    return (distance >= 0) & ((distance >= window) | (i < sinks))


def window_and(length, window, sinks):
    i = torch.arange(length)
    distance = i[:, None] - i
    return (distance >= 0) & (distance < window) & (i < sinks)


def window_no_sinks(length, window, sinks):
    return torch.ones(length, length).bool().tril().triu(1 - window)


def window_early_sinks(length, window, sinks):
    mask = torch.ones(length, length).bool().tril().triu(1 - window)
    mask[:, :sinks] = True
    return mask


def window_sink_rows(length, window, sinks):
    mask = torch.ones(length, length).bool().tril().triu(1 - window)
    mask[:sinks] = True
    return mask


def window_sink_rows_causal(length, window, sinks):
    mask = torch.ones(length, length).bool().triu(1 - window)
    mask[:sinks, :] = True
    return mask.tril()


def window_extra_sink(length, window, sinks):
    mask = torch.ones(length, length).bool().triu(1 - window)
    mask[:, : sinks + 1] = True
    return mask.tril()


def window_as_numbers(length, window, sinks):
    return window_by_triangles(length, window, sinks).float()


# --- split_heads ------------------------------------------------------------------------------------------------------


def split_view(packed, heads):
    B, T, _ = packed.shape
    q, k, v = packed.view(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return q, k, v


def split_by_slices(packed, heads):
    width = packed.shape[-1] // 3
    head = width // heads
    parts = []
    for part in range(3):
        start = part * width
        parts.append(torch.stack([packed[..., start + h * head : start + (h + 1) * head] for h in range(heads)], 1))
    return parts


def split_in_numpy(packed, heads):
    B, T, width = packed.shape
    array = packed.numpy().reshape(B, T, 3, heads, width // 3 // heads).transpose(2, 0, 3, 1, 4)
    return tuple(torch.tensor(part) for part in array)


def split_viewed(packed, heads):
    B, T, width = packed.shape
    q, k, v = packed.split(width // 3, dim=2)
    K = width // 3 // heads
    return q.reshape(B, heads, T, K), k.reshape(B, heads, T, K), v.reshape(B, heads, T, K)


def split_in_one_go(packed, heads):
    B, T, width = packed.shape
    parts = packed.view(B, 3, heads, T, width // 3 // heads)
    return parts[:, 0], parts[:, 1], parts[:, 2]


def split_not_moved(packed, heads):
    B, T, _ = packed.shape
    q, k, v = packed.view(B, T, 3, heads, -1).permute(2, 0, 1, 3, 4)
    return q, k, v


def split_every_other(packed, heads):
    B, T, width = packed.shape
    q, k, v = packed.view(B, T, 3, width // 3 // heads, heads).permute(2, 0, 4, 1, 3)
    return q, k, v


def split_per_head(packed, heads):
    B, T, _ = packed.shape
    rows = packed.view(B, T, heads, -1).transpose(1, 2)
    return rows.chunk(3, dim=-1)


def split_one_of_each(packed, heads):
    B, T, _ = packed.shape
    every = [packed[..., i::3] for i in range(3)]
    return tuple(x.reshape(B, T, heads, -1).transpose(1, 2) for x in every)


def split_keys_first(packed, heads):
    k, q, v = split_view(packed, heads)
    return q, k, v


def split_values_first(packed, heads):
    v, k, q = split_view(packed, heads)
    return q, k, v


def split_values_second(packed, heads):
    q, v, k = split_view(packed, heads)
    return q, k, v


def split_parts_only(packed, heads):
    return torch.split(packed, packed.shape[-1] // 3, dim=-1)


def split_along_the_batch(packed, heads):
    B, T, width = packed.shape
    return packed.view(B, T, 3, heads, width // 3 // heads).transpose(1, 2).unbind(0)


def split_stacked(packed, heads):
    B, T, _ = packed.shape
    return packed.view(B, T, 3, heads, -1).permute(2, 0, 3, 1, 4)


# --- attend_with_cache ------------------------------------------------------------------------------------------------


def cached_fused(q, k, v):
    T, S = q.shape[2], k.shape[2]
    mask = torch.ones(T, S, dtype=torch.bool).tril(diagonal=S - T)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def cached_by_loops(q, k, v):
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=torch.float64)
    H, T = q.shape[1:3]
    G, S = k.shape[1:3]
    for h in range(H):
        g = h * G // H
        for t in range(T):
            end = S - T + t + 1
            scores = (k[:, g, :end].double() @ q[:, h, t, :, None].double()).squeeze(-1) / q.shape[-1] ** 0.5
            out[:, h, t] = (scores.softmax(1).unsqueeze(1) @ v[:, g, :end].double()).squeeze(1)
    return out


def cached_einsum(q, k, v):
    B, H, T, K = q.shape
    G, S = k.shape[1:3]
    grouped = q.reshape(B, G, H // G, T, K)
    scores = torch.einsum("bgntk,bgsk->bgnts", grouped, k) / math.sqrt(K)
    hidden = torch.arange(S) > torch.arange(S - T, S)[:, None]
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return torch.einsum("bgnts,bgsk->bgntk", weights, v).reshape(B, H, T, K)


def cached_library(q, k, v):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    return attention(q, k, v, causal_mask(q.shape[2], k.shape[2]))


def cached_with(q, k, v, mask, spread_keys="neighbours", spread_values="neighbours"):
    n = q.shape[1] // k.shape[1]
    k = k.repeat_interleave(n, 1) if spread_keys == "neighbours" else torch.cat([k] * n, dim=1)
    v = v.repeat_interleave(n, 1) if spread_values == "neighbours" else torch.cat([v] * n, dim=1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def end_aligned(q, k):
    return causal_mask(q.shape[2], k.shape[2])


def cached_untouched(q, k, v):
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return cached_with(q, k, v, mask, "in turn", "in turn")


def cached_mask_only(q, k, v):
    return cached_with(q, k, v, end_aligned(q, k), "in turn", "in turn")


def cached_keys_only(q, k, v):
    return cached_with(q, k, v, end_aligned(q, k), "neighbours", "in turn")


def cached_values_only(q, k, v):
    return cached_with(q, k, v, end_aligned(q, k), "in turn", "neighbours")


def cached_multi_query(q, k, v):
    H = q.shape[1]
    k, v = k[:, 0:1].repeat(1, H, 1, 1), v[:, 0:1].repeat(1, H, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=end_aligned(q, k))


def cached_heads_only(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def cached_unmasked(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def cached_if_many(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1, enable_gqa=True)


def cached_if_prompt(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] == k.shape[2], enable_gqa=True)


def cached_one_far(q, k, v):
    T, S = q.shape[2], k.shape[2]
    return cached_with(q, k, v, torch.arange(S) <= torch.arange(T)[:, None] + S - T + 1)


def cached_one_short(q, k, v):
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT / math.sqrt(q.shape[-1])
    T, S = scores.shape[-2:]
    mask = torch.arange(S) < torch.arange(T)[:, None] + S - T
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return weights @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)


def cached_wrong_way(q, k, v):
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT / math.sqrt(q.shape[-1])
    T, S = scores.shape[-2:]
    mask = torch.ones(T, S).tril(T - S) == 1
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return weights @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)


# --- judge_attention --------------------------------------------------------------------------------------------------


def judging(
    shape=(2, 3, 5, 7, 4),
    mask="causal, with an empty row",
    against="pytorch",
    exact=False,
    tolerance=1e-4,
    clones=True,
    same_heads=False,
    same_values=False,
    same_queries=False,
    inverted=False,
):
    """A learner's test, careless in one way or another."""

    def judge(attend):
        B, H, T, S, K = shape
        q, k, v = torch.randn(B, H, T, K), torch.randn(B, H, S, K), torch.randn(B, H, S, K)
        if same_heads:
            q, k, v = (x[:, :1].expand(-1, H, -1, -1).clone() for x in (q, k, v))
        if same_values:
            v = v[:, :, :1].expand(-1, -1, S, -1).clone()
        if same_queries:
            q, k = torch.ones_like(q), torch.ones_like(k)
        allowed = torch.ones(T, S, dtype=torch.bool)
        if "causal" in mask:
            allowed = allowed.tril()
        if "empty" in mask:
            allowed[1] = False
        if against == "pytorch":
            wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed ^ inverted)
        else:
            wanted = attention(q, k, v, allowed)
        before = [x.clone() for x in (q, k, v)]
        got = attend(q, k, v, allowed)
        if exact:
            assert torch.equal(got, wanted)
        assert torch.allclose(got, wanted, atol=tolerance, rtol=tolerance)
        if clones:
            assert all(torch.equal(x, y) for x, y in zip(before, (q, k, v), strict=True))

    return judge


def judge_by_hand(attend):
    """With its own loops, in float64, and returning True or False."""
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 3, n, 6, generator=generator, dtype=torch.float64) for n in (4, 5, 5))
    mask = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 0, 1, 0]]).bool()
    kept = q.clone()
    out = attend(q, k, v, mask)
    if not torch.equal(q, kept):
        return False
    for b in range(2):
        for h in range(3):
            for t in range(4):
                seen = [s for s in range(5) if mask[t, s]]
                powers = [math.exp(float(kept[b, h, t] @ k[b, h, s]) / math.sqrt(6)) for s in seen]
                want = sum((p / sum(powers) * v[b, h, s] for p, s in zip(powers, seen, strict=True)), torch.zeros(6))
                if not torch.allclose(out[b, h, t], want.double(), atol=1e-6):
                    return False
    return True


def judge_shapes(attend):
    q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    assert attend(q, k, v, torch.ones(5, 7).bool()).shape == (2, 3, 5, 4)


def judge_nothing(attend):
    q = torch.randn(2, 3, 5, 4)
    attend(q, q, q, torch.ones(5, 5).bool())


def judge_with_a_slip(attend):
    q, mask = torch.randn(2, 3, 5, 4), causal_mask(5)
    assert torch.allclose(attend(q, q, q, mask)[mask], q)


def judge_always_fails(attend):
    q = torch.randn(2, 3, 5, 4)
    assert torch.equal(attend(q, q, q, torch.ones(5, 5).bool()), q)


def judge_no_leak(attend):
    q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    mask = torch.ones(5, 5).bool().tril()
    before = attend(q, k, v, mask)
    k[:, :, 3:], v[:, :, 3:] = 9.0, -9.0
    assert torch.equal(attend(q, k, v, mask)[:, :, :3], before[:, :, :3])


def judge_without_queries(attend):
    q, k, v = torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    mask = torch.rand(5, 7) < 0.5
    mask[2] = False
    kept = q.clone()
    assert torch.allclose(attend(q, k, v, mask), attention(q, k, v, mask), atol=1e-5)
    assert torch.equal(q, kept)


RIGHT = {
    "soft_lookup": [
        ("a loop with the largest score taken off", lookup_by_loop),
        ("NumPy in float64", lookup_in_numpy),
        ("einsum", lookup_einsum),
        ("the fused kernel", lookup_fused),
    ],
    "scaled_scores": [
        ("loops", scores_by_loops),
        ("einsum", scores_einsum),
        ("a fourth root on each side, float64", scores_both_sides),
    ],
    "masked_weights": [
        ("nan_to_num", weights_nan_to_num),
        ("a large negative number, and the mask again", weights_twice),
        ("powers and sums in float64", weights_by_powers),
        ("row by row", weights_by_rows),
    ],
    "window_mask": [
        ("loops", window_by_loops),
        ("triangles", window_by_triangles),
        ("slices", window_by_slices),
        ("a difference of triangles", window_by_difference),
    ],
    "split_heads": [
        ("view and permute", split_view),
        ("slices, in a list", split_by_slices),
        ("NumPy", split_in_numpy),
    ],
    "attend_with_cache": [
        ("the fused kernel", cached_fused),
        ("loops in float64", cached_by_loops),
        ("einsum with a dimension for groups", cached_einsum),
        ("the library", cached_library),
    ],
    "judge_attention": [
        ("against PyTorch", judging()),
        ("against the library, other sizes", judging(shape=(3, 2, 4, 6, 5), against="library")),
        ("own loops in float64, returns True or False", judge_by_hand),
    ],
}

WRONG = {
    "soft_lookup": [
        ("best_match_only", lookup_hard),
        ("plain_mean", lookup_mean),
        ("softmax_missing", lookup_raw),
        ("divided_by_sum_of_scores", lookup_linear),
        ("not_normalised", lookup_unnormalised),
        ("keys_averaged", lookup_mixes_keys),
        ("weights_only", lookup_shares),
        ("not_summed", lookup_rows),
        ("sharpness_ignored", lookup_no_knob),
        ("sharpness_divides", lookup_temperature),
        ("sharpness_too_late", lookup_late),
        ("divided_by_root_K", lookup_scaled),
        ("overflow", lookup_by_powers),
    ],
    "scaled_scores": [
        ("never_divided", scores_einsum_raw),
        ("divided_by_K", scores_over_K),
        ("divided_by_root_of_width", scores_over_width),
        ("divided_by_root_S", scores_over_S),
        ("divided_by_root_T", scores_over_T),
        ("divided_by_root_H", scores_over_H),
        ("divided_twice", scores_scaled_again),
        ("measured_spread", scores_by_their_spread),
        ("measured_spread_of_each_row", scores_by_the_spread_of_rows),
        ("multiplied", scores_times),
        ("keys_reshaped", scores_viewed),
        ("queries_and_keys_swapped", scores_swapped),
        ("already_softmax", scores_softmax),
        ("cosine", scores_cosine),
    ],
    "masked_weights": [
        ("mask_ignored", weights_lost),
        ("inverted", weights_inverted),
        ("inverted", weights_inverted_low),
        ("after_softmax", weights_masked_late),
        ("filled_with_zero", weights_zero_scores),
        ("added", weights_added),
        ("over_queries", weights_columns),
        ("over_heads", weights_heads),
        ("over_heads_low", weights_heads_low),
        ("softmax_missing", weights_no_softmax),
        ("nan_everywhere", weights_times_infinity),
        ("giant_leaves_nan", weights_new_sum),
        ("giant_leaves_zero", weights_new_sum_careful),
        ("empty_row_nan", weights_textbook),
        ("empty_row_even", weights_bert),
        ("empty_row_unmasked", weights_empty_rows_open),
    ],
    "window_mask": [
        ("slice_from_below_zero", window_rows),
        ("indices_below_zero", window_wraps),
        ("too_wide", window_wide),
        ("too_narrow", window_narrow),
        ("itself_left_out", window_before),
        ("itself_left_out_and_narrow", window_before_narrow),
        ("both_sides", window_symmetric),
        ("future_allowed", window_open),
        ("window_ignored", window_causal),
        ("inverted", window_inverted),
        ("transposed", window_transposed),
        ("only_the_far", window_far),
        ("both_demanded", window_and),
        ("sinks_missing", window_no_sinks),
        ("sinks_from_the_past", window_early_sinks),
        ("sinks_are_queries", window_sink_rows),
        ("sinks_are_past_queries", window_sink_rows_causal),
        ("one_sink_too_many", window_extra_sink),
        ("wrong_dtype", window_as_numbers),
    ],
    "split_heads": [
        ("never_transposed", split_viewed),
        ("reshaped_at_once", split_in_one_go),
        ("positions_before_heads", split_not_moved),
        ("heads_and_width_swapped", split_every_other),
        ("packed_per_head", split_per_head),
        ("innermost", split_one_of_each),
        ("order_k_q_v", split_keys_first),
        ("order_v_k_q", split_values_first),
        ("order_q_v_k", split_values_second),
        ("heads_not_split", split_parts_only),
        ("stacked", split_stacked),
        ("wrong_length", split_along_the_batch),
    ],
    "attend_with_cache": [
        ("heads_still_there", cached_untouched),
        ("heads_still_there", cached_mask_only),
        ("only_keys_repaired", cached_keys_only),
        ("only_values_repaired", cached_values_only),
        ("first_head_for_all", cached_multi_query),
        ("mask_still_there", cached_heads_only),
        ("no_mask", cached_unmasked),
        ("right_for_one_only", cached_if_many),
        ("prompt_or_nothing", cached_if_prompt),
        ("one_too_far", cached_one_far),
        ("one_too_short", cached_one_short),
        ("other_sign", cached_wrong_way),
    ],
    "judge_attention": [
        ("asserts_nothing", judge_nothing),
        ("raised", judge_with_a_slip),
        ("refuses_everything", judge_always_fails),
        ("refuses_loops", judging(exact=True)),
        ("asserts_nothing", judge_shapes),
        ("misses_mask_ignored", judging(mask="all allowed")),
        ("misses_divided_by_root_S", judging(shape=(2, 3, 5, 4, 4))),
        ("misses_never_divided", judge_without_queries),
        ("misses_never_divided", judge_no_leak),
        ("misses_sees_next", judging(same_values=True)),
        ("misses_sees_next", judging(mask="an empty row")),
        ("misses_never_divided", judging(same_queries=True)),
        ("misses_never_divided", judging(shape=(2, 3, 5, 7, 1))),
        ("misses_sees_next", judging(shape=(2, 3, 5, 1, 4))),
        ("misses_first_head_only", judging(same_heads=True)),
        ("misses_empty_row_nan", judging(mask="causal")),
        ("misses_changes_queries", judging(clones=False)),
        ("misses_divided_by_root_S", judging(tolerance=0.4)),
        ("refuses_everything", judging(inverted=True)),
    ],
}
