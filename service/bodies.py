"""How large a request's body may be: in bytes, and in values of the JSON that it holds.

A body is counted as it arrives and refused at its first part too many. Reading JSON takes longer by the value
than by the byte, and nothing else is served meanwhile: forty megabytes of text are read in a moment, forty of
`[[]]` in twenty seconds. Knows HTTP, and of JSON where strings begin and end; whether it is JSON others say.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PIECE = 1 << 16
"""Bytes that are looked at in one go: of a body that is refused no more is read than that."""


@dataclass(frozen=True, slots=True)
class Most:
    """The largest body: so many bytes, and so many values."""

    bytes: int
    values: int

    def check_bytes(self, count: int) -> None:
        """Raises `HTTPException` (413)."""
        if count > self.bytes:
            raise HTTPException(
                413, f"The body is over this service's limit of {self.bytes:,} bytes; send less."
            )

    def check_values(self, count: int) -> None:
        """Raises `HTTPException` (413)."""
        if count > self.values:
            raise HTTPException(
                413,
                f"The body holds more than {self.values:,} values, this service's limit; send less at once, "
                "or leave out what is not read.",
            )


class ValueCount:
    """Counts the values of JSON that comes in pieces: its commas and opening brackets, outside of strings."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.total = 0
        self._in_string = False
        self._held = b""
        """A backslash at a piece's end: what it stands before is in the next."""

    def feed(self, piece: bytes) -> None:
        """Count on."""
        piece = self._held + piece
        slashes = len(piece) - len(piece.rstrip(b"\\"))
        self._held = b"\\" * (slashes % 2)
        piece = piece[: len(piece) - slashes % 2]
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[1 if self._in_string else 0 :: 2])
        self.total += sum(map(outside.count, (b",", b"[", b"{")))
        self._in_string ^= len(parts) % 2 == 0


class BodyLimit:
    """Refuses bodies over a limit, by what they say of themselves and by what really comes in."""

    def __init__(self, app: ASGIApp, most: Most, others: Mapping[str, Most] | None = None) -> None:
        """Stand before `app`; `others` are paths with a limit of their own."""
        self.app, self.most, self.others = app, most, others or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body while the application reads it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.others.get(scope["path"], self.most)
        declared = Headers(scope=scope).get("content-length", "")
        said = int(declared) if declared.isascii() and declared.isdigit() else 0
        read, values = 0, ValueCount()

        async def counted() -> Message:
            nonlocal read
            most.check_bytes(said)
            message = await receive()
            body = message.get("body", b"")
            read += len(body)
            most.check_bytes(read)
            for start in range(0, len(body), PIECE):
                values.feed(body[start : start + PIECE])
                most.check_values(values.total)
            return message

        await self.app(scope, counted, send)
