"""Fusion with the first stage, by hand."""

import math

import pytest

from rerank.fuse import first_stage_weight, fuse, lexical_share


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
    assert lexical_share("the tower of Paris", TEXTS, scores) > 0.95
    # The same texts the other way round: no sum of non-negative terms.
    assert lexical_share("the tower of Paris", TEXTS, [-score for score in scores]) == pytest.approx(
        0, abs=0.05
    )


def test_the_first_stage_weighs_by_what_it_knew() -> None:
    scores = [bm25(text) for text in TEXTS]
    weights = {"lexical": 0.3, "learned": 2.0}
    assert first_stage_weight("tower of Paris", TEXTS, scores, **weights) == pytest.approx(0.3)
    assert first_stage_weight("tower of Paris", TEXTS, [-s for s in scores], **weights) == 2.0
    assert first_stage_weight("tower of Paris", TEXTS, [1.0] * 5, **weights) == 0.0
    assert first_stage_weight("tower of Paris", TEXTS[:1], [1.0], **weights) == 0.0
    assert first_stage_weight("of the", TEXTS, scores, **weights) == 2.0
