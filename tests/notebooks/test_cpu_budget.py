"""The limit on a notebook's CPU seconds: it is in force here, it measures, and it stops a notebook that uses more."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.notebooks.cpu_budget import cpu_seconds

ROOT = Path(__file__).resolve().parents[2]
BURN = "import time\nwhile time.process_time() < {}:\n    pass"


def test_the_limit_is_in_force_in_every_run_of_this_repository(request):
    plugin = request.config.pluginmanager.get_plugin("tests.notebooks.cpu_budget")
    assert plugin is not None
    assert plugin.BUDGET == 120


def run_nbval(folder, cells, budget, *options):
    """nbval on one notebook with this budget: the finished process and its output."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for count, source in enumerate(cells, 1):
        notebook.cells.append(nbformat.v4.new_code_cell(source, execution_count=count))
    nbformat.write(notebook, folder / "planted.ipynb")
    (folder / "conftest.py").write_text(
        "import tests.notebooks.cpu_budget as plugin\n"
        f'plugin.BUDGET = {budget}\npytest_plugins = ["tests.notebooks.cpu_budget"]\n'
    )
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", *options]
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return subprocess.run([*command, "planted.ipynb"], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_a_notebook_that_uses_more_fails_at_the_cell_that_goes_too_far(tmp_path):
    done = run_nbval(tmp_path, ["x = 1", BURN.format(3), "y = 1"], 2.5, "-n", "1", "--dist", "loadfile")
    assert done.returncode == 1, done.stdout
    assert re.findall(r"^FAILED \S+::(Cell \d)", done.stdout, flags=re.MULTILINE) == ["Cell 1", "Cell 2"]
    assert re.search(r"up to this cell the notebook has used [3-5]\.\d s of CPU, and 2.5 s is what a", done.stdout)
    assert re.search(r"CPU seconds of each notebook \(at most 2.5\).*\n +[3-5]\.\d  planted.ipynb", done.stdout)


def test_what_the_kernel_starts_counts_also_when_it_has_ended(tmp_path):
    start = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN.format(3)!r}])"
    done = run_nbval(tmp_path, [start + "\nNone"], 2.5)
    assert done.returncode == 1, done.stdout
    assert re.search(r"::Cell 0", done.stdout)


def test_a_notebook_within_the_limit_passes_waiting_costs_nothing_and_no_late_bar_is_shown(tmp_path):
    started = time.monotonic()
    cells = ["import time\ntime.sleep(4)", "import os\nassert os.environ['TQDM_DISABLE'] == '1'"]
    done = run_nbval(tmp_path, cells, 3.5)
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - started > 4
    assert re.search(r"CPU seconds of each notebook \(at most 3.5\).*\n +[0-3]\.\d  planted.ipynb", done.stdout)


def test_the_measure_agrees_with_what_a_process_and_its_living_child_count_themselves():
    child = f"{BURN.format(1)}\nprint(time.process_time(), flush=True)\ninput()"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        own = float(process.stdout.readline())  # printed by the child, which then waits
        # The system counts in hundredths of a second, and starting the parent (some tenths) is not in `own`.
        assert own - 0.05 < cpu_seconds(process.pid) < own + 0.5
        process.communicate("\n")
    with pytest.raises(psutil.NoSuchProcess):
        cpu_seconds(process.pid)
