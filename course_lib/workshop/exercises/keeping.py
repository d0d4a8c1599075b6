"""What a learner has done, kept on disk, and ``progress()``, which shows it.

One SQLite file in the folder ``COURSE_STATE`` (default ``.course`` in the repository): SQLite's journal holds against
two notebooks that write at once and against a kill while writing.
"""

import contextlib
import html
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from course_lib.workshop.exercises import catalogue
from course_lib.workshop.exercises.catalogue import general_text
from course_lib.workshop.exercises.verdicts import STATE_MARKS, Shown, boxed

FOLDS = 3  # of hints: a small hint, a plan, the solution
WAIT_SECONDS = 5.0  # for another notebook that is writing
_TROUBLES = "BUSY LOCKED PERM READONLY IOERR FULL CANTOPEN"  # of the machine, and no damage of the file
_NO_DAMAGE = {getattr(sqlite3, f"SQLITE_{trouble}") for trouble in _TROUBLES.split()}

T = TypeVar("T")
Row = tuple[str, str, str, str, str]


def state_folder() -> Path:
    return Path(os.environ.get("COURSE_STATE") or catalogue.ROOT / ".course").resolve()


@dataclass(frozen=True)
class Kept:
    """What is known of an exercise: its best state, and the highest hint that was shown."""

    state: str = "not_started"
    hints: int = 0


def record_state(exercise: str, state: str) -> str:
    """Keeps the state; ``right`` stays right whatever comes later. Returns a sentence if something went amiss."""
    return _write(
        "INSERT INTO exercises (name, state) VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
        "SET state = CASE state WHEN 'right' THEN state ELSE excluded.state END",
        (exercise, state),
    )


def record_hint(exercise: str, number: int) -> str:
    """Keeps that a hint was shown. Returns a sentence if something went amiss."""
    return _write(
        "INSERT INTO exercises (name, hints) VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
        "SET hints = max(hints, excluded.hints)",
        (exercise, number),
    )


def all_kept() -> tuple[dict[str, Kept], str]:
    """What is kept, by exercise, and a sentence if something went amiss."""
    rows, note = _with_file(lambda file: file.execute("SELECT name, state, hints FROM exercises").fetchall())
    return {name: Kept(state, hints) for name, state, hints in rows or []}, note


def next_hint(exercise: str) -> int:
    """The first fold that was not shown yet, or the last."""
    return min(all_kept()[0].get(exercise, Kept()).hints + 1, FOLDS)


def _write(statement: str, values: tuple[object, ...]) -> str:
    return _with_file(lambda file: file.execute(statement, values))[1]


def grading() -> bool:
    """Whether nbgrader is running the notebook: then nothing is kept."""
    return bool(os.environ.get("NBGRADER_EXECUTION"))


def _with_file(work: Callable[[sqlite3.Connection], T]) -> tuple[T | None, str]:
    """Does ``work`` in one transaction. A damaged file is set aside, and begun anew."""
    if grading():
        return None, ""
    path = state_folder() / "progress.sqlite3"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _in_transaction(path, work), ""
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_DAMAGE:  # nothing that a new file would mend
                raise
            aside = _set_aside(path)
            return _in_transaction(path, work), general_text("progress", "damaged", file=aside.name)
    except (OSError, sqlite3.Error):
        return None, general_text("progress", "not_kept")


def _in_transaction(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    with contextlib.closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level="IMMEDIATE")) as file, file:
        if file.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
        file.execute(
            "CREATE TABLE IF NOT EXISTS exercises "
            "(name TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'not_started', hints INTEGER NOT NULL DEFAULT 0)"
        )
        return work(file)


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"progress.damaged-{number}.sqlite3")).exists():
        number += 1
    os.replace(path, aside)
    return aside


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Progress(Shown):
    """The table: a heading and rows for each chapter, one line that counts, and notes."""

    columns: Row
    chapters: Sequence[tuple[str, Sequence[tuple[str, Row]]]]  # heading, (state, cells) of each exercise
    total: str
    notes: Sequence[str]

    def __str__(self) -> str:
        rows = [self.columns, *(cells for _, found in self.chapters for _, cells in found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self._plain("  ", self.columns, widths)]
        for heading, found in self.chapters:
            lines.append(heading)
            lines += [self._plain(f"{STATE_MARKS[state]} ", cells, widths) for state, cells in found]
        return "\n".join([*lines, self.total, *self.notes])

    @staticmethod
    def _plain(start: str, cells: Row, widths: Sequence[int]) -> str:
        return start + "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()

    def _repr_html_(self) -> str:
        cell = 'style="text-align:left;padding:1px 1em 1px 0;background:transparent"'

        def row(mark: str, cells: Row, kind: str) -> str:
            return "<tr>" + "".join(f"<{kind} {cell}>{html.escape(text)}</{kind}>" for text in (mark, *cells)) + "</tr>"

        rows = [row("", self.columns, "th")]
        for heading, found in self.chapters:
            rows.append(f'<tr><th colspan="6" {cell}>{html.escape(heading)}</th></tr>')
            rows += [row(STATE_MARKS[state], cells, "td") for state, cells in found]
        below = "".join(f"<div>{html.escape(text)}</div>" for text in (self.total, *self.notes))
        return boxed(f'<table style="margin:0;border:none">{"".join(rows)}</table>{below}', "not_started")


def progress() -> Progress:
    """All exercises: state, difficulty, minutes, and hints used."""
    kept, note = all_kept()
    notes = [note] if note else []
    chapters, done, count = [], 0, 0
    for number in catalogue.chapter_numbers():
        try:
            exercises = catalogue.exercises_of(number)
        except Exception as error:
            notes.append(general_text("ours", "chapter", chapter=number, error=type(error).__name__))
            continue
        rows = []
        for exercise in exercises:
            known = kept.get(exercise.name, Kept())
            state = known.state if known.state in STATE_MARKS else "not_started"
            cells = (
                exercise.name,
                general_text("states", state),
                "★" * exercise.difficulty,
                general_text("progress", "minutes", minutes=exercise.minutes),
                str(known.hints or "-"),
            )
            rows.append((state, cells))
            done, count = done + (state == "right"), count + 1
        chapters.append((general_text("progress", "chapter", chapter=number), rows))
    columns = tuple(general_text("progress", key) for key in ("exercise", "state", "difficulty", "time", "hints"))
    return Progress(columns, chapters, general_text("progress", "total", done=done, count=count), notes)  # type: ignore[arg-type]
