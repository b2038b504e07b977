"""Where an arena keeps its systems, battles and votes, for good: nothing is changed or deleted.

Whether a vote is the first of its kind is decided by the database's constraints. Knows nothing of ratings,
of who meets whom, or of pages; `tables` has the tables, `database` the connections, `codec` the JSON.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Row, Select, func, select

from ragnarok.arena import codec, forms
from ragnarok.arena.adding import add_battles, add_systems, add_vote, add_votes
from ragnarok.arena.columns import ColumnsCache
from ragnarok.arena.database import Database
from ragnarok.arena.rows import AnyRow, BattleRow, Item, SystemRow, VoteRow, row_of, row_of_vote
from ragnarok.arena.tables import ORDERS, battles, orders, records, systems, votes
from ragnarok.arena.types import (
    OUTCOMES,
    Battle,
    Board,
    Columns,
    Outcome,
    System,
    Verdicts,
    Vote,
)
from ragnarok.errors import NotFound

CHUNK = 500
"""Battles or votes that are looked up at once."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many systems, battles and votes."""

    systems: int = 0
    battles: int = 0
    votes: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """The sums."""
        return Counts(self.systems + other.systems, self.battles + other.battles, self.votes + other.votes)


class ArenaStore:
    """An arena's memory. Threads may share it, and so may processes; to be closed."""

    def __init__(self, url: str) -> None:
        """Open `sqlite:///PATH` (or a path alone) or `postgresql://…`, and make the tables it lacks.

        Raises `BadSetting` and `ArenaUnusable`, as every method does the latter.
        """
        self.database = Database(url)
        self._columns = ColumnsCache(self.database)

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    def add_systems(self, added: Iterable[System]) -> None:
        """Keep systems; those that are there already stay.

        Raises `ArenaConflict` for a name that means another configuration here.
        """
        self.add_all(added)

    def add_battle(self, battle: Battle) -> None:
        """Keep a battle; the same one again changes nothing.

        Raises `ArenaConflict` if another battle has this id, or a system another configuration, `NotFound`
        for a system that was not added, and `BadFormat` for one that meets itself.
        """
        self.add_all([battle])

    def add_vote(self, vote: Vote, token_id: str | None = None) -> bool:
        """Keep a vote, durably: whether it was kept.

        False, and nothing changes, if a vote was kept with this token, or of this voter, as of this kind, on
        this battle. Raises `NotFound` for an unknown battle, and `BadFormat` for a vote that says nothing.
        """
        row = row_of_vote(vote)
        with self.database.writing() as connection:
            return add_vote(connection, row, token_id)

    def add_all(self, items: Iterable[Item]) -> Counts:
        """Keep systems, battles and votes, all or none; say how many were not there yet.

        Each needs those before it that it names. What is there already, and the same, is passed over. Raises
        `ArenaConflict` for what is there and not the same, `NotFound` for a battle or system that is named
        and not there, `BadFormat` for what cannot be kept, and whatever `items` raises.
        """
        return self.add_rows(map(row_of, items))

    def add_rows(self, rows: Iterable[AnyRow]) -> Counts:
        """As `add_all`, of what has been checked and made ready."""
        counts = Counts()
        coming = iter(rows)
        with self.database.writing() as connection:
            while chunk := list(islice(coming, CHUNK)):
                new = add_systems(connection, [row for row in chunk if isinstance(row, SystemRow)])
                fresh = add_battles(connection, [row for row in chunk if isinstance(row, BattleRow)])
                cast = add_votes(connection, [row for row in chunk if isinstance(row, VoteRow)], fresh)
                counts += Counts(new, len(fresh), cast)
        return counts

    def systems(self) -> tuple[System, ...]:
        """All systems, in the order in which they were added."""
        with self.database.reading() as connection:
            found = connection.execute(select(systems.c.record).order_by(systems.c.id))
            return tuple(codec.to_system(json.loads(record)) for (record,) in found)

    def battle(self, battle_id: str) -> Battle:
        """A battle by its id. Raises `NotFound`."""
        wanted = select(records.c.record).join(battles).where(battles.c.battle_id == battle_id)
        with self.database.reading() as connection:
            record = connection.scalar(wanted)
        if record is None:
            raise NotFound(f"there is no battle {battle_id[:80]!r}")
        return codec.to_battle(json.loads(record))

    def votes_on(self, battle_id: str) -> list[Vote]:
        """All votes on a battle, in the order in which they were kept."""
        return self._votes(_VOTES.where(battles.c.battle_id == battle_id).order_by(votes.c.id))

    def votes_met(self) -> list[Vote]:
        """Every vote on the battles that both a person and a model voted on, in the order they were kept."""
        kinds = [
            select(votes.c.battle).where(votes.c.kind == forms.KINDS.index(kind)) for kind in forms.KINDS
        ]
        met = [votes.c.battle.in_(voted) for voted in kinds]
        return self._votes(_VOTES.where(*met).order_by(votes.c.id))

    def orders(self, board: Board) -> dict[str, list[Verdicts]]:
        """By model, what it said of a board each time that it was asked in both orders."""
        first, second = orders.c[f"{board}_first"], orders.c[f"{board}_second"]
        query = select(votes.c.voter, first, second).join_from(orders, votes).where(first >= 0)
        found: dict[str, list[Verdicts]] = {}
        with self.database.reading() as connection:
            for judge, one, other in connection.execute(query.order_by(votes.c.id)):
                found.setdefault(judge, []).append((OUTCOMES[one], OUTCOMES[other]))
        return found

    def unjudged(self, judge: str) -> list[str]:
        """The ids of the battles that a model has not voted on, in the order in which they were kept."""
        voted = select(votes.c.battle).where(
            votes.c.voter == judge, votes.c.kind == forms.KINDS.index("model")
        )
        query = select(battles.c.battle_id).where(battles.c.id.not_in(voted)).order_by(battles.c.id)
        with self.database.reading() as connection:
            return list(connection.scalars(query))

    def counts(self) -> Counts:
        """How many systems, battles and votes there are."""
        with self.database.reading() as connection:
            return Counts(
                *(
                    connection.scalar(select(func.count()).select_from(table)) or 0
                    for table in (systems, battles, votes)
                )
            )

    def version(self) -> int:
        """A number that rises with every vote: boards of the same version are the same."""
        with self.database.reading() as connection:
            return connection.scalar(select(func.max(votes.c.id))) or 0

    def columns(self) -> Columns:
        """All votes as arrays; only those that are new since the last call are read. Not to be written to."""
        return self._columns.refresh()

    def texts(self) -> Iterator[tuple[str, str]]:
        """All systems, battles and votes, as one state of the store: each one's kind and its JSON.

        Kinds are `system`, `battle` and `vote`; they come in an order that can be added. A connection is held
        until the iterator ends or is closed.
        """
        with self.database.reading() as connection:
            for query, kind in _EVERYTHING:
                for row in connection.execution_options(yield_per=CHUNK).execute(query):
                    if kind == "vote":
                        yield kind, codec.to_text(codec.from_vote(_read_vote(row)))
                    else:
                        yield kind, row.record

    def _votes(self, query: Select[Any]) -> list[Vote]:
        with self.database.reading() as connection:
            return [_read_vote(row) for row in connection.execute(query)]


_VOTES = select(
    battles.c.battle_id,
    votes.c.voter,
    votes.c.kind,
    votes.c.cast,
    votes.c.answer,
    votes.c.evidence,
    votes.c.tags,
    *(orders.c[name] for name in ORDERS),
).select_from(votes.join(battles).outerjoin(orders))


_EVERYTHING: tuple[tuple[Select[Any], str], ...] = (
    (select(systems.c.record).order_by(systems.c.id), "system"),
    (select(records.c.record).order_by(records.c.battle), "battle"),
    (_VOTES.order_by(votes.c.id), "vote"),
)


def _read_vote(row: Row[Any]) -> Vote:
    def outcome(code: int) -> Outcome | None:
        return None if code < 0 else OUTCOMES[code]

    return Vote(
        row.battle_id,
        row.voter,
        forms.KINDS[row.kind],
        codec.from_micros(row.cast),
        outcome(row.answer),
        outcome(row.evidence),
        tuple(json.loads(row.tags)),
        _verdicts(row.answer_first, row.answer_second),
        _verdicts(row.evidence_first, row.evidence_second),
    )


def _verdicts(first: int | None, second: int | None) -> Verdicts | None:
    # None: there is no such row. Negative: what was asked in both orders was the other board.
    if first is None or second is None or min(first, second) < 0:
        return None
    return OUTCOMES[first], OUTCOMES[second]
