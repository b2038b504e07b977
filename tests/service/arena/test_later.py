"""Pages before their scripts are there, and how these come where nothing is painted."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from benchmarks.devtools import Tabs
from tests.service.arena.conftest import There
from tests.service.arena.test_leaderboard import XY, fill
from tests.service.tabs import tabs_of

pytestmark = pytest.mark.browser

FRAME = "new Promise((r) => { setTimeout(() => r(false), 500); requestAnimationFrame(() => r(true)); })"


class Held:
    """Keeps a script from a page until it is let go."""

    def __init__(self, page: Page, script: str) -> None:
        """Hold it back from now on."""
        self._page, self._waiting, self._free = page, list[Route](), False
        page.route(f"**/assets/{script}", self._pass)

    def wait(self) -> None:
        """Wait until the page has asked for it."""
        while not self._waiting:
            self._page.wait_for_timeout(10)

    def let_go(self) -> None:
        """Give it to the page, and from now on at once."""
        self._free = True
        while self._waiting:
            self._waiting.pop().continue_()

    def _pass(self, route: Route) -> None:
        if self._free:
            route.continue_()
        else:
            self._waiting.append(route)


@contextmanager
def hidden(url: str, profile: Path) -> Iterator[tuple[Tabs, str]]:
    """A tab of `url` behind another one, which it still is at the end."""
    with tabs_of(profile) as tabs:
        tabs.until(tabs.open("about:blank", background=False), "true")
        tab = tabs.open(url, background=True)
        yield tabs, tab
        assert tabs.value(tab, "document.visibilityState") == "hidden"


def test_a_battle_in_a_tab_that_is_never_painted(there: There, tmp_path: Path) -> None:
    with hidden(f"{there()}/battle", tmp_path / "profile") as (tabs, tab):
        tabs.until(tab, "document.activeElement?.id === 'question'")
        assert tabs.value(tab, "document.visibilityState") == "hidden"
        assert not tabs.value(tab, FRAME)
        tabs.value(tab, "document.getElementById('question').value = 'How do I sort?'")
        tabs.value(tab, "document.getElementById('send').click()")
        tabs.until(tab, "!document.getElementById('vote').hidden")


@pytest.mark.parametrize("path", ["/?q=How", "/compare?q=How&a=system-left&b=system-right"])
def test_what_an_address_asks_is_asked_in_the_background(there: There, tmp_path: Path, path: str) -> None:
    with hidden(f"{there()}{path}", tmp_path / "profile") as (tabs, tab):
        tabs.until(tab, "document.querySelectorAll('.sentence').length >= 3")


def test_a_tab_that_gets_no_frame_any_more_has_its_scripts_once(page: Page, there: There) -> None:
    # As one that goes to the background before its first frame.
    page.add_init_script("window.requestAnimationFrame = () => 0")
    page.goto(f"{there()}/battle")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Your question").fill("How do I sort?")
    page.keyboard.press("Enter")
    expect(page.locator("#vote")).to_be_visible()
    expect(page.locator("script[type=module]")).to_have_count(1)


def test_frames_and_the_wait_for_them_load_scripts_once(page: Page, there: There) -> None:
    page.goto(f"{there()}/battle")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.wait_for_timeout(1200)
    expect(page.locator("script[type=module]")).to_have_count(1)


@pytest.mark.parametrize(
    ("path", "script"),
    [
        ("/", "ask.js"),
        ("/battle", "battle.js"),
        ("/battle?q=another", "battle.js"),
        ("/compare", "compare.js"),
    ],
)
def test_what_is_typed_before_the_scripts_come_is_kept(
    page: Page, there: There, path: str, script: str
) -> None:
    held = Held(page, script)
    page.goto(f"{there()}{path}", wait_until="commit")
    held.wait()
    field = page.get_by_label("Your question")
    expect(field).not_to_be_focused()
    field.click()
    page.keyboard.type("How do sort?")
    # Whoever writes in the middle goes on there.
    for _ in range(len("sort?")):
        page.keyboard.press("ArrowLeft")
    held.let_go()
    # The scripts are there: the field follows its text.
    expect(field).to_have_attribute("style", re.compile("height"))
    expect(field).to_be_focused()
    page.keyboard.type("I ")
    expect(field).to_have_value("How do I sort?")
    page.keyboard.press("Enter")
    expect(page.locator(".sentence").first).to_be_visible()
    assert "another" not in page.url


def test_a_topic_set_chosen_before_the_scripts_come_is_kept(page: Page, there: There) -> None:
    held = Held(page, "battle.js")
    page.goto(f"{there()}/battle", wait_until="commit")
    held.wait()
    page.get_by_label("Question from").select_option("other")
    held.let_go()
    page.get_by_role("button", name="Begin with the next question").click()
    expect(page.locator("#asked")).to_have_text("Only one?")


@pytest.mark.parametrize(("path", "script"), [("/", "ask.js"), ("/battle", "battle.js")])
def test_a_question_sent_before_the_scripts_come_is_there_once_they_do(
    page: Page, there: There, path: str, script: str
) -> None:
    held = Held(page, script)
    page.goto(f"{there()}{path}", wait_until="commit")
    held.wait()
    page.get_by_label("Your question").fill("How do I sort?")
    with page.expect_navigation(wait_until="commit"):
        page.locator("#send").click()
    held.let_go()
    expect(page.get_by_label("Your question")).to_have_value("How do I sort?")
    assert urlsplit(page.url).path == path


def test_the_page_of_one_battle_shows_no_form_before_it_shows_the_battle(page: Page, there: There) -> None:
    page.goto(f"{there()}/battle")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Your question").fill("How do I sort?")
    page.keyboard.press("Enter")
    expect(page.locator("#vote")).to_be_visible()
    held = Held(page, "battle.js")
    page.goto(page.url, wait_until="commit")
    held.wait()
    for hidden in ("#ask", "#intro", "#battle", "#vote", "#told", "#problem"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.get_by_role("heading", name="Battle")).to_be_visible()
    held.let_go()
    expect(page.locator("#asked")).to_have_text("How do I sort?")
    expect(page.locator(".sentence")).to_have_count(6)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_be_focused()
    expect(page.locator("#ask")).to_be_hidden()
    # The way on is the form that was not shown.
    page.keyboard.press("n")
    expect(page.get_by_label("Your question")).to_be_focused()
    expect(page.get_by_label("Your question")).to_have_value("")
    page.keyboard.type("And then?")
    page.keyboard.press("Enter")
    expect(page.locator("#asked")).to_have_text("And then?")
    expect(page.locator("#vote")).to_be_visible()


def test_the_page_of_no_battle_says_so_and_offers_the_form(page: Page, there: There) -> None:
    answer = page.goto(f"{there()}/battle/none")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("alert")).to_contain_text("there is no battle", ignore_case=True)
    page.get_by_label("Your question").fill("How do I sort?")
    page.keyboard.press("Enter")
    expect(page.locator("#vote")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_the_leaderboards_pictures_come_into_room_that_is_kept(
    browser: Browser, there: There, store_path: Path, scripts: bool
) -> None:
    fill(store_path, [*[XY] * 3, ("y", "x", "a")])
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": 1280, "height": 1600})
    page = context.new_page()
    asked: list[str] = []
    held: list[Route] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.route("**/leaderboard/*.svg*", lambda route: held.append(route))
    page.goto(f"{there()}/leaderboard", wait_until="commit")
    pictures = page.get_by_role("img", name=re.compile("Ratings with their|How often each"))
    expect(pictures).to_have_count(2)
    while len(held) < 2:
        page.wait_for_timeout(10)
    rooms = [one.bounding_box() for one in pictures.all()]
    assert all(room is not None and room["height"] > 100 for room in rooms)
    for route in held:
        route.continue_()
    page.wait_for_load_state("load")
    drawn = sorted(path for path in asked if path.endswith(".svg") and "leaderboard" in path)
    assert drawn == ["/leaderboard/ratings.svg", "/leaderboard/wins.svg"]
    page.wait_for_timeout(200)
    for one, room in zip(pictures.all(), rooms, strict=True):
        assert one.bounding_box() == pytest.approx(room, abs=1)
    context.close()


def test_in_a_tab_that_is_never_painted_the_leaderboard_has_its_pictures(
    there: There, store_path: Path, tmp_path: Path
) -> None:
    fill(store_path, [*[XY] * 3, ("y", "x", "a")])
    with hidden(f"{there()}/leaderboard", tmp_path / "profile") as (tabs, tab):
        tabs.until(tab, "document.images.length === 2")
