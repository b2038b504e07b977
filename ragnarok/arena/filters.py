"""Which votes a board counts: by what was voted on, date, topic set, voter and system.

What follows from them is for `ragnarok.arena.boards`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragnarok.arena.types import Board, Columns, VoterKind
from ragnarok.errors import NotFound

Interval = Literal["sandwich", "bootstrap"]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which votes count, and how they are rated; None: all.

    `since` is inclusive and `until` exclusive, both with a time zone. `topics` names a topic set, "" the
    voters' own questions. `without` are voters left out. `systems` keeps battles among these alone. With
    `style`, ratings hold style equal; their intervals are then sandwiches.
    """

    board: Board = "answer"
    since: datetime | None = None
    until: datetime | None = None
    topics: str | None = None
    voters: VoterKind | None = None
    without: frozenset[str] = frozenset()
    systems: frozenset[str] | None = None
    style: bool = False
    interval: Interval = "sandwich"

    def record(self) -> dict[str, Any]:
        """The filters as JSON can hold them, dates in ISO 8601."""
        return {
            "board": self.board,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "topics": self.topics,
            "voters": self.voters,
            "without": sorted(self.without),
            "systems": None if self.systems is None else sorted(self.systems),
            "style": self.style,
            "interval": self.interval,
        }


def said(columns: Columns, board: Board) -> npt.NDArray[np.int8]:
    """What each vote says on a board, positions in `OUTCOMES`."""
    return columns.answer if board == "answer" else columns.evidence


def select(columns: Columns, filters: Filters) -> npt.NDArray[np.bool_]:
    """`[n]`: the votes that count. Raises `NotFound`."""
    chosen: npt.NDArray[np.bool_] = (said(columns, filters.board) >= 0) & (columns.a != columns.b)
    if filters.since is not None:
        chosen &= columns.cast >= filters.since.timestamp()
    if filters.until is not None:
        chosen &= columns.cast < filters.until.timestamp()
    if filters.topics is not None:
        known = {"": -1} | {name: place for place, name in enumerate(columns.topic_sets)}
        chosen &= columns.topics == _places([filters.topics], known, "topic set")[0]
    if filters.voters is not None:
        chosen &= columns.by_model == (filters.voters == "model")
    if filters.without:
        known = {name: place for place, name in enumerate(columns.voters)}
        chosen &= ~np.isin(columns.voter, _places(sorted(filters.without), known, "voter"))
    if filters.systems is not None:
        known = {one.name: place for place, one in enumerate(columns.systems)}
        kept = _places(sorted(filters.systems), known, "system")
        chosen &= np.isin(columns.a, kept) & np.isin(columns.b, kept)
    return chosen


def _places(names: list[str], known: Mapping[str, int], kind: str) -> list[int]:
    strange = [name for name in names if name not in known]
    if strange:
        some = ", ".join(repr(name) for name in list(known)[:20]) or "none"
        raise NotFound(f"the arena knows no {kind} {strange[0]!r}; it knows {some}")
    return [known[name] for name in names]
