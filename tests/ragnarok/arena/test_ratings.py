"""Ratings: by hand, against a generalised linear model, and against numbers of another implementation."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize

from ragnarok.arena.ratings import SCALE, Z, bootstrap, fit, ranks, strengths
from ragnarok.arena.tally import Floats, Tally, count, groups_of, joined, score_of
from ragnarok.arena.types import OUTCOMES
from ragnarok.errors import Unratable

PAIRS = {
    ("ant", "bee"): (40, 25, 15),
    ("ant", "cat"): (30, 18, 12),
    ("ant", "dog"): (50, 10, 20),
    ("bee", "cat"): (22, 20, 8),
    ("bee", "dog"): (33, 14, 13),
    ("cat", "dog"): (28, 16, 6),
}
"""First's wins, second's wins, ties."""


def tally_of(pairs: dict[tuple[str, str], tuple[int, int, int]]) -> Tally:
    names = tuple(sorted({name for pair in pairs for name in pair}))
    wins, ties = np.zeros((2, len(names), len(names)))
    for (first, second), (won, lost, even) in pairs.items():
        i, j = names.index(first), names.index(second)
        wins[i, j], wins[j, i] = won, lost
        ties[i, j] = ties[j, i] = even
    return Tally(names, wins, ties)


def rows_of(tally: Tally) -> tuple[Floats, Floats]:
    """One row a vote: +1 and −1 by system, and the first's score."""
    rows, scores = [], []
    n = len(tally.names)
    for i in range(n):
        for j in range(n):
            ties = int(tally.ties[i, j]) if i < j else 0
            for score, many in ((1.0, int(tally.wins[i, j])), (0.5, ties)):
                row = np.zeros(n)
                row[i], row[j] = 1, -1
                rows += [row] * many
                scores += [score] * many
    return np.array(rows), np.array(scores)


def test_two_systems_by_hand() -> None:
    found = fit(tally_of({("a", "b"): (3, 1, 0)}))
    first, second = found.rating
    assert first - second == pytest.approx(400 * np.log10(3))
    assert first + second == pytest.approx(2000)
    # Both the curvature and the squared gradients are 4·¾·¼, so the difference has variance 4/3, and each
    # strength, which is half of it, a quarter of that.
    assert found.covariance[0, 0] == pytest.approx(1 / 3)
    assert found.interval[1][0] == pytest.approx(first + 1.959964 * SCALE * (1 / 3) ** 0.5)


def test_a_tie_is_half_a_win() -> None:
    won = fit(tally_of({("a", "b"): (3, 1, 0)}))
    tied = fit(tally_of({("a", "b"): (2, 0, 2)}))
    np.testing.assert_allclose(won.rating, tied.rating)
    # Scores 1, 1, ½, ½ miss ¾ by a quarter each: 4/16 of squared gradient where wins alone have 12/16.
    assert tied.covariance[0, 0] == pytest.approx(won.covariance[0, 0] / 3)


def test_as_another_implementation_has_it() -> None:
    # arena-rank 0.1.1, with its ridge on the Hessian at 1e-6.
    found = fit(tally_of(PAIRS))
    low, high = found.interval
    np.testing.assert_allclose(found.rating, [1081.9331, 1015.5452, 1000.7974, 901.7243], atol=1e-3)
    np.testing.assert_allclose(low, [1050.1681, 981.4057, 962.8392, 866.6747], atol=1e-3)
    np.testing.assert_allclose(high, [1113.6981, 1049.6847, 1038.7556, 936.7739], atol=1e-3)


def test_as_a_generalised_linear_model_has_it() -> None:
    tally = tally_of(PAIRS)
    rows, scores = rows_of(tally)
    model = sm.GLM(scores, rows[:, 1:], family=sm.families.Binomial()).fit(cov_type="HC0", tol=1e-12)
    centre = np.eye(4) - 0.25
    strength = centre @ np.concatenate([[0], model.params])
    covariance = centre @ np.pad(model.cov_params(), ((1, 0), (1, 0))) @ centre
    found = fit(tally)
    np.testing.assert_allclose(found.strength, strength, atol=1e-8)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-8)


def test_more_of_the_same_votes_narrow_the_intervals() -> None:
    tally = tally_of(PAIRS)
    once, nine = fit(tally), fit(Tally(tally.names, 9 * tally.wins, 9 * tally.ties))
    np.testing.assert_allclose(nine.strength, once.strength, atol=1e-9)
    np.testing.assert_allclose(nine.covariance, once.covariance / 9, atol=1e-9)


def test_lopsided_and_many() -> None:
    first, second = fit(tally_of({("a", "b"): (100_000, 1, 0)})).rating
    assert first - second == pytest.approx(2000)
    source = np.random.default_rng(3)
    true = source.normal(0, 1, 80)
    p = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    wins = np.triu(source.binomial(40, p), 1).astype(float)
    wins += np.tril(40 - wins.T, -1)
    found = fit(Tally(tuple(f"s{n:02d}" for n in range(80)), wins, np.zeros((80, 80))))
    likely = 1 / (1 + np.exp(found.strength[None, :] - found.strength[:, None]))
    # At the maximum each system's expected wins are those it has.
    np.testing.assert_allclose((40 * (likely - np.eye(80) / 2)).sum(axis=1), wins.sum(axis=1), atol=1e-4)
    assert np.abs(found.strength - (true - true.mean())).max() < 0.5


def test_a_prior_draws_strengths_in() -> None:
    halves = tally_of({("a", "b"): (5, 0, 0), ("b", "c"): (2, 1, 0)}).halves

    def loss(strength: Floats) -> float:
        gap = strength[:, None] - strength[None, :]
        return float((halves * np.logaddexp(0, -gap)).sum() + 0.35 * (strength**2).sum())

    best = minimize(loss, np.zeros(3), tol=1e-12).x
    np.testing.assert_allclose(strengths(halves, ridge=0.7), best, atol=1e-5)


def test_what_is_not_joined_is_not_rated() -> None:
    apart = tally_of({("a", "b"): (2, 1, 0), ("c", "d"): (0, 0, 1)})
    with pytest.raises(Unratable, match=r"a, b; c, d\. Rate one group alone"):
        fit(apart)
    assert fit(apart.only([0, 1])).rating[0] > 1000
    # Met, but d only ever lost: its rating would be −∞.
    with pytest.raises(Unratable, match="a, b; d"):
        fit(tally_of({("a", "b"): (2, 1, 0), ("b", "d"): (7, 0, 0)}))
    # A circle of wins joins, and so does a tie.
    circle = tally_of({("a", "b"): (1, 0, 0), ("b", "c"): (1, 0, 0), ("a", "c"): (0, 1, 0)})
    np.testing.assert_allclose(fit(circle).rating, 1000)
    np.testing.assert_allclose(fit(tally_of({("a", "b"): (0, 0, 1)})).rating, 1000)
    with pytest.raises(Unratable, match="no votes match"):
        fit(Tally((), np.zeros((0, 0)), np.zeros((0, 0))))


def test_groups() -> None:
    halves = np.zeros((5, 5))
    halves[3, 4] = halves[4, 3] = halves[1, 3] = 1
    assert groups_of(halves) == [[3, 4], [0], [1], [2]]


def test_joined_as_groups_say() -> None:
    source = np.random.default_rng(0)
    for n in (1, 2, 3, 9, 17):
        halves = (source.random((60, n, n)) < 1.6 / n).astype(float)
        halves[0] = np.roll(np.eye(n), 1, axis=1)
        found = joined(halves)
        assert found.tolist() == [len(groups_of(one)) == 1 for one in halves]
        assert found[0]


def test_bootstrap_agrees_with_the_sandwich() -> None:
    tally = tally_of(PAIRS)
    drawn = bootstrap(tally, times=2000, seed=1)
    assert drawn.unrated == 0
    np.testing.assert_allclose(drawn.interval, fit(tally).interval, atol=6)
    again, other = bootstrap(tally, times=50, seed=1), bootstrap(tally, times=50, seed=2)
    np.testing.assert_array_equal(again.strength, bootstrap(tally, times=50, seed=1).strength)
    assert np.abs(again.strength - other.strength).max() > 0
    covariance = np.cov(drawn.strength.T)
    np.testing.assert_allclose(covariance, fit(tally).covariance, atol=0.004)


def test_bootstrap_of_too_few_votes_is_refused() -> None:
    with pytest.raises(Unratable, match=r"of 100 draws of the votes could not be rated.*sandwich"):
        bootstrap(tally_of({("a", "b"): (3, 1, 0)}), times=100)


def test_ranks() -> None:
    low, high = np.array([1100.0, 1050.0, 1090.0, 900.0]), np.array([1150.0, 1095.0, 1120.0, 950.0])
    best, worst = ranks(low, high)
    # The second lies below the first only; the fourth below all.
    assert best.tolist() == [1, 2, 1, 4]
    assert worst.tolist() == [2, 3, 3, 4]


def test_counting() -> None:
    a, b = np.array([0, 1, 0, 1, 0, 0, 2]), np.array([1, 0, 1, 0, 1, 1, 2])
    said = np.array([OUTCOMES.index("a"), OUTCOMES.index("a"), OUTCOMES.index("tie"), 3, -1, 1, 0])
    tally = count(("x", "y", "z"), a, b, said)
    assert tally.wins.tolist() == [[0, 1, 0], [2, 0, 0], [0, 0, 0]]
    assert tally.ties.tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]
    assert tally.games.tolist() == [[0, 5, 0], [5, 0, 0], [0, 0, 0]]
    assert score_of(np.arange(4)).tolist() == [1, 0, 0.5, 0.5]
    assert pytest.approx(1.959964, abs=1e-6) == Z
