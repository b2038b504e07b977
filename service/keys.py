"""Who may ask: API keys in a request's header, against a list of their hashes. Knows headers and hashes."""

import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ragnarok.errors import BadSetting
from ragnarok.keys import KeyLine, digest_of, read_lines
from service.context import current
from service.door import asks
from service.errors import Unauthorized
from service.problems import answer


class Keys:
    """A list of keys."""

    def __init__(self, lines: Sequence[KeyLine]) -> None:
        """Let these in."""
        self.lines = list(lines)

    def find(self, key: str) -> KeyLine | None:
        """Whose key this is. Takes as long for every key, right or wrong."""
        digest = digest_of(key)
        found = [line for line in self.lines if hmac.compare_digest(line.digest, digest)]
        return found[0] if found else None


def read_keys(path: Path) -> Keys:
    """The keys of a file. Raises `BadSetting`."""
    try:
        lines = read_lines(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadSetting(f"the API keys {path} cannot be read ({reason})") from None
    if not lines:
        raise BadSetting(f"{path} holds no API key; make one with: ragnarok keys NAME")
    return Keys(lines)


def sent_key(headers: Headers) -> str:
    """The key that a request brings, as `Authorization: Bearer` or `X-API-Key`; empty without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


class KeyCheck:
    """Refuses what asks something of `/v1` and `/v2` without a key of the list.

    Pages, health and counters are open: they hold nothing of anyone's.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        """Stand before `app`."""
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, under the name of its key."""
        if asks(scope):
            key = sent_key(Headers(scope=scope))
            line = self.keys.find(key) if key else None
            if line is None:
                said = "this API key is not known here" if key else "this service wants an API key"
                error = Unauthorized(f"{said}; send Authorization: Bearer KEY or X-API-Key: KEY")
                await answer(error, scope, receive, send)
                return
            asked = current()
            asked.client, asked.rate = line.name, line.rate
        await self.app(scope, receive, send)
