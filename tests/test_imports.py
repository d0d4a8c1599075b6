"""Imports run one way: a module imports only what stands before it in the story, and every module works on its own."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STORY = ["arguments", "runtime", "data", "layers", "models", "objectives", "training", "using", "workshop"]


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for every module of the library."""
    files = sorted((root / "course_lib").rglob("*.py"))
    return {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imports(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """(line, imported name) for every import in a file, at any depth, relative and by name ones too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for argument in node.args[:1]:
                yield node.lineno, str(argument.value) if isinstance(argument, ast.Constant) else ast.unparse(argument)


def place_in_story(name: str) -> int:
    """0 for arguments, ..., 8 for workshop; -1 for the package itself."""
    parts = name.split(".")
    return STORY.index(parts[1]) if len(parts) > 1 else -1


def violations(root: Path) -> list[str]:
    """Every import against the direction of the story, and every part of the library that the story does not know."""
    found = []
    for name, path in modules(root).items():
        part = name.split(".")[1] if "." in name else ""
        if part and part not in STORY:
            found.append(f"{name}: {part!r} has no place in the story ({' < '.join(STORY)})")
            continue
        for line, imported in imports(path, name):
            parts = imported.split(".")
            if parts[0] == "course_lib" and (len(parts) == 1 or parts[1] not in STORY):
                found.append(f"{name}, line {line}: import the module itself, not {imported}")
            elif parts[0] == "course_lib" and place_in_story(imported) > place_in_story(name):
                found.append(f"{name}, line {line}: {imported} comes later in the story ({' < '.join(STORY)})")
    for path in sorted((root / "benchmarks").glob("*.py")):
        for line, imported in imports(path, path.stem):
            if imported.startswith("course_lib.workshop"):
                found.append(f"benchmarks/{path.name}, line {line}: only notebooks and tests use the workshop")
    return found


def test_imports_run_in_the_direction_of_the_story():
    assert len(modules(ROOT)) > 5
    assert violations(ROOT) == []


def private_names(root: Path) -> list[str]:
    """Names with a leading underscore that one module of the library imports from another."""
    found = []
    for name, path in modules(root).items():
        for line, imported in imports(path, name):
            private = [part for part in imported.split(".")[1:] if part.startswith("_")]
            if private and imported.startswith("course_lib."):
                found.append(f"{name}, line {line}: {imported} is private: give it a public name")
    return found


def test_no_module_imports_what_another_one_keeps_to_itself():
    assert private_names(ROOT) == []


def test_packages_hold_a_docstring_and_nothing_else():
    """So that one module can be imported without its neighbours: Storyworld runs on a Python that has no PyTorch."""
    folders = [ROOT / "course_lib", *(ROOT / "course_lib" / part for part in STORY)]
    for file in (folder / "__init__.py" for folder in folders if folder.is_dir()):
        body = ast.parse(file.read_text("utf-8")).body
        assert len(body) == 1, f"{file} holds more than a docstring"
        assert ast.get_docstring(ast.Module(body, [])), f"{file} has no docstring"


# --- the same, seen to fail ------------------------------------------------------------------------------------------

GOOD = {
    "course_lib/__init__.py": '"""A library."""',
    "course_lib/runtime.py": "import os",
    "course_lib/data/__init__.py": '"""Data."""',
    "course_lib/data/text.py": "import torch\nfrom course_lib.runtime import scale",
    "course_lib/data/worlds/__init__.py": "from .maps import A\nfrom ..text import B\nfrom ...runtime import C",
    "course_lib/data/worlds/maps.py": "from course_lib.data import text",
    "course_lib/models/__init__.py": '"""Models."""',
    "course_lib/models/gpt.py": "from course_lib.data.text import load\nfrom course_lib.models import bert",
    "course_lib/workshop/plots.py": "import course_lib.using.generate\nfrom course_lib import models",
    "benchmarks/bench.py": "from course_lib.data.text import load",
}


def planted(folder: Path, **changes: str) -> list[str]:
    for name, text in {**GOOD, **changes}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return violations(folder)


def test_imports_in_the_direction_of_the_story_pass(tmp_path):
    assert planted(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "line", "imported"),
    [
        ("data/text.py", "from course_lib.models.gpt import GPT", "course_lib.models.gpt.GPT"),
        ("data/text.py", "import course_lib.layers.attention as attention", "course_lib.layers.attention"),
        ("data/text.py", "from course_lib import models", "course_lib.models"),
        ("data/text.py", "from ..models import gpt", "course_lib.models.gpt"),
        ("data/text.py", "from .. import models", "course_lib.models"),
        ("data/worlds/__init__.py", "from ...models import gpt", "course_lib.models.gpt"),
        ("data/worlds/maps.py", "def f():\n    import course_lib.training.loop", "course_lib.training.loop"),
        ("data/text.py", "import importlib\nimportlib.import_module('course_lib.using.x')", "course_lib.using.x"),
        ("data/text.py", "__import__('course_lib.using.x')", "course_lib.using.x"),
        ("models/gpt.py", "try:\n    import course_lib.objectives\nexcept ImportError: pass", "course_lib.objectives"),
        ("models/__init__.py", "from course_lib.workshop import plots", "course_lib.workshop.plots"),
        ("runtime.py", "from course_lib.data import text", "course_lib.data.text"),
        ("__init__.py", "from . import runtime", "course_lib.runtime"),
    ],
)
def test_an_import_against_the_direction_is_named(tmp_path, file, line, imported):
    [found] = planted(tmp_path, **{f"course_lib/{file}": line})
    name = f"course_lib/{file}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert found.startswith(f"{name}, line ")
    assert f": {imported} comes later in the story" in found


@pytest.mark.parametrize("line", ["import course_lib", "from course_lib import GPT", "from .. import *"])
def test_an_import_of_the_whole_library_is_named(tmp_path, line):
    [found] = planted(tmp_path, **{"course_lib/data/text.py": line})
    assert "course_lib.data.text, line 1: import the module itself" in found


def test_a_part_that_the_story_does_not_know_is_named(tmp_path):
    [found] = planted(tmp_path, **{"course_lib/utils/misc.py": "import os"})
    assert "course_lib.utils.misc: 'utils' has no place in the story (arguments < runtime < data <" in found


@pytest.mark.parametrize("line", ["from course_lib.data.text import _load", "from ..data.text import a, _load as load"])
def test_an_import_of_a_private_name_is_named(tmp_path, line):
    planted(tmp_path, **{"course_lib/models/gpt.py": f"from torch import _C\n{line}"})
    assert private_names(tmp_path) == [
        "course_lib.models.gpt, line 2: course_lib.data.text._load is private: give it a public name"
    ]


def test_a_benchmark_that_uses_the_workshop_is_named(tmp_path):
    [found] = planted(tmp_path, **{"benchmarks/bench.py": "from course_lib.workshop import plots"})
    assert found == "benchmarks/bench.py, line 1: only notebooks and tests use the workshop"


# --- every module on its own -----------------------------------------------------------------------------------------

# One process, for PyTorch takes seconds to import: what others wrote stays loaded, and of the library all is forgotten
# before each module. So a module that only works after another one (a circle, a name set elsewhere) fails here.
IMPORT_EACH = """
import importlib, sys, warnings
root, *names = sys.argv[1:]
sys.path.insert(0, root)
for name in names:
    for loaded in [module for module in sys.modules if module.split(".")[0] == "course_lib"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except BaseException as error:
        print(f"{name}: {type(error).__name__}: {error}")
    else:
        assert sys.modules[name].__file__.startswith(root), sys.modules[name].__file__
"""


def failed_imports(root: Path) -> list[str]:
    command = [sys.executable, "-W", "error", "-c", IMPORT_EACH, str(root), *modules(root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_module_can_be_imported_on_its_own_without_a_warning():
    assert failed_imports(ROOT) == []


def test_a_module_that_cannot_be_imported_on_its_own_is_named(tmp_path):
    planted(
        tmp_path,
        **{
            "course_lib/data/text.py": "from course_lib.data.other import x\ny = 1",
            "course_lib/data/other.py": "from course_lib.data.text import y\nx = 1",
            "course_lib/data/worlds/__init__.py": "",
            "course_lib/data/worlds/maps.py": "import course_lib.data.worlds.names\ncourse_lib.data.worlds.ready = 1",
            "course_lib/data/worlds/names.py": "",
            "course_lib/data/worlds/use.py": "import course_lib.data.worlds as w\nw.ready",
            "course_lib/models/gpt.py": "import warnings\nwarnings.warn('old', DeprecationWarning)",
            "course_lib/models/end.py": "raise SystemExit",
            "course_lib/workshop/plots.py": "",
        },
    )
    assert [line.partition(":")[0] for line in failed_imports(tmp_path)] == [
        "course_lib.data.other",
        "course_lib.data.text",
        "course_lib.data.worlds.use",
        "course_lib.models.end",
        "course_lib.models.gpt",
    ]


# --- Storyworld needs Python and nothing else ------------------------------------------------------------------------


def foreign(root: Path) -> list[str]:
    """Imports of Storyworld, at any depth, that neither Python nor Storyworld itself answers."""
    found = []
    for name, path in modules(root).items():
        if name.startswith("course_lib.data.storyworld"):
            for line, imported in imports(path, name):
                known = imported.split(".")[0] in sys.stdlib_module_names
                if not known and not imported.startswith("course_lib.data.storyworld."):
                    found.append(f"{name}, line {line}: {imported}")
    return found


def test_storyworld_imports_the_standard_library_only():
    assert any(name.startswith("course_lib.data.storyworld.") for name in modules(ROOT))
    assert foreign(ROOT) == []


def test_a_foreign_import_in_storyworld_is_named(tmp_path):
    planted(
        tmp_path,
        **{
            "course_lib/data/storyworld/__init__.py": "from .map import Map\nimport os.path",
            "course_lib/data/storyworld/map.py": "def f():\n    import numpy as np\nfrom ..text import load",
        },
    )
    assert foreign(tmp_path) == [
        "course_lib.data.storyworld.map, line 3: course_lib.data.text.load",
        "course_lib.data.storyworld.map, line 2: numpy",
    ]


TELL_A_STORY = """
import sys
sys.path.insert(0, sys.argv[1])
from course_lib.data.storyworld import Storyworld
for level in ("easy", "full"):
    story = next(Storyworld(level).stories(split="train", seed=0))
    assert story.en and story.zh
loaded = {name.split(".")[0] for name in sys.modules}
print(*sorted(loaded - set(sys.stdlib_module_names) - {"course_lib", "__main__", "__mp_main__"}))
"""


def test_storyworld_tells_stories_on_a_python_that_has_nothing_installed():
    # -I -S: no site-packages, no settings of this environment; -W error: no warning either.
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", TELL_A_STORY, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
