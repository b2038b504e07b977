"""Real servers on loopback ports, a small index for them, and what asynchronous tests run on."""

import asyncio
import json
import shutil
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from indexes import Index, build_index
from ragnarok.pipeline import Pipeline
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_store import Server
from tests.service.running import server_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Serve = Callable[..., str]

CORPUS = (
    ("tower", "The tower", "The tower is in Paris, by the river.", "https://docs.test/tower"),
    ("fruit", "", "Bananas 🍌 are rich in Paris.\u2028They are yellow.", ""),
    ("a/b?c&d#1", "", "A mill by the river.", ""),
    ("last", "Last", "Nothing to see.", ""),
)
"""Docid, title, text and address of each passage of the index `small`."""


@pytest.fixture
def anyio_backend() -> str:
    """The loop that uvicorn runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def loop() -> Iterator[AbstractEventLoop]:
    """An event loop in a thread of its own, by which services are asked."""
    with start_blocking_portal() as portal:
        yield portal.call(asyncio.get_running_loop)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test; calling it returns the address."""
    with ExitStack() as stack:

        def start(pipeline: Pipeline | Parts | None, settings: Settings | None = None) -> str:
            return stack.enter_context(server_of(pipeline, settings))

        yield start


ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless Chromium; one for each module, for its driver has an event loop of its own."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; tests/setup-system.sh installs it on Debian")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A fresh tab in which any error of a script fails the test."""
    context = browser.new_context(reduced_motion="reduce")
    tab = context.new_page()
    errors: list[str] = []
    # Of every tab that the test opens beside this one, too.
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("console", lambda said: errors.append(said.text) if "Security Policy" in said.text else None)
    context.set_default_timeout(10_000)
    yield tab
    context.close()
    assert errors == []


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    """A Redis of the test's own."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of `CORPUS` with BM25."""
    folder = tmp_path_factory.mktemp("small")
    lines = [dict(zip(("_id", "title", "text", "url"), record, strict=True)) for record in CORPUS]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with build_index(folder / "corpus.jsonl", "small", root=folder / "indexes", parts=("bm25",)) as index:
        yield index
