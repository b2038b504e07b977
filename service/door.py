"""What a request must be before anything is made of it: JSON, and UTF-8.

Knows HTTP only; how large it may be says `service.bodies`, and what it must say is the schema's business.
"""

import re
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.errors import OverLimit

UTF_8 = ("utf-8", "utf8")

ASKING = ("/v1/", "/v2/")
"""Paths that ask something; pages, health and counters hold nothing of anyone's, and are open to all."""


def asks(scope: Scope) -> bool:
    """Whether this is a request that asks something, and not one for what is open to all."""
    path: str = scope.get("path", "")
    return scope["type"] == "http" and path.startswith(ASKING)


class JsonRoute(APIRoute):
    """A route whose requests carry JSON in UTF-8: anything else is refused by name."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler behind the two checks."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            sent = request.headers.get("content-type", "")
            told = Message()
            told["content-type"] = sent
            if not sent or told.get_content_type() != "application/json":
                raise HTTPException(415, f"The body is {sent[:80] or 'of no type'}; send application/json.")
            if told.get_content_charset(UTF_8[0]) not in UTF_8:
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


def at_most(most: int, member: str) -> BeforeValidator:
    """Refuses a body whose list `member` is longer than `most`, before anything is made of its items.

    What refuses it raises `OverLimit`.
    """

    def check(sent: object) -> object:
        items = sent.get(member) if isinstance(sent, dict) else None
        if isinstance(items, list) and len(items) > most:
            raise OverLimit(f"{len(items):,} {member} are over this service's limit of {most:,}; send less")
        return sent

    return BeforeValidator(check)


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
