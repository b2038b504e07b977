"""One envelope for every error: application/problem+json (RFC 9457).

What an error of the pipeline means is said in `ragnarok.errors`, what an error of the door means here.
What neither knows is a fault of ours: it is logged, and the client learns nothing of its inside.
"""

import http
import logging
import math
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from indexes.errors import IndexesError
from ragnarok.errors import FAULT, RagnarokError, outcome_of
from rerank.errors import RerankError
from service.errors import (
    BadMode,
    BattleOver,
    BodyTooSlow,
    Busy,
    ForeignOrigin,
    LimitReached,
    NoSuchModel,
    NotFinished,
    NotReady,
    NoVoter,
    OverLimit,
    ServiceError,
    SideFailed,
    Stopping,
    TookTooLong,
    Unauthorized,
    UpstreamFailed,
    UpstreamTimeout,
)

RETRY_AFTER = 5
"""Seconds after which a client may try again what could not be done now."""

NAMED = 10
"""How many things that are wrong with a request are named."""

OPENAI_PATHS = ("/v1/chat/", "/v1/models")
"""Where OpenAI's API is spoken."""

_log = logging.getLogger("uvicorn.error")

_OURS: dict[type[Exception], tuple[int, str]] = {
    Busy: (429, "Too many questions wait"),
    LimitReached: (429, "More than one client may ask"),
    BodyTooSlow: (408, "The body takes too long"),
    TookTooLong: (504, "The request takes too long"),
    NotReady: (503, "Not ready yet"),
    Unauthorized: (401, "An API key is needed"),
    BadMode: (422, "No such way to re-rank here"),
    OverLimit: (422, "More than may be asked for"),
    NoSuchModel: (404, "No such model"),
    UpstreamFailed: (502, "A service behind this one failed"),
    UpstreamTimeout: (504, "A service behind this one takes too long"),
    SideFailed: (502, "The battle came to nothing"),
    NotFinished: (409, "The battle goes on"),
    BattleOver: (409, "The battle is over"),
    NoVoter: (403, "Nobody knows whose vote this is"),
    ForeignOrigin: (403, "Asked from another site"),
    Stopping: (503, "Shutting down"),
}


_HANDLED: tuple[type[Exception], ...] = (
    RagnarokError,
    IndexesError,
    RerankError,
    ServiceError,
    HTTPException,
    RequestValidationError,
    Exception,
)


class Wrong(BaseModel):
    """One thing wrong with a request: where, as a JSON pointer into the body, and what."""

    pointer: str
    detail: str


class ApiError(BaseModel):
    """What clients of OpenAI's API read of an error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Problem(BaseModel):
    """An error. `type` identifies its kind; `detail` is about this occurrence and says the way out.

    `error` says the same to clients of OpenAI's API, where that is spoken.
    """

    type: str = Field(examples=["urn:ragnarok:problem:bad-query"])
    title: str
    status: int
    detail: str
    errors: list[Wrong] | None = None
    error: ApiError | None = None

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The HTTP response that carries this."""
        extra = {"Retry-After": str(RETRY_AFTER)} if self.status in {429, 503} else {}
        return Response(
            self.model_dump_json(exclude_none=True),
            self.status,
            {"Cache-Control": "no-store", **extra, **(headers or {})},
            media_type="application/problem+json",
        )


REFUSALS = {
    400: "The body is not JSON in UTF-8",
    401: "An API key is needed",
    403: "This may not be asked so",
    404: "There is nothing of that name",
    409: "Things are not so far, or are past that",
    408: "The body takes too long",
    413: "The body is too large",
    415: "The body is of another type",
    422: "The request cannot be served as it is",
    429: "Too many requests wait",
    500: "The service failed",
    502: "A service behind this one failed",
    503: "The service cannot answer now",
    504: "A service behind this one takes too long",
}


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's document says of its refusals."""
    schema = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
    return {
        status: {"description": REFUSALS[status], "content": {"application/problem+json": schema}}
        # The model here puts its schema into the document, where the others refer to it.
        | ({"model": Problem} if status == 500 else {})
        for status in statuses
    }


def problem_of(error: Exception) -> Problem:
    """The envelope of any error; logs what is a fault of ours."""
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        title = http.HTTPStatus(error.status_code).phrase
        return Problem(type="about:blank", title=title, status=error.status_code, detail=error.detail)
    outcome = outcome_of(error)
    status, title = _OURS.get(type(error), (outcome.status, outcome.title))
    # A fault of ours is logged with its trace, and so is what this machine must be mended for.
    if status >= 500 and type(error) not in _OURS:
        _log.error("%s: %s", title, error, exc_info=error)
    if outcome is FAULT and type(error) not in _OURS:
        return Problem(
            type="about:blank", title=title, status=status, detail="The service failed; its log says why."
        )
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()
    return Problem(type=f"urn:ragnarok:problem:{kind}", title=title, status=status, detail=str(error))


def for_openai(problem: Problem) -> Problem:
    """The same with the member `error`."""
    kinds = {429: "rate_limit_error", 401: "authentication_error"}
    kind = kinds.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error")
    known = problem.type.startswith("urn:")
    error = ApiError(
        message=problem.detail,
        type=kind,
        param=problem.errors[0].pointer if problem.errors else None,
        code=problem.type.rpartition(":")[2].replace("-", "_") if known else None,
    )
    return problem.model_copy(update={"error": error})


def _invalid(error: RequestValidationError) -> Problem:
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        detail = f"The body is not JSON: {found[0]['ctx']['error']} at character {found[0]['loc'][-1]}."
        return Problem(type="about:blank", title="Bad Request", status=400, detail=detail)
    wrong = [Wrong(pointer=_pointer(one, error.body), detail=one["msg"]) for one in found[:NAMED]]
    said = [f"{one.pointer or 'the body'}: {one.detail}" for one in wrong]
    return Problem(
        type="urn:ragnarok:problem:invalid-request",
        title="The request is not as it must be",
        status=422,
        detail="; ".join(said + [f"and {len(found) - NAMED:,} more"] * (len(found) > NAMED)),
        errors=wrong,
    )


def _pointer(wrong: Mapping[str, Any], body: object) -> str:
    """Where in `body` something is wrong: `("body", "depth")` as `/depth`.

    Names of types, which stand in the location where several may be, are no part of the body. A name that
    the client made up is not repeated at any length.
    """
    here: Any = body
    (room, *steps), kept = wrong["loc"], []
    for place, step in enumerate(steps, start=1):
        try:
            here = here[step]
        except (LookupError, TypeError):
            missing = wrong["type"] == "missing" and place == len(steps)
            if room == "body" and not missing:
                continue
        kept.append(str(step)[:64].replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{step}" for step in kept)


def response_of(error: Exception, path: str) -> Response:
    """The response to a request of `path` that failed so."""
    problem = problem_of(error)
    if path.startswith(OPENAI_PATHS):
        problem = for_openai(problem)
    return problem.response(_headers(error))


async def answer(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that failed so, from wherever it is known."""
    await response_of(error, scope["path"])(scope, receive, send)


def _headers(error: Exception) -> Mapping[str, str]:
    """What a client is told of an error beside its body."""
    match error:
        case HTTPException():
            return error.headers or {}
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="ragnarok"'}
        case LimitReached(wait=wait) if wait:
            return {"Retry-After": str(max(math.ceil(wait), 1))}
        case BodyTooSlow():
            # What may still come of the body is not waited for.
            return {"Connection": "close"}
    return {}


async def _respond(request: Request, error: Exception) -> Response:
    return response_of(error, request.url.path)


def install(app: FastAPI) -> None:
    """Give every error of `app` the one envelope."""
    for kind in _HANDLED:
        app.add_exception_handler(kind, _respond)
