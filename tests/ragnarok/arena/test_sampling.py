"""Who meets next: the gain by hand and by brute force, the floor, the seed, and that it helps."""

from collections import Counter

import numpy as np
import pytest

from ragnarok.arena.ratings import SCALE, chance, fit, laplacian, strengths
from ragnarok.arena.sampling import FLOOR, SPREAD, Pairing, gains
from ragnarok.arena.tally import Floats, Tally
from ragnarok.errors import BadSetting


def tally_of(names: str, games: Floats) -> Tally:
    """Even votes on each pair."""
    return Tally(tuple(names), games / 4, games / 2)


def games_of(n: int, many: float) -> Floats:
    return many * (1 - np.eye(n))


def spread(tally: Tally, more: tuple[int, int] | None = None) -> float:
    """The summed variance of all differences, with one more vote on a pair if given."""
    precision = (SCALE / SPREAD) ** 2
    likely = chance(strengths(tally.halves, ridge=precision))
    games = tally.games.copy()
    if more:
        games[more] += 1
        games[more[::-1]] += 1
    n = len(games)
    covariance = np.linalg.inv(laplacian(games * likely * (1 - likely)) + precision * np.eye(n))
    own = np.diag(covariance)
    return float(np.triu(own[:, None] + own[None, :] - 2 * covariance, 1).sum() * SCALE**2)


def test_gain_is_what_one_more_vote_takes_from_the_variance() -> None:
    tally = Tally(
        tuple("wxyz"),
        np.array([[0, 8, 2, 0], [3, 0, 5, 1], [1, 4, 0, 0], [0, 2, 0, 0]], float),
        np.array([[0, 1, 0, 0], [1, 0, 3, 0], [0, 3, 0, 2], [0, 0, 2, 0]], float),
    )
    found = gains(tally)
    for pair in ((0, 1), (0, 3), (1, 2), (2, 3)):
        assert found[pair] == pytest.approx(spread(tally) - spread(tally, pair))
        assert found[pair] == pytest.approx(found[pair[::-1]])
    assert np.diag(found).tolist() == [0, 0, 0, 0]


def test_the_pair_that_met_least_tells_most() -> None:
    games = games_of(4, 40)
    games[2, 3] = games[3, 2] = 4
    found = gains(tally_of("wxyz", games))
    assert sorted(divmod(int(found.argmax()), 4)) == [2, 3]


def test_new_systems_come_first() -> None:
    games = games_of(5, 50)
    games[4], games[:, 4] = 0, 0
    games[4, 0] = games[0, 4] = FLOOR - 1
    pairing = Pairing(tally_of("vwxyz", games))
    assert all("z" in pairing.draw(seed) for seed in range(50))
    games[4, 0] = games[0, 4] = FLOOR
    drawn = [pairing.draw(seed) for pairing in [Pairing(tally_of("vwxyz", games))] for seed in range(200)]
    assert 0 < sum("z" in pair for pair in drawn) < 200
    # One that no vote knows yet, and one that is no longer there.
    pairing = Pairing(tally_of("vwxyz", games), ["v", "w", "new"])
    drawn = [pairing.draw(seed) for seed in range(50)]
    assert all("new" in pair for pair in drawn)
    assert {name for pair in drawn for name in pair} == {"v", "w", "new"}


def test_nobody_meets_itself_and_sides_are_even() -> None:
    pairing = Pairing(tally_of("xyz", games_of(3, 30)))
    drawn = [pairing.draw(seed) for seed in range(3000)]
    assert all(left != right for left, right in drawn)
    counted = Counter(drawn)
    assert len(counted) == 6
    # Six equal pairs of 500 each; the standard deviation is 20.
    assert all(abs(many - 500) < 90 for many in counted.values())


def test_the_seed_decides() -> None:
    tally = tally_of("xyz", games_of(3, 30))
    first, again = Pairing(tally), Pairing(tally)
    assert [first.draw(seed) for seed in range(30)] == [again.draw(seed) for seed in reversed(range(30))][
        ::-1
    ]
    assert len({first.draw(seed) for seed in range(30)}) > 1


@pytest.mark.parametrize("systems", [[], ["x"], ["x", "x"]])
def test_fewer_than_two_systems(systems: list[str]) -> None:
    with pytest.raises(BadSetting, match="a battle needs two different systems"):
        Pairing(tally_of("xy", games_of(2, 3)), systems)


def grown(tally: Tally, true: Floats, votes: int, *, chosen: bool, seed: int) -> Tally:
    """More votes, on pairs that are chosen or drawn evenly."""
    source = np.random.default_rng(seed)
    n = len(true)
    wins = tally.wins.copy()
    for number in range(votes):
        if number % 20 == 0:
            pairing = Pairing(Tally(tally.names, wins, tally.ties))
        if chosen:
            i, j = (tally.names.index(name) for name in pairing.draw(number + 10_000 * seed))
        else:
            i, j = source.choice(n, 2, replace=False)
        if source.random() < chance(true)[i, j]:
            wins[i, j] += 1
        else:
            wins[j, i] += 1
    return Tally(tally.names, wins, tally.ties)


def test_chosen_pairs_teach_more_than_even_ones() -> None:
    # Ten systems, widely apart, two of them new: after 400 votes the ratings are closer to the truth.
    names = tuple("abcdefghij")
    true = np.linspace(-2.5, 2.5, 10)
    start = np.full((10, 10), 8.0) * (1 - np.eye(10))
    start[:, 8:] = start[8:] = 0
    wins = start * chance(true)
    first = Tally(names, wins, np.zeros((10, 10)))
    spreads = {
        chosen: np.mean(
            [np.trace(fit(grown(first, true, 400, chosen=chosen, seed=seed)).covariance) for seed in range(3)]
        )
        for chosen in (True, False)
    }
    assert spreads[True] < 0.9 * spreads[False]
