"""Shared by the tests of using."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor


def recorded(
    monkeypatch: pytest.MonkeyPatch, model: Any, method: str, what: Callable[[Tensor], Any] = lambda x: tuple(x.shape)
) -> list[Any]:
    """A list that grows with each call of the method: ``what`` its first argument is."""
    seen: list[Any] = []
    original = getattr(model, method)

    def record(first: Tensor, *args: Any, **named: Any) -> Any:
        seen.append(what(first))
        return original(first, *args, **named)

    monkeypatch.setattr(model, method, record)
    return seen
