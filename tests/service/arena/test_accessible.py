"""No page has a fault that axe-core calls serious or critical, in light and in dark."""

from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.service.arena.conftest import There
from tests.service.arena.test_leaderboard import XY, fill

pytestmark = pytest.mark.browser


def faults(page: Page) -> list[tuple[str, str]]:
    """What is wrong with a page as it stands, and where."""
    found: dict[str, Any] = Axe().run(page).response
    assert found["passes"]
    return [
        (one["id"], node["html"][:200])
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault(
    browser: Browser, there: There, store_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    fill(store_path, [*[XY] * 3, ("y", "x", "a")], topics="set")
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    page = context.new_page()
    address = there()
    page.goto(address)
    assert faults(page) == []
    page.goto(f"{address}/?q=how")
    expect(page.get_by_role("status")).to_contain_text("Done in")
    assert faults(page) == []
    page.goto(f"{address}/battle")
    assert faults(page) == []
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Your question").fill("How?")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#vote")).to_be_visible()
    page.locator("summary").click()
    page.keyboard.press("1")
    assert faults(page) == []
    page.locator(".chip").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Vote").click()
    expect(page.locator("#told")).to_be_visible()
    assert faults(page) == []
    page.goto(f"{address}/battle/none")
    expect(page.get_by_role("alert")).to_be_visible()
    assert faults(page) == []
    page.goto(f"{address}/compare?q=how&a=system-left&b=system-right")
    expect(page.get_by_role("status")).to_contain_text("Done")
    assert faults(page) == []
    for query in ("", "board=evidence", "style=true", "since=never"):
        page.goto(f"{address}/leaderboard?{query}")
        assert faults(page) == []
    context.close()
