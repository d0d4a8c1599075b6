"""show_source: the code that a notebook shows is the library's own, and its stored output can be compared."""

import functools
import inspect
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from course_lib import runtime
from course_lib.runtime import Scale
from course_lib.workshop import source
from course_lib.workshop.source import show_source

REPOSITORY = Path(__file__).resolve().parents[2]


class Shelf:
    """A class with every kind of member."""

    @property
    def books(self):
        return "a property"

    @functools.cached_property
    def labels(self):
        return "a cached property"

    @staticmethod
    @functools.cache
    def dust():
        return "a cached function"

    def read(self):
        if self:
            return "a method"
        return None


def test_outside_a_notebook_the_source_is_printed_under_the_name_of_its_module(capsys):
    show_source(Scale)
    assert capsys.readouterr().out == f"# from course_lib.runtime\n{inspect.getsource(Scale)}"


def test_a_module_is_shown_as_its_file(capsys):
    show_source(runtime)
    assert capsys.readouterr().out == "# from course_lib.runtime\n" + Path(str(runtime.__file__)).read_text("utf-8")


@pytest.mark.parametrize(
    ("member", "last_line"),
    [
        (Shelf.read, "    return None"),
        (Shelf().read, "    return None"),
        (Shelf.books, '    return "a property"'),
        (inspect.getattr_static(Shelf, "labels"), '    return "a cached property"'),
        (Shelf.dust, '    return "a cached function"'),
    ],
)
def test_a_member_of_a_class_is_shown_from_its_first_column_on(capsys, member, last_line):
    show_source(member)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"# from {__name__}"
    assert lines[1].startswith(("def ", "@"))
    assert lines[-1] == last_line


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (len, "obj must be a function, class, method, property or module: len has no source in Python"),
        (sys, "obj must be a function, class, method, property or module: module has no source in Python"),
        (int, "int has no source in Python that could be found"),
        (Scale("gpu"), "this is a finished Scale; for the code behind it, show its class"),
        (3, "this is a finished int; for the code behind it, show its class"),
        (functools.partial(print), "this is a finished partial; for the code behind it, show its class"),
    ],
)
def test_what_has_no_source_is_refused_and_the_way_out_is_named(obj, message):
    with pytest.raises(TypeError, match=message):
        show_source(obj)


def shown_in_jupyter(monkeypatch, obj):
    shown = []
    monkeypatch.setattr(source, "get_ipython", lambda: type("Shell", (), {"kernel": None})())
    monkeypatch.setattr(source, "display", lambda data, raw: shown.append((data, raw)))
    show_source(obj)
    [(data, raw)] = shown
    assert raw
    return data


def fenced():
    return "```python\n````\n```"


def test_in_jupyter_the_source_is_a_python_block_with_the_same_text_in_plain(monkeypatch):
    data = shown_in_jupyter(monkeypatch, Shelf.read)
    assert data["text/plain"].startswith(f"# from {__name__}\ndef read(self):\n    if self:")
    assert data["text/markdown"] == f"```python\n{data['text/plain']}\n```"


def test_backticks_in_the_source_do_not_close_the_block(monkeypatch):
    data = shown_in_jupyter(monkeypatch, fenced)
    assert data["text/markdown"] == f"`````python\n{data['text/plain']}\n`````"


def test_in_a_real_kernel_the_output_is_the_same_each_time_and_names_no_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    cell = nbformat.v4.new_code_cell(
        "from course_lib.workshop.source import show_source\nfrom course_lib.runtime import Scale\nshow_source(Scale)"
    )
    outputs = []
    for _ in range(2):
        notebook = nbformat.v4.new_notebook(cells=[cell])
        nbclient.NotebookClient(notebook, kernel_name="python3").execute()
        outputs.append(notebook.cells[0].outputs)
    [output] = outputs[0]
    assert outputs[0] == outputs[1]
    assert sorted(output.data) == ["text/markdown", "text/plain"]
    assert output.data["text/plain"] == f"# from course_lib.runtime\n{inspect.getsource(Scale).rstrip()}"
    assert str(REPOSITORY) not in str(output)
