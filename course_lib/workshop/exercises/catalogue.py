"""Where exercises and their words are found: a module and a TOML file for each chapter, by language.

``COURSE_LANGUAGE`` chooses the language. What it has no text for is said in English, and what English has no text for
is said by its key: a missing word never stops a check.
"""

import functools
import importlib
import os
import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course_lib.workshop.exercises.steps import Exercise

ROOT = Path(__file__).resolve().parents[3]  # of the repository
TEXT_FOLDER = Path(__file__).resolve().parent / "texts"
CHAPTER_PACKAGE = "course_lib.workshop.exercises.chapters"  # the package that holds them


def chapter_numbers() -> list[str]:
    """00, 03, ...: one for each module of a chapter."""
    folders = importlib.import_module(CHAPTER_PACKAGE).__path__
    return sorted({file.stem.removeprefix("chapter_") for path in folders for file in Path(path).glob("chapter_*.py")})


def chapter_module(number: str) -> ModuleType:
    """The module of a chapter. Whatever its import raises, it raises."""
    return importlib.import_module(f"{CHAPTER_PACKAGE}.chapter_{number}")


def exercises_of(number: str) -> list["Exercise"]:
    """The exercises of a chapter, in their order."""
    return list(chapter_module(number).EXERCISES)


def chosen_language() -> str:
    return os.environ.get("COURSE_LANGUAGE") or "en"


damaged_files: list[str] = []  # damaged files that were met


@functools.cache
def _table(texts: Path, language: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads((texts / language / f"{file}.toml").read_text("utf-8"))
    except OSError:  # the next language, or the keys themselves, have to do
        return {}
    except ValueError as error:
        damaged_files.append(f"{language}/{file}.toml: {error}")
        return {}


def _look_up(table: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if not isinstance(table, Mapping) or key not in table:
            return None
        table = table[key]
    return table


def _find(file: str, *keys: str) -> Any:
    for spoken in (chosen_language(), "en"):
        if (found := _look_up(_table(TEXT_FOLDER, spoken, file), keys)) is not None:
            return found
    return None


def general_text(*keys: str, **values: object) -> str:
    """A text of general.toml, as ``general_text("states", "right")``."""
    found = _find("general", *keys)
    return fill(found, values) if isinstance(found, str) else ".".join(keys)


def kind_names() -> dict[str, str]:
    """What kinds of values are called."""
    return dict(_find("general", "kinds") or {})


def title_text(number: str, name: str) -> str:
    return str(_find(f"chapter_{number}", name, "title") or name)


def step_text(number: str, name: str, key: str) -> str:
    return str(_find(f"chapter_{number}", name, "steps", key) or key)


def hint_texts(number: str, name: str) -> list[str]:
    return list(_find(f"chapter_{number}", name, "hints") or [])


def mistake_texts(
    number: str, name: str, key: str, variant: str, values: Mapping[str, object]
) -> tuple[str, str, bool]:
    """What was seen, the idea that leads on, and whether these are the exercise's own texts, not the general ones."""
    own = _find(f"chapter_{number}", name, "mistakes", variant) or _find(f"chapter_{number}", name, "mistakes", key)
    found = own or _find("general", "mistakes", variant)
    if not isinstance(found, Mapping):
        return key, "", False
    return fill(str(found.get("saw", key)), values), fill(str(found.get("idea", "")), values), bool(own)


def fill(text: str, values: Mapping[str, object]) -> str:
    """``str.format`` that leaves alone what it cannot fill."""
    try:
        return string.Formatter().vformat(text, (), _Lenient(values))
    except (ValueError, IndexError, AttributeError, LookupError, TypeError):
        return text


class _Lenient(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"
