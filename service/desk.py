"""What takes questions in: one pipeline, and the one thread that works on it.

Knows settings, pipeline and worker; nothing of HTTP.
"""

import logging
from collections.abc import Generator

from ragnarok.assemble import build_pipeline
from ragnarok.errors import BadQuery
from ragnarok.pipeline import Event, Pipeline
from ragnarok.query import clean_query
from service.errors import NotReady
from service.schema import QueryRequest
from service.settings import Settings
from service.worker import Job, Worker

_log = logging.getLogger("uvicorn.error")


class Desk:
    """Takes questions once it is open."""

    def __init__(self, settings: Settings, pipeline: Pipeline | None = None) -> None:
        """Answer with `pipeline`, or with one that is built on opening."""
        self.settings = settings
        self._given = pipeline
        self._pipeline: Pipeline | None = None
        self.failure: Exception | None = None
        """Why opening failed."""
        self._worker = Worker(settings.max_waiting)

    @property
    def ready(self) -> bool:
        """Whether questions can be answered."""
        return self._pipeline is not None

    @property
    def waiting(self) -> int:
        """How many questions wait behind the one being answered."""
        return self._worker.waiting

    async def open(self) -> None:
        """Build the pipeline, in the thread that will use it. Raises what building raises."""
        self._worker = Worker(self.settings.max_waiting)
        try:
            async for pipeline in self._worker.submit(self._build):
                self._pipeline = pipeline
        except Exception as error:
            self.failure = error
            raise
        finally:
            if not self.ready:
                await self.close()

    async def close(self) -> None:
        """Take no more questions, and end the one being answered."""
        self._pipeline = None
        await self._worker.close()

    def ask(self, request: QueryRequest) -> Job[Event]:
        """Queue a question up. Raises `BadQuery`, `NotReady` and `Busy`."""
        pipeline, query, depth = self._pipeline, clean_query(request.query), request.depth
        if depth is not None and depth > self.settings.max_depth:
            raise BadQuery(
                f"a depth of {depth} is over this service's limit of {self.settings.max_depth}; ask for less"
            )
        if pipeline is None:
            raise NotReady("the index and the model are still being loaded; ask again in a moment")

        def events() -> Generator[Event]:
            yield from pipeline.stream(query, depth=depth)

        return self._worker.submit(events)

    def _build(self) -> Generator[Pipeline]:
        yield self._given or build_pipeline(self.settings.for_pipeline(), _log.info)
