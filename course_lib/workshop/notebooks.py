"""Re-executes notebooks and stores their outputs, so that a notebook in which nothing changed keeps its very bytes.

``python course.py notebooks`` calls this inside the environment: ``python -m course_lib.workshop.notebooks PATH ...``.
What a run leaves behind that is no part of the lesson (times, widget state, versions) never reaches the file.
"""

import base64
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image

from course_lib.data.files import write_whole

CELL_SECONDS = 600  # wall clock; far above the budget of a notebook, so that only a hanging cell meets it
CPU_BUDGET = 120  # seconds of processor time that one whole notebook may use on a laptop

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {  # as JupyterLab writes it, without the release of Python
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
KEPT_IN_CELL = ("tags", "jupyter", "nbgrader")  # what it is for, folded, graded; the rest is an editor's
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
SAME_SHADE = 2  # of 255: two drawings of one figure may round a shade differently; a moved line changes it by far more


class NotebookFailedError(Exception):
    """A cell raised, hung, or took the kernel down. The text names the cell."""


@dataclass(frozen=True)
class Execution:
    """One executed notebook and what it cost. Processor time is that of the kernel and of processes it waited for."""

    notebook: NotebookNode
    cpu_seconds: float
    wall_seconds: float


class PlainFrontEnd(NotebookClient):
    """A front end that shows no widgets, as nbval is one: both then see the same outputs, so they can be compared.

    What a widget captures (``interact`` that prints) stays with the cell, and nothing is cleared away. nbclient would
    play the widget's part and answer the kernel; with jupyter_client 8 such an answer, sent while the cell's own reply
    is on its way, can leave that reply unnoticed for ever.
    """

    def handle_comm_msg(self, outs: Any, msg: Any, cell_index: int) -> None:
        """Leaves every message between widgets and their views unanswered."""

    def clear_output(self, outs: Any, msg: Any, cell_index: int) -> None:
        """Keeps what a widget wants to clear from its own place, which here is the cell's."""


def execute(path: Path) -> Execution:
    """Runs every cell of a notebook in a fresh kernel whose working directory is the notebook's folder.

    Raises NotebookFailedError at the first cell that fails (unless that cell is tagged ``raises-exception``).
    """
    notebook = nbformat.read(path, as_version=4)
    client = PlainFrontEnd(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # the rest concerns whoever runs a server
        record_timing=False,
        coalesce_streams=True,
        skip_cells_with_tag="",  # a cell that is not run keeps outputs that nothing vouches for
    )
    started = time.monotonic()
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None  # an empty cell is not run, so nothing may stay in it
                try:
                    client.execute_cell(cell, index)
                except CellExecutionError as error:
                    why = f"raised {error.ename}: {error.evalue}"
                    raise NotebookFailedError(f"{_place(notebook, index)} {why}") from error
                except (CellControlSignal, DeadKernelError) as error:
                    why = (
                        f"did not end within {CELL_SECONDS} s"
                        if isinstance(error, TimeoutError)
                        else "ended the kernel"
                    )
                    raise NotebookFailedError(f"{_place(notebook, index)} {why}") from error
        cpu_seconds = _cpu_seconds(client)
    return Execution(normalised(notebook), cpu_seconds, time.monotonic() - started)


def _place(notebook: NotebookNode, index: int) -> str:
    """How a person finds a cell again: its place among all cells, and its first line."""
    first_line = notebook.cells[index].source.strip().splitlines()[0]
    return f"cell {index + 1} of {len(notebook.cells)} ({first_line})"


def _cpu_seconds(client: PlainFrontEnd) -> float:
    """Asks the kernel for its own processor time, silently: no name, no number and no output changes."""
    assert client.kc is not None
    question = {"seconds": "sum(__import__('os').times()[:4])"}  # user and system, own and children's
    asked: Any = client.kc.execute("", silent=True, store_history=False, user_expressions=question)
    reply: Any = client.wait_for_reply(asked)
    return float(reply["content"]["user_expressions"]["seconds"]["data"]["text/plain"])


def normalised(notebook: NotebookNode) -> NotebookNode:
    """The same notebook, changed in place: what differs between two runs, and means nothing to a reader, is gone."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in notebook.cells:
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in KEPT_IN_CELL if key in cell.metadata})
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)  # its model ends with the kernel; the text beside it stays
            if "metadata" in output:  # about one kind of data (a picture's size) is the author's, the rest a library's
                output.metadata = NotebookNode({key: value for key, value in output.metadata.items() if "/" in key})
    return notebook


def keep_equal_pictures(new: NotebookNode, old: NotebookNode) -> None:
    """Where a picture looks the same as the stored one, keeps the stored bytes: one picture has many PNG files."""
    for new_cell, old_cell in zip(new.cells, old.cells, strict=False):
        for now, before in zip(new_cell.get("outputs", ()), old_cell.get("outputs", ()), strict=False):
            pictures = now.get("data", {}).get("image/png"), before.get("data", {}).get("image/png")
            if all(pictures) and look_the_same(*pictures):
                now.data["image/png"] = before.data["image/png"]


def look_the_same(first: str, second: str) -> bool:
    """Whether two PNG images (base64) have one size and no pixel apart by more than SAME_SHADE of 255."""
    one, two = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")).astype(int)
        for text in (first, second)
    )
    return one.shape == two.shape and int(abs(one - two).max(initial=0)) <= SAME_SHADE


def store(path: Path, notebook: NotebookNode) -> bool:
    """Writes the notebook if its file would change, all at once or not at all. Returns whether it changed."""
    old = path.read_bytes()
    keep_equal_pictures(notebook, nbformat.reads(old.decode("utf-8"), as_version=4))
    new = (nbformat.writes(notebook).rstrip("\n") + "\n").encode("utf-8")
    if new == old:
        return False
    with write_whole(path) as aside:
        aside.write_bytes(new)
    return True


def main(paths: Sequence[str]) -> int:
    """Executes and stores each notebook, one line for each. Returns 1 if any failed; those keep their files."""
    failed = 0
    for name in paths:
        path = Path(name).resolve()
        try:
            done = execute(path)
            changed = store(path, done.notebook)
        except (NotebookFailedError, OSError, nbformat.reader.NotJSONError) as error:
            failed += 1
            print(f"FAILED    {path.name}: {error}\n          The file is as it was.", flush=True)
            continue
        cost = f"{done.cpu_seconds:6.1f} s of CPU, {done.wall_seconds:6.1f} s in all"
        over = f"  (over the budget of {CPU_BUDGET} s of CPU)" if done.cpu_seconds > CPU_BUDGET else ""
        print(f"{'stored' if changed else 'unchanged':<9} {cost}  {path.name}{over}", flush=True)
    print(f"{len(paths) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
