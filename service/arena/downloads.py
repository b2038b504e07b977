"""Everything that the arena keeps, as files that are sent while they are read.

What a battle that waits for its vote would tell is held back. Knows the store and the wire; the forms of the
files are `ragnarok.arena.files`'.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from starlette.responses import StreamingResponse

from ragnarok.arena.store import ArenaStore
from service.arena.records import is_open

PIECE = 1 << 16
"""Characters that are sent at once: each piece is a change of threads."""


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


def download(lines: Iterator[str], name: str, media_type: str) -> StreamingResponse:
    """A file of these lines, which have no ends yet."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_pieces(lines), headers=headers, media_type=media_type)


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
