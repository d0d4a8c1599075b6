"""What a learner reads: a verdict for everything that may happen, and never a traceback."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.workshop.exercises import calling, catalogue, check, hint, progress
from course_lib.workshop.exercises.checking import NotRightError, judge
from course_lib.workshop.exercises.keeping import all_kept
from course_lib.workshop.exercises.steps import Answer, Gives, Step
from course_lib.workshop.exercises.verdicts import Verdict

VerdictOf = Callable[..., Verdict]


def never_divided(q, k):
    return q @ k.mT


def scaled(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def stub(q, k):
    """A stub."""
    raise NotImplementedError


# --- the four states, to the letter ----------------------------------------------------------------------------------


def test_wrong() -> None:
    assert (
        str(check("scores", never_divided))
        == """\
✗ 1/2 the numbers match the reference
    saw : exactly the answer you get when the scores are never divided
    idea: the spread of q·k grows like √K. Chapter 90, section 3
    next: hint("scores", 1)"""
    )


def test_wrong_at_the_second_step_with_values_in_the_text() -> None:
    def starts_anew(q, k, seen=[]):  # noqa: B006
        seen.append(q)
        return scaled(q, k) if len(seen) < 3 else scaled(q, k) + 1

    assert (
        str(check("scores", starts_anew))
        == """\
✓ 1/2 the numbers match the reference
✗ 2/2 twice the query, twice the score
    saw : 3 times the query does not give 3 times the score
    idea: a product grows with its factors. Chapter 90, section 3
    next: hint("scores", 1)"""
    )


def test_right() -> None:
    assert (
        str(check("scores", scaled))
        == """\
✓ 1/2 the numbers match the reference
✓ 2/2 twice the query, twice the score
✓ right: Scores, scaled"""
    )


def test_raised() -> None:
    def scores(q, k):
        print("shape", tuple(q.shape))
        return q @ k

    line = scores.__code__.co_firstlineno + 2
    assert 10 <= line <= 99, "so that the labels below are 7 wide"
    assert (
        str(check("scores", scores))
        == f"""\
! 1/2 the numbers match the reference
    saw    : RuntimeError: Expected size for first two dimensions of batch2 tensor to be: [6, 4] but got: [6, 7].
    line {line}: return q @ k
    for    : tensor of shape (2, 3, 5, 4), tensor of shape (2, 3, 7, 4)
    idea   : run your function by itself on a small input, and look at the line above.
    next   : hint("scores", 1)
your code printed
    | shape (2, 3, 5, 4)"""
    )


def test_not_started() -> None:
    assert str(check("scores", stub)) == (
        "○ not started: write scores in the cell above, run it, then run this one again"
    )
    assert str(check("chance", ...)) == (
        "○ not started: give chance a value in the cell above, run it, then run this one again"
    )
    assert check("chance", None).state == check("chance").state == "not_started"


def test_an_error_of_pytorch_is_no_stub() -> None:
    assert check("scores", torch.nn.Module()).state == "raised"  # it has no forward: a NotImplementedError
    assert check("scores", lambda q, k: torch.ones(2, device="meta").item()).state == "raised"


def scaled_but_for_one_number(q, k):
    scores = scaled(q, k)
    if scores.ndim == 4:
        scores[1, 0, 2, 3] += 0.5
    return scores


# --- anything a learner may hand in ----------------------------------------------------------------------------------


def deep(q, k):
    return deep(q, k)


def asks(q, k):
    return q * float(input("scale? "))


def generator(q, k):
    for row in q:
        yield row @ k.mT


class Weird:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


class WeirdError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


def raises_weird(q, k):
    raise WeirdError


def quits(q, k):
    sys.exit(1)


def breaks_off(q, k):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("answer", "state", "mistake"),
    [
        (deep, "raised", "raised"),
        (raises_weird, "raised", "raised"),
        (breaks_off, "raised", "raised"),
        (asks, "wrong", "asks_for_input"),
        (quits, "wrong", "exits"),
        (generator, "wrong", "generator"),
        (lambda q: q, "wrong", "wrong_signature"),
        (torch.nn.Linear, "wrong", "class_for_function"),
        (Weird(), "wrong", "not_a_function"),
        (scaled(torch.ones(2, 3), torch.ones(4, 3)), "wrong", "not_a_function"),
        (lambda q, k: Weird(), "wrong", "wrong_kind"),
        (lambda q, k: scaled(q, k).to("meta"), "wrong", "wrong_device"),
        (lambda q, k: scaled(q, k).half(), "wrong", "wrong_dtype"),
        (lambda q, k: scaled(q, k).numpy(), "wrong", "numpy_array"),
        (lambda q, k: np.float64(3), "wrong", "wrong_kind"),
        (lambda q, k: scaled(q, k) / 0, "wrong", "not_finite"),
        (lambda q, k: scaled(q, k).expand(1, *q.shape[:-1], k.shape[-2]), "wrong", "wrong_shape"),
        (lambda q, k: (_ for _ in ()).throw(ValueError), "raised", "raised"),
    ],
)
def test_anything_may_be_handed_in(answer: Any, state: str, mistake: str) -> None:
    verdict = check("scores", answer)
    assert (verdict.state, verdict.mistake) == (state, mistake)
    for shown in (str(verdict), verdict._repr_html_()):
        assert "Traceback" not in shown
        assert " at 0x" not in shown
        assert str(Path(__file__).parent) not in shown
    assert check("scores", scaled).state == "right", "the next check is not the worse for it"


def test_the_texts_of_the_frequent_ones() -> None:
    assert "saw : the arguments: it takes 1 (q), it needs 2" in str(check("scores", lambda q: q))
    assert "saw : None came back, and a tensor is asked for" in str(check("scores", lambda q, k: None))
    off = scaled_but_for_one_number
    assert "saw : other numbers: the largest difference is 0.5 at [1, 0, 2, 3]" in str(check("scores", off))
    assert "RecursionError: your function calls itself again and again" in str(check("scores", deep))


def test_an_endless_loop_is_named_with_its_limit(verdict_of: VerdictOf) -> None:
    def loops(n):
        while True:
            pass

    verdict = verdict_of(Gives("values", abs, [-1]), loops, seconds=0.2)
    assert (verdict.state, verdict.mistake) == ("wrong", "too_slow")
    assert "no answer after 0.2 seconds, so it was stopped" in str(verdict)


def test_code_that_cannot_be_stopped_is_said_to_run_on(verdict_of: VerdictOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "STOP_SECONDS", 0.1)
    verdict = verdict_of(Gives("values", abs, [-1]), lambda n: time.sleep(0.8), seconds=0.1)
    assert verdict.mistake == "too_slow"
    assert "it still runs in the background" in str(verdict)
    assert "restart the kernel" in str(verdict)
    time.sleep(0.7)


def test_an_interrupted_check_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Any, seconds: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(calling._Worker, "wait", stopped)
    verdict = check("scores", scaled)
    assert verdict.mistake == "interrupted"
    assert "the check was interrupted" in str(verdict)
    assert all_kept() == ({}, "")


def test_an_error_inside_of_what_the_answer_returned_is_the_learners(verdict_of: VerdictOf) -> None:
    class Tokenizer:
        def encode(self, text: str) -> list[int]:
            return [text.no_such_thing]  # type: ignore[attr-defined]

    class Reference:
        def encode(self, text: str) -> list[int]:
            return [1]

    step = Gives("values", Reference, ["ab"], call=lambda cls, text: cls().encode(text))
    verdict = verdict_of(step, Tokenizer)
    assert verdict.state == "raised"
    assert "return [text.no_such_thing]" in str(verdict)
    nothing = type("Empty", (), {})
    assert "has no attribute 'encode'" in str(verdict_of(step, nothing))
    assert verdict_of(step, nothing).state == "raised"


def test_the_line_shown_is_the_learners_own_and_not_that_of_a_library() -> None:
    def scores(q, k):
        return torch.nn.functional.cross_entropy(q, "k")  # type: ignore[arg-type]

    assert "return torch.nn.functional.cross_entropy(" in str(check("scores", scores))


# --- what goes wrong on our side -------------------------------------------------------------------------------------


def test_a_bug_in_a_step_is_ours_and_can_be_reported() -> None:
    line = catalogue.chapter_module("90").breaks.__code__.co_firstlineno + 1
    assert str(check("broken_step", 1)) == (
        "? the check itself failed. This is a fault of the course and not yours: go on with another exercise\n"
        f"    please report: broken_step: ZeroDivisionError: division by zero (chapter_90.py, line {line})"
    )
    assert all_kept()[0] == {}


def test_a_bug_in_a_step_that_called_the_learner_before_is_ours_too(monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = catalogue.chapter_module("90")
    broken: Step = chapter.breaks

    def calls_then_breaks(answer: Answer) -> None:
        answer(torch.ones(1, 2), torch.ones(1, 2))
        broken(answer)

    calls_then_breaks.__code__ = calls_then_breaks.__code__.replace(co_filename=str(chapter.__file__))
    [exercise] = [exercise for exercise in chapter.EXERCISES if exercise.name == "scores"]
    changed = type(exercise)("scores", 5, 1, "1", [calls_then_breaks])
    assert judge("90", changed, scaled).state == "ours"
    assert judge("90", changed, lambda q, k: 1 / 0).state == "raised"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("score", "there is no exercise score. There are: 'scores'"),
        ("nothing like it", "There are: 'scores', 'chance', 'test_largest', 'broken_step'"),
        (scaled, "there is no exercise function"),
        (None, "there is no exercise NoneType"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name: Any, said: str) -> None:
    for verdict in (check(name, scaled), hint(name)):
        assert isinstance(verdict, Verdict)
        assert said in str(verdict)


@pytest.fixture
def a_broken_chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "chapters_with_a_broken_one"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "chapter_91.py").write_text("import math\nmath.no_such_function\n")
    (package / "chapter_92.py").write_text("from tests.workshop.exercises.sample.chapter_90 import EXERCISES\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(catalogue, "CHAPTER_PACKAGE", package.name)


def test_a_chapter_that_cannot_be_imported_stops_no_other(a_broken_chapter: None) -> None:
    assert check("scores", scaled).state == "right"
    assert str(check("of_the_broken_chapter", scaled)).startswith("? the check itself failed")
    assert "AttributeError" in str(check("of_the_broken_chapter", scaled))
    assert "The exercises of chapter 91 cannot be loaded (AttributeError)." in str(progress())
    assert "✓ scores" in str(progress())
    assert str(hint("scores")).startswith("Hint 1 of 3")


def test_a_damaged_catalogue_leaves_the_keys_and_asks_for_a_report(engine: Path) -> None:
    (engine / "texts" / "en" / "chapter_90.toml").write_text("[scores\n")
    verdict = check("scores", never_divided)
    assert verdict.mistake == "never_divided"
    assert "    saw          : never_divided" in str(verdict)
    assert "    please report: en/chapter_90.toml: Expected ']'" in str(verdict)
    (engine / "texts" / "en" / "general.toml").unlink()
    catalogue._table.cache_clear()
    assert check("scores", scaled).state == "right"


def test_a_placeholder_that_is_not_filled_is_left_as_it_is(engine: Path) -> None:
    path = engine / "texts" / "en" / "chapter_90.toml"
    path.write_text(path.read_text("utf-8").replace("like √K.", "like {this} and {that:d} {0} {"), "utf-8")
    assert "like {this} and {that:d} {0} {" in str(check("scores", never_divided))


# --- languages -------------------------------------------------------------------------------------------------------


def test_another_language_is_used_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_LANGUAGE", "xx")
    said = str(check("scores", never_divided))
    assert "✗ 1/2 xx: the numbers" in said
    assert "xx saw: xx: never divided" in said, "the label and the text"
    assert "twice" in str(check("scores", scaled)), "the rest is English"


def test_a_language_that_does_not_exist_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_LANGUAGE", "tlh")
    assert "exactly the answer" in str(check("scores", never_divided))


def test_an_exercise_may_have_its_own_words_for_a_general_mistake(engine: Path) -> None:
    path = engine / "texts" / "en" / "chapter_90.toml"
    path.write_text(path.read_text("utf-8").replace("mistakes.percent", "mistakes.unknown"), "utf-8")
    assert "saw : per cent\n    idea: a probability lies between 0 and 1. Chapter 90, section 1" in str(
        check("chance", 0.3)
    )


# --- grading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [never_divided, stub, lambda q: q, None])
def test_under_nbgrader_what_is_not_right_fails_its_cell_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, answer: Any, engine: Path
) -> None:
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(NotRightError, match=r"^\n[○✗!?]"):
        check("scores", answer)
    with pytest.raises(NotRightError, match="the check itself failed"):
        check("broken_step", 1)
    assert check("scores", scaled).state == "right"
    hint("scores")
    assert str(progress()).endswith("0 of 4 exercises are right.")
    assert not (engine / "state").exists()
