"""Bugs in the guards of the stored notebooks."""

from tests.planted.planting import Bug

GUARDS = ("tests/notebooks/test_guards.py",)

BUGS = [
    Bug(
        "the guard lets a cell pass that was never run",
        "tests/notebooks/guards.py",
        "        if cell.execution_count != count:",
        "        if cell.execution_count not in (None, count):",
        GUARDS,
    ),
    Bug(
        "the guard counts ignored cells as compared",
        "tests/notebooks/guards.py",
        'return sum(nbval_options(cell)["check"] for cell in bearing), len(bearing)',
        'return sum("check" in nbval_options(cell) for cell in bearing), len(bearing)',
        GUARDS,
    ),
]
