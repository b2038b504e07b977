"""What takes requests in: the stages of this process, and the threads that work on them.

Knows settings, parts and worker; nothing of HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import TypeVar

from ragnarok.errors import BadQuery
from ragnarok.pipeline import Event, Pipeline, Result
from ragnarok.query import clean_query
from service.errors import NotReady
from service.parts import Parts, build_parts, parts_of
from service.schema import QueryRequest
from service.settings import Settings
from service.worker import Job, Worker

T = TypeVar("T")

LOADING = "the index and the model are still being loaded; ask again in a moment"

_log = logging.getLogger("uvicorn.error")


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
    def identity(self) -> object:
        """What answers depend on beside the question, in JSON; None where that is not known."""
        if self._parts is None or self._parts.identity is None:
            return None
        return [self.settings.model_dump(mode="json"), self._parts.identity]

    @property
    def waiting(self) -> int:
        """How many requests wait behind those being worked on."""
        return self._worker.waiting

    async def open(self) -> None:
        """Build the parts, in a thread that will use them. Raises what building raises."""
        self._worker = self._workers()
        try:
            async for parts in self._worker.submit(self._build):
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
        await self._worker.close()
        if self._built is not None:
            await asyncio.to_thread(self._built.close)
            self._built = None

    def submit(self, make: Callable[[Parts], Generator[T]]) -> Job[T]:
        """Queue up what `make` makes of the parts. Raises `NotReady`, `Busy` and `Stopping`."""
        parts = self.parts
        return self._worker.submit(lambda: make(parts))

    def ask(self, request: QueryRequest) -> Job[Event]:
        """Queue a question up. Raises `BadQuery`, `NotReady`, `Busy` and `Stopping`."""
        query, depth = clean_query(request.query), request.depth
        if depth is not None and depth > self.settings.max_depth:
            raise BadQuery(
                f"a depth of {depth} is over this service's limit of {self.settings.max_depth}; ask for less"
            )
        pipeline = self.parts.pipeline
        if pipeline is None:
            raise NotReady("this process does one stage only; ask the gateway")

        def events(_: Parts) -> Generator[Event]:
            for event in pipeline.stream(query, depth=depth):
                if isinstance(event, Result):
                    for stage, seconds in event.timings.items():
                        self.timed(stage, seconds)
                yield event

        return self.submit(events)

    def _workers(self) -> Worker:
        return Worker(self.settings.max_waiting, self.settings.threads)

    def _build(self) -> Generator[Parts]:
        if self._given is not None:
            yield self._given
            return
        # Kept before it is passed on: it is closed even if nobody waits for it any more.
        self._built = build_parts(self.settings, _log.info)
        yield self._built
