"""What a leaderboard is asked for: its form's fields, and the filters that they mean.

Knows fields and filters; nothing of pages.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, get_args
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ragnarok.arena.filters import Filters
from ragnarok.arena.types import Board, VoterKind

OWN = "-"
"""Where a topic set is asked for: the voters' own questions."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _filled(value: object) -> object:
    """A form sends what was left empty, too."""
    return None if value == "" else value


def _day(value: object) -> object:
    """Days alone: what else may be read as one, such as seconds since 1970, is a slip here."""
    if isinstance(value, str) and value and not _DAY.fullmatch(value):
        raise ValueError("a day is written as 2026-05-01")
    return _filled(value)


def _or_empty(said: dict[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [said, {"const": ""}, {"type": "null"}]})


_Day = Annotated[date | None, BeforeValidator(_day), _or_empty({"type": "string", "format": "date"})]
_Voters = Annotated[
    VoterKind | None, BeforeValidator(_filled), _or_empty({"enum": list(get_args(VoterKind))})
]


class BoardQuery(BaseModel):
    """Which votes a leaderboard counts, and how it rates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    board: Board = Field(default="answer", description="What was voted on.")
    since: _Day = Field(default=None, description="The first day that counts, in UTC.")
    until: _Day = Field(default=None, description="The last day that counts, in UTC.")
    topics: Annotated[str | None, BeforeValidator(_filled)] = Field(
        default=None, description="A topic set; - for the voters' own questions."
    )
    voters: _Voters = Field(default=None, description="Votes of people, or of models.")
    component: Annotated[str | None, BeforeValidator(_filled)] = Field(
        default=None, description="Rate this component, by battles whose systems differ in it alone."
    )
    trusted: bool = Field(
        default=False, description="Leave out voters whose votes look like chance or habit."
    )
    style: bool = Field(default=False, description="Hold length and citations equal.")

    def filters(self, without: frozenset[str]) -> Filters:
        """The votes that are meant; `without` are the voters that are left out where that is asked for."""
        day = timedelta(days=1)
        return Filters(
            board=self.board,
            since=None if self.since is None else _midnight(self.since),
            # Behind the last day that there is nothing can begin.
            until=None if self.until in {None, date.max} else _midnight(self.until) + day,
            topics="" if self.topics == OWN else self.topics,
            voters=self.voters,
            without=without if self.trusted else frozenset(),
            style=self.style,
        )

    def address(self, **changed: object) -> str:
        """The fields that say something, as an address has them, with some of them changed."""
        fields = self.model_dump(mode="json") | changed
        return urlencode({name: value for name, value in fields.items() if value not in (None, False, "")})


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
