"""A chapter of its own for the tests of the engine. Its name and its texts are of no other use."""

import math

import torch

from course_lib.workshop.exercises.steps import Answer, Catches, Equals, Exercise, Gives, Wrong


def cases():
    generator = torch.Generator().manual_seed(3)
    yield torch.randn(2, 3, 5, 4, generator=generator), torch.randn(2, 3, 7, 4, generator=generator)
    yield torch.randn(1, 6, generator=generator), torch.randn(3, 6, generator=generator)


def reference(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def grows_with_q(answer: Answer) -> None:
    q, k = torch.ones(1, 4), torch.ones(1, 4)
    if not torch.allclose(answer(3 * q, k), 3 * answer(q, k)):
        raise Wrong("does_not_grow", number=3)


def breaks(answer: Answer) -> None:
    1 / 0  # noqa: B018


def largest(numbers):
    return max(numbers)


EXERCISES = [
    Exercise(
        "scores",
        minutes=8,
        difficulty=2,
        section="3",
        seconds=5,
        steps=[
            Gives(
                "values",
                reference,
                cases,
                mistakes={
                    "never_divided": lambda q, k: q @ k.mT,
                    "divided_by_k": lambda q, k: q @ k.mT / q.shape[-1],
                    "turned_round": lambda q, k: (q @ k.mT / math.sqrt(q.shape[-1])).mT,
                },
            ),
            grows_with_q,
        ],
    ),
    Exercise("chance", 3, 1, "1", [Equals("value", 0.25, mistakes={"upside_down": 4, "percent": lambda: 25})]),
    Exercise(
        "test_largest",
        12,
        3,
        "2",
        [
            Catches(
                "catches",
                right={"builtin": largest, "sorted": lambda numbers: sorted(numbers)[-1]},
                broken={
                    "first": lambda numbers: numbers[0],
                    "absolute": lambda numbers: max(numbers, key=abs),
                    "empty": lambda numbers: numbers[len(numbers)],
                },
            )
        ],
    ),
    Exercise("broken_step", 1, 1, "1", [breaks]),
]
