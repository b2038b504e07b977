"""Ratings with style held equal: Bradley–Terry in which how an answer looks may sway the vote.

The left one is preferred with probability σ(s_a − s_b + Σ γ·z). z is (a − b)/(a + b) of one number of
style, 0 where both are 0, divided by its root mean square: its z-score when every battle is seen from both
sides, so that changing sides changes nothing. A strength is then what a system has beyond its style, and γ is
what one standard deviation more of that style is worth. There is no prior. Where style cannot be told from
the systems, because it hardly varies within a pair, or foretells every vote, that is refused.

Which numbers of style there are is for `ragnarok.arena.types` to say; this module knows columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragnarok.arena.ratings import STEPS, TOLERANCE, Fit
from ragnarok.arena.tally import Floats, Ints
from ragnarok.errors import Unratable

CONFOUNDED = 1e-6
"""The least share of a style's information that may remain once systems are known."""

FORETOLD = 30.0
"""Strengths or effects beyond this (in natural logarithms of odds) mean that there is no finite answer."""


@dataclass(frozen=True, slots=True)
class StyleFit:
    """A `Fit` with style held equal, effects `[k]` by standard deviation, and their covariance `[k, k]`.

    An effect is a natural logarithm of odds, NaN for a style that never differs.
    """

    fit: Fit
    effects: Floats
    covariance: Floats


def contrasts(style: Ints) -> Floats:
    """`[m, k]` differences (a − b)/(a + b) of `[m, 2, k]` counts, 0 where both are 0."""
    first, second = style[:, 0].astype(np.float64), style[:, 1].astype(np.float64)
    whole = first + second
    return np.divide(first - second, whole, out=np.zeros_like(whole), where=whole > 0)


def fit_style(n: int, a: Ints, b: Ints, score: Floats, style: Ints, *, names: Sequence[str]) -> StyleFit:
    """Rate n systems that votes join, with style held equal.

    `a`, `b` and `score` (the left one's) are `[m]`, `style` is `[m, 2, k]`, `names` names its k numbers.
    Raises `Unratable` where style cannot be told from systems.
    """
    told = contrasts(style)
    size = np.sqrt((told**2).mean(axis=0))
    differs = np.flatnonzero(size > 0)
    k = style.shape[2]
    rows = _Rows(n, a, b, score, told[:, differs] / size[differs])
    _refuse_confounded(rows, [names[int(one)] for one in differs])
    solution = _solve(rows)
    covariance = _robust(rows, solution)
    effects, spread = np.full(k, np.nan), np.full((k, k), np.nan)
    effects[differs] = solution[n:]
    spread[np.ix_(differs, differs)] = covariance[n:, n:]
    return StyleFit(Fit(solution[:n], covariance[:n, :n]), effects, spread)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Votes `[m]` of n systems with standardised contrasts `[m, k]`; unknown: n strengths, k effects."""

    n: int
    a: Ints
    b: Ints
    score: Floats
    z: Floats

    def likely(self, unknown: Floats) -> Floats:
        """`[m]`: how probable a vote for the left one is."""
        logit = unknown[self.a] - unknown[self.b] + self.z @ unknown[self.n :]
        return 0.5 * (1 + np.tanh(logit / 2))

    def gradient(self, missed: Floats) -> Floats:
        """`[n + k]`: Xᵀ·missed, for `[m]`."""
        systems = np.bincount(self.a, missed, self.n) - np.bincount(self.b, missed, self.n)
        return np.concatenate([systems, missed @ self.z])

    def gram(self, weight: Floats) -> Floats:
        """`[n + k, n + k]`: Xᵀ·diag(weight)·X, for `[m]`."""
        n = self.n
        pairs = np.bincount(self.a.astype(np.int64) * n + self.b, weight, n * n).reshape(n, n)
        pairs = pairs + pairs.T
        swayed = weight[:, None] * self.z
        cross = np.zeros((n, self.z.shape[1]))
        for style, column in enumerate(swayed.T):
            cross[:, style] = np.bincount(self.a, column, n) - np.bincount(self.b, column, n)
        systems = np.diag(pairs.sum(axis=1)) - pairs
        return np.block([[systems, cross], [cross.T, swayed.T @ self.z]])


def _solve(rows: _Rows) -> Floats:
    """The most likely strengths (sum 0) and effects, by Newton steps as `ratings.strengths` takes them."""
    n, widest = rows.n, np.abs(rows.z).max(axis=0, initial=0.0)
    unknown = np.zeros(n + rows.z.shape[1])
    for _ in range(STEPS):
        likely = rows.likely(unknown)
        gradient = rows.gradient(rows.score - likely)
        if np.abs(gradient).max() <= TOLERANCE * len(rows.a):
            return unknown
        step = _inverse(rows.gram(likely * (1 - likely)), n) @ gradient
        reach = max(np.ptp(step[:n]) + np.abs(step[n:]) @ widest, 1e-12)
        unknown = unknown + step * np.log1p(reach) / reach
        unknown[:n] -= unknown[:n].mean()
        if np.abs(unknown).max() > FORETOLD:
            break
    raise Unratable(
        "style foretells the votes so well that its worth has no bound: rate without style, or wait for more "
        "votes"
    )


def _inverse(gram: Floats, n: int) -> Floats:
    """The inverse on strengths that sum to 0."""
    size = np.trace(gram[:n, :n]) / n
    whole = gram.copy()
    whole[:n, :n] += size / n
    found = np.linalg.inv(whole).astype(np.float64)
    found[:n, :n] -= 1 / (size * n)
    return found


def _robust(rows: _Rows, unknown: Floats) -> Floats:
    """The sandwich covariance `[n + k, n + k]`."""
    likely = rows.likely(unknown)
    bread = _inverse(rows.gram(likely * (1 - likely)), rows.n)
    covariance: Floats = bread @ rows.gram((rows.score - likely) ** 2) @ bread
    return covariance


def _refuse_confounded(rows: _Rows, names: Sequence[str]) -> None:
    """Raise `Unratable` for a style whose differences follow from who met, or from the other styles."""
    n = rows.n
    gram = rows.gram(np.ones(len(rows.a)))
    own = np.diag(gram)[n:]
    # So little more on the diagonal changes nothing but that the inverse always exists.
    gram[n:, n:] += np.diag(own * CONFOUNDED / 1000)
    remains = 1 / (np.diag(_inverse(gram, n))[n:] * own)
    bound = [name for name, share in zip(names, remains, strict=True) if share < CONFOUNDED]
    if bound:
        raise Unratable(
            f"{', '.join(bound)} cannot be told from the systems or the other styles, as the answers of each "
            "system hardly vary in it: rate without style, or wait for more votes"
        )
