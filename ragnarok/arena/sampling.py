"""Which two systems meet next: those whose vote would tell most about the ratings.

What one more vote on a pair tells is by how much it is expected to lessen the variances of all differences of
ratings (the A-optimal design, by the information of the logistic model at the present ratings). Pairs are
drawn in proportion to it, so that every pair that can teach anything may meet. A system with fewer than
`floor` votes comes first. A prior stands in for votes not yet cast: strengths are taken as normal with a
standard deviation of 200 points. It only decides who meets, and never enters a rating.

Whether a system can answer a question is not known here.
"""

from collections.abc import Sequence

import numpy as np

from ragnarok.arena.ratings import SCALE, chance, laplacian, strengths
from ragnarok.arena.tally import Floats, Tally
from ragnarok.errors import BadSetting

SPREAD = 200.0
"""The prior's standard deviation, in points of rating."""

FLOOR = 20
"""Votes that a system has before it waits its turn."""


class Pairing:
    """Draws pairs for the votes counted so far; make a new one when many more have been cast."""

    def __init__(self, tally: Tally, systems: Sequence[str] | None = None, *, floor: int = FLOOR) -> None:
        """Pair `systems` (None: all of `tally`), each of which may be new to it. Raises `BadSetting`."""
        self.systems = tuple(tally.names if systems is None else systems)
        if len(self.systems) < 2 or len(set(self.systems)) < len(self.systems):
            raise BadSetting(
                f"a battle needs two different systems, here is {', '.join(self.systems) or 'none'}: "
                "configure two or more, each once"
            )
        known = _with(tally, self.systems)
        self.gain = gains(known)
        """`[n, n]`: what one more vote on a pair tells, in squared points of rating; 0 on the diagonal."""
        votes = known.games.sum(axis=1)
        self._fewest = np.flatnonzero(votes == votes.min()) if votes.min() < floor else None

    def draw(self, seed: int) -> tuple[str, str]:
        """The left and the right system of the battle that has this seed, which alone decides."""
        source = np.random.default_rng(seed)
        n = len(self.systems)
        if self._fewest is None:
            first, second = divmod(int(source.choice(n * n, p=_shares(self.gain.ravel()))), n)
        else:
            first = int(source.choice(self._fewest))
            second = int(source.choice(n, p=_shares(self.gain[first])))
        if source.random() < 0.5:
            first, second = second, first
        return self.systems[first], self.systems[second]


def gains(tally: Tally) -> Floats:
    """`[n, n]`: by how much one more vote on a pair lessens the summed variance of all differences.

    In squared points of rating. With covariance C, a pair's direction x = e_i − e_j and information
    w = p(1 − p), the vote takes C·x·xᵀ·C·w/(1 + w·xᵀCx) from C.
    """
    n = len(tally.names)
    precision = (SCALE / SPREAD) ** 2
    strength = strengths(tally.halves, ridge=precision)
    likely = chance(strength)
    weight = likely * (1 - likely)
    covariance = np.linalg.inv(laplacian(tally.games * weight) + precision * np.eye(n))
    # The mean of all strengths is nothing to learn: only differences count.
    covariance = covariance - covariance.mean(axis=0)
    covariance = covariance - covariance.mean(axis=1, keepdims=True)
    lessened = weight * _apart(covariance @ covariance) / (1 + weight * _apart(covariance))
    gained: Floats = n * SCALE**2 * lessened * (1 - np.eye(n))
    return gained


def _apart(form: Floats) -> Floats:
    """xᵀ·form·x for every pair's direction."""
    own = np.diag(form)
    apart: Floats = np.maximum(own[:, None] + own[None, :] - 2 * form, 0.0)
    return apart


def _shares(gain: Floats) -> Floats:
    shares: Floats = gain / gain.sum()
    return shares


def _with(tally: Tally, systems: Sequence[str]) -> Tally:
    """The counts among `systems`, 0 for those that `tally` does not have."""
    n = len(tally.names)
    place = {name: at for at, name in enumerate(tally.names)}
    wide = Tally((*tally.names, ""), *(np.pad(table, (0, 1)) for table in (tally.wins, tally.ties)))
    found = wide.only([place.get(name, n) for name in systems])
    return Tally(tuple(systems), found.wins, found.ties)
