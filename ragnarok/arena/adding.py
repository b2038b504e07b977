"""How systems, battles and votes are added: what is there already stays, and must be the same.

Every function works in a writer's transaction, and says how many rows were new. Knows nothing of how
transactions begin and end, or of how rows are made and read.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from ragnarok.arena.rows import BattleRow, SystemRow, VoteRow
from ragnarok.arena.tables import ORDERS, battles, orders, records, systems, votes
from ragnarok.arena.types import STYLE
from ragnarok.errors import ArenaConflict, NotFound

Values = dict[str, Any]


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
            new.append({"id": number + len(new), "name": row.name, "record": row.record})
        elif kept != row.digest:
            raise ArenaConflict(
                f"the system {row.name!r} is kept with another configuration ({kept}, not {row.digest}); "
                "a name means one for good: give this one another name"
            )
    if new:
        _insert(connection, systems, new)
    return len(new)


def add_battles(connection: Connection, added: Sequence[BattleRow]) -> int:
    """Add battles. Raises `ArenaConflict`, and `NotFound` for a system that is not there."""
    if not added:
        return 0
    known = _systems(connection)
    there = _records(connection, [row.battle_id for row in added])
    number = _next(connection, battles)
    new: list[Values] = []
    texts: list[Values] = []
    for row in added:
        if (kept := there.get(row.battle_id)) is None:
            there[row.battle_id] = row.record
            new.append(_battle(row, number + len(new), known))
            texts.append({"battle": new[-1]["id"], "record": row.record})
        elif kept != row.record:
            raise ArenaConflict(
                f"the battle {row.battle_id!r} is kept with another content; nothing kept is changed: "
                "give this one another id"
            )
    if new:
        _insert(connection, battles, new)
        _insert(connection, records, texts)
    return len(new)


def add_votes(connection: Connection, added: Sequence[VoteRow]) -> int:
    """Add votes. Raises `ArenaConflict` for another vote of a voter, and `NotFound` for a battle."""
    if not added:
        return 0
    numbers = _numbers(connection, {row.battle_id for row in added})
    there = _voted(connection, {number: battle_id for battle_id, number in numbers.items()})
    number = _next(connection, votes)
    new: list[Values] = []
    twice: list[Values] = []
    for row in added:
        voting = (row.battle_id, row.kind, row.voter)
        if (kept := there.get(voting)) is None:
            there[voting] = row
            new.append(_vote(row, number + len(new), numbers))
            if row.orders:
                twice.append(_orders(row, new[-1]["id"]))
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
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(votes).on_conflict_do_nothing().returning(votes.c.id)
    values = _vote(row, _next(connection, votes), numbers) | {"token": token_id}
    if connection.scalar(statement, values) is None:
        return False
    if row.orders:
        connection.execute(orders.insert(), _orders(row, values["id"]))
    return True


def _insert(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows of the same columns, by the driver: past the library, which looks at each value."""
    names = [column.name for column in table.columns if column.name in rows[0]]
    statement = str(table.insert().compile(connection, column_keys=names))
    if connection.dialect.positional:
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])
    else:
        connection.exec_driver_sql(statement, list(rows))


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
    query = select(battles.c.battle_id, battles.c.id).where(battles.c.battle_id.in_(battle_ids))
    numbers = {row.battle_id: row.id for row in connection.execute(query)}
    for battle_id in battle_ids:
        if battle_id not in numbers:
            raise NotFound(f"there is no battle {battle_id[:80]!r} to vote on; add the battle first")
    return numbers


def _voted(connection: Connection, ids: Mapping[int, str]) -> dict[tuple[str, int, str], VoteRow]:
    """All votes on the battles of these numbers, which have these ids."""
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
    values: Values = {"id": number, "battle_id": row.battle_id, "topics": row.topics}
    for side, (name, digest), style in zip("ab", row.systems, row.styles, strict=True):
        values[side] = _number_of(name, digest, known)
        values |= {f"{side}_{what}": count for what, count in zip(STYLE, style, strict=True)}
    return values


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
    return {
        "id": number,
        "battle": numbers[row.battle_id],
        "kind": row.kind,
        "voter": row.voter,
        "cast": row.cast,
        "answer": row.answer,
        "evidence": row.evidence,
        "tags": row.tags,
    }


def _orders(row: VoteRow, number: int) -> Values:
    return {"vote": number, **dict(zip(ORDERS, row.orders, strict=True))}
