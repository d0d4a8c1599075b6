"""Annotated shapes are checked while tests run: without this, an annotation is a comment that nobody reads."""

import pytest
import torch
from jaxtyping import TypeCheckError

from course_lib.layers.masks import document_mask
from course_lib.models.decoder import GPT, GPTConfig
from course_lib.objectives.causal import cross_entropy
from course_lib.training.optimisers import orthogonalise


def test_a_tensor_of_the_wrong_shape_or_kind_is_refused_while_tests_run() -> None:
    assert document_mask(torch.zeros(2, 5, dtype=torch.int32)).shape == (2, 5, 5)
    with pytest.raises(TypeCheckError):
        document_mask(torch.zeros(2, 5, 3, dtype=torch.int32))
    with pytest.raises(TypeCheckError):
        document_mask(torch.zeros(2, 5))


def test_models_losses_and_optimisers_are_checked_too() -> None:
    model = GPT(GPTConfig(7, 4, 1, 1, 2))
    with pytest.raises(TypeCheckError):
        model(torch.zeros(2, 3, 4, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        cross_entropy(torch.zeros(2, 3, 7), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        orthogonalise(torch.zeros(3))
