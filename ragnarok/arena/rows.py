"""Systems, battles and votes as the rows that keep them, checked and ready, from JSON as from the types.

Rows know no numbers yet: which system, and which battle, is said by name. Knows nothing of databases.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from ragnarok.arena import codec, forms
from ragnarok.arena.types import OUTCOMES, Battle, Outcome, System, Vote
from ragnarok.errors import BadFormat

Item = System | Battle | Vote

Style = tuple[int, int, int]


class SystemRow(NamedTuple):
    """A system; `record` is its JSON."""

    name: str
    digest: str
    record: str


class BattleRow(NamedTuple):
    """A battle: of each side, left first, the system's name and digest, and the numbers of `STYLE`."""

    battle_id: str
    topics: str | None
    systems: tuple[tuple[str, str], tuple[str, str]]
    styles: tuple[Style, Style]
    record: str


class VoteRow(NamedTuple):
    """A vote by codes; `cast` is in microseconds since 1970, `tags` is JSON.

    Of `orders`, the first two are the verdicts on the answer and the others those on the evidence; empty
    where the vote came of no two orders.
    """

    battle_id: str
    kind: int
    voter: str
    cast: int
    answer: int
    evidence: int
    tags: str
    orders: tuple[int, ...]


AnyRow = SystemRow | BattleRow | VoteRow


def system_row(record: object) -> SystemRow:
    """The row of a system's JSON. Raises `ValueError`, as those below do."""
    form = forms.system_form(record)
    return SystemRow(form["name"], form["digest"], codec.form_text(form))


def battle_row(record: object) -> BattleRow:
    """The row of a battle's JSON."""
    form = forms.battle_form(record)
    a, b = form["a"], form["b"]
    return BattleRow(
        form["battle_id"],
        form["topics"],
        ((a["system"], a["digest"]), (b["system"], b["digest"])),
        (forms.style_of_form(a["answer"]), forms.style_of_form(b["answer"])),
        codec.form_text(form),
    )


def vote_row(record: object) -> VoteRow:
    """The row of a vote's JSON."""
    form = forms.vote_form(record)
    return VoteRow(
        form["battle_id"],
        forms.KINDS.index(form["kind"]),
        form["voter"],
        codec.to_micros(datetime.fromisoformat(form["cast"])),
        _code(form["answer"]),
        _code(form["evidence"]),
        json.dumps(form["tags"]) if form["tags"] else "[]",
        _orders(form),
    )


def row_of(item: Item) -> AnyRow:
    """The row of a system, battle or vote. Raises `BadFormat` for what could not be read again."""
    match item:
        case System(name=name):
            with _refusing(f"the system {name!r}"):
                return system_row(codec.from_system(item))
        case Battle(battle_id=battle_id):
            with _refusing(f"the battle {battle_id!r}"):
                return battle_row(codec.from_battle(item))
        case vote:
            return row_of_vote(vote)


def row_of_vote(vote: Vote) -> VoteRow:
    """The row of a vote. Raises as `row_of`."""
    with _refusing(f"the vote on {vote.battle_id!r}"):
        return vote_row(codec.from_vote(vote))


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BadFormat(f"{what} cannot be kept: {error}") from error


def _orders(form: codec.Record) -> tuple[int, ...]:
    told = [form[name] for name in forms.ORDERS]
    return tuple(_code(said) for both in told for said in both or (None, None)) if any(told) else ()


def _code(outcome: Outcome | None) -> int:
    return -1 if outcome is None else OUTCOMES.index(outcome)
