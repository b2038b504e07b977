"""What takes too long is ended, and its place is free again: over real connections."""

import asyncio
import contextlib
import json
import select
import socket
import time
from threading import Semaphore
from urllib.parse import urlsplit

import httpx
import pytest

from service.settings import Settings
from tests.service.conftest import Serve
from tests.service.fakes import Reciter, a_pipeline
from tests.service.running import WAIT, samples

pytestmark = pytest.mark.anyio

HEAD = "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"


async def until_free(client: httpx.AsyncClient) -> None:
    """Wait until no request is in the air but the one that asks."""
    end = time.monotonic() + WAIT
    while samples((await client.get("/metrics")).text)["ragnarok_requests_in_flight"] > 1:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def trickle(address: str, path: str) -> tuple[float, str]:
    """Send a byte of a body now and then until the server answers: after how many seconds, and what."""
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=WAIT) as sender:
        sender.sendall(HEAD.format(path=path).encode())
        start = time.monotonic()
        while not select.select([sender], [], [], 0.05)[0]:
            sender.sendall(b" ")
            assert time.monotonic() - start < WAIT
        spent, said = time.monotonic() - start, b""
        # The server closes its side, and does not wait for the rest of ours.
        with contextlib.suppress(ConnectionResetError):
            while piece := sender.recv(65536):
                said += piece
        return spent, said.decode()


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions"])
async def test_a_body_that_trickles_in_is_cut(serve: Serve, path: str) -> None:
    address = serve(a_pipeline(), Settings(body_seconds=0.4, max_waiting=0))
    sending = asyncio.create_task(asyncio.to_thread(trickle, address, path))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        served = await client.post("/v1/query", json={"query": "meanwhile"})
        assert served.status_code == 200, "its worker has been free all the time"
        spent, said = await sending
        head, _, body = said.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 408 ")
        assert "connection: close" in head.lower()
        assert 0.3 < spent < WAIT / 2
        problem = json.loads(body)
        assert problem["type"] == "urn:ragnarok:problem:body-too-slow"
        assert "within 0.4 seconds" in problem["detail"]
        assert ("error" in problem) == path.startswith("/v1/chat/")
        counted = samples((await client.get("/metrics")).text)
        assert counted['ragnarok_refused_total{why="body"}'] == 1


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions"])
async def test_an_answer_that_does_not_begin_is_given_up(serve: Serve, path: str) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    # Long enough for the first question of a process, which imports what it needs.
    address = serve(a_pipeline(reciter=reciter), Settings(request_seconds=4))
    body = {"query": "q"} if path == "/v1/query" else {"messages": [{"role": "user", "content": "q"}]}
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        asked = asyncio.create_task(client.post(path, json=body))
        assert await asyncio.to_thread(reciter.begun.wait, WAIT)
        late = await asked
        assert late.status_code == 504
        assert late.json()["type"] == "urn:ragnarok:problem:took-too-long"
        assert "4 seconds" in late.json()["detail"]
        assert late.headers["x-request-id"]
        assert ("error" in late.json()) == path.startswith("/v1/chat/")
        # It is given up some turns of the server's loop after that is sent.
        await asyncio.sleep(0.5)
        steps.release()
        assert await asyncio.to_thread(reciter.closed.wait, WAIT)
        assert reciter.said <= 1, "nothing more is written than was begun"
        steps.release(9)
        assert (await client.post(path, json=body)).status_code == 200, "its place is free"
        counted = samples((await client.get("/metrics")).text)
        assert counted['ragnarok_refused_total{why="request"}'] == 1


async def test_waiting_for_a_turn_counts(serve: Serve) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    address = serve(a_pipeline(reciter=reciter), Settings(request_seconds=0.5, stream_seconds=WAIT))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        streamed = asyncio.create_task(client.post("/v1/query", json={"query": "q", "stream": True}))
        assert await asyncio.to_thread(reciter.begun.wait, WAIT)
        assert (await client.post("/v1/query", json={"query": "waits"})).status_code == 504
        end = time.monotonic() + WAIT
        while (await client.get("/healthz")).json()["waiting"]:
            assert time.monotonic() < end, "its place in the queue is free"
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        steps.release(3)
        assert "event: done" in (await streamed).text, "what has begun has its own time"


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions"])
async def test_a_stream_without_end_says_so_and_ends(serve: Serve, path: str) -> None:
    steps = Semaphore(1)
    reciter = Reciter(steps)
    address = serve(a_pipeline(reciter=reciter), Settings(stream_seconds=0.5))
    body = {"query": "q"} if path == "/v1/query" else {"messages": [{"role": "user", "content": "q"}]}
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        text = (await client.post(path, json={**body, "stream": True})).text
        *_, last = [line for line in text.splitlines() if line.startswith("data: ")]
        problem = json.loads(last.removeprefix("data: "))
        assert problem["type"] == "urn:ragnarok:problem:took-too-long"
        assert ("error" in problem) == path.startswith("/v1/chat/")
        steps.release()
        assert await asyncio.to_thread(reciter.closed.wait, WAIT)
        await until_free(client)
        counted = samples((await client.get("/metrics")).text)
        assert counted['ragnarok_refused_total{why="stream"}'] == 1


async def test_who_does_not_read_is_cut_off(serve: Serve) -> None:
    """The server's buffers fill, and sending waits for a client that takes nothing."""
    # Some of the answers are sent whole.
    address = serve(a_pipeline(), Settings(stream_seconds=0.5))
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1024)
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n" * 400)
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        await asyncio.sleep(0.2)
        await until_free(client)
    writer.close()
    assert reader
