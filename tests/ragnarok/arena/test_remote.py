"""Systems behind an address, over real sockets: heard as they speak, or whole; and what may go wrong."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import closing
from threading import Semaphore

import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from ragnarok.arena.remote import MOST_BYTES, RemoteContender
from ragnarok.errors import (
    EndpointBroken,
    EndpointBusy,
    EndpointDenied,
    EndpointRejected,
    EndpointTimeout,
    EndpointUnreachable,
)
from ragnarok.pipeline import Event, Reranked, Result
from ragnarok.types import Sentence
from service.settings import Settings
from tests.service.fakes import EVIL, SENTENCES, Reciter, a_pipeline
from tests.service.running import served, server_of


def last(contender: RemoteContender, question: str) -> Result:
    *_, result = contender.stream(question)
    assert isinstance(result, Result)
    return result


def test_a_remote_system_answers_as_the_service_does() -> None:
    here = a_pipeline().ask("what is it?")
    with server_of(a_pipeline(), Settings()) as address, closing(RemoteContender("far", address)) as far:
        assert far.system.components == {"url": address}
        *events, result = far.stream(" what  is it? ")
    assert isinstance(result, Result)
    sentences: list[Event] = [event for event in events if isinstance(event, Sentence)]
    assert (result.query, result.hits, result.answer) == (here.query, here.hits, here.answer)
    assert sentences == list(here.answer.sentences)
    assert result.timings.keys() == here.timings.keys()


def failing(status: int, body: bytes = b"{}") -> FastAPI:
    app = FastAPI()

    @app.post("/v1/query")
    async def query(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer key"
        return Response(body, status)

    return app


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", EndpointDenied),
        (429, b"", EndpointBusy),
        (422, b"", EndpointRejected),
        (307, b"", EndpointBroken),
        (500, b"", EndpointBroken),
        (200, b"no JSON", EndpointBroken),
        (200, b"[]", EndpointBroken),
        (200, b"{}", EndpointBroken),
        (200, b"[" * 100_000, EndpointBroken),
        (200, b'{"hits": 3, "answer": {"sentences": [], "references": []}}', EndpointBroken),
        (
            200,
            b'{"hits": [{"rank":0,"docid":"d","score":1}], "answer": {"sentences": [], "references": []}}',
            EndpointBroken,
        ),
        (200, b'{"hits": [{"docid": "d"}], "answer": {"sentences": [], "references": []}}', EndpointBroken),
        (
            200,
            b'{"answer": {"sentences": [{"text": "t", "citations": [1]}], "references": []}}',
            EndpointBroken,
        ),
        (200, b" " * (MOST_BYTES + 1), EndpointBroken),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_remote_failure_has_its_name(status: int, body: bytes, kind: type[Exception]) -> None:
    with (
        served(failing(status, body)) as address,
        closing(RemoteContender("far", address, "key")) as far,
        pytest.raises(kind) as caught,
    ):
        last(far, "why?")
    assert address in str(caught.value)


def test_a_remote_that_is_away_or_slow_is_named() -> None:
    with served(FastAPI()) as address:
        pass
    with closing(RemoteContender("far", address)) as far, pytest.raises(EndpointUnreachable):
        last(far, "why?")
    slow = FastAPI()

    @slow.post("/v1/query")
    async def query() -> None:
        await asyncio.sleep(1)

    with (
        served(slow) as address,
        closing(RemoteContender("far", address, timeout=0.2)) as far,
        pytest.raises(EndpointTimeout, match=r"0\.2 s"),
    ):
        last(far, "why?")


def test_sentences_come_as_they_are_said() -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    with (
        server_of(a_pipeline(reciter=reciter), Settings()) as address,
        closing(RemoteContender("far", address)) as far,
    ):
        events = far.stream("what is it?")
        assert isinstance(next(events), Reranked)
        for number, sentence in enumerate(SENTENCES):
            # The next one cannot have been said yet.
            assert reciter.said <= number
            steps.release()
            assert next(events) == sentence
        (result,) = events
    assert isinstance(result, Result)
    assert result.answer.sentences == SENTENCES
    # What a page would take for its own is a text like any other.
    assert EVIL in result.answer.text


def test_who_stops_listening_ends_the_work_elsewhere() -> None:
    steps = Semaphore(1)
    reciter = Reciter(steps)
    with (
        server_of(a_pipeline(reciter=reciter), Settings()) as address,
        closing(RemoteContender("far", address)) as far,
    ):
        events = far.stream("what is it?")
        assert [type(next(events)) for _ in range(2)] == [Reranked, Sentence]
        assert isinstance(events, Generator)
        events.close()
        # By now it is known over there.
        time.sleep(0.5)
        steps.release()
        assert reciter.closed.wait(10)
    assert reciter.said < len(SENTENCES)


DONE: dict[str, object] = {
    "query": "why?",
    "answer": {"sentences": [{"text": "One.", "citations": [0]}, {"text": "Two."}], "references": ["d"]},
    "hits": [{"docid": "d", "score": 1.0, "rank": 1}],
    "timings": {"answer": 0.5},
}


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def saying(*pieces: bytes, pause: float = 0.0) -> FastAPI:
    """A remote that sends these pieces of events, each after a pause."""
    app = FastAPI()

    @app.post("/v1/query")
    async def query(request: Request) -> Response:
        assert "text/event-stream" in request.headers["accept"]

        async def sent() -> AsyncIterator[bytes]:
            for piece in pieces:
                await asyncio.sleep(pause)
                yield piece

        return StreamingResponse(sent(), media_type="text/event-stream")

    return app


@pytest.mark.parametrize(
    "pieces",
    [
        [event("done", DONE)],
        [
            b": ping\n\n",
            event("news", []),
            event("sentence", {"text": "One.", "citations": [0]}),
            event("done", DONE),
        ],
        [bytes([byte]) for byte in event("reranked", DONE) + event("done", DONE)],
        [
            event("reranked", DONE),
            event("reranked", {"hits": []}),
            event("done", DONE),
            b"event: done\ndata: 3\n\n",
        ],
    ],
    ids=["the end alone", "what is not known", "byte by byte", "more than once"],
)
def test_however_events_come_each_thing_is_said_once(pieces: Sequence[bytes]) -> None:
    with served(saying(*pieces)) as address, closing(RemoteContender("far", address)) as far:
        events = list(far.stream("why?"))
    assert [one.text for one in events if isinstance(one, Sentence)] == ["One.", "Two."]
    assert sum(isinstance(one, Reranked) for one in events) == 1
    assert isinstance(events[-1], Result)
    assert [hit.docid for hit in events[-1].hits] == ["d"]


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([], EndpointBroken),
        ([event("reranked", DONE), event("sentence", {"text": "One."})], EndpointBroken),
        ([event("done", DONE)[:-1]], EndpointBroken),
        ([event("done", {})], EndpointBroken),
        ([event("done", [])], EndpointBroken),
        ([event("sentence", {"text": 3})], EndpointBroken),
        ([event("sentence", {"text": "t", "citations": [-1]})], EndpointBroken),
        ([event("reranked", {"hits": {"a": 1}})], EndpointBroken),
        ([b"event: sentence\ndata: {\n\n"], EndpointBroken),
        ([b"event: sentence\ndata: \xff\n\n"], EndpointBroken),
        ([b"data: " + b"x" * 2**20] * (MOST_BYTES // 2**20 + 1), EndpointBroken),
        ([event("error", {"status": 500, "detail": "x"})], EndpointBroken),
        ([event("error", {"status": None})], EndpointBroken),
        ([event("error", {"status": 429})], EndpointBusy),
        ([event("error", {"status": 403})], EndpointDenied),
        ([event("error", {"status": 422})], EndpointRejected),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_stream_has_its_name(pieces: Sequence[bytes], kind: type[Exception]) -> None:
    with (
        served(saying(*pieces)) as address,
        closing(RemoteContender("far", address, timeout=20)) as far,
        pytest.raises(kind) as caught,
    ):
        last(far, "why?")
    assert address in str(caught.value)


def test_pings_do_not_make_an_answer_that_never_ends() -> None:
    with (
        served(saying(*[b": waiting\n\n"] * 100, pause=0.05)) as address,
        closing(RemoteContender("far", address, timeout=0.3)) as far,
        pytest.raises(EndpointTimeout, match=r"0\.3 s"),
    ):
        last(far, "why?")


def test_a_remote_without_events_answers_whole() -> None:
    app = FastAPI()

    @app.post("/v1/query")
    async def query() -> dict[str, object]:
        return DONE

    with served(app) as address, closing(RemoteContender("far", address)) as far:
        reranked, *sentences, result = far.stream("why?")
    assert isinstance(reranked, Reranked)
    assert sentences == [Sentence("One.", (0,)), Sentence("Two.", ())]
    assert isinstance(result, Result)
    assert result.timings == {"answer": 0.5}
