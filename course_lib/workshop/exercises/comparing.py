"""Compares an answer with what it ought to be, and says how they differ: in kind, then in shape, then in values."""

import math
import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from course_lib.workshop.exercises.calling import Wrong, without_addresses

# (relative, absolute) by dtype: other orders of summation stay far below these, a mistake far above.
_TOLERANCES = {torch.float16: (2e-2, 2e-3), torch.bfloat16: (5e-2, 1e-2), torch.float32: (1e-4, 1e-5)}
_FINEST = (1e-5, 1e-7)
_NUMBER = (1e-4, 1e-6)


def compare_answers(got: Any, want: Any, tolerance: float | None = None) -> Wrong | None:
    """None if ``got`` may pass for ``want``; else the general mistake, with values for its text.

    Lists may pass for tuples, float64 for float32, and a number may be a Python, NumPy or 0-dimensional tensor one.
    """
    try:
        return _difference(got, want, tolerance, "")
    except Exception:  # something unheard of: == of a foreign class, a tensor that cannot be read
        return Wrong("cannot_compare", got=kind_of(got), want=kind_of(want))


def kind_of(value: Any) -> str:
    """The key of general.toml's [kinds], or the name of a type that has none there."""
    if value is None:
        return "none"
    for name, types in _KINDS.items():
        if isinstance(value, types):
            return name
    return "function" if callable(value) else type(value).__name__


_KINDS: dict[str, Any] = {
    "class": type,
    "truth": (bool, np.bool_),
    "number": (numbers.Number, np.number),
    "text": str,
    "bytes": (bytes, bytearray),
    "tensor": torch.Tensor,
    "array": np.ndarray,
    "list": (list, tuple),
    "dict": Mapping,
    "set": (set, frozenset),
    "generator": Iterator,
}


def _difference(got: Any, want: Any, tolerance: float | None, place: str) -> Wrong | None:
    wanted = kind_of(want)
    if wanted in {"truth", "number"} and isinstance(got, torch.Tensor | np.ndarray) and got.ndim == 0:
        got = got.item()
    found = kind_of(got)
    if found != wanted:
        general = {"none": "returned_none", "generator": "generator", "function": "returned_function"}.get(found)
        if wanted == "tensor" and found == "array":
            general = "numpy_array"
        return Wrong(general or "wrong_kind", got=found, want=wanted, place=_at(place))
    if wanted == "number":
        return _numbers(got, want, tolerance, place)
    if wanted == "tensor":
        return _tensors(got, want, tolerance, place)
    if wanted == "array":
        return _tensors(torch.as_tensor(np.array(got)), torch.as_tensor(np.array(want)), tolerance, place)
    if wanted == "list":
        return _lists(got, want, tolerance, place)
    if wanted == "dict":
        if wrong := _items(set(got), set(want), place):
            return wrong
        return _first(_difference(got[key], want[key], tolerance, f"{place}[{key!r}]") for key in want)
    if wanted == "set":
        return _items(set(got), set(want), place)
    return None if got == want else _other(got, place)


def _lists(got: Sequence[Any], want: Sequence[Any], tolerance: float | None, place: str) -> Wrong | None:
    if len(got) != len(want):
        return Wrong("wrong_length", got=len(got), want=len(want), place=_at(place))
    return _first(_difference(g, w, tolerance, f"{place}[{i}]") for i, (g, w) in enumerate(zip(got, want, strict=True)))


def _items(got: set[Any], want: set[Any], place: str) -> Wrong | None:
    if got == want:
        return None
    missing, extra = (sorted(map(in_short, items))[:3] for items in (want - got, got - want))
    return Wrong("wrong_items", missing=", ".join(missing) or "-", extra=", ".join(extra) or "-", place=_at(place))


def _numbers(got: Any, want: Any, tolerance: float | None, place: str) -> Wrong | None:
    got, want = (value.item() if isinstance(value, np.generic) else value for value in (got, want))
    got, want = (value if isinstance(value, int) else float(value) for value in (got, want))
    if got == want or (math.isnan(got) and math.isnan(want)):
        return None
    if math.isfinite(want) and not math.isfinite(got):
        return Wrong("not_finite", got=got, place=_at(place))
    if isinstance(got, int) and isinstance(want, int) and tolerance is None:
        return Wrong("unknown", difference=f"{abs(got - want)}", place=_at(place))
    relative, absolute = (tolerance, tolerance) if tolerance is not None else _NUMBER
    if math.isclose(got, want, rel_tol=relative, abs_tol=absolute):
        return None
    return Wrong("unknown", difference=f"{abs(got - want):.2g}", place=_at(place))


def _tensors(got: torch.Tensor, want: torch.Tensor, tolerance: float | None, place: str) -> Wrong | None:
    if got.layout != torch.strided:
        return Wrong("wrong_kind", variant="sparse_tensor", place=_at(place))
    if got.shape != want.shape:
        return Wrong("wrong_shape", got=tuple(got.shape), want=tuple(want.shape), place=_at(place))
    if not _same_sort(got.dtype, want.dtype):
        names = (str(dtype).removeprefix("torch.") for dtype in (got.dtype, want.dtype))
        return Wrong("wrong_dtype", place=_at(place), **dict(zip(("got", "want"), names, strict=True)))
    if got.device != want.device:
        return Wrong("wrong_device", got=got.device, want=want.device, place=_at(place))
    if got.numel() == 0:
        return None
    relative, absolute = (tolerance, tolerance) if tolerance is not None else _tolerances(got.dtype, want.dtype)
    exact = not (want.is_floating_point() or want.is_complex())
    common = torch.int64 if exact else torch.complex128 if want.is_complex() else torch.float64
    g, w = (tensor.detach().cpu().to(common) for tensor in (got, want))
    bad = g != w if exact and tolerance is None else ~torch.isclose(g, w, relative, absolute, equal_nan=True)
    if not bad.any():
        return None
    infinite = ~g.isfinite() & w.isfinite()
    apart = torch.where(bad, (g - w).abs().double().nan_to_num(math.inf, math.inf), -1.0)
    worst = [int(i) for i in torch.unravel_index((infinite if infinite.any() else apart).double().argmax(), g.shape)]
    place += str(worst) if worst else ""
    if infinite.any():
        return Wrong("not_finite", got=g[tuple(worst)].item(), place=_at(place))
    return Wrong("unknown", difference=f"{apart[tuple(worst)].item():.2g}", place=_at(place))


def _same_sort(got: torch.dtype, want: torch.dtype) -> bool:
    """Float32 and float64 pass for each other, and so do whole numbers of any size; other dtypes must be equal."""
    fine = {torch.float32, torch.float64}
    integers = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
    return got == want or {got, want} <= fine or {got, want} <= integers


def _tolerances(*dtypes: torch.dtype) -> tuple[float, float]:
    return max(_TOLERANCES.get(dtype, _FINEST) for dtype in dtypes)


def _first(found: Iterator[Wrong | None]) -> Wrong | None:
    return next((wrong for wrong in found if wrong), None)


def _other(got: Any, place: str) -> Wrong:
    return Wrong("unknown", variant="unknown_item", got=in_short(got), place=_at(place))


def in_short(value: Any) -> str:
    """A value in a few characters, the same in every run: a large tensor by its shape."""
    if isinstance(value, torch.Tensor | np.ndarray) and len(value.reshape(-1)) > 8:
        return f"{type(value).__name__.lower()} of shape {tuple(value.shape)}"
    if isinstance(value, set | frozenset):  # in an order that does not change from run to run
        text = f"{{{', '.join(sorted(map(repr, value)))}}}" if value else "set()"
    else:
        text = str(getattr(value, "__name__", "")) or re.sub(r"\n\s*", " ", without_addresses(repr(value)))
    return text if len(text) <= 60 else f"{text[:57]}..."


def inputs_in_words(inputs: Sequence[Any]) -> str:
    """The arguments of a call."""
    return ", ".join(map(in_short, inputs))


def _at(place: str) -> str:
    return f" at {place}" if place else ""
