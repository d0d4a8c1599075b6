"""The command that plants bugs: its bugs are fresh, it reports a survivor, and it never touches the working tree."""

import re

import pytest

from tests.planted import planting
from tests.planted.planting import ROOT, Bug

BUGS = [bug for bugs in planting.gathered().values() for bug in bugs]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_bug_can_still_be_planted(bug):
    assert planting.stale(bug, ROOT) == ""


def test_there_are_at_least_15_bugs_in_the_library_and_no_two_are_called_alike():
    assert len([bug for bug in BUGS if bug.file.startswith("course_lib/")]) >= 15
    assert len({bug.name for bug in BUGS}) == len(BUGS)


@pytest.fixture
def repository(tmp_path):
    files = {
        "course_lib/__init__.py": "def larger(a, b):\n    return max(a, b)\n",
        "tests/test_larger.py": "from course_lib import larger\n\ndef test_it():\n    assert larger(1, 2) == 2\n",
        "tests/notebooks/sanitize.cfg": "",
        ".venv/lib.py": "not copied",
    }
    for name, text in files.items():
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text(text)
    return tmp_path / "repo"


def bug(old="max(a, b)", new="min(a, b)", file="course_lib/__init__.py", tests=("tests/test_larger.py",), name="swap"):
    return Bug(name, file, old, new, tests)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_caught_and_surviving_and_breaking_bugs_are_told_apart_and_the_tree_stays_as_it_is(repository, capsys):
    before = contents(repository)
    bugs = [bug(), bug(new="max(b, a)", name="harmless"), bug(old="def larger", new="def greater", name="breaks")]
    assert planting.main([], {"some.py": bugs}, repository) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["caught", "swap"], ["NOT", "harmless"], ["NOT", "breaks"]]
    assert lines[1].endswith("tests/test_larger.py::test_it")
    assert lines[2].endswith("SURVIVED: all tests pass")
    assert "BROKEN (exit code 2): tests/test_larger.py" in lines[3]
    assert lines[4] == "1 of 3 bugs were caught"
    assert contents(repository) == before


def test_tests_that_are_red_without_a_bug_stop_everything(repository, capsys):
    (repository / "tests" / "test_larger.py").write_text("def test_it():\n    assert False\n")
    assert planting.main([], {"some.py": [bug()]}, repository) == 1
    assert "tests/test_larger.py fails without any bug (exit code 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("planted", "reason"),
    [
        (bug(old="sum(a, b)"), "the text to replace stands 0 times in course_lib/__init__.py, not once"),
        (bug(old="a"), "the text to replace stands 4 times in course_lib/__init__.py, not once"),
        (bug(file="course_lib/gone.py"), "course_lib/gone.py does not exist"),
        (bug(new="max(a, b)"), "it changes nothing"),
        (bug(tests=("tests/test_gone.py",)), r"its tests do not exist: \['tests/test_gone.py'\]"),
        (bug(tests=()), "its tests do not exist"),
    ],
)
def test_a_stale_bug_stops_everything(repository, capsys, planted, reason):
    assert re.search(reason, planting.stale(planted, repository))
    assert planting.main([], {"some.py": [bug(), planted]}, repository) == 1
    assert "stale bugs, nothing was run:" in capsys.readouterr().out


def test_the_copy_is_imported_even_where_another_course_lib_goes_first(repository, monkeypatch):
    other = repository.parent / "installed"
    (other / "course_lib").mkdir(parents=True)
    (other / "course_lib" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(other))
    assert planting.uses_the_copy(repository)
    (repository / "course_lib" / "__init__.py").unlink()
    (repository / "course_lib").rmdir()
    assert not planting.uses_the_copy(repository)  # then Python takes the other one, and the script must say so


def test_where_every_bug_is_caught_the_exit_code_is_0(repository, monkeypatch, capsys):
    monkeypatch.setattr(planting, "run_tests", lambda copy, tests: (0, ""))
    assert planting.main([], {"some.py": [bug()]}, repository) == 1
    caught = lambda planted, copy: planting.Outcome(planted, True, "some test", 0.1)  # noqa: E731
    monkeypatch.setattr(planting, "plant", caught)
    assert planting.main(["-k", "SWAP"], {"some.py": [bug(), bug(name="another")]}, repository) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1 bugs were caught"


def test_a_word_that_no_bug_has_and_the_list(repository, capsys):
    assert planting.main(["-k", "nothing", "-k", "no one"], {"some.py": [bug()]}, repository) == 1
    assert planting.main(["--list"], {"some.py": [bug()]}, repository) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "no bug has 'nothing' or 'no one' in its name or file; see --list"
    assert out[1].split() == ["course_lib/__init__.py", "swap"]


def test_a_bug_with_any_of_the_words_is_chosen_and_its_list_is_a_word(repository, capsys):
    bugs = {"some.py": [bug(name="first"), bug(name="second")], "more.py": [bug(name="third"), bug(name="fourth")]}
    assert planting.main(["--list", "-k", "FIRST", "-k", "more.py"], bugs, repository) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["first", "third", "fourth"]


def test_a_new_file_of_bugs_needs_no_other_entry(tmp_path, monkeypatch):
    (tmp_path / "a_folder_of_bugs").mkdir()
    for name in ("one", "two", "planting", "__main__"):
        (tmp_path / "a_folder_of_bugs" / f"{name}.py").write_text(f"BUGS = [{name!r}]\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert planting.gathered("a_folder_of_bugs") == {"one.py": ["one"], "two.py": ["two"]}
