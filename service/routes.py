"""The routes: questions, the state of the service, and the page.

Each hands over at once to the desk or the stream; nothing is computed here.
"""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.desk import Desk
from service.door import JsonRoute
from service.errors import NotReady
from service.problems import Problem
from service.schema import Health, QueryRequest, QueryResponse
from service.stream import event_stream, one_response

_REFUSALS = {
    400: "The body is not JSON in UTF-8",
    413: "The body is too large",
    415: "The body is of another type",
    422: "The question cannot be used",
    429: "Too many questions wait",
    503: "The service cannot answer now",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
    return {
        status: {"description": _REFUSALS[status], "content": {"application/problem+json": schema}}
        for status in statuses
    }


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; or, streamed, the events hits, reranked, sentence, done and error",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    # The model here puts its schema into the document, where the others refer to it.
    500: {"description": "The service failed", "model": Problem},
}


def query_routes(desk: Desk) -> APIRouter:
    """Questions to `desk`."""
    router = APIRouter(prefix="/v1", route_class=JsonRoute)

    @router.post(
        "/query",
        response_model=QueryResponse,
        responses=_ANSWERS | _problems(400, 413, 415, 422, 429, 503),
        summary="Ask a question",
    )
    async def query(asked: QueryRequest, request: Request, response: Response) -> Response | QueryResponse:
        """Retrieve, re-rank and answer.

        With `stream` or an Accept of text/event-stream, each stage is sent as soon as it is there: `hits`,
        `reranked`, every `sentence`, and `done` with what the plain response would have been. `error` carries
        a problem object and ends the stream.
        """
        job = desk.ask(asked)
        if asked.stream or "text/event-stream" in request.headers.get("accept", "").lower():
            return event_stream(job)
        response.headers["Cache-Control"] = "no-store"
        # Nobody reads what is sent to a client that has left.
        return await one_response(job, request) or Response(status_code=204)

    return router


def health_routes(desk: Desk) -> APIRouter:
    """Whether the process lives, and whether it can answer."""
    router = APIRouter()

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> Health:
        """Answer at once, whatever else goes on."""
        return Health(status="alive", waiting=desk.waiting)

    @router.get("/readyz", responses=_problems(503), summary="Whether questions can be asked")
    async def readyz() -> Health:
        """Answer 503 until the index and the model are loaded."""
        if not desk.ready:
            raise NotReady("the index and the model are still being loaded; ask again in a moment")
        return Health(status="ready", waiting=desk.waiting)

    return router
