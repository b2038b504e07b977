"""How soon each page is painted, in a headless Chromium, from a server on this machine.

    python benchmarks/paint.py [--runs 10] [--votes 2000]

Told are medians, without a cache: of the browser's own first contentful paint, in a tab that has shown
nothing and in one that has shown another page of the server; and until all that the latter loads is there.
Beside them stands a page of three words: what the browser takes by itself, in the same run. Pages take turns,
so that other work on the machine falls on all of them.
"""

import argparse
import asyncio
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
from playwright.sync_api import Browser, sync_playwright

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

PATHS = (BARE, "/", "/battle", "/leaderboard", "/compare")

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Measure, and print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--votes", type=int, default=2000)
    arguments = parser.parse_args()
    times: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with _served(arguments.votes) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for run in range(arguments.runs + 1):
            for path in PATHS:
                first, _ = _visit(browser, f"{address}{path}")
                again, loaded = _visit(browser, f"{address}{path}", f"{address}{BARE}")
                # The first round wakes the server and the browser.
                if run:
                    times[path].append((first, again, loaded))
        browser.close()
    print(f"{'page':14} {'new tab':>8} {'next page':>10} {'all there':>10}  ms; fastest: new tab, next page")
    for path, rows in times.items():
        first, again, loaded = (statistics.median(column) for column in zip(*rows, strict=True))
        least = [min(column) for column in zip(*rows, strict=True)]
        print(f"{path:14} {first:8.0f} {again:10.0f} {loaded:10.0f}  {least[0]:.0f}, {least[1]:.0f}")


def _visit(browser: Browser, address: str, before: str = "") -> tuple[float, float]:
    """Milliseconds to the first paint and to the end of loading, in a tab that has shown `before`."""
    with browser.new_context() as context:
        tab = context.new_page()
        if before:
            tab.goto(before)
        tab.goto(address, wait_until="load")
        while None in (times := tab.evaluate(f"[{PAINT} ?? null, {LOADED} || null]")):
            tab.wait_for_timeout(10)
    paint, loaded = times
    return paint, loaded


@contextmanager
def _served(votes: int) -> Iterator[str]:
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
        asyncio.run(uvicorn.Server(config).serve(sockets=[door]))
        store.close()


async def _bare(request: Request) -> Response:
    return page_response(request, b"<!doctype html><title>Bare</title><p>Only three words.")


if __name__ == "__main__":
    main()
