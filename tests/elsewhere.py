"""A GPU for those who have none: tensors that, as on one, go together with no tensor of the CPU."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

AnyBatch = TypeVar("AnyBatch", bound=tuple[Tensor, ...])


class Elsewhere(Tensor):
    """An operation that also takes a tensor of the CPU is an error, but for a place in it that the CPU names."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = [*args, *(kwargs or {}).values()]
        if func is Tensor.cpu or (func is Tensor.to and any(isinstance(x, str | torch.device) for x in given)):
            return args[0].as_subclass(Tensor)
        with torch._C.DisableTorchFunctionSubclass():
            tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor) and leaf.ndim]
        here = [not isinstance(tensor, Elsewhere) for tensor in tensors]
        if any(here) and (func is not Tensor.__getitem__ or here[0]) and not all(here):
            raise RuntimeError("tensors are on two devices")
        return super().__torch_function__(func, types, args, kwargs or {})


def elsewhere(batch: AnyBatch) -> AnyBatch:
    """All tensors of a NamedTuple."""
    return type(batch)(*(tensor.as_subclass(Elsewhere) for tensor in batch))
