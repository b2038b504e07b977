"""Bradley–Terry ratings by maximum likelihood, with intervals and ranges of ranks.

The model: i is preferred to j with probability σ(s_i − s_j). A tie is half a win for either. Strengths `s`
are natural logarithms of odds that sum to 0; `rating` puts them on Elo's scale, on which 400 points are odds
of 10 to 1 and the mean is 1000. There is no prior: systems that no chain of scores joins both ways have no
rating, and are refused.

Two kinds of interval, both for 95 %:
- the sandwich (robust covariance): right also where ties are not what the model expects;
- the multinomial bootstrap, 2.5 and 97.5 percentiles of refits on as many votes drawn again.
Both measure how votes differ from each other, so they are narrow where all votes are ties. Both take votes
as independent.
"""

import math
from dataclasses import dataclass

import numpy as np

from ragnarok.arena.tally import Floats, Ints, Tally, groups_of, joined
from ragnarok.errors import Unratable

SCALE, BASE = 400 / math.log(10), 1000.0
Z = 1.959963984540054
"""The normal distribution's 97.5 percentile."""

TOLERANCE = 1e-10
"""The largest gradient that counts as 0, as a share of the votes."""

STEPS, BATCH = 200, 100
"""Newton steps at most; refits of the bootstrap at a time, which bounds its memory."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Strengths `[n]` that sum to 0, and their robust covariance `[n, n]`."""

    strength: Floats
    covariance: Floats

    @property
    def rating(self) -> Floats:
        """`[n]`, on Elo's scale."""
        return rating(self.strength)

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """The lower and upper ends of the 95 % intervals, each `[n]`, on Elo's scale."""
        reach = Z * np.sqrt(np.diag(self.covariance))
        return rating(self.strength - reach), rating(self.strength + reach)


def rating(strength: Floats) -> Floats:
    """Strengths on Elo's scale."""
    return BASE + SCALE * strength


def chance(strength: Floats) -> Floats:
    """`[…, n, n]`: the probability that i is preferred to j, from strengths `[…, n]`."""
    gap: Floats = strength[..., :, None] - strength[..., None, :]
    return 0.5 * (1 + np.tanh(gap / 2))


def fit(tally: Tally) -> Fit:
    """Rate the systems of `tally`. Raises `Unratable` when votes do not join all of them both ways."""
    refuse_disconnected(tally)
    strength = strengths(tally.halves)
    return Fit(strength, sandwich(tally, strength))


def refuse_disconnected(tally: Tally) -> None:
    """Raise `Unratable`, with the groups that could be rated apart, unless there is just one."""
    groups = groups_of(tally.halves)
    if not groups:
        raise Unratable("no votes match: widen the filters, or vote")
    if len(groups) > 1:
        told = "; ".join(", ".join(tally.names[one] for one in group) for group in groups)
        raise Unratable(
            "the votes do not join all systems, so no rating compares them. Groups within which each has "
            f"scored against each, directly or through others: {told}. Rate one group alone, or let systems "
            "of different groups meet more often"
        )


def strengths(halves: Floats, *, ridge: float = 0.0, start: Floats | None = None) -> Floats:
    """The most likely strengths `[…, n]` for scores `[…, n, n]` (`Tally.halves`), for many tables at once.

    Newton's method, each step shortened so that the likelihood of a logistic model cannot fall (Sun and
    Tran-Dinh, 2019). `ridge` is the precision of a normal prior on each strength; with 0 every table must be
    connected. `start` is where to begin, `[n]`. Raises `Unratable` when the gradient does not vanish.
    """
    games = halves + np.swapaxes(halves, -1, -2)
    close = TOLERANCE * np.maximum(games.sum(axis=(-2, -1)), 1.0)
    strength = np.zeros(halves.shape[:-1]) if start is None else np.broadcast_to(start, halves.shape[:-1])
    for _ in range(STEPS):
        likely = chance(strength)
        gradient = (halves - games * likely).sum(axis=-1) - ridge * strength
        if (np.abs(gradient).max(axis=-1) <= close).all():
            centred: Floats = strength - strength.mean(axis=-1, keepdims=True)
            return centred
        curved = laplacian(games * likely * (1 - likely))
        step = np.linalg.solve(_whole(curved, ridge), gradient[..., None])[..., 0]
        reach = np.maximum(np.ptp(step, axis=-1, keepdims=True), 1e-12)
        strength = strength + step * np.log1p(reach) / reach
    raise Unratable(f"no ratings after {STEPS} steps: the votes differ too much in number to be told apart")


def laplacian(weight: Floats) -> Floats:
    """`[…, n, n]` weights of pairs as the matrix of Σ w·(s_i − s_j)²."""
    total = np.eye(weight.shape[-1]) * weight.sum(axis=-1)[..., None]
    whole: Floats = total - weight
    return whole


def _whole(curved: Floats, ridge: float) -> Floats:
    # What is added acts along the one direction the votes say nothing of, that all grow alike; the gradient
    # is 0 along it, so the step does not depend on how much is added.
    n = curved.shape[-1]
    size = np.trace(curved, axis1=-2, axis2=-1)[..., None, None] / n
    whole: Floats = curved + ridge * np.eye(n) + size / n
    return whole


def inverse(curved: Floats) -> Floats:
    """The pseudo-inverse of a connected laplacian `[n, n]`: a covariance of strengths that sum to 0."""
    n = len(curved)
    if n == 1:
        return np.zeros((1, 1))
    size = float(np.trace(curved)) / n
    found: Floats = np.linalg.inv(curved + size / n).astype(np.float64) - 1 / (size * n)
    return found


def sandwich(tally: Tally, strength: Floats) -> Floats:
    """The robust covariance `[n, n]` of fitted strengths: H⁺·M·H⁺.

    H is the curvature of the likelihood, M the sum over votes of the squared gradient.
    """
    likely = chance(strength)
    bread = inverse(laplacian(tally.games * likely * (1 - likely)))
    missed = tally.wins * (1 - likely) ** 2
    return bread @ laplacian(missed + missed.T + tally.ties * (0.5 - likely) ** 2) @ bread


@dataclass(frozen=True, slots=True)
class Resampled:
    """Strengths `[kept, n]` refitted on votes drawn again, and how many draws could not be rated."""

    strength: Floats
    unrated: int

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """The 2.5 and 97.5 percentiles, each `[n]`, on Elo's scale."""
        low, high = np.percentile(rating(self.strength), [2.5, 97.5], axis=0)
        return low, high


def bootstrap(tally: Tally, *, times: int = 1000, seed: int = 0) -> Resampled:
    """Refit on `times` multinomial draws of as many votes.

    A draw that is not connected has no rating. More than 2.5 % of those, and the ends of the intervals are
    unknown: raises `Unratable`.
    """
    refuse_disconnected(tally)
    n = len(tally.names)
    first, second = np.triu_indices(n, 1)
    counts = np.stack([tally.wins[first, second], tally.wins[second, first], tally.ties[first, second]])
    total = int(counts.sum())
    if not total:
        return Resampled(np.zeros((times, n)), 0)
    chances = (counts / total).ravel()
    source = np.random.default_rng(seed)
    start = strengths(tally.halves)
    kept = []
    for done in range(0, times, BATCH):
        drawn = source.multinomial(total, chances, size=min(BATCH, times - done))
        won, lost, even = np.moveaxis(drawn.reshape(-1, *counts.shape), 1, 0).astype(np.float64)
        halves = np.zeros((len(drawn), n, n))
        halves[:, first, second], halves[:, second, first] = won + even / 2, lost + even / 2
        kept.append(strengths(halves[joined(halves)], start=start))
    strength = np.concatenate(kept)
    unrated = times - len(strength)
    if unrated > 0.025 * times:
        raise Unratable(
            f"{unrated} of {times} draws of the votes could not be rated: there are too few votes for a "
            "bootstrap; use sandwich intervals, or wait for more votes"
        )
    return Resampled(strength, unrated)


def ranks(low: Floats, high: Floats) -> tuple[Ints, Ints]:
    """The best and the worst rank of each, `[n]`, from the ends of its interval.

    Best is 1 + the number of those certainly better (their interval lies above), worst is n − the number of
    those certainly worse.
    """
    above = low[None, :] > high[:, None]
    return 1 + above.sum(axis=1), len(low) - above.sum(axis=0)
