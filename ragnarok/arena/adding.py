"""How systems, battles and votes are added: what is there already stays, and must be the same.

Every function works in a writer's transaction, and says what was new. Knows nothing of how transactions begin
and end, or of how rows are made and read.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Table, func, select
from sqlalchemy.dialects import sqlite

from ragnarok.arena.rows import BattleRow, SystemRow, VoteRow
from ragnarok.arena.tables import ORDERS, battles, orders, records, systems, votes
from ragnarok.errors import ArenaConflict, NotFound

Values = tuple[Any, ...]
"""Of a table's first columns, in their order."""


def add_systems(connection: Connection, added: Sequence[SystemRow]) -> int:
    """Add systems. Raises `ArenaConflict` for a name that means another configuration."""
    if not added:
        return 0
    there = {name: digest for name, (_, digest) in _systems(connection).items()}
    number = _next(connection, systems)
    new: list[Values] = []
    for row in added:
        if (kept := there.get(row.name)) is None:
            there[row.name] = row.digest
            new.append((number + len(new), row.name, row.record))
        elif kept != row.digest:
            raise ArenaConflict(
                f"the system {row.name!r} is kept with another configuration ({kept}, not {row.digest}); "
                "a name means one for good: give this one another name"
            )
    if new:
        _insert(connection, systems, new)
    return len(new)


def add_battles(connection: Connection, added: Sequence[BattleRow]) -> dict[str, int]:
    """Add battles; gives the numbers of those that were new.

    Raises `ArenaConflict`, and `NotFound` for a system that is not there.
    """
    if not added:
        return {}
    known = _systems(connection)
    there = _records(connection, [row.battle_id for row in added])
    number = _next(connection, battles)
    numbers: dict[str, int] = {}
    new: list[Values] = []
    texts: list[Values] = []
    for row in added:
        if (kept := there.get(row.battle_id)) is None:
            there[row.battle_id] = row.record
            numbers[row.battle_id] = number + len(new)
            texts.append((number + len(new), row.record))
            new.append(_battle(row, number + len(new), known))
        elif kept != row.record:
            raise ArenaConflict(
                f"the battle {row.battle_id!r} is kept with another content; nothing kept is changed: "
                "give this one another id"
            )
    if new:
        _insert(connection, battles, new)
        _insert(connection, records, texts)
    return numbers


def add_votes(connection: Connection, added: Sequence[VoteRow], fresh: Mapping[str, int]) -> int:
    """Add votes; `fresh` has the numbers of battles that nobody can have voted on yet.

    Raises `ArenaConflict` for another vote of a voter, and `NotFound` for a battle.
    """
    if not added:
        return 0
    old = _numbers(connection, {row.battle_id for row in added} - fresh.keys())
    there = _voted(connection, {number: battle_id for battle_id, number in old.items()})
    numbers = {**fresh, **old}
    number = _next(connection, votes)
    new: list[Values] = []
    twice: list[Values] = []
    for row in added:
        voting = (row.battle_id, row.kind, row.voter)
        if (kept := there.get(voting)) is None:
            there[voting] = row
            new.append(_vote(row, number + len(new), numbers))
            if row.orders:
                twice.append((new[-1][0], *row.orders))
        elif kept != row:
            raise ArenaConflict(
                f"{row.voter!r} voted otherwise on the battle {row.battle_id!r}; nothing kept is changed"
            )
    if new:
        _insert(connection, votes, new)
    if twice:
        _insert(connection, orders, twice)
    return len(new)


def add_vote(connection: Connection, row: VoteRow, token_id: str | None) -> bool:
    """Add a vote; False if its token, or its voter on this battle, has voted. Raises `NotFound`."""
    numbers = _numbers(connection, {row.battle_id})
    number = _next(connection, votes)
    values = zip(votes.columns.keys(), (*_vote(row, number, numbers), token_id), strict=True)
    if connection.scalar(_vote_once(connection), dict(values)) is None:
        return False
    if row.orders:
        _insert(connection, orders, [(number, *row.orders)])
    return True


def _vote_once(connection: Connection) -> Executable:
    """What inserts a vote and gives its number, or nothing if a rule of the table is against it."""
    if connection.dialect.name == "postgresql":
        # Not at the top: it loads much that SQLite does not need.
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(votes).on_conflict_do_nothing().returning(votes.c.id)
    return sqlite.insert(votes).on_conflict_do_nothing().returning(votes.c.id)


def _insert(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows by the driver: past the library, which looks at each value."""
    names = table.columns.keys()[: len(rows[0])]
    statement = str(table.insert().compile(connection, column_keys=names))
    if connection.dialect.positional:
        connection.exec_driver_sql(statement, list(rows))
    else:
        connection.exec_driver_sql(statement, [dict(zip(names, row, strict=True)) for row in rows])


def _systems(connection: Connection) -> dict[str, tuple[int, str]]:
    """The number and digest of each system, by its name."""
    rows = connection.execute(select(systems.c.id, systems.c.name, systems.c.record))
    return {name: (number, json.loads(record)["digest"]) for number, name, record in rows}


def _records(connection: Connection, battle_ids: Sequence[str]) -> dict[str, str]:
    """Of these battles, those that are there: their JSON by id."""
    query = select(battles.c.battle_id, records.c.record).join(records)
    found = connection.execute(query.where(battles.c.battle_id.in_(battle_ids)))
    return {row.battle_id: row.record for row in found}


def _numbers(connection: Connection, battle_ids: Collection[str]) -> dict[str, int]:
    if not battle_ids:
        return {}
    query = select(battles.c.battle_id, battles.c.id).where(battles.c.battle_id.in_(battle_ids))
    numbers = {row.battle_id: row.id for row in connection.execute(query)}
    for battle_id in battle_ids:
        if battle_id not in numbers:
            raise NotFound(f"there is no battle {battle_id[:80]!r} to vote on; add the battle first")
    return numbers


def _voted(connection: Connection, ids: Mapping[int, str]) -> dict[tuple[str, int, str], VoteRow]:
    """All votes on the battles of these numbers, which have these ids."""
    if not ids:
        return {}
    told = [votes.c[name] for name in ("kind", "voter", "cast", "answer", "evidence", "tags")]
    query = select(votes.c.battle, *told, *(orders.c[name] for name in ORDERS)).outerjoin_from(votes, orders)
    found = {}
    for number, kind, voter, cast, answer, evidence, tags, *codes in connection.execute(
        query.where(votes.c.battle.in_(ids))
    ):
        both = () if codes[0] is None else tuple(codes)
        row = VoteRow(ids[number], kind, voter, cast, answer, evidence, tags, both)
        found[row.battle_id, row.kind, row.voter] = row
    return found


def _next(connection: Connection, table: Table) -> int:
    """The number of the next row; as only one writes at a time, numbers rise as rows are committed."""
    return (connection.scalar(select(func.max(table.c.id))) or 0) + 1


def _battle(row: BattleRow, number: int, known: Mapping[str, tuple[int, str]]) -> Values:
    a, b = (_number_of(name, digest, known) for name, digest in row.systems)
    return (number, row.battle_id, a, b, row.topics, *row.styles[0], *row.styles[1])


def _number_of(name: str, digest: str, known: Mapping[str, tuple[int, str]]) -> int:
    if name not in known:
        raise NotFound(f"the arena keeps no system {name!r}; add it before its battles")
    number, kept = known[name]
    if kept != digest:
        raise ArenaConflict(
            f"the system {name!r} is kept with the configuration {kept}, and this battle is one "
            f"of {digest}; a name means one for good"
        )
    return number


def _vote(row: VoteRow, number: int, numbers: Mapping[str, int]) -> Values:
    battle = numbers[row.battle_id]
    return (number, battle, row.kind, row.voter, row.cast, row.answer, row.evidence, row.tags)
