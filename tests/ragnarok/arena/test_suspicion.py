"""Suspicion: who does not read is found, who does is left alone, and the p-values are what they claim."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom, kstest

from ragnarok.arena.filters import Filters
from ragnarok.arena.simulate import Habit, Scenario, simulate
from ragnarok.arena.suspicion import Evidence, _Votes, examine, suspects
from ragnarok.arena.types import Columns, System

RATINGS = {"a": 1250.0, "b": 1120.0, "c": 1000.0, "d": 880.0, "e": 750.0}


def arena(seed: int, votes: int = 6000, voters: Mapping[Habit, int] | None = None) -> Columns:
    return simulate(Scenario(RATINGS, votes, voters={"honest": 20, **(voters or {})}), seed)


def by_voter(columns: Columns) -> dict[str, Evidence]:
    return {one.voter: one for one in examine(columns)}


@pytest.mark.parametrize("habit", ["random", "left", "right", "tie", "contrary"])
def test_who_does_not_read_is_found(habit: Habit) -> None:
    found = by_voter(arena(3, voters={habit: 2}))
    for name in (f"{habit}-020", f"{habit}-021"):
        assert found[name].evidence >= 100
        flagged = found[name].flagged_at
        assert flagged is not None
        assert flagged <= 200
        assert "%" in found[name].reason
    assert all(one.flagged_at is None for name, one in found.items() if name.startswith("honest"))


def test_one_side_is_found_soon_and_told() -> None:
    found = by_voter(arena(4, voters={"left": 1, "right": 1}))
    left, right = found["left-020"], found["right-021"]
    # Each vote multiplies the bet by 1.9; half of it is on the other side, half of all is on disagreement.
    assert left.flagged_at is not None
    assert left.flagged_at <= 10
    assert left.left == 1
    assert right.left == 0
    assert left.reason == "100% of choices fall on the left, where systems are put by lot"
    assert left.side > left.disagreement


def test_a_slight_leaning_to_one_side_is_not_flagged() -> None:
    source = np.random.default_rng(0)
    columns = arena(5, voters={"honest": 6})
    flip = (columns.answer == 1) & (source.random(len(columns.a)) < 0.12)
    leaning = replace(columns, answer=np.where(flip, 0, columns.answer).astype(np.int8))
    found = examine(leaning)
    assert all(0.52 < one.left < 0.62 for one in found)
    assert all(one.flagged_at is None for one in found)


def test_honest_voters_are_flagged_as_rarely_as_promised() -> None:
    alpha, many = 0.05, 0
    for seed in range(40):
        columns = arena(100 + seed, votes=1500, voters={"honest": 25})
        many += len(suspects(columns, alpha=alpha, seed=seed))
    assert many <= binom(1000, alpha).ppf(0.999)


def test_p_values_are_uniform_and_independent_for_who_votes_as_others_do() -> None:
    # Few votes a pair, so that counts are small: what is claimed holds for any number.
    source = np.random.default_rng(1)
    seen, following = [], []
    for seed in range(150):
        columns = arena(1000 + seed, votes=60, voters={"honest": 3})
        votes = _Votes.of(columns, columns.answer, np.lexsort((columns.cast, columns.voter)))
        p, _ = votes.ranked(source.random(60))
        mine = p[votes.voter == 1]
        seen += list(mine)
        following += list(pairwise(mine))
    assert kstest(seen, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(np.array(following).T)[0, 1]) < 0.06


def test_p_values_by_hand() -> None:
    # Voter 0 and 1 say x twice and y once; voter 2 then says y, and y again with sides changed.
    columns = Columns(
        (System("x"), System("y")),
        ("u", "v", "w"),
        (),
        np.array([0, 0, 1, 0, 1], np.int32),
        np.array([1, 1, 0, 1, 0], np.int32),
        np.array([0, 0, 0, 1, 0], np.int8),
        np.full(5, -1, np.int8),
        np.array([0, 1, 1, 2, 2], np.int32),
        np.zeros(5, bool),
        np.full(5, -1, np.int32),
        np.arange(5.0),
        np.zeros((5, 2, 3), np.int32),
    )
    votes = _Votes.of(columns, columns.answer, np.arange(5))
    assert votes.says.tolist() == [0, 0, 1, 1, 1]
    p, usual = votes.ranked(np.zeros(5))
    q, _ = votes.ranked(np.full(5, 0.5))
    # The fourth: 2 x, 2 y with itself, all as frequent: 4/4. The fifth: 2 x, 3 y: x is rarer, y as frequent.
    assert p[3:].tolist() == [1, 1]
    assert q[3:].tolist() == [0.5, (2 + 1.5) / 5]
    # The third, among x of u, x and y of v, two y of w: x twice, y three times.
    assert q[2] == pytest.approx((2 + 1.5) / 5)
    assert usual.tolist() == [False, False, True, False, False]


def test_suspects_fit_the_boards_filter() -> None:
    columns = arena(3, voters={"random": 2})
    found = suspects(columns)
    assert found == {"random-020", "random-021"}
    assert Filters(without=found).without == found
    assert suspects(columns) == found


def test_nobody_voted() -> None:
    columns = arena(3, votes=0)
    assert examine(columns) == []
    assert examine(replace(arena(3, votes=9), evidence=np.full(9, -1, np.int8)), board="evidence") == []
