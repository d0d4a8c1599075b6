"""With a cache or without: the same numbers, however a text is cut. And what a cache refuses, it leaves untouched."""

import itertools
import math

import pytest
import torch

from course_lib.layers.cache import KeyValueCache
from course_lib.layers.masks import causal_mask, padding_mask, sliding_window_mask
from tests.layers.helpers import SCHEMES, WIDTH, B, K, Layer, assert_same, randn, random_mask, unchecked

LENGTH, G = 6, 3


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def cuts(length: int) -> list[list[tuple[int, int]]]:
    """Every way to cut a text into pieces: 32 for a length of 6."""
    ways = []
    for places in itertools.product([False, True], repeat=length - 1):
        ends = [0, *(i + 1 for i, cut in enumerate(places) if cut), length]
        ways.append(list(itertools.pairwise(ends)))
    return ways


def test_there_are_32_ways_to_cut_six():
    ways = cuts(LENGTH)
    assert len({tuple(way) for way in ways}) == 32
    assert all(sum(end - start for start, end in way) == LENGTH for way in ways)


def test_new_tokens_stand_behind_the_last_one_of_their_row():
    cache, steps = KeyValueCache(), torch.arange(3)
    assert cache.behind(steps).tolist() == [0, 1, 2]
    cache.append(randn(2, G, 2, K), randn(2, G, 2, K), torch.tensor([[0, 7], [0, 0]]))
    assert cache.behind(steps).tolist() == [[8, 9, 10], [1, 2, 3]]
    cache.truncate(0)
    assert cache.behind(steps).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", SCHEMES)
def test_cached_is_uncached_however_a_text_is_cut(name):
    layer = Layer(name)
    x = randn(B, LENGTH, WIDTH)
    whole = layer(x, causal=True)
    for way in cuts(LENGTH):
        cache = KeyValueCache()
        pieces = [layer(x[:, start:end], causal=True, cache=cache) for start, end in way]
        assert_same(torch.cat(pieces, dim=1), whole)
        assert cache.length == LENGTH
        assert cache.positions.tolist() == [*range(LENGTH)]


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("kv_heads", [1, 6])
def test_cached_is_uncached_with_positions_and_a_mask_of_each_row(name, kv_heads):
    layer = Layer(name, kv_heads=kv_heads)
    x = randn(B, LENGTH, WIDTH)
    real = torch.arange(LENGTH) >= torch.tensor([[2], [0]])  # padded on the left, as prompts are in a batch
    positions = (real.cumsum(dim=-1) - 1).clamp(min=0)
    mask = causal_mask(LENGTH) & padding_mask(real)
    whole = layer(x, mask=mask, positions=positions)
    for way in cuts(LENGTH):
        cache = KeyValueCache()
        for start, end in way:
            out = layer(x[:, start:end], mask=mask[:, start:end, :end], positions=positions[:, start:end], cache=cache)
            assert_same(out, whole[:, start:end])
        assert torch.equal(cache.positions, positions)


@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in ("sinusoidal", "learned")])
def test_positions_left_out_count_on_in_each_row(name):
    module = Layer(name).attention
    x = randn(B, LENGTH, WIDTH)
    positions = torch.tensor([[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5]])
    whole = module(x, causal=True, positions=positions)
    cache = KeyValueCache()
    first = module(x[:, :3], causal=True, positions=positions[:, :3], cache=cache)
    rest = [module(x[:, start:end], causal=True, cache=cache) for start, end in [(3, 5), (5, 6)]]
    assert_same(torch.cat([first, *rest], dim=1), whole)
    assert torch.equal(cache.positions, positions)


def test_positions_for_all_rows_and_for_each_row_may_follow_each_other():
    module = Layer("ALiBi").attention
    x = randn(B, LENGTH, WIDTH)
    alike, apart = torch.tensor([0, 1, 2, 3]), torch.tensor([[4, 5], [9, 3]])
    expected = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 9, 3]])
    whole = module(x, causal=True, positions=expected)
    cache = KeyValueCache()
    module(x[:, :4], causal=True, positions=alike, cache=cache)
    assert_same(module(x[:, 4:], causal=True, positions=apart, cache=cache), whole[:, 4:])
    assert torch.equal(cache.positions, expected)
    other_way = KeyValueCache()
    module(x[:, :2], causal=True, positions=apart, cache=other_way)
    module(x[:, 2:], causal=True, positions=alike[None], cache=other_way)
    assert other_way.positions.tolist() == [[4, 5, 0, 1, 2, 3], [9, 3, 0, 1, 2, 3]]
    for rows in (torch.tensor([1, 1, 0]), torch.tensor([2])):  # one row of positions for all: still one for each
        other_way.select(rows)
    assert other_way.positions.tolist() == [[4, 5, 0, 1, 2, 3]]


@pytest.mark.parametrize("name", SCHEMES)
def test_a_window_slides_over_the_cache(name):
    layer = Layer(name)
    x = randn(B, LENGTH, WIDTH)
    whole = layer(x, mask=sliding_window_mask(LENGTH, 3))
    cache = KeyValueCache()
    for start, end in [(0, 2), (2, 5), (5, 6)]:
        out = layer(x[:, start:end], mask=sliding_window_mask(end - start, 3, end), cache=cache)
        assert_same(out, whole[:, start:end])


@pytest.mark.parametrize("name", ["no positions", "sinusoidal", "learned"])
def test_cross_attention_keeps_the_memory(name):
    layer, where = Layer(name), random_mask(B, 1, 7)
    x, memory = randn(B, LENGTH, WIDTH), randn(B, 7, WIDTH, seed=1)
    whole = layer(x, memory=memory, mask=where)
    for way in cuts(LENGTH):
        cache = KeyValueCache()
        for start, end in way:
            places = torch.arange(start, end)
            out = layer(x[:, start:end], positions=places, memory=memory, mask=where, cache=cache)
            assert_same(out, whole[:, start:end])
            assert cache.length == 7
    kept = cache.keys.data_ptr()
    layer(x, memory=memory, cache=cache)
    assert cache.keys.data_ptr() == kept  # computed once


@pytest.mark.parametrize("name", SCHEMES)
def test_after_rejected_tokens_the_text_goes_on_as_if_they_had_never_been(name):
    layer = Layer(name)
    x, wrong = randn(B, LENGTH, WIDTH), randn(B, 5, WIDTH, seed=7)
    whole = layer(x, causal=True)
    for kept in range(LENGTH):
        cache = KeyValueCache()
        if kept:
            layer(x[:, :kept], causal=True, cache=cache)
        layer(wrong, causal=True, cache=cache)
        cache.truncate(kept)
        assert cache.length == kept == cache.keys.shape[2] == cache.values.shape[2] == cache.positions.shape[-1]
        assert_same(layer(x[:, kept:], causal=True, cache=cache), whole[:, kept:])
        assert cache.length == LENGTH


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("positions", [None, torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]])])
def test_a_beam_goes_on_from_the_rows_that_it_chose(name, positions):
    layer = Layer(name)
    x, more = randn(B, 4, WIDTH), randn(3, 2, WIDTH, seed=1)
    rows = torch.tensor([1, 0, 1])
    places = torch.arange(4).expand(B, 4) if positions is None else positions
    later = places[rows, -1:] + torch.tensor([1, 2])
    cache = KeyValueCache()
    layer(x, causal=True, positions=positions, cache=cache)
    cache.select(rows)
    out = layer(more, causal=True, positions=later, cache=cache)
    whole = layer(torch.cat([x[rows], more], dim=1), causal=True, positions=torch.cat([places[rows], later], dim=1))
    assert_same(out, whole[:, 4:])
    assert len(cache.keys) == len(cache.values) == 3


def test_appending_a_token_at_a_time_seldom_copies_what_is_there():
    cache = KeyValueCache()
    keys, values = randn(B, G, 200, K), randn(B, G, 200, K, seed=1)
    buffers = set()
    for t in range(200):
        cache.append(keys[:, :, t : t + 1], values[:, :, t : t + 1], torch.tensor([t]))
        buffers.add(cache.keys.untyped_storage().nbytes())
    assert buffers == {B * G * 2**i * K * 8 for i in range(9)}  # 1, 2, 4, ..., 256 positions
    assert torch.equal(cache.keys, keys)
    assert torch.equal(cache.values, values)
    assert torch.equal(cache.positions, torch.arange(200))


def test_what_was_appended_may_change_afterwards():
    cache = KeyValueCache()
    keys = randn(B, G, 2, K)
    cache.append(keys, keys, torch.arange(2))
    before = keys.clone()
    keys.fill_(math.nan)
    assert torch.equal(cache.keys, before)


# --- Bad input -------------------------------------------------------------------------------------------------------


def filled() -> KeyValueCache:
    cache = KeyValueCache()
    cache.append(randn(B, G, 4, K), randn(B, G, 4, K, seed=1), torch.arange(4))
    return cache


def state(cache: KeyValueCache) -> list:
    return [cache.length, *(part.tolist() for part in (cache.keys, cache.values, cache.positions))]


NEW, PLACES = torch.zeros(B, G, 2, K, dtype=torch.float64), torch.arange(2)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (
            lambda c: c.append(NEW[:1], NEW[:1], PLACES),
            ValueError,
            r"keys have the shape \(1, 3, 2, 4\), but the cache h",
        ),
        (
            lambda c: c.append(NEW[:, :1], NEW[:, :1], PLACES),
            ValueError,
            r"keys have .* holds \(2, 3, 4, 4\): only the n",
        ),
        (lambda c: c.append(NEW[..., :3], NEW[..., :3], PLACES), ValueError, r"keys have the shape \(2, 3, 2, 3\)"),
        (lambda c: c.append(NEW, NEW[..., :3], PLACES), ValueError, r"keys and values have the shapes .* both must be"),
        (
            lambda c: c.append(NEW[0], NEW[0], PLACES),
            ValueError,
            r"keys and values have the shapes .* must be \(B, G, T",
        ),
        (
            lambda c: c.append(NEW.half(), NEW, PLACES),
            ValueError,
            "keys are torch.float16 on cpu, but the cache holds t",
        ),
        (
            lambda c: c.append(NEW, NEW.half(), PLACES),
            ValueError,
            "values are torch.float16 on cpu, but the cache holds",
        ),
        (
            lambda c: c.append(*[NEW.to("meta")] * 2, PLACES.to("meta")),
            ValueError,
            "keys are torch.float64 on meta, but",
        ),
        (
            lambda c: c.append(NEW, NEW, PLACES.to("meta")),
            ValueError,
            "positions are on meta, but keys are on cpu: move",
        ),
        (
            lambda c: c.append(NEW, NEW, PLACES[:1]),
            ValueError,
            r"positions has shape \(1,\): it must be \(2,\) or \(2, 2",
        ),
        (lambda c: c.append(NEW, NEW, PLACES[0]), ValueError, r"positions has shape \(\): it must be"),
        (lambda c: c.append(NEW, NEW, PLACES.expand(3, 2)), ValueError, r"positions has shape \(3, 2\): it must be"),
        (lambda c: c.truncate(5), ValueError, "length is 5: it must be from 0 to 4, the length of the cache"),
        (lambda c: c.truncate(-1), ValueError, "length is -1: it must be from 0 to 4"),
        (lambda c: c.truncate(2.0), TypeError, "length must be an integer, not 2.0"),
        (lambda c: c.select(torch.tensor([0, 2])), ValueError, r"rows must be from 0 to 1, but are \[0, 2\]"),
        (lambda c: c.select(torch.tensor([-1])), ValueError, r"rows must be from 0 to 1, but are \[-1\]"),
        (lambda c: c.select(torch.tensor([True, False])), TypeError, "rows must be a tensor of integers .* torch.bool"),
        (
            lambda c: c.select(torch.tensor(1)),
            TypeError,
            r"rows must be .* one dimension, not a tensor of torch.int64 with shape \(\)",
        ),
        (lambda c: c.select([0, 1]), TypeError, r"rows must be a tensor of integers with one dimension, not \[0, 1\]"),
    ],
)
def test_misuse_is_refused_with_a_reason_and_the_cache_is_as_it_was(action, error, message):
    cache = filled()
    before = state(cache)
    with unchecked(), pytest.raises(error, match=f"^{message}"):
        action(cache)
    assert state(cache) == before
    cache.append(NEW, NEW, PLACES + 4)
    assert cache.length == 6
    assert cache.positions.tolist() == [*range(6)]


def test_an_empty_cache_has_nothing_to_give():
    for action in (
        lambda cache: cache.keys,
        lambda cache: cache.values,
        lambda cache: cache.positions,
        lambda cache: cache.select(torch.tensor([0])),
    ):
        with pytest.raises(ValueError, match=r"^the cache is empty: append keys and values first"):
            action(KeyValueCache())
    cache = KeyValueCache()
    assert cache.length == 0
    cache.truncate(0)


def test_a_cache_is_not_for_training():
    layer, cache = Layer("no positions"), KeyValueCache()
    message = "^keys or values track gradients: a cache is for inference, inside `with torch.no_grad"
    with torch.enable_grad(), pytest.raises(ValueError, match=message):
        layer(randn(B, 2, WIDTH), cache=cache)
    assert cache.length == 0
    layer(randn(B, 2, WIDTH), cache=cache)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": torch.ones(2, 2, dtype=torch.bool)}, r"mask has shape \(2, 2\): .* the scores, \(2, 6, 2, 6\)"),
        ({"mask": torch.ones(2, 6)}, "mask must be a tensor of bool"),
        ({"mask": torch.ones(3, 2, 6, dtype=torch.bool)}, r"mask has shape \(3, 2, 6\): .* the scores, \(2, 2, 6\)"),
        ({"positions": torch.arange(3)}, r"positions has shape \(3,\), but x has \(2, 2, 14\)"),
        ({"positions": torch.zeros(3, 2, dtype=torch.long)}, r"positions has shape \(3, 2\), but x has"),
        ({"positions": torch.zeros(2)}, "positions must be a tensor of integers"),
    ],
)
@pytest.mark.parametrize("name", ["no positions", "rotary, half-split", "ALiBi"])
def test_a_wrong_mask_or_position_leaves_the_cache_as_it_was(name, options, message):
    module, cache = Layer(name).attention, KeyValueCache()
    module(randn(B, 4, WIDTH), causal=True, cache=cache)
    before = state(cache)
    with unchecked(), pytest.raises((ValueError, TypeError), match=f"^{message}"):
        module(randn(B, 2, WIDTH), cache=cache, **options)
    assert state(cache) == before


def test_a_cache_holds_one_memory_and_one_number_of_rows():
    module, cache = Layer("no positions").attention, KeyValueCache()
    x, memory = randn(B, 2, WIDTH), randn(B, 7, WIDTH)
    module(x, memory, cache=cache)
    with pytest.raises(ValueError, match=r"^memory has 5 positions, but the cache holds 7: a cache keeps one memory"):
        module(x, memory[:, :5], cache=cache)
    with (
        unchecked(),
        pytest.raises(ValueError, match=r"^k has shape \(2, 3, 7, 4\), which does not fit \(1, 6, 2, 4\)"),
    ):
        module(x[:1], memory[:1], cache=cache)
    with unchecked(), pytest.raises(ValueError, match=r"^mask has shape \(2, 5\): it must broadcast to the scores"):
        module(x, memory, mask=torch.ones(2, 5, dtype=torch.bool), cache=cache)
    assert cache.length == 7
