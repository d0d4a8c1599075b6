"""Masks against loops that say the same in words, for every place and many sizes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data.batches import pack_documents, pad_batch
from course_lib.layers.masks import causal_mask, document_mask, padding_mask, sliding_window_mask
from tests.layers.helpers import unchecked, wrong

lengths = st.tuples(st.integers(1, 7), st.integers(0, 5)).map(lambda pair: (pair[0], sum(pair)))  # T ≤ S


def places(query_length: int, key_length: int):
    """Each query and each key, both counted from the start of the text: the queries come last."""
    for t, s in itertools.product(range(query_length), range(key_length)):
        yield t, s, key_length - query_length + t


def test_masks_are_those_written_by_hand():
    assert causal_mask(3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 5).int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert sliding_window_mask(4, 2).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert sliding_window_mask(2, 3, 5).int().tolist() == [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert padding_mask(torch.tensor([[True, False, True]])).tolist() == [[[True, False, True]]]
    assert document_mask(torch.tensor([[5, 5, 2], [1, 0, 1]])).int().tolist() == [
        [[1, 1, 0], [1, 1, 0], [0, 0, 1]],
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]],
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(lengths, st.integers(1, 14))
def test_causal_and_sliding_masks_say_what_the_words_say(sizes, window):
    length, key_length = sizes
    causal, sliding = causal_mask(length, key_length), sliding_window_mask(length, window, key_length)
    for t, s, here in places(length, key_length):
        assert causal[t, s].item() == (s <= here)
        assert sliding[t, s].item() == (s in range(here - window + 1, here + 1))
    if window >= key_length:
        assert torch.equal(sliding, causal)
    assert sliding.sum(dim=-1).max() <= window
    assert torch.equal(causal, causal_mask(key_length)[-length:])  # with a cache: the last rows of the whole mask


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 7), st.data())
def test_documents_say_what_the_words_say(length, data):
    rows = data.draw(st.integers(1, 4))
    ids = [data.draw(st.lists(st.integers(-1, 2), min_size=length, max_size=length)) for _ in range(rows)]
    document = document_mask(torch.tensor(ids))
    assert document.shape == (rows, length, length)
    for b, t, s in itertools.product(range(rows), range(length), range(length)):
        assert document[b, t, s].item() == (ids[b][t] == ids[b][s])


def test_masks_compose():
    batch = pad_batch([[5, 6, 7, 8], [9], [4, 3]], pad_id=0)
    packed = pack_documents([[1, 2], [3], [4, 5, 6, 7]], length=6, eos_id=0)
    both = causal_mask(4) & padding_mask(batch.mask)
    own = document_mask(packed.document_ids) & causal_mask(6) & sliding_window_mask(6, 2)
    both_ways = sliding_window_mask(6, 3) | sliding_window_mask(6, 3).T
    assert both.shape == (3, 4, 4)
    for b, t, s in itertools.product(range(3), range(4), range(4)):
        assert both[b, t, s].item() == (s <= t and s < [4, 1, 2][b])
    for b, t, s in itertools.product(range(len(own)), range(6), range(6)):
        same = packed.document_ids[b, t].item() == packed.document_ids[b, s].item()
        assert own[b, t, s].item() == (same and t - 2 < s <= t)
    for t, s in itertools.product(range(6), range(6)):
        assert both_ways[t, s].item() == (abs(t - s) < 3)


def test_masks_stand_where_they_are_asked_to():
    assert causal_mask(2, 3, device="meta").device.type == "meta"
    assert sliding_window_mask(2, 3, device=torch.device("meta")).device.type == "meta"
    assert document_mask(torch.zeros(1, 2, dtype=torch.long, device="meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: causal_mask(0), ValueError, "query_length is 0: it must be at least 1"),
        (lambda: causal_mask(wrong(2.0)), TypeError, "query_length must be an integer, not 2.0"),
        (lambda: causal_mask(True), TypeError, "query_length must be an integer, not True"),
        (lambda: causal_mask(2, 0), ValueError, "key_length is 0: it must be at least 1"),
        (lambda: causal_mask(3, 2), ValueError, r"key_length is 2: it must be at least query_length \(3\)"),
        (lambda: causal_mask(3, wrong(torch.tensor(4))), TypeError, r"key_length must be an integer, not tensor\(4\)"),
        (lambda: sliding_window_mask(3, 0), ValueError, "window is 0: it must be at least 1"),
        (lambda: sliding_window_mask(3, wrong(2.5)), TypeError, "window must be an integer, not 2.5"),
        (lambda: sliding_window_mask(3, 2, 1), ValueError, "key_length is 1: it must be at least query_length"),
        (
            lambda: padding_mask(torch.ones(2, 3)),
            TypeError,
            "real must be a tensor of bool, True at real tokens, not a",
        ),
        (lambda: padding_mask(wrong([True])), TypeError, r"real must be a tensor of bool, .* not \[True\]"),
        (lambda: padding_mask(torch.ones(3) > 0), ValueError, r"real has shape \(3,\): it must be \(B, S\)"),
        (
            lambda: document_mask(torch.ones(2, 3)),
            TypeError,
            "document_ids must be a tensor of integers, not a tensor of",
        ),
        (
            lambda: document_mask(torch.ones(2, 3) > 0),
            TypeError,
            "document_ids must be a tensor of integers, not a ten",
        ),
        (lambda: document_mask(torch.arange(3)), ValueError, r"document_ids has shape \(3,\): it must be \(B, T\)"),
    ],
)
def test_bad_input_is_refused_with_a_reason(action, error, message):
    with unchecked():
        if error is None:
            assert action().item() is message
        else:
            with pytest.raises(error, match=f"^{message}"):
                action()
