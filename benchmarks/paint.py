"""How soon each page is painted, in a headless Chromium, from a server on this machine.

    python benchmarks/paint.py [--runs 10] [--votes 2000]

Told are medians of what the browser itself says. *Next page* is what a reader sees who goes on: one tab of a
browser that runs, which has shown other pages of the server and is at rest; the page is one that it has not
shown before, and its scripts are kept only where an earlier page had them, too. *New tab* is harsher: a new
profile without a cache, whose process is begun for this page. *All there* is when the last file of a next
page has come in. Each round is a reader of its own who takes the pages in another order, so that every page
is met after others, and other work on the machine falls on all of them. Beside them stands a page of three
words: what the browser takes by itself, in the same run.

The browser gets no flag that would make it faster, only what a machine without a screen and a graphics card
needs: it draws in software, sixty times a second at most.
"""

import argparse
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from fastapi import Request, Response
from playwright.sync_api import Browser, Page, sync_playwright

from ragnarok.arena.contenders import Roster
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.staged import staged
from ragnarok.arena.store import ArenaStore
from service.app import create_app
from service.arena.arena import ArenaParts
from service.parts import Parts
from service.settings import Settings
from service.site import page_response

BARE = "/bare"

PATHS = (BARE, "/", "/battle", "/leaderboard", "/compare", "/battle/simulated-000001")

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
LOADED = (
    "Math.max(performance.getEntriesByType('navigation')[0].loadEventEnd,"
    " ...performance.getEntriesByType('resource').map((one) => one.responseEnd))"
)


def main() -> None:
    """Measure, and print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--votes", type=int, default=2000)
    arguments = parser.parse_args()
    new: dict[str, list[float]] = defaultdict(list)
    next_: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with served(arguments.votes) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        # The first round wakes the server and the browser.
        for run in range(arguments.runs + 1):
            for path in PATHS:
                with browser.new_context() as context:
                    first, _ = _visit(context.new_page(), f"{address}{path}")
                if run:
                    new[path].append(first)
            for path, measured in _walk(browser, address, run):
                if run:
                    next_[path].append(measured)
        browser.close()
    print(f"{'page':26} {'new tab':>8} {'next page':>10} {'all there':>10}  ms; fastest: new tab, next page")
    for path in PATHS:
        paints, loads = zip(*next_[path], strict=True)
        medians = [statistics.median(column) for column in (new[path], paints, loads)]
        print(
            f"{path:26} {medians[0]:8.0f} {medians[1]:10.0f} {medians[2]:10.0f}"
            f"  {min(new[path]):.0f}, {min(paints):.0f}"
        )


def _walk(browser: Browser, address: str, run: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """Each path with the milliseconds of `_visit`, in one tab of a new profile, ordered by `run`."""
    turned = PATHS[run % len(PATHS) :] + PATHS[: run % len(PATHS)]
    order = turned if run // len(PATHS) % 2 == 0 else turned[::-1]
    with browser.new_context() as context:
        tab = context.new_page()
        # The tab's first page is not the next of any.
        _visit(tab, f"{address}{BARE}?first")
        for path in order:
            yield path, _visit(tab, f"{address}{path}")


def _visit(tab: Page, address: str) -> tuple[float, float]:
    """Milliseconds to the first paint of a page, and until all that it loads is there; it is left at rest."""
    tab.goto(address, wait_until="networkidle")
    while (paint := tab.evaluate(PAINT)) is None:
        tab.wait_for_timeout(10)
    return paint, tab.evaluate(LOADED)


@contextmanager
def served(votes: int) -> Iterator[str]:
    """The address of a server, in a process of its own, whose arena has so many votes."""
    spawned = get_context("spawn")
    here, there = spawned.Pipe()
    server = spawned.Process(target=_serve, args=(votes, there))
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        server.terminate()
        server.join()


def _serve(votes: int, told: Connection) -> None:
    ratings = {f"system-{number}": 900.0 + 40 * number for number in range(6)}
    with tempfile.TemporaryDirectory() as folder:
        store = ArenaStore(str(Path(folder) / "arena.db"))
        store.add_all(staged(simulate(Scenario(ratings, votes=votes))))
        app = create_app(Settings(), Parts(), ArenaParts(Roster({}), store, "of no use outside " * 2))
        app.add_route(BARE, _bare, include_in_schema=False)
        config = uvicorn.Config(app, port=0, log_level="error", ws="none")
        door = config.bind_socket()
        told.send(door.getsockname()[1])
        # By the server's own loop: Python's would leave Nagle's delay on sockets that are bound before.
        uvicorn.Server(config).run(sockets=[door])
        store.close()


async def _bare(request: Request) -> Response:
    return page_response(request, b"<!doctype html><title>Bare</title><p>Only three words.")


if __name__ == "__main__":
    main()
