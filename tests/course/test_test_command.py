"""``course.py test``: every step runs to the end, and whatever fails is counted and makes the command fail."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import course


def python_step(house: ModuleType, name: str, code: str, report: Path | None = None) -> object:
    return house.Step(name, [sys.executable, "-c", code], report)


@pytest.fixture
def ready(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A house that takes the running Python for its own, and has one notebook."""
    monkeypatch.setattr(house, "make_ready", lambda extras: Path(sys.executable))
    (house.ROOT / "notebooks").mkdir()
    (house.ROOT / "notebooks" / "00_a.ipynb").write_text("{}", encoding="utf-8")
    return house


def test_every_step_runs_although_one_fails_and_the_command_fails(
    ready: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = [
        python_step(ready, "first", "print('one')"),
        python_step(ready, "second", "print('two'); raise SystemExit(3)"),
        python_step(ready, "third", "print('three')"),
    ]
    monkeypatch.setattr(ready, "steps_of_test", lambda python, extra: steps)
    assert ready.test([], use_current=False) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line in ("one", "two", "three")] == ["one", "two", "three"]
    assert [line for line in lines if line.startswith("==== ")][:3] == [
        "==== 1/3 first",
        "==== 2/3 second",
        "==== 3/3 third",
    ]
    assert [line.split()[0] for line in lines[-4:-1]] == ["ok", "FAILED", "ok"]
    assert lines[-1].startswith("2 passed, 1 failed, 0 skipped in ")


def test_when_all_is_well_the_command_succeeds(ready: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "steps_of_test", lambda python, extra: [python_step(ready, "only", "")])
    assert ready.test([], use_current=False) == 0


REPORT = '<testsuites><testsuite tests="10" failures="{}" errors="{}" skipped="2"/></testsuites>'


@pytest.mark.parametrize(
    ("failures", "errors", "code", "expected"),
    [
        (0, 0, 0, (8, 0, 2)),
        (3, 0, 1, (5, 3, 2)),
        (0, 1, 1, (7, 1, 2)),
        (0, 0, 2, (8, 1, 2)),  # pytest was interrupted, or a plugin failed, and no test shows it
    ],
)
def test_tests_are_counted_from_pytests_own_report(
    tmp_path: Path, failures: int, errors: int, code: int, expected: tuple[int, int, int]
) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(failures, errors), encoding="utf-8")
    assert course.count(course.Step("pytest", [], report), code) == expected


def test_a_report_of_yesterday_is_not_counted(ready: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ready.STATE / "reports" / "old.xml"
    report.parent.mkdir(parents=True)
    report.write_text(REPORT.format(0, 0), encoding="utf-8")
    step = python_step(ready, "pytest", "raise SystemExit(4)", report)
    monkeypatch.setattr(ready, "steps_of_test", lambda python, extra: [step])
    assert ready.test([], use_current=False) == 1
    assert not report.exists()


def test_a_pytest_that_finds_no_test_fails(
    ready: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """pytest says so with exit code 5, which is easily taken for success."""
    empty = tmp_path / "empty"
    empty.mkdir()
    report = tmp_path / "report.xml"
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds to load, and none matters here
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", str(empty)]
    monkeypatch.setattr(ready, "steps_of_test", lambda python, extra: [ready.Step("pytest", command, report)])
    assert ready.test([], use_current=False) == 1
    assert "no tests ran" in capfd.readouterr().out


def test_a_course_whose_notebooks_are_gone_fails(
    ready: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (ready.ROOT / "notebooks" / "00_a.ipynb").unlink()
    nbval = ready.steps_of_test(sys.executable, [])[-1]
    monkeypatch.setattr(ready, "steps_of_test", lambda python, extra: [nbval])
    assert ready.test([], use_current=False) == 1
    assert "There are no notebooks" in capsys.readouterr().out


def test_the_steps_are_those_that_the_readme_promises(ready: ModuleType) -> None:
    ruff, ruff_format, mypy, pytest_step, nbval = (step.command for step in ready.steps_of_test("py", []))
    assert ruff == ["py", "-m", "ruff", "check", "."]
    assert ruff_format == ["py", "-m", "ruff", "format", "--check", "."]
    assert mypy == ["py", "-m", "mypy"]
    assert pytest_step[:3] == nbval[:3] == ["py", "-m", "pytest"]
    assert "--nbval" in nbval, "outputs are compared (--nbval-lax would not)"
    assert nbval[nbval.index("--nbval-sanitize-with") + 1] == "tests/notebooks/sanitize.cfg"
    assert 0 < float(nbval[nbval.index("--nbval-cell-timeout") + 1]) <= 600
    assert nbval[nbval.index("--dist") + 1] == "loadfile", "the cells of one notebook need one kernel"
    assert nbval[-1] == "notebooks/00_a.ipynb"
    assert not {"-m", "-k", "--deselect", "--ignore"} & set(pytest_step[3:]), "a part of the tests is left out"


def test_arguments_for_pytest_run_pytest_alone(ready: ModuleType) -> None:
    (step,) = ready.steps_of_test("py", ["-k", "tokenizer"])
    assert step.command[-2:] == ["-k", "tokenizer"]
    assert "--nbval" not in step.command


def test_tests_run_at_the_laptops_size_with_one_thread_each(
    ready: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSE_SCALE", "gpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    step = python_step(ready, "x", "import os; print(os.environ['COURSE_SCALE'], os.environ['OMP_NUM_THREADS'])")
    monkeypatch.setattr(ready, "steps_of_test", lambda python, extra: [step])
    ready.test([], use_current=False)
    assert "laptop 1" in capfd.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_ci_calls_the_command_of_the_readme_in_a_clean_environment() -> None:
    script = (course.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = [line.strip() for line in script.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert "exec < /dev/null" in lines
    assert any(line.startswith("rm -rf .venv ") for line in lines)
    assert lines[-1] == "python course.py test"
    assert "python course.py test" in (course.ROOT / "README.md").read_text(encoding="utf-8")
    assert os.access(course.ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ".ci/run"], cwd=course.ROOT, check=True)
