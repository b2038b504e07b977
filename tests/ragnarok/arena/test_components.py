"""Boards of components: only battles in which one component alone differs."""

import numpy as np
import pytest

from ragnarok.arena.boards import leaderboard
from ragnarok.arena.components import component_columns, component_kinds
from ragnarok.arena.filters import Filters
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.errors import NotFound

SYSTEMS = {
    "s1": {"index": "bm25", "generator": "quote"},
    "s2": {"index": "dense", "generator": "quote"},
    "s3": {"index": "bm25", "generator": "smol"},
    "s4": {"index": "dense", "generator": "smol", "reranker": "late"},
    "s5": {"index": "dense", "generator": "smol"},
}
SCENARIO = Scenario(
    {"s1": 900, "s2": 1000, "s3": 1000, "s4": 1130, "s5": 1100}, votes=4000, components=SYSTEMS
)
COLUMNS = simulate(SCENARIO, seed=1)


def test_kinds() -> None:
    assert component_kinds(COLUMNS) == ("generator", "index", "reranker")


def test_only_what_differs_alone_counts() -> None:
    found = component_columns(COLUMNS, "index")
    # s1–s2 and s3–s5; s3–s4 differ in the re-ranker too.
    pairs = [tuple(sorted(pair)) for pair in zip(COLUMNS.a.tolist(), COLUMNS.b.tolist(), strict=True)]
    assert len(found.a) == pairs.count((0, 1)) + pairs.count((2, 4))
    assert [one.name for one in found.systems] == ["bm25", "dense"]
    assert (found.a != found.b).all()
    first = pairs.index((0, 1))
    kept = [pair in {(0, 1), (2, 4)} for pair in pairs[:first]].count(True)
    assert found.answer[kept] == COLUMNS.answer[first]
    assert found.a[kept] == COLUMNS.a[first]
    assert found.style.shape == (len(found.a), 2, 3)


def test_the_better_value_wins() -> None:
    board = leaderboard(component_columns(COLUMNS, "index"))
    assert [one.system for one in board.standings] == ["dense", "bm25"]
    best, worst = board.standings
    assert best.rating is not None
    assert worst.rating is not None
    # Dense is worth 100 points in both contexts.
    assert best.rating - worst.rating == pytest.approx(100, abs=25)
    assert (worst.best, worst.worst) == (2, 2)


def test_a_system_without_the_component_has_the_value_none() -> None:
    board = leaderboard(component_columns(COLUMNS, "reranker"), Filters(voters="human"))
    assert {one.system for one in board.standings} == {"late", "none"}
    assert board.votes == int(np.isin(COLUMNS.a, [3, 4])[np.isin(COLUMNS.b, [3, 4])].sum())


def test_unknown_kind() -> None:
    with pytest.raises(NotFound, match="compares 'prompt' alone; battles compare generator, index, reranker"):
        component_columns(COLUMNS, "prompt")


def test_values_that_did_not_all_meet_are_not_rated() -> None:
    systems = {"s1": {"index": "w"}, "s2": {"index": "x"}, "s3": {"index": "y", "k": "1"}}
    systems["s4"] = {"index": "z", "k": "1"}
    columns = simulate(Scenario(dict.fromkeys(systems, 1000.0), 200, components=systems), seed=2)
    board = leaderboard(component_columns(columns, "index"))
    assert not board.rated
    assert board.groups == (("w", "x"), ("y", "z"))
