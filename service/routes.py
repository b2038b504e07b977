"""The routes: questions, the state of the service, and the page.

Each hands over at once to the desk or the stream; nothing is computed here.
"""

from typing import Any

from fastapi import APIRouter, Request, Response

from ragnarok.pipeline import Result
from ragnarok.query import clean_query
from service.cache import Cache
from service.context import current
from service.desk import LOADING, Desk
from service.door import JsonRoute
from service.errors import NotReady
from service.problems import problems_of
from service.schema import Health, QueryRequest, QueryResponse
from service.stream import NamedEvents, end_of, event_stream, unless_left, wants_events

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; or, streamed, the events hits, reranked, sentence, done and error",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


def query_routes(desk: Desk, cache: Cache) -> APIRouter:
    """Questions to `desk`, unless `cache` has their answer."""
    router = APIRouter(prefix="/v1", route_class=JsonRoute)

    @router.post(
        "/query",
        response_model=QueryResponse,
        responses=_ANSWERS | problems_of(400, 413, 415, 422, 429, 500, 502, 503, 504),
        summary="Ask a question",
    )
    async def query(asked: QueryRequest, request: Request, response: Response) -> Response | QueryResponse:
        """Retrieve, re-rank and answer.

        With `stream` or an Accept of text/event-stream, each stage is sent as soon as it is there: `hits`,
        `reranked`, every `sentence`, and `done` with what the plain response would have been. `error` carries
        a problem object and ends the stream.
        """
        if wants_events(request, stream=asked.stream):
            return event_stream(desk.ask(asked), NamedEvents())

        async def make() -> QueryResponse:
            result = await end_of(desk.ask(asked))
            assert isinstance(result, Result)
            return QueryResponse.of(result)

        wanted = [clean_query(asked.query), asked.depth]
        answer = await unless_left(request, cache.get_or_make("answer", wanted, QueryResponse, make))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Cache"] = current().cache
        # Nobody reads what is sent to a client that has left.
        return answer or Response(status_code=204)

    return router


def health_routes(desk: Desk) -> APIRouter:
    """Whether the process lives, and whether it can answer."""
    router = APIRouter()

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Health:
        """Answer at once, whatever else goes on."""
        return Health(status="alive", waiting=desk.waiting)

    @router.get("/readyz", responses=problems_of(503), summary="Whether questions can be asked")
    async def readyz() -> Health:
        """Answer 503 until the index and the model are loaded."""
        if not desk.ready:
            raise NotReady(LOADING)
        return Health(status="ready", waiting=desk.waiting)

    return router
