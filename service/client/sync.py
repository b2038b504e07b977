"""The client that waits for each answer. How requests look and what answers mean is said elsewhere."""

import time
from collections.abc import Generator, Sequence
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


class Events(Generic[E]):
    """A streamed answer's events as they come; the service is asked when the first is wanted.

    Closing it, or leaving its `with`, closes the connection, and the work at the service ends.
    """

    def __init__(self, events: Generator[E]) -> None:
        """Pass on `events`."""
        self._events = events

    def __iter__(self) -> Self:
        """The events themselves."""
        return self

    def __next__(self) -> E:
        """The next event. Raises `ClientError`."""
        return next(self._events)

    def close(self) -> None:
        """Want no more of it."""
        self._events.close()

    def __enter__(self) -> Self:
        """The events themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Want no more of it."""
        self.close()


class Client:
    """A service, asked and waited for. Safe for threads; to be closed, or used in a `with`.

    Every method raises `ClientError`; which of them, `service.client.errors` says.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        timeout: float | None = TIMEOUT,
        retries: int = 2,
        http: httpx.Client | None = None,
    ) -> None:
        """Ask the service at `base_url`, as the owner of `api_key`.

        `timeout` is the seconds for which the service may say nothing, None for ever. After 429 or 503 that
        say when (`Retry-After`, at most a minute), and where no connection was made, a request is sent again,
        `retries` times at most. `http` is used, and left open, in place of a client of its own. Raises
        `Unusable`.
        """
        self._core = Core(base_url, api_key, timeout, retries)
        self._own = http is None
        self._http = http or httpx.Client(limits=httpx.Limits(max_connections=None))

    def close(self) -> None:
        """Close the connections, unless they are those of a client that was given."""
        if self._own:
            self._http.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def query(self, question: str, *, depth: int | None = None) -> QueryResponse:
        """The answer to a question, from `depth` passages; its hits and timings too."""
        return self._ask(calls.query(question, depth))

    def stream(self, question: str, *, depth: int | None = None) -> Events[QueryEvent]:
        """The same as it is made: `FoundHits`, `RankedHits`, each `CitedSentence`, last `QueryResponse`."""
        return Events(self._events(calls.stream(question, depth)))

    def search(self, query: str, index: str, *, hits: int = 10) -> Found:
        """The best hits of one query in an index."""
        return self._ask(calls.search(query, index, hits))

    def search_many(self, queries: Sequence[str], **options: Unpack[SearchOptions]) -> BatchFound:
        """The best hits of each query, in the order of the queries."""
        return self._ask(calls.search_many(queries, options))

    def document(self, docid: str, index: str) -> FoundDocument:
        """A document of an index."""
        return self._ask(calls.document(docid, index))

    def indexes(self) -> list[IndexInfo]:
        """The indexes that are served, and what each can be searched by."""
        return self._ask(calls.indexes()).indexes

    def rerank(
        self, query: str, documents: Sequence[Text], **options: Unpack[RerankOptions]
    ) -> RerankResponse:
        """Documents in order, best first; each result's `index` is its document's place, from 0."""
        return self._ask(calls.rerank(query, documents, options))

    def generate(self, question: str, passages: Sequence[Passage]) -> GenerateResponse:
        """The answer to a question from passages, best first."""
        return self._ask(calls.generate(question, passages))

    def stream_generate(self, question: str, passages: Sequence[Passage]) -> Events[GenerateEvent]:
        """The same as it is made: each `CitedSentence`, last `GenerateResponse`."""
        return Events(self._events(calls.stream_generate(question, passages)))

    def health(self) -> Health:
        """That the process answers, and how many requests wait."""
        return self._ask(calls.health())

    def ready(self) -> bool:
        """Whether the service can be asked now; False while it loads or stops."""
        try:
            self._ask(calls.ready())
        except ServiceUnavailable:
            return False
        return True

    def _ask(self, call: Call[T]) -> T:
        response = self._response(call)
        try:
            response.read()
        except httpx.HTTPError as error:
            raise self._core.broken(error) from error
        finally:
            response.close()
        return self._core.result(call, response)

    def _events(self, call: StreamCall[E]) -> Generator[E]:
        response = self._response(call)
        try:
            reading = Reading(self._core, call, response.headers)
            for piece in response.iter_bytes():
                yield from reading.events(piece)
            reading.end()
        except httpx.HTTPError as error:
            if not reading.done:
                raise self._core.broken(error) from error
        finally:
            response.close()

    def _response(self, call: Call[T] | StreamCall[E]) -> httpx.Response:
        """A response that went well, its body not read yet."""
        for attempt in count():
            request = self._core.request(self._http, call)
            try:
                response = self._http.send(request, stream=True)
            except httpx.HTTPError as error:
                failure = self._core.unanswered(error)
            else:
                if response.is_success:
                    return response
                failure = self._refusal(response)
            pause = self._core.pause(call, failure, attempt)
            if pause is None:
                raise failure
            time.sleep(pause)
        raise AssertionError("counting does not end")

    def _refusal(self, response: httpx.Response) -> ClientError:
        try:
            response.read()
        except httpx.HTTPError as error:
            return self._core.broken(error)
        finally:
            response.close()
        return refusal_of(response.status_code, response.content, response.headers)
