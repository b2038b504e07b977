"""Server-sent events put together from pieces as they come.

Knows bytes; nothing of what events say.
"""

import re
from collections.abc import Iterator

_LINE = re.compile(rb"\r\n|\n|\r")


class EventReader:
    """Puts events together from pieces that may end anywhere, even within a letter."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._waiting: list[bytes] = []
        self._name, self._data = b"", list[bytes]()

    def feed(self, piece: bytes) -> Iterator[tuple[str, str]]:
        """The name and data of each event that `piece` completes. Raises `UnicodeDecodeError`."""
        for line in self._lines(piece):
            if line:
                self._field(line)
            elif self._data:
                event = (self._name or b"message").decode(), b"\n".join(self._data).decode()
                self._name, self._data = b"", []
                yield event
            else:
                self._name = b""

    def _lines(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` completes."""
        halved = bool(self._waiting) and self._waiting[-1].endswith(b"\r")
        if piece:
            self._waiting.append(piece)
        # What has no end yet is not looked through again with every piece: lines may be long.
        if not halved and _LINE.search(piece) is None:
            return []
        text, half = b"".join(self._waiting), b""
        # A carriage return at the end may be half of a line's end.
        if text.endswith(b"\r"):
            text, half = text[:-1], b"\r"
        *lines, rest = _LINE.split(text)
        self._waiting = [rest + half] if rest or half else []
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value
        elif name == b"data":
            self._data.append(value)
