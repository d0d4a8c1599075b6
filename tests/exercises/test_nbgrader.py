"""From solutions to marks with nbgrader itself: what it releases is what we release, and points are as they should be.

nbgrader is no dependency of the course; where it is not installed, these tests are skipped.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from course_lib.workshop.exercises.release import grade_id, released

api = pytest.importorskip("nbgrader.api")

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = sorted((ROOT / "exercises" / "solutions").glob("*.ipynb"))


def nbgrader(course: Path, *arguments: str) -> str:
    state = course.parent / "state"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # nbgrader calls alembic by name
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=os.environ | {"PATH": path, "COURSE_STATE": str(state), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert not state.exists(), "grading keeps no progress"
    return done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder with one assignment for each chapter, released."""
    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    folder.mkdir()
    shutil.copy(ROOT / "exercises" / "nbgrader_config.py", folder)
    for path in SOLUTIONS:
        (folder / "source" / path.stem).mkdir(parents=True)
        shutil.copy(path, folder / "source" / path.stem)
        nbgrader(folder, "generate_assignment", path.stem, "--create")
    return folder


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_nbgrader_releases_the_same_notebook_cell_by_cell(course: Path, path: Path) -> None:
    theirs = nbformat.read(course / "release" / path.stem / path.name, as_version=4).cells
    ours = released(nbformat.read(path, as_version=4)).cells
    assert len(ours) == len(theirs) > 5
    for mine, their in zip(ours, theirs, strict=True):
        # Links are the one difference: ours is made for the folder exercises/, theirs for wherever it is handed out.
        assert mine.source == their.source.replace("](../../", "](../")
        assert mine.cell_type == their.cell_type
        given = their.metadata.get("nbgrader", {})
        assert {key: given[key] for key in mine.metadata.get("nbgrader", {})} == mine.metadata.get("nbgrader", {})
        assert mine.get("outputs", []) == their.get("outputs", []) == []


def test_one_right_one_wrong_and_one_untouched_answer_get_the_points_they_deserve(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SOLUTIONS[0]
    solution = {grade_id(cell): cell for cell in nbformat.read(path, as_version=4).cells if grade_id(cell)}
    notebook = nbformat.read(course / "release" / path.stem / path.name, as_version=4)
    names = [grade_id(cell) for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    right, wrong, *untouched = names
    for cell in notebook.cells:
        if grade_id(cell) == right:
            cell.source = solution[right].source
        elif grade_id(cell) == wrong:
            cell.source += f"\n\n{wrong} = lambda *args, **kwargs: None"
    submitted = course / "submitted" / "ada" / path.stem
    submitted.mkdir(parents=True)
    nbformat.write(notebook, submitted / path.name)
    nbgrader(course, "autograde", path.stem, "--create")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    with api.Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        graded = gradebook.find_submission_notebook(path.stem, path.stem, "ada")
        points = {grade.name: (grade.auto_score, grade.max_score) for grade in graded.grades}
    assert points == {
        f"check_{name}": (most if name == right else 0, most)
        for name in names
        for most in [solution[f"check_{name}"].metadata.nbgrader.points]
    }
    assert len(untouched) >= 1
    outputs = {
        grade_id(cell): cell.outputs
        for cell in nbformat.read(course / "autograded" / "ada" / path.stem / path.name, as_version=4).cells
        if cell.cell_type == "code"
    }
    [shown] = outputs[f"check_{wrong}"]
    assert shown.ename == "NotRightError"
    assert "✗ 1/" in shown.evalue, "the verdict is what the marker reads"
    [shown] = outputs[f"check_{untouched[0]}"]
    assert "○ not started" in shown.evalue
