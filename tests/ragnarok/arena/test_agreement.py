"""Agreement by hand and against statsmodels; consistency when sides change."""

from datetime import UTC, datetime

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from ragnarok.arena.agreement import agreement, consistency, kappa, wilson
from ragnarok.arena.types import Outcome, Vote, VoterKind
from ragnarok.errors import Unratable


def vote(battle: str, kind: VoterKind, answer: Outcome | None, evidence: Outcome | None = None) -> Vote:
    return Vote(battle, f"{kind}-{answer}", kind, datetime(2026, 1, 1, tzinfo=UTC), answer, evidence)


def test_kappa_by_hand() -> None:
    # 20 + 15 of 50 agree, and chance would give ½: κ = (0.7 − 0.5)/(1 − 0.5).
    found = kappa(np.array([[20.0, 5.0], [10.0, 15.0]]))
    assert found.battles == 50
    assert found.agreeing == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_as_another_implementation_has_it(seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 30, (3, 3)).astype(float) + 20 * np.eye(3)
    found, other = kappa(table), cohens_kappa(table)
    assert found.kappa == pytest.approx(other.kappa)
    assert (found.low, found.high) == pytest.approx((other.kappa_low, other.kappa_upp), abs=1e-9)


def test_interval_covers_the_truth() -> None:
    source = np.random.default_rng(0)
    shares = np.array([[0.3, 0.05, 0.05], [0.05, 0.25, 0.05], [0.05, 0.05, 0.15]])
    true = kappa(1e6 * shares).kappa
    drawn = [kappa(source.multinomial(300, shares.ravel()).reshape(3, 3).astype(float)) for _ in range(1000)]
    covered = np.mean([one.low <= true <= one.high for one in drawn])
    assert 0.925 < covered < 0.97


def test_by_battle() -> None:
    votes = [
        vote("1", "human", "a"),
        vote("1", "model", "a"),
        vote("2", "human", "both_bad"),
        vote("2", "model", "tie"),
        # The majority of people says b; a model disagrees.
        vote("3", "human", "b"),
        vote("3", "human", "b"),
        vote("3", "human", "tie"),
        vote("3", "model", "a"),
        # One each: a tie, with which the model agrees.
        vote("4", "human", "a"),
        vote("4", "human", "b"),
        vote("4", "model", "tie"),
        # Only people, and a model that says nothing of the answer.
        vote("5", "human", "a"),
        vote("6", "human", "b"),
        vote("6", "model", None, "b"),
    ]
    found = agreement(votes)
    assert found.table.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 2]]
    assert (found.battles, found.agreeing) == (4, 0.75)
    # Chance: ¼·½ + ¼·0 + ½·½ = 3/8, so κ = (¾ − 3/8)/(5/8).
    assert found.kappa == pytest.approx(0.6)
    assert found.low < 0.6 < found.high <= 1
    with pytest.raises(Unratable, match="on the evidence"):
        agreement(votes, board="evidence")


def test_kappa_of_one_word_is_undefined() -> None:
    found = kappa(np.array([[7.0, 0], [0, 0]]))
    assert np.isnan(found.kappa)
    assert found.agreeing == 1
    exact = kappa(np.array([[7.0, 0], [0, 5.0]]))
    assert (exact.kappa, exact.low, exact.high) == (1, 1, 1)


def test_consistency() -> None:
    found = consistency([("a", "b"), ("b", "a"), ("tie", "both_bad"), ("a", "a"), ("b", "b"), ("a", "tie")])
    assert found.pairs == 6
    assert found.consistent == 0.5
    assert (found.left, found.right) == (1 / 6, 1 / 6)
    assert found.low < 0.5 < found.high
    with pytest.raises(Unratable, match="both orders"):
        consistency([])


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (3, 6), (99, 100), (7, 7)])
def test_wilson_as_another_implementation_has_it(hits: int, total: int) -> None:
    assert wilson(hits, total) == pytest.approx(proportion_confint(hits, total, method="wilson"), abs=1e-9)
