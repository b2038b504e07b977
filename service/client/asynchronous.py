"""The client whose answers are awaited. How requests look and what answers mean is said elsewhere."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import count
from typing import Generic, Self, TypeVar, Unpack

import httpx
from pydantic import BaseModel

from service.client import calls
from service.client.calls import (
    Call,
    GenerateEvent,
    Passage,
    QueryEvent,
    RerankOptions,
    SearchOptions,
    StreamCall,
    Text,
)
from service.client.core import TIMEOUT, Core, Reading
from service.client.errors import ClientError, ServiceUnavailable, refusal_of
from service.schema import Health, QueryResponse
from service.schema_generation import GenerateResponse
from service.schema_rerank import RerankResponse
from service.schema_retrieval import BatchFound, Found, FoundDocument, IndexInfo

T = TypeVar("T", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)


class AsyncEvents(Generic[E]):
    """A streamed answer's events as they come; the service is asked when the first is wanted.

    Closing it, or leaving its `async with`, closes the connection, and the work at the service ends.
    """

    def __init__(self, events: AsyncGenerator[E]) -> None:
        """Pass on `events`."""
        self._events = events

    def __aiter__(self) -> Self:
        """The events themselves."""
        return self

    async def __anext__(self) -> E:
        """The next event. Raises `ClientError`."""
        return await anext(self._events)

    async def aclose(self) -> None:
        """Want no more of it."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        """The events themselves."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Want no more of it."""
        await self.aclose()


class AsyncClient:
    """A service, asked and awaited, on asyncio. To be closed, or used in an `async with`.

    Every method raises `ClientError`; which of them, `service.client.errors` says.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        timeout: float | None = TIMEOUT,
        retries: int = 2,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Ask the service at `base_url`, as the owner of `api_key`.

        `timeout` is the seconds for which the service may say nothing, None for ever. After 429 or 503 that
        say when (`Retry-After`, at most a minute), and where no connection was made, a request is sent again,
        `retries` times at most. `http` is used, and left open, in place of a client of its own. Raises
        `Unusable`.
        """
        self._core = Core(base_url, api_key, timeout, retries)
        self._own = http is None
        self._http = http or httpx.AsyncClient(limits=httpx.Limits(max_connections=None))

    async def aclose(self) -> None:
        """Close the connections, unless they are those of a client that was given."""
        if self._own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def query(self, question: str, *, depth: int | None = None) -> QueryResponse:
        """The answer to a question, from `depth` passages; its hits and timings too."""
        return await self._ask(calls.query(question, depth))

    def stream(self, question: str, *, depth: int | None = None) -> AsyncEvents[QueryEvent]:
        """The same as it is made: `FoundHits`, `RankedHits`, each `CitedSentence`, last `QueryResponse`."""
        return AsyncEvents(self._events(calls.stream(question, depth)))

    async def search(self, query: str, index: str, *, hits: int = 10) -> Found:
        """The best hits of one query in an index."""
        return await self._ask(calls.search(query, index, hits))

    async def search_many(self, queries: Sequence[str], **options: Unpack[SearchOptions]) -> BatchFound:
        """The best hits of each query, in the order of the queries."""
        return await self._ask(calls.search_many(queries, options))

    async def document(self, docid: str, index: str) -> FoundDocument:
        """A document of an index."""
        return await self._ask(calls.document(docid, index))

    async def indexes(self) -> list[IndexInfo]:
        """The indexes that are served, and what each can be searched by."""
        return (await self._ask(calls.indexes())).indexes

    async def rerank(
        self, query: str, documents: Sequence[Text], **options: Unpack[RerankOptions]
    ) -> RerankResponse:
        """Documents in order, best first; each result's `index` is its document's place, from 0."""
        return await self._ask(calls.rerank(query, documents, options))

    async def generate(self, question: str, passages: Sequence[Passage]) -> GenerateResponse:
        """The answer to a question from passages, best first."""
        return await self._ask(calls.generate(question, passages))

    def stream_generate(self, question: str, passages: Sequence[Passage]) -> AsyncEvents[GenerateEvent]:
        """The same as it is made: each `CitedSentence`, last `GenerateResponse`."""
        return AsyncEvents(self._events(calls.stream_generate(question, passages)))

    async def health(self) -> Health:
        """That the process answers, and how many requests wait."""
        return await self._ask(calls.health())

    async def ready(self) -> bool:
        """Whether the service can be asked now; False while it loads or stops."""
        try:
            await self._ask(calls.ready())
        except ServiceUnavailable:
            return False
        return True

    async def _ask(self, call: Call[T]) -> T:
        response = await self._response(call)
        try:
            await response.aread()
        except httpx.HTTPError as error:
            raise self._core.broken(error) from error
        finally:
            await response.aclose()
        return self._core.result(call, response)

    async def _events(self, call: StreamCall[E]) -> AsyncGenerator[E]:
        response = await self._response(call)
        try:
            reading = Reading(self._core, call, response.headers)
            async for piece in response.aiter_bytes():
                for event in reading.events(piece):
                    yield event
            reading.end()
        except httpx.HTTPError as error:
            if not reading.done:
                raise self._core.broken(error) from error
        finally:
            await response.aclose()

    async def _response(self, call: Call[T] | StreamCall[E]) -> httpx.Response:
        """A response that went well, its body not read yet."""
        for attempt in count():
            request = self._core.request(self._http, call)
            try:
                response = await self._http.send(request, stream=True)
            except httpx.HTTPError as error:
                failure = self._core.unanswered(error)
            else:
                if response.is_success:
                    return response
                failure = await self._refusal(response)
            pause = self._core.pause(call, failure, attempt)
            if pause is None:
                raise failure
            await asyncio.sleep(pause)
        raise AssertionError("counting does not end")

    async def _refusal(self, response: httpx.Response) -> ClientError:
        try:
            await response.aread()
        except httpx.HTTPError as error:
            return self._core.broken(error)
        finally:
            await response.aclose()
        return refusal_of(response.status_code, response.content, response.headers)
