"""Exercises that check themselves: ``check`` a function, ask for a ``hint``, see your ``progress``."""

from course_lib.workshop.exercises.checking import check
from course_lib.workshop.exercises.hints import hint
from course_lib.workshop.exercises.keeping import progress

__all__ = ["check", "hint", "progress"]
