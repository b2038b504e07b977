"""What takes requests in: the stages of this process, and the threads that work on them.

Knows settings, parts and worker; nothing of HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ragnarok.errors import BadQuery
from ragnarok.pipeline import Event, Pipeline, Result
from ragnarok.query import clean_query
from service.context import current
from service.errors import NotReady
from service.greenlets import Greenlets
from service.identity import subject_of
from service.parts import Parts, build_parts, parts_of
from service.schema import QueryRequest
from service.settings import STAGES, Settings
from service.worker import Job, Threads, Worker

T = TypeVar("T")

LOADING = "the index and the model are still being loaded; ask again in a moment"

_log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, cleaned, and of how many passages it is answered."""

    text: str
    depth: int


class Desk:
    """Takes requests once it is open."""

    def __init__(self, settings: Settings, pipeline: Pipeline | Parts | None = None) -> None:
        """Work with `pipeline`, or with parts that are built on opening and closed on closing."""
        self.settings = settings
        self._given = parts_of(pipeline) if isinstance(pipeline, Pipeline) else pipeline
        self._parts: Parts | None = None
        self._built: Parts | None = None
        self.failure: Exception | None = None
        """Why opening failed."""
        self.timed: Callable[[str, float], None] = lambda *_: None
        """Hears how many seconds each stage of a question took."""
        self.traced: Callable[[Iterator[Event]], Iterator[Event]] = lambda events: events
        """Stands between the pipeline and who hears its events."""
        self.waited: Callable[[float], None] = lambda _: None
        """Hears how many seconds each request waited to be begun."""
        self.worded: Callable[[str, int], None] = lambda *_: None
        """Hears how many words each question, and each answer, has."""
        self.opened: Callable[[Parts], None] = lambda _: None
        """Is given the parts once they are there and before any is asked."""
        self._worker = self._workers()

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return self._parts is not None

    @property
    def parts(self) -> Parts:
        """What is open. Raises `NotReady`."""
        if self._parts is None:
            raise NotReady(LOADING)
        return self._parts

    @property
    def identity(self) -> dict[str, str] | None:
        """What answers depend on beside the question: each stage's identity; None where one is not known."""
        if self._parts is None:
            return None
        found = {stage: self._parts.identity(stage) for stage in STAGES}
        known = {stage: identity for stage, identity in found.items() if identity is not None}
        return known if len(known) == len(STAGES) else None

    def identities(self) -> dict[str, str]:
        """What the stages that are done here depend on, and each index that is searched.

        Raises `NotReady`.
        """
        parts, here = self.parts, self.settings.stages_here()
        names = [] if parts.library is None else list(parts.library.indexes)
        found = {
            subject_of("retrieval", name): parts.library.identity(name) for name in names if parts.library
        }
        for stage in ("rerank", "generation"):
            if stage in here and (known := parts.identity(stage)) is not None:
                found[stage] = known
        return found

    @property
    def waiting(self) -> int:
        """How many requests wait behind those being worked on."""
        return self._worker.waiting

    async def open(self) -> None:
        """Build the parts, in a thread that will use them. Raises what building raises."""
        loop = asyncio.get_running_loop()
        self._worker = self._workers()
        try:
            async for parts in self._worker.submit(lambda: self._build(loop)):
                self.opened(parts)
                self._parts = parts
        except Exception as error:
            self.failure = error
            raise
        finally:
            if not self.ready:
                await self.close()

    async def close(self) -> None:
        """Take no more requests, end those being worked on, and close what was built."""
        self._parts = None
        if not await self._worker.close():
            _log.warning("A pass of the model is still going on; what it uses is not closed")
        elif self._built is not None:
            await asyncio.to_thread(self._built.close)
            self._built = None

    def submit(self, make: Callable[[Parts], Generator[T]], *, whole: bool = False) -> Job[T]:
        """Queue up what `make` makes of the parts; with `whole`, only what it yields last is wanted.

        Raises `NotReady`, `Busy` and `Stopping`.
        """
        parts = self.parts
        return self._worker.submit(lambda: make(parts), whole=whole)

    def check(self, request: QueryRequest) -> Question:
        """The question that is asked. Raises `BadQuery` and `NotReady`."""
        query, depth = clean_query(request.query), request.depth
        if depth is not None and depth > self.settings.max_depth:
            raise BadQuery(
                f"a depth of {depth} is over this service's limit of {self.settings.max_depth}; ask for less"
            )
        current().question = query
        return Question(query, depth or self.parts.depth)

    def ask(self, question: Question, *, whole: bool = False) -> Job[Event]:
        """Queue a question up; with `whole`, only its result is wanted.

        Raises `NotReady`, `Busy` and `Stopping`.
        """
        query = question.text
        pipeline = self.parts.pipeline
        if pipeline is None:
            raise NotReady("this process does one stage only; ask the gateway")

        def events(_: Parts) -> Generator[Event]:
            for event in self.traced(pipeline.stream(query, depth=question.depth)):
                if isinstance(event, Result):
                    for stage, seconds in event.timings.items():
                        self.timed(stage, seconds)
                    self.worded("question", len(query.split()))
                    self.worded("answer", sum(len(one.text.split()) for one in event.answer.sentences))
                yield event

        return self.submit(events, whole=whole)

    def _workers(self) -> Worker:
        # Who has everything done by others only waits for them.
        computes = self._given is not None or self.settings.stages_here()
        return Worker(
            self.settings.max_waiting,
            self.settings.threads,
            Threads if computes else Greenlets,
            waited=lambda seconds: self.waited(seconds),
        )

    def _build(self, loop: asyncio.AbstractEventLoop) -> Generator[Parts]:
        if self._given is not None:
            yield self._given
            return
        # Kept before it is passed on: it is closed even if nobody waits for it any more.
        self._built = build_parts(self.settings, loop, _log.info)
        yield self._built
