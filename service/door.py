"""What a request must be before anything is made of it: not too large, JSON, and UTF-8.

Knows HTTP only; what the JSON must say is the schema's business.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKING = ("/v1/", "/v2/")
"""Paths that ask something; pages, health and counters hold nothing of anyone's, and are open to all."""


def asks(scope: Scope) -> bool:
    """Whether this is a request that asks something, and not one for what is open to all."""
    path: str = scope.get("path", "")
    return scope["type"] == "http" and path.startswith(ASKING)


class BodyLimit:
    """Refuses bodies over a limit, by what they say of themselves and by what really comes in."""

    def __init__(self, app: ASGIApp, max_bytes: int, others: Mapping[str, int] | None = None) -> None:
        """Stand before `app`; `others` are paths with a limit of their own."""
        self.app, self.max_bytes, self.others = app, max_bytes, others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body while the application reads it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_bytes = self.others.get(scope["path"], self.max_bytes)
        declared = Headers(scope=scope).get("content-length", "")
        seen = int(declared) if declared.isascii() and declared.isdigit() else 0
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive() if seen <= max_bytes else {"type": "http.request", "body": b""}
            read += len(message.get("body", b""))
            if max(seen, read) > max_bytes:
                raise HTTPException(
                    413, f"The body is over this service's limit of {max_bytes:,} bytes; send less."
                )
            return message

        await self.app(scope, counted, send)


class JsonRoute(APIRoute):
    """A route whose requests carry JSON in UTF-8: anything else is refused by name."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind the two checks."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            sent = request.headers.get("content-type", "")
            kind, _, parameters = sent.partition(";")
            if kind.strip().lower() != "application/json":
                raise HTTPException(415, f"The body is {sent[:80] or 'of no type'}; send application/json.")
            if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
                raise HTTPException(415, "The body's charset is not UTF-8; send UTF-8.")
            packed = request.headers.get("content-encoding") or "identity"
            if packed.strip().lower() != "identity":
                raise HTTPException(415, f"The body is packed by {packed[:80]}; send it as it is.")
            try:
                body = (await request.body()).decode()
            except UnicodeDecodeError as error:
                raise HTTPException(
                    400, f"The body is not UTF-8: byte {error.start} cannot be read."
                ) from None
            if half := lone_surrogate(body):
                raise HTTPException(
                    422, f"The body holds {half}, half a character that no text can hold; send whole ones."
                )
            try:
                return await handle(request)
            except HTTPException as error:
                # What follows from the framework's own reading names no cause.
                if isinstance(error.__cause__, RecursionError | ValueError):
                    raise HTTPException(400, _unreadable(error.__cause__)) from None
                raise

        return checked


def _unreadable(error: RecursionError | ValueError) -> str:
    """Why JSON cannot be read that is JSON: of numbers, Python says so by the only `ValueError` left."""
    if isinstance(error, RecursionError):
        return "The body's JSON is nested too deeply to be read; send it flatter."
    return "The body's JSON holds a number of thousands of digits, which cannot be read; send a shorter one."


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def lone_surrogate(body: str) -> str:
    """The first escape in JSON that is half of a pair without the other half; empty if there is none.

    Python reads it, and fails wherever it is written in UTF-8 later on.
    """
    if not _SURROGATE.search(body):
        return ""
    # A backslash that is escaped begins no escape.
    half = _SURROGATE.search(_PAIR.sub("", body.replace("\\\\", "")))
    return half[0] if half else ""
