"""Judged sets: how they are named, and the lists that are made of them."""

import json
import math
from pathlib import Path

import pytest

from ragnarok.errors import BadSetting, NotFound
from ragnarok.judged import JudgedRun, JudgedSet, best_grades


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three passages, one topic: d1 and d3 are judged; BM25 finds d1 and d2, another run d2 first."""
    corpus = [json.dumps({"_id": f"d{n}", "title": "", "text": f"text {n}"}) for n in (1, 2, 3)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "what?"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\nq\td3\t3\n")
    (tmp_path / "run.bm25.trec").write_text("q Q0 d1 1 9.5 t\nq Q0 d2 2 8 t\n")
    (tmp_path / "run.other.trec").write_text("q Q0 d2 1 1 t\nq Q0 d1 2 0.5 t\n")
    return tmp_path


def lists_of(folder: Path, options: str) -> list[tuple[str, int, float, float]]:
    chosen = JudgedRun.parse(f"{folder}:{options}")
    (item,) = JudgedSet.open(folder).lists(chosen)
    return [(h.docid, h.rank, h.score, g) for h, g in zip(item.hits, item.grades, strict=True)]


def test_lists(folder: Path) -> None:
    assert lists_of(folder, "bm25") == [("d1", 1, 9.5, 1.0), ("d2", 2, 8.0, 0.0)]
    assert lists_of(folder, "bm25,depth=1") == [("d1", 1, 9.5, 1.0)]
    assert lists_of(folder, "bm25,judged")[-1] == ("d3", 101, 8.0, 3.0)
    assert [score for _, _, score, _ in lists_of(folder, "bm25,unranked")] == [0.0, 0.0]


def test_another_run_teaches(folder: Path) -> None:
    grades = {docid: grade for docid, _, _, grade in lists_of(folder, "bm25,teacher=other")}
    assert grades == {"d2": 1.0, "d1": pytest.approx(1 / math.log2(3))}
    both = lists_of(folder, "bm25,teacher=other,teacher=bm25")
    assert [grade for *_, grade in both] == [pytest.approx((1 + 1 / math.log2(3)) / 2)] * 2


def test_no_judgment_is_needed_where_a_run_teaches(folder: Path) -> None:
    (folder / "qrels.tsv").unlink()
    assert next(grade for *_, grade in lists_of(folder, "bm25,teacher=bm25")) == 1.0
    with pytest.raises(NotFound, match=r"no qrels\.tsv: add it, or let another run teach"):
        lists_of(folder, "bm25")


def test_names(folder: Path) -> None:
    run = JudgedRun.parse(f"{folder}:bm25,weight=2.5,learned")
    assert (run.run, run.weight, run.learned, run.name) == ("bm25", 2.5, True, f"{folder.name}:bm25")
    for wrong in (
        "bm25",
        ":bm25",
        "x:",
        "x:bm25,depth=many",
        "x:bm25,depth",
        "x:bm25,deep=3",
        "x:bm25,judged=1",
    ):
        with pytest.raises(BadSetting):
            JudgedRun.parse(wrong)
    with pytest.raises(NotFound, match=r"has no run\.none"):
        lists_of(folder, "none")


def test_best_grades() -> None:
    assert best_grades([1, 3, 0, 2], 2) == [3.0, 2.0]
