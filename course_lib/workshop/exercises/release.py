"""Makes the learner's notebook from the solutions: ``python -m course_lib.workshop.exercises.release [PATH ...]``.

What stands between the lines ``### BEGIN SOLUTION`` and ``### END SOLUTION`` is replaced. Inside a function it becomes
``raise NotImplementedError``. At the left margin, where the answer is a plain value, it becomes ``name = ...`` for the
name that the last line gives a value to. ``exercises/nbgrader_config.py`` teaches nbgrader the same rule.
"""

import ast
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.data.files import write_whole
from course_lib.workshop.exercises import catalogue

BEGIN_MARK, END_MARK = "### BEGIN SOLUTION", "### END SOLUTION"


class ReleaseError(ValueError):
    """A solution cell is not written as it must be."""


def regions(source: str) -> Iterator[tuple[str, list[str]]]:
    """("", lines) outside of solutions and (BEGIN_MARK with its indentation, lines) for each solution."""
    inside, lines = "", []
    for line in source.split("\n"):
        mark = line.strip()
        if mark not in {BEGIN_MARK, END_MARK}:
            lines.append(line)
            continue
        if (mark == BEGIN_MARK) == bool(inside):
            raise ReleaseError(f"{mark!r} where the other mark was expected")
        yield inside, lines
        inside, lines = (line if mark == BEGIN_MARK else ""), []
    if inside:
        raise ReleaseError(f"{BEGIN_MARK!r} without {END_MARK!r}")
    yield inside, lines


def without_solutions(source: str) -> str:
    """The source of a cell as the learner gets it."""
    kept: list[str] = []
    for begin, lines in regions(source):
        kept += [_stub(begin, lines)] if begin else lines
    return "\n".join(kept)


def _stub(begin: str, lines: list[str]) -> str:
    indentation = begin[: len(begin) - len(begin.lstrip())]
    if indentation:
        return f"{indentation}raise NotImplementedError"
    for last in ast.parse("\n".join(lines)).body[-1:]:
        if isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name):
            return f"{last.targets[0].id} = ..."
    raise ReleaseError(f"a solution at the left margin ends in 'name = value', not {lines[-1:]!r}")


def solution_in(source: str) -> str:
    """What stands between the marks."""
    return "\n".join(textwrap.dedent("\n".join(lines)) for begin, lines in regions(source) if begin)


def solution_of(chapter: str, exercise: str) -> str:
    """The solution of an exercise, from the solution notebook of its chapter; "" where that is not there."""
    for path in sorted((catalogue.ROOT / "exercises" / "solutions").glob(f"{chapter}_*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if grade_id(cell) == exercise:
                return solution_in(cell.source)
    return ""


def grade_id(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def released(solution: NotebookNode, before: NotebookNode | None = None) -> NotebookNode:
    """The learner's notebook. Outputs stay those of ``before``, as long as no code has changed."""
    new = nbformat.from_dict(solution)
    for cell in new.cells:
        if cell.cell_type == "code":
            try:
                cell.source = without_solutions(cell.source)
            except (ReleaseError, SyntaxError) as error:
                raise ReleaseError(f"cell {grade_id(cell) or cell.source[:40]!r}: {error}") from error
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = cell.source.replace("](../../", "](../")  # the learner's notebook lies one folder higher
    if before and [cell.source for cell in before.cells] == [cell.source for cell in new.cells]:
        for cell, ran in zip(new.cells, before.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = ran.get("outputs", []), ran.get("execution_count")
    return new


def main(paths: Sequence[str]) -> int:
    """Writes ``exercises/NN_name.ipynb`` for each solution, all or those given. Returns 1 if one could not be made."""
    folder = catalogue.ROOT / "exercises" / "solutions"
    failed = 0
    for source in [Path(path).resolve() for path in paths] or sorted(folder.glob("*.ipynb")):
        target = source.parent.parent / source.name
        try:
            before = nbformat.read(target, as_version=4) if target.exists() else None
            new = nbformat.writes(released(nbformat.read(source, as_version=4), before)).rstrip("\n") + "\n"
        except (ReleaseError, OSError, nbformat.reader.NotJSONError) as error:
            failed += 1
            print(f"FAILED    {source.name}: {error}")
            continue
        changed = not target.exists() or target.read_text("utf-8") != new
        if changed:
            with write_whole(target) as aside:
                aside.write_text(new, encoding="utf-8", newline="\n")
        print(f"{'released' if changed else 'unchanged'}  {source.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
