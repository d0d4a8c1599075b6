"""``course.py notebooks``: the same notebook gives the same bytes, and a notebook that fails keeps its file."""

import base64
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image

from course_lib.workshop import notebooks

EVERYTHING = [
    "print('out')\nimport sys\nprint('err', file=sys.stderr)\nprint('again')",
    "",
    "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.plot([1, 3])\nplt.show()",
    "from ipywidgets import IntSlider, interact\ncontrols = interact(lambda n: print(n), n=IntSlider(3))",
    "import pathlib\nprint(pathlib.Path.cwd().name)",
    "1 / 3",
]


def write(path: Path, sources: list[str], **metadata: Any) -> Path:
    notebook = nbformat.v4.new_notebook(metadata=metadata)
    for number, source in enumerate(sources):
        notebook.cells.append(nbformat.v4.new_code_cell(source, id=f"cell-{number}"))
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """One notebook with everything that tends to differ between runs, stored by the command itself."""
    path = tmp_path_factory.mktemp("notebooks") / "the folder" / "everything.ipynb"
    write(path, EVERYTHING, widgets={"state": 1}, toc={}, language_info={"name": "python", "version": "3.0"})
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].update(execution_count=9, outputs=[nbformat.v4.new_output("stream", text="of a cell now empty")])
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "course_lib.workshop.notebooks", str(path)]
    root = Path(notebooks.__file__).parents[2]
    # Five seconds as a rule. Jupyter picks a kernel's ports before the kernel takes them, so with many kernels starting
    # at once, as in this suite, one may wait in vain for a port that another has taken: then once more.
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "warnings of the kernel reach the person"
    return path, path.read_bytes()


def test_running_again_leaves_every_byte(stored: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    path, before = stored
    modified = path.stat().st_mtime_ns
    assert notebooks.main([str(path)]) == 0
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == modified, "the file was written again"
    line, summary = capsys.readouterr().out.splitlines()
    assert line.startswith("unchanged")
    assert "s of CPU" in line
    assert summary == "1 passed, 0 failed"


def test_what_is_stored_is_clean_and_complete(stored: tuple[Path, bytes]) -> None:
    path, content = stored
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert content.decode("utf-8") == nbformat.writes(notebook) + "\n"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info
    printing, empty, figure, widget, folder, value = notebook.cells
    assert [(output.name, output.text) for output in printing.outputs] == [
        ("stdout", "out\nagain\n"),
        ("stderr", "err\n"),
    ]
    assert (empty.outputs, empty.execution_count) == ([], None)
    assert [cell.execution_count for cell in notebook.cells] == [1, None, 2, 3, 4, 5]
    assert set(figure.outputs[0].data) == {"image/png", "text/plain"}
    shown, printed = sorted(widget.outputs, key=lambda output: output.output_type)
    assert set(shown.data) == {"text/plain"}
    assert shown.data["text/plain"].startswith("interactive(children=(IntSlider(value=3")
    assert printed.text == "3\n", "what the widget's function prints is lost"
    assert folder.outputs[0].text == "the folder\n", "the notebook does not run in its own folder"
    assert value.outputs[0].data["text/plain"] == "0.3333333333333333"
    assert value.outputs[0].execution_count == 5


def test_nbval_finds_the_same_outputs(stored: tuple[Path, bytes]) -> None:
    """The comparison that CI makes, by the tool that makes it there."""
    path, _ = stored
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "-c", os.devnull, str(path)]
    env = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=path.parent, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{len(EVERYTHING)} passed" in done.stdout


def test_a_changed_cell_changes_the_file(stored: tuple[Path, bytes], tmp_path: Path) -> None:
    _, before = stored
    copy = tmp_path / "the folder" / "everything.ipynb"
    copy.parent.mkdir()
    copy.write_bytes(before.replace(b"'again'", b"'once more'"))
    assert notebooks.main([str(copy)]) == 0
    assert copy.read_bytes() == before.replace(b"'again'", b"'once more'").replace(b"again\\n", b"once more\\n")
    assert [file.name for file in copy.parent.iterdir()] == ["everything.ipynb"], "a temporary file was left"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("1 / 0", "cell 2 of 3 (1 / 0) raised ZeroDivisionError: division by zero"),
        ("import os\nos._exit(1)", "cell 2 of 3 (import os) ended the kernel"),
        ("while True:\n    pass", "cell 2 of 3 (while True:) did not end within 3 s"),
    ],
    ids=["raises", "dies", "hangs"],
)
def test_a_notebook_that_fails_keeps_its_file_and_names_the_cell(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    why: str,
) -> None:
    monkeypatch.setattr(notebooks, "CELL_SECONDS", 3)
    path = write(tmp_path / "n" / "failing.ipynb", ["print('new')", source, "print('never')"])
    before = path.read_bytes()
    assert notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before
    out = capsys.readouterr().out
    assert out.startswith(f"FAILED    failing.ipynb: {why}\n")
    assert "The file is as it was." in out
    assert out.splitlines()[-1] == "0 passed, 1 failed"


def test_one_failing_notebook_does_not_keep_the_others_from_being_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{", encoding="utf-8")
    expected = write(tmp_path / "n" / "expected.ipynb", ["1 / 0", "2"])
    text = expected.read_text(encoding="utf-8").replace(
        '"metadata": {}', '"metadata": {"tags": ["raises-exception"]}', 1
    )
    expected.write_text(text, encoding="utf-8")
    assert notebooks.main([str(broken), str(tmp_path / "absent.ipynb"), str(expected)]) == 1
    assert broken.read_text(encoding="utf-8") == "{"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAILED    broken.ipynb")
    assert lines[2].startswith("FAILED    absent.ipynb")
    assert lines[4].startswith("stored")
    assert lines[-1] == "1 passed, 2 failed"
    first, second = nbformat.read(expected, as_version=4).cells
    assert first.metadata.tags == ["raises-exception"]
    assert first.outputs[0].ename == "ZeroDivisionError"
    assert second.outputs[0].data["text/plain"] == "2"


def test_processor_time_is_counted_with_that_of_child_processes(tmp_path: Path) -> None:
    burn = "import time\nuntil = time.process_time() + 1\nwhile time.process_time() < until:\n    pass"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nNone"
    idle = notebooks.execute(write(tmp_path / "idle" / "n.ipynb", ["import time\ntime.sleep(1)"]))
    busy = notebooks.execute(write(tmp_path / "busy" / "n.ipynb", [burn, child]))
    # One second here and one in the child; half of one is far more than starting a kernel varies.
    assert busy.cpu_seconds - idle.cpu_seconds > 1.5
    assert idle.wall_seconds > 1


def test_a_picture_that_looks_the_same_keeps_its_bytes_and_any_visible_change_does_not(tmp_path: Path) -> None:
    def png(pixels: np.ndarray, level: int) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "png", compress_level=level)
        return base64.b64encode(buffer.getvalue()).decode()

    def notebook(picture: str) -> NotebookNode:
        output = nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"})
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("plot()", outputs=[output], id="one")])

    pixels = np.random.default_rng(0).integers(10, 240, (20, 31, 3))
    stored = png(pixels, 1)
    path = tmp_path / "n.ipynb"
    nbformat.write(notebook(stored), path)
    before = path.read_bytes()
    same = png(pixels, 9)
    assert same != stored, "the two files must differ for the test to mean something"
    assert not notebooks.store(path, notebook(same))
    rounded = pixels + np.random.default_rng(1).integers(-2, 3, pixels.shape)
    assert not notebooks.store(path, notebook(png(rounded, 1)))
    assert path.read_bytes() == before
    moved = pixels.copy()
    moved[3, 4, 1] += 3
    assert notebooks.store(path, notebook(png(moved, 1)))
    assert notebooks.store(path, notebook(png(pixels[1:], 1)))  # another size


def test_one_more_digit_in_a_figure_is_a_visible_change() -> None:
    def figure(label: str) -> str:
        drawing, axes = plt.subplots(figsize=(2, 1), dpi=60)
        axes.set_title(label)
        buffer = io.BytesIO()
        drawing.savefig(buffer, format="png")
        plt.close(drawing)
        return base64.b64encode(buffer.getvalue()).decode()

    assert notebooks.look_the_same(figure("loss 1.23"), figure("loss 1.23"))
    assert not notebooks.look_the_same(figure("loss 1.23"), figure("loss 1.28"))


def test_the_command_runs_every_stored_notebook_inside_the_environment(
    house: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "notebooks/01_b.ipynb",
        "notebooks/00_a.ipynb",
        "exercises/solutions/00_a.ipynb",
        "exercises/00_a.ipynb",
    ):
        (house.ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (house.ROOT / name).write_text("{}", encoding="utf-8")
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(house, "make_ready", lambda extras: Path(f"python with {extras}"))

    def fake_run(command: list[str], env: dict[str, str]) -> int:
        calls.append((command, env))
        return 0

    monkeypatch.setattr(house, "run", fake_run)
    monkeypatch.setenv("COURSE_SCALE", "gpu")
    assert house.notebooks([], use_current=False) == 0
    assert calls[0][0][1:] == ["-m", "course_lib.workshop.exercises.release"]
    command, env = calls[1]
    assert command[:3] == ["python with ('test',)", "-m", "course_lib.workshop.notebooks"]
    stored = [Path(path).relative_to(house.ROOT).as_posix() for path in command[3:]]
    assert stored == [
        "notebooks/00_a.ipynb",
        "notebooks/01_b.ipynb",
        "exercises/00_a.ipynb",
        "exercises/solutions/00_a.ipynb",
    ]
    assert env["COURSE_SCALE"] == "laptop", "stored outputs are those of the laptop's size"
    assert env["TQDM_DISABLE"] == "1"
    assert Path(env["COURSE_STATE"]) not in (house.STATE, house.ROOT), (
        "what is stored depends on the learner's progress"
    )
    house.notebooks(["one.ipynb"], use_current=False)
    assert calls[3][0][3:] == [str(Path("one.ipynb").resolve())]


def test_a_course_without_notebooks_is_an_error(house: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "make_ready", lambda extras: Path(sys.executable))
    with pytest.raises(house.CourseError, match="no notebooks"):
        house.notebooks([], use_current=False)
