"""What an author composes exercises from: an Exercise is data and a list of steps, and a step looks at the answer.

A step is a function that takes the answer, returns nothing where all is well, and raises ``Wrong`` where it is not.
``Gives``, ``Equals``, ``Catches`` and ``ByHand`` make the usual ones. The texts to all keys and names stand in
``texts/``.
"""

import copy
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from unittest import mock

from course_lib.workshop.exercises.calling import Answer, Wrong, frames_of, on_behalf, seed_a_call
from course_lib.workshop.exercises.comparing import compare_answers as difference
from course_lib.workshop.exercises.comparing import in_short, kind_of

__all__ = ["Answer", "ByHand", "Catches", "Equals", "Exercise", "Gives", "Step", "Wrong", "difference", "key_of"]

Step = Callable[[Answer], None]
Cases = Iterable[Any] | Callable[[], Iterable[Any]]


@dataclass(frozen=True)
class Exercise:
    """``section`` of the chapter explains it; ``difficulty`` is 1, 2 or 3 (and its points); ``seconds`` is the limit
    for one whole check."""

    name: str
    minutes: int
    difficulty: int
    section: str
    steps: Sequence[Step]
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.difficulty not in {1, 2, 3}:
            raise ValueError(f"difficulty of {self.name!r} is {self.difficulty!r}: it must be 1, 2 or 3")
        if not self.steps:
            raise ValueError(f"steps of {self.name!r} is empty: an exercise needs at least one")


def key_of(step: Step) -> str:
    """The key of a step's text: what it was given, or the name of the function."""
    return getattr(step, "key", "") or getattr(step, "__name__", type(step).__name__)


def _plain_call(function: Any, *case: Any) -> Any:
    return function(*case)


@dataclass(frozen=True)
class Gives:
    """The learner's function gives what ``reference`` gives, for each case (a tuple of arguments, or the only one).

    ``mistakes`` are wrong functions by name. One names the learner's mistake if it differs from the reference in some
    case, and the learner's answers equal its own in every such case.

    ``call(function, *case)`` says how a function is used, where ``function(*case)`` is not it: with keywords, or a
    class whose method is called. The reference and the mistakes are used in the same way.
    """

    key: str
    reference: Callable[..., Any]
    cases: Cases
    mistakes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    tolerance: float | None = None
    call: Callable[..., Any] = _plain_call

    def __call__(self, answer: Answer) -> None:
        _check_function(answer.value, self.reference)
        cases = [case if isinstance(case, tuple) else (case,) for case in _made(self.cases)]
        want = [self._result(self.reference, case) for case in cases]
        most: list[int | None] = [None] * len(cases)  # how much to take of what gives one thing after the other
        for i, wanted in enumerate(want):
            if isinstance(wanted, Iterator):
                want[i] = list(wanted)
                most[i] = len(want[i]) + 1  # one more, to see that it ends
        got = [self._result(answer, case, taken) for case, taken in zip(cases, most, strict=True)]
        for case, g, w in zip(cases, got, want, strict=True):
            if wrong := difference(g, w, self.tolerance):
                answer.inputs = case
                name = self._mistake(cases, most, want, got)
                raise Wrong(name) if name else wrong
        if answer.changed_input:
            raise Wrong("changed_input")

    def _result(self, function: Any, case: tuple[Any, ...], most: int | None = None) -> Any:
        inputs = copy.deepcopy(case)
        seed_a_call()
        result = (on_behalf if isinstance(function, Answer) else _plain_call)(self.call, function, *inputs)
        if most is not None and isinstance(result, Iterator):
            result = list(itertools.islice(result, most))
        return result

    def _mistake(self, cases: list[Any], most: list[int | None], want: list[Any], got: list[Any]) -> str:
        for name, mistake in self.mistakes.items():
            try:
                theirs = [self._result(mistake, case, taken) for case, taken in zip(cases, most, strict=True)]
            except Exception:  # a mistake that raises gives nothing to compare with
                continue
            telling = [i for i, w in enumerate(want) if difference(theirs[i], w, self.tolerance)]
            if telling and not any(difference(got[i], theirs[i], self.tolerance) for i in telling):
                return name
        return ""


@dataclass(frozen=True)
class Equals:
    """A plain answer (number, text, list ...) equals ``reference``; ``mistakes`` are wrong values by name.

    All of them may be functions without arguments that compute the value.
    """

    key: str
    reference: Any
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float | None = None

    def __call__(self, answer: Answer) -> None:
        want = _made(self.reference)
        wrong = difference(answer.value, want, self.tolerance)
        if wrong is None:
            return
        for name, mistake in self.mistakes.items():
            value = _made(mistake)
            if difference(value, want, self.tolerance) and not difference(answer.value, value, self.tolerance):
                raise Wrong(name)
        if callable(answer.value):
            raise Wrong("not_a_value", got=kind_of(answer.value), want=kind_of(want))
        if wrong.name == "unknown":
            raise Wrong("unknown", variant="unknown_value", got=in_short(answer.value))
        raise wrong


@dataclass(frozen=True)
class Catches:
    """The learner's function is a test: it accepts the ``right`` implementations and catches the ``broken`` ones.

    An implementation is a function, or an object or a class with methods. To accept is to return (None or True), to
    catch is to raise AssertionError or return False. If a broken implementation itself raises while it is tested, it
    counts as caught; any other exception is the learner's.

    Names of mistakes: ``asserts_nothing`` accepts all, ``refuses_everything`` catches all, ``refuses_NAME`` catches a
    right one, ``misses_NAME`` accepts a broken one.
    """

    key: str
    right: Mapping[str, Any]
    broken: Mapping[str, Any]

    def __call__(self, answer: Answer) -> None:
        _check_function(answer.value, self._accepts)
        try:
            right = {name: self._accepts(answer, implementation, False) for name, implementation in self.right.items()}
            broken = {name: self._accepts(answer, implementation, True) for name, implementation in self.broken.items()}
        finally:
            answer.inputs = ()  # an implementation has a name that says what is broken in it
        accepted = [*right.values(), *broken.values()]
        if all(accepted):
            raise Wrong("asserts_nothing")
        if not any(accepted):
            raise Wrong("refuses_everything")
        for name, accepts in right.items():
            if not accepts:
                raise Wrong(f"refuses_{name}")
        for name, accepts in broken.items():
            if accepts:
                raise Wrong(f"misses_{name}")

    @staticmethod
    def _accepts(answer: Answer, implementation: Any, may_raise: bool) -> bool:
        seed_a_call()
        try:
            verdict = answer(implementation)
        except AssertionError:
            return False
        except Exception as error:
            if may_raise and any(id(code) in _codes(implementation) for code, _ in frames_of(error.__traceback__)):
                return False
            raise
        return verdict is None or bool(verdict)


@dataclass(frozen=True)
class ByHand:
    """The learner's function does its work without ``function`` of the library, which would leave nothing to learn.

    It stands in ``module`` and calls ``inside``, which stands there too: so it is noticed under whatever name it was
    imported. Put this after the steps that look at the values. The mistake is called ``from_the_library``.
    """

    key: str
    module: ModuleType
    function: str
    inside: str
    cases: Cases

    def __call__(self, answer: Answer) -> None:
        with mock.patch.object(self.module, self.inside, wraps=getattr(self.module, self.inside)) as called:
            for case in _made(self.cases):
                seed_a_call()
                answer(*(case if isinstance(case, tuple) else (case,)))
        if called.called:
            answer.inputs = ()
            raise Wrong("from_the_library", function=self.function)


def _codes(implementation: Any) -> set[int]:
    """The ids of the code that belongs to an implementation: a function's own, or that of all methods."""
    owner = implementation if isinstance(implementation, type) else type(implementation)
    members = [implementation, *getattr(implementation, "__dict__", {}).values()]
    members += [member for kind in owner.__mro__ for member in vars(kind).values()]
    return {id(code) for member in members if (code := _code(member))}


def _code(member: Any) -> object:
    for inside in ("fget", "__func__", "func"):  # of a property, of a class method, of a partial function
        member = getattr(member, inside, None) or member
    return getattr(inspect.unwrap(member), "__code__", None)


def _made(value: Any) -> Any:
    return value() if callable(value) else value


def _check_function(value: Any, reference: Any) -> None:
    if not callable(value):
        raise Wrong("not_a_function", got=kind_of(value))
    if isinstance(value, type) and not isinstance(reference, type):
        raise Wrong("class_for_function", got=value.__name__)
