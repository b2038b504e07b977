"""The arena's pages in a real browser."""

import re
from pathlib import Path
from threading import Semaphore
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from ragnarok.arena.store import ArenaStore
from ragnarok.types import Sentence
from tests.service.arena.conftest import There
from tests.service.arena.fakes import TOPICS, Actor, quick
from tests.service.fakes import EVIL

pytestmark = pytest.mark.browser

SEEN = """(() => {
  const focused = document.activeElement, { x, y, width, height } = focused.getBoundingClientRect();
  return document.elementFromPoint(x + width / 2, y + height / 2) === focused;
})()"""
"""Whether nothing lies over the middle of what is focused."""


def begin(page: Page, question: str = "How do I sort?") -> None:
    """Begin a battle from the form, once its script is there: it comes after the page."""
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Begin").click()


def complete(page: Page) -> None:
    """Wait until both answers are whole."""
    expect(page.locator("#vote")).to_be_visible()


def votes_in(place: Path) -> int:
    """How many votes are kept."""
    store = ArenaStore(str(place))
    try:
        return store.counts().votes
    finally:
        store.close()


def test_a_battle_is_fought_and_voted_on(page: Page, there: There, store_path: Path) -> None:
    page.goto(f"{there()}/battle")
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(
        ["Ask", "Battle", "Leaderboard", "Compare"]
    )
    begin(page)
    complete(page)
    assert re.fullmatch(r"/battle/[0-9a-f]+-[0-9a-f]+", urlsplit(page.url).path)
    expect(page.locator("#asked")).to_have_text("How do I sort?")
    for side in "ab":
        expect(page.locator(f"[data-side={side}] .sentence")).to_have_count(3)
        expect(page.locator(f"[data-side={side}] .passage")).to_have_count(7)
    expect(page.get_by_role("button", name="Vote")).to_be_disabled()
    expect(page.locator("body")).not_to_contain_text("system-")
    page.locator("[data-side=b].answer .chip").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Signs 🎈")
    expect(dialog.locator(".facts, .move, mark")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("group", name="Answer").get_by_role("radio", name="A is better").check()
    page.get_by_role("group", name="Evidence").get_by_role("radio", name="Both bad").check()
    page.locator("summary").click()
    page.get_by_role("checkbox", name="better cited").check()
    page.get_by_role("button", name="Vote").click()
    told = page.locator("#told")
    expect(told).to_be_focused()
    expect(told).to_contain_text("You voted. Answer: A is better; evidence: both bad.")
    expect(told.locator(".card")).to_have_count(2)
    for name in ("system-left", "system-right", "generator-of-left", "235 ms"):
        expect(told).to_contain_text(name)
    expect(page.locator("#vote")).to_be_hidden()
    expect(page.locator("[data-side=a] .passage mark").first).to_have_text("last")
    expect(page.locator("[data-side=a] .passage .facts").first).to_contain_text("lib#last")
    expect(page.locator("[data-side=a] .notes")).to_contain_text("note-of-the-generator")
    assert votes_in(store_path) == 1
    page.reload()
    expect(told).to_contain_text("You voted. Answer: A is better")
    assert votes_in(store_path) == 1


def test_keyboard_only(page: Page, there: There, store_path: Path) -> None:
    page.goto(f"{there()}/battle")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("1 question?")
    page.keyboard.press("Enter")
    complete(page)
    page.keyboard.press("2")
    page.keyboard.press("Shift+Digit3")
    expect(page.locator("#vote input:checked")).to_have_count(2)
    expect(page.locator("[name=answer][value=b]")).to_be_checked()
    expect(page.locator("[name=evidence][value=tie]")).to_be_checked()
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("Answer: both bad; evidence: both as good.")
    first = page.url
    page.keyboard.press("n")
    expect(page.get_by_label("Your question")).to_be_focused()
    assert urlsplit(page.url).path == "/battle"
    page.keyboard.type("next")
    page.keyboard.press("Enter")
    complete(page)
    assert page.url != first
    assert votes_in(store_path) == 1


def test_a_key_that_is_pressed_twice_begins_one_battle(page: Page, there: There) -> None:
    left = Actor("left")
    page.goto(f"{there(left, Actor('right'))}/battle")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Your question").fill("twice?")
    page.evaluate("[1, 2, 3].forEach(() => document.getElementById('ask').requestSubmit())")
    complete(page)
    assert len(left.asked) == 1
    # And the next one can be begun.
    page.go_back()
    begin(page, "again?")
    complete(page)
    assert len(left.asked) == 2


def test_what_is_focused_is_not_behind_the_vote(page: Page, there: There) -> None:
    said = [Sentence("word " * 60, (0, 1))] * 12
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{there(*(Actor(name, sentences=said) for name in ('left', 'right')))}/battle")
    begin(page)
    complete(page)
    page.locator("summary").click()
    page.locator(".chip").first.focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        assert page.evaluate(SEEN), page.evaluate("document.activeElement.outerHTML")


def test_a_battle_whose_connection_ends_early_is_there_after_a_reload(page: Page, there: There) -> None:
    page.route(
        "**/events", lambda route: route.fulfill(body=": waiting\n\n", content_type="text/event-stream")
    )
    page.goto(f"{there()}/battle")
    begin(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The connection ended early")
    expect(alert).to_contain_text("Reload it to see the rest, and to vote.")
    page.unroute("**/events")
    page.reload()
    complete(page)


def test_a_reload_in_mid_stream_goes_on_where_it_was(page: Page, there: There) -> None:
    steps = Semaphore(0), Semaphore(0)
    left, right = (Actor(name, steps=own) for name, own in zip(("left", "right"), steps, strict=True))
    page.goto(f"{there(left, right)}/battle")
    begin(page)
    expect(page.locator(".passage")).to_have_count(14)
    for own in steps:
        own.release()
    expect(page.locator(".sentence")).to_have_count(2)
    page.reload()
    expect(page.locator(".sentence")).to_have_count(2)
    expect(page.locator("#asked")).to_have_text("How do I sort?")
    for own in steps:
        own.release(2)
    complete(page)
    expect(page.locator(".sentence")).to_have_count(6)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("You voted")
    assert len(left.asked) == len(right.asked) == 1


def test_a_double_click_is_one_vote(page: Page, there: There, store_path: Path) -> None:
    page.goto(f"{there()}/battle")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/vote") else None)
    begin(page)
    complete(page)
    page.keyboard.press("1")
    page.get_by_role("button", name="Vote").dblclick()
    expect(page.locator("#told")).to_contain_text("You voted")
    assert len(sent) == 1
    assert votes_in(store_path) == 1


def test_two_tabs_vote_once(page: Page, there: There, store_path: Path) -> None:
    page.goto(f"{there()}/battle")
    begin(page)
    complete(page)
    other = page.context.new_page()
    other.goto(page.url)
    complete(other)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("Answer: A is better")
    other.keyboard.press("2")
    other.keyboard.press("Enter")
    expect(other.locator("#told")).to_contain_text("You voted. Answer: A is better")
    assert votes_in(store_path) == 1


def test_back_and_forward_show_the_battles_that_were(page: Page, there: There) -> None:
    page.goto(f"{there()}/battle")
    begin(page, "first?")
    complete(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_be_visible()
    page.get_by_role("button", name="Next battle").click()
    begin(page, "second?")
    complete(page)
    page.go_back()
    expect(page.get_by_label("Your question")).to_be_visible()
    expect(page.locator("#battle")).to_be_hidden()
    page.go_back()
    expect(page.locator("#asked")).to_have_text("first?")
    expect(page.locator("#told")).to_contain_text("You voted")
    page.go_forward()
    page.go_forward()
    expect(page.locator("#asked")).to_have_text("second?")
    complete(page)
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("both as good")


def test_without_a_cookie_the_page_says_what_to_do(page: Page, there: There, store_path: Path) -> None:
    page.goto(f"{there()}/battle")
    begin(page)
    complete(page)
    page.context.clear_cookies()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Nobody knows whose vote this is")
    expect(alert).to_contain_text("llow this site its cookie")
    assert votes_in(store_path) == 0


def test_a_side_that_fails_is_told_neutrally(page: Page, there: There) -> None:
    page.goto(f"{there(Actor('bad', error=RuntimeError('secret')), Actor('good'))}/battle")
    begin(page)
    expect(page.get_by_role("alert")).to_contain_text("one side could not answer", ignore_case=True)
    expect(page.locator("#vote")).to_be_hidden()
    expect(page.locator("body")).not_to_contain_text(re.compile("secret|system-"))
    expect(page.get_by_role("button", name="Begin")).to_be_visible()
    page.reload()
    expect(page.get_by_role("alert")).to_be_visible()


def test_questions_of_a_topic_set_go_on_by_themselves(page: Page, there: There) -> None:
    page.goto(f"{there()}/battle")
    page.get_by_label("Question from").select_option("other")
    page.get_by_role("button", name="Begin with the next question").click()
    complete(page)
    expect(page.locator("#asked")).to_have_text(TOPICS["other"][0].text)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_be_visible()
    page.keyboard.press("n")
    complete(page)
    expect(page.locator("#told")).to_be_hidden()


def test_a_permanent_link_shows_everything_to_anyone(page: Page, browser: Browser, there: There) -> None:
    page.goto(f"{there()}/battle")
    begin(page)
    complete(page)
    stranger: BrowserContext = browser.new_context()
    tab = stranger.new_page()
    tab.goto(page.url)
    expect(tab.locator(".sentence")).to_have_count(6)
    expect(tab.locator("#vote")).to_be_hidden()
    expect(tab.locator("body")).not_to_contain_text("system-")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Permanent link")).to_have_attribute("href", urlsplit(page.url).path)
    tab.reload()
    expect(tab.locator("#told")).to_contain_text("The vote. Answer: A is better.")
    expect(tab.locator("#told")).to_contain_text("system-left")
    for address in (f"{page.url[:-3]}xyz", f"{page.url[:-3]}%FF"):
        missing = tab.goto(address)
        assert missing is not None
        assert missing.status == 404
        expect(tab.get_by_role("alert")).to_contain_text("there is no battle", ignore_case=True)
    stranger.close()


def test_whatever_models_say_is_text(page: Page, there: There) -> None:
    evil = (Sentence(f"{EVIL} said.", (0,)),)
    page.goto(f"{there(Actor('left', sentences=evil), Actor('right', sentences=evil))}/battle")
    begin(page, EVIL)
    complete(page)
    page.get_by_role("button", name="Show 1 more").first.click()
    expect(page.locator("[data-side=a].answer")).to_contain_text(f"{EVIL} said.")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_be_visible()
    assert page.locator("main img, main script").count() == 0
    assert page.title() == f"{EVIL} · Ragnarok"
    page.goto(f"{page.url.split('/battle')[0]}/compare?q={EVIL}&a=system-left&b=system-right")
    expect(page.get_by_role("status")).to_contain_text("Done")
    assert page.locator("main img, main script").count() == 0


def test_comparing_tells_everything_and_keeps_nothing(page: Page, there: There, store_path: Path) -> None:
    broken = Actor("broken", error=RuntimeError("hidden"))
    page.goto(f"{there(Actor('left'), Actor('right'), broken)}/compare")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Right", exact=True).select_option("system-right")
    page.get_by_label("Your question").fill("How?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Done: left in 704 ms, right in 704 ms.")
    expect(page.locator("#who .card")).to_have_count(2)
    expect(page.locator("#who")).to_contain_text("reranker-of-right")
    expect(page.locator("[data-side=b] .passage .move").first).to_contain_text("7 → 1")
    expect(page.locator("[data-side=b] .passage mark").first).to_be_visible()
    page.get_by_label("Right", exact=True).select_option("system-broken")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("[data-side=b].answer")).to_contain_text("Something went wrong here")
    expect(page.locator("[data-side=a].answer .sentence")).to_have_count(3)
    expect(page.locator("body")).not_to_contain_text("hidden")
    store = ArenaStore(str(store_path))
    assert (store.counts().battles, store.counts().votes) == (0, 0)
    store.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_sticks_out(
    browser: Browser, there: There, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme)
    tab = context.new_page()
    address = there(settings=quick())
    tab.goto(f"{address}/battle")
    begin(tab, "long " * 40)
    complete(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.keyboard.press("1")
    tab.keyboard.press("Enter")
    expect(tab.locator("#told")).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for path in ("/leaderboard", "/compare"):
        tab.goto(f"{address}{path}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
