"""Pages that a browser makes before their links are clicked. Playwright keeps its own from doing so."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragnarok.arena.store import ArenaStore
from tests.service.arena.reader import Reader, reading
from tests.service.arena.test_leaderboard import XY, fill

pytestmark = pytest.mark.browser

FOCUSED = "document.activeElement?.id === 'question'"
"""The page's script has come."""


@pytest.fixture
def reader(store_path: Path, tmp_path: Path) -> Iterator[Reader]:
    """A reader in a browser as it comes."""
    with reading(store_path, tmp_path / "profile") as made:
        yield made


def battles_in(place: Path) -> int:
    """How many battles are kept."""
    store = ArenaStore(str(place))
    try:
        return store.counts().battles
    finally:
        store.close()


def test_a_link_that_is_rested_on_shows_a_page_that_is_there(reader: Reader, store_path: Path) -> None:
    fill(store_path, [*[XY] * 3, ("y", "x", "a")])
    reader.go("/battle")
    reader.hover("/leaderboard")
    page = reader.made()
    # Neither its pictures nor anything that counts.
    assert reader.requests.before() == {"/leaderboard"}
    assert reader.tabs.value(page, "document.images.length") == 0
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, "document.images.length === 2")


@pytest.mark.parametrize(("path", "origin"), [("/", "/battle"), ("/battle", "/compare"), ("/compare", "/")])
def test_a_page_with_scripts_gets_them_once_it_is_seen(
    reader: Reader, store_path: Path, path: str, origin: str
) -> None:
    reader.go(origin)
    reader.hover(path)
    page = reader.made()
    assert reader.requests.before() == {path}
    assert not reader.tabs.value(page, "document.querySelector('script[type=module]')")
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, FOCUSED)
    assert battles_in(store_path) == 0


@pytest.mark.parametrize("path", ["/?q=How", "/compare?q=How&a=system-left&b=system-right"])
def test_what_a_link_asks_is_asked_once_and_not_before_it_is_clicked(reader: Reader, path: str) -> None:
    reader.go("/leaderboard")
    reader.link(path)
    reader.hover(path)
    page = reader.made()
    assert not [seen for seen, _ in reader.requests.seen if seen.startswith("/v1/")]
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, "document.querySelectorAll('.sentence').length >= 3")
    assert len([seen for seen, _ in reader.requests.seen if seen.startswith("/v1/")]) == 1


def test_a_battle_is_not_looked_at_before_its_link_is_clicked(reader: Reader) -> None:
    reader.go("/battle")
    page = reader.page
    reader.tabs.until(page, FOCUSED)
    reader.tabs.value(page, "document.getElementById('question').value = 'How do I sort?'")
    reader.tabs.value(page, "document.getElementById('send').click()")
    reader.tabs.until(page, "!document.getElementById('vote').hidden")
    path = str(reader.tabs.value(page, "location.pathname"))
    reader.go("/leaderboard")
    record = f"/v1/arena{path.replace('battle', 'battles')}"
    asked = reader.requests.times(record)
    reader.link(path)
    reader.hover(path)
    page = reader.made()
    assert reader.requests.times(record) == asked
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, "!document.getElementById('vote').hidden")


def test_what_is_taken_away_is_not_asked_for_by_resting_on_it(reader: Reader) -> None:
    reader.go("/leaderboard")
    reader.hover("/v1/arena/battles.jsonl")
    time.sleep(1)
    assert reader.requests.before() == set()
    assert len(reader.tabs.pages(reader.tab)) == 1
