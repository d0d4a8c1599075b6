"""What every test folder shares: shapes are checked while tests run, and tests that need the network are off."""

import pytest
from jaxtyping import install_import_hook

# The modules that annotate shapes. Only the tests pay for the checking; a learner's notebook does not.
install_import_hook(["course_lib.data.batches", "course_lib.layers"], "beartype.beartype")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``-m download`` turns the tests on that need the network."""
    if "download" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("download"):
                item.add_marker(pytest.mark.skip(reason="needs the network; turn on with -m download"))
