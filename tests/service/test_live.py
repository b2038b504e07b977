"""A real server: many clients, clients that leave, and a model that is busy."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Semaphore
from urllib.parse import urlsplit

import httpx
import pytest

from service.settings import Settings
from tests.service.conftest import Serve
from tests.service.fakes import SENTENCES, Reciter, Shelf, a_pipeline
from tests.service.running import WAIT, events_of, server_of

pytestmark = pytest.mark.anyio


async def until(reached: Callable[[], object]) -> None:
    """Wait until `reached()` is true."""
    end = time.monotonic() + WAIT
    while not reached():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def waiting(client: httpx.AsyncClient) -> int:
    """How many questions wait."""
    return int((await client.get("/healthz")).json()["waiting"])


async def wait_for_waiting(client: httpx.AsyncClient, number: int) -> None:
    """Wait until so many questions wait."""
    end = time.monotonic() + WAIT
    while await waiting(client) != number:
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_health_is_told_at_once_while_the_model_is_busy(serve: Serve) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    async with httpx.AsyncClient(base_url=serve(a_pipeline(reciter=reciter)), timeout=WAIT) as client:
        asked = asyncio.create_task(client.post("/v1/query", json={"query": "q"}))
        await until(reciter.begun.is_set)
        start = time.perf_counter()
        for path in ["/healthz", "/readyz", "/", "/assets/ask.js"] * 5:
            assert (await client.get(path)).status_code == 200
        assert time.perf_counter() - start < 5
        assert not asked.done()
        steps.release(3)
        assert (await asked).status_code == 200


async def test_each_sentence_arrives_before_the_next_is_made(serve: Serve) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    async with (
        httpx.AsyncClient(base_url=serve(a_pipeline(reciter=reciter)), timeout=WAIT) as client,
        client.stream("POST", "/v1/query", json={"query": "q", "stream": True}) as response,
    ):
        names = []
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
                said = names.count("sentence")
                assert reciter.said <= said
                if names[-1] in {"reranked", "sentence"} and said < len(SENTENCES):
                    steps.release()
    assert names == ["hits", "reranked", "sentence", "sentence", "sentence", "done"]


async def test_beyond_the_queue_questions_are_refused_at_once(serve: Serve) -> None:
    steps = Semaphore(0)
    shelf = Shelf()
    address = serve(a_pipeline(shelf, Reciter(steps)), Settings(max_waiting=2))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        asked = [asyncio.create_task(client.post("/v1/query", json={"query": f"q{n}"})) for n in range(3)]
        await wait_for_waiting(client, 2)
        for stream in (False, True):
            refused = await client.post("/v1/query", json={"query": "late", "stream": stream})
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "5"
            assert refused.json()["type"] == "urn:ragnarok:problem:busy"
        steps.release(9)
        assert [(await one).status_code for one in asked] == [200] * 3
        steps.release(3)
        assert (await client.post("/v1/query", json={"query": "later"})).status_code == 200
    assert sorted(shelf.asked) == ["later", "q0", "q1", "q2"]


@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_while_waiting_is_never_served(serve: Serve, stream: bool) -> None:
    steps = Semaphore(0)
    shelf, reciter = Shelf(), Reciter(steps)
    async with httpx.AsyncClient(base_url=serve(a_pipeline(shelf, reciter)), timeout=WAIT) as client:
        asked = asyncio.create_task(client.post("/v1/query", json={"query": "stays"}))
        await until(reciter.begun.is_set)
        leaver = asyncio.create_task(client.post("/v1/query", json={"query": "leaves", "stream": stream}))
        await wait_for_waiting(client, 1)
        leaver.cancel()
        await wait_for_waiting(client, 0)
        steps.release(3)
        assert (await asked).status_code == 200
        steps.release(3)
        assert (await client.post("/v1/query", json={"query": "comes"})).status_code == 200
    assert shelf.asked == ["stays", "comes"]


@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_in_the_middle_ends_the_answer(serve: Serve, stream: bool) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    async with httpx.AsyncClient(base_url=serve(a_pipeline(reciter=reciter)), timeout=WAIT) as client:
        leaver = asyncio.create_task(client.post("/v1/query", json={"query": "leaves", "stream": stream}))
        await until(reciter.begun.is_set)
        leaver.cancel()
        await asyncio.sleep(0.3)  # the connection's end has to come to the server first
        while not reciter.closed.is_set():
            steps.release()
            await asyncio.sleep(0.05)
        assert reciter.said < len(SENTENCES)
        await wait_for_waiting(client, 0)


async def test_stopping_the_server_lets_the_answer_in_the_air_finish() -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    with ExitStack() as server:
        address = server.enter_context(server_of(a_pipeline(reciter=reciter)))
        async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
            asked = asyncio.create_task(client.post("/v1/query", json={"query": "q", "stream": True}))
            await until(reciter.begun.is_set)
            stopping = asyncio.create_task(asyncio.to_thread(server.close))
            await asyncio.sleep(0.3)
            assert not stopping.done()
            steps.release(3)
            assert events_of((await asked).text)[-1][0] == "done"
        await stopping


def test_a_large_body_is_refused_without_being_kept(serve: Serve) -> None:
    where = urlsplit(serve(a_pipeline()))
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=WAIT) as line:
        line.sendall(
            b"POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        line.sendall(chunk + chunk)
        head, _, body = line.recv(65536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert json.loads(body or line.recv(65536))["status"] == 413
