"""The steps that exercises are made of: which mistake they name, and when they name none."""

import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from course_lib.workshop.exercises.steps import (
    Answer,
    ByHand,
    Catches,
    Equals,
    Exercise,
    Gives,
    Wrong,
    difference,
    key_of,
)

MistakeOf = Callable[[Any, Any], str]


def scaled(q: Any, k: Any) -> Any:
    return q @ k.mT / math.sqrt(q.shape[-1])


def pairs() -> Iterator[tuple[Any, ...]]:
    generator = torch.Generator().manual_seed(3)
    for *batch, t, s, width in [(2, 3, 5, 7, 4), (6, 3, 1)]:  # at width 1 the division changes nothing
        yield torch.randn(*batch, t, width, generator=generator), torch.randn(*batch, s, width, generator=generator)


SCALED = Gives(
    "values",
    scaled,
    pairs,
    mistakes={
        "raises": lambda q: q,
        "never_divided": lambda q, k: q @ k.mT,
        "harmless": scaled,
        "turned_round": lambda q, k: k @ q.mT / math.sqrt(q.shape[-1]),
        "never_divided_again": lambda q, k: q @ k.mT,
    },
)


# --- Gives -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda q, k: torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5, ""),
        (lambda q, k: scaled(q.double(), k.double()), ""),
        (lambda q, k: torch.matmul(q, k.transpose(-2, -1)), "never_divided"),
        (lambda q, k: scaled(k, q), "turned_round"),  # another shape, and yet it is known
        (lambda q, k: scaled(q, k) + 1, "unknown"),
        (lambda q, k: q @ k.mT / q.shape[-1], "unknown"),
        (lambda q, k: scaled(q, k)[..., :-1], "wrong_shape"),
        (lambda q, k: scaled(q, k).numpy(), "numpy_array"),
        (lambda q, k: scaled(q, k).to("meta"), "wrong_device"),
        (lambda q, k: None, "returned_none"),
        (lambda q, k: print(q), "returned_none"),
        (lambda q, k: (row for row in q), "generator"),
        (lambda q, k: scaled, "returned_function"),
        (lambda q: q, "wrong_signature"),
        (torch.nn.Linear, "class_for_function"),
        (3, "not_a_function"),
        (torch.ones(2, 3), "not_a_function"),
    ],
)
def test_a_mistake_is_named_by_computing_what_it_gives(mistake_of: MistakeOf, answer: Any, name: str) -> None:
    assert mistake_of(SCALED, answer) == name


def test_a_mistake_must_explain_every_case_in_which_it_shows(mistake_of: MistakeOf) -> None:
    cases = [2, 3, 5]  # right: 4, 9, 25
    step = Gives("values", lambda n: n * n, cases, mistakes={"doubled": lambda n: 2 * n, "plus_two": lambda n: n + 2})
    assert mistake_of(step, lambda n: 2 * n) == "doubled"  # at 2 all three are the same
    assert mistake_of(step, lambda n: 2 * n if n == 3 else n * n) == "unknown", "at 5 it shows no doubling"
    # Two mistakes at once: the one is seen wherever it shows, the other elsewhere too.
    assert mistake_of(step, lambda n: 2 * n if n > 2 else 0) == "doubled"


def test_the_inputs_of_the_first_wrong_case_are_kept_to_be_shown() -> None:
    answer = Answer(lambda n: n + n)
    with pytest.raises(Wrong, match="unknown"):
        Gives("values", lambda n: n * n, [0, 2, 7, 8])(answer)
    assert answer.inputs == (7,)


def test_right_values_with_a_changed_input_are_named_and_wrong_values_come_first(mistake_of: MistakeOf) -> None:
    def divides_in_place(q: Any, k: Any) -> Any:
        return q.div_(math.sqrt(q.shape[-1])) @ k.mT

    def zeroes(q: Any, k: Any) -> Any:
        return q.zero_() @ k.mT

    assert mistake_of(SCALED, divides_in_place) == "changed_input"
    assert mistake_of(SCALED, zeroes) == "unknown"


def test_one_who_changes_the_input_spoils_no_case_and_no_reference(mistake_of: MistakeOf) -> None:
    cases = [([3, 1, 2],), ([5, 4],)]

    def sorts(numbers: list[int]) -> list[int]:
        numbers.sort()
        return numbers

    step = Gives("values", sorted, cases, mistakes={"reversed": lambda n: n.reverse() or n, "as_they_were": list})
    assert mistake_of(step, sorts) == "changed_input"
    assert mistake_of(step, lambda numbers: [*numbers]) == "as_they_were"
    assert cases == [([3, 1, 2],), ([5, 4],)]


def test_a_case_that_is_no_tuple_is_the_only_argument(mistake_of: MistakeOf) -> None:
    assert mistake_of(Gives("values", len, ["abc", [1, 2], {"a"}]), lambda *args: len(args[0])) == ""
    assert mistake_of(Gives("values", len, ["abc", ([],)]), lambda *args: sum(map(len, args))) == ""


def test_a_function_may_be_used_in_another_way_than_by_calling_it(mistake_of: MistakeOf) -> None:
    class Counter:
        def __init__(self, letters: str) -> None:
            self.letters = letters

        def count(self, text: str) -> int:
            return sum(text.count(letter) for letter in self.letters)

    class First(Counter):
        def count(self, text: str) -> int:
            return text.count(self.letters[0])

    class Mine(Counter):
        def count(self, text: str) -> int:
            return len([letter for letter in text if letter == self.letters[0]])

    step = Gives(
        "values", Counter, ["abba", "xy"], mistakes={"first_only": First}, call=lambda cls, text: cls("ab").count(text)
    )
    assert mistake_of(step, Counter) == ""
    assert mistake_of(step, Mine) == "first_only"
    causal = Gives("values", lambda n, causal: n + causal, [2], call=lambda f, n: f(n, causal=True))
    assert mistake_of(causal, lambda n, causal=False: n + causal) == ""
    assert mistake_of(causal, lambda n, mask=False: n + mask) == "wrong_signature"


def test_where_one_thing_after_the_other_is_asked_for_a_generator_or_a_list_will_do(mistake_of: MistakeOf) -> None:
    def upto(n: int) -> Iterator[int]:
        yield from range(n)

    step = Gives("values", upto, [3, 0], mistakes={"from_one": lambda n: iter(range(1, n + 1))})
    assert mistake_of(step, lambda n: list(range(n))) == ""
    assert mistake_of(step, lambda n: (i for i in range(n))) == ""
    assert mistake_of(step, lambda n: (i + 1 for i in range(n))) == "from_one"
    assert mistake_of(step, lambda n: itertools.count()) == "wrong_length", "one more is taken, and no more"
    assert mistake_of(Gives("values", lambda n: list(range(n)), [3]), upto) == "generator"


def test_random_numbers_are_the_same_for_the_reference_and_the_learner(mistake_of: MistakeOf) -> None:
    step = Gives("values", lambda n: torch.rand(n), [3, 4], mistakes={"normal": lambda n: torch.randn(n)})
    assert mistake_of(step, lambda n: torch.rand(n).clone()) == ""
    assert mistake_of(step, lambda n: torch.zeros(n).normal_()) == "normal"


def test_the_tolerance_of_an_exercise_holds_for_its_mistakes_too(mistake_of: MistakeOf) -> None:
    step = Gives("values", lambda x: x, [1.0, 2.0], mistakes={"close": lambda x: x + 0.01}, tolerance=0.002)
    assert mistake_of(step, lambda x: x + 0.001) == ""
    assert mistake_of(step, lambda x: x + 0.0105) == "close"
    assert mistake_of(step, lambda x: x + 0.015) == "unknown"


# --- Equals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (0.25, ""),
        (torch.tensor(0.25), ""),
        (4, "upside_down"),
        (25.0, "percent"),
        (0.3, "unknown"),
        (0.250001, ""),
        ("0.25", "wrong_kind"),
        (True, "wrong_kind"),
        (lambda: 0.25, "not_a_value"),
        (math.nan, "not_finite"),
    ],
)
def test_plain_answers(mistake_of: MistakeOf, answer: Any, name: str) -> None:
    step = Equals("value", lambda: 1 / 4, mistakes={"right_too": 0.25, "upside_down": 4, "percent": lambda: 25})
    assert mistake_of(step, answer) == name


def test_a_wrong_value_does_not_give_the_right_one_away() -> None:
    with pytest.raises(Wrong) as caught:
        Equals("value", 0.25)(Answer(0.26))
    assert caught.value.values == {"got": "0.26"}


# --- Catches ---------------------------------------------------------------------------------------------------------


def last(numbers: Any) -> Any:
    return sorted(numbers)[-1]


def beyond(numbers: Any) -> Any:
    return numbers[len(numbers)]


LARGEST = Catches(
    "catches",
    right={"builtin": lambda numbers: max(numbers), "sorted": last},
    broken={"first": lambda n: n[0], "absolute": lambda n: max(n, key=abs), "beyond": beyond},
)


def thorough(largest: Any) -> None:
    assert largest([1, 3, -5]) == 3


def returns_a_verdict(largest: Any) -> bool:
    return largest([1, 3, -5]) == 3


def only_rising(largest: Any) -> None:
    assert largest([1, 2, 3]) == 3


def asks_for_too_much(largest: Any) -> None:
    assert largest([1, 3, -5]) == 3
    assert largest is not last


def only_first(largest: Any) -> None:
    assert largest([3, 1, -5]) == 3


@pytest.mark.parametrize(
    ("test", "name"),
    [
        (thorough, ""),
        (returns_a_verdict, ""),
        (only_rising, "misses_absolute"),
        (only_first, "misses_first"),
        (asks_for_too_much, "refuses_sorted"),
        (lambda largest: None, "asserts_nothing"),
        (lambda largest: True, "asserts_nothing"),
        (lambda largest: False, "refuses_everything"),
        (lambda: None, "wrong_signature"),
        (True, "not_a_function"),
    ],
)
def test_a_test_is_tested(mistake_of: MistakeOf, test: Any, name: str) -> None:
    assert mistake_of(LARGEST, test) == name


def test_an_error_of_the_test_itself_is_no_catch() -> None:
    def raises_on_what_is_broken(largest: Any) -> None:
        if largest([1, 3, -5]) != 3:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        LARGEST(Answer(raises_on_what_is_broken))

    def raises_always(largest: Any) -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        LARGEST(Answer(raises_always))


def test_an_error_of_a_right_implementation_is_shown_and_not_taken_for_a_catch() -> None:
    with pytest.raises(TypeError):
        LARGEST(Answer(lambda largest: largest(3) == 3))


class Box:
    """A right one: what is put in comes out, and it can be counted."""

    kept: tuple[int, ...] = ()

    def put(self, number: int) -> None:
        self.kept = (*self.kept, number)

    @property
    def size(self) -> int:
        return len(self.kept)

    @staticmethod
    def doubled(number: int) -> int:
        return 2 * number


class NoRoom(Box):
    def put(self, number: int) -> None:
        raise OverflowError("no room")


class SizeUnknown(Box):
    @property
    def size(self) -> int:
        raise LookupError("nobody counted")


class Doubtful(Box):
    @staticmethod
    def doubled(number: int) -> int:
        raise ArithmeticError("too hard")


class Inherits(NoRoom):
    """What raises stands in the class above."""


def raises_on_a_box(number: int, why: str = "full") -> None:
    raise RuntimeError(why)


def box_with(**changed: Any) -> Box:
    box = Box()
    vars(box).update(changed)
    return box


BROKEN_BOXES = {
    "method": NoRoom(),
    "property": SizeUnknown(),
    "static": Doubtful(),
    "inherited": Inherits(),
    "attribute": box_with(put=raises_on_a_box),
    "partial": box_with(put=functools.partial(raises_on_a_box, why="broken")),
}


def uses_all_of_a_box(box: Any) -> None:
    box.put(5)
    assert box.size == 1
    assert box.doubled(4) == 8


@pytest.mark.parametrize("name", BROKEN_BOXES)
def test_a_broken_object_that_raises_is_caught(mistake_of: MistakeOf, name: str) -> None:
    step = Catches("boxes", right={"box": Box()}, broken={name: BROKEN_BOXES[name]})
    assert mistake_of(step, uses_all_of_a_box) == ""
    assert mistake_of(step, lambda box: None) == "asserts_nothing"


def test_a_broken_class_that_raises_is_caught(mistake_of: MistakeOf) -> None:
    step = Catches("classes", right={"box": Box}, broken={"method": NoRoom, "inherited": Inherits})
    assert mistake_of(step, lambda kind: uses_all_of_a_box(kind())) == ""


def test_an_error_beside_a_broken_object_is_the_learners_and_tells_no_name() -> None:
    def trips_over_what_is_broken(box: Any) -> None:
        assert {8: True}[box.doubled(4)]

    halves = Box()
    vars(halves)["doubled"] = lambda number: number // 2
    answer = Answer(trips_over_what_is_broken)
    with pytest.raises(KeyError):
        Catches("boxes", right={"box": Box()}, broken={"halves": halves})(answer)
    assert answer.inputs == ()


# --- ByHand ----------------------------------------------------------------------------------------------------------

WRAPPED = ByHand("by_hand", textwrap, "fill", "TextWrapper", [("one two", 3), ("three", 9)])
fill_under_another_name = textwrap.fill


def with_a_helper(text: str, width: int) -> str:
    return "".join(sorted([text], key=lambda line: fill_under_another_name(line, width)))


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda text, width: "\n".join(text.split()), ""),
        (lambda text, width: textwrap.dedent(text), ""),  # another function of the same module is fair use
        (lambda text, width: textwrap.fill(text, width), "from_the_library"),
        (lambda text, width: textwrap.fill(text, width) if width == 9 else text, "from_the_library"),
        (with_a_helper, "from_the_library"),
        (textwrap.fill, "from_the_library"),
        (lambda text: text, "wrong_signature"),
    ],
)
def test_an_answer_that_uses_the_function_of_the_library_is_noticed(
    mistake_of: MistakeOf, answer: Any, name: str
) -> None:
    assert mistake_of(WRAPPED, answer) == name


def test_the_library_is_named_and_works_as_before_whether_the_answer_raises_or_not() -> None:
    before = textwrap.TextWrapper
    with pytest.raises(Wrong) as caught:
        WRAPPED(Answer(textwrap.fill))
    assert caught.value.values == {"function": "fill"}
    with pytest.raises(ZeroDivisionError):
        WRAPPED(Answer(lambda text, width: width / 0))
    assert textwrap.TextWrapper is before


# --- the exercise ----------------------------------------------------------------------------------------------------


def test_an_exercise_needs_steps_and_a_difficulty() -> None:
    with pytest.raises(ValueError, match="difficulty of 'x' is 4: it must be 1, 2 or 3"):
        Exercise("x", 5, 4, "1", [SCALED])
    with pytest.raises(ValueError, match="steps of 'x' is empty"):
        Exercise("x", 5, 1, "1", [])


def test_the_key_of_a_step_is_its_own_or_the_name_of_the_function() -> None:
    def rows_sum_to_one(answer: Answer) -> None:
        """A law."""

    assert [key_of(SCALED), key_of(rows_sum_to_one)] == ["values", "rows_sum_to_one"]


def test_a_law_may_use_the_general_differences() -> None:
    wrong = difference(torch.ones(2), torch.ones(3))
    assert wrong is not None
    assert wrong.name == "wrong_shape"
