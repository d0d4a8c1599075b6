"""Progress is never lost: two notebooks write at once, one is killed while writing, a file is damaged or locked."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_lib.workshop.exercises import check, hint, progress
from course_lib.workshop.exercises.keeping import Kept, all_kept, record_hint, record_state

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_kept_is_read_again() -> None:
    assert all_kept() == ({}, "")
    assert record_state("scores", "raised") == record_state("chance", "wrong") == record_hint("chance", 2) == ""
    assert record_hint("new", 1) == ""
    kept, note = all_kept()
    assert kept == {"scores": Kept("raised", 0), "chance": Kept("wrong", 2), "new": Kept("not_started", 1)}
    assert note == ""


def test_right_stays_right_and_all_else_changes() -> None:
    for state, kept in [("not_started",) * 2, ("wrong",) * 2, ("raised",) * 2, ("right",) * 2, ("wrong", "right")]:
        record_state("scores", state)
        assert all_kept()[0]["scores"].state == kept
    record_hint("scores", 3)
    record_hint("scores", 1)
    assert all_kept()[0]["scores"] == Kept("right", 3)


def test_the_table_of_progress() -> None:
    check("scores", lambda q, k: q)
    check("chance", 0.25)
    check("chance", 4)
    hint("scores")
    hint("scores")
    assert (
        str(progress())
        == """\
  exercise      state         difficulty  time    hints
Chapter 90
✗ scores        not yet right  ★★          8 min   2
✓ chance        right          ★           3 min   -
○ test_largest  not started    ★★★         12 min  -
○ broken_step   not started    ★           1 min   -
1 of 4 exercises are right.""".replace("state         ", "state          ")
    )
    page = progress()._repr_html_()
    for text in ("scores", "not yet right", "★★★", "12 min", "1 of 4 exercises are right."):
        assert text in page


def test_the_next_hint_is_one_that_was_not_seen_yet() -> None:
    assert str(check("scores", lambda q, k: q)).endswith('next: hint("scores", 1)')
    hint("scores", 2)
    assert str(check("scores", lambda q, k: q)).endswith('next: hint("scores", 3)')
    hint("scores")
    assert str(check("scores", lambda q, k: q)).endswith('next: hint("scores", 3)')


# --- more than one process -------------------------------------------------------------------------------------------

WRITER = """
import sys, types
package = types.ModuleType("course_lib.workshop.exercises")  # without its __init__, which takes seconds for PyTorch
package.__path__ = ["course_lib/workshop/exercises"]
sys.modules[package.__name__] = package
from course_lib.workshop.exercises.keeping import record_hint, record_state
name, count = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
for i in range(count):
    assert record_state(f"{name}{i % 40}", "right" if i % 3 else "wrong") == ""
    assert record_hint("shared", i) == ""
    print(i, flush=True)
"""


def writer(name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_that_write_at_once_lose_nothing() -> None:
    writers = [writer("a", 60), writer("b", 60)]
    assert [process.communicate(timeout=60)[0].count("\n") for process in writers] == [61, 61]
    kept, note = all_kept()
    assert note == ""
    assert len(kept) == 81
    assert kept["shared"].hints == 59
    for i in range(40):  # each is written once or twice; i and i + 40 are "right" unless they are divisible by 3
        right = i % 3 > 0 or (i < 20 and (i + 40) % 3 > 0)
        assert {kept[f"{name}{i}"].state for name in "ab"} == {"right" if right else "wrong"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows kills otherwise")
def test_a_kill_in_the_middle_of_many_writes_loses_nothing_that_was_said_to_be_kept() -> None:
    for stop_at in ("40", "90"):
        with writer("a", 100_000) as process:
            assert process.stdout is not None
            while (line := process.stdout.readline().strip()) != stop_at:
                assert line, "the writer ended by itself"
            os.kill(process.pid, signal.SIGKILL)
            last = int((process.stdout.read().splitlines() or [stop_at])[-1])
        kept, note = all_kept()
        assert note == ""
        assert kept["shared"].hints >= last >= int(stop_at)
        assert record_state("after", "right") == ""


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(engine: Path) -> Path:
    record_state("scores", "right")
    path = engine / "state" / "progress.sqlite3"
    with sqlite3.connect(path) as database:  # more than one page
        rows = [(f"exercise_with_a_rather_long_name_{i}", "right") for i in range(599)]
        database.executemany("INSERT INTO exercises (name, state) VALUES (?, ?)", rows)
    database.close()
    return path


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 3000)


def overwrite_a_page_that_is_not_needed_now(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"\xff" * 3000)


def replace_by_text(path: Path) -> None:
    path.write_text("no database at all " * 500)


def garble_a_text(path: Path) -> None:
    """Damage that SQLite does not see: the text is no longer UTF-8."""
    data = path.read_bytes()
    assert data.count(b"scores") > 0
    path.write_bytes(data.replace(b"scores", b"\xffcores"))


@pytest.mark.parametrize(
    "damage", [truncate, overwrite_the_middle, overwrite_a_page_that_is_not_needed_now, replace_by_text]
)
def test_a_damaged_file_is_set_aside_and_begun_anew(file: Path, damage: object) -> None:
    damage(file)  # type: ignore[operator]
    damaged = file.read_bytes()
    verdict = str(check("chance", 0.25))
    assert "damaged. It is now called progress.damaged-1.sqlite3, and a new one was begun." in verdict
    assert (file.parent / "progress.damaged-1.sqlite3").read_bytes() == damaged
    assert all_kept() == ({"chance": Kept("right", 0)}, "")
    replace_by_text(file)
    assert "progress.damaged-2.sqlite3" in str(progress())


def test_a_name_that_is_no_text_any_more_is_damage_too(file: Path) -> None:
    garble_a_text(file)
    assert "progress.damaged-1.sqlite3" in str(progress())
    assert all_kept() == ({}, "")


def test_a_file_with_another_table_is_set_aside(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE exercises (id INTEGER)")
    database.close()
    assert "progress.damaged-1.sqlite3" in str(check("chance", 0.25))
    assert all_kept()[0] == {"chance": Kept("right", 0)}


def test_an_empty_file_is_begun_anew(file: Path) -> None:
    os.truncate(file, 0)
    assert all_kept() == ({}, "")


def test_where_nothing_can_be_written_checks_work_and_it_is_said(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (engine / "a_file").write_text("")
    monkeypatch.setenv("COURSE_STATE", str(engine / "a_file" / "state"))
    sentence = "Your progress could not be saved: the folder for it cannot be written. Checks work all the same."
    verdict = check("chance", 0.25)
    assert verdict.state == "right"
    assert f"note: {sentence}" in str(verdict)
    assert sentence in str(hint("chance"))
    assert str(progress()).endswith(sentence)
    assert sentence in progress()._repr_html_()


def test_a_file_that_another_one_holds_for_long_is_no_damage(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course_lib.workshop.exercises.keeping.WAIT_SECONDS", 0.05)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    assert "could not be saved" in str(check("chance", 0.25))
    assert time.monotonic() - started < 5
    other.close()
    assert "note" not in str(check("chance", 0.25))
    assert len(all_kept()[0]) == 601


def test_without_the_variable_the_folder_is_that_of_course_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_STATE")
    from course_lib.workshop.exercises.keeping import state_folder

    assert state_folder() == ROOT / ".course"
    source = (ROOT / "course.py").read_text("utf-8")
    assert 'STATE = Path(os.environ.get("COURSE_STATE") or ROOT / ".course").resolve()' in source
