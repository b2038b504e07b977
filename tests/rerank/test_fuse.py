"""Fusion with the first stage, by hand."""

import math

import pytest

from rerank.fuse import fuse


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
