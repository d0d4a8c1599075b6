"""Every text that the code can ask for exists, and no text is left over, in each language; and the chapters fit.

The names are read from the code itself: which mistakes the steps hold, and which ``Wrong("name")`` and
``general_text("key", ...)`` stand in the source. So those names are literal strings there.
"""

import ast
import re
import string
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_lib.workshop.exercises import catalogue, comparing
from course_lib.workshop.exercises.steps import ByHand, Catches, Equals, Exercise, Gives, key_of

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "course_lib" / "workshop" / "exercises"
CHAPTERS = catalogue.chapter_numbers()
LANGUAGES = sorted(path.name for path in (ENGINE / "texts").iterdir() if path.is_dir())

# Keys that the code puts together while it runs: the first part, and what may follow.
PUT_TOGETHER = {
    ("states",): ("not_started", "raised", "wrong", "right"),
    ("not_started",): ("function", "plain"),
    ("hints",): ("fold_1", "fold_2", "fold_3"),
    ("progress",): ("exercise", "state", "difficulty", "time", "hints"),
}
NOT_RAISED = {  # mistakes that are no ``Wrong``: name -> placeholders
    "raised": {"error", "message"},
    "endless_recursion": {"error", "message"},
    "too_slow": {"seconds"},
    "abandoned": {"seconds"},
    "interrupted": set(),
    "asks_for_input": set(),
    "exits": set(),
}
FROM_COMPARING = {"returned_none", "returned_function", "generator", "numpy_array", "wrong_kind"}  # chosen by a table


def texts(language: str, file: str) -> dict[str, Any]:
    path = ENGINE / "texts" / language / f"{file}.toml"
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}


def flat(table: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, (*before, key))
        else:
            yield (*before, key), str(value)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def calls(tree: ast.AST, function: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """(arguments, keywords) of all calls; what is no literal is None, and ``**values`` is under ""."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == function:
            given = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
            yield (
                given,
                {
                    keyword.arg or "": keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                    for keyword in node.keywords
                },
            )


# --- general.toml ----------------------------------------------------------------------------------------------------


def general_keys() -> dict[tuple[str, ...], set[str]]:
    """All keys of general.toml that the engine can ask for, with the values that it gives to their placeholders."""
    keys: dict[tuple[str, ...], set[str]] = {}
    for path in sorted(ENGINE.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for given, values in calls(tree, "general_text"):
            if None not in given:
                keys.setdefault(tuple(given), set()).update(values)
            elif path.name != "catalogue.py":
                first = tuple(given[: given.index(None)])
                assert first in PUT_TOGETHER, f"{path.name}: say in PUT_TOGETHER what may follow {first}"
                keys |= {(*first, last): set(values) for last in PUT_TOGETHER[first]}
        if path.name in {"steps.py", "calling.py", "comparing.py"}:
            for given, values in calls(tree, "Wrong"):
                name = values.get("variant") or (given[0] if given else None)
                if name:
                    keys.setdefault(("mistakes", name), set()).update(values)
    keys |= {("mistakes", name): values for name, values in NOT_RAISED.items()}
    keys |= {("mistakes", name): {"got", "want", "place"} for name in FROM_COMPARING}
    keys[("mistakes", "wrong_dtype")] |= {"got", "want"}
    keys[("mistakes", "wrong_argument_names")] = keys[("mistakes", "wrong_signature")]
    return keys


def test_general_texts_are_those_that_the_engine_asks_for_and_their_placeholders_are_filled() -> None:
    asked = general_keys()
    assert len(asked) > 50
    kinds = {("kinds", name) for name in (*comparing._KINDS, "none", "function")}
    found = {
        (key[:2] if key[0] == "mistakes" else key): placeholders(text) for key, text in flat(texts("en", "general"))
    }
    assert set(found) == set(asked) | kinds
    for key, text in flat(texts("en", "general")):
        given = asked.get(key[:2] if key[0] == "mistakes" else key, set())
        assert placeholders(text) <= given, f"{key}: {text!r} is given {given}"


def test_each_general_mistake_has_what_was_seen_and_an_idea() -> None:
    for name, mistake in texts("en", "general")["mistakes"].items():
        assert set(mistake) == {"saw", "idea"}, name
        assert all(mistake.values()), name


# --- the chapters ----------------------------------------------------------------------------------------------------


def names_raised(number: str) -> dict[str, dict[str, set[str]]]:
    """function or class of the chapter -> {name of a mistake: values for its text}, those it raises through others too.

    A name counts where it is the first argument of ``Wrong``; values are the keywords.
    """
    tree = ast.parse((ENGINE / "chapters" / f"chapter_{number}.py").read_text("utf-8"))
    tops = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own: dict[str, dict[str, set[str]]] = {}
    uses: dict[str, set[str]] = {}
    for name, node in tops.items():
        own[name] = {}
        for given, values in calls(node, "Wrong"):
            assert given, f"chapter {number}, {name}: Wrong needs the name of a mistake"
            assert given[0] is not None, f"chapter {number}, {name}: the name in Wrong(...) must be a literal string"
            own[name].setdefault(values.get("variant") or given[0], set()).update(values)
        uses[name] = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & set(tops) - {name}
    for _ in tops:  # what is raised further down, until nothing is new
        for name, used in uses.items():
            for other in used:
                for mistake, given_values in own[other].items():
                    own[name].setdefault(mistake, set()).update(given_values)
    return own


def expected_texts(number: str, exercise: Exercise) -> tuple[set[str], dict[str, set[str]]]:
    """The keys of the steps, and the names of the mistakes with the values for their texts."""
    raised = names_raised(number)
    mistakes: dict[str, set[str]] = {}
    for step in exercise.steps:
        if isinstance(step, Gives | Equals):
            mistakes |= {name: set() for name in step.mistakes}
        elif isinstance(step, Catches):
            mistakes |= {f"refuses_{name}": set() for name in step.right}
            mistakes |= {f"misses_{name}": set() for name in step.broken}
        elif isinstance(step, ByHand):
            mistakes |= {"from_the_library": {"function"}}
        else:
            function = getattr(step, "__name__", type(step).__name__)
            assert function in raised, f"{exercise.name}: the step {function!r} is not defined in its chapter"
            mistakes |= raised[function]
    return {key_of(step) for step in exercise.steps}, mistakes


@pytest.mark.parametrize("number", CHAPTERS)
def test_a_chapter_has_a_text_for_all_that_its_steps_can_say_and_no_other(number: str) -> None:
    table, general = texts("en", f"chapter_{number}"), set(texts("en", "general")["mistakes"])
    exercises = {exercise.name: exercise for exercise in catalogue.exercises_of(number)}
    assert list(table) == list(exercises), "the exercises, in their order"
    for name, exercise in exercises.items():
        steps, mistakes = expected_texts(number, exercise)
        found = table[name]
        assert set(found) <= {"title", "steps", "mistakes", "hints"}, name
        assert found["title"]
        assert set(found["steps"]) == steps, name
        written = found.get("mistakes", {})
        assert set(mistakes) - set(written) - general == set(), f"{name}: texts are missing"
        assert set(written) - set(mistakes) - general == set(), f"{name}: nothing asks for these texts"
        for key, mistake in written.items():
            assert set(mistake) == {"saw", "idea"}, f"{name}, {key}"
            if key in mistakes and key not in general and "" not in mistakes[key]:  # "": Wrong(..., **values)
                assert placeholders(mistake["saw"] + mistake["idea"]) <= mistakes[key], f"{name}, {key}"
        assert len(found["hints"]) == 2, f"{name}: a small hint and a plan; the third is the solution itself"


@pytest.mark.parametrize("number", CHAPTERS)
def test_an_exercise_points_to_a_section_of_its_chapter(number: str) -> None:
    [path] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    sections = set(re.findall(r"(?m)^## (\d+) ·", prose))
    assert sections
    for exercise in catalogue.exercises_of(number):
        assert exercise.section in sections, f"{exercise.name}: chapter {number} has no section {exercise.section}"


WITHOUT_EXERCISES: list[str] = []  # chapters whose exercises are not written yet


def test_each_other_chapter_has_exercises_and_no_name_is_used_twice() -> None:
    names = [exercise.name for number in CHAPTERS for exercise in catalogue.exercises_of(number)]
    assert len(set(names)) == len(names)
    chapters = sorted({path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")})
    assert chapters == sorted([*CHAPTERS, *WITHOUT_EXERCISES])


# --- other languages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_keys_and_the_placeholders_of_english(language: str) -> None:
    files = ["general", *(f"chapter_{number}" for number in CHAPTERS)]
    assert sorted(path.stem for path in (ENGINE / "texts" / language).iterdir()) == sorted(files)
    for file in files:
        english, here = dict(flat(texts("en", file))), dict(flat(texts(language, file)))
        assert set(here) == set(english), file
        for key, text in here.items():
            if key[-1] in {"saw", "idea"} or file == "general":
                assert placeholders(text) == placeholders(english[key]), f"{file}, {key}"


def test_all_texts_are_part_of_the_installed_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in settings["course_lib.workshop.exercises"] for path in ENGINE.glob(pattern)}
    assert packed == {path for path in (ENGINE / "texts").rglob("*") if path.is_file()} != set()


# --- the same, seen to fail ------------------------------------------------------------------------------------------


def test_texts_that_are_missing_or_left_over_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = sys.modules[__name__]
    (tmp_path / "chapters").mkdir()
    (tmp_path / "texts" / "en").mkdir(parents=True)
    sample = ROOT / "tests" / "workshop" / "exercises" / "sample"
    (tmp_path / "chapters" / "chapter_90.py").write_text((sample / "chapter_90.py").read_text("utf-8"), "utf-8")
    (tmp_path / "texts" / "en" / "general.toml").write_text(
        (ENGINE / "texts" / "en" / "general.toml").read_text("utf-8")
    )
    good = (sample / "texts" / "en" / "chapter_90.toml").read_text("utf-8")
    monkeypatch.setattr(module, "ENGINE", tmp_path)
    monkeypatch.setattr(catalogue, "CHAPTER_PACKAGE", "tests.workshop.exercises.sample")

    def judged(text: str) -> None:
        (tmp_path / "texts" / "en" / "chapter_90.toml").write_text(text, "utf-8")
        test_a_chapter_has_a_text_for_all_that_its_steps_can_say_and_no_other("90")

    judged(good)
    for old, new in [
        ("mistakes.percent", "mistakes.per_cent"),  # from Equals
        ("mistakes.never_divided", "mistakes.undivided"),  # from Gives
        ("mistakes.misses_first", "mistakes.misses_last"),  # from Catches
        ("mistakes.does_not_grow", "mistakes.shrinks"),  # from a law
        ("steps.grows_with_q", "steps.grows"),
        ("{number} times the query", "{factor} times the query"),
        ('hints = ["a", "b"]', 'hints = ["a"]'),
        ("[broken_step]", "[other_step]"),
    ]:
        assert good.count(old) == 1
        with pytest.raises(AssertionError):
            judged(good.replace(old, new))
