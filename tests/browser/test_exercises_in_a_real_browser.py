"""An exercise in a real browser: not started, answered wrong, then right, as a learner does it."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "exercises/00_start_here.ipynb"
EXERCISE = "perplexity_of"
# The chapter measures in nats, so 2 is the wrong base.
WRONG = "def perplexity_of(losses):\n    every = sum(losses, [])\n    return 2 ** (sum(every) / len(every))"
RIGHT = "def perplexity_of(losses):\n    every = sum(losses, [])\n    return math.exp(sum(every) / len(every))"


def cell_with(page: Any, text: str) -> Any:
    """The code cell whose source begins with ``text``."""
    index = next(
        i
        for i, cell in enumerate(json.loads((ROOT / NOTEBOOK).read_text("utf-8"))["cells"])
        if cell["cell_type"] == "code" and "".join(cell["source"]).startswith(text)
    )
    return page.locator(".jp-Notebook .jp-Cell").nth(index)


def run(page: Any, cell: Any) -> None:
    before = cell.locator(".jp-InputPrompt").inner_text()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "([cell, before]) => { const now = cell.querySelector('.jp-InputPrompt').innerText;"
        " return now !== before && !now.includes('*'); }",
        arg=[cell.element_handle(), before],
        timeout=60_000,
    )


def answer(page: Any, cell: Any, code: str) -> None:
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    run(page, cell)


def test_an_exercise_is_answered_wrong_and_then_right(lab: Any, screenshots: Path) -> None:
    before = (ROOT / NOTEBOOK).read_bytes()
    for colours in ("light", "dark"):
        page, errors = lab.open(NOTEBOOK, colours)
        page.get_by_role("menuitem", name="Edit", exact=True).click()
        page.get_by_role("menuitem", name="Clear Outputs of All Cells", exact=True).click()
        imports, task, check = (
            cell_with(page, text) for text in ("import math", f"def {EXERCISE}(", f'check("{EXERCISE}"')
        )
        run(page, imports)
        shown = check.locator(".jp-OutputArea-output")
        said = []
        for number, code in enumerate([None, WRONG, RIGHT]):
            if code is None:
                run(page, task)
            else:
                answer(page, task, code)
            run(page, check)
            said.append(shown.inner_text())
            check.scroll_into_view_if_needed()
            page.screenshot(path=screenshots / f"exercise_{colours}_{number}.png")
        assert said[0].startswith("○")
        assert "✗" in said[1]
        assert "hint(" in said[1]
        assert "✗" not in said[2]
        assert said[2].count("✓") >= 1
        assert not any("Traceback" in text for text in said)
        assert lab.faults(errors) == []
        page.close()
    assert (ROOT / NOTEBOOK).read_bytes() == before, "answering changed the file without being saved"
