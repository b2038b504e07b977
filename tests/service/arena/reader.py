"""A reader of an arena's pages, who has a browser with tabs of which each may make pages before a click."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.devtools import Place, Tabs
from service.app import create_app
from tests.service.arena.fakes import parts_of, quick
from tests.service.fakes import a_pipeline
from tests.service.running import WAIT, served
from tests.service.tabs import tabs_of

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
        self._place: Place = {}

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
        self._place = self.tabs.middle(self.page, f'a[href="{path}"]:not(.mark)')
        self.tabs.move(self.page, self._place)

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
        self.tabs.press(self.page, self._place)

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


@contextmanager
def reading(store: Path, profile: Path, *arguments: str) -> Iterator[Reader]:
    """A reader of an arena that is kept in `store`, in a browser of one's own with these arguments."""
    with parts_of(store) as parts:
        requests = Requests(create_app(quick(), a_pipeline(), parts))
        with served(requests) as address, tabs_of(profile, *arguments) as tabs:
            yield Reader(tabs, address, requests)
