"""Batches: each target once, none across a boundary, and what stands beside a sequence changes nothing for it."""

import inspect
import itertools
import operator
from collections import Counter
from typing import Any

import numpy
import pytest
import torch
from beartype import beartype
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from course_lib.data import batches
from course_lib.data.batches import (
    IGNORE,
    EpochBatches,
    LengthBatches,
    PackedBatch,
    PaddedBatch,
    PairBatch,
    PairBatches,
    WindowBatches,
    epoch_windows,
    next_token_windows,
    pack_documents,
    pad_batch,
    pair_batch,
    row_batches,
    sample_windows,
)
from course_lib.objectives.tasks import LabelledBatch
from tests.elsewhere import Elsewhere, elsewhere


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- Windows ----------------------------------------------------------------------------------------------------------


def test_windows_of_a_short_text_are_those_written_by_hand():
    inputs, targets = next_token_windows([10, 11, 12, 13, 14, 15, 16, 17], 3)
    assert inputs.tolist() == [[10, 11, 12], [13, 14, 15]]
    assert targets.tolist() == [[11, 12, 13], [14, 15, 16]]
    inputs, targets = next_token_windows([10, 11, 12, 13, 14, 15], 3, stride=2)
    assert inputs.tolist() == [[10, 11, 12], [12, 13, 14]]
    assert targets.tolist() == [[11, 12, 13], [13, 14, 15]]


@given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 12))
@example(5, 4, 4)
def test_each_window_starts_one_stride_after_the_one_before_and_each_target_is_the_next_id(size, length, stride):
    length = min(length, size - 1)
    stride = min(stride, length)
    ids = torch.arange(size) * 7
    inputs, targets = next_token_windows(ids, length, stride)
    starts = range(0, size - length, stride)  # a window needs one id more, for its last target
    assert inputs.tolist() == [[7 * (start + t) for t in range(length)] for start in starts]
    assert torch.equal(targets, inputs + 7)


@pytest.mark.parametrize("stride", [1, 3, None])
def test_windows_are_views_of_the_text(stride):
    ids = torch.arange(50, dtype=torch.uint8)
    for windows in next_token_windows(ids, 5, stride):
        assert windows.untyped_storage().data_ptr() == ids.untyped_storage().data_ptr()
        assert windows.dtype == torch.uint8
    array = numpy.arange(50, dtype=numpy.uint16)
    inputs, targets = next_token_windows(array, 5, stride)
    array[5] = 999
    assert 999 in inputs.long()
    assert targets[0, 4].item() == 999


def test_a_text_in_a_read_only_file_can_be_cut_into_windows(tmp_path):
    numpy.arange(20, dtype=numpy.uint16).tofile(tmp_path / "ids.bin")
    ids = numpy.memmap(tmp_path / "ids.bin", dtype=numpy.uint16, mode="r")
    assert next_token_windows(ids, 6)[1].long().tolist() == [[*range(1, 7)], [*range(7, 13)], [*range(13, 19)]]
    inputs, targets = sample_windows(ids, 6, 4, seeded(0))
    assert inputs.dtype == targets.dtype == torch.long
    assert torch.equal(targets, inputs + 1)


def test_random_windows_are_next_to_each_other_and_every_place_is_equally_likely():
    ids = torch.tensor([5, 4, 9, 9, 1, 7, 2])
    inputs, targets = sample_windows(ids, 4, 9000, seeded(1))
    counts = Counter(tuple(row) for row in torch.cat([inputs, targets[:, -1:]], dim=1).tolist())
    assert counts.keys() == {(5, 4, 9, 9, 1), (4, 9, 9, 1, 7), (9, 9, 1, 7, 2)}
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    # Binomial(9000, 1/3) has a standard deviation of 45: five of them, with a fixed seed.
    assert all(abs(count - 3000) < 225 for count in counts.values())


def test_a_text_with_room_for_one_window_gives_that_window():
    assert [part.tolist() for part in sample_windows([3, 1, 4], 2, 2, seeded(0))] == [[[3, 1]] * 2, [[1, 4]] * 2]
    assert [part.tolist() for part in next_token_windows([3, 1, 4], 2)] == [[[3, 1]], [[1, 4]]]


@given(st.integers(2, 70), st.integers(1, 12), st.integers(1, 9), st.none() | st.integers(0, 99))
@example(9, 4, 2, None)  # the last window is full
@example(10, 4, 2, None)  # it holds one target
@example(2, 12, 9, 0)  # there is no other
@settings(deadline=None)
def test_an_epoch_holds_each_id_but_the_first_as_a_target_exactly_once(size, length, batch_size, seed):
    ids = torch.arange(size)
    generator = None if seed is None else seeded(seed)
    epoch = list(epoch_windows(ids, length, batch_size, generator, pad_id=1000))
    inputs, targets = (torch.cat(parts) for parts in zip(*epoch, strict=True))
    real = targets != IGNORE
    assert sorted(targets[real].tolist()) == list(range(1, size))
    assert torch.equal(inputs[real], targets[real] - 1)
    assert inputs.shape == targets.shape == (-(-(size - 1) // length), length)
    assert all(len(part) == batch_size for part, _ in epoch[:-1])
    assert inputs.dtype == targets.dtype == torch.long
    # At most the last id of the text and the padding have no target.
    assert set(inputs[~real].tolist()) <= {size - 1, 1000}
    if seed is None:
        assert targets[real].tolist() == list(range(1, size))
        assert inputs.flatten().tolist() == [*range(size), *[1000] * length][: inputs.numel()]


def test_the_order_of_an_epoch_comes_from_the_generator_alone():
    ids = torch.arange(1000)

    def order(generator):
        return torch.cat([inputs[:, 0] for inputs, _ in epoch_windows(ids, 10, 8, generator)]).tolist()

    state = torch.get_rng_state()
    first = order(seeded(4))
    torch.manual_seed(77)
    assert order(seeded(4)) == first
    assert order(seeded(5)) != first
    assert sorted(first) == order(None) == list(range(0, 999, 10))
    generator = seeded(4)
    assert order(generator) == first
    assert order(generator) != first  # the second epoch has another order
    torch.set_rng_state(state)
    sample_windows(ids, 3, 5, seeded(0))
    order(seeded(6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(a, b)
        for a, b in zip(sample_windows(ids, 3, 5, seeded(8)), sample_windows(ids, 3, 5, seeded(8)), strict=True)
    )


# --- A small model, to see that batches change nothing ----------------------------------------------------------------


class TinyModel(nn.Module):
    """Two layers of causal attention with random weights. No two sizes are equal."""

    vocabulary, width, heads = 29, 15, 3

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(self.vocabulary, self.width)
        self.places = nn.Embedding(64, self.width)
        self.projections = nn.ModuleList(nn.Linear(self.width, 3 * self.width) for _ in range(2))
        self.mixers = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(2))
        self.head = nn.Linear(self.width, self.vocabulary)
        generator = seeded(11)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.7

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(positions)
        for project, mix in zip(self.projections, self.mixers, strict=True):
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in project(x).chunk(3, dim=-1))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
            x = x + torch.tanh(mix(attended.transpose(1, 2).flatten(-2)))
        return self.head(x)


MODEL = TinyModel().requires_grad_(False)


def assert_same(result: Tensor, expected: Tensor) -> None:
    # float64 carries 16 digits, and another shape sums in another order. The numbers here are below 100, so 1e-12 is
    # about a hundred roundings; attention to one wrong token changes the first digit (a test below says so).
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def alone(ids: list[int]) -> tuple[Tensor, Tensor]:
    """Logits of a sequence that is alone in the world, and the loss at each of its targets."""
    size = len(ids)
    causal = torch.ones(1, size, size, dtype=torch.bool).tril()
    logits = MODEL(torch.tensor([ids]), torch.arange(size)[None], causal)[0]
    return logits, F.cross_entropy(logits[:-1], torch.tensor(ids[1:]).long(), reduction="none")


def random_sequences(seed: int, sizes: list[int]) -> list[list[int]]:
    return [torch.randint(1, 29, (size,), generator=seeded(seed + i)).tolist() for i, size in enumerate(sizes)]


# --- Padding ----------------------------------------------------------------------------------------------------------


def test_a_padded_batch_is_the_one_written_by_hand():
    batch = pad_batch([[5, 6, 7], [8]], pad_id=2)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 2, 2]]
    assert batch.targets.tolist() == [[6, 7, IGNORE], [IGNORE, IGNORE, IGNORE]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    assert IGNORE == -100 == inspect.signature(F.cross_entropy).parameters["ignore_index"].default


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), min_size=1, max_size=6), st.integers(0, 9))
def test_padding_agrees_with_torch(sequences, pad_id):
    batch = pad_batch(sequences, pad_id)
    tensors = [torch.tensor(sequence) for sequence in sequences]
    assert torch.equal(batch.ids, pad_sequence(tensors, batch_first=True, padding_value=pad_id))
    assert torch.equal(batch.mask, pad_sequence([t > -1 for t in tensors], batch_first=True))
    next_ids = pad_sequence(
        [F.pad(t[1:], (0, 1), value=IGNORE) for t in tensors], batch_first=True, padding_value=IGNORE
    )
    assert torch.equal(batch.targets, next_ids)


def test_padding_takes_tensors_arrays_and_tuples_and_leaves_them_alone():
    sequences: list[Any] = [torch.tensor([1, 2, 3], dtype=torch.int16), numpy.array([4, 5], dtype=numpy.uint8), (6,)]
    batch = pad_batch(sequences, 0)
    batch.ids.fill_(9)
    assert [list(map(int, sequence)) for sequence in sequences] == [[1, 2, 3], [4, 5], [6]]
    assert batch.ids.dtype == batch.targets.dtype == torch.long


def own_document(document_ids: Tensor) -> Tensor:
    """The causal mask that does not cross a boundary between documents."""
    return (document_ids[:, :, None] == document_ids[:, None, :]).tril()


@pytest.mark.parametrize("pad_id", [0, 7, 28])
def test_a_row_of_a_padded_batch_is_what_the_row_is_alone(pad_id):
    sequences = random_sequences(0, [7, 1, 12, 4, 12])
    batch = pad_batch(sequences, pad_id)
    rows, size = batch.ids.shape
    positions = torch.arange(size).expand(rows, size)
    causal = torch.ones(rows, size, size, dtype=torch.bool).tril()
    for mask in (own_document(batch.mask.long()), causal):
        logits = MODEL(batch.ids, positions, mask)
        assert logits.isfinite().all()
        for b, sequence in enumerate(sequences):
            torch.testing.assert_close(logits[b][batch.mask[b]], alone(sequence)[0])
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
        assert_same(loss, sum((alone(sequence)[1].sum() for sequence in sequences), torch.zeros(())))


def test_the_filled_up_window_of_an_epoch_is_what_the_end_of_the_text_is_alone():
    ids = random_sequences(3, [23])[0]
    for pad_id in (0, 13):
        *_, (inputs, targets) = epoch_windows(ids, 9, 1, pad_id=pad_id)
        size = int((targets != IGNORE).sum())
        assert size == 4
        causal = torch.ones(1, 9, 9, dtype=torch.bool).tril()
        logits = MODEL(inputs, torch.arange(9)[None], causal)
        expected, losses = alone(ids[18:])
        assert_same(logits[0, : size + 1], expected)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        assert_same(loss, losses.sum())


# --- Packing ----------------------------------------------------------------------------------------------------------


def test_a_packed_batch_is_the_one_written_by_hand():
    batch = pack_documents([[11, 12], [21, 22, 23, 24, 25, 26, 27], [31], [41, 42, 43]], length=6, eos_id=0)
    x = IGNORE
    # Document 1 needs 8 places: 6 and 2. Sizes with the end: 3, (6, 2), 2, 4. The four fills up with a two.
    assert batch.ids.tolist() == [[11, 12, 0, 31, 0, 0], [21, 22, 23, 24, 25, 26], [27, 0, 41, 42, 43, 0]]
    assert batch.targets.tolist() == [[12, 0, x, 0, x, x], [22, 23, 24, 25, 26, 27], [0, x, 42, 43, 0, x]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 2, 2, -1], [1] * 6, [1, 1, 3, 3, 3, 3]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 2, 3]]


sizes_of_documents = st.lists(st.integers(1, 20), min_size=1, max_size=25)
END = 7


def numbered(sizes: list[int]) -> list[list[int]]:
    """Documents in which no id occurs twice, in none of them, so that each token tells where it comes from."""
    ids = itertools.count(100)
    return [[next(ids) for _ in range(size)] for size in sizes]


@given(sizes_of_documents, st.integers(1, 16))
@settings(deadline=None, max_examples=150)
def test_packing_keeps_each_target_once_and_none_crosses_a_boundary(sizes, length):
    documents = numbered(sizes)
    batch = pack_documents(documents, length, END)
    real = batch.targets != IGNORE
    pairs = list(
        zip(batch.document_ids[real].tolist(), batch.ids[real].tolist(), batch.targets[real].tolist(), strict=True)
    )
    expected = [
        (number, token, following)
        for number, document in enumerate(documents)
        for token, following in itertools.pairwise([*document, END])
    ]
    assert sorted(pairs) == sorted(expected)
    assert not (real & (batch.document_ids == -1)).any()


@given(sizes_of_documents, st.integers(1, 16))
@settings(deadline=None, max_examples=150)
def test_packed_documents_can_be_read_back_and_short_ones_are_whole(sizes, length):
    documents = numbered(sizes)
    batch = pack_documents(documents, length, END)
    pieces: dict[int, list[list[int]]] = {}
    firsts = []
    for ids, numbers, positions in zip(batch.ids, batch.document_ids, batch.positions, strict=True):
        start = 0
        firsts.append(int(numbers[0]))
        for number, group in itertools.groupby(numbers.tolist()):
            size = len(list(group))
            here = slice(start, start + size)
            start += size
            if number == -1:
                assert start == length  # padding stands only at the end
                assert ids[here].tolist() == [END] * size
                assert not positions[here].any()
            else:
                pieces.setdefault(number, []).append(ids[here].tolist())
                assert positions[here].tolist() == list(range(size))
    assert firsts == sorted(firsts)
    assert sorted(pieces) == list(range(len(documents)))
    for number, document in enumerate(documents):
        whole = [*document, END]
        # Cut only if it must be, and then into full rows and a rest (which may stand in an earlier row than they do).
        pieces[number].sort(key=lambda piece: (piece == [END], piece))
        assert [len(piece) for piece in pieces[number]] == [
            len(whole[i : i + length]) for i in range(0, len(whole), length)
        ]
        assert list(itertools.chain(*pieces[number])) == whole


def test_packing_fills_rows_that_can_be_filled():
    sizes = torch.randint(1, 40, (200,), generator=seeded(9)).tolist()
    both = [size for small in sizes for size in (small, 80 - small)]
    order = torch.randperm(len(both), generator=seeded(10)).tolist()
    documents = [[1] * (both[i] - 1) for i in order if both[i] > 1]  # one place of each size is for the end
    missing = both.count(1)
    batch = pack_documents(documents, 80, 0)
    assert batch.ids.shape == (200, 80)
    assert int((batch.document_ids == -1).sum()) == missing


def pack(documents: list[list[int]], length: int) -> tuple[PackedBatch, Tensor]:
    batch = pack_documents(documents, length, 0)
    return batch, MODEL(batch.ids, batch.positions, own_document(batch.document_ids))


SIZES = [9, 3, 1, 14, 6, 2, 2, 11, 5]


def test_a_packed_document_is_what_the_document_is_alone():
    documents = random_sequences(20, SIZES)
    batch, logits = pack(documents, 17)
    assert batch.ids.shape[0] < len(documents)
    assert logits.isfinite().all()
    losses = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none").view(batch.ids.shape)
    for number, document in enumerate(documents):
        here = batch.document_ids == number
        expected, expected_losses = alone([*document, 0])
        assert_same(logits[here], expected)
        assert_same(losses[here], F.pad(expected_losses, (0, 1)))


def test_that_test_would_notice_attention_across_documents_and_positions_that_run_on():
    batch, logits = pack(random_sequences(20, SIZES), 17)
    rows, size = batch.ids.shape
    causal = torch.ones(rows, size, size, dtype=torch.bool).tril()
    running = torch.arange(size).expand(rows, size)
    second = (batch.document_ids != batch.document_ids[:, :1]) & (batch.document_ids != -1)
    assert second.any()
    for wrong in (
        MODEL(batch.ids, batch.positions, causal),
        MODEL(batch.ids, running, own_document(batch.document_ids)),
    ):
        assert (wrong - logits)[second].abs().max() > 0.1


def test_other_documents_and_their_order_change_nothing_for_a_document():
    documents = random_sequences(40, SIZES)
    batch, logits = pack(documents, 17)
    shuffled = torch.randperm(len(documents), generator=seeded(2)).tolist()
    more = [*random_sequences(60, [4, 8]), *(documents[i] for i in shuffled)]
    other_batch, other_logits = pack(more, 23)
    for place, number in enumerate(shuffled):
        mine = logits[batch.document_ids == number]
        assert_same(mine, other_logits[other_batch.document_ids == place + 2])


# --- Rows of a batch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda docs: pad_batch(docs, 0), lambda docs: pack_documents(docs, 9, 0)])
def test_row_batches_hold_each_row_once(make):
    batch = make(numbered([5, 2, 9, 9, 4, 1, 8, 7, 3, 8, 8]))
    inorder = list(row_batches(batch, 3))
    assert [len(part.ids) for part in inorder[:-1]] == [3] * (len(inorder) - 1)
    assert all(type(part) is type(batch) for part in inorder)
    for name in batch._fields:
        assert torch.equal(torch.cat([getattr(part, name) for part in inorder]), getattr(batch, name))

    def shuffled(seed):
        rows = [torch.cat(parts) for parts in zip(*row_batches(batch, 3, seeded(seed)), strict=True)]
        return torch.stack([part.long() for part in rows], dim=-1).tolist()

    rows = torch.stack([part.long() for part in batch], dim=-1).tolist()
    assert shuffled(1) == shuffled(1) != shuffled(2)
    assert shuffled(1) != rows
    assert sorted(shuffled(1)) == sorted(rows)


def test_an_array_may_run_backwards():
    """``ids[::-1]`` of NumPy has a stride below 0, which PyTorch does not know."""
    inputs, targets = next_token_windows(numpy.arange(7)[::-1], 3)
    assert inputs.tolist() == [[6, 5, 4], [3, 2, 1]]
    assert targets.tolist() == [[5, 4, 3], [2, 1, 0]]


# --- Bad input --------------------------------------------------------------------------------------------------------


def plain(name: str):
    """The function itself, without the run-time type checks that a test run may add around it."""
    return inspect.unwrap(operator.attrgetter(name)(batches))


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("next_token_windows", ([1, 2, 3], 0), ValueError, "length is 0: it must be at least 1"),
        ("next_token_windows", ([1, 2, 3], 1.0), TypeError, "length must be an integer, not 1.0"),
        ("next_token_windows", ([1, 2, 3], True), TypeError, "length must be an integer, not True"),
        ("next_token_windows", ([1, 2, 3], 2, 0), ValueError, "stride is 0: it must be at least 1"),
        (
            "next_token_windows",
            ([1, 2, 3], 1, 2),
            ValueError,
            r"stride is 2: more than length \(1\) would leave ids out",
        ),
        ("next_token_windows", ([], 1), ValueError, "ids is empty: it must hold at least one id"),
        (
            "next_token_windows",
            ([1, 2, 3], 3),
            ValueError,
            "ids has length 3: at least 4 are needed, the last one being",
        ),
        ("next_token_windows", ([1.5, 2.5], 1), TypeError, "ids must hold integers, not torch.float32"),
        ("next_token_windows", (torch.ones(5), 1), TypeError, "ids must hold integers, not torch.float32"),
        ("next_token_windows", (torch.ones(5).bool(), 1), TypeError, "ids must hold integers, not torch.bool"),
        (
            "next_token_windows",
            (torch.ones(5).to(torch.complex64), 1),
            TypeError,
            "ids must hold integers, not torch.complex64",
        ),
        ("next_token_windows", (torch.ones(2, 3).long(), 1), ValueError, r"ids has shape \(2, 3\): .* one dimension"),
        ("next_token_windows", (7, 1), ValueError, r"ids has shape \(\): it must have one dimension"),
        ("next_token_windows", ("rose", 1), TypeError, "ids must be a flat sequence of integers, not 'rose'"),
        ("next_token_windows", ([[1], [2, 3]], 1), TypeError, r"ids must be a flat sequence of integers, not \[\[1\]"),
        ("sample_windows", ([1, 2], 2, 1, seeded(0)), ValueError, "ids has length 2: at least 3 are needed"),
        ("sample_windows", ([1, 2], 1, 0, seeded(0)), ValueError, "batch_size is 0: it must be at least 1"),
        ("sample_windows", ([1, 2], -1, 1, seeded(0)), ValueError, "length is -1: it must be at least 1"),
        ("sample_windows", ([1, 2], 1, 1, 42), TypeError, "generator must be a torch.Generator, as .*, not 42"),
        ("epoch_windows", ([1], 4, 2), ValueError, "ids has length 1: at least 2 are needed"),
        ("epoch_windows", ([1, 2], 0, 2), ValueError, "length is 0: it must be at least 1"),
        ("epoch_windows", ([1, 2], 1, 2.5), TypeError, "batch_size must be an integer, not 2.5"),
        ("epoch_windows", ([1, 2], 1, 1, 42), TypeError, "generator must be a torch.Generator or None, not 42"),
        ("pad_batch", ([], 0), ValueError, "sequences is empty: a batch needs at least one sequence"),
        ("pad_batch", ([[1], []], 0), ValueError, r"sequences\[1\] is empty: it must hold at least one id"),
        ("pad_batch", ([[1], [2.5]], 0), TypeError, r"sequences\[1\] must hold integers, not torch.float32"),
        ("pad_batch", ([[1], [3, -2]], 0), ValueError, r"sequences\[1\] holds the id -2: an id is at least 0"),
        ("pad_batch", ([1, 2], 0), ValueError, r"sequences\[0\] has shape \(\): it must have one dimension"),
        ("pad_batch", (5, 0), TypeError, "sequences must be a list of sequences of ids, not 5"),
        ("pad_batch", ([[1]], -1), ValueError, "pad_id is -1: an id is at least 0"),
        ("pad_batch", ([[1]], None), TypeError, "pad_id must be an integer, not None"),
        ("pack_documents", ([[1]], 0, 0), ValueError, "length is 0: it must be at least 1"),
        ("pack_documents", ([[1]], 5, -100), ValueError, "eos_id is -100: an id is at least 0"),
        ("pack_documents", ([[1], []], 5, 0), ValueError, r"documents\[1\] is empty: it must hold at least one id"),
        ("pack_documents", ([], 5, 0), ValueError, "documents is empty: a batch needs at least one sequence"),
        ("pack_documents", ([[1, -100]], 5, 0), ValueError, r"documents\[0\] holds the id -100: an id is at least 0"),
        (
            "row_batches",
            (PaddedBatch(*[torch.ones(2, 3)] * 3), 0),
            ValueError,
            "batch_size is 0: it must be at least 1",
        ),
    ],
)
def test_bad_input_is_refused_at_once_with_a_reason(name, arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        plain(name)(*arguments)


def test_a_keyword_that_is_wrong_is_refused_too():
    with pytest.raises(ValueError, match=r"^pad_id is -100: an id is at least 0"):
        plain("epoch_windows")([1, 2], 1, 1, pad_id=-100)


def test_shapes_and_types_are_those_that_the_signatures_promise():
    def checked(name: str):
        return jaxtyped(typechecker=beartype)(plain(name))

    ids = torch.arange(20)
    assert checked("next_token_windows")(ids, 4)[0].shape == (4, 4)
    assert checked("next_token_windows")(numpy.arange(20), 4, 3)[0].shape == (6, 4)
    assert checked("sample_windows")(ids.tolist(), 4, 3, seeded(0))[1].shape == (3, 4)
    assert len(list(checked("epoch_windows")(ids, 4, 2))) == 3
    assert checked("pad_batch")([[1, 2], ids], 0).ids.shape == (2, 20)
    packed = checked("pack_documents")([[1, 2], ids], 7, 0)
    assert packed.ids.shape == (4, 7)
    assert len(list(checked("row_batches")(packed, 3))) == 2


# --- Endless sources --------------------------------------------------------------------------------------------------


def drawn(source, count: int) -> list[Any]:
    return list(itertools.islice(source, count))


def equal(one: list[Any], other: list[Any]) -> bool:
    pairs = zip(itertools.chain(*one), itertools.chain(*other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


IDS = torch.arange(300).remainder(97)
ROWS = PaddedBatch(torch.arange(22).view(11, 2), torch.arange(22).view(11, 2) + 1, torch.ones(11, 2, dtype=torch.bool))


def windows(seed: int = 5, **changes: Any) -> WindowBatches:
    arguments: dict[str, Any] = {"ids": IDS, "length": 7, "batch_size": 4, "seed": seed}
    return WindowBatches(**(arguments | changes))


def epochs(seed: int = 5, **changes: Any) -> EpochBatches[PaddedBatch]:
    arguments: dict[str, Any] = {"batch": ROWS, "batch_size": 4, "seed": seed}
    return EpochBatches(**(arguments | changes))


SOURCES = [[10 * n + i for i in range(size)] for n, size in enumerate([3, 5, 2, 5, 4, 3, 6, 2, 4, 5, 3])]
TARGETS = numbered([2, 4, 4, 7, 4, 2, 9, 1, 4, 6, 2])


def pairs(seed: int = 5, **changes: Any) -> PairBatches:
    arguments: dict[str, Any] = {"sources": SOURCES, "targets": TARGETS, "batch_size": 4, "seed": seed}
    return PairBatches(**(arguments | {"begin_id": 900, "end_id": 901} | changes))


def test_window_batches_are_those_of_sample_windows_with_one_generator():
    generator = seeded(5)
    expected = [sample_windows(IDS, 7, 4, generator) for _ in range(6)]
    assert equal(drawn(windows(), 6), expected)
    assert not equal(drawn(windows(seed=6), 6), expected)


def test_each_epoch_holds_each_row_once_in_a_new_order_and_batches_are_always_full():
    batches_drawn = drawn(epochs(), 33)  # 11 rows, 4 at a time: 33 batches are 12 epochs
    assert all(isinstance(batch, PaddedBatch) and len(batch.ids) == 4 for batch in batches_drawn)
    assert all(torch.equal(batch.targets, batch.ids + 1) for batch in batches_drawn)
    rows = torch.cat([batch.ids[:, 0] // 2 for batch in batches_drawn]).view(12, 11)
    assert torch.equal(rows.sort().values, torch.arange(11).expand(12, 11))
    assert len(set(map(tuple, rows.tolist()))) == 12
    assert not equal(drawn(epochs(seed=6), 33), batches_drawn)


def test_rows_of_a_plain_tuple_come_as_a_plain_tuple():
    [batch] = drawn(EpochBatches((torch.arange(6).view(3, 2), torch.arange(3)), 3, seed=0), 1)
    assert type(batch) is tuple
    assert torch.equal(batch[0][:, 0], 2 * batch[1])


def test_row_batches_of_a_plain_tuple_are_plain_tuples():
    batches_of_two = list(row_batches((torch.arange(6).view(3, 2), torch.arange(3)), 2))
    assert [type(batch) for batch in batches_of_two] == [tuple, tuple]
    assert [batch[1].tolist() for batch in batches_of_two] == [[0, 1], [2]]


def test_pairs_in_a_rectangle_are_those_written_by_hand():
    batch = pair_batch([[11, 12, 13], [14]], [[21], torch.tensor([22, 23])], begin_id=8, end_id=9)
    assert isinstance(batch, PairBatch)
    assert batch.source.tolist() == [[11, 12, 13], [14, 9, 9]]
    assert batch.source_real.tolist() == [[True, True, True], [True, False, False]]
    assert batch.target.tolist() == [[8, 21, 9], [8, 22, 23]]
    assert batch.labels.tolist() == [[21, 9, IGNORE], [22, 23, 9]]
    assert [tensor.dtype for tensor in batch] == [torch.long, torch.bool, torch.long, torch.long]


def test_each_epoch_of_pairs_holds_nearly_all_of_them_once_whole_and_beside_others_of_their_length():
    drawn_pairs = drawn(pairs(), 40)  # 11 pairs, 4 at a time: two batches are an epoch, and three pairs have to wait
    left_out, long_ones_first = set(), set()
    for one, other in zip(drawn_pairs[::2], drawn_pairs[1::2], strict=True):
        numbers, lengths = [], []
        for batch in (one, other):
            assert isinstance(batch, PairBatch)
            rows = [int(source[0]) // 10 for source in batch.source]
            expected = pair_batch([SOURCES[n] for n in rows], [TARGETS[n] for n in rows], begin_id=900, end_id=901)
            assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))  # nothing wider than it must be
            numbers += rows
            lengths.append(sorted((len(TARGETS[n]), len(SOURCES[n])) for n in rows))
        assert len(set(numbers)) == 8
        left_out |= set(range(11)) - set(numbers)
        shorter, longer = sorted(lengths)
        assert shorter[-1] <= longer[0]
        long_ones_first.add(lengths == [longer, shorter])
    assert left_out == set(range(11))
    assert long_ones_first == {False, True}
    assert not equal(drawn(pairs(seed=6), 40), drawn_pairs)


def test_pairs_of_one_length_do_not_always_meet_the_same_others():
    source = PairBatches([[n] for n in range(8)], [[1]] * 8, 4, seed=1, begin_id=2, end_id=3)
    assert len({frozenset(batch.source.flatten().tolist()) for batch in drawn(source, 40)}) > 20


TEXTS = pad_batch(SOURCES, pad_id=900)


def lengths(seed: int = 5, **changes: Any) -> LengthBatches[PaddedBatch]:
    arguments: dict[str, Any] = {"batch": TEXTS, "batch_size": 4, "seed": seed, "real": "mask"}
    return LengthBatches(**(arguments | changes))


def test_each_epoch_of_texts_holds_nearly_all_of_them_once_and_cut_to_the_longest_of_their_batch():
    texts = drawn(lengths(), 40)
    left_out, long_ones_first, beside = set(), set(), set()
    for one, other in zip(texts[::2], texts[1::2], strict=True):
        numbers, sizes = [], []
        for batch in (one, other):
            rows = [int(ids[0]) // 10 for ids in batch.ids]
            expected = pad_batch([SOURCES[n] for n in rows], 900)
            assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))
            numbers += rows
            sizes.append(sorted(len(SOURCES[n]) for n in rows))
            beside.add(frozenset(rows))
        assert len(set(numbers)) == 8
        left_out |= set(range(11)) - set(numbers)
        shorter, longer = sorted(sizes)
        assert shorter[-1] <= longer[0]
        long_ones_first.add(sizes == [longer, shorter])
    assert left_out == set(range(11))
    assert long_ones_first == {False, True}
    assert len(beside) > 20
    assert not equal(drawn(lengths(seed=6), 40), texts)


def test_texts_may_be_on_another_device():
    there = drawn(lengths(batch=elsewhere(TEXTS)), 8)
    assert all(isinstance(tensor, Elsewhere) for batch in there for tensor in batch)
    assert equal([tuple(tensor.cpu() for tensor in batch) for batch in there], drawn(lengths(), 8))


def test_what_is_no_text_is_not_cut():
    one_each = LabelledBatch(TEXTS.ids, TEXTS.mask, torch.zeros_like(TEXTS.ids), torch.arange(11))
    for batch in drawn(LengthBatches(one_each, 4, seed=0), 4):
        assert batch.ids.shape == batch.segments.shape == batch.real.shape
        assert batch.labels.tolist() == [int(ids[0]) // 10 for ids in batch.ids]


@pytest.mark.parametrize("make", [windows, epochs, pairs, lengths])
@pytest.mark.parametrize("before", [0, 1, 2, 3, 9])
def test_a_source_goes_on_from_its_state_in_another_source_and_the_state_stays_as_it_was(make, before):
    source, other = make(), make()
    drawn(source, before)
    state = source.state_dict()
    drawn(other, 5)  # it stands elsewhere
    expected = drawn(source, 8)
    other.load_state_dict(state)
    assert equal(drawn(other, 8), expected)
    third = make()
    third.load_state_dict(state)
    assert equal(drawn(third, 8), expected)


@pytest.mark.parametrize(
    "change", [{"ids": IDS[1:]}, {"length": 6}, {"batch_size": 3}, {"seed": 6}], ids=lambda change: next(iter(change))
)
def test_the_state_of_other_windows_is_refused(change):
    with pytest.raises(ValueError, match=r"^state is of batches made with \{.*\}, and these were made with \{.*\}$"):
        windows(**change).load_state_dict(windows().state_dict())


@pytest.mark.parametrize(
    "change",
    [{"batch": PaddedBatch(*(tensor[1:] for tensor in ROWS))}, {"batch_size": 3}, {"seed": 6}],
    ids=lambda change: next(iter(change)),
)
def test_the_state_of_other_epochs_is_refused(change):
    with pytest.raises(ValueError, match=r"^state is of batches made with \{.*\}, and these were made with \{.*\}$"):
        epochs(**change).load_state_dict(epochs().state_dict())


@pytest.mark.parametrize(
    "change",
    [{"sources": SOURCES[1:], "targets": TARGETS[1:]}, {"batch_size": 3}, {"seed": 6}],
    ids=lambda change: next(iter(change)),
)
def test_the_state_of_other_pairs_is_refused(change):
    with pytest.raises(ValueError, match=r"^state is of batches made with \{.*\}, and these were made with \{.*\}$"):
        pairs(**change).load_state_dict(pairs().state_dict())


def test_the_state_of_another_kind_of_source_is_refused():
    """Their sizes may be the same, but not their orders."""
    kinds: dict[str, Any] = {"EpochBatches": epochs, "LengthBatches": lengths, "PairBatches": pairs}
    for (name, make), (other, make_other) in itertools.permutations(kinds.items(), 2):
        with pytest.raises(
            ValueError, match=f"^state is of batches made with .*'{name}'.* these were made with .*'{other}'"
        ):
            make_other().load_state_dict(make().state_dict())


@pytest.mark.parametrize(
    ("make", "change", "error", "message"),
    [
        (windows, {"length": 0}, ValueError, "length is 0: it must be at least 1"),
        (windows, {"batch_size": 0}, ValueError, "batch_size is 0: it must be at least 1"),
        (windows, {"ids": [1, 2]}, ValueError, "ids has length 2: at least 8 are needed"),
        (windows, {"seed": 0.5}, TypeError, "seed must be an integer, not 0.5"),
        (epochs, {"seed": None}, TypeError, "seed must be an integer, not None"),
        (
            epochs,
            {"batch_size": 12},
            ValueError,
            "batch_size is 12: it must be at most 11, the number of rows in batch",
        ),
        (epochs, {"batch_size": 0}, ValueError, "batch_size is 0: it must be at least 1"),
        (epochs, {"batch": ()}, TypeError, r"batch must be a tuple of tensors, not \(\)"),
        (epochs, {"batch": [torch.ones(2)]}, TypeError, r"batch must be a tuple of tensors, not \[tensor"),
        (epochs, {"batch": (torch.ones(2), 5)}, TypeError, r"batch must be a tuple of tensors, not \(tensor"),
        (
            epochs,
            {"batch": (torch.ones(8, 2), torch.ones(7))},
            ValueError,
            r"batch has tensors of shape \(8, 2\), \(7,\): they need one common number of rows, at least 1",
        ),
        (epochs, {"batch": (torch.tensor(5),)}, ValueError, r"batch has tensors of shape \(\): they need one common"),
        (pairs, {"sources": SOURCES[1:]}, ValueError, "sources holds 10 texts and targets 11: each source needs its"),
        (pairs, {"targets": TARGETS[1:]}, ValueError, "sources holds 11 texts and targets 10: each source needs its"),
        (lengths, {"real": "real"}, ValueError, "real is 'real': it must name the field of batch that is False"),
        (lengths, {"batch": (TEXTS.ids,)}, ValueError, "real is 'mask': it must name the field"),
        (lengths, {"batch_size": 12}, ValueError, "batch_size is 12: it must be at most 11"),
        (pairs, {"sources": []}, ValueError, "sources is empty: a batch needs at least one sequence"),
        (pairs, {"targets": [*TARGETS[1:], []]}, ValueError, r"targets\[10\] is empty: it must hold at least one id"),
        (pairs, {"batch_size": 12}, ValueError, "batch_size is 12: it must be at most 11"),
        (pairs, {"batch_size": 0}, ValueError, "batch_size is 0: it must be at least 1"),
        (pairs, {"begin_id": -1}, ValueError, "begin_id is -1: an id is at least 0"),
        (pairs, {"end_id": None}, TypeError, "end_id must be an integer, not None"),
        (pairs, {"seed": 0.5}, TypeError, "seed must be an integer, not 0.5"),
    ],
)
def test_a_source_of_something_bad_is_refused_at_once_with_a_reason(monkeypatch, make, change, error, message):
    # As a learner has them, without run-time shape checks.
    for name in ("WindowBatches", "EpochBatches", "LengthBatches", "PairBatches"):
        monkeypatch.setattr(getattr(batches, name), "__init__", plain(f"{name}.__init__"))
    monkeypatch.setattr(batches, "pair_batch", plain("pair_batch"))
    with pytest.raises(error, match=f"^{message}"):
        make(**change)
