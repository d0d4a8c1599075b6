"""``check()`` finds an exercise, runs its steps on what the learner hands in, keeps the progress and says how it is."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from course_lib.workshop.exercises import calling, catalogue
from course_lib.workshop.exercises.calling import Answer, InputAskedError, SafeRun, Wrong
from course_lib.workshop.exercises.catalogue import general_text
from course_lib.workshop.exercises.comparing import inputs_in_words
from course_lib.workshop.exercises.keeping import grading, next_hint, record_state
from course_lib.workshop.exercises.steps import Exercise, key_of
from course_lib.workshop.exercises.verdicts import Verdict

T = TypeVar("T")


class NotRightError(Exception):
    """Raised under nbgrader only, so that a check that is not right gives no points. The text is the verdict's."""


def check(name: str, answer: Any = ...) -> Verdict:
    """Checks an answer, a function or a plain value, and shows what it finds. It never raises.

    (Except while nbgrader grades: an answer that is not right must fail its cell there.)
    """
    verdict = friendly(name, lambda: _check(name, answer))
    if grading() and verdict.state != "right":
        raise NotRightError(f"\n{verdict}")
    return verdict


def friendly(name: str, work: Callable[[], T]) -> T | Verdict:
    """Whatever goes wrong in our own code is said in one line, and that it is not the learner's fault."""
    try:
        return work()
    except Exception as error:
        return _ours(str(name), error)


def _ours(name: str, error: BaseException, **values: Any) -> Verdict:
    where = list(calling.frames_of(error.__traceback__))[-1:]
    place = f"{os.path.basename(where[0][0].co_filename)}, line {where[0][1]}" if where else "?"
    said = calling.without_addresses(str(error)).splitlines()[:1]
    report = ": ".join([name, type(error).__name__, *said]) + f" ({place})"
    details = [(general_text("labels", "report"), report)]
    return Verdict(name, "ours", "ours", summary=general_text("ours", "step"), details=details, **values)


def find_exercise(name: object) -> tuple[str, Exercise] | Verdict:
    """The chapter and the exercise of that name, or a verdict that says why there is none."""
    names, broken = [], None
    for number in catalogue.chapter_numbers():
        try:
            exercises = catalogue.exercises_of(number)
        except Exception as error:
            broken = broken or error
            continue
        for exercise in exercises:
            if exercise.name == name:
                return number, exercise
            names.append(exercise.name)
    if broken:
        return _ours(str(name), broken)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5) or names
    known = ", ".join(repr(other) for other in near[:10])
    shown = name if isinstance(name, str) else type(name).__name__
    return Verdict(str(shown), "ours", "unknown_name", summary=general_text("unknown_name", name=shown, known=known))


def _check(name: str, value: Any) -> Verdict:
    found = find_exercise(name)
    if isinstance(found, Verdict):
        return found
    chapter, exercise = found
    verdict = judge(chapter, exercise, value)
    if verdict.state != "ours" and verdict.mistake != "interrupted":
        note = record_state(exercise.name, verdict.state)
        if verdict.state in {"wrong", "raised"}:
            command = f'hint("{exercise.name}", {next_hint(exercise.name)})'
            verdict = replace(verdict, details=[*verdict.details, (general_text("labels", "next"), command)])
        if note:
            verdict = replace(verdict, details=[*verdict.details, (general_text("labels", "note"), note)])
    for problem in catalogue.damaged_files:
        verdict = replace(verdict, details=[*verdict.details, (general_text("labels", "report"), problem)])
    return verdict


@dataclass
class _Walk:
    """How far the steps came, and with what inputs."""

    answer: Answer
    passed: int = 0


def judge(chapter: str, exercise: Exercise, value: Any) -> Verdict:
    """The verdict alone: nothing is kept, and no hint is offered."""
    if value is ... or value is None:
        return _not_started(exercise, plain=True)
    walk = _Walk(Answer(value))

    def work() -> None:
        for step in exercise.steps:
            step(walk.answer)
            walk.passed += 1

    return _verdict(chapter, exercise, walk, calling.run_safely(work, exercise.seconds))


def _not_started(exercise: Exercise, plain: bool) -> Verdict:
    summary = general_text("not_started", "plain" if plain else "function", name=exercise.name)
    return Verdict(exercise.name, "not_started", "not_started", summary=summary)


def _verdict(chapter: str, exercise: Exercise, walk: _Walk, run: SafeRun) -> Verdict:
    count = len(exercise.steps)
    texts = [
        f"{number}/{count} {catalogue.step_text(chapter, exercise.name, key_of(step))}"
        for number, step in enumerate(exercise.steps, 1)
    ]
    steps = [("right", text) for text in texts[: walk.passed]]
    here = texts[min(walk.passed, count - 1)]
    lines, more = run.printed.lines()
    if more:
        lines.append(general_text("printed_more", count=more))
    printed: dict[str, Any] = {"printed": lines, "printed_label": general_text("labels", "printed")}

    def wrong(mistake: str, variant: str, values: dict[str, Any], state: str = "wrong", **extra: str) -> Verdict:
        saw, idea, own = catalogue.mistake_texts(chapter, exercise.name, mistake, variant, _in_words(values))
        details = [(general_text("labels", "saw"), saw), *extra.items()]
        if walk.answer.inputs and not own:
            details.append((general_text("labels", "for"), inputs_in_words(walk.answer.inputs)))
        if own or mistake == "unknown":
            idea = f"{idea} {general_text('section', chapter=chapter, section=exercise.section)}".strip()
        details.append((general_text("labels", "idea"), idea))
        return Verdict(exercise.name, state, mistake, [*steps, (state, here)], details=details, **printed)

    error = run.error
    if run.interrupted:
        return wrong("interrupted", "abandoned" if run.abandoned else "interrupted", {})
    if run.out_of_time:
        return wrong("too_slow", "abandoned" if run.abandoned else "too_slow", {"seconds": f"{exercise.seconds:g}"})
    if error is None:
        summary = general_text("right", title=catalogue.title_text(chapter, exercise.name))
        return Verdict(exercise.name, "right", "", steps, summary, **printed)
    if isinstance(error, Wrong):
        return wrong(error.name, error.variant, error.values)
    chapter_file = str(catalogue.chapter_module(chapter).__file__)
    if calling.is_learners(error, chapter_file):
        if calling.is_untouched_stub(error):
            return _not_started(exercise, plain=False)
        if isinstance(error, InputAskedError):
            return wrong("asks_for_input", "asks_for_input", {})
        if isinstance(error, SystemExit):
            return wrong("exits", "exits", {})
        line = calling.learners_line(error, chapter_file)
        values = {"error": type(error).__name__, "message": _message(error)}
        extra = {general_text("labels", "line", number=line.number): line.text} if line else {}
        variant = "endless_recursion" if isinstance(error, RecursionError) else "raised"
        return wrong("raised", variant, values, state="raised", **extra)
    return _ours(exercise.name, error, steps=steps, **printed)


def _message(error: BaseException) -> str:
    try:
        lines = calling.without_addresses(str(error)).strip().splitlines()
    except Exception:
        return ""
    return "\n".join(line[:200] for line in lines[:4])


def _in_words(values: dict[str, Any]) -> dict[str, Any]:
    """Kinds of values are named in the reader's language."""
    kinds = catalogue.kind_names()
    return {key: kinds.get(value, value) if isinstance(value, str) else value for key, value in values.items()}
