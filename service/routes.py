"""The routes: questions, the state of the service, and the page.

Each hands over at once to the desk or the stream; nothing is computed here.
"""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.answers import Answers
from service.desk import LOADING, Desk
from service.door import JsonRoute
from service.errors import NotReady
from service.identity import Identities
from service.problems import problems_of
from service.schema import Health, QueryRequest, QueryResponse
from service.sse import event_content
from service.stream import NamedEvents, json_response, left, wants_events

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; or, streamed, the events hits, reranked, sentence, done and error",
        "content": event_content("hits", "reranked", "sentence", "done", "error"),
    },
}


def query_routes(desk: Desk, answers: Answers) -> APIRouter:
    """Questions to `desk`, unless `answers` has theirs."""
    router = APIRouter(prefix="/v1", route_class=JsonRoute)

    @router.post(
        "/query",
        response_model=QueryResponse,
        responses=_ANSWERS | problems_of(400, 401, 408, 413, 415, 422, 429, 500, 502, 503, 504),
        summary="Ask a question",
    )
    async def query(asked: QueryRequest, request: Request) -> Response:
        """Retrieve, re-rank and answer.

        With `stream` or an Accept of text/event-stream, each stage is sent as soon as it is there: `hits`,
        `reranked`, every `sentence`, and `done` with what the plain response would have been. `error` carries
        a problem object and ends the stream.
        """
        question = desk.check(asked)
        if wants_events(request, stream=asked.stream):
            return await answers.events(question, NamedEvents())
        written = await answers.whole(question, request)
        return left() if written is None else json_response(written)

    return router


def identity_routes(desk: Desk) -> APIRouter:
    """What the process works with."""
    router = APIRouter(prefix="/v1", responses=problems_of(401, 429, 500, 503, 504))

    @router.get("/identity", summary="What answers depend on beside the request")
    async def identity() -> Identities:
        """Name what is here by digests: where one changes, the same request may be answered otherwise."""
        return Identities(identities=desk.identities())

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
