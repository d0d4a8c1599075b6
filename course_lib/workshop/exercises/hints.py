"""``hint()``: three folds for each exercise, a small hint, a plan and the solution."""

import html
from dataclasses import dataclass

from course_lib.workshop.exercises import catalogue
from course_lib.workshop.exercises.catalogue import general_text
from course_lib.workshop.exercises.checking import find_exercise, friendly
from course_lib.workshop.exercises.keeping import FOLDS, next_hint, record_hint
from course_lib.workshop.exercises.verdicts import Shown, Verdict, boxed, code_block, marked_up


@dataclass(frozen=True, repr=False)
class Hint(Shown):
    """A heading, a text, and code below it (either may be empty)."""

    heading: str
    text: str
    code: str = ""
    note: str = ""

    def __str__(self) -> str:
        code = "\n".join(f"    {line}".rstrip() for line in self.code.splitlines())
        return "\n".join(filter(None, [self.heading, self.text, code, self.note]))

    def _repr_html_(self) -> str:
        text = f'<div style="white-space:pre-wrap">{marked_up(self.text)}</div>' if self.text else ""
        code = code_block(self.code) if self.code else ""
        note = f"<div>{html.escape(self.note)}</div>" if self.note else ""
        return boxed(f"<b>{html.escape(self.heading)}</b>{text}{code}{note}", "ours")


def hint(name: str, number: int | None = None) -> Hint | Verdict:
    """Shows a hint: the next one, or 1 (a small hint), 2 (a plan) or 3 (the solution)."""
    return friendly(name, lambda: _hint(name, number))


def _hint(name: str, number: int | None) -> Hint | Verdict:
    found = find_exercise(name)
    if isinstance(found, Verdict):
        return found
    chapter, exercise = found
    if number is None:
        number = next_hint(exercise.name)
    if number not in range(1, FOLDS + 1):
        return Hint(general_text("hints", "which", number=number), "")
    fold = general_text("hints", f"fold_{number}")
    heading = general_text("hints", "heading", number=number, fold=fold, name=exercise.name)
    note = record_hint(exercise.name, int(number))
    texts = catalogue.hint_texts(chapter, exercise.name)
    if number <= len(texts) and number < FOLDS:
        return Hint(heading, texts[number - 1], note=note)
    if number < FOLDS:
        return Hint(heading, general_text("hints", "none"), note=note)
    # Here and not above: the release command must find its module not yet imported, and no check needs nbformat.
    from course_lib.workshop.exercises.release import solution_of

    if code := solution_of(chapter, exercise.name):
        return Hint(heading, "", code, note)
    return Hint(heading, general_text("hints", "kept_by_the_instructor"), note=note)
