"""What may pass for the right answer, and what the difference is called where it may not."""

import collections
import decimal
import fractions
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from course_lib.workshop.exercises.comparing import compare_answers, in_short, inputs_in_words


class Pair(NamedTuple):
    first: Any
    second: Any


T = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.25, 8.0]])
PI32 = torch.tensor(math.pi).item()


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (T.double(), T),
        (T, T.double()),
        (torch.nn.Parameter(T), T),
        (T + 2e-6, T),
        (torch.tensor([3, 4], dtype=torch.int32), torch.tensor([3, 4])),
        (torch.tensor([math.nan, -math.inf, 1]), torch.tensor([math.nan, -math.inf, 1])),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
        (torch.tensor(2.0), torch.tensor(2.0)),
        (torch.tensor([1 + 2j]), torch.tensor([1 + 2j])),
        (T.half(), T.half()),
        (T.numpy(), T.double().numpy()),
        (0.5, fractions.Fraction(1, 2)),
        (fractions.Fraction(1, 2), 0.5),
        (decimal.Decimal("0.5"), 0.5),
        (torch.tensor(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
        (PI32, math.pi),
        (3.0, 3),
        (np.int64(3), 3),
        (math.nan, math.nan),
        (math.inf, math.inf),
        (np.bool_(True), True),
        (torch.tensor(True), True),
        ([1, 2], (1, 2)),
        (Pair(1, T), (1, T)),
        ([[1, "a"], None], [[1, "a"], None]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({"b": [1], "a": T}, {"a": T, "b": [1]}),
        (frozenset("ab"), {"b", "a"}),
        ("Ġthe", "Ġthe"),
        (b"ab", b"ab"),
        (None, None),
        (range(3), range(3)),
    ],
)
def test_these_pass_for_each_other(got: Any, want: Any) -> None:
    wrong = compare_answers(got, want)
    assert wrong is None, (wrong.name, wrong.values)


@pytest.mark.parametrize(
    ("got", "want", "name", "place"),
    [
        (None, T, "returned_none", ""),
        ((T, None), (T, T), "returned_none", " at [1]"),
        ((x for x in T), [1], "generator", ""),
        (map(str, [1]), ["1"], "generator", ""),
        (len, T, "returned_function", ""),
        (T.numpy(), T, "numpy_array", ""),
        ([1, T.numpy()], [1, T], "numpy_array", " at [1]"),
        (T.tolist(), T, "wrong_kind", ""),
        (2.0, torch.tensor(2.0), "wrong_kind", ""),
        (torch.tensor([2.0]), 2.0, "wrong_kind", ""),
        (T, T.numpy(), "wrong_kind", ""),
        (T, [1, 2], "wrong_kind", ""),
        ("1", 1, "wrong_kind", ""),
        (1, True, "wrong_kind", ""),
        (True, 1, "wrong_kind", ""),
        (int, 1, "wrong_kind", ""),
        (3, None, "wrong_kind", ""),
        (T.to_sparse(), T, "wrong_kind", ""),
        (T.mT, T, "wrong_shape", ""),
        ({"a": T[:1]}, {"a": T}, "wrong_shape", " at ['a']"),
        (torch.ones(3), torch.ones(3, dtype=torch.long), "wrong_dtype", ""),
        (torch.ones(3, dtype=torch.long), torch.ones(3), "wrong_dtype", ""),
        (torch.ones(3, dtype=torch.long), torch.ones(3, dtype=torch.bool), "wrong_dtype", ""),
        (T.half(), T, "wrong_dtype", ""),
        (T.to("meta"), T, "wrong_device", ""),
        (torch.tensor([[1.0, math.nan], [2.0, 3.0]]), torch.ones(2, 2), "not_finite", " at [0, 1]"),
        (torch.tensor([[2.0, 2.0], [math.inf, 3.0]]), torch.ones(2, 2), "not_finite", " at [1, 0]"),
        (math.nan, 0.5, "not_finite", ""),
        (math.inf, 3, "not_finite", ""),
        (T + 1e-3, T, "unknown", None),
        (torch.tensor([1.0, -9.0]), torch.tensor([1.0, -math.inf]), "unknown", " at [1]"),
        ([T, T * 1.5], [T, T], "unknown", " at [1][1, 2]"),
        (torch.tensor([3, 5]), torch.tensor([3, 4]), "unknown", " at [1]"),
        (torch.tensor([True, True]), torch.tensor([True, False]), "unknown", " at [1]"),
        (0.5003, 0.5, "unknown", ""),
        (1_000_001, 1_000_000, "unknown", ""),
        (False, True, "unknown", ""),
        (torch.tensor([1 + 3j]), torch.tensor([1 + 2j]), "unknown", " at [0]"),
        ([3, 4, 4], [3, 4, 5], "unknown", " at [2]"),
        ("the", " the", "unknown", ""),
        ([1], [1, 2], "wrong_length", ""),
        ([[1], [1, 2, 3]], [[1], [1, 2]], "wrong_length", " at [1]"),
        ({"a": 1}, {"a": 1, "b": 2}, "wrong_items", ""),
        ({1, 2}, {1, 3}, "wrong_items", ""),
    ],
)
def test_a_difference_is_named_and_has_its_place(got: Any, want: Any, name: str, place: str | None) -> None:
    wrong = compare_answers(got, want)
    assert wrong is not None
    assert wrong.name == name
    assert place is None or wrong.values["place"] == place


def test_the_largest_difference_is_given_where_it_stands() -> None:
    got = torch.zeros(2, 3, 4)
    got[1, 0, 2], got[0, 2, 3] = -0.31, 0.2
    wrong = compare_answers(got, torch.zeros(2, 3, 4))
    assert wrong is not None
    assert wrong.values == {"difference": "0.31", "place": " at [1, 0, 2]"}


def test_what_is_missing_and_what_is_too_many_are_listed_in_the_same_order_in_every_run() -> None:
    wrong = compare_answers({"b", "x", "y"}, {"d", "b", "c", "a", "e"})
    assert wrong is not None
    assert wrong.values == {"missing": "'a', 'c', 'd'", "extra": "'x', 'y'", "place": ""}


@pytest.mark.parametrize(
    ("got", "want"), [(T * 1.01, T), (1.01, 1.0), (101, 100), (torch.tensor([101]), torch.tensor([100]))]
)
def test_an_exercise_sets_its_own_tolerance(got: Any, want: Any) -> None:
    assert compare_answers(got, want, 0.02) is None
    assert compare_answers(got, want, 0.002) is not None
    assert compare_answers(got, want, 0.0) is not None
    assert compare_answers(want, want, 0.0) is None


def test_a_coarse_dtype_has_a_coarse_tolerance_and_a_fine_one_a_fine() -> None:
    """0.2 per cent off: rounding for bfloat16, a mistake for float32. And 0.003 per cent: not for float64."""
    assert compare_answers((T * 1.002).bfloat16(), T.bfloat16()) is None
    assert compare_answers(T * 1.002, T) is not None
    assert compare_answers(T * 1.00003, T) is None
    assert compare_answers(T.double() * 1.00003, T.double()) is not None
    assert compare_answers(T * 1.00003, T.double()) is None, "the coarser of two dtypes sets the tolerance"


class Odd:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("never compare me")

    __hash__ = None  # type: ignore[assignment]


def test_what_cannot_be_compared_is_said_to_be_so() -> None:
    wrong = compare_answers(Odd(), Odd())
    assert wrong is not None
    assert wrong.name == "cannot_compare"


def test_values_are_shown_short_and_alike_in_every_run() -> None:
    words = inputs_in_words(
        [T.repeat(4, 1), torch.tensor([[1, 2], [3, 4]]), {"b", "a"}, len, "x" * 90, object(), set()]
    )
    assert words == (
        f"tensor of shape (8, 3), tensor([[1, 2], [3, 4]]), {{'a', 'b'}}, len, '{'x' * 56}..., <object object>, set()"
    )
    assert in_short(np.zeros((3, 4))) == "ndarray of shape (3, 4)"
