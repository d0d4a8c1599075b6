"""What every test folder shares: the marks that need something a plain run does not have are off by default."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``-m download`` turns the tests on that need the network."""
    if "download" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("download"):
                item.add_marker(pytest.mark.skip(reason="needs the network; turn on with -m download"))
