"""The tensors of a model, each once: what is written to a disk, and copied back into a model of the same kind.

Weights can be tied, as embedding and head are in GPT-2 (Press & Wolf 2017): one tensor with two names.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from course_lib.models.storage import CheckpointError


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of ``state_dict``, each once: tied weights bear the first of their names."""
    seen: set[object] = set()
    once = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        if place not in seen:
            seen.add(place)
            once[name] = tensor
    return once


def load_model_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy what ``model_tensors`` gave into a model of the same kind. What is tied in it stays tied."""
    own = model_tensors(model)
    for name in sorted(own.keys() | tensors.keys()):
        here, there = (kind_of(t.get(name)) for t in (own, tensors))
        if here != there:
            raise CheckpointError(f"the weights are of another model: for {name} they hold {there}, the model {here}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def kind_of(tensor: Tensor | None) -> str:
    """Format and shape, to compare and to print."""
    return "nothing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
