"""All votes of a database as arrays, kept in memory, so that later only what is new is read.

As nothing that is kept changes, arrays only grow. Knows nothing of what is reckoned from them.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from ragnarok.arena import codec, forms
from ragnarok.arena.database import Database
from ragnarok.arena.tables import battles, systems, votes
from ragnarok.arena.types import STYLE, Columns, System

_NUMBERS = (
    votes.c.id,
    battles.c.a,
    battles.c.b,
    votes.c.answer,
    votes.c.evidence,
    votes.c.kind,
    votes.c.cast,
    *(battles.c[f"{side}_{what}"] for side in "ab" for what in STYLE),
)
_VOTES = select(*_NUMBERS, votes.c.voter, battles.c.topics).join_from(votes, battles).order_by(votes.c.id)

_WIDTH = len(_NUMBERS) + 2

Rows = Sequence[tuple[Any, ...]]


@dataclass
class _Names:
    """Names as numbers: each new one gets the next."""

    numbers: dict[str, int] = field(default_factory=dict)

    def of(self, names: Sequence[str | None]) -> npt.NDArray[np.int32]:
        """The number of each name, −1 for none."""
        known = self.numbers
        found = [-1 if name is None else known.setdefault(name, len(known)) for name in names]
        return np.array(found, dtype=np.int32)


class ColumnsCache:
    """The arrays so far. Safe for threads."""

    def __init__(self, database: Database) -> None:
        """Read from `database`; nothing is read yet."""
        self._database, self._lock = database, threading.Lock()
        self._voters, self._topics = _Names(), _Names()
        self._systems: dict[int, System] = {}
        self._last = 0
        self._columns: Columns | None = None

    def refresh(self) -> Columns:
        """All votes. Raises `ArenaUnusable`."""
        with self._lock:
            with self._database.reading() as connection:
                added = _new_systems(connection, max(self._systems, default=0))
                rows = _new_rows(connection, self._last)
            if self._columns is None or rows or added:
                self._systems |= added
                new = self._of(rows)
                self._columns = new if self._columns is None else _joined(self._columns, new)
                self._last = rows[-1][0] if rows else self._last
            return self._columns

    def _of(self, rows: Rows) -> Columns:
        """The arrays of `rows`, and all names so far."""
        *numbers, voters, topics = list(zip(*rows, strict=True)) or [()] * _WIDTH
        _, a, b, answer, evidence, kind, cast, *style = (np.array(one, dtype=np.int64) for one in numbers)
        places = np.zeros(max(self._systems, default=0) + 1, dtype=np.int32)
        places[list(self._systems)] = np.arange(len(self._systems))
        voter, topic = self._voters.of(voters), self._topics.of(topics)
        return Columns(
            systems=tuple(self._systems.values()),
            voters=tuple(self._voters.numbers),
            topic_sets=tuple(self._topics.numbers),
            a=places[a],
            b=places[b],
            answer=answer.astype(np.int8),
            evidence=evidence.astype(np.int8),
            voter=voter,
            by_model=kind == forms.KINDS.index("model"),
            topics=topic,
            cast=cast / 1e6,
            style=np.stack(style, axis=1).astype(np.int32).reshape(len(rows), 2, len(STYLE)),
        )


def _joined(old: Columns, new: Columns) -> Columns:
    """The new arrays behind the old ones; the names are the new ones', which are the old ones' and more."""
    names = [field.name for field in fields(Columns) if isinstance(getattr(new, field.name), np.ndarray)]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in names
    }
    return replace(new, **arrays)


def _new_systems(connection: Connection, last: int) -> dict[int, System]:
    query = select(systems.c.id, systems.c.record).where(systems.c.id > last).order_by(systems.c.id)
    return {row.id: codec.to_system(json.loads(row.record)) for row in connection.execute(query)}


def _new_rows(connection: Connection, last: int) -> Rows:
    # Past the library's rows, which take three times as long as the driver's.
    query = _VOTES.where(votes.c.id > last).compile(connection, compile_kwargs={"literal_binds": True})
    cursor = connection.exec_driver_sql(str(query)).cursor
    return [] if cursor is None else cursor.fetchall()
