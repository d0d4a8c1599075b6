"""The real ``python course.py lab`` in a real browser: the first chapter opens, runs, and its slider moves something.

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
CHAPTER = ROOT / "notebooks" / "00_start_here.ipynb"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
START_SECONDS = 90  # JupyterLab answers in 2 s on a quiet machine; this one may be running the whole suite
RUN_SECONDS = 240  # twice the 120 s of processor time that a notebook may use

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt install chromium)"),
    pytest.mark.skipif(not CHAPTER.exists(), reason=f"{CHAPTER.name} does not exist"),
]

# Console messages that are no fault of the course; each with its reason.
ALLOWED_NOISE: list[str] = []

# What a cell shows, without the slider itself: text, pictures (as their data), and nothing that only blinks.
SHOWN = """cell => {
    const copy = cell.querySelector('.jp-Cell-outputWrapper').cloneNode(true);
    copy.querySelectorAll('.widget-slider').forEach(slider => slider.remove());
    const pictures = [...copy.querySelectorAll('img')].map(img => img.src);
    return JSON.stringify([copy.innerText, pictures]);
}"""


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


def open_chapter(browser: Any, address: str, colours: str) -> tuple[Any, list[str]]:
    """A page showing the chapter, its kernel ready, and the list that collects every error the browser reports."""
    page = browser.new_page(viewport={"width": 1360, "height": 900}, color_scheme=colours)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    page.goto(address)
    page.locator(".jp-Notebook .jp-MarkdownOutput h1").first.wait_for(timeout=START_SECONDS * 1000)
    page.get_by_text("| Idle", exact=False).first.wait_for(timeout=START_SECONDS * 1000)  # the kernel, at the bottom
    return page, errors


def faults(errors: list[str]) -> list[str]:
    return [text for text in errors if not any(re.search(noise, text) for noise in ALLOWED_NOISE)]


def test_the_first_chapter_opens_runs_and_its_slider_changes_what_is_shown(
    address: str, browser: Any, screenshots: Path
) -> None:
    before = CHAPTER.read_bytes()
    page, errors = open_chapter(browser, address, "light")
    page.screenshot(path=screenshots / "light_1_opened.png")
    title = re.sub(r"^#+\s*", "", json.loads(before)["cells"][0]["source"][0]).strip()
    assert page.locator(".jp-TableOfContents-tree").is_visible(), "the table of contents is not at hand"
    assert title in page.locator(".jp-TableOfContents-tree").inner_text()
    assert page.locator(".Toastify__toast, .jp-Dialog").count() == 0, "something pops up over the first page"
    assert page.locator(".widget-slider").count() == 0, "a widget is shown before the cells ran"

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    # Every queued cell shows [*]; when the last has its number the notebook is done. Empty cells keep [ ].
    page.locator(".widget-slider .noUi-handle").first.wait_for(timeout=RUN_SECONDS * 1000)
    page.wait_for_function(
        "() => ![...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].some(p => p.innerText.includes('*'))",
        timeout=RUN_SECONDS * 1000,
    )
    page.get_by_text("| Idle", exact=False).first.wait_for(timeout=RUN_SECONDS * 1000)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0, "a cell failed"

    cells = page.locator(".jp-CodeCell", has=page.locator(".widget-slider"))
    for number in range(cells.count()):
        cell = cells.nth(number)
        handle = cell.locator(".widget-slider .noUi-handle").first
        handle.scroll_into_view_if_needed()
        value, largest = (handle.get_attribute(name) for name in ("aria-valuenow", "aria-valuemax"))
        shown = cell.evaluate(SHOWN)
        page.screenshot(path=screenshots / f"light_2_slider_{number}_before.png")
        handle.press("ArrowLeft" if value == largest else "ArrowRight")
        assert handle.get_attribute("aria-valuenow") != value, "the slider did not move"
        for _ in range(300):  # 30 s: the kernel may have to compute a figure
            page.wait_for_timeout(100)
            if cell.evaluate(SHOWN) != shown:
                break
        page.wait_for_timeout(1000)  # a figure is taken away before the next one stands
        page.screenshot(path=screenshots / f"light_3_slider_{number}_after.png")
        assert cell.evaluate(SHOWN) != shown, f"slider {number} moved and nothing else changed"
        assert "Traceback" not in cell.evaluate(SHOWN), f"slider {number} moved and the code behind it failed"
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0, "the slider broke a cell"
    assert faults(errors) == []
    assert CHAPTER.read_bytes() == before, "looking at the chapter changed its file"


def test_the_first_chapter_is_dark_where_the_system_is_dark(address: str, browser: Any, screenshots: Path) -> None:
    page, errors = open_chapter(browser, address, "dark")
    page.locator("body[data-jp-theme-light=false]").wait_for(state="attached", timeout=START_SECONDS * 1000)
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "dark_1_opened.png")
    page.locator(".jp-CodeCell").last.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "dark_2_end.png")
    assert page.locator(".jp-TableOfContents-tree").is_visible()
    assert faults(errors) == []
