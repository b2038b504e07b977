"""Searching: scores that can be checked by hand, queries of every kind, threads, and exact dense results."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from indexes import (
    Hit,
    Index,
    Method,
    Passage,
    PassageNotFound,
    SearchError,
    build_index,
    reciprocal_rank,
    weighted,
)
from indexes.encoder import get_encoder
from tests.indexes.conftest import FIVE, Write

pytestmark = pytest.mark.model

ROUNDED = 1e-4
"""Anserini rounds scores to four decimals, and lowers those that tie by a millionth each."""


def docids(hits: list[Hit]) -> list[str]:
    """The docids of hits, in order."""
    return [hit.docid for hit in hits]


def by_hand(frequency: int, length: int, k1: float, b: float) -> float:
    """Lucene's BM25 of a word that two of the five passages hold, in a passage of so many words."""
    # Without stop words, stemmed: [cat cat sat mat] [dog dog bark cat] [stock market fell sharpli]
    # [space rocket reach orbit around moon] [cook simmer tomato sauc hour].
    average = (4 + 4 + 4 + 6 + 5) / 5
    idf = math.log(1 + (5 - 2 + 0.5) / (2 + 0.5))
    return idf * frequency / (frequency + k1 * (1 - b + b * length / average))


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.0, 0.0)])
def test_bm25_scores_by_hand(five: Index, k1: float, b: float) -> None:
    (hits,) = five.search(["cats"], method="bm25", k1=k1, b=b)
    scores = {hit.docid: hit.score for hit in hits}
    assert scores == pytest.approx({"d1": by_hand(2, 4, k1, b), "d2": by_hand(1, 4, k1, b)}, abs=ROUNDED)
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].passage == Passage("d1", "A cat sat on the mat.", "Cats")


def test_ties_go_by_docid_also_where_the_list_is_cut(corpus: Write) -> None:
    names = ["b", "Z", "a", "10", "9", "é"]
    path = corpus(*({"_id": name, "text": "the same words"} for name in names))
    with build_index(path, "ties", root=path.parent / "root") as index:
        assert docids(index.search(["same words"], k=3)[0]) == ["10", "9", "Z"]
        assert docids(index.search(["same words"], k=9)[0]) == ["10", "9", "Z", "a", "b", "é"]


@pytest.mark.parametrize("query", ["", "  \t\n", "\0\x01", "the of and", "!?*:()[]{}^~\\/\"'", "zzzz"])
def test_queries_that_find_nothing(five: Index, query: str) -> None:
    assert five.search([query], method="bm25") == [[]]


def test_a_blank_query_finds_nothing_by_any_method(five: Index) -> None:
    methods: tuple[Method, ...] = ("bm25", "dense", "hybrid")
    for method in methods:
        first, second = five.search([" \0 ", "cat"], method=method)
        assert first == []
        assert second


@pytest.mark.parametrize(
    "query",
    [
        "cat\0\x07\x1b",
        "cat \ud800",
        "قطة cat חתול",
        "🐈 cat 👩‍👩‍👧",
        "cat AND (dog OR -mat) field:x~2 [a TO b]",
        " ".join(f"word{number}" for number in range(10_000)) + " cat",
        "cat " * 10_000,
    ],
)
def test_queries_of_every_kind(five: Index, query: str) -> None:
    (bm25,) = five.search([query], method="bm25")
    assert {"d1", "d2"} == set(docids(bm25))
    (dense,) = five.search([query], method="dense")
    assert len(dense) == 5


def test_many_threads_and_settings_agree_with_one(five: Index) -> None:
    queries = [text for _, _, text in FIVE] * 4
    expected = {k1: five.search(queries, method="bm25", k1=k1, threads=1) for k1 in (0.9, 2.0)}
    assert expected[0.9] != expected[2.0]

    def search(number: int) -> bool:
        k1 = (0.9, 2.0)[number % 2]
        return five.search(queries, method="bm25", k1=k1, threads=2) == expected[k1]

    def dense(_: int) -> list[list[Hit]]:
        return five.search(queries[:5], method="dense")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(search, range(40)))
        first, *rest = pool.map(dense, range(8))
    assert all(other == first for other in rest)


def test_dense_equals_brute_force(five: Index) -> None:
    encoder = get_encoder("minilm")
    passages = encoder.encode_passages([Passage(*(d, x, t)).contents for d, t, x in FIVE])
    queries = ["a puppy", "economy", "spaceflight"]
    scores = encoder.encode_queries(queries) @ passages.T
    found = five.search(queries, k=5, method="dense")
    for hits, row in zip(found, scores, strict=True):
        assert docids(hits) == [FIVE[number][0] for number in np.argsort(-row)]
        # Batches of other shapes round differently in bfloat16.
        assert [hit.score for hit in hits] == pytest.approx(sorted(row, reverse=True), abs=0.01)
    assert [docids(hits)[0] for hits in found] == ["d2", "d3", "d4"]


def test_hybrid_is_the_default_and_fuses_by_rank(five: Index) -> None:
    query = ["cat"]
    bm25, dense = (five.search(query, 100, method=method) for method in _both())
    assert five.search(query, 3) == [reciprocal_rank([bm25, dense])[0][:3]]


def _both() -> tuple[Method, Method]:
    return "bm25", "dense"


def test_passages_by_docid(five: Index) -> None:
    assert five.passage("d3") == Passage("d3", "The stock market fell sharply.")
    with pytest.raises(PassageNotFound, match="'five' has no passage 'd9'"):
        five.passage("d9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "from 1 to 10000, not 0"),
        ({"k": 10_001}, "from 1 to 10000"),
        ({"threads": 0}, "threads must be from 1"),
        ({"k1": -1.0}, "k1=-1.0"),
        ({"k1": math.nan}, "k1=nan"),
        ({"k1": 1e300}, "k1=1e\\+300"),
        ({"b": 1.5}, "b=1.5"),
        ({"method": "BM25"}, "no search method 'BM25'; there are bm25, dense, hybrid"),
    ],
)
def test_values_out_of_range(five: Index, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        five.search(["cat"], **arguments)


def test_a_string_is_no_list_of_queries(five: Index) -> None:
    with pytest.raises(SearchError, match="list of one"):
        five.search("cat")
    assert five.search([]) == []


def test_a_part_that_is_not_there_and_a_closed_index(corpus: Write) -> None:
    path = corpus({"_id": "a", "text": "cat"})
    index = build_index(path, "one", root=path.parent / "root")
    with pytest.raises(SearchError, match="cannot be searched by 'hybrid': it has no part dense, only bm25"):
        index.search(["cat"], method="hybrid")
    index.close()
    index.close()
    with pytest.raises(SearchError, match="'one' is closed"):
        index.search(["cat"])
    with pytest.raises(SearchError, match="closed"):
        index.passage("a")


def hits(*scored: tuple[str, float]) -> list[Hit]:
    """Hits of these docids and scores, best first."""
    return [
        Hit(docid, score, rank, Passage(docid, docid)) for rank, (docid, score) in enumerate(scored, start=1)
    ]


def test_reciprocal_rank_by_hand() -> None:
    runs = [[hits(("a", 9), ("b", 5)), []], [hits(("c", 0.4), ("a", 0.1)), hits(("z", 1))]]
    first, second = reciprocal_rank(runs, k=60)
    assert [(hit.docid, hit.rank) for hit in first] == [("a", 1), ("c", 2), ("b", 3)]
    assert [hit.score for hit in first] == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])
    assert docids(second) == ["z"]
    assert docids(reciprocal_rank([[hits(("b", 1))], [hits(("a", 1))]])[0]) == ["a", "b"]


def test_weighted_by_hand() -> None:
    runs = [[hits(("a", 9), ("b", 7), ("c", 5))], [hits(("b", 0.3), ("d", 0.3))]]
    (fused,) = weighted(runs, [0.4, 0.6])
    assert {hit.docid: hit.score for hit in fused} == pytest.approx({"b": 0.8, "d": 0.6, "a": 0.4, "c": 0.0})
    assert [hit.rank for hit in fused] == [1, 2, 3, 4]
    with pytest.raises(SearchError, match="2 runs want as many weights, not 1"):
        weighted(runs, [1.0])
    with pytest.raises(SearchError, match="different numbers of queries"):
        reciprocal_rank([[[]], []])
    assert reciprocal_rank([]) == []
