"""Services whose answers are kept in a real Redis, and how a test asks them."""

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from pydantic import SecretStr

from ragnarok.seams import Retriever
from ragnarok.types import Hit
from service.parts import parts_of
from service.settings import STAGES, Settings
from tests.service.fakes import Reciter, a_pipeline
from tests.service.running import client_of

QUESTION = {"query": "who built the tower?"}


class Counting:
    """A retriever that counts, and waits for `gate`."""

    def __init__(self, inner: Retriever) -> None:
        """Search in `inner`."""
        self.inner, self.asked, self.gate = inner, 0, threading.Event()
        self.gate.set()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """What `inner` finds, once the gate is open."""
        self.asked += 1
        assert self.gate.wait(20)
        return self.inner.search(queries, k)


@asynccontextmanager
async def asking(
    url: str | None, identity: str | None = "fakes-1", reciter: Reciter | None = None, **settings: object
) -> AsyncIterator[tuple[httpx.AsyncClient, Counting]]:
    """A client of a whole service of fakes that keeps its answers at `url`, and its retriever."""
    parts = parts_of(a_pipeline(reciter=reciter))
    assert parts.retriever is not None
    parts.retriever = counting = Counting(parts.retriever)
    parts.identities = dict.fromkeys(STAGES, lambda: identity)
    chosen = Settings.model_validate({"redis_url": url and SecretStr(url), **settings})
    async with client_of(parts, chosen) as client:
        yield client, counting


async def ask(client: httpx.AsyncClient, **changes: object) -> tuple[str, object]:
    """What the cache had of a question, and its answer."""
    answer = await client.post("/v1/query", json=QUESTION | changes)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-cache"], answer.json()
