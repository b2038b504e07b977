"""The page of a service that wants keys, in a real browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ragnarok.keys import make_key
from service.settings import Settings
from tests.service.conftest import Serve
from tests.service.fakes import a_pipeline
from tests.service.test_page import done

pytestmark = pytest.mark.browser


def test_a_key_is_asked_for_once_it_is_missed_and_kept_for_the_tab(
    page: Page, serve: Serve, tmp_path: Path
) -> None:
    key, line = make_key("team-a")
    (tmp_path / "keys").write_text(f"{line}\n")
    address = serve(a_pipeline(), Settings(api_keys=tmp_path / "keys"))
    page.goto(address)
    field = page.get_by_label("API key")
    expect(page.get_by_label("Your question")).to_be_focused()
    expect(field).to_have_count(0)
    page.get_by_label("Your question").fill("how")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("An API key is needed")
    expect(field).to_have_attribute("type", "password")
    field.fill(key)
    page.get_by_role("button", name="Ask").click()
    done(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    page.goto(f"{address}/?q=again")
    done(page)
    assert key not in page.url
    assert page.evaluate("Object.values(localStorage).length + document.cookie.length") == 0
