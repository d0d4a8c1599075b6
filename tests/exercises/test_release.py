"""The learner's notebooks are the solutions with the answers taken out, and nothing else is changed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.workshop.exercises import catalogue, release
from course_lib.workshop.exercises.release import (
    ReleaseError,
    grade_id,
    main,
    released,
    solution_in,
    solution_of,
    without_solutions,
)

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = sorted((ROOT / "exercises" / "solutions").glob("*.ipynb"))
CHAPTERS = catalogue.chapter_numbers()
MARKS = ("BEGIN SOLUTION", "END SOLUTION")

SOLVED = '''def scores(q, k):
    """Scores."""
    ### BEGIN SOLUTION
    scaled = q @ k.mT

    return scaled / 2
    ### END SOLUTION


class Net:
    def forward(self, x):
        y = x + 1
        ### BEGIN SOLUTION
        return y
        ### END SOLUTION'''

STUBS = '''def scores(q, k):
    """Scores."""
    raise NotImplementedError


class Net:
    def forward(self, x):
        y = x + 1
        raise NotImplementedError'''


# --- the rule --------------------------------------------------------------------------------------------------------


def test_a_solution_in_a_function_becomes_a_stub_with_its_indentation() -> None:
    assert without_solutions(SOLVED) == STUBS


def test_a_plain_answer_keeps_its_name() -> None:
    source = (
        "ways = 4\n### BEGIN SOLUTION\nhalf = ways / 2\nchance = 1 / (\n    half * 2\n)\n### END SOLUTION\nprint(ways)"
    )
    assert without_solutions(source) == "ways = 4\nchance = ...\nprint(ways)"


def test_a_cell_without_a_solution_stays_as_it_is() -> None:
    for source in ("", "x = 1\n", "print('### BEGIN SOLUTION')"):
        assert without_solutions(source) == source


def test_the_solution_is_what_stands_between_the_marks() -> None:
    assert solution_in(SOLVED) == "scaled = q @ k.mT\n\nreturn scaled / 2\nreturn y"
    assert solution_in("x = 1") == ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("### BEGIN SOLUTION\nx = 1", "'### BEGIN SOLUTION' without '### END SOLUTION'"),
        ("x = 1\n### END SOLUTION", "'### END SOLUTION' where the other mark was expected"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "'### BEGIN SOLUTION' where the other mark"),
        ("### BEGIN SOLUTION\nprint(1)\n### END SOLUTION", "a solution at the left margin ends in 'name = value'"),
        ("### BEGIN SOLUTION\n### END SOLUTION", "a solution at the left margin ends in 'name = value'"),
        ("### BEGIN SOLUTION\nx.y = 1\n### END SOLUTION", "a solution at the left margin ends in 'name = value'"),
    ],
)
def test_a_solution_that_is_not_marked_as_it_must_be_is_refused(source: str, said: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        without_solutions(source)
    assert said in str(caught.value)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one solution notebook."""
    metadata = {"nbgrader": {"grade_id": "scores", "solution": True}}
    cells = [
        new_markdown_cell("[chapter](../../notebooks/90_sample.ipynb), [site](https://a.b/../../c)", id="a"),
        new_code_cell(SOLVED, id="b", metadata=metadata, execution_count=1),
        new_code_cell("check()", id="c", execution_count=2, outputs=[new_output("stream", text="✓ right\n")]),
    ]
    (tmp_path / "exercises" / "solutions").mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), tmp_path / "exercises" / "solutions" / "90_sample.ipynb")
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)
    return tmp_path


def learners(house: Path) -> NotebookNode:
    return nbformat.read(house / "exercises" / "90_sample.ipynb", as_version=4)


def test_the_command_writes_the_learners_notebook_without_answers_and_outputs(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (house / "exercises" / "solutions" / "90_sample.ipynb").read_bytes()
    assert main([]) == 0
    assert capsys.readouterr().out == "released  90_sample.ipynb\n"
    text, answer, check = learners(house).cells
    assert text.source.startswith("[chapter](../notebooks/90_sample.ipynb)"), "one folder higher"
    assert answer.source == STUBS
    assert (answer.id, answer.metadata.nbgrader.grade_id, answer.execution_count) == ("b", "scores", None)
    assert check.outputs == []
    assert (house / "exercises" / "solutions" / "90_sample.ipynb").read_bytes() == before
    assert [path.name for path in (house / "exercises").iterdir()].count("90_sample.ipynb") == 1
    assert len(list((house / "exercises").iterdir())) == 2, "nothing is left beside it"


def test_what_was_run_keeps_its_outputs_until_a_cell_changes(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    notebook = learners(house)
    notebook.cells[2].outputs, notebook.cells[2].execution_count = [new_output("stream", text="○\n")], 2
    path = house / "exercises" / "90_sample.ipynb"
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", "utf-8")
    stored = path.read_bytes()
    assert main([str(house / "exercises" / "solutions" / "90_sample.ipynb")]) == 0
    assert capsys.readouterr().out.endswith("unchanged  90_sample.ipynb\n")
    assert path.read_bytes() == stored
    solution = nbformat.read(house / "exercises" / "solutions" / "90_sample.ipynb", as_version=4)
    solution.cells[0].source += " more"
    nbformat.write(solution, house / "exercises" / "solutions" / "90_sample.ipynb")
    assert main([]) == 0
    assert learners(house).cells[2].outputs == []


@pytest.mark.parametrize("damage", ["{", "", "<html>"])
def test_a_notebook_that_cannot_be_read_is_named_and_the_others_are_made(
    house: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    (house / "exercises" / "solutions" / "89_damaged.ipynb").write_text(damage)
    assert main([]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("FAILED    89_damaged.ipynb: ")
    assert second == "released  90_sample.ipynb"


def test_a_cell_with_a_wrong_mark_is_named(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = house / "exercises" / "solutions" / "90_sample.ipynb"
    path.write_text(path.read_text("utf-8").replace("### END SOLUTION", "", 1), "utf-8")
    assert main([]) == 1
    assert "FAILED    90_sample.ipynb: cell 'scores': '### BEGIN SOLUTION' where" in capsys.readouterr().out
    assert not (house / "exercises" / "90_sample.ipynb").exists()


def test_the_solution_of_an_exercise_is_read_from_its_notebook(house: Path) -> None:
    assert solution_of("90", "scores").startswith("scaled = q @ k.mT\n\nreturn")
    assert solution_of("90", "other") == solution_of("91", "scores") == ""
    shutil.rmtree(house / "exercises" / "solutions")
    assert solution_of("90", "scores") == ""


def test_the_command_line_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", release.__name__, "no_such.ipynb"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("FAILED    no_such.ipynb: ")


# --- our notebooks ---------------------------------------------------------------------------------------------------


def cells_of(path: Path) -> list[Any]:
    return list(nbformat.read(path, as_version=4).cells)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_the_learners_notebook_is_made_from_the_solutions_of_today(path: Path) -> None:
    made = released(nbformat.read(path, as_version=4)).cells
    stored = cells_of(path.parent.parent / path.name)
    assert [(c.cell_type, c.source, c.metadata) for c in stored] == [(c.cell_type, c.source, c.metadata) for c in made]
    assert not any(mark in cell.source for cell in stored for mark in MARKS)


@pytest.mark.parametrize("number", CHAPTERS)
def test_each_exercise_has_its_answer_cell_and_its_check_cell_in_order(number: str) -> None:
    [path] = [path for path in SOLUTIONS if path.name.startswith(f"{number}_")]
    expected = []
    for exercise in catalogue.exercises_of(number):
        common = {"schema_version": 3, "task": False}
        answer = {"grade": False, "solution": True, "locked": False, "grade_id": exercise.name, **common}
        graded = {"grade": True, "solution": False, "locked": True, "points": exercise.difficulty, **common}
        expected += [answer, {**graded, "grade_id": f"check_{exercise.name}"}]
    cells = [cell for cell in cells_of(path) if "nbgrader" in cell.metadata]
    assert [dict(cell.metadata["nbgrader"]) for cell in cells] == expected
    for answer_cell, check_cell in zip(cells[::2], cells[1::2], strict=True):
        name = grade_id(answer_cell)
        assert check_cell.source == f'check("{name}", {name})'
        assert solution_in(answer_cell.source), f"{name} has no solution between marks"


@pytest.mark.parametrize("number", CHAPTERS)
def test_what_is_stored_says_right_in_the_solutions_and_not_started_for_the_learner(number: str) -> None:
    [path] = [path for path in SOLUTIONS if path.name.startswith(f"{number}_")]
    for notebook, mark in [(path, "✓ right"), (path.parent.parent / path.name, "○ not started")]:
        for cell in cells_of(notebook):
            if grade_id(cell).startswith("check_"):
                shown = "".join(output.data["text/plain"] for output in cell.outputs if "data" in output)
                assert mark in shown, f"{notebook.parent.name}/{notebook.name}, {grade_id(cell)}: {shown!r}"
