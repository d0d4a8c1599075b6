"""What every test folder shares: shapes are checked while tests run, and tests that need the network are off."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Every module that annotates shapes, and no other: checking a list draws from Python's random numbers, for one item of
# it is looked at. Only the tests pay for it; a learner's notebook does not.
ROOT = Path(__file__).resolve().parents[1]
ANNOTATED = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "course_lib").rglob("*.py"))
    if "from jaxtyping import" in path.read_text("utf-8")
]
install_import_hook(ANNOTATED, "beartype.beartype")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``-m download`` turns the tests on that need the network."""
    if "download" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("download"):
                item.add_marker(pytest.mark.skip(reason="needs the network; turn on with -m download"))
