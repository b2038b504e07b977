"""The arena's tables, which only grow: the database itself refuses to change or delete a row.

Rows have numbers that rise in the order in which they were committed; the store gives them. What a
leaderboard needs is in narrow integer columns; the texts are apart, in `records`.
"""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

metadata = MetaData()


def _number() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=False)


def _style(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


systems = Table(
    "systems",
    metadata,
    _number(),
    Column("name", String, nullable=False, unique=True),
    Column("record", Text, nullable=False),
)
"""`record` is JSON, as `codec` writes it."""

battles = Table(
    "battles",
    metadata,
    _number(),
    Column("battle_id", String, nullable=False, unique=True),
    Column("a", ForeignKey("systems.id"), nullable=False),
    Column("b", ForeignKey("systems.id"), nullable=False),
    Column("topics", String),
    *(_style(f"{side}_{what}") for side in "ab" for what in ("words", "citations", "sources")),
    CheckConstraint("a <> b", name="two_systems"),
)
"""`a` is left, `b` right; then the numbers of `types.STYLE` for each side."""

records = Table(
    "records",
    metadata,
    Column("battle", ForeignKey("battles.id"), primary_key=True),
    Column("record", Text, nullable=False),
)
"""Each battle as JSON, whole."""

votes = Table(
    "votes",
    metadata,
    _number(),
    Column("battle", ForeignKey("battles.id"), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("voter", String, nullable=False),
    Column("cast", BigInteger, nullable=False),
    Column("answer", SmallInteger, nullable=False),
    Column("evidence", SmallInteger, nullable=False),
    Column("tags", Text, nullable=False),
    Column("token", String, unique=True),
    UniqueConstraint("battle", "kind", "voter", name="one_vote"),
    CheckConstraint("answer >= 0 OR evidence >= 0", name="says_something"),
    Index("votes_of_voter", "voter", "id"),
)
"""`cast` is in microseconds since 1970; `kind`, `answer` and `evidence` are codes (−1: not voted on).

`token` is that of the page where the vote was cast: no two votes have the same, and a voter of either kind
has one vote a battle."""

ORDERS = ("answer_first", "answer_second", "evidence_first", "evidence_second")

orders = Table(
    "orders",
    metadata,
    Column("vote", ForeignKey("votes.id"), primary_key=True),
    *(Column(name, SmallInteger, nullable=False) for name in ORDERS),
)
"""What a model that was asked in both orders said: of the battle as it is, then with its sides changed, each
of the sides as they stood then. Codes as in `votes`; votes of people are not here."""

# SQLite: one trigger for each thing that is refused.
_SQLITE = (
    "CREATE TRIGGER {table}_no_{what} BEFORE {what} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'the table {table} only grows'); END"
)
_FUNCTION = """
CREATE OR REPLACE FUNCTION arena_only_grows() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the table %% only grows', TG_TABLE_NAME; END $$
"""
_POSTGRES = (
    "CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION arena_only_grows()"
)


def _guard(table: Table) -> None:
    ddl: Any = DDL  # It is not annotated.

    def after(statement: str, dialect: str) -> None:
        event.listen(table, "after_create", ddl(statement).execute_if(dialect=dialect))

    for what in ("UPDATE", "DELETE"):
        after(_SQLITE.format(table=table.name, what=what), "sqlite")
    after(_FUNCTION, "postgresql")
    after(_POSTGRES.format(table=table.name), "postgresql")


for _table in metadata.sorted_tables:
    _guard(_table)
