"""Server-sent events: how a route describes them, and how they are put together from pieces as they come.

Knows bytes; nothing of what events say.
"""

import re
from collections.abc import Iterator
from typing import Any

_LINE = re.compile(rb"\r\n|\n|\r")


def event_content(*names: str) -> dict[str, Any]:
    """What a route's document says of a stream of events of these names, or of none; their data is JSON."""
    data = {"type": "string", "contentMediaType": "application/json"}
    named = {"event": {"type": "string", "enum": list(names)}} if names else {}
    item = {"type": "object", "required": [*named, "data"], "properties": {**named, "data": data}}
    return {"text/event-stream": {"itemSchema": item}}


class EventReader:
    """Puts events together from pieces that may end anywhere, even within a letter."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._waiting = b""
        self._name, self._data = b"", list[bytes]()

    def feed(self, piece: bytes) -> Iterator[tuple[str, str]]:
        """The name and data of each event that `piece` completes. Raises `UnicodeDecodeError`."""
        text, self._waiting = self._waiting + piece, b""
        # A carriage return at the end may be half of a line's end.
        if text.endswith(b"\r"):
            text, self._waiting = text[:-1], b"\r"
        *lines, rest = _LINE.split(text)
        self._waiting = rest + self._waiting
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                event = (self._name or b"message").decode(), b"\n".join(self._data).decode()
                self._name, self._data = b"", []
                yield event
            else:
                self._name = b""

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value
        elif name == b"data":
            self._data.append(value)
