"""How soon each page is painted, in a headless Chromium, from a server on this machine.

    python benchmarks/pages.py [--runs 10] [--votes 2000]

Each run is a fresh tab without a cache; told is the median of the browser's own first contentful paint, and
until everything that the page loads is there.
"""

import argparse
import asyncio
import shutil
import socket
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from ragnarok.arena.contenders import Roster
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.staged import staged
from ragnarok.arena.store import ArenaStore
from service.app import create_app
from service.arena.arena import ArenaParts
from service.parts import Parts
from service.settings import Settings

PATHS = ("/healthz", "/", "/battle", "/leaderboard", "/compare")
"""The first is bare text: what the browser itself takes."""

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Measure, and print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--votes", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = ArenaStore(str(Path(folder) / "arena.db"))
        ratings = {f"system-{number}": 900.0 + 40 * number for number in range(6)}
        store.add_all(staged(simulate(Scenario(ratings, votes=arguments.votes))))
        with _served(store) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            for path in PATHS:
                # The first one wakes the server and the browser.
                _, *times = [_times(browser, f"{address}{path}") for _ in range(arguments.runs + 1)]
                paint, loaded = (statistics.median(column) for column in zip(*times, strict=True))
                print(f"{path:14} painted after {paint:.0f} ms, all there after {loaded:.0f} ms")
            browser.close()
        store.close()


def _times(browser: Browser, address: str) -> tuple[float, float]:
    context = browser.new_context()
    tab = context.new_page()
    # A process for this address, which a browser starts once, and not what a page costs.
    tab.goto(f"{address.rpartition('/')[0]}/healthz")
    tab.goto(address, wait_until="load")
    while None in (times := tab.evaluate(f"[{PAINT} ?? null, {LOADED} || null]")):
        tab.wait_for_timeout(10)
    context.close()
    paint, loaded = times
    return paint, loaded


@contextmanager
def _served(store: ArenaStore) -> Iterator[str]:
    """The address of a server with an arena of that store, run by a thread."""
    app = create_app(Settings(), Parts(), ArenaParts(Roster({}), store, "of no use outside " * 2))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[door])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
