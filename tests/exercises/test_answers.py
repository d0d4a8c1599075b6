"""The checker of each exercise, judged: right answers in any style pass, wrong ones are caught and named."""

import importlib
from types import SimpleNamespace

import pytest

from course_lib.workshop.exercises import catalogue
from tests.exercises import judge


@pytest.mark.parametrize("chapter", catalogue.chapter_numbers())
def test_every_right_answer_passes_and_every_wrong_one_is_named(chapter: str) -> None:
    rows = judge.judged_chapter(chapter)
    assert rows, f"chapter {chapter} has no exercise"
    assert [miss for row in rows for miss in row.misses] == []


# --- the judge itself, on an exercise of the engine's tests ----------------------------------------------------------


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(catalogue, "CHAPTER_PACKAGE", "tests.workshop.exercises.sample")
    right = [("number", 0.25), ("fraction", 1 / 4), ("again", 0.25)]
    wrong = [("upside_down", 4), ("percent", 25), ("percent", 25.0), ("unknown", 0.3), ("wrong_kind", "1/4")]
    return SimpleNamespace(RIGHT={"chance": right}, WRONG={"chance": wrong})


def misses(answers: SimpleNamespace) -> list[str]:
    [exercise] = [exercise for exercise in catalogue.exercises_of("90") if exercise.name == "chance"]
    return judge.judged("90", exercise, answers).misses  # type: ignore[arg-type]


def test_answers_that_are_judged_as_they_should_be_are_no_miss(sample: SimpleNamespace) -> None:
    assert misses(sample) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (("half", 0.5), None, "the right answer 'half' is refused"),
        (None, ("percent", 4), "'percent' is called 'upside_down'"),
        (None, ("percent", 0.25), "'percent' is called 'right'"),
    ],
)
def test_a_miss_is_named(sample: SimpleNamespace, right: object, wrong: object, said: str) -> None:
    sample.RIGHT["chance"] += [right] if right else []
    sample.WRONG["chance"] += [wrong] if wrong else []
    [miss] = misses(sample)
    assert said in miss


def test_too_few_answers_are_a_miss(sample: SimpleNamespace) -> None:
    del sample.RIGHT["chance"][0], sample.WRONG["chance"][0]
    assert [miss.partition(":")[2] for miss in misses(sample)] == [
        " 2 styles of right answers, 3 are needed",
        " 4 wrong answers, 5 are needed",
    ]


def test_answers_to_no_exercise_are_a_miss_and_the_exit_code_is_1(
    sample: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.RIGHT["chances"] = []
    monkeypatch.setattr(
        importlib,
        "import_module",
        lambda name, real=importlib.import_module: (
            sample if name == "tests.exercises.answers.chapter_90" else real(name)
        ),
    )
    assert judge.main(["90"]) == 1
    out = capsys.readouterr().out
    assert "chances: there are answers, but no such exercise in chapter 90" in out
    assert "chance                                  3/3          5/5          5/5  upside_down, percent" in out
