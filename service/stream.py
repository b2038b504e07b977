"""A question's events as a stream of server-sent events, and as one response.

Knows the pipeline's events and the wire; nothing of routes. Whoever stops reading ends the work.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from service.broadcast import Source
from service.context import current
from service.errors import Stopping, TookTooLong
from service.problems import problem_of
from service.schema import CitedSentence, FoundHits, FoundPassage, QueryResponse, RankedHits, RankedPassage
from service.worker import STOPPING

PING_SECONDS = 15.0
"""A silent stream says this often that it lives, so that nothing on the way gives it up."""

_PING = ": waiting\n\n"

# Some proxies gather a response before they pass it on, unless told not to.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA_TYPE = "text/event-stream"

T = TypeVar("T")
E_contra = TypeVar("E_contra", contravariant=True)


class Wire(Protocol[E_contra]):
    """How a stream says what happens: server-sent events, each with the blank line that ends it."""

    def event(self, event: E_contra, /) -> str:
        """What an event is on the wire."""

    def error(self, error: Exception, /) -> str:
        """What ends a stream that failed."""


class NamedEvents:
    """The events `hits`, `reranked`, `sentence` and `done`; `error` ends a stream that failed."""

    def event(self, event: Event) -> str:
        """An event by its name."""
        return message(*_data(event))

    def error(self, error: Exception) -> str:
        """A problem by the name `error`."""
        return message("error", problem_of(error))


def wants_events(request: Request, *, stream: bool) -> bool:
    """Whether a client wants server-sent events: the body's `stream` says so, or the Accept header."""
    return stream or "text/event-stream" in request.headers.get("accept", "").lower()


def event_stream(
    job: Source[T],
    wire: Wire[T],
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """The job's events as they come, on `wire`."""
    messages = _messages(job, wire)
    return StreamingResponse(messages, headers={**HEADERS, **(headers or {})}, media_type=MEDIA_TYPE)


def replayed(events: Iterable[T], wire: Wire[T], headers: Mapping[str, str]) -> Response:
    """Events that are all there already, on `wire`."""
    text = "".join(map(wire.event, events))
    return Response(text, headers={**HEADERS, **headers}, media_type=MEDIA_TYPE)


def left() -> Response:
    """For a client that has left: nobody reads it."""
    return Response(status_code=204)


def json_response(written: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as it was written, with what its cache said of it."""
    said = {"Cache-Control": "no-store", "X-Cache": current().cache, **(headers or {})}
    return Response(written, headers=said, media_type="application/json")


async def last_of(job: Source[T], request: Request) -> T | None:
    """What the job yields last, or nothing for a client that has left."""
    try:
        return await unless_left(request, end_of(job))
    finally:
        # Also where `end_of` was cancelled before it began.
        job.leave()


async def unless_left(request: Request, answer: Coroutine[Any, Any, T]) -> T | None:
    """What `answer` comes to, or nothing for a client that has left; it is cancelled then."""
    watch = asyncio.create_task(_gone(request))
    task = asyncio.create_task(answer)
    try:
        await asyncio.wait({watch, task}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        watch.cancel()
        task.cancel()


async def end_of(job: Source[T]) -> T:
    """What the job yields last; the job is left where this is cancelled. Raises what it raises."""
    try:
        return await _last(job)
    finally:
        job.leave()


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _last(job: Source[T]) -> T:
    found = [event async for event in job][-1:]
    if not found:
        raise Stopping(STOPPING)
    return found[0]


async def _messages(job: Source[T], wire: Wire[T]) -> AsyncIterator[str]:
    events = aiter(job)
    following = asyncio.ensure_future(anext(events))
    try:
        while True:
            time_left = current().ends - asyncio.get_running_loop().time()
            if time_left <= 0:
                yield wire.error(TookTooLong("this answer took longer than one may; ask for less"))
                return
            done, _ = await asyncio.wait({following}, timeout=min(PING_SECONDS, time_left))
            if not done:
                if time_left > PING_SECONDS:
                    yield _PING
                continue
            if error := following.exception():
                if isinstance(error, Exception) and not isinstance(error, StopAsyncIteration):
                    yield wire.error(error)
                return
            yield wire.event(following.result())
            following = asyncio.ensure_future(anext(events))
    finally:
        job.leave()
        following.cancel()


def _data(event: Event) -> tuple[str, BaseModel]:
    """An event's name and data."""
    match event:
        case Retrieved(hits):
            return "hits", FoundHits(hits=[FoundPassage.of(hit) for hit in hits])
        case Reranked(ranked):
            return "reranked", RankedHits(hits=[RankedPassage.of(hit) for hit in ranked])
        case Result():
            return "done", QueryResponse.of(event)
        case sentence:
            return "sentence", CitedSentence(text=sentence.text, citations=list(sentence.citations))


def message(name: str, data: BaseModel) -> str:
    """A server-sent event."""
    # JSON holds no line break outside its own escapes, so one data line carries it.
    return f"event: {name}\ndata: {data.model_dump_json(exclude_none=True)}\n\n"
