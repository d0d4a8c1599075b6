"""Span corruption: the paper's figure, the released code written down again with NumPy, and the way back."""

import math
import re
from collections import Counter
from typing import Any

import numpy
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course_lib.data.batches import IGNORE
from course_lib.objectives.spans import corrupt_spans, cut_spans, random_spans, restore_spans, span_batch
from tests.layers.helpers import seeded, unchecked, wrong

BEGIN, END = 1000, 1001
SENTINELS = range(999, 499, -1)  # T5 counts down from the last id of its vocabulary


def t5_counts(length: int, density: float, mean: float) -> tuple[int, int]:
    """How many tokens and spans T5's ``random_spans_noise_mask`` takes out: its formulas, in float32 as there."""
    noise = int(numpy.round(numpy.float32(length) * numpy.float32(density)))
    noise = min(max(noise, 1), length - 1)
    return noise, max(int(numpy.round(numpy.float32(noise) / numpy.float32(mean))), 1)


def t5_sides(ids: list[int], noise: list[bool], last_id: int) -> tuple[list[int], list[int]]:
    """T5's ``noise_span_to_unique_sentinel`` and ``nonnoise_span_to_unique_sentinel``, array by array."""

    def spans_to_sentinels(tokens: numpy.ndarray, noise: numpy.ndarray) -> list[int]:
        before = numpy.pad(noise[:-1], [(1, 0)])
        first, later = noise & ~before, noise & before
        sentinel = last_id + 1 - numpy.cumsum(first)
        return numpy.where(first, sentinel, tokens)[~later].tolist()

    tokens, mask = numpy.array(ids), numpy.array(noise)
    return spans_to_sentinels(tokens, mask), spans_to_sentinels(tokens, ~mask)


def runs(cut: list[bool]) -> int:
    return sum(now and not before for before, now in zip([False, *cut], cut, strict=False))


# --- what is cut out -------------------------------------------------------------------------------------------------


def test_with_the_settings_of_the_paper_as_much_is_cut_out_as_by_t5_for_every_length():
    for length in range(2, 700):
        cut = random_spans(length, generator=seeded(length)).tolist()
        assert len(cut) == length
        assert (sum(cut), runs(cut)) == t5_counts(length, 0.15, 3.0)
        assert not cut[0]
        assert cut[-1]


@given(st.integers(2, 200), st.integers(1, 99), st.integers(4, 40))
@settings(deadline=None)
@example(2, 99, 4)
@example(10, 90, 4)
def test_with_other_settings_too_but_for_more_spans_than_kept_tokens(length, hundredths, quarters):
    """There T5's code fails; here each span is kept apart by one token."""
    share, mean = hundredths / 100, quarters / 4
    cut = random_spans(length, share=share, mean_length=mean, generator=seeded(length)).tolist()
    noise, spans = t5_counts(length, share, mean)
    assert (sum(cut), runs(cut)) == (noise, min(spans, length - noise))


def test_all_ways_to_cut_are_equally_likely():
    """8 tokens, 4 of them cut in 2 spans: 3 ways to part the kept ones, 3 the others."""
    generator, draws = seeded(0), 2700
    found = Counter(
        tuple(random_spans(8, share=0.5, mean_length=2.0, generator=generator).tolist()) for _ in range(draws)
    )
    assert len(found) == 9
    spread = math.sqrt(draws * (1 / 9) * (8 / 9))
    assert all(abs(count - draws / 9) < 5 * spread for count in found.values())


def test_the_same_generator_gives_the_same_and_goes_on():
    generator = seeded(0)
    first, second = (random_spans(100, generator=generator).tolist() for _ in range(2))
    assert first == random_spans(100, generator=seeded(0)).tolist()
    assert first != second


# --- input and target ------------------------------------------------------------------------------------------------


def test_figure_2_of_the_paper():
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    cut = torch.tensor([word in ("for", "inviting", "last") for word in words])
    names = dict(enumerate(words)) | {100: "<X>", 99: "<Y>", 98: "<Z>"}
    sides = cut_spans(range(len(words)), cut, [100, 99, 98])
    source, target = (" ".join(names[i] for i in side) for side in sides)
    assert source == "Thank you <X> me to your party <Y> week ."
    assert target == "<X> for inviting <Y> last <Z>"


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30))
def test_where_a_kept_token_comes_first_both_sides_are_those_of_t5(tokens):
    ids, cut = [i for i, _ in tokens], [False, *(gone for _, gone in tokens[1:])]
    assert cut_spans(ids, torch.tensor(cut), SENTINELS) == t5_sides(ids, cut, last_id=999)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30))
def test_a_text_comes_back_whatever_is_cut_out(tokens):
    ids, cut = [i for i, _ in tokens], [gone for _, gone in tokens]
    source, target = cut_spans(ids, torch.tensor(cut), SENTINELS)
    assert restore_spans(source, target, SENTINELS) == ids
    used = [i for i in target if i >= 500]
    assert used == list(SENTINELS[: len(used)])  # in order
    assert used[: runs(cut)] == [i for i in source if i >= 500]
    assert len(used) == runs(cut) + (not cut[-1])


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=80),
    st.floats(0.001, 0.999),
    st.floats(1, 20),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_a_text_comes_back_for_any_length_share_and_mean_length(ids, share, mean, seed):
    options: dict[str, Any] = {"sentinel_ids": SENTINELS, "share": share, "mean_length": mean}
    source, target = corrupt_spans(ids, **options, generator=seeded(seed))
    assert restore_spans(source, target, SENTINELS) == ids
    assert (source, target) == corrupt_spans(torch.tensor(ids), **options, generator=seeded(seed))
    cut = random_spans(len(ids), share=share, mean_length=mean, generator=seeded(seed))
    assert (source, target) == cut_spans(ids, cut, SENTINELS)
    if len(ids) > 1:
        assert target[-1] < 500  # a cut one: no sentinel closes the target
    else:
        assert (source, target) == (ids, [999])


def test_what_a_model_leaves_out_stands_for_nothing():
    source, sentinels = [1, 99, 2, 98, 3], [99, 98, 97]
    assert restore_spans(source, [99, 5, 6, 98, 7], sentinels) == [1, 5, 6, 2, 7, 3]
    assert restore_spans(source, [4, 98, 7, 97, 8], sentinels) == [1, 2, 7, 3]
    assert restore_spans(source, [98, 7, 99, 5, 98, 8], sentinels) == [1, 5, 2, 7, 8, 3]
    assert (
        restore_spans(source, [], sentinels) == restore_spans(source, torch.tensor([]).long(), sentinels) == [1, 2, 3]
    )


# --- a batch ---------------------------------------------------------------------------------------------------------


def test_a_batch_holds_both_sides_of_each_text_closed():
    texts = [list(range(start, start + length)) for start, length in ((0, 30), (40, 7), (60, 1), (70, 50))]
    options: dict[str, Any] = {"sentinel_ids": SENTINELS, "share": 0.3, "mean_length": 2.0}
    batch = span_batch(texts, **options, begin_id=BEGIN, end_id=END, generator=seeded(3))
    generator = seeded(3)
    assert len(batch.source) == len(batch.labels) == len(texts)
    for row, text in enumerate(texts):
        source, target = corrupt_spans(text, **options, generator=generator)
        assert batch.source[row][batch.source_real[row]].tolist() == [*source, END]
        labels = batch.labels[row][batch.labels[row] != IGNORE].tolist()
        assert labels == [*target, END]
        assert batch.target[row, : len(labels)].tolist() == [BEGIN, *target]
        assert restore_spans(source, target, SENTINELS) == text


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"ids": []}, ValueError, "ids is empty"),
        ({"ids": [1, 2, 999]}, ValueError, "ids hold 999, which is one of sentinel_ids: a sentinel must stand in no"),
        ({"sentinel_ids": [9, 8, 9]}, ValueError, "sentinel_ids hold one id twice: [9, 8, 9]"),
        ({"sentinel_ids": []}, ValueError, "sentinel_ids has 0 ids: this text needs 1"),
        ({"sentinel_ids": [9, 8], "share": 0.5, "mean_length": 1}, ValueError, "has 2 ids: this text needs 3"),
        ({"share": 0}, ValueError, "share is 0: it must be more than 0 and below 1"),
        ({"share": 1.0}, ValueError, "share is 1.0: it must be more than 0 and below 1"),
        ({"mean_length": 0.5}, ValueError, "mean_length is 0.5: a span has at least 1 token"),
        ({"mean_length": math.nan}, ValueError, "mean_length is nan: a span has at least 1 token"),
        (
            {"generator": None},
            TypeError,
            "generator must be a torch.Generator, as torch.Generator().manual_seed(0), not",
        ),
    ],
)
def test_what_is_wrong_is_named(changes, error, message):
    arguments = {"ids": [1, 2, 3, 4, 5, 6], "sentinel_ids": SENTINELS, "generator": seeded(0)} | changes
    with unchecked(), pytest.raises(error, match=re.escape(message)):
        corrupt_spans(**wrong(arguments))


def test_a_text_that_is_kept_whole_needs_a_sentinel_too():
    with pytest.raises(ValueError, match="sentinel_ids has 0 ids: this text needs 1"):
        cut_spans([1], torch.tensor([False]), [])
    with unchecked(), pytest.raises(ValueError, match=re.escape("cut has shape (2,): it must be (3,), a value for")):
        cut_spans([1, 2, 3], torch.tensor([False, True]), [9])
    with pytest.raises(ValueError, match="length is 0: it must be at least 1"):
        random_spans(0, generator=seeded(0))
