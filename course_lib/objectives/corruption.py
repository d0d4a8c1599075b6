"""Batches that are corrupted anew each time they are drawn: what is hidden in one epoch stands there in the next.

Liu et al. 2019 (RoBERTa), section 4.1, call it dynamic masking; BERT's own program hid each text's tokens once, in
advance.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol

import torch

from course_lib.data.batches import AnyBatch, check_made_of, seeded_generator


class Source(Protocol):
    """What ``WindowBatches`` and ``EpochBatches`` are."""

    def __next__(self) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Corrupted(Generic[AnyBatch]):
    """An endless source for the training loop: each ``next`` is ``corrupt(next(batches), generator)``.

        rows = EpochBatches(pad_batch(texts, pad_id), 32, seed=0)
        Corrupted(rows, lambda batch, g: mask_tokens(batch.ids, batch.mask, ..., generator=g), seed=1)

    The generator is the only source of random numbers that ``corrupt`` may use: then ``load_state_dict`` goes on as if
    there had been no stop, and several processes with the same seeds draw the same batches.
    """

    def __init__(self, batches: Source, corrupt: Callable[[Any, torch.Generator], AnyBatch], seed: int) -> None:
        for method in ("__next__", "state_dict", "load_state_dict"):
            if not hasattr(batches, method):
                raise TypeError(f"batches must be a source, as EpochBatches is: {batches!r:.60} has no {method}")
        if not callable(corrupt):
            raise TypeError(f"corrupt must be a function of a batch and a torch.Generator, not {corrupt!r:.60}")
        self._batches, self._corrupt = batches, corrupt
        self._generator = seeded_generator(seed)
        self._made_of = {"seed": seed}

    def __iter__(self) -> Iterator[AnyBatch]:
        return self

    def __next__(self) -> AnyBatch:
        return self._corrupt(next(self._batches), self._generator)

    def state_dict(self) -> dict[str, Any]:
        return {
            "made_of": self._made_of,
            "generator": self._generator.get_state(),
            "batches": self._batches.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_made_of(self._made_of, state)
        self._batches.load_state_dict(state["batches"])
        self._generator.set_state(state["generator"])
