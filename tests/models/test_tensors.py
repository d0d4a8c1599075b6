"""The tensors of a model: each once, and back where they were, or nowhere."""

import re

import pytest
import torch
from torch import nn

from course_lib.models.storage import CheckpointError, read_folder, write_folder
from course_lib.models.tensors import load_model_tensors, model_tensors


class Tied(nn.Module):
    def __init__(self, width: int = 3, *, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, width)
        self.inner = nn.Linear(width, width)
        self.head = nn.Linear(width, 7, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self.register_buffer("table", torch.randn(4))
        self.register_buffer("derived", torch.randn(4), persistent=False)


def test_tied_weights_are_stored_once_and_are_tied_after_loading(tmp_path):
    model, other = Tied(), Tied()
    assert model_tensors(model).keys() == {"embedding.weight", "inner.weight", "inner.bias", "table"}
    write_folder(tmp_path / "saved", {"weights.safetensors": model_tensors(model)}, {})
    load_model_tensors(other, read_folder(tmp_path / "saved")[0]["weights.safetensors"])
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    assert other.head.weight is other.embedding.weight
    with torch.no_grad():
        other.embedding.weight[0, 0] = 5
    assert other.head.weight[0, 0] == 5


def test_weights_that_only_look_alike_are_all_stored():
    model = Tied(tied=False)
    with torch.no_grad():
        model.head.weight.copy_(model.embedding.weight)
    assert len(model_tensors(model)) == 5


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Tied(tied=False), "for head.weight they hold nothing, the model torch.float32 (7, 3)"),
        (nn.Linear(2, 2), "for bias they hold nothing, the model torch.float32 (2,)"),
        (Tied(4), "for embedding.weight they hold torch.float32 (7, 3), the model torch.float32 (7, 4)"),
        (Tied().double(), "for embedding.weight they hold torch.float32 (7, 3), the model torch.float64 (7, 3)"),
        (
            nn.ModuleDict({"embedding": nn.Embedding(7, 3)}),
            "for inner.bias they hold torch.float32 (3,), the model nothing",
        ),
    ],
)
def test_tensors_of_another_model_are_refused_and_change_nothing(other, message):
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"^the weights are of another model: {re.escape(message)}$"):
        load_model_tensors(other, model_tensors(Tied()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
