"""Simulation: the truth is found again, and 95 % intervals hold it 95 times in a hundred."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from ragnarok.arena.boards import leaderboard
from ragnarok.arena.filters import Filters
from ragnarok.arena.ratings import bootstrap
from ragnarok.arena.simulate import HABITS, Scenario, simulate
from ragnarok.arena.staged import staged
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.tally import count, score_of
from ragnarok.arena.types import OUTCOMES, Battle, System, Vote
from ragnarok.errors import BadSetting

TRUE = {"a": 1120.0, "b": 1040.0, "c": 1000.0, "d": 960.0, "e": 880.0}
"""Their mean is 1000, as the board's."""


def within(covered: Mapping[str, int], times: int) -> None:
    low, high = binom(times, 0.95).ppf([0.0005, 0.9995])
    for name, many in covered.items():
        assert low <= many <= high, f"{name}: {many} of {times}"


def covered(scenario: Scenario, times: int, filters: Filters) -> dict[str, int]:
    """How often each system's interval holds its true rating."""
    found = dict.fromkeys(scenario.ratings, 0)
    for seed in range(times):
        for one in leaderboard(simulate(scenario, seed), filters).standings:
            assert one.low is not None
            assert one.high is not None
            found[one.system] += one.low <= scenario.ratings[one.system] <= one.high
    return found


def test_intervals_hold_the_truth() -> None:
    within(covered(Scenario(TRUE, votes=500), 400, Filters()), 400)


def test_intervals_with_style_hold_the_truth() -> None:
    scenario = Scenario(TRUE, votes=500, style=(150, -80, 40), wordy={"a": 2.0, "e": 0.6})
    within(covered(scenario, 250, Filters(style=True)), 250)
    # Without control the wordy one is overrated: the style effects are really there.
    assert covered(scenario, 100, Filters())["a"] < 80


def test_bootstrap_intervals_hold_the_truth() -> None:
    scenario, times = Scenario(TRUE, votes=600), 200
    found = dict.fromkeys(TRUE, 0)
    for seed in range(times):
        columns = simulate(scenario, seed)
        tally = count(tuple(TRUE), columns.a, columns.b, columns.answer)
        low, high = bootstrap(tally, times=300, seed=seed).interval
        for place, name in enumerate(TRUE):
            found[name] += int(low[place] <= TRUE[name] <= high[place])
    # 300 draws tell the percentiles roughly, which costs about a hundredth.
    low_count, high_count = binom(times, 0.94).ppf([0.0005, 0.9995])
    assert all(low_count <= many <= high_count for many in found.values()), found


def test_much_is_found_again_exactly() -> None:
    columns = simulate(Scenario(TRUE, votes=200_000, style=(100, 0, 0)), seed=1)
    board = leaderboard(columns, Filters(style=True))
    assert [one.system for one in board.standings] == list("abcde")
    for one in board.standings:
        assert one.rating == pytest.approx(TRUE[one.system], abs=8)
        assert (one.best, one.worst) == (list("abcde").index(one.system) + 1,) * 2


def test_shares_are_those_asked_for() -> None:
    scenario = Scenario({"a": 1000, "b": 1000}, 40_000, ties=0.3, bad=0.25, evidence=0.4, models=0.5)
    columns = simulate(scenario, seed=2)
    said = np.bincount(columns.answer, minlength=4) / 40_000
    np.testing.assert_allclose(said, [0.35, 0.35, 0.225, 0.075], atol=0.01)
    assert (columns.evidence >= 0).mean() == pytest.approx(0.4, abs=0.01)
    assert columns.by_model.mean() == pytest.approx(0.5, abs=0.02)
    assert (columns.a == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert (columns.a != columns.b).all()
    assert (columns.style[..., 2] <= columns.style[..., 1]).all()


def test_habits() -> None:
    columns = simulate(Scenario({"a": 1400, "b": 1000}, 6000, voters=dict.fromkeys(HABITS, 1)), seed=3)
    score = score_of(columns.answer)
    good = np.where(columns.a == 0, score, 1 - score)
    means = {habit: good[columns.voter == place].mean() for place, habit in enumerate(HABITS)}
    assert means["honest"] == pytest.approx(10 / 11, abs=0.03)
    assert means["contrary"] == pytest.approx(1 / 11, abs=0.03)
    assert (columns.answer[columns.voter == HABITS.index("left")] == 0).all()
    assert (columns.answer[columns.voter == HABITS.index("right")] == 1).all()
    assert (score[columns.voter == HABITS.index("tie")] == 0.5).all()


def test_same_seed_same_votes() -> None:
    scenario = Scenario(TRUE, 300)
    one, other, third = simulate(scenario, 4), simulate(scenario, 4), simulate(scenario, 5)
    np.testing.assert_array_equal(one.answer, other.answer)
    np.testing.assert_array_equal(one.style, other.style)
    assert (one.answer != third.answer).any()


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (lambda: Scenario({"a": 1.0}), "two systems or more"),
        (lambda: Scenario(TRUE, -1), "-1 votes of 20 voters"),
        (lambda: Scenario(TRUE, voters={}), "of 0 voters"),
        (lambda: Scenario(TRUE, ties=1.5), "ties is 1.5: a share is from 0 to 1"),
    ],
)
def test_what_cannot_be_simulated(scenario: Callable[[], Scenario], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        scenario()


def test_staged_votes_are_the_same_votes() -> None:
    columns = simulate(Scenario(TRUE, 200, models=0.3), seed=6)
    items = list(staged(columns))
    systems = [one for one in items if isinstance(one, System)]
    battles = [one for one in items if isinstance(one, Battle)]
    votes = [one for one in items if isinstance(one, Vote)]
    assert tuple(systems) == columns.systems
    assert len(battles) == len(votes) == 200
    assert battles[6].battle_id == votes[6].battle_id == "simulated-000007"
    back = [[list(side.style) for side in (one.a, one.b)] for one in battles]
    np.testing.assert_array_equal(back, columns.style)
    assert [OUTCOMES.index(one.answer) for one in votes if one.answer] == columns.answer.tolist()
    assert [one.evidence is None for one in votes] == (columns.evidence < 0).tolist()
    assert [one.kind == "model" for one in votes] == columns.by_model.tolist()
    assert [one.cast.timestamp() for one in votes] == columns.cast.tolist()
    for one in battles:
        for side in (one.a, one.b):
            cited = {place for sentence in side.answer.sentences for place in sentence.citations}
            assert cited <= set(range(len(side.answer.references)))


def test_a_store_keeps_staged_votes(tmp_path: Path) -> None:
    columns = simulate(Scenario(TRUE, 50), seed=7)
    store = ArenaStore(f"sqlite:///{tmp_path / 'arena.db'}")
    store.add_all(staged(columns))
    back = store.columns()
    assert leaderboard(back).record() == leaderboard(columns).record()
    assert (
        leaderboard(back, Filters(style=True)).record() == leaderboard(columns, Filters(style=True)).record()
    )
    store.close()
