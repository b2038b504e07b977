"""Real servers on loopback ports, a small index for them, and what asynchronous tests run on."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from indexes import Index, build_index
from ragnarok.pipeline import Pipeline
from service.parts import Parts
from service.settings import Settings
from tests.service.running import server_of

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


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test; calling it returns the address."""
    with ExitStack() as stack:

        def start(pipeline: Pipeline | Parts | None, settings: Settings | None = None) -> str:
            return stack.enter_context(server_of(pipeline, settings))

        yield start


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of `CORPUS` with BM25."""
    folder = tmp_path_factory.mktemp("small")
    lines = [dict(zip(("_id", "title", "text", "url"), record, strict=True)) for record in CORPUS]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with build_index(folder / "corpus.jsonl", "small", root=folder / "indexes", parts=("bm25",)) as index:
        yield index
