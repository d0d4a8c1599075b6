"""The engine with a chapter of its own, texts of its own, and a folder for progress that ends with the test."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from course_lib.workshop.exercises import catalogue
from course_lib.workshop.exercises.checking import judge
from course_lib.workshop.exercises.steps import Answer, Exercise, Step, Wrong
from course_lib.workshop.exercises.verdicts import Verdict

SAMPLE = Path(__file__).resolve().parent / "sample"


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this test: ``texts``, and ``state`` once something is kept."""
    shutil.copytree(SAMPLE / "texts", tmp_path / "texts")
    shutil.copy(catalogue.TEXT_FOLDER / "en" / "general.toml", tmp_path / "texts" / "en")
    monkeypatch.setattr(catalogue, "TEXT_FOLDER", tmp_path / "texts")
    monkeypatch.setattr(catalogue, "CHAPTER_PACKAGE", "tests.workshop.exercises.sample")
    monkeypatch.setattr(catalogue, "damaged_files", [])
    monkeypatch.setenv("COURSE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("COURSE_LANGUAGE", raising=False)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    return tmp_path


@pytest.fixture
def verdict_of() -> Callable[..., Verdict]:
    """Judges an answer by one step of the test's own."""

    def verdict(step: Step, answer: Any, seconds: float = 10.0) -> Verdict:
        return judge("90", Exercise("scores", 5, 1, "1", [step], seconds), answer)

    return verdict


@pytest.fixture
def mistake_of() -> Callable[[Step, Any], str]:
    """The name that a step gives to the mistake of an answer, "" if it finds none. No thread, no time limit."""

    def mistake(step: Step, answer: Any) -> str:
        try:
            step(Answer(answer))
        except Wrong as wrong:
            return wrong.name
        return ""

    return mistake
