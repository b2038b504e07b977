"""Voters whose votes say nothing of the answers: found by bets that an honest voter wins only by luck.

Two bets run along a voter's votes, in the order in which they were cast, each an e-process that starts at 1:
- *disagreement*: each vote is ranked by how rare it is among the other voters' votes on the same two systems
  (with ties drawn by lot), which gives a p-value; the bet is that p-values are small. For a voter who votes
  as the others do, in whatever order, they are independent and uniform, however few votes there are
  (conformal prediction). That both are bad counts as a tie, since some voters are stricter.
- *side*: systems are put left or right by lot, so an honest voter's choices fall on either side equally; the
  bet is that nearly all fall on one.
Their mean is again an e-process. An honest voter's reaches 1/α at any time, however often one looks, with
probability α at most (Ville's inequality). It is the same for each voter: of a thousand honest ones, up to
1000·α may be flagged.

What is done about a flagged voter is for others to decide. Voters who honestly disagree with most others on
most pairs look like those who do not read.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragnarok.arena.filters import said
from ragnarok.arena.tally import A, B, Floats
from ragnarok.arena.types import Board, Columns

ALPHA = 0.01

POWERS = np.array([0.3, 0.5, 0.7, 0.9])
"""The bets on small p-values, q·p^(q−1) each, in equal parts."""

SIDED = 0.95
"""The share of choices on one side that the other bet is on."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one voter.

    `disagreement`, `side` and their mean `evidence` are each the most that its bet reached (evidence of 100:
    an honest voter gets that far one time in a hundred). `flagged_at` is the number of the vote at which
    `evidence` first reached 1/α, None for never. `agreeing` is the share of votes that are the most frequent
    one among the others' on that pair, `left` the share of the left side among choices, NaN without any.
    """

    voter: str
    votes: int
    evidence: float
    disagreement: float
    side: float
    flagged_at: int | None
    agreeing: float
    left: float

    @property
    def reason(self) -> str:
        """In words, for people; empty unless flagged."""
        if self.flagged_at is None:
            return ""
        if self.side > self.disagreement:
            return f"{self.left:.0%} of choices fall on the left, where systems are put by lot"
        return f"{self.agreeing:.0%} of votes are what most others say of the same two systems"


def suspects(
    columns: Columns, *, board: Board = "answer", alpha: float = ALPHA, seed: int = 0
) -> frozenset[str]:
    """The voters flagged at level `alpha`: what `Filters.without` takes."""
    return frozenset(
        one.voter
        for one in examine(columns, board=board, alpha=alpha, seed=seed)
        if one.flagged_at is not None
    )


def examine(
    columns: Columns, *, board: Board = "answer", alpha: float = ALPHA, seed: int = 0
) -> list[Evidence]:
    """Evidence on every voter that voted on `board`, the strongest first. `seed` draws the lots."""
    outcome = said(columns, board)
    kept = np.flatnonzero((outcome >= 0) & (columns.a != columns.b))
    kept = kept[np.lexsort((kept, columns.cast[kept], columns.voter[kept]))]
    if not len(kept):
        return []
    votes = _Votes.of(columns, outcome, kept)
    p, usual = votes.ranked(np.random.default_rng(seed).random(len(kept)))
    power = np.log(POWERS) + (POWERS - 1) * np.log(p)[:, None]
    left = votes.left[:, None]
    # A tie chooses no side, and neither bet on sides moves.
    sided = np.where(left == 0, 0.0, np.log(2 * np.where(left == [1, -1], SIDED, 1 - SIDED)))
    disagreement, side = (_mean(votes.summed(bet)) for bet in (power, sided))
    evidence = np.logaddexp(disagreement, side) - np.log(2)
    ends = [*votes.starts[1:], len(kept)]
    found = [
        _evidence(
            columns.voters[int(votes.voter[start])],
            evidence[start:end],
            disagreement[start:end],
            side[start:end],
            votes.left[start:end],
            usual[start:end],
            alpha,
        )
        for start, end in zip(votes.starts, ends, strict=True)
    ]
    return sorted(found, key=lambda one: (-one.evidence, one.voter))


def _evidence(
    voter: str,
    evidence: Floats,
    disagreement: Floats,
    side: Floats,
    left: Ints,
    usual: npt.NDArray[np.bool_],
    alpha: float,
) -> Evidence:
    crossed = np.flatnonzero(evidence >= -np.log(alpha))
    sides = left[left != 0]
    return Evidence(
        voter,
        len(evidence),
        _most(evidence),
        _most(disagreement),
        _most(side),
        flagged_at=int(crossed[0]) + 1 if len(crossed) else None,
        agreeing=float(usual.mean()),
        left=float((sides > 0).mean()) if len(sides) else float("nan"),
    )


def _mean(logs: Floats) -> Floats:
    """`[m]`: the logarithm of the mean of `[m, bets]` processes."""
    mean: Floats = np.logaddexp.reduce(logs, axis=1) - np.log(logs.shape[1])
    return mean


def _most(logs: Floats) -> float:
    return float(np.exp(min(logs.max(), 700.0)))


@dataclass(frozen=True, slots=True)
class _Votes:
    """Votes `[m]` by voter and time: what they say of the pair (first, second, neither) and of sides."""

    voter: Ints
    pair: Ints
    says: Ints
    left: Ints
    starts: Ints

    @classmethod
    def of(cls, columns: Columns, outcome: npt.NDArray[np.int8], kept: Ints) -> "_Votes":
        a, b = columns.a[kept].astype(np.int64), columns.b[kept].astype(np.int64)
        left = np.where(outcome[kept] == A, 1, np.where(outcome[kept] == B, -1, 0))
        better = np.where(a < b, left, -left)
        pair = np.minimum(a, b) * len(columns.systems) + np.maximum(a, b)
        voter = columns.voter[kept].astype(np.int64)
        starts = np.flatnonzero(np.diff(voter, prepend=-1))
        says = np.where(better > 0, 0, np.where(better < 0, 1, 2))
        return cls(voter, np.unique(pair, return_inverse=True)[1], says, left, starts)

    def summed(self, logs: Floats) -> Floats:
        """`[m, bets]`: each voter's running sums."""
        total = logs.cumsum(axis=0)
        before = np.concatenate([np.zeros((1, logs.shape[1])), total])[self.starts]
        lengths = np.diff(self.starts, append=len(logs))
        running: Floats = total - np.repeat(before, lengths, axis=0)
        return running

    def ranked(self, lots: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """`[m]` p-values of rarity, and whether a vote is what most others say.

        A vote is ranked among the other voters' votes on its pair and the voter's own up to it.
        """
        m, pairs = len(self.voter), int(self.pair.max()) + 1
        one = np.zeros((m, 3), np.int64)
        one[np.arange(m), self.says] = 1
        every = np.zeros((pairs, 3), np.int64)
        np.add.at(every, self.pair, one)
        order = np.lexsort((np.arange(m), self.pair, self.voter))
        place = self.voter[order] * pairs + self.pair[order]
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        lengths = np.diff(starts, append=m)
        mine = one[order].cumsum(axis=0)
        mine -= np.repeat(mine[starts] - one[order][starts], lengths, axis=0)
        whole = np.repeat(mine[starts + lengths - 1], lengths, axis=0)
        back = np.argsort(order)
        others = every[self.pair] - whole[back]
        bag = others + mine[back]
        own = bag[np.arange(m), self.says][:, None]
        rarer, same = (bag * (bag < own)).sum(axis=1), (bag * (bag == own)).sum(axis=1)
        p: Floats = (rarer + (1 - lots) * same) / bag.sum(axis=1)
        return p, (others[np.arange(m), self.says] == others.max(axis=1)) & (others.sum(axis=1) > 0)
