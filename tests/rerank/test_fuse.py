"""Fusion with the first stage, by hand."""

import math

import pytest

from rerank.fuse import by_rank, by_score, first_stage_share, fuse, lexical_share


def test_attention_alone_is_standardised() -> None:
    assert fuse([1, 3], [1, 2], 0) == [-1, 1]
    # Mean 2, squared distances 4, 0, 4: the standard deviation is √(8/3).
    assert fuse([0, 2, 4], [1, 2, 3], 0) == pytest.approx([-2 / math.sqrt(8 / 3), 0, 2 / math.sqrt(8 / 3)])


def test_ranks_take_their_weight_in_log2() -> None:
    assert fuse([1, 3], [1, 3], 0.5) == [-1 - 0.5 * 1, 1 - 0.5 * 2]


def test_equal_attention_leaves_the_first_stage() -> None:
    assert fuse([5, 5, 5], [1, 3, 7], 1) == [-1, -2, -3]


def test_ranks_count_and_not_places() -> None:
    assert fuse([5, 5, 5], [7, 1, 3], 1) == [-3, -1, -2]


def test_short_lists() -> None:
    assert fuse([], [], 1) == []
    assert fuse([4], [1], 1) == [-1]


TEXTS = [
    "tower " * n + "paris " * m + "and other words here" for n, m in ((4, 2), (3, 0), (1, 1), (0, 2), (0, 0))
]


def bm25(text: str) -> float:
    """BM25 with the inverse frequencies 2 for the tower and 1 for Paris."""
    words = text.split()
    length = len(words) / (sum(len(other.split()) for other in TEXTS) / len(TEXTS))
    return sum(
        idf * words.count(word) / (words.count(word) + 0.9 * (0.6 + 0.4 * length))
        for word, idf in (("tower", 2.0), ("paris", 1.0))
    )


def test_words_explain_what_words_ranked() -> None:
    scores = [bm25(text) for text in TEXTS]
    share = lexical_share("the tower of Paris", TEXTS, scores)
    assert share > 0.95
    for scale in (1e-300, 1e307):
        scaled = [score * scale for score in scores]
        assert lexical_share("the tower of Paris", TEXTS, scaled) == pytest.approx(share)
    # The same texts the other way round: no sum of non-negative terms.
    assert lexical_share("the tower of Paris", TEXTS, [-score for score in scores]) == pytest.approx(
        0, abs=0.05
    )


def test_the_first_stage_counts_by_what_it_knew() -> None:
    scores, ranks = [bm25(text) for text in TEXTS[:4]], [1, 2, 3, 4]
    weights = {"lexical": 0.3, "learned": 2.0}
    words = first_stage_share("tower of Paris", TEXTS[:4], scores, ranks, **weights)
    assert words == pytest.approx([0.3 * math.log(score / max(scores)) for score in scores])
    assert first_stage_share("of the", TEXTS[:4], scores, ranks, **weights) == pytest.approx(
        [-2.0 * math.log2(rank + 1) for rank in ranks]
    )
    # Such scores are no BM25's, whose terms are never below 0, and have no logarithm.
    below = first_stage_share("tower of Paris", TEXTS[:4], [-score for score in scores], ranks, **weights)
    assert below == pytest.approx([-2.0 * math.log2(rank + 1) for rank in ranks])


def test_what_nothing_has_ranked_gets_nothing_of_a_first_stage() -> None:
    weights = {"lexical": 0.3, "learned": 2.0}
    assert first_stage_share("Paris", TEXTS, [1.0] * 5, [1, 2, 3, 4, 5], **weights).tolist() == [0.0] * 5
    assert first_stage_share("Paris", TEXTS[:1], [1.0], [1], **weights).tolist() == [0.0]
    assert first_stage_share("Paris", [], [], [], **weights).tolist() == []


def test_scores_count_by_their_distance_and_not_by_their_scale() -> None:
    assert by_score([8.0, 4.0, 2.0], 2) == pytest.approx([0, -2 * math.log(2), -2 * math.log(4)])
    assert by_score([80.0, 40.0, 20.0], 2) == pytest.approx(by_score([8.0, 4.0, 2.0], 2))
    assert by_score([3.0, 0.0], 2).tolist() == [0.0, 0.0]
    assert by_rank([3, 1], 0.5) == pytest.approx([-1.0, -0.5])
