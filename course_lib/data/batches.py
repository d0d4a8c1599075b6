"""Batches: lists of token ids become the rectangles that a model is trained on.

The task is next-token prediction: at each position the target is the id that comes next. One long text is cut into
windows; many short texts are padded to one length, or packed into rows without attention between them (Brown et al.
2020, section 2.3, pack; Ding et al. 2024, "Fewer truncations improve language modeling", choose what goes together).

Sizes: W windows, B sequences, T positions.

Two laws hold for all functions here. A target is always the next id of the same text, and each target occurs once: what
has no next id (the end of a text, padding) has the target ``IGNORE``. And what stands beside a sequence in its batch
changes nothing for it, if the model uses the masks and positions given here (``course_lib.layers.masks``).
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from course_lib.arguments import check_at_least_one, check_generator, holds_integers

IGNORE = -100  # the target that a loss leaves out: the default ignore_index of torch.nn.functional.cross_entropy

Ids = Integer[Tensor, "_"] | Integer[numpy.ndarray, "_"] | Sequence[int]  # one dimension, of any length


class PaddedBatch(NamedTuple):
    """``mask`` is True where ``ids`` is a real token and False where it is padding."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]


class PackedBatch(NamedTuple):
    """``document_ids`` says which document a token comes from (-1: padding), ``positions`` where it stands in it."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    document_ids: Int[Tensor, "B T"]
    positions: Int[Tensor, "B T"]


AnyBatch = TypeVar("AnyBatch", bound=tuple[Tensor, ...])


def batch_like(batch: AnyBatch, tensors: Iterable[Tensor]) -> AnyBatch:
    """Other tensors as a batch of the same kind: a NamedTuple with its names, or a plain tuple."""
    return type(batch)(*tensors) if hasattr(batch, "_fields") else type(batch)(tensors)


def next_token_windows(
    ids: Ids, length: int, stride: int | None = None
) -> tuple[Integer[Tensor, "W T"], Integer[Tensor, "W T"]]:
    """All windows of ``length`` ids that start every ``stride`` ids (default: ``length``), and their targets.

    ``inputs[w, t]`` is ``ids[w * stride + t]`` and ``targets[w, t]`` the id after it. Both are views: the text is not
    copied, whatever the stride, and the dtype stays (``.long()`` a batch of it if ids are stored small). Ids at the end
    that fill no window are left out; ``epoch_windows`` keeps them.
    """
    check_at_least_one("length", length)
    corpus = _checked_corpus(ids, needed=length + 1)
    step = length if stride is None else stride
    check_at_least_one("stride", step)
    if step > length:
        raise ValueError(f"stride is {step}: more than length ({length}) would leave ids out between two windows")
    return corpus[:-1].unfold(0, length, step), corpus[1:].unfold(0, length, step)


def sample_windows(
    ids: Ids, length: int, batch_size: int, generator: torch.Generator
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """A batch of inputs and targets from random places; each place of the text is equally likely."""
    check_at_least_one("length", length)
    check_at_least_one("batch_size", batch_size)
    corpus = _checked_corpus(ids, needed=length + 1)
    check_generator(generator)
    starts = torch.randint(len(corpus) - length, (batch_size,), generator=generator, device=generator.device)
    rows = _rows_from(corpus, starts.to(corpus.device), length + 1)
    return rows[:, :-1], rows[:, 1:]


def epoch_windows(
    ids: Ids, length: int, batch_size: int, generator: torch.Generator | None = None, *, pad_id: int = 0
) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Batches of inputs and targets in which each id but the first is a target exactly once.

    The windows do not overlap. With a generator they come in random order. The last window of the text is filled up
    with ``pad_id`` (any id will do: a causal model cannot look ahead to it) and targets ``IGNORE``; the last batch may
    have fewer rows.
    """
    check_at_least_one("length", length)
    check_at_least_one("batch_size", batch_size)
    _check_id("pad_id", pad_id)
    corpus = _checked_corpus(ids, needed=2)
    windows = -(-(len(corpus) - 1) // length)  # rounded up

    def batch(numbers: Tensor) -> tuple[Tensor, Tensor]:
        starts = numbers.to(corpus.device) * length
        rows = _rows_from(corpus, starts, length + 1)
        real = _positions(starts, length + 1) < len(corpus)
        return rows.masked_fill(~real, pad_id)[:, :-1], rows.masked_fill(~real, IGNORE)[:, 1:]

    return map(batch, _order(windows, generator).split(batch_size))


def pad_batch(sequences: Iterable[Ids], pad_id: int) -> PaddedBatch:
    """Sequences of different lengths in one rectangle, each filled up with ``pad_id`` on its right.

    The mask keeps padding out of means and of attention without a causal mask. With one, no real token can see the
    padding anyway. ``pad_id`` may be any id: its targets are ``IGNORE``.
    """
    _check_id("pad_id", pad_id)
    rows = checked_sequences("sequences", sequences)
    shape = len(rows), max(map(len, rows))
    batch = PaddedBatch(torch.full(shape, pad_id), torch.full(shape, IGNORE), torch.zeros(shape, dtype=torch.bool))
    for b, row in enumerate(rows):
        batch.ids[b, : len(row)] = row
        batch.targets[b, : len(row) - 1] = row[1:]
        batch.mask[b, : len(row)] = True
    return batch


def pack_documents(documents: Iterable[Ids], length: int, eos_id: int) -> PackedBatch:
    """Whole documents side by side in rows of ``length``, with ``eos_id`` after each, and little padding.

    The last token of a document has the target ``eos_id``, and ``eos_id`` has none (``IGNORE``), so no target crosses a
    boundary. To keep attention inside the documents too, use ``document_mask(document_ids) & causal_mask(length)`` of
    ``course_lib.layers.masks``. ``positions`` starts at 0 with each.

    A document that is too long for a row (with its ``eos_id``) is cut into pieces of ``length``. The last target of a
    piece is the first id of the next, but attention does not reach back over the cut, and positions start again at 0.

    The longest pieces are placed first, each in the row where the least room is left over ("best fit decreasing").
    Rows come out in the order of the documents they begin with. The rest of a row is ``eos_id`` without targets,
    ``document_ids`` -1.
    """
    check_at_least_one("length", length)
    _check_id("eos_id", eos_id)
    pieces = []  # (document, ids, targets)
    for number, document in enumerate(checked_sequences("documents", documents)):
        ids = torch.cat([document, torch.tensor([eos_id])])
        targets = torch.cat([ids[1:], torch.tensor([IGNORE])])
        pieces += [(number, *piece) for piece in zip(ids.split(length), targets.split(length), strict=True)]

    rows: list[list[int]] = []  # the pieces in each row
    rows_with_room: list[list[int]] = [[] for _ in range(length + 1)]
    for piece in sorted(range(len(pieces)), key=lambda i: -len(pieces[i][1])):
        size = len(pieces[piece][1])
        room = next((room for room in range(size, length + 1) if rows_with_room[room]), None)
        if room is None:
            room = length
            rows_with_room[room].append(len(rows))
            rows.append([])
        row = rows_with_room[room].pop()
        rows[row].append(piece)
        rows_with_room[room - size].append(row)

    shape = len(rows), length
    batch = PackedBatch(
        ids=torch.full(shape, eos_id),
        targets=torch.full(shape, IGNORE),
        document_ids=torch.full(shape, -1),
        positions=torch.zeros(shape, dtype=torch.long),
    )
    for b, row_pieces in enumerate(sorted(sorted(row) for row in rows)):
        start = 0
        for number, ids, targets in (pieces[piece] for piece in row_pieces):
            here = slice(start, start + len(ids))
            batch.ids[b, here] = ids
            batch.targets[b, here] = targets
            batch.document_ids[b, here] = number
            batch.positions[b, here] = torch.arange(len(ids))
            start += len(ids)
    return batch


def row_batches(batch: AnyBatch, batch_size: int, generator: torch.Generator | None = None) -> Iterator[AnyBatch]:
    """The rows of a large batch, ``batch_size`` at a time (the last time perhaps fewer), each row once.

    With a generator they come in random order.
    """
    check_at_least_one("batch_size", batch_size)
    order = _order(len(batch[0]), generator)
    return (batch_like(batch, (tensor[rows] for tensor in batch)) for rows in order.split(batch_size))


class WindowBatches:
    """An endless source for the training loop: each ``next`` is a batch of ``sample_windows``.

    Its state is the place in its random numbers: what comes after ``load_state_dict(state)`` is what came after
    ``state_dict()``, in another process too.
    """

    def __init__(self, ids: Ids, length: int, batch_size: int, seed: int) -> None:
        check_at_least_one("length", length)
        check_at_least_one("batch_size", batch_size)
        self._ids, self._length, self._batch_size = _checked_corpus(ids, needed=length + 1), length, batch_size
        self._generator = seeded_generator(seed)
        self._made_of = {"ids": len(self._ids), "length": length, "batch_size": batch_size, "seed": seed}

    def __iter__(self) -> Iterator[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
        return self

    def __next__(self) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
        return sample_windows(self._ids, self._length, self._batch_size, self._generator)

    def state_dict(self) -> dict[str, Any]:
        return {"made_of": self._made_of, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_made_of(self._made_of, state)
        self._generator.set_state(state["generator"])


class EpochBatches(Generic[AnyBatch]):
    """An endless source for the training loop: rows of ``batch`` in random order, all once, then all once again.

    Each batch has ``batch_size`` rows: where an epoch ends within one, it is filled up from the next epoch.
    """

    def __init__(self, batch: AnyBatch, batch_size: int, seed: int) -> None:
        check_at_least_one("batch_size", batch_size)
        rows = _common_rows(batch)
        if batch_size > rows:
            raise ValueError(f"batch_size is {batch_size}: it must be at most {rows}, the number of rows in batch")
        self._batch, self._batch_size = batch, batch_size
        self._generator = seeded_generator(seed)
        self._made_of = {"kind": type(self).__name__, "rows": rows, "batch_size": batch_size, "seed": seed}
        self._rows = rows
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch_began, self._position = self._generator.get_state(), 0
        self._order = self._new_order()

    def _new_order(self) -> Tensor:
        return _order(self._rows, self._generator)

    def __iter__(self) -> Iterator[AnyBatch]:
        return self

    def __next__(self) -> AnyBatch:
        numbers = self._order[self._position : self._position + self._batch_size]
        self._position += len(numbers)
        if (absent := self._batch_size - len(numbers)) > 0:
            self._begin_epoch()
            numbers = torch.cat([numbers, self._order[:absent]])
            self._position = absent
        return batch_like(self._batch, (tensor[numbers.to(tensor.device)] for tensor in self._batch))

    def state_dict(self) -> dict[str, Any]:
        return {"made_of": self._made_of, "epoch_began": self._epoch_began, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_made_of(self._made_of, state)
        self._generator.set_state(state["epoch_began"])
        self._begin_epoch()
        self._position = state["position"]


class LengthBatches(EpochBatches[AnyBatch]):
    """As ``EpochBatches``, with rows of about the same length together, and cut to the longest: hardly any padding.

    ``real`` says which field of ``batch`` is False at padding, which stands at the right; all fields (B, T) are cut. In
    each epoch the rows come in random order, are sorted by length, and cut into batches; the batches come in random
    order. Rows left over, fewer than a batch, are others each time.
    """

    def __init__(self, batch: AnyBatch, batch_size: int, seed: int, *, real: str = "real") -> None:
        if real not in getattr(batch, "_fields", ()):
            raise ValueError(f"real is {real!r}: it must name the field of batch that is False at padding")
        self._at = type(batch)._fields.index(real)  # type: ignore[attr-defined]
        super().__init__(batch, batch_size, seed)

    def _new_order(self) -> Tensor:
        lengths = self._batch[self._at].sum(dim=1).cpu()  # where the order is
        return alike_together(super()._new_order(), [lengths], self._batch_size, self._generator)

    def __next__(self) -> AnyBatch:
        batch = super().__next__()
        shape = batch[self._at].shape
        longest = int(batch[self._at].sum(dim=1).max())
        return batch_like(batch, (t[:, :longest] if t.shape[:2] == shape else t for t in batch))


class PairBatch(NamedTuple):
    """Sources and their targets, for a model with an encoder and a decoder.

    ``target`` begins with a token of its own. ``labels[b, t]`` is what comes after ``target[b, t]``, at last the end.
    ``source_real`` is False at padding.
    """

    source: Int[Tensor, "B S"]
    source_real: Bool[Tensor, "B S"]
    target: Int[Tensor, "B T"]
    labels: Int[Tensor, "B T"]


def pair_batch(sources: Iterable[Ids], targets: Iterable[Ids], *, begin_id: int, end_id: int) -> PairBatch:
    """Pairs in one rectangle for each side. ``begin_id`` and ``end_id`` go around each target; neither stands in it.

    What is shorter than others is filled up with ``end_id``, and its labels with ``IGNORE``.
    """
    _check_id("begin_id", begin_id)
    _check_id("end_id", end_id)
    read = checked_sequences("sources", sources)
    written = checked_sequences("targets", targets)
    if len(read) != len(written):
        raise ValueError(f"sources holds {len(read)} texts and targets {len(written)}: each source needs its target")
    source, target = (pad_sequence(rows, batch_first=True, padding_value=end_id) for rows in (read, written))
    source_lengths, target_lengths = (torch.tensor([len(row) for row in rows])[:, None] for rows in (read, written))
    begin, end = torch.full((len(target), 1), begin_id), torch.full((len(target), 1), end_id)
    beyond_the_end = torch.arange(target.shape[1] + 1) > target_lengths
    return PairBatch(
        source,
        torch.arange(source.shape[1]) < source_lengths,
        torch.cat([begin, target], dim=1),
        torch.cat([target, end], dim=1).masked_fill(beyond_the_end, IGNORE),
    )


class PairBatches(EpochBatches[PairBatch]):
    """An endless source for the training loop: pairs of about the same length together, so that hardly any is padded.

    In each epoch the pairs come in random order, are sorted by the lengths of target and source, and cut into batches
    of ``batch_size``; the batches come in random order. Those left over, fewer than a batch, are others each time.
    """

    def __init__(
        self,
        sources: Iterable[Ids],
        targets: Iterable[Ids],
        batch_size: int,
        seed: int,
        *,
        begin_id: int,
        end_id: int,
    ) -> None:
        super().__init__(pair_batch(sources, targets, begin_id=begin_id, end_id=end_id), batch_size, seed)

    def _new_order(self) -> Tensor:
        return alike_together(super()._new_order(), _pair_lengths(self._batch), self._batch_size, self._generator)

    def __next__(self) -> PairBatch:
        batch = super().__next__()
        source_length, target_length = (int(lengths.max()) for lengths in _pair_lengths(batch))
        return PairBatch(
            *(tensor[:, :source_length] for tensor in batch[:2]), *(tensor[:, :target_length] for tensor in batch[2:])
        )


def alike_together(
    rows: Int[Tensor, "N"], lengths: Iterable[Int[Tensor, "M"]], batch_size: int, generator: torch.Generator
) -> Int[Tensor, "K"]:
    """The N rows sorted by length and cut into whole batches, K rows in all, which then come in random order.

    ``lengths`` are of all M rows that there are.
    """
    rows = rows[: len(rows) // batch_size * batch_size]
    for length in lengths:  # the last one counts most, and ties stay in random order
        rows = rows[length[rows].argsort(stable=True)]
    batches = rows.view(-1, batch_size)
    return batches[_order(len(batches), generator)].flatten()


def _pair_lengths(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """How many real tokens each source and each target has."""
    return batch.source_real.sum(dim=1), (batch.labels != IGNORE).sum(dim=1)


def seeded_generator(seed: object) -> torch.Generator:
    """Random numbers that start at ``seed``. Raises TypeError for anything but an int."""
    if type(seed) is not int:
        raise TypeError(f"seed must be an integer, not {seed!r:.60}")
    return torch.Generator().manual_seed(seed)


def check_made_of(own: dict[str, Any], state: dict[str, Any]) -> None:
    """Raises ValueError for the state of a source that was made with something else."""
    if own != state.get("made_of"):
        raise ValueError(f"state is of batches made with {state.get('made_of')}, and these were made with {own}")


def _common_rows(batch: object) -> int:
    if not isinstance(batch, tuple) or not batch or not all(isinstance(tensor, Tensor) for tensor in batch):
        raise TypeError(f"batch must be a tuple of tensors, not {batch!r:.60}")
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in batch}
    if len(sizes) > 1 or not min(sizes):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in batch)
        raise ValueError(f"batch has tensors of shape {shapes}: they need one common number of rows, at least 1")
    return sizes.pop()


def _order(size: int, generator: object) -> Tensor:
    if generator is None:
        return torch.arange(size)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator or None, not {generator!r:.60}")
    return torch.randperm(size, generator=generator, device=generator.device).cpu()


def _positions(starts: Tensor, size: int) -> Tensor:
    return starts[:, None] + torch.arange(size, device=starts.device)


def _rows_from(corpus: Tensor, starts: Tensor, size: int) -> Tensor:
    """``size`` ids from each start on; beyond the end of the text the last id again."""
    return corpus[_positions(starts, size).clamp(max=len(corpus) - 1)].long()


def _check_id(name: str, value: object) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an integer, not {value!r:.60}")
    if value < 0:
        raise ValueError(f"{name} is {value}: an id is at least 0 (what a loss ignores are targets, not ids)")


def checked_ids(name: str, ids: object) -> Tensor:
    """``ids`` as a tensor of one dimension, without a copy if it is a tensor or an array (which runs forwards)."""
    try:
        tensor = _read_only_array(ids) if isinstance(ids, numpy.ndarray) else torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a flat sequence of integers, not {ids!r:.60}") from error
    if tensor.ndim != 1:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: it must have one dimension")
    if len(tensor) == 0:
        raise ValueError(f"{name} is empty: it must hold at least one id")
    if not holds_integers(tensor):
        raise TypeError(f"{name} must hold integers, not {tensor.dtype}")
    return tensor


def _read_only_array(ids: numpy.ndarray) -> Tensor:
    with warnings.catch_warnings():  # a file mapped read-only is fine: nothing here writes to ids
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.as_tensor(ids.copy() if min(ids.strides, default=0) < 0 else ids)  # PyTorch cannot go backwards


def _checked_corpus(ids: object, needed: int) -> Tensor:
    corpus = checked_ids("ids", ids)
    if len(corpus) < needed:
        raise ValueError(
            f"ids has length {len(corpus)}: at least {needed} are needed, the last one being only a target"
        )
    return corpus


def checked_sequences(name: str, sequences: object) -> list[Tensor]:
    """Each of the sequences as int64: ``checked_ids``, and no id below 0."""
    if not isinstance(sequences, Iterable):
        raise TypeError(f"{name} must be a list of sequences of ids, not {sequences!r:.60}")
    checked = []
    for number, ids in enumerate(sequences):
        tensor = checked_ids(f"{name}[{number}]", ids).long()
        if tensor.min() < 0:
            raise ValueError(f"{name}[{number}] holds the id {tensor.min().item()}: an id is at least 0")
        checked.append(tensor)
    if not checked:
        raise ValueError(f"{name} is empty: a batch needs at least one sequence")
    return checked
