"""How one architecture of Hugging Face becomes a model of this course, and the other way round.

An architecture is two translations: its ``config.json`` to our configuration, and its names of tensors to ours. Both
are data and small functions, gathered in a ``Conversion``; reading, checking and writing files is the same for all of
them (``folders.py``). The names stand in one table, which is read in both directions.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib.models.parts import Config

Settings = dict[str, Any]  # what config.json holds
Tensors = dict[str, Tensor]


class PretrainedError(ValueError):
    """A folder that cannot be read as a model here, or a model that cannot be written as one. The text says why."""


class Entry(NamedTuple):
    """One tensor of ours is made of one or more of ``theirs``, and taken apart again."""

    ours: str
    theirs: tuple[str, ...]
    join: Callable[[list[Tensor]], Tensor]
    split: Callable[[Tensor], list[Tensor]]


def renamed(ours: str, theirs: str) -> Entry:
    return Entry(ours, (theirs,), lambda tensors: tensors[0], lambda tensor: [tensor])


def transposed(ours: str, theirs: str) -> Entry:
    """They store the matrix as (in, out)."""
    return Entry(ours, (theirs,), lambda tensors: tensors[0].mT, lambda tensor: [tensor.mT])


def stacked(ours: str, theirs: Mapping[str, int]) -> Entry:
    """Ours holds the rows of several of theirs, one after the other. ``theirs``: name → number of rows."""
    sizes = list(theirs.values())
    return Entry(ours, tuple(theirs), torch.cat, lambda tensor: list(tensor.split(sizes)))


class Head(NamedTuple):
    """A head of ``models/heads.py``: its class, how it is made, and what they call its matrix."""

    kind: type[nn.Module]
    make: Callable[[nn.Module, int, float], nn.Module]  # (body, outputs, dropout)
    theirs: str


class Conversion(NamedTuple):
    """All that ``load_pretrained`` and ``save_pretrained`` need to know of one ``model_type``.

    ``config_from`` reads config.json; it may look at the tensors, too (is there a head?). ``config_to`` is its inverse
    and says by "architectures" which class of transformers is meant. It need not check whether the architecture has all
    parts of the configuration: ``save_pretrained`` reads back what it wrote, and refuses where they differ.
    ``table`` gives the names of all tensors that a model of this configuration has.
    """

    kind: type[nn.Module]
    config_from: Callable[[Settings, Tensors], Config]
    config_to: Callable[[Any], Settings]
    table: Callable[[Any], list[Entry]]
    base: str = ""  # what stands before the names in a file of a model with a head, and not in one without
    tidy: Callable[[Tensors], Tensors] = lambda tensors: tensors  # drops what is not learned, renames what is older
    copies: Mapping[str, str] = {}  # tied tensors that some files hold twice: the copy → the one that is read
    fresh: tuple[str, ...] = ()  # tensors of theirs that a file may lack: then this part starts anew
    heads: Mapping[str, Head] = {}  # their class → the head
    bare: Callable[[Any], Any] = lambda config: config  # the configuration of the body under such a head


def required(settings: Settings, name: str) -> Any:
    """A setting without which no model can be built."""
    if settings.get(name) is None:
        raise PretrainedError(f"config.json has no {name!r}: a {settings.get('model_type')} needs it")
    return settings[name]


def refuse_unless(settings: Settings, **supported: tuple[Any, ...]) -> None:
    """PretrainedError for a setting that is given and is none of those that can be built here."""
    for name, values in supported.items():
        if name in settings and settings[name] not in values:
            what = " or ".join(map(repr, values))
            raise PretrainedError(f"config.json has {name} = {settings[name]!r}: only {what} can be built here")


# What they call the function between the two matrices of a feed-forward → our part, and back.
ACTIVATIONS = {"gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh", "gelu": "gelu", "relu": "relu"}


def activation(feedforward: str) -> str:
    """The first of their names for our part. Where they have none, any: ``save_pretrained`` notices."""
    return next((theirs for theirs, ours in ACTIVATIONS.items() if ours == feedforward), "relu")
