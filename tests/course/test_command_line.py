"""course.py as a person meets it: any Python can read it, it needs nothing installed, and it speaks plainly."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import course

SOURCE = Path(course.__file__).read_text(encoding="utf-8")


def old_pythons() -> list[str]:
    """One Python of each version older than 3.11 on this machine, the oldest first."""
    folders = [*map(str, Path.home().glob(".pyenv/versions/*/bin")), *os.environ["PATH"].split(os.pathsep)]
    found = {}
    for name in (f"python3.{minor}" for minor in range(6, 11)):
        for path in filter(None, (shutil.which(name, path=folder) for folder in folders)):
            if name not in found and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found[name] = path
    return list(found.values())


def test_a_python_as_old_as_3_6_can_read_the_file() -> None:
    ast.parse(SOURCE, feature_version=(3, 6))
    # What ast lets through although Python 3.6 does not.
    assert "from __future__ import annotations" not in SOURCE


def test_the_version_is_checked_before_anything_that_an_old_python_lacks() -> None:
    tree = ast.parse(SOURCE)
    statements = [node for node in tree.body if not isinstance(node, ast.Expr)]
    assert ast.unparse(statements[0]) == "import sys"
    assert ast.unparse(statements[1]).startswith("if sys.version_info < (3, 11):")


def test_an_old_python_prints_two_plain_sentences() -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip("no Python older than 3.11 on this machine")
    for python in {pythons[0], pythons[-1]}:
        done = subprocess.run([python, course.__file__, "lab"], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        first, second = done.stderr.strip().splitlines()
        assert first.startswith("This course needs Python 3.11 or newer. The one that was started is Python 3.")
        assert second.startswith(
            ("A newer one is on this machine. Type:  python3.", "Install a newer one from https://")
        )


def test_only_the_standard_library_is_imported() -> None:
    for node in ast.walk(ast.parse(SOURCE)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{name} is not in the standard library"


def test_it_runs_in_a_python_that_has_nothing_installed(house: ModuleType) -> None:
    """-I -S: no site-packages, no variables of the person."""
    command = [sys.executable, "-I", "-S", "course.py", "--help"]
    done = subprocess.run(command, cwd=house.ROOT, capture_output=True, text=True, timeout=30, check=True)
    for name in ("lab", "test", "notebooks", "doctor"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["fly"], "invalid choice: 'fly'"),
        (["lab", "--port", "0"], "'0' is not a port: a number from 1 to 65535"),
        (["lab", "--port", "65536"], "'65536' is not a port: a number from 1 to 65535"),
        (["lab", "--port", "eight"], "'eight' is not a port: a number from 1 to 65535"),
        (["lab", "--", "-k"], "only `test` takes arguments after --"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        course.main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_each_word_of_the_command_line_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def stand_in(name: str) -> Callable[..., int]:
        def command(*arguments: object) -> int:
            seen.append((name, *arguments))
            return 0

        return command

    for name in ("lab", "test", "notebooks", "doctor"):
        monkeypatch.setattr(course, name, stand_in(name))
    assert course.main(["lab"]) == 0
    course.main(["lab", "--port", "9000", "--no-browser", "--use-current-env"])
    course.main(["test"])
    course.main(["test", "--use-current-env", "--", "-k", "x"])
    course.main(["notebooks", "a.ipynb"])
    course.main(["doctor", "--port", "9"])
    assert seen == [
        ("lab", 8888, True, False),
        ("lab", 9000, False, True),
        ("test", [], False),
        ("test", ["-k", "x"], True),
        ("notebooks", ["a.ipynb"], False),
        ("doctor", 9, False),
    ]


def test_an_error_that_a_person_can_mend_is_a_sentence_and_ctrl_c_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise course.CourseError("No water in the pool.")

    def full_disk(*_: object) -> int:
        raise OSError(28, "No space left on device", ".venv")

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(course, "lab", fail)
    assert course.main(["lab"]) == 1
    assert capsys.readouterr().err == "\nNo water in the pool.\n"
    monkeypatch.setattr(course, "lab", full_disk)
    assert course.main(["lab"]) == 1
    assert capsys.readouterr().err == (
        "\n[Errno 28] No space left on device: '.venv'\n"
        "Type  python course.py doctor  to see what is wrong with this machine.\n"
    )
    monkeypatch.setattr(course, "lab", interrupt)
    assert course.main(["lab"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_a_console_without_chinese_does_not_stop_the_course(house: ModuleType) -> None:
    """The folder's name is printed; an old console knows only ASCII."""
    env = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code = "import sys; sys.path.insert(0, '.'); import course\n"
    code += "course.lab = lambda *_: course.say(str(course.ROOT)) or 0; sys.exit(course.main(['lab']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=house.ROOT, env=env, capture_output=True, check=False)
    assert done.returncode == 0
    assert rb"my course \u8bfe\u7a0b" in done.stdout
