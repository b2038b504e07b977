"""How systems, battles and votes become rows: what is there already stays, and must be the same.

Every function works in a writer's transaction, and says how many rows were new. Knows nothing of how
transactions begin and end, or of how rows are read.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from ragnarok.arena import codec
from ragnarok.arena.tables import battles, records, systems, votes
from ragnarok.arena.types import OUTCOMES, STYLE, Battle, Outcome, Output, System, Vote
from ragnarok.errors import ArenaConflict, BadFormat, NotFound

Values = dict[str, Any]


def add_systems(connection: Connection, added: Sequence[System], *, read: bool = False) -> int:
    """Add systems. Raises `ArenaConflict` for a name that means another configuration, and `BadFormat`.

    Here as below, `read` says that they were read by `codec`, which they need not be again.
    """
    if not added:
        return 0
    there = {name: digest for name, (_, digest) in _systems(connection).items()}
    number = _next(connection, systems)
    rows: list[Values] = []
    for system in added:
        with _refusing(f"the system {system.name!r}"):
            record = codec.from_system(system)
            if not read:
                codec.to_system(record)
        if (kept := there.get(system.name)) is None:
            there[system.name] = system.digest
            rows.append({"id": number + len(rows), "name": system.name, "record": codec.to_text(record)})
        elif kept != system.digest:
            raise ArenaConflict(
                f"the system {system.name!r} is kept with another configuration ({kept}, not "
                f"{system.digest}); a name means one for good: give this one another name"
            )
    if rows:
        connection.execute(systems.insert(), rows)
    return len(rows)


def add_battles(connection: Connection, added: Sequence[Battle], *, read: bool = False) -> int:
    """Add battles. Raises `ArenaConflict`, `BadFormat`, and `NotFound` for a system that is not there."""
    if not added:
        return 0
    known = _systems(connection)
    query = (
        select(battles.c.battle_id, records.c.record)
        .join(records)
        .where(battles.c.battle_id.in_([battle.battle_id for battle in added]))
    )
    there: dict[str, str] = {row.battle_id: row.record for row in connection.execute(query)}
    number = _next(connection, battles)
    rows: list[Values] = []
    texts: list[Values] = []
    for battle in added:
        with _refusing(f"the battle {battle.battle_id!r}"):
            told = codec.from_battle(battle)
            if not read:
                # What could not be read again is refused now.
                codec.to_battle(told)
            record = codec.to_text(told)
        if (kept := there.get(battle.battle_id)) is None:
            there[battle.battle_id] = record
            rows.append(_battle_row(battle, known) | {"id": number + len(rows)})
            texts.append({"battle": rows[-1]["id"], "record": record})
        elif kept != record:
            raise ArenaConflict(
                f"the battle {battle.battle_id!r} is kept with another content; nothing kept is changed: "
                "give this one another id"
            )
    if rows:
        connection.execute(battles.insert(), rows)
        connection.execute(records.insert(), texts)
    return len(rows)


def add_votes(connection: Connection, added: Sequence[Vote], *, read: bool = False) -> int:
    """Add votes. Raises `ArenaConflict` for another vote of a voter, `BadFormat`, and `NotFound`."""
    if not added:
        return 0
    numbers = _numbers(connection, [vote.battle_id for vote in added])
    query = select(votes).where(votes.c.battle.in_(numbers.values()))
    there = {_voting(row): row for row in map(_without_id, connection.execute(query).mappings())}
    number = _next(connection, votes)
    rows: list[Values] = []
    for vote in added:
        row = _vote_row(vote, numbers, read=read)
        if (kept := there.get(_voting(row))) is None:
            there[_voting(row)] = row
            rows.append(row | {"id": number + len(rows)})
        elif kept != row:
            raise ArenaConflict(
                f"{vote.voter!r} voted otherwise on the battle {vote.battle_id!r}; nothing kept is changed"
            )
    if rows:
        connection.execute(votes.insert(), rows)
    return len(rows)


def add_vote(connection: Connection, vote: Vote, token_id: str | None) -> bool:
    """Add a vote; False if its token, or its voter on this battle, has voted. Raises as `add_votes`."""
    row = _vote_row(vote, _numbers(connection, [vote.battle_id]))
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(votes).on_conflict_do_nothing().returning(votes.c.id)
    return connection.scalar(statement, row | {"id": _next(connection, votes), "token": token_id}) is not None


def _systems(connection: Connection) -> dict[str, tuple[int, str]]:
    """The number and digest of each system, by its name."""
    rows = connection.execute(select(systems.c.id, systems.c.name, systems.c.record))
    return {name: (number, json.loads(record)["digest"]) for number, name, record in rows}


def _numbers(connection: Connection, battle_ids: Sequence[str]) -> dict[str, int]:
    query = select(battles.c.battle_id, battles.c.id).where(battles.c.battle_id.in_(battle_ids))
    numbers = {row.battle_id: row.id for row in connection.execute(query)}
    for battle_id in battle_ids:
        if battle_id not in numbers:
            raise NotFound(f"there is no battle {battle_id[:80]!r} to vote on; add the battle first")
    return numbers


def _next(connection: Connection, table: Table) -> int:
    """The number of the next row; as only one writes at a time, numbers rise as rows are committed."""
    return (connection.scalar(select(func.max(table.c.id))) or 0) + 1


def _battle_row(battle: Battle, known: dict[str, tuple[int, str]]) -> Values:
    row: Values = {"battle_id": battle.battle_id, "topics": battle.topics}
    for side, output in (("a", battle.a), ("b", battle.b)):
        row[side] = _number_of(output, known)
        row |= {f"{side}_{what}": count for what, count in zip(STYLE, output.style, strict=True)}
    return row


def _number_of(output: Output, known: dict[str, tuple[int, str]]) -> int:
    if output.system not in known:
        raise NotFound(f"the arena keeps no system {output.system!r}; add it before its battles")
    number, digest = known[output.system]
    if digest != output.digest:
        raise ArenaConflict(
            f"the system {output.system!r} is kept with the configuration {digest}, and this battle is one "
            f"of {output.digest}; a name means one for good"
        )
    return number


def _vote_row(vote: Vote, numbers: dict[str, int], *, read: bool = False) -> Values:
    def code(outcome: Outcome | None) -> int:
        return -1 if outcome is None else OUTCOMES.index(outcome)

    with _refusing(f"the vote on {vote.battle_id!r}"):
        if not read:
            codec.to_vote(codec.from_vote(vote))
    return {
        "battle": numbers[vote.battle_id],
        "kind": codec.KINDS.index(vote.kind),
        "voter": vote.voter,
        "cast": codec.to_micros(vote.cast),
        "answer": code(vote.answer),
        "evidence": code(vote.evidence),
        "tags": json.dumps(list(vote.tags)),
    }


def _voting(row: Values) -> tuple[int, int, str]:
    return row["battle"], row["kind"], row["voter"]


def _without_id(row: RowMapping) -> Values:
    return {str(name): value for name, value in row.items() if name not in {"id", "token"}}


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadFormat(f"{what} cannot be kept: {error}") from error
