"""Fitting weights: what is read equals what late attention scores, and a planted signal is found."""

import math
from dataclasses import replace

import numpy as np
import pytest

from rerank.errors import BadProfile
from rerank.fit import FitOptions, fit_signals
from rerank.late.reranker import LateReranker
from rerank.model import Model
from rerank.profile import ROWS
from rerank.ridge import FOLDS, RANK_WEIGHTS, Problem, RankedList, ndcg
from rerank.signals import SignalReader

WORDS = ["tower", "paris", "banana", "river", "cable", "stone", "paper", "music", "glass", "lemon"]


def lists(count: int, *, weight: float = 1.0, learned: bool = False) -> list[RankedList]:
    """Lists whose relevant passage repeats the query's word; the first stage has it last."""
    made = []
    for place in range(count):
        word, other = WORDS[place % len(WORDS)], WORDS[(place + 3) % len(WORDS)]
        texts = [f"all about {other} and the {end}" for end in ("sea", "sky", "sun", "wind")]
        texts.append(f"{word} {word} {word}")
        query, grades, ranks = f"{word} number {place}", [0, 0, 0, 0, 1], [1, 2, 3, 4, 5]
        scores = [6.0 - rank for rank in ranks]
        made.append(RankedList(query, texts, grades, ranks, scores, [1.0], "made", weight, learned))
    return made


OPTIONS = FitOptions(groups=3, depth=3, passage_tokens=40, position=64, distance=9, alphas=(1.0, 10.0))


def test_the_profile_scores_as_the_signals_that_it_was_fitted_on(small: Model) -> None:
    data = lists(10)
    profile, report = fit_signals(small, data, OPTIONS)
    assert len(profile.groups) == 3
    assert (profile.prompt, profile.position, profile.distance) == ("late-1", 64, 9)
    assert profile.depth <= 3
    assert [count for count, _ in report.path][-1] == 3
    signals = SignalReader(small, 3, passage_tokens=40, position=64, distance=9).read(
        data[0].query, data[0].texts
    )
    expected = np.zeros(len(data[0].texts))
    for s in profile.signals:
        column = (ROWS.index(s.rows) * 3 + s.layer) * small.shape.heads + s.head
        expected += s.weight * (signals[:, column] - s.mean) / s.scale
    scores = LateReranker(small, profile).read(data[0].query, data[0].texts).scores
    assert scores == pytest.approx(expected.tolist(), abs=1e-4, rel=1e-4)


def test_a_question_may_be_written_twice(small: Model) -> None:
    data = lists(10)
    profile, _ = fit_signals(small, data, replace(OPTIONS, repeats=2))
    assert profile.repeats == 2
    reader = SignalReader(small, 3, passage_tokens=40, position=64, distance=9, repeats=2)
    signals = reader.read(data[0].query, data[0].texts)
    expected = sum(
        s.weight
        * (signals[:, (ROWS.index(s.rows) * 3 + s.layer) * small.shape.heads + s.head] - s.mean)
        / s.scale
        for s in profile.signals
    )
    scores = LateReranker(small, profile).read(data[0].query, data[0].texts).scores
    assert scores == pytest.approx(expected, abs=1e-4, rel=1e-4)


def test_a_planted_signal_beats_the_first_stage(small: Model) -> None:
    _, report = fit_signals(small, lists(20), OPTIONS)
    # The first stage has the relevant passage fifth: 1 / log2(6).
    assert report.first_stage == {"made": pytest.approx(1 / np.log2(6), abs=1e-4)}
    assert report.all_groups["made"] > 0.6
    assert min(report.transfer) > 0.5


def test_learned_lists_choose_their_weight_and_teach_nothing(small: Model) -> None:
    alone, _ = fit_signals(small, lists(10), OPTIONS)
    both, _ = fit_signals(small, [*lists(10), *lists(10, learned=True, weight=0.0)], OPTIONS)
    assert [(s.layer, s.head, s.rows) for s in both.signals] == [
        (s.layer, s.head, s.rows) for s in alone.signals
    ]


def test_what_cannot_be_fitted_is_refused(small: Model) -> None:
    with pytest.raises(BadProfile, match=f"at least {FOLDS}"):
        fit_signals(small, lists(4), OPTIONS)
    with pytest.raises(BadProfile, match="99 groups in 3 layers"):
        fit_signals(small, lists(10), FitOptions(groups=99, depth=3))
    alike = [RankedList(e.query, e.texts, [1.0] * 5, e.ranks, e.scores, e.ideal, e.source) for e in lists(10)]
    with pytest.raises(BadProfile, match="nothing to tell apart"):
        fit_signals(small, alike, OPTIONS)


@pytest.mark.parametrize(("learned", "weight"), [(False, 0.0), (True, RANK_WEIGHTS[-1])])
def test_where_lists_cannot_tell_weights_apart_the_kind_of_first_stage_does(
    learned: bool, weight: float
) -> None:
    """Attention and first stage agree wholly, so that every weight is as good."""
    data = lists(10, learned=False) + lists(10, learned=True, weight=0.0)
    agreeing = [replace(entry, ranks=[5, 4, 3, 2, 1], scores=[1.0, 2.0, 3.0, 4.0, 5.0]) for entry in data]
    features = [np.asarray(entry.grades, float)[:, None].repeat(4, axis=1) for entry in agreeing]
    problem = Problem(agreeing, features, heads=1, kv_heads=1)
    assert problem.first_stage_weight(np.arange(4), 1.0, learned=learned) == weight


def test_a_clearly_better_weight_is_taken() -> None:
    """Attention says nothing, and the first stage all."""
    told = [replace(entry, scores=[1.0, 2.0, 3.0, 4.0, 50.0]) for entry in lists(10)]
    noise = np.random.default_rng(3)
    features = [noise.normal(size=(5, 4)) for _ in told]
    problem = Problem(told, features, heads=1, kv_heads=1)
    assert problem.first_stage_weight(np.arange(4), 1.0, learned=False) >= 1.0


def test_a_learned_first_stage_weighs_the_most_that_still_gains() -> None:
    """Attention puts one passage right that the first stage has second of four, and is lost elsewhere."""
    data = lists(10)
    features = [np.asarray(entry.grades, float)[:, None].repeat(4, axis=1) for entry in data]
    for place in range(10):
        data.append(
            RankedList(
                f"{place}",
                [""] * 4,
                [0, 1, 0, 0],
                [1, 2, 3, 4],
                [4.0, 3.0, 2.0, 1.0],
                [1.0],
                "learned",
                0,
                True,
            )
        )
        features.append(np.array([0.0, 1.0, 0.0, 0.0])[:, None].repeat(4, axis=1))
    problem = Problem(data, features, heads=1, kv_heads=1)
    # z-scored, the right passage is ahead by some 2.5; ranks 1 and 2 differ by .58 of a weight.
    weight = problem.first_stage_weight(np.arange(4), 1.0, learned=True)
    assert weight == 3.0


def test_where_resamples_of_the_lists_disagree_the_weight_lies_between() -> None:
    """Half of the lists are right without their first stage, half only with much of it."""
    data, features = [], []
    for place in range(20):
        trusted = place % 2 == 0
        scores = [1.0, math.exp(2.0)] if trusted else [1.5, 1.0]
        data.append(RankedList(f"{place}", ["", ""], [1, 0], [1, 2], scores, [1.0], "made"))
        features.append(np.array([[2.0], [0.0]] if trusted else [[0.0], [1.0]]).repeat(4, axis=1))
    problem = Problem(data, features, heads=1, kv_heads=1)
    by_weight = [
        problem.first_stage_weight(np.arange(4), 1.0, learned=False),
        Problem(data[::-1], features[::-1], heads=1, kv_heads=1).first_stage_weight(
            np.arange(4), 1.0, learned=False
        ),
    ]
    assert all(0.5 <= weight <= 2.5 for weight in by_weight)


def test_ndcg_by_hand() -> None:
    assert ndcg(np.array([0.0, 1.0]), [1.0]) == pytest.approx(1 / np.log2(3))
    assert ndcg(np.array([2.0, 0.0, 1.0]), [2.0, 1.0]) == pytest.approx(2.5 / (2 + 1 / np.log2(3)))
    assert ndcg(np.array([0.0]), []) == 0.0
