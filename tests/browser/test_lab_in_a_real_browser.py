"""The real ``course.py lab`` in a real browser: the first chapter opens, runs, and its slider moves something."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "notebooks" / "00_start_here.ipynb"
RUN_SECONDS = 240  # twice the 120 s of processor time that a notebook may use

# What a cell shows, without the slider itself: text, pictures (as their data), and nothing that only blinks.
SHOWN = """cell => {
    const copy = cell.querySelector('.jp-Cell-outputWrapper').cloneNode(true);
    copy.querySelectorAll('.widget-slider').forEach(slider => slider.remove());
    const pictures = [...copy.querySelectorAll('img')].map(img => img.src);
    return JSON.stringify([copy.innerText, pictures]);
}"""


def test_the_first_chapter_opens_runs_and_its_slider_changes_what_is_shown(lab: Any, screenshots: Path) -> None:
    before = CHAPTER.read_bytes()
    page, errors = lab.open("notebooks/00_start_here.ipynb")
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

    breaks = page.locator(".jp-RenderedText pre").first.evaluate("text => getComputedStyle(text).wordBreak")
    assert breaks == "normal", "printed text breaks inside of words"

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
    assert lab.faults(errors) == []
    assert CHAPTER.read_bytes() == before, "looking at the chapter changed its file"


def test_the_first_chapter_is_dark_where_the_system_is_dark(lab: Any, screenshots: Path) -> None:
    page, errors = lab.open("notebooks/00_start_here.ipynb", "dark")
    page.locator("body[data-jp-theme-light=false]").wait_for(state="attached", timeout=lab.START_SECONDS * 1000)
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "dark_1_opened.png")
    page.locator(".jp-CodeCell").last.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "dark_2_end.png")
    assert page.locator(".jp-TableOfContents-tree").is_visible()
    assert lab.faults(errors) == []
