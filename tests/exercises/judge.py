"""Judges the checker itself: does every right answer pass, and is every wrong one caught and named?

    python -m tests.exercises.judge          all chapters
    python -m tests.exercises.judge 03       some

The answers stand in ``answers/chapter_NN.py``: ``RIGHT`` is {exercise: [(style, answer), ...]} and ``WRONG`` is
{exercise: [(name that the checker must give, answer), ...]}. The exit code is 1 if anything is missed.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from course_lib.workshop.exercises import catalogue, checking
from course_lib.workshop.exercises.steps import Exercise

LEAST_RIGHT, LEAST_WRONG = 3, 5
ANSWERS = "tests.exercises.answers"


@dataclass
class Row:
    """What the checker did with the answers to one exercise. A miss is a sentence."""

    exercise: str
    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    passed: int = 0
    caught: int = 0
    named: int = 0
    misses: list[str] = field(default_factory=list)


def judged(chapter: str, exercise: Exercise, answers: ModuleType) -> Row:
    """Checks all answers to one exercise."""
    right: list[tuple[str, Any]] = answers.RIGHT.get(exercise.name, [])
    wrong: list[tuple[str, Any]] = answers.WRONG.get(exercise.name, [])
    row = Row(exercise.name, [style for style, _ in right], [name for name, _ in wrong])
    for style, answer in right:
        verdict = checking.judge(chapter, exercise, answer)
        row.passed += verdict.state == "right"
        if verdict.state != "right":
            row.misses.append(f"{exercise.name}: the right answer {style!r} is refused:\n{verdict}")
    for name, answer in wrong:
        verdict = checking.judge(chapter, exercise, answer)
        row.caught += verdict.state in {"wrong", "raised"}
        row.named += verdict.mistake == name
        if verdict.mistake != name:
            row.misses.append(f"{exercise.name}: {name!r} is called {verdict.mistake or 'right'!r}:\n{verdict}")
    if len(set(row.right)) < LEAST_RIGHT:
        row.misses.append(f"{exercise.name}: {len(set(row.right))} styles of right answers, {LEAST_RIGHT} are needed")
    if len(wrong) < LEAST_WRONG:
        row.misses.append(f"{exercise.name}: {len(wrong)} wrong answers, {LEAST_WRONG} are needed")
    return row


def judged_chapter(chapter: str) -> list[Row]:
    """A row for each exercise of a chapter. Answers to an exercise that does not exist are a miss too."""
    name = f"{ANSWERS}.chapter_{chapter}"
    try:
        answers = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {name, ANSWERS}:
            raise
        return [Row(f"chapter_{chapter}", misses=[f"chapter {chapter}: answers/chapter_{chapter}.py is missing"])]
    exercises = catalogue.exercises_of(chapter)
    unknown = sorted({*answers.RIGHT, *answers.WRONG} - {exercise.name for exercise in exercises})
    why = f"there are answers, but no such exercise in chapter {chapter}"
    return [
        *(judged(chapter, exercise, answers) for exercise in exercises),
        *(Row(name, misses=[f"{name}: {why}"]) for name in unknown),
    ]


def main(chapters: Sequence[str]) -> int:
    torch.set_num_threads(1)
    misses = []
    print(f"{'exercise':<32} {'right passed':>12} {'wrong caught':>12} {'named right':>12}  names")
    for chapter in chapters or catalogue.chapter_numbers():
        print(f"Chapter {chapter}")
        for row in judged_chapter(chapter):
            right, wrong = len(row.right), len(row.wrong)
            counts = (f"{row.passed}/{right}", f"{row.caught}/{wrong}", f"{row.named}/{wrong}")
            print(f"  {row.exercise:<30}" + "".join(f" {count:>12}" for count in counts), "", ", ".join(row.wrong))
            misses += row.misses
    print("\n".join(["", *misses, f"{len(misses)} missed" if misses else "nothing missed"]))
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
