"""Pages that a browser makes before their links are clicked. Playwright keeps its own from doing so."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from ragnarok.arena.store import ArenaStore
from service.app import create_app
from tests.service.arena.fakes import parts_of, quick
from tests.service.arena.test_leaderboard import XY, fill
from tests.service.fakes import a_pipeline
from tests.service.running import WAIT, served
from tests.service.tabs import Tabs, tabs_of

pytestmark = pytest.mark.browser

BEFORE = "prefetch;prerender"
"""What a request says of itself that nobody has clicked for."""

FOCUSED = "document.activeElement?.id === 'question'"
"""The page's script has come."""

MADE = "performance.getEntriesByType('navigation')[0].activationStart > 0"


class Requests:
    """Notes what an application is asked for: its path, and what the request says of its purpose."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self.app, self.seen = app, list[tuple[str, str]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note it, and pass it on."""
        if scope["type"] == "http":
            purpose = dict(scope["headers"]).get(b"sec-purpose", b"").decode()
            self.seen.append((scope["path"], purpose))
        await self.app(scope, receive, send)

    def before(self) -> set[str]:
        """What was asked for before a click."""
        return {path for path, purpose in self.seen if purpose}

    def times(self, path: str) -> int:
        """How often a path was asked for."""
        return [seen for seen, _ in self.seen].count(path)


class Reader:
    """Has one tab of a server, and a mouse."""

    def __init__(self, tabs: Tabs, address: str, requests: Requests) -> None:
        """Of `address`, which is asked through `requests`."""
        self.tabs, self.address, self.requests = tabs, address, requests
        self.tab = tabs.open_whole()
        self._place: dict[str, float] = {}

    @property
    def page(self) -> str:
        """The page that is seen."""
        return self.tabs.pages(self.tab)[0]

    def go(self, path: str) -> None:
        """Open a page, and wait for its scripts."""
        self.tabs.call("Page.navigate", {"url": f"{self.address}{path}"}, self.page)
        self.tabs.until(self.page, f"location.href === '{self.address}{path}'")
        self.tabs.until(
            self.page, "document.querySelector('template') === null && document.readyState === 'complete'"
        )

    def link(self, path: str) -> None:
        """Put a link into the page that it has not of itself."""
        made = f"Object.assign(document.createElement('a'), {{href: '{path}', textContent: 'there'}})"
        self.tabs.value(self.page, f"document.querySelector('main').prepend({made})")

    def hover(self, path: str) -> None:
        """Rest on the link to `path`."""
        corner = (
            f"(({{x, y, width, height}}) => ({{x: x + width / 2, y: y + height / 2}}))"
            f"(document.querySelector('a[href=\"{path}\"]:not(.mark)').getBoundingClientRect())"
        )
        place = self.tabs.value(self.page, corner)
        assert isinstance(place, dict)
        self._place = place
        self.tabs.call("Input.dispatchMouseEvent", {"type": "mouseMoved", **place}, self.page)

    def made(self) -> str:
        """Wait for a page that is made before it is seen, and is at rest."""
        self._until(lambda: len(self.tabs.pages(self.tab)) > 1)
        page = self.tabs.pages(self.tab)[-1]
        self.tabs.until(page, "document.readyState === 'complete' && location.pathname !== 'blank'")
        # Time for scripts, were there any.
        time.sleep(0.3)
        assert self.tabs.value(page, "document.prerendering")
        return page

    def click(self) -> None:
        """Press the link that the mouse rests on."""
        page = self.page
        for kind in ("mousePressed", "mouseReleased"):
            self.tabs.call(
                "Input.dispatchMouseEvent",
                {"type": kind, "button": "left", "clickCount": 1, **self._place},
                page,
            )

    def sees(self, page: str) -> None:
        """Wait until a page that was made before is the one that is seen."""
        self._until(lambda: self.page == page)
        self.tabs.until(page, "!document.prerendering")
        assert self.tabs.value(page, MADE)

    @staticmethod
    def _until(true: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT
        while not true():
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.fixture
def reader(store_path: Path, tmp_path: Path) -> Iterator[Reader]:
    """A reader of an arena's pages, in a browser of one's own."""
    with parts_of(store_path) as parts:
        requests = Requests(create_app(quick(), a_pipeline(), parts))
        with served(requests) as address, tabs_of(tmp_path / "profile") as tabs:
            yield Reader(tabs, address, requests)


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
    assert reader.requests.before() == {"/leaderboard", "/assets/prerender.json"}
    assert reader.tabs.value(page, "document.images.length") == 0
    reader.click()
    reader.sees(page)
    reader.tabs.until(page, "document.images.length === 2")
    assert reader.requests.times("/leaderboard") == 1


@pytest.mark.parametrize(("path", "origin"), [("/", "/battle"), ("/battle", "/compare"), ("/compare", "/")])
def test_a_page_with_scripts_gets_them_once_it_is_seen(
    reader: Reader, store_path: Path, path: str, origin: str
) -> None:
    reader.go(origin)
    reader.hover(path)
    page = reader.made()
    assert reader.requests.before() == {path, "/assets/prerender.json"}
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


def test_a_page_that_has_waited_long_is_made_anew(reader: Reader, store_path: Path) -> None:
    reader.go("/battle")
    reader.hover("/leaderboard")
    page = reader.made()
    assert reader.tabs.value(page, "document.querySelector('.empty') !== null")
    fill(store_path, [*[XY] * 3, ("y", "x", "a")])
    reader.tabs.value(page, "performance.getEntriesByType = () => [{activationStart: 10001}]")
    reader.click()
    reader.tabs.until(reader.tabs.pages(reader.tab)[-1], "document.images.length === 2")
    assert reader.requests.times("/leaderboard") == 2
