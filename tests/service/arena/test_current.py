"""A board that is seen later than it was made tells the votes that there are by then."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from benchmarks.devtools import Tabs
from tests.service.arena.conftest import There
from tests.service.arena.reader import Reader, reading
from tests.service.arena.test_leaderboard import XY, Row, fill

pytestmark = pytest.mark.browser

ROWS: list[Row] = [*[XY] * 3, ("y", "x", "a")]

COMES = "performance.getEntriesByType('navigation')[0].type"

NO_WAY_BACK = "--disable-features=BackForwardCache"
"""Pages are not kept for the way back, as where memory is short."""

NO_SCRIPTS = "--blink-settings=scriptEnabled=false"


def says(votes: int) -> str:
    """Whether a page tells so many votes; of one that has just begun to come, not yet."""
    return f"document.querySelector('main')?.textContent.includes('{votes} votes:')"


def vote(tabs: Tabs, page: str) -> None:
    """Vote on the battle that a page shows."""
    tabs.value(page, "document.querySelector('[name=answer][value=a]').click()")
    tabs.value(page, "document.getElementById('cast').click()")
    tabs.until(page, "!document.getElementById('told').hidden")


def fight(tabs: Tabs, page: str) -> None:
    """Begin a battle, and wait for both answers."""
    tabs.until(page, "document.activeElement?.id === 'question'")
    tabs.value(page, "document.getElementById('question').value = 'How do I sort?'")
    tabs.value(page, "document.getElementById('send').click()")
    tabs.until(page, "!document.getElementById('vote').hidden")


@pytest.fixture
def reader(store_path: Path, tmp_path: Path) -> Iterator[Reader]:
    """A reader in a browser as it comes, of an arena with four votes."""
    fill(store_path, ROWS)
    with reading(store_path, tmp_path / "profile") as made:
        yield made


def test_ones_own_vote_is_on_a_board_that_was_made_before_it(reader: Reader) -> None:
    reader.go("/battle")
    fight(reader.tabs, reader.page)
    reader.hover("/leaderboard")
    page = reader.made()
    assert reader.tabs.value(page, says(4))
    vote(reader.tabs, reader.page)
    # What the vote brought to light has the focus, and the page has scrolled to it.
    reader.tabs.value(reader.page, "scrollTo(0, 0)")
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, says(5))
    # The systems of the vote have not met the others: there is one picture, and it is of the newer board.
    reader.tabs.until(page, "document.images.length === 1")
    reader.tabs.until(page, "document.images[0].complete && document.images[0].src.includes('revision=5')")
    assert reader.requests.times("/leaderboard") == 2


def test_a_vote_of_another_tab_is_on_a_board_that_was_made_before_it(reader: Reader) -> None:
    reader.go("/battle")
    other = reader.tabs.open(f"{reader.address}/battle", background=True)
    fight(reader.tabs, other)
    reader.hover("/leaderboard")
    page = reader.made()
    vote(reader.tabs, other)
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, says(5))


def test_a_board_that_is_still_true_stays_as_it_is(reader: Reader) -> None:
    reader.go("/battle")
    reader.hover("/leaderboard")
    page = reader.made()
    reader.tabs.value(page, "document.getElementById('board').kept = true")
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, "document.images.length === 2")
    time.sleep(0.5)
    assert reader.tabs.value(page, "document.getElementById('board').kept")
    assert reader.requests.times("/leaderboard") == 2


def test_the_first_vote_is_on_a_board_that_had_none(store_path: Path, tmp_path: Path) -> None:
    with reading(store_path, tmp_path / "profile") as reader:
        reader.go("/battle")
        reader.hover("/leaderboard")
        page = reader.made()
        assert reader.tabs.value(page, "document.querySelector('.empty') !== null")
        fill(store_path, ROWS)
        reader.click()
        reader.sees(page)
        reader.tabs.until(page, says(4))
        reader.tabs.until(page, "document.images.length === 2")


@pytest.mark.parametrize("arguments", [(), (NO_WAY_BACK,)], ids=["page kept", "answer kept"])
def test_a_vote_is_on_the_board_that_one_comes_back_to(
    store_path: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    fill(store_path, ROWS)
    with reading(store_path, tmp_path / "profile", *arguments) as reader:
        reader.go("/leaderboard")
        reader.tabs.value(reader.page, "window.kept = true")
        # Not at once: a page that is left before it has replied replies with an error.
        leave = "document.querySelector('nav a[href=\"/battle\"]').click()"
        reader.tabs.value(reader.page, f"void setTimeout(() => {leave})")
        reader.tabs.until(reader.page, "location.pathname === '/battle'")
        fight(reader.tabs, reader.page)
        vote(reader.tabs, reader.page)
        # The battle has an address of its own.
        reader.tabs.value(reader.page, "void setTimeout(() => history.go(-2))")
        reader.tabs.until(reader.page, "location.pathname === '/leaderboard'")
        reader.tabs.until(reader.page, says(5))
        if arguments:
            assert reader.tabs.value(reader.page, COMES) == "back_forward"
        else:
            assert reader.tabs.value(reader.page, "window.kept")


def test_a_vote_is_on_the_board_of_a_tab_that_one_comes_back_to(reader: Reader) -> None:
    reader.go("/leaderboard")
    board = reader.page
    reader.tabs.value(board, "document.getElementById('since').value = '2026-03-01'")
    other = reader.tabs.open(f"{reader.address}/battle", background=False)
    fight(reader.tabs, other)
    vote(reader.tabs, other)
    assert reader.tabs.value(board, f"document.hidden && {says(4)}")
    reader.tabs.call("Page.bringToFront", {}, board)
    reader.tabs.until(board, says(5))
    # What was filled in meanwhile stays.
    assert reader.tabs.value(board, "document.getElementById('since').value") == "2026-03-01"


def test_without_scripts_no_board_is_made_before_a_click(store_path: Path, tmp_path: Path) -> None:
    fill(store_path, ROWS)
    with reading(store_path, tmp_path / "profile", NO_SCRIPTS) as reader:
        page = reader.page
        reader.tabs.call("Page.navigate", {"url": f"{reader.address}/battle"}, page)
        reader.tabs.until(page, "location.pathname === '/battle' && document.readyState === 'complete'")
        reader.hover("/leaderboard")
        time.sleep(1)
        assert len(reader.tabs.pages(reader.tab)) == 1
        fill(store_path, [XY])
        reader.click()
        reader.tabs.until(reader.page, "location.pathname === '/leaderboard'")
        assert reader.tabs.until(reader.page, says(5))


def test_who_cannot_ask_keeps_the_board_that_is_there(page: Page, there: There, store_path: Path) -> None:
    fill(store_path, ROWS)
    page.goto(f"{there()}/leaderboard")
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.abort()
        else:
            route.fulfill(status=503, body="{}")

    page.route("**/leaderboard", refuse)
    for times in (1, 2):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(300)
        assert len(asked) == times
    expect(page.get_by_text("4 votes:")).to_be_visible()
