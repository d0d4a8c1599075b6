"""A plugin of pytest: while nbval runs a notebook, its kernel may use 120 seconds of CPU, and no more.

The kernel is measured from outside, after each cell, in the same run that compares the outputs. So nothing runs twice,
no clock stands in a notebook, and a busy machine changes nothing: CPU seconds are not seconds on the wall. Everything
that the kernel starts counts too, and so does starting it (with PyTorch, about three seconds).
"""

import os
from collections.abc import Generator
from typing import Any

import psutil
import pytest

BUDGET = 120.0  # seconds, for one whole notebook at the laptop scale
PROPERTY = "cpu_seconds_of_notebook"  # on the report of each cell: what the notebook has used up to there


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "nbval", False):  # the option is unknown where nbval is not loaded
        # Bars of tqdm that wait for a while before they show themselves would make the outputs depend on the machine.
        os.environ["TQDM_DISABLE"] = "1"


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and of all it has started, those that have ended included."""
    kernel = psutil.Process(pid)
    total = 0.0
    for process in (kernel, *kernel.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:  # ended just now; its parent counts it from here on
            continue
        total += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    if getattr(item.config.option, "nbval", False) and item.path.suffix == ".ipynb":
        cell: Any = item
        used = cpu_seconds(cell.parent.kernel.km.provisioner.pid)
        cell.user_properties.append((PROPERTY, used))
        if used > BUDGET:
            cell.raise_cell_error(
                f"up to this cell the notebook has used {used:.1f} s of CPU, and {BUDGET:g} s is what a whole one may "
                "use: make the run smaller, or load a result that a documented command makes"
            )
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    used: dict[str, float] = {}
    for report in (r for reports in terminalreporter.stats.values() for r in reports):
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY:
                notebook = report.nodeid.partition("::")[0]
                used[notebook] = max(used.get(notebook, 0.0), value)
    if used:
        terminalreporter.section(f"CPU seconds of each notebook (at most {BUDGET:g})")
        for notebook, value in sorted(used.items()):
            terminalreporter.line(f"{value:7.1f}  {notebook}")
