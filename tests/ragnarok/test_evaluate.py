"""Evaluation: numbers checked by hand, and the published figures over judged collections."""

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from ragnarok.errors import BadFormat, NotFound
from ragnarok.evaluate import compare, evaluate, read_qrels
from ragnarok.trec.runs import Run, RunEntry, read_run, write_run
from ragnarok.trec.topics import read_topics

DATA = Path(os.environ.get("RAGNAROK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
PUBLISHED = {
    "bm25": 0.5058,
    "bm25_rm3": 0.5216,
    "tasb": 0.7210,
    "ada2": 0.7035,
    "splade_pp_ed": 0.7308,
    "repllama": 0.7439,
    "contriever": 0.6202,
}

QRELS = {"1": {"a": 1, "b": 0, "c": 2}, "2": {"x": 1}, "3": {"y": 1}}


def ranked(topics: Mapping[str, str]) -> Run:
    """A run of one-letter documents in order; all scores tie."""
    return {
        qid: [RunEntry(d, n, 1.0, "t") for n, d in enumerate(docs, start=1)] for qid, docs in topics.items()
    }


def test_measures_by_hand() -> None:
    result = evaluate(
        ranked({"1": "abc", "2": "zx", "9": "q"}), QRELS, ["nDCG@10", "R@2", "RR@10", "AP(rel=2)"]
    )
    # Gains 1, 0, 2 at ranks 1 to 3, against 2, 1: (1 + 2/2) / (2 + 1/log2(3)).
    ndcg = (1 + 2 / 2) / (2 + 1 / math.log2(3))
    assert result.topics["1"] == pytest.approx(
        {"nDCG@10": ndcg, "R@2": 1 / 2, "RR@10": 1, "AP(rel=2)": 1 / 3}
    )
    assert result.topics["2"]["RR@10"] == 1 / 2
    assert result.topics["3"] == dict.fromkeys(result.mean, 0.0)
    assert result.mean["RR@10"] == (1 + 1 / 2) / 3
    assert result.missing == ("3",)
    assert result.unjudged == ("9",)


def test_order_where_ranks_tie() -> None:
    # As a run is read: by rank, and by score where that is the same; 'x' would come first by its docid.
    tied = {"2": [RunEntry("w", 1, 0.9, "t"), RunEntry("x", 1, 0.2, "t")]}
    assert evaluate(tied, {"2": {"x": 1}}, ["RR@10"]).mean == {"RR@10": 1 / 2}


@pytest.mark.parametrize(
    "name",
    [
        *("nDGC@10", "nDCG@x", "", "P", "alpha_nDCG@20", "__import__('os')"),
        *("P@0", "AP@0", "Judged@0", "P@9999999999", "P(rel=0)@5", "P(level=2)@5", 'nDCG(gains={1:"x"})@10'),
    ],
)
def test_unknown_measures_show_known_ones(name: str) -> None:
    with pytest.raises(NotFound, match=r"cannot be computed.*examples: nDCG@10") as caught:
        evaluate(ranked({"1": "a"}), QRELS, ["AP", name])
    assert repr(name) in str(caught.value)


@pytest.mark.skipif(shutil.which("perl") is None, reason="gdeval, which is tested here, is in Perl")
def test_a_measure_that_gdeval_refuses() -> None:
    with pytest.raises(NotFound, match=r"'ERR@5' cannot be computed .*topics only that are numbers"):
        evaluate(ranked({"t1": "a"}), {"t1": {"a": 1}}, ["ERR@5"])


def test_nothing_in_common() -> None:
    result = evaluate(ranked({"9": "a"}), QRELS, ["AP"])
    assert (result.mean, result.missing, result.unjudged) == ({"AP": 0.0}, ("1", "2", "3"), ("9",))
    with pytest.raises(BadFormat, match="no judgments"):
        evaluate(ranked({"9": "a"}), {}, ["AP"])


def test_comparison_by_hand() -> None:
    a, b = ranked({"1": "ab", "2": "x", "3": "y"}), ranked({"1": "ba", "2": "zx", "3": "y"})
    result = compare(a, b, QRELS, "RR@10")
    assert (result.mean_a, result.mean_b, result.difference) == pytest.approx((1, 2 / 3, 1 / 3))
    assert (result.wins, result.losses, result.ties) == (2, 0, 1)
    # Differences 1/2, 1/2, 0: of the four sign patterns of the first two, ++ and -- reach as far.
    assert result.p_value == 1 / 2
    assert compare(a, a, QRELS, "RR@10").p_value == 1


def test_comparison_of_many_topics() -> None:
    qrels = {str(n): {"a": 1} for n in range(40)}
    better, worse = ranked(dict.fromkeys(qrels, "ab")), ranked(dict.fromkeys(qrels, "ba"))
    result = compare(worse, better, qrels, "RR@10")
    assert (result.difference, result.losses) == (-0.5, 40)
    assert 0 < result.p_value < 0.001
    assert compare(worse, better, qrels, "RR@10") == result


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t-1\n2\ta\t0\n",
        "\r\nquery-id\tcorpus-id\tscore\r\n1\ta\t2\r\n1\tb\t-1\r\n2\ta\t0\r\n",
        "1\ta\t2\n1\tb\t-1\n1\ta\t2\n2\ta\t0",
        "1 0 a 2\n1 0 b -1\n2 0 a 0\n",
    ],
)
def test_qrels(tmp_path: Path, text: str) -> None:
    (tmp_path / "q").write_text(text)
    assert read_qrels(tmp_path / "q") == {"1": {"a": 2, "b": -1}, "2": {"a": 0}}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1\ta\n", "line 1: has 2 columns"),
        ("1\ta\t1\n1 0 b 1\n", "line 2: has 4 columns"),
        ("1\ta\thigh\n", "line 1: grade 'high' is not a whole number"),
        ("1\ta\t3000000000\n", "line 1: grade '3000000000' is not a whole number up to 999,999"),
        ("1\ta\t1\n1\ta\t2\n", "line 2: docid 'a' has a second grade in topic '1'"),
        ("query-id\tcorpus-id\tscore\n", "has no judgments"),
    ],
)
def test_bad_qrels(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "q").write_text(text)
    with pytest.raises(BadFormat, match=error):
        read_qrels(tmp_path / "q")


@pytest.fixture(scope="module")
def dl19() -> Path:
    """The judged passages of TREC DL 2019."""
    folder = DATA / "dl19"
    if not folder.is_dir():
        pytest.skip(f"the judged collections are not at {DATA}; RAGNAROK_DATA can name them")
    return folder


@pytest.mark.data
@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_published_figures(dl19: Path, tmp_path: Path, name: str, published: float) -> None:
    qrels, run = read_qrels(dl19 / "qrels.tsv"), read_run(dl19 / f"run.{name}.trec.gz")
    assert {topic.qid for topic in read_topics(dl19 / "queries.jsonl")} == set(qrels) == set(run)
    result = evaluate(run, qrels, ["nDCG@10"])
    assert result.mean["nDCG@10"] == pytest.approx(published, abs=1e-4)
    assert (result.missing, result.unjudged) == ((), ())
    write_run(tmp_path / "again.gz", run, name)
    again = read_run(tmp_path / "again.gz", strict=True)
    assert evaluate(again, qrels, ["nDCG@10"]) == result
