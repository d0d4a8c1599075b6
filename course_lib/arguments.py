"""What a caller may have got wrong: checks that many modules share, each error naming the argument and its value."""

import torch
from torch import Tensor


def check_at_least_one(name: str, value: object) -> None:
    """Raises TypeError for anything but an int (True is none), ValueError below 1."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an integer, not {value!r:.60}")
    if value < 1:
        raise ValueError(f"{name} is {value}: it must be at least 1")


def holds_integers(value: object) -> bool:
    """Whether ``value`` is a tensor of integers. Bool is another kind: a mask is no list of ids."""
    if not isinstance(value, Tensor):
        return False
    return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)


def in_error_words(value: object) -> str:
    """A tensor by its dtype and shape, anything else as it prints, cut short."""
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} with shape {tuple(value.shape)}"
    return f"{value!r:.60}"


def check_generator(value: object) -> None:
    """Raises TypeError for anything but a ``torch.Generator``: the library has no random numbers of its own."""
    if not isinstance(value, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, as torch.Generator().manual_seed(0), not {value!r:.60}")
