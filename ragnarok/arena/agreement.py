"""How well a model's votes agree with people's, and with themselves when the sides change.

Agreement is counted by battle: those on which both a person and a model voted. Several votes of one kind on
a battle are one, by majority; without a majority it is a tie. That both are bad counts as a tie.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ragnarok.arena.ratings import Z
from ragnarok.arena.tally import Floats
from ragnarok.arena.types import Board, Outcome, Verdicts, Vote
from ragnarok.errors import Unratable

Said = Literal["a", "b", "tie"]

SAID: tuple[Said, ...] = ("a", "b", "tie")
"""What a battle's votes come to, in the order of `Agreement.table`."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's κ over `battles`, with its 95 % interval (the large-sample variance of Fleiss et al., 1969).

    1 is agreement throughout, 0 what chance would give. `agreeing` is the share of battles on which both
    sides say the same. `table` is `[3, 3]`, people's votes by the model's, in the order of `SAID`. κ is NaN
    where everybody always says the same one thing.
    """

    battles: int
    agreeing: float
    kappa: float
    low: float
    high: float
    table: Floats

    def record(self) -> dict[str, Any]:
        """The numbers as JSON can hold them, NaN as null."""
        told = [None if math.isnan(one) else one for one in (self.kappa, self.low, self.high)]
        kappa, low, high = told
        return {
            "battles": self.battles,
            "agreeing": self.agreeing,
            "kappa": kappa,
            "low": low,
            "high": high,
            "table": self.table.tolist(),
        }


@dataclass(frozen=True, slots=True)
class Consistency:
    """Of `pairs` judged in both orders: the share with the same verdict, with Wilson's 95 % interval.

    `left` is the share of pairs in which whoever was on the left won both times, `right` likewise.
    """

    pairs: int
    consistent: float
    low: float
    high: float
    left: float
    right: float


def agreement(votes: Iterable[Vote], *, board: Board = "answer") -> Agreement:
    """Compare people's and models' votes. Raises `Unratable` where no battle has both."""
    cast: dict[str, dict[str, Counter[Said]]] = defaultdict(lambda: defaultdict(Counter))
    for vote in votes:
        outcome = vote.answer if board == "answer" else vote.evidence
        if outcome is not None:
            cast[vote.battle_id][vote.kind][_plain(outcome)] += 1
    table = np.zeros((3, 3))
    for kinds in cast.values():
        if {"human", "model"} <= kinds.keys():
            table[SAID.index(_majority(kinds["human"])), SAID.index(_majority(kinds["model"]))] += 1
    if not table.any():
        raise Unratable(
            f"no battle has both a person's and a model's vote on the {board}: let a model judge battles "
            "that people voted on"
        )
    return kappa(table)


def kappa(table: Floats) -> Agreement:
    """Cohen's κ of a square table of counts."""
    total = float(table.sum())
    share = table / total
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    agreeing, luck = float(np.trace(share)), float(rows @ columns)
    if luck >= 1:
        nan = float("nan")
        return Agreement(round(total), agreeing, nan, nan, nan, table)
    value = (agreeing - luck) / (1 - luck)
    both = columns[:, None] + rows[None, :]
    on = np.diag(share) @ (1 - np.diag(both) * (1 - value)) ** 2
    off = (1 - value) ** 2 * ((share * both**2).sum() - np.diag(share) @ np.diag(both) ** 2)
    variance = on + off - (value - luck * (1 - value)) ** 2
    reach = Z * float(np.sqrt(max(variance, 0.0) / total)) / (1 - luck)
    return Agreement(round(total), agreeing, value, max(value - reach, -1.0), min(value + reach, 1.0), table)


def consistency(verdicts: Iterable[Verdicts]) -> Consistency:
    """Compare verdicts on the same two answers, first as shown, then with sides changed.

    Each says which side won as it was shown then: `("a", "b")` is one system winning twice. Raises
    `Unratable` without any.
    """
    seen = Counter((_plain(first), _plain(second)) for first, second in verdicts)
    total = seen.total()
    if not total:
        raise Unratable("no battle was judged in both orders: judge some")
    same = seen["a", "b"] + seen["b", "a"] + seen["tie", "tie"]
    low, high = wilson(same, total)
    return Consistency(total, same / total, low, high, seen["a", "a"] / total, seen["b", "b"] / total)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, room = hits / total, Z**2 / total
    middle = (share + room / 2) / (1 + room)
    reach = Z * (share * (1 - share) / total + room / (4 * total)) ** 0.5 / (1 + room)
    return middle - reach, middle + reach


def _plain(outcome: Outcome) -> Said:
    return "tie" if outcome == "both_bad" else outcome


def _majority(said: Counter[Said]) -> Said:
    (first, most), *rest = said.most_common()
    return "tie" if rest and rest[0][1] == most else first
