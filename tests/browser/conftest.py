"""What browser tests share: ``python course.py lab`` on a free port, a headless Chromium, a folder for screenshots.

The learner's own settings, window layout and files are not touched: JupyterLab keeps its state in a temporary folder
(COURSE_STATE) and is told there not to save by itself. Screenshots go to COURSE_SCREENSHOTS, if that names a folder.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
START_SECONDS = 90  # JupyterLab answers in 2 s on a quiet machine; this one may be running the whole suite

# Console messages that are no fault of the course; each with its reason.
ALLOWED_NOISE: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [
        *(["playwright is not installed"] if importlib.util.find_spec("playwright") is None else []),
        *(["no Chromium here (Debian: apt install chromium)"] if CHROMIUM is None else []),
    ]
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            for reason in missing:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that ``course.py lab`` prints; the server ends with the tests, and its kernels with it."""
    state = tmp_path_factory.mktemp("state")
    no_autosave = state / "jupyter" / "settings" / "@jupyterlab" / "docmanager-extension"
    no_autosave.mkdir(parents=True)
    (no_autosave / "plugin.jupyterlab-settings").write_text(json.dumps({"autosave": False}), encoding="utf-8")
    command = [sys.executable, str(ROOT / "course.py"), "lab", "--no-browser", "--port", "8890"]
    if Path(sys.prefix) != ROOT / ".venv":
        command.append("--use-current-env")
    environment = os.environ | {"COURSE_STATE": str(state), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as server:
        limit = threading.Timer(START_SECONDS, server.kill)
        limit.start()
        printed = ""
        found = None
        assert server.stdout is not None
        for line in server.stdout:
            printed += line
            found = re.search(r"http://127\.0\.0\.1:\d+/\S+", line)
            if found:
                break
        limit.cancel()
        assert found, f"course.py lab printed no address within {START_SECONDS} s:\n{printed}"
        yield found[0]
        server.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        assert server.wait(30) == 0, "Ctrl+C did not end course.py lab cleanly"


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("COURSE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-sync", *quiet.split()]
        )
        yield started
        started.close()


class Lab:
    """JupyterLab as its user sees it, with every error that the browser reports."""

    START_SECONDS = START_SECONDS

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self._address = browser, address

    def open(self, notebook: str, colours: str = "light") -> tuple[Any, list[str]]:
        """A page showing a notebook, its kernel ready, and the list that collects every error."""
        page = self._browser.new_page(viewport={"width": 1360, "height": 900}, color_scheme=colours)
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
        page.goto(re.sub(r"/lab(/tree/[^?]*)?", f"/lab/tree/{notebook}", self._address, count=1))
        page.locator(".jp-Notebook .jp-MarkdownOutput h1").first.wait_for(timeout=START_SECONDS * 1000)
        page.get_by_text("| Idle", exact=False).first.wait_for(
            timeout=START_SECONDS * 1000
        )  # the kernel, at the bottom
        return page, errors

    @staticmethod
    def faults(errors: list[str]) -> list[str]:
        return [text for text in errors if not any(re.search(noise, text) for noise in ALLOWED_NOISE)]


@pytest.fixture
def lab(address: str, browser: Any) -> Lab:
    return Lab(browser, address)
