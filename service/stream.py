"""A question's events as a stream of server-sent events, and as one response.

Knows the pipeline's events and the wire; nothing of routes. Whoever stops reading ends the work.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from service.errors import Stopping
from service.problems import problem_of
from service.schema import CitedSentence, FoundHits, FoundPassage, QueryResponse, RankedHits, RankedPassage
from service.worker import STOPPING, Job

PING_SECONDS = 15.0
"""A silent stream says this often that it lives, so that nothing on the way gives it up."""

_PING = ": waiting\n\n"


def event_stream(job: Job[Event]) -> StreamingResponse:
    """The events `hits`, `reranked`, `sentence` and `done` as they come; `error` ends one that failed."""
    # Some proxies gather a response before they pass it on, unless told not to.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_messages(job), headers=headers, media_type="text/event-stream")


async def one_response(job: Job[Event], request: Request) -> QueryResponse | None:
    """The whole outcome, or nothing for a client that has left."""
    watch = asyncio.create_task(_gone(request))
    answer = asyncio.create_task(_result(job))
    try:
        await asyncio.wait({watch, answer}, return_when=asyncio.FIRST_COMPLETED)
        return QueryResponse.of(await answer) if answer.done() else None
    finally:
        job.leave()
        watch.cancel()
        answer.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _result(job: Job[Event]) -> Result:
    async for event in job:
        if isinstance(event, Result):
            return event
    raise Stopping(STOPPING)


async def _messages(job: Job[Event]) -> AsyncIterator[str]:
    events = aiter(job)
    following = asyncio.ensure_future(anext(events))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=PING_SECONDS)
            if not done:
                yield _PING
                continue
            if error := following.exception():
                if isinstance(error, Exception) and not isinstance(error, StopAsyncIteration):
                    yield _message("error", problem_of(error))
                return
            yield _message(*_data(following.result()))
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


def _message(name: str, data: BaseModel) -> str:
    # JSON holds no line break outside its own escapes, so one data line carries it.
    return f"event: {name}\ndata: {data.model_dump_json(exclude_none=True)}\n\n"
