"""Events of the arena on the wire: one battle's, and those of two systems that are compared.

Knows server-sent events; nothing of routes.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from pydantic import BaseModel
from starlette.responses import StreamingResponse

from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from ragnarok.types import Sentence
from service.arena.match import Shown
from service.arena.schema import SIDES, OneSystem, Side
from service.problems import Problem, problem_of
from service.schema import AttributedAnswer, CitedSentence, FoundPassage, RankedPassage
from service.stream import HEADERS, MEDIA_TYPE, PING_SECONDS, message
from service.worker import Job

_PING = ": waiting\n\n"


class ComparedHits(BaseModel):
    """Data of the events `hits` and `reranked`: what one side found, best first."""

    side: Side
    hits: list[FoundPassage] | list[RankedPassage]


class ComparedSentence(CitedSentence):
    """Data of the event `sentence`: one more of a side's answer."""

    side: Side


class ComparedResult(BaseModel):
    """Data of the event `done`: one side's whole outcome."""

    side: Side
    answer: AttributedAnswer
    hits: list[RankedPassage]
    timings: dict[str, float]
    system: OneSystem


class ComparedFailure(BaseModel):
    """Data of the event `failed`: one side's error; the other goes on."""

    side: Side
    problem: Problem


class End(BaseModel):
    """Data of the event `end`: neither side has more."""


def events_response(events: AsyncGenerator[Shown]) -> StreamingResponse:
    """Events as they come; an error ends them."""
    return StreamingResponse(_messages(events), headers=HEADERS, media_type=MEDIA_TYPE)


async def compared(
    jobs: tuple[Job[Event], Job[Event]], systems: tuple[OneSystem, OneSystem]
) -> AsyncGenerator[Shown]:
    """What both sides do, each at its own pace; the jobs are left where nobody listens any more."""
    waiting: asyncio.Queue[Shown | None] = asyncio.Queue()

    async def follow(side: Side, job: Job[Event], system: OneSystem) -> None:
        async for event in job:
            waiting.put_nowait(_compared(side, event, system))

    def end(side: Side, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            waiting.put_nowait(("failed", ComparedFailure(side=side, problem=problem_of(error))))
        waiting.put_nowait(None)

    tasks = [asyncio.ensure_future(follow(*one)) for one in zip(SIDES, jobs, systems, strict=True)]
    for side, task in zip(SIDES, tasks, strict=True):
        task.add_done_callback(partial(end, side))
    try:
        ended = 0
        while ended < len(tasks):
            shown = await waiting.get()
            if shown is None:
                ended += 1
            else:
                yield shown
        yield "end", End()
    finally:
        for task, job in zip(tasks, jobs, strict=True):
            task.cancel()
            job.leave()


def _compared(side: Side, event: Event, system: OneSystem) -> Shown:
    match event:
        case Retrieved(found):
            return "hits", ComparedHits(side=side, hits=[FoundPassage.of(hit) for hit in found])
        case Reranked(ranked):
            return "reranked", ComparedHits(side=side, hits=[RankedPassage.of(hit) for hit in ranked])
        case Sentence(text, citations):
            return "sentence", ComparedSentence(side=side, text=text, citations=list(citations))
        case Result(hits=hits, answer=answer, timings=timings):
            return "done", ComparedResult(
                side=side,
                answer=AttributedAnswer.of(answer),
                hits=[RankedPassage.of(hit) for hit in hits],
                timings=dict(timings),
                system=system,
            )


async def _messages(events: AsyncGenerator[Shown]) -> AsyncGenerator[str]:
    async with aclosing(events):
        following = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=PING_SECONDS)
                if not done:
                    yield _PING
                    continue
                if error := following.exception():
                    if isinstance(error, Exception) and not isinstance(error, StopAsyncIteration):
                        yield message("error", problem_of(error))
                    return
                yield message(*following.result())
                following = asyncio.ensure_future(anext(events))
        finally:
            following.cancel()
            # Let it end: what is still being run cannot be closed.
            await asyncio.wait({following})
