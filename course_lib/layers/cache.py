"""The key/value cache: what a layer has computed for earlier positions is kept, so that each new token costs one row.

Without it, writing n tokens runs the model over 1 + 2 + ... + n positions. With it, over n (Pope et al. 2022,
section 2).

Sizes: B sequences, G key/value heads, S positions so far, T new positions, K head width.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_lib.arguments import in_error_words


class KeyValueCache:
    """Keys and values of *one* layer. A model has one for each of its layers.

    For inference only: the buffers are written in place, which a backward pass could not undo. They double in size when
    they are full, so that n appended tokens cost O(n) copying and not O(n²).
    """

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._positions: Tensor | None = None
        self._length = 0

    @property
    def length(self) -> int:
        """Positions so far: S."""
        return self._length

    @property
    def keys(self) -> Float[Tensor, "B G S K"]:
        return self._filled(self._keys)

    @property
    def values(self) -> Float[Tensor, "B G S K"]:
        return self._filled(self._values)

    @property
    def positions(self) -> Int[Tensor, "*b S"]:
        """Where each key stands in its text; (S) or (B, S)."""
        if self._positions is None:
            raise ValueError("the cache is empty: append keys and values first")
        return self._positions

    def behind(self, steps: Int[Tensor, "T"]) -> Int[Tensor, "*b T"]:
        """Positions 0, 1, ... of new tokens, counted on from the last one that is here, in each row."""
        return steps + self._positions[..., -1:] + 1 if self._positions is not None and self._length else steps

    def append(
        self, keys: Float[Tensor, "B G T K"], values: Float[Tensor, "B G T K"], positions: Int[Tensor, "*b T"]
    ) -> None:
        """Adds T positions behind those that are there.

        Raises ValueError for other sizes, another dtype or device than before, and for tensors that track gradients.
        The cache is then as it was.
        """
        if keys.requires_grad or values.requires_grad:
            raise ValueError("keys or values track gradients: a cache is for inference, inside `with torch.no_grad():`")
        if keys.shape != values.shape or keys.ndim != 4:
            raise ValueError(
                f"keys and values have the shapes {tuple(keys.shape)} and {tuple(values.shape)}: "
                "both must be (B, G, T, K)"
            )
        rows, _, new, _ = keys.shape
        if tuple(positions.shape) not in ((new,), (1, new), (rows, new)):
            raise ValueError(f"positions has shape {tuple(positions.shape)}: it must be ({new},) or ({rows}, {new})")
        if positions.device != keys.device:
            raise ValueError(f"positions are on {positions.device}, but keys are on {keys.device}: move one of them")
        self._check("keys", self._keys, keys)
        self._check("values", self._values, values)
        self._keys, self._values = self._written(self._keys, keys), self._written(self._values, values)
        self._length += new
        if self._positions is None:
            self._positions = positions.expand(rows, new) if positions.ndim == 2 else positions
        elif self._positions.ndim == positions.ndim == 1:
            self._positions = torch.cat([self._positions, positions])
        else:
            self._positions = torch.cat([self._positions.expand(rows, -1), positions.expand(rows, -1)], dim=-1)

    def truncate(self, length: int) -> None:
        """Forgets everything behind the first ``length`` positions, as when guessed tokens are rejected."""
        if type(length) is not int:
            raise TypeError(f"length must be an integer, not {length!r:.60}")
        if not 0 <= length <= self._length:
            raise ValueError(f"length is {length}: it must be from 0 to {self._length}, the length of the cache")
        self._length = length
        if self._positions is not None:
            self._positions = self._positions[..., :length]

    def select(self, rows: Int[Tensor, "b"]) -> None:
        """Row b becomes what row ``rows[b]`` was, as when a beam goes on from another one. Rows may repeat or end."""
        if self._keys is None or self._values is None or self._positions is None:
            raise ValueError("the cache is empty: append keys and values first")
        if not isinstance(rows, Tensor) or rows.dtype not in (torch.int64, torch.int32) or rows.ndim != 1:
            raise TypeError(f"rows must be a tensor of integers with one dimension, not {in_error_words(rows)}")
        if ((rows < 0) | (rows >= len(self._keys))).any():
            raise ValueError(f"rows must be from 0 to {len(self._keys) - 1}, but are {rows.tolist()}")
        self._keys, self._values = self._keys[rows], self._values[rows]
        if self._positions.ndim == 2:
            self._positions = self._positions[rows]

    def _filled(self, buffer: Tensor | None) -> Tensor:
        if buffer is None:
            raise ValueError("the cache is empty: append keys and values first")
        return buffer[:, :, : self._length]

    def _check(self, name: str, buffer: Tensor | None, new: Tensor) -> None:
        if buffer is None:
            return
        if (buffer.dtype, buffer.device) != (new.dtype, new.device):
            raise ValueError(
                f"{name} are {new.dtype} on {new.device}, but the cache holds {buffer.dtype} on {buffer.device}"
            )
        if buffer.shape[:2] != new.shape[:2] or buffer.shape[3] != new.shape[3]:
            raise ValueError(
                f"{name} have the shape {tuple(new.shape)}, but the cache holds "
                f"{tuple(self._filled(buffer).shape)}: only the number of positions may differ"
            )

    def _written(self, buffer: Tensor | None, new: Tensor) -> Tensor:
        """``buffer`` with ``new`` behind what is in use; a larger buffer where there is no room."""
        start, end = self._length, self._length + new.shape[2]
        if buffer is None or end > buffer.shape[2]:
            larger = new.new_empty(*new.shape[:2], max(end, 2 * start), new.shape[3])
            if buffer is not None:
                larger[:, :, :start] = buffer[:, :, :start]
            buffer = larger
        buffer[:, :, start:end] = new
        return buffer
