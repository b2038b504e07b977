"""Everything that the arena keeps, as files that are sent while they are read.

What a battle that waits for its vote would tell is held back. Knows the store and the wire; the forms of the
files are `ragnarok.arena.files`'.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ragnarok.arena.store import ArenaStore
from service.arena.records import is_open
from service.errors import LimitReached

PIECE = 1 << 16
"""Characters that are sent at once: each piece is a change of threads."""

AT_ONCE, WAIT = 4, 10.0
"""Files that are sent at once, each of which holds one of the database's few connections for as long as its
reader takes; seconds after which one more may be asked for."""


class Over:
    """A store without the battles that wait for their vote: what may be told to everyone."""

    def __init__(self, store: ArenaStore) -> None:
        """Read `store`."""
        self._store = store

    def texts(self) -> Iterator[tuple[str, str]]:
        """As the store's, without those battles, and what models have said of them."""
        held: set[str] = set()
        now = datetime.now(UTC)
        for kind, text in self._store.texts():
            if kind == "battle":
                record = json.loads(text)
                created, battle_id = datetime.fromisoformat(record["created"]), record["battle_id"]
                # Old ones are over in any case: votes are looked up of the last day's alone.
                if is_open(created, [], now) and is_open(created, self._store.votes_on(battle_id), now):
                    held.add(battle_id)
                    continue
            elif held and kind == "vote" and json.loads(text)["battle_id"] in held:
                continue
            yield kind, text


class Downloads:
    """Sends files, few at once. All methods belong to one event loop."""

    def __init__(self, store: ArenaStore) -> None:
        """Of what `store` has."""
        self._store, self._running = store, 0

    def send(self, lines: Callable[[Over], Iterator[str]], name: str, media_type: str) -> StreamingResponse:
        """A file of what `lines` makes of the store, which have no ends yet. Raises `LimitReached`."""
        if self._running >= AT_ONCE:
            raise LimitReached(
                f"{AT_ONCE} downloads of the arena are on their way, and no more may be at once; try again "
                f"in {WAIT:.0f} s, or export on the arena's own machine",
                WAIT,
            )
        self._running += 1
        return _Download(lines(Over(self._store)), name, media_type, self._end)

    def _end(self) -> None:
        self._running -= 1


class _Download(StreamingResponse):
    """A file that says when it has been sent, or left."""

    def __init__(self, lines: Iterator[str], name: str, media_type: str, end: Callable[[], None]) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        super().__init__(_pieces(lines), headers=headers, media_type=media_type)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    waiting: list[str] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line) + 1
        if size >= PIECE:
            yield "\n".join([*waiting, ""])
            waiting, size = [], 0
    yield "\n".join([*waiting, ""])
