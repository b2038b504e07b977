"""A leaderboard from the arena's votes: each system's row, and the counts behind it.

Which votes count is for `ragnarok.arena.filters`; how a board looks is decided elsewhere. There is no rating
unless votes join all systems that met: the board then names the groups that can be rated, each by
`Filters(systems=group)`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragnarok.arena.filters import Filters, said, select
from ragnarok.arena.ratings import SCALE, Z, bootstrap, fit, ranks, refuse_disconnected
from ragnarok.arena.style import StyleFit, fit_style
from ragnarok.arena.tally import Floats, Ints, Tally, count, groups_of, score_of
from ragnarok.arena.types import OUTCOMES, STYLE, Columns
from ragnarok.errors import Unratable


@dataclass(frozen=True, slots=True)
class Standing:
    """One system's row; no rating, interval or ranks where the board has none.

    `best` and `worst` are the ranks that its interval allows. `win_rate` counts ties as half; `ties` includes
    both bad, which `both_bad` counts alone.
    """

    system: str
    rating: float | None
    low: float | None
    high: float | None
    best: int | None
    worst: int | None
    battles: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    win_rate: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What one standard deviation more of a style is worth, in points of rating, with its 95 % interval."""

    style: str
    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All rows, best first, and the counts behind them.

    `wins` and `ties` are `[n, n]` in the order of `standings`: how often the row beat the column, and how
    often neither did. `outcomes` counts votes by what they said. `why` says why there are no ratings, and is
    empty where there are. `groups` are the systems that can be rated together, the largest group first;
    `idle` those that no counted vote concerns.
    """

    filters: Filters
    votes: int
    standings: tuple[Standing, ...]
    wins: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]
    outcomes: Mapping[str, int]
    groups: tuple[tuple[str, ...], ...]
    why: str = ""
    idle: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()

    @property
    def rated(self) -> bool:
        """Whether there are ratings."""
        return not self.why

    @property
    def games(self) -> npt.NDArray[np.int64]:
        """`[n, n]`: votes on each pair."""
        found: npt.NDArray[np.int64] = self.wins + self.wins.T + self.ties
        return found

    @property
    def win_rates(self) -> Floats:
        """`[n, n]`: the row's share of wins against the column, a tie half; NaN where they never met."""
        games = self.games
        rates = np.full(games.shape, np.nan)
        np.divide(self.wins + self.ties / 2, games, out=rates, where=games > 0)
        return rates

    def record(self) -> dict[str, Any]:
        """The board as JSON can hold it; dates in ISO 8601, NaN as null."""
        rates = [[None if np.isnan(rate) else float(rate) for rate in row] for row in self.win_rates]
        return {
            "filters": self.filters.record(),
            "votes": self.votes,
            "rated": self.rated,
            "why": self.why,
            "standings": [asdict(one) for one in self.standings],
            "wins": self.wins.tolist(),
            "ties": self.ties.tolist(),
            "win_rates": rates,
            "outcomes": dict(self.outcomes),
            "groups": [list(group) for group in self.groups],
            "idle": list(self.idle),
            "effects": [asdict(one) for one in self.effects],
        }


def leaderboard(columns: Columns, filters: Filters | None = None) -> Leaderboard:
    """The board of `columns` under `filters`. Raises `NotFound` for a topic set, system or voter unknown."""
    filters = filters or Filters()
    chosen = select(columns, filters)
    outcome = said(columns, filters.board)[chosen]
    met = np.union1d(columns.a[chosen], columns.b[chosen])
    place = np.zeros(len(columns.systems), np.int64)
    place[met] = np.arange(len(met))
    a, b = place[columns.a[chosen]], place[columns.b[chosen]]
    tally = count(tuple(columns.systems[one].name for one in met), a, b, outcome)
    rated, why = _Rated(), ""
    try:
        rated = _rate(tally, a, b, outcome, columns.style[chosen], filters)
    except Unratable as error:
        why = str(error)
    bad = outcome == OUTCOMES.index("both_bad")
    both_bad = np.bincount(np.concatenate([a[bad], b[bad]]), minlength=len(met))
    order = _order(tally, rated)
    at = np.ix_(order, order)
    considered = filters.systems or {one.name for one in columns.systems}
    return Leaderboard(
        filters,
        len(outcome),
        tuple(_standings(tally, both_bad, rated, order)),
        tally.wins[at].astype(np.int64),
        tally.ties[at].astype(np.int64),
        {name: int((outcome == code).sum()) for code, name in enumerate(OUTCOMES)},
        tuple(tuple(tally.names[one] for one in group) for group in groups_of(tally.halves)),
        why,
        tuple(sorted(considered - set(tally.names))),
        rated.effects,
    )


@dataclass(frozen=True, slots=True)
class _Rated:
    """Ratings and the ends of their intervals, each `[n]`, and effects of style; None: no ratings."""

    rating: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None
    effects: tuple[Effect, ...] = ()


def _rate(tally: Tally, a: Ints, b: Ints, outcome: Ints, style: Ints, filters: Filters) -> _Rated:
    """Raises `Unratable`."""
    if filters.style:
        refuse_disconnected(tally)
        found = fit_style(len(tally.names), a, b, score_of(outcome), style, names=STYLE)
        return _Rated(found.fit.rating, *found.fit.interval, _effects(found))
    plain = fit(tally)
    interval = bootstrap(tally).interval if filters.interval == "bootstrap" else plain.interval
    return _Rated(plain.rating, *interval)


def _effects(found: StyleFit) -> tuple[Effect, ...]:
    """Every style's effect; a style that never differs has none."""
    points, reach = SCALE * found.effects, SCALE * Z * np.sqrt(np.diag(found.covariance))
    rows = zip(STYLE, points, reach, strict=True)
    return tuple(
        Effect(name, float(at), float(at - by), float(at + by)) for name, at, by in rows if not np.isnan(at)
    )


def _order(tally: Tally, rated: _Rated) -> npt.NDArray[np.int64]:
    """Best first: by rating, or by win rate where there is none; then by name."""
    value = _win_rates(tally) if rated.rating is None else rated.rating
    return np.lexsort((np.array(tally.names, dtype=str), -value)).astype(np.int64)


def _win_rates(tally: Tally) -> Floats:
    rates: Floats = tally.halves.sum(axis=1) / np.maximum(tally.games.sum(axis=1), 1)
    return rates


def _standings(tally: Tally, both_bad: Ints, rated: _Rated, order: Ints) -> Iterator[Standing]:
    rates = _win_rates(tally)
    wins, losses, ties = tally.wins.sum(axis=1), tally.wins.sum(axis=0), tally.ties.sum(axis=1)
    marks: list[tuple[float | None, float | None, float | None, int | None, int | None]]
    marks = [(None, None, None, None, None)] * len(tally.names)
    if rated.rating is not None and rated.low is not None and rated.high is not None:
        best, worst = ranks(rated.low, rated.high)
        rows = zip(rated.rating, rated.low, rated.high, best, worst, strict=True)
        marks = [(float(r), float(lo), float(hi), int(up), int(down)) for r, lo, hi, up, down in rows]
    for one in order:
        rating, low, high, best_rank, worst_rank = marks[one]
        yield Standing(
            tally.names[one],
            rating,
            low,
            high,
            best_rank,
            worst_rank,
            battles=int(wins[one] + losses[one] + ties[one]),
            wins=int(wins[one]),
            losses=int(losses[one]),
            ties=int(ties[one]),
            both_bad=int(both_bad[one]),
            win_rate=float(rates[one]),
        )
