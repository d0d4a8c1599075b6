"""pyproject.toml, requirements.txt and environment.yml say the same, and what is imported is declared."""

import ast
import importlib.metadata
import re
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import course

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DECLARED = [Requirement(line) for line in course.dependencies(["test"])]
PINNED = [
    Requirement(line)
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def pins_of(name: str) -> list[Requirement]:
    return [pin for pin in PINNED if canonicalize_name(pin.name) == canonicalize_name(name)]


def exact(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is not an exact pin"
    return specifier.version


@pytest.mark.parametrize("declared", DECLARED, ids=str)
def test_every_dependency_is_pinned_once_and_within_its_range(declared: Requirement) -> None:
    (pin,) = pins_of(declared.name)
    assert pin.marker is None, "a dependency of the course is needed on every system"
    assert declared.specifier.contains(exact(pin)), f"{pin} is outside {declared}"


def test_what_builds_the_course_is_pinned_too() -> None:
    """course.py builds without isolation, so that a folder of wheels is enough: the builder must be in the pins."""
    (build,) = (Requirement(line) for line in PROJECT["build-system"]["requires"])
    (pin,) = pins_of(build.name)
    assert build.specifier.contains(exact(pin))


def test_pip_can_use_every_pin_as_a_constraint() -> None:
    for pin in PINNED:
        assert exact(pin)
        assert not pin.extras, f"{pin}: pip refuses extras in a constraints file"
        assert pin.url is None
    assert len({(canonicalize_name(pin.name), str(pin.marker)) for pin in PINNED}) == len(PINNED)


def test_the_pins_name_no_registry_no_folder_and_no_cuda() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|^-|^/|file:|@", text, flags=re.MULTILINE)
    assert not [pin.name for pin in PINNED if re.match(r"nvidia|cuda|triton", pin.name)]


def test_the_first_lines_of_the_pins_say_how_to_renew_them() -> None:
    assert f"#    {PROJECT['tool']['uv']['pip']['custom-compile-command']}\n" in course.PINS.read_text(encoding="utf-8")


def test_course_py_reads_the_pins_as_packaging_does() -> None:
    """course.py has no packaging library; it reads the same names and versions with a regular expression."""
    assert set(course.pins()) == {canonicalize_name(pin.name) for pin in PINNED}
    for declared in DECLARED:
        name = course.normalised(str(declared))
        assert course.pins()[name] == exact(pins_of(name)[0])


def test_environment_yml_gives_the_same_versions_to_conda() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, with_pip = environment["dependencies"]
    python, pip = (re.fullmatch(r"([\w-]+)(?:=([\d.]+))?", line) for line in conda)
    assert python is not None
    assert pip is not None
    assert python[1] == "python"
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(python[2] + ".0")
    assert pip[1] == "pip"
    # pip's own syntax: the pins as constraints, then the course, which brings its dependencies; nothing beside them.
    assert with_pip == {"pip": [f"--extra-index-url {course.CPU_INDEX}", "-c requirements.txt", "-e ."]}


def test_the_linter_and_the_type_checker_assume_the_oldest_python_of_the_course() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert PROJECT["tool"]["mypy"]["python_version"] == "3.11"
    assert PROJECT["tool"]["uv"]["pip"]["python-version"] == "3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"


@pytest.mark.skipif(Path(sys.prefix) != course.VENV, reason="not running in the environment that course.py made")
def test_the_environment_holds_exactly_the_pinned_versions() -> None:
    # Only the environment's own folder: a test that imports setuptools leaves its vendored packages on sys.path.
    folder = sysconfig.get_path("purelib")
    installed = {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions(path=[folder])
    }
    here = [pin for pin in PINNED if pin.marker is None or pin.marker.evaluate()]
    wrong = [
        f"{pin} in the pins, {installed[canonicalize_name(pin.name)]} in the environment"
        for pin in here
        if not pin.specifier.contains(installed.get(canonicalize_name(pin.name), exact(pin)))
    ]
    assert wrong == []


def test_every_package_that_the_library_imports_is_declared() -> None:
    owners = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    # Imported by name, and part of what a declared package is: the notebook's own Python, matplotlib's pictures.
    declared |= {canonicalize_name("ipython"), canonicalize_name("pillow")}
    undeclared = {}
    files = sorted((ROOT / "course_lib").rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module or "")
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"course_lib"}:
                if not {canonicalize_name(owner) for owner in owners.get(top, [])} & declared:
                    undeclared[top] = file.name
    assert undeclared == {}
