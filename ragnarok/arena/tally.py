"""Votes counted by pair: all that ratings without style need to know of them, however many there are.

Who voted, when and on what is decided before; nothing is estimated here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from ragnarok.arena.types import OUTCOMES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]

A, B = OUTCOMES.index("a"), OUTCOMES.index("b")


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts for n systems: `wins[i, j]` votes for i against j, `ties[i, j]` for neither, the same both ways.

    Both are `[n, n]` with a diagonal of 0. That both are bad counts as a tie.
    """

    names: tuple[str, ...]
    wins: Floats
    ties: Floats

    @property
    def halves(self) -> Floats:
        """`[n, n]`: wins, with half of each tie for either side."""
        return self.wins + self.ties / 2

    @property
    def games(self) -> Floats:
        """`[n, n]`: votes on each pair, symmetric."""
        return self.wins + self.wins.T + self.ties

    def only(self, chosen: Sequence[int]) -> "Tally":
        """The counts of some systems among themselves, in the order given."""
        at = np.ix_(chosen, chosen)
        return Tally(tuple(self.names[one] for one in chosen), self.wins[at], self.ties[at])


def count(names: tuple[str, ...], a: Ints, b: Ints, outcome: Ints) -> Tally:
    """Count votes: `a`, `b` index `names`, `outcome` indexes `OUTCOMES`, all `[m]`.

    Rows without an outcome (−1), or of a system against itself, say nothing and are left out.
    """
    n = len(names)
    told = (outcome >= 0) & (a != b)
    left, right, said = a[told], b[told], outcome[told]

    def table(first: Ints, second: Ints) -> Floats:
        codes = first.astype(np.int64) * n + second
        return np.bincount(codes, minlength=n * n).reshape(n, n).astype(np.float64)

    won, lost = said == A, said == B
    even = ~(won | lost)
    ties = table(left[even], right[even])
    return Tally(names, table(left[won], right[won]) + table(right[lost], left[lost]), ties + ties.T)


def score_of(outcome: Ints) -> Floats:
    """`[m]` positions in `OUTCOMES` as the left one's score: 1, 0, or ½ for a tie and for both bad."""
    return np.where(outcome == A, 1.0, np.where(outcome == B, 0.0, 0.5))


def groups_of(halves: Floats) -> list[list[int]]:
    """The systems that can be rated together, the largest group first.

    Two are of one group when each has scored against the other, directly or through others (the strongly
    connected components of `[n, n]` scores): only then are all differences of ratings finite.
    """
    if not len(halves):
        return []
    _, labels = connected_components(halves > 0, directed=True, connection="strong")
    found: dict[int, list[int]] = {}
    for system, label in enumerate(labels):
        found.setdefault(int(label), []).append(system)
    return sorted(found.values(), key=lambda group: (-len(group), group[0]))


def joined(halves: Floats) -> npt.NDArray[np.bool_]:
    """`[…]`: whether the systems of each table of scores `[…, n, n]` are one group; for many at once."""
    n = halves.shape[-1]
    reached = ((halves > 0) | np.eye(n, dtype=bool)).astype(np.float32)
    for _ in range(max(n - 1, 1).bit_length()):
        reached = np.minimum(reached @ reached, 1)
    return np.asarray((reached > 0).all(axis=(-2, -1)), np.bool_)
