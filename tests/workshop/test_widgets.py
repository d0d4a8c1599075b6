"""Controls that redraw, tokens in colour, and what both leave behind where nothing is running."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import IPython.display
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
    box = play(lambda order=2, mood="sad": calls.append((order, mood)), order=(1, 5), mood=["happy", "sad"])
    assert calls == [(2, "sad")], "one run at the start, with the function's own defaults"
    box.children[0].value = 5
    box.children[1].value = "happy"
    assert calls[1:] == [(5, "sad"), (5, "happy")]


def test_a_text_begins_with_the_default_of_its_argument_and_is_wide_enough(shown: list[Bundle]) -> None:
    calls: list[str] = []
    box = play(lambda beginning="Rose found": calls.append(beginning), beginning="")
    assert calls == ["Rose found"]
    assert box.children[0].layout.width == "40em"
    box = play(lambda beginning: calls.append(beginning), beginning="Tom")
    assert calls[1:] == ["Tom"], "a function without a default takes the text that is given"


def test_a_slider_waits_until_it_is_let_go(shown: list[Bundle]) -> None:
    box = play(lambda x: None, x=(0.0, 1.0, 0.1))
    assert isinstance(box.children[0], ipywidgets.FloatSlider)
    assert box.children[0].continuous_update is False


def test_a_clock_runs_the_function_at_each_tick_and_can_be_set_by_a_slider(shown: list[Bundle]) -> None:
    seen: list[int] = []
    box = play(lambda tokens: seen.append(tokens), tokens=ipywidgets.Play(3, 0, 9))
    slider, clock = box.children[0].children
    assert (slider.value, slider.min, slider.max, slider.description) == (3, 0, 9, "tokens")
    clock.value = 4
    slider.value = 7
    assert seen == [3, 4, 7]
    assert (slider.value, clock.value) == (7, 7)
    assert shown[0]["text/plain"] == "[interactive: run the notebook, then change tokens]"


def test_where_nothing_runs_a_line_says_what_could_be_changed(shown: list[Bundle]) -> None:
    play(lambda order, seed: None, order=(1, 5), seed=(0, 9))
    (bundle,) = shown
    assert bundle["text/plain"] == "[interactive: run the notebook, then change order, seed]"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_what_is_printed_lands_in_the_widget_and_not_beside_it(
    shown: list[Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    box = play(lambda x: print("x is", x), x=(0, 3))
    assert box.children[-1].outputs == ({"output_type": "stream", "name": "stdout", "text": "x is 1\n"},)
    box.children[0].value = 3
    assert [o["text"] for o in box.children[-1].outputs] == ["x is 3\n"], "the new output replaces the old one"
    assert "x is" not in capsys.readouterr().out


def test_what_is_displayed_lands_in_the_widget(shown: list[Bundle]) -> None:
    box = play(lambda x: IPython.display.display({"text/plain": f"<{x}>"}, raw=True), x=["a", "b"])
    assert [o["data"] for o in box.children[-1].outputs] == [{"text/plain": "<a>"}]


def test_a_mistake_in_the_function_is_seen_and_the_controls_stay(shown: list[Bundle]) -> None:
    box = play(lambda x=2: print(6 / x), x=(0, 3))
    box.children[0].value = 0
    assert "ZeroDivisionError" in box.children[-1].outputs[0]["text"]
    box.children[0].value = 3
    assert box.children[-1].outputs[0]["text"] == "2.0\n"


def test_a_control_that_fits_nothing_is_named(shown: list[Bundle]) -> None:
    with pytest.raises(TypeError, match="function has no argument 'y': it has x"):
        play(lambda x: None, y=(0, 3))
    with pytest.raises(ValueError, match=r"x is None: give \(lowest, highest\)"):
        play(lambda x: None, x=None)
    assert shown == []


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
