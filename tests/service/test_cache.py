"""Answers that are kept in a real Redis, which may go away."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from ragnarok.seams import Retriever
from ragnarok.types import Hit
from service.parts import parts_of
from service.settings import Settings
from tests.rerank.test_store import Server
from tests.service.fakes import a_pipeline
from tests.service.running import client_of

QUESTION = {"query": "who built the tower?"}


class Counting:
    """A retriever that counts, and waits for `gate`."""

    def __init__(self, inner: Retriever) -> None:
        self.inner, self.asked, self.gate = inner, 0, threading.Event()
        self.gate.set()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked += 1
        assert self.gate.wait(20)
        return self.inner.search(queries, k)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


@asynccontextmanager
async def asking(
    url: str | None, identity: object = "fakes-1", max_tokens: int = 256
) -> AsyncIterator[tuple[httpx.AsyncClient, Counting]]:
    parts = parts_of(a_pipeline())
    assert parts.retriever is not None
    parts.retriever = counting = Counting(parts.retriever)
    parts.identity = identity
    secret = None if url is None else SecretStr(url)
    async with client_of(parts, Settings(redis_url=secret, max_tokens=max_tokens)) as client:
        yield client, counting


async def ask(client: httpx.AsyncClient, **changes: object) -> tuple[str, object]:
    answer = await client.post("/v1/query", json=QUESTION | changes)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-cache"], answer.json()


@pytest.mark.anyio
async def test_an_answer_is_kept_until_anything_changes(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        first, second = await ask(client), await ask(client, query="  who built the tower? ")
        assert (first[0], second[0]) == ("miss", "hit")
        assert first[1] == second[1]
        assert counting.asked == 1
        assert (await ask(client, depth=1))[0] == "miss"
        metrics = (await client.get("/metrics")).text
        assert 'ragnarok_cache_total{kind="answer",outcome="hit"} 1.0' in metrics
        streamed = await client.post("/v1/query", json=QUESTION | {"stream": True})
        assert "x-cache" not in streamed.headers
    async with asking(redis_server.url) as (client, _):
        assert (await ask(client))[0] == "hit", "another process with the same settings"
    async with asking(redis_server.url, identity="fakes-2") as (client, _):
        assert (await ask(client))[0] == "miss", "another index or model"
    async with asking(redis_server.url, max_tokens=9) as (client, _):
        assert (await ask(client))[0] == "miss", "another setting"


@pytest.mark.anyio
async def test_what_is_no_answer_is_replaced(redis_server: Server) -> None:
    redis = Redis.from_url(redis_server.url)
    async with asking(redis_server.url) as (client, _):
        await ask(client)
        (key,) = redis.keys("ragnarok:answer:*")
        for junk in (b"", b"{", b"[]", b'{"version": 1}', b'{"version": 1, "key": 2, "value": {}}', b"\xff"):
            redis.set(key, junk)
            assert (await ask(client))[0] == "miss"
            assert (await ask(client))[0] == "hit"
        redis.delete(key)
        redis.lpush(key, "of another type")
        assert (await ask(client))[0] == "miss"
    redis.close()


@pytest.mark.anyio
async def test_equal_questions_in_the_air_are_answered_once(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        counting.gate.clear()
        asked = [asyncio.ensure_future(ask(client)) for _ in range(5)]
        while not counting.asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        counting.gate.set()
        answers = await asyncio.gather(*asked)
        assert counting.asked == 1
        assert all(answer == answers[0] for answer in answers)


@pytest.mark.anyio
async def test_everything_goes_on_without_redis(redis_server: Server) -> None:
    async with asking(None) as (client, _):
        assert [(await ask(client))[0] for _ in range(2)] == ["off", "off"]
    async with asking(redis_server.url, identity=None) as (client, _):
        assert (await ask(client))[0] == "off", "what answers depend on is not known"
    async with asking(redis_server.url) as (client, counting):
        assert [(await ask(client))[0] for _ in range(2)] == ["miss", "hit"]
        redis_server.stop()
        assert [(await ask(client))[0] for _ in range(3)] == ["miss"] * 3
        assert counting.asked == 4
        redis_server.start()
        await asyncio.sleep(2.1)
        assert [(await ask(client))[0] for _ in range(2)][-1] == "hit", "it is used again"
