"""Annotated shapes are checked while tests run: without this, an annotation is a comment that nobody reads."""

import pytest
import torch
from jaxtyping import TypeCheckError

from course_lib.layers.masks import document_mask


def test_a_tensor_of_the_wrong_shape_or_kind_is_refused_while_tests_run() -> None:
    assert document_mask(torch.zeros(2, 5, dtype=torch.int32)).shape == (2, 5, 5)
    with pytest.raises(TypeCheckError):
        document_mask(torch.zeros(2, 5, 3, dtype=torch.int32))
    with pytest.raises(TypeCheckError):
        document_mask(torch.zeros(2, 5))
