"""Equal questions at once are one run of the pipeline, whoever wants events and whoever does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Semaphore

import httpx
import pytest
from pydantic import SecretStr

from service.broadcast import Broadcasts, Listener
from service.parts import parts_of
from service.settings import STAGES, Settings
from tests.rerank.test_store import Server
from tests.service.caching import QUESTION, Counting, asking
from tests.service.conftest import Serve
from tests.service.fakes import SENTENCES, Reciter, a_pipeline
from tests.service.running import WAIT, events_of

pytestmark = pytest.mark.anyio

STREAM = QUESTION | {"stream": True}
CHAT = {"messages": [{"role": "user", "content": QUESTION["query"]}], "stream": True}
NAMES = ["hits", "reranked", *["sentence"] * len(SENTENCES), "done"]


class Steps:
    """A source of numbers: each when it is put; ends with None, or fails with what is put."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.has_left = False

    async def __aiter__(self) -> AsyncIterator[int]:
        while (one := await self.queue.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one

    def leave(self) -> None:
        self.has_left = True


class Stage:
    """Broadcasts of `Steps`: how many were begun, and what was heard of them."""

    def __init__(self) -> None:
        self.runs: list[Steps] = []
        self.heard: list[int] = []
        self.broadcasts = Broadcasts[int]()

    def start(self) -> Steps:
        self.runs.append(Steps())
        return self.runs[-1]

    async def hear(self, event: int) -> None:
        self.heard.append(event)

    def join(self, address: str = "a") -> Listener[int]:
        return self.broadcasts.join(address, self.start, self.hear)

    def put(self, *events: int | Exception | None) -> None:
        for one in events:
            self.runs[-1].queue.put_nowait(one)


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that must happen soon."""
    async with asyncio.timeout(WAIT):
        while not true():
            await asyncio.sleep(0.005)


async def all_of(listener: Listener[int]) -> list[int]:
    """Everything, in order."""
    return [event async for event in listener]


async def test_who_comes_later_hears_what_was_and_what_comes() -> None:
    stage = Stage()
    first = asyncio.create_task(all_of(stage.join()))
    stage.put(1, 2)
    await until(lambda: stage.heard == [1, 2])
    second = aiter(stage.join())
    assert [await anext(second), await anext(second)] == [1, 2]
    third = asyncio.ensure_future(anext(second))
    await asyncio.sleep(0.01)
    assert not third.done(), "it is still to come"
    stage.put(3, None)
    assert await third == 3
    assert await first == [1, 2, 3]
    assert [event async for event in second] == []
    assert (len(stage.runs), stage.heard) == (1, [1, 2, 3])
    stage.join()
    assert len(stage.runs) == 2, "what has ended is not joined"


async def test_others_are_not_joined() -> None:
    stage = Stage()
    stage.join("a")
    stage.join("b")
    assert len(stage.runs) == 2


async def test_the_job_ends_when_the_last_has_left() -> None:
    stage = Stage()
    first, second = stage.join(), stage.join()
    first.leave()
    first.leave()
    assert [run.has_left for run in stage.runs] == [False], "one who leaves twice is one"
    second.leave()
    assert [run.has_left for run in stage.runs] == [True]
    stage.join()
    assert len(stage.runs) == 2, "what is being ended is not joined"


async def test_an_error_reaches_all() -> None:
    stage = Stage()
    listeners = [asyncio.create_task(all_of(stage.join())) for _ in range(3)]
    await until(lambda: bool(stage.runs))
    stage.put(1, ZeroDivisionError("broken"))
    for one in await asyncio.gather(*listeners, return_exceptions=True):
        assert isinstance(one, ZeroDivisionError)
    assert len(stage.runs) == 1


async def test_events_are_held_once_however_many_listen() -> None:
    stage = Stage()
    listeners = [stage.join() for _ in range(50)]
    stage.put(1, 2, 3)
    await until(lambda: len(stage.heard) == 3)
    assert len({id(listener._run.events) for listener in listeners}) == 1
    assert len(listeners[0]._run.events) == 3


@asynccontextmanager
async def slowly(url: str, **settings: float) -> AsyncIterator[tuple[httpx.AsyncClient, Counting, Reciter]]:
    """A service whose generator says a sentence at each of `Reciter.steps`."""
    reciter = Reciter(Semaphore(0))
    async with asking(url, "fakes-1", reciter, **settings) as (client, counting):
        try:
            yield client, counting, reciter
        finally:
            assert reciter.steps is not None
            reciter.steps.release(99)


def go_on(reciter: Reciter, steps: int = 99) -> None:
    """Let the generator say so many sentences."""
    assert reciter.steps is not None
    reciter.steps.release(steps)


Ask = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


def streamed(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    """The question, as events."""
    return client.post("/v1/query", json=STREAM)


def whole(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
    """The question, as one response."""
    return client.post("/v1/query", json=QUESTION)


@pytest.mark.parametrize("order", [(streamed, streamed), (streamed, whole), (whole, streamed)])
async def test_two_at_once_are_one_run(redis_server: Server, order: tuple[Ask, Ask]) -> None:
    async with slowly(redis_server.url) as (client, counting, reciter):
        first = asyncio.ensure_future(order[0](client))
        await until(reciter.begun.is_set)
        second = asyncio.ensure_future(order[1](client))
        await asyncio.sleep(0.2)
        go_on(reciter)
        answers = [await first, await second]
        again = await whole(client)
    assert counting.asked == 1
    assert [one.headers["x-cache"] for one in (*answers, again)] == ["miss", "miss", "hit"]
    for ask, answer in zip(order, answers, strict=True):
        if ask is whole:
            assert answer.json() == again.json()
        else:
            events = events_of(answer.text)
            assert [name for name, _ in events] == NAMES
            assert events[-1] == ("done", again.json())


async def test_chat_joins_too(redis_server: Server) -> None:
    async with slowly(redis_server.url) as (client, counting, reciter):
        first = asyncio.ensure_future(streamed(client))
        await until(reciter.begun.is_set)
        second = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT))
        await asyncio.sleep(0.2)
        go_on(reciter)
        assert [name for name, _ in events_of((await first).text)] == NAMES
        assert (await second).text.endswith("data: [DONE]\n\n")
    assert counting.asked == 1


async def test_an_error_ends_all_streams(redis_server: Server) -> None:
    async with slowly(redis_server.url) as (client, counting, reciter):
        reciter.error = ZeroDivisionError()
        first = asyncio.ensure_future(streamed(client))
        await until(reciter.begun.is_set)
        others = [asyncio.ensure_future(streamed(client)), asyncio.ensure_future(whole(client))]
        await asyncio.sleep(0.2)
        go_on(reciter)
        for stream in (await first, await others[0]):
            assert [name for name, _ in events_of(stream.text)] == ["hits", "reranked", "sentence", "error"]
        assert (await others[1]).status_code == 500
    assert counting.asked == 1


async def test_who_has_waited_long_enough_ends_alone(redis_server: Server) -> None:
    async with slowly(redis_server.url, stream_seconds=1.0) as (client, counting, reciter):
        first = asyncio.ensure_future(streamed(client))
        await until(reciter.begun.is_set)
        await asyncio.sleep(0.7)
        second = asyncio.ensure_future(streamed(client))
        ended = events_of((await first).text)
        go_on(reciter)
        assert [name for name, _ in events_of((await second).text)] == NAMES
    assert [name for name, _ in ended] == ["hits", "reranked", "error"]
    assert ended[-1][1]["type"].endswith("took-too-long")
    assert counting.asked == 1


@pytest.mark.parametrize("stays", [True, False])
def test_the_work_goes_on_while_anyone_is_there(redis_server: Server, serve: Serve, stays: bool) -> None:
    parts = parts_of(a_pipeline(reciter=(reciter := Reciter(Semaphore(1)))))
    assert parts.retriever is not None
    parts.retriever = counting = Counting(parts.retriever)
    parts.identities = dict.fromkeys(STAGES, lambda: "fakes")
    url = f"{serve(parts, Settings(redis_url=SecretStr(redis_server.url)))}/v1/query"
    with httpx.stream("POST", url, json=STREAM, timeout=WAIT) as second:
        with httpx.stream("POST", url, json=STREAM, timeout=WAIT) as first:
            assert "event: sentence" in first.iter_lines()
        lines = second.iter_lines()
        assert "event: sentence" in lines
        if stays:
            assert not reciter.closed.wait(0.3)
            go_on(reciter)
            assert "event: done" in lines
    while not reciter.closed.wait(0.05):
        go_on(reciter, 1)
    assert counting.asked == 1
    assert (reciter.said == len(SENTENCES)) == stays
    go_on(reciter)
    assert httpx.post(url, json=QUESTION, timeout=WAIT).headers["x-cache"] == ("hit" if stays else "miss")
