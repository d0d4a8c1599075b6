"""The checker in a real kernel, as a notebook uses it: what would end or block a kernel does neither."""

from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[3]

SET_UP = """
import sys
sys.path.insert(0, ROOT)
import math
import shutil
from course_lib.workshop.exercises import catalogue, check, hint, progress
from course_lib.workshop.exercises.steps import Exercise, Gives
catalogue.CHAPTER_PACKAGE = "tests.workshop.exercises.sample"
for name, seconds in [("quick", 0.5), ("slow", 60)]:
    exercise = Exercise(name, 1, 1, "1", [Gives("v", abs, [-1])], seconds)
    catalogue.chapter_module("90").EXERCISES.append(exercise)
"""
CELLS = {
    "loop": "def f(n):\n    while True:\n        print('again')\ncheck('quick', f)",
    "swallow": "def f(n):\n    while True:\n        try:\n            [i for i in range(10**9)]\n"
    "        except:\n            if n < -1: break\n            n -= 1\ncheck('quick', f)",
    "stop": "import threading, _thread\ndef f(n):\n    while True: pass\n"
    "threading.Timer(0.5, _thread.interrupt_main).start()\ncheck('slow', f)",
    "raise": "def f(n):\n    return n.no_such_thing\ncheck('quick', f)",
    "exit": "def f(n):\n    exit()\ncheck('quick', f)",
    "input": "def f(n):\n    return input()\ncheck('quick', f)",
    "wrong": "def g(q, k):\n    return q @ k.mT\ncheck('scores', g)",
    "right": "def g(q, k):\n    return q @ k.mT / math.sqrt(q.shape[-1])\ncheck('scores', g)",
    "hint": "hint('scores')",
    "progress": "progress()",
    "alive": "f(-1) if False else sys.stdout.write('alive')",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What each cell shows."""
    sources = [SET_UP.replace("ROOT", repr(str(ROOT))), *CELLS.values()]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_STATE", str(state))
        patch.setenv("OMP_NUM_THREADS", "1")
        NotebookClient(notebook, timeout=120, kernel_name="python3", coalesce_streams=True).execute()
    return dict(zip(CELLS, (cell.outputs for cell in notebook.cells[1:]), strict=True))


def plain(outputs: list[Any]) -> str:
    """The one result of a cell: plain text and a page, both free of what differs from run to run."""
    [result] = outputs
    assert set(result.data) == {"text/plain", "text/html"}
    assert result.data["text/html"].startswith("<div")
    for text in result.data.values():
        assert not any(bad in text for bad in ("Traceback", "ipykernel", " at 0x", str(ROOT)))
    return str(result.data["text/plain"])


def test_an_endless_loop_is_stopped_and_what_it_printed_is_cut(outputs: dict[str, list[Any]]) -> None:
    text = plain(outputs["loop"])
    assert "no answer after 0.5 seconds, so it was stopped" in text
    assert text.count("| again") == 10


def test_a_loop_that_swallows_the_first_exception_is_stopped_by_the_next(outputs: dict[str, list[Any]]) -> None:
    assert "no answer after 0.5 seconds, so it was stopped" in plain(outputs["swallow"])


def test_the_stop_button_ends_the_check_with_a_sentence(outputs: dict[str, list[Any]]) -> None:
    assert "the check was interrupted" in plain(outputs["stop"])


def test_the_line_is_that_of_the_cell(outputs: dict[str, list[Any]]) -> None:
    text = plain(outputs["raise"])
    assert "AttributeError: 'int' object has no attribute 'no_such_thing'" in text
    assert "line 2: return n.no_such_thing" in text


def test_neither_exit_nor_input_reach_the_kernel(outputs: dict[str, list[Any]]) -> None:
    assert "your code ends the program" in plain(outputs["exit"])
    assert "your code asks for input" in plain(outputs["input"])
    assert outputs["alive"][0].text == "alive"


def test_wrong_right_hint_and_progress_are_results_of_their_cells(outputs: dict[str, list[Any]]) -> None:
    assert plain(outputs["wrong"]).startswith("✗ 1/2")
    assert plain(outputs["right"]).startswith("✓ 1/2")
    assert plain(outputs["hint"]).startswith("Hint 1 of 3 for scores")
    assert "1 of 6 exercises are right." in plain(outputs["progress"])
