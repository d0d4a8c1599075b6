"""Controls that redraw, tokens in colour, and what both leave behind where nothing is running."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import ipywidgets
import pytest
from IPython.core.interactiveshell import InteractiveShell

from course_lib.workshop import widgets
from course_lib.workshop.widgets import play, show_tokens

Bundle = dict[str, Any]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Bundle]]:
    """What reaches the page. A shell must be there: ipywidgets draws through it."""
    bundles: list[Bundle] = []
    monkeypatch.setattr(widgets, "display", lambda data, raw: bundles.append(data))
    InteractiveShell.instance()
    yield bundles
    InteractiveShell.clear_instance()


def test_a_control_runs_the_function_at_once_and_again_when_it_moves(shown: list[Bundle]) -> None:
    calls: list[tuple[int, str]] = []
    box = play(lambda order, mood: calls.append((order, mood)), order=(1, 5), mood=["happy", "sad"])
    first = calls[-1]
    assert first == (3, "happy")
    assert len(calls) == 1, "one run at the start, not one for each control"
    box.children[0].value = 5
    box.children[1].value = "sad"
    assert calls[1:] == [(5, "happy"), (5, "sad")]


def test_a_slider_waits_until_it_is_let_go(shown: list[Bundle]) -> None:
    box = play(lambda x: None, x=(0.0, 1.0, 0.1))
    assert isinstance(box.children[0], ipywidgets.FloatSlider)
    assert box.children[0].continuous_update is False


def test_where_nothing_runs_a_line_says_what_could_be_changed(shown: list[Bundle]) -> None:
    play(lambda order, seed: None, order=(1, 5), seed=(0, 9))
    (bundle,) = shown
    assert bundle["text/plain"] == "[interactive: run the notebook, then change order, seed]"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_mistake_in_the_function_is_seen(shown: list[Bundle], capsys: pytest.CaptureFixture[str]) -> None:
    def broken(x: int) -> None:
        raise ZeroDivisionError("seen")

    play(broken, x=(0, 3))
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_tokens_are_marked_and_kept_apart_in_both_forms(shown: list[Bundle]) -> None:
    show_tokens(["Rose", " found", "\n", "<b>", "&"])
    (bundle,) = shown
    assert bundle["text/plain"] == "Rose|·found|↵|<b>|&"
    assert bundle["text/html"].count("<span") == 5
    assert "&lt;b&gt;" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]
    assert "&amp;" in bundle["text/html"]


def test_neighbouring_tokens_differ_in_colour(shown: list[Bundle]) -> None:
    show_tokens(list("abcdefgh"))
    colours = [part.split(";")[0] for part in shown[0]["text/html"].split("background:")[1:]]
    assert len(colours) == 8
    assert all(a != b for a, b in pairwise(colours))
