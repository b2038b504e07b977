"""Leaderboards: small ones by hand, each filter, and what is said where nothing can be rated."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ragnarok.arena.boards import leaderboard
from ragnarok.arena.filters import Filters, select
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.types import OUTCOMES, Columns, System, VoterKind
from ragnarok.errors import NotFound

DAY = 86400.0

SAID = {str(name): code for code, name in enumerate(OUTCOMES)}


def columns_of(*votes: tuple[str, str, str], **more: list[int]) -> Columns:
    """Votes (left, right, answer's outcome), a day apart since 1970, in the order given."""
    names = sorted({name for left, right, _ in votes for name in (left, right)} | {"idle"})
    n = len(votes)
    answer = np.array([SAID[said] for *_, said in votes], np.int8)
    return Columns(
        tuple(System(name) for name in names),
        ("ann", "bob", "gpt"),
        ("dl19", "dl20"),
        np.array([names.index(left) for left, *_ in votes], np.int32),
        np.array([names.index(right) for _, right, _ in votes], np.int32),
        answer,
        np.array(more.get("evidence", [-1] * n), np.int8),
        np.array(more.get("voter", [0] * n), np.int32),
        np.array(more.get("by_model", [0] * n), bool),
        np.array(more.get("topics", [-1] * n), np.int32),
        DAY * np.arange(n, dtype=np.float64),
        np.ones((n, 2, 3), np.int32),
    )


FOUR = columns_of(
    ("x", "y", "a"),
    ("y", "x", "b"),
    ("x", "y", "both_bad"),
    ("x", "y", "tie"),
    evidence=[1, -1, -1, 0],
    voter=[0, 1, 2, 0],
    by_model=[0, 0, 1, 0],
    topics=[0, 1, -1, 0],
)


def test_by_hand() -> None:
    board = leaderboard(FOUR)
    first, second = board.standings
    assert (first.system, first.battles, first.wins, first.losses, first.ties) == ("x", 4, 2, 0, 2)
    assert (first.both_bad, second.both_bad) == (1, 1)
    assert (first.win_rate, second.win_rate) == (0.75, 0.25)
    # Two wins and two ties are worth 3 : 1.
    assert first.rating == pytest.approx(1000 + 200 * np.log10(3))
    assert second.rating == pytest.approx(1000 - 200 * np.log10(3))
    assert first.low is not None
    assert first.high is not None
    assert first.low < 1000 + 200 * np.log10(3) < first.high
    assert board.wins.tolist() == [[0, 2], [0, 0]]
    assert board.ties.tolist() == [[0, 2], [2, 0]]
    np.testing.assert_array_equal(board.win_rates, [[np.nan, 0.75], [0.25, np.nan]])
    assert board.outcomes == {"a": 1, "b": 1, "tie": 1, "both_bad": 1}
    assert (board.votes, board.groups, board.idle) == (4, (("x", "y"),), ("idle",))
    assert board.rated


def day(number: int) -> datetime:
    return datetime(1970, 1, number, tzinfo=UTC)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (Filters(), [0, 1, 2, 3]),
        (Filters(board="evidence"), [0, 3]),
        (Filters(since=day(2)), [1, 2, 3]),
        (Filters(until=day(2)), [0]),
        (Filters(since=day(2), until=day(3)), [1]),
        (Filters(topics="dl19"), [0, 3]),
        (Filters(topics=""), [2]),
        (Filters(voters="human"), [0, 1, 3]),
        (Filters(voters="model"), [2]),
        (Filters(without=frozenset({"ann", "gpt"})), [1]),
        (Filters(systems=frozenset({"x"})), []),
        (Filters(systems=frozenset({"x", "y"}), voters="human", topics="dl20"), [1]),
    ],
)
def test_filters(filters: Filters, kept: list[int]) -> None:
    assert np.flatnonzero(select(FOUR, filters)).tolist() == kept
    assert leaderboard(FOUR, filters).votes == len(kept)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (Filters(topics="dl91"), "no topic set 'dl91'; it knows '', 'dl19', 'dl20'"),
        (Filters(without=frozenset({"eve"})), "no voter 'eve'; it knows 'ann', 'bob', 'gpt'"),
        (Filters(systems=frozenset({"z"})), "no system 'z'"),
    ],
)
def test_unknown_names(filters: Filters, message: str) -> None:
    with pytest.raises(NotFound, match=message):
        leaderboard(FOUR, filters)


def test_boards_are_apart() -> None:
    answer, evidence = leaderboard(FOUR), leaderboard(FOUR, Filters(board="evidence"))
    assert evidence.standings[0].rating == pytest.approx(1000)
    assert answer.standings[0].rating != pytest.approx(1000)


def test_what_is_not_joined_has_no_rating() -> None:
    columns = columns_of(
        ("a", "b", "a"), ("b", "a", "a"), ("c", "d", "tie"), ("e", "a", "a"), ("c", "d", "a")
    )
    board = leaderboard(columns)
    assert not board.rated
    assert board.why.startswith("the votes do not join all systems")
    assert board.groups == (("a", "b"), ("c", "d"), ("e",))
    assert all(one.rating is one.low is one.high is one.best is None for one in board.standings)
    # Counts are shown all the same, by win rate.
    assert [one.system for one in board.standings] == ["e", "c", "b", "a", "d"]
    assert board.standings[0].win_rate == 1
    alone = leaderboard(columns, Filters(systems=frozenset(board.groups[0])))
    assert [one.rating for one in alone.standings] == [pytest.approx(1000)] * 2


def test_no_votes() -> None:
    board = leaderboard(FOUR, Filters(since=datetime(2030, 1, 1, tzinfo=UTC)))
    assert (board.votes, board.standings, board.groups, board.rated) == (0, (), (), False)
    assert "no votes match" in board.why
    assert board.idle == ("idle", "x", "y")
    assert json.loads(json.dumps(board.record()))["standings"] == []


def test_order_of_votes_and_sides_do_not_matter() -> None:
    columns = simulate(Scenario({"p": 1100, "q": 1000, "r": 900}, votes=400), seed=4)
    turned = np.array([1, 0, 2, 3], np.int8)[columns.answer]
    swapped = replace(columns, a=columns.b, b=columns.a, answer=turned, style=columns.style[:, ::-1])
    for styled in (False, True):
        one, other = (leaderboard(each, Filters(style=styled)) for each in (columns, swapped))
        ratings = [[row.rating or 0.0 for row in board.standings] for board in (one, other)]
        np.testing.assert_allclose(ratings[0], ratings[1], atol=1e-6)
        np.testing.assert_array_equal(one.wins, other.wins)


def test_style_and_its_effects() -> None:
    scenario = Scenario({"p": 1000, "q": 1000, "r": 1000}, 5000, style=(150, 0, 0), wordy={"p": 3.0})
    columns = simulate(scenario, seed=4)
    plain, styled = leaderboard(columns), leaderboard(columns, Filters(style=True))
    assert plain.standings[0].system == "p"
    assert (plain.standings[0].best, plain.standings[0].worst) == (1, 1)
    assert all((one.best, one.worst) == (1, 3) for one in styled.standings)
    words, citations, sources = styled.effects
    assert words.style == "words"
    assert words.low > 0
    assert citations.low < 0 < citations.high
    assert sources.low < 0 < sources.high
    assert plain.effects == ()


def test_style_that_cannot_be_told_is_said() -> None:
    board = leaderboard(simulate(Scenario({"p": 1000, "q": 1000}, 3), seed=2), Filters(style=True))
    assert not board.rated
    assert board.standings[0].rating is None


def test_bootstrap_intervals_are_near_the_others() -> None:
    columns = simulate(Scenario({"p": 1100, "q": 1000, "r": 900}, votes=2000), seed=4)
    sandwich, drawn = leaderboard(columns), leaderboard(columns, Filters(interval="bootstrap"))
    for one, other in zip(sandwich.standings, drawn.standings, strict=True):
        assert one.rating == other.rating
        assert one.low is not None
        assert other.low == pytest.approx(one.low, abs=4)
        assert other.low != one.low


@pytest.mark.parametrize("kind", ["human", "model"])
def test_record_is_json(kind: VoterKind) -> None:
    columns = simulate(Scenario({"p": 1050, "q": 1000}, 500, models=0.5), seed=1)
    filters = Filters(since=day(1), voters=kind, without=frozenset({"honest-001"}), style=True)
    board = leaderboard(columns, filters)
    read = json.loads(json.dumps(board.record(), allow_nan=False))
    assert read["filters"]["since"] == "1970-01-01T00:00:00+00:00"
    assert read["filters"]["without"] == ["honest-001"]
    assert read["standings"][0]["rating"] == board.standings[0].rating
    assert read["win_rates"][0][0] is None
    assert read["rated"] is True
    assert [one["style"] for one in read["effects"]] == ["words", "citations", "sources"]
