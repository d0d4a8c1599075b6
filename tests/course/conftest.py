"""A house of its own for every test: a copy of course.py with its files in a temporary folder, never the real .venv."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """course.py, imported from a folder with a space and Chinese letters in its name."""
    for variable in ("COURSE_WHEELS", "COURSE_STATE"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "my course 课程"
    folder.mkdir()
    for name in ("course.py", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    specification = importlib.util.spec_from_file_location("course_in_a_copy", folder / "course.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    yield module
    del sys.modules[specification.name]
