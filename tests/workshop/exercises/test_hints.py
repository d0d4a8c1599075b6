"""Hints come fold by fold, and how they and verdicts look on the page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from course_lib.workshop.exercises import catalogue, check, hint, progress
from course_lib.workshop.exercises.keeping import all_kept
from course_lib.workshop.exercises.verdicts import Verdict


@pytest.fixture
def solutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = "    ### BEGIN SOLUTION\n    x = q < k\n\n    return x\n    ### END SOLUTION"
    source = f'def scores(q, k):\n    """Scores."""\n{marked}'
    cell: dict[str, Any] = {
        "cell_type": "code",
        "source": source,
        "metadata": {"nbgrader": {"grade_id": "scores"}},
        "outputs": [],
        "execution_count": None,
        "id": "a",
    }
    (tmp_path / "exercises" / "solutions").mkdir(parents=True)
    (tmp_path / "exercises" / "solutions" / "90_sample.ipynb").write_text(
        json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)


def test_each_call_shows_the_next_fold_and_the_last_stays(solutions: None) -> None:
    assert str(hint("scores")) == "Hint 1 of 3 for scores: a small hint\nHow large is q·k if K grows?"
    assert str(hint("scores")).startswith("Hint 2 of 3 for scores: a plan\nMultiply, transpose")
    for _ in range(2):
        assert str(hint("scores")) == "Hint 3 of 3 for scores: the solution\n    x = q < k\n\n    return x"
    assert all_kept()[0]["scores"].hints == 3


def test_a_fold_may_be_asked_for_by_its_number() -> None:
    assert str(hint("scores", 2)).startswith("Hint 2 of 3")
    assert str(hint("scores", 1)).startswith("Hint 1 of 3")
    assert str(hint("scores")).startswith("Hint 3 of 3"), "the next after the highest that was seen"


@pytest.mark.parametrize("number", [0, 4, -1, "two", 2.5])
def test_another_number_is_answered_in_a_sentence(number: Any) -> None:
    assert str(hint("scores", number)) == (
        f"There are three hints: 1 (a small hint), 2 (a plan) and 3 (the solution). There is no hint {number}."
    )
    assert all_kept()[0] == {}


def test_where_the_solutions_are_not_there_the_instructor_has_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)
    assert "ask the person who gave it to you" in str(hint("scores", 3))


def test_a_hint_that_nobody_wrote_is_said_to_be_missing(engine: Path) -> None:
    path = engine / "texts" / "en" / "chapter_90.toml"
    path.write_text(re.sub(r"(?m)^hints.*$", "", path.read_text("utf-8")), "utf-8")
    assert "has no such hint" in str(hint("scores", 1))


# --- on the page -----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Whether tags are closed in order, the text, and all styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.styles += [value for name, value in attrs if name == "style"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown(solutions: None) -> list[Any]:
    return [
        check("scores", lambda q, k: q @ k.mT),
        check("scores", lambda q, k: print("<b>bold</b>") or q),
        check("scores", 3),
        check("scores"),
        check("chance", 0.25),
        check("<i>", 3),
        hint("scores", 2),
        hint("scores", 3),
        progress(),
    ]


def test_the_page_says_what_the_plain_text_says_and_escapes_it(solutions: None) -> None:
    for thing in shown(solutions):
        page = Page(thing._repr_html_())
        words = re.sub(r"\W+", " ", "".join(page.words))
        for word in re.findall(r"\w+", str(thing)):
            assert word in words, f"{word!r} of\n{thing}"
        assert not {"b", "i"} & set(re.findall(r"<(\w+)>(?:bold|<)", thing._repr_html_()))
    assert "&lt;b&gt;bold" in shown(solutions)[1]._repr_html_()


def test_colours_follow_the_theme_and_have_something_to_fall_back_to(solutions: None) -> None:
    for thing in shown(solutions):
        styles = ";".join(Page(thing._repr_html_()).styles)
        for declaration in styles.split(";"):
            name, _, value = declaration.partition(":")
            if name in {"color", "border-left"}:
                assert "var(--jp-" in value or "inherit" in value, declaration
            assert name != "background" or value in {"none", "transparent"}, declaration
        assert not re.search(r"var\([^,)]*\)", styles), "a variable without a fallback"


def test_both_forms_are_the_same_in_every_run_and_repr_is_the_plain_text() -> None:
    one, other = (check("scores", lambda q, k: q * 2 @ k.mT) for _ in range(2))
    assert repr(one) == str(one) == str(other)
    assert one._repr_html_() == other._repr_html_()


def test_code_in_a_text_is_marked_on_the_page_only() -> None:
    verdict = Verdict("x", "right", summary="use `a < b` here")
    assert str(verdict) == "✓ use `a < b` here"
    assert "a &lt; b</code> here" in verdict._repr_html_()


def test_stressed_words_are_marked_on_the_page_only_and_products_are_not() -> None:
    verdict = Verdict("x", "right", summary="the *first* one: `a *b* c`, 2 * 3 * 4, x*y*z")
    assert str(verdict) == "✓ the *first* one: `a *b* c`, 2 * 3 * 4, x*y*z"
    page = verdict._repr_html_()
    assert "the <em>first</em> one" in page
    assert "a *b* c</code>, 2 * 3 * 4, x*y*z" in page
