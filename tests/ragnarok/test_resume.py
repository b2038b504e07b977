"""Batch runs: what is written, and what survives being stopped."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ragnarok.batch import PROGRESS, BatchOptions, run_batch
from ragnarok.errors import BadFormat, BadQuery, RunConflict
from ragnarok.pipeline import Pipeline, Reranked, Result, Retrieved
from ragnarok.rerankers import KeepOrder
from ragnarok.trec import Year, check_record, read_run
from ragnarok.types import Answer, Hit, Passage, Sentence, Topic

TOPICS = [Topic("1", "first question"), Topic("2", "nothing found"), Topic("3", "third question")]


class Shelf:
    """A retriever of two passages; a topic may be set to fail."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.asked: list[str] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked += queries
        if self.failing in queries:
            raise OSError("the disk is gone")
        hits = [Hit("d#1", 2.0, 1, Passage("d#1", "One.")), Hit("d#2", 1.0, 2, Passage("d#2", "Two."))]
        return [[] if "nothing" in query else hits[:k] for query in queries]


class Clerk:
    """A generator that cites the best hit."""

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        sentences = tuple(Sentence(f"It is {hit.passage.text}", (0,)) for hit in hits[:1])
        yield from sentences
        yield Answer(query, sentences, tuple(hit.docid for hit in hits[:1]))


def pipeline(shelf: Shelf) -> Pipeline:
    return Pipeline(shelf, KeepOrder(), Clerk(), depth=2)


def run(folder: Path, shelf: Shelf, index: str = "x", year: Year = 2025) -> list[Path]:
    return run_batch(pipeline(shelf), TOPICS, folder, BatchOptions("t", year, 2), {"index": index})


def test_events_come_in_order_and_ask_gathers_them() -> None:
    events = list(pipeline(Shelf()).stream("first\x00 question"))
    assert [type(event) for event in events] == [Retrieved, Reranked, Sentence, Result]
    result = events[-1]
    assert isinstance(result, Result)
    assert result.query == "first question"
    assert list(result.timings) == ["retrieve", "rerank", "answer"]
    again = pipeline(Shelf()).ask("first question")
    assert (again.hits, again.answer) == (result.hits, result.answer)
    assert pipeline(Shelf()).ask("nothing").answer.sentences == ()
    with pytest.raises(BadQuery):
        pipeline(Shelf()).ask(" \t")


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_writes_the_years_forms(tmp_path: Path, year: Year) -> None:
    trec, answers = run(tmp_path, Shelf(), year=year)
    assert {
        qid: [entry.docid for entry in entries] for qid, entries in read_run(trec, strict=True).items()
    } == {
        "1": ["d#1", "d#2"],
        "3": ["d#1", "d#2"],
    }
    records = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [problem for record in records for problem in check_record(record, year, TOPICS)] == []
    assert len(records) == 3


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = [path.read_bytes() for path in run(tmp_path / "whole", Shelf())]
    with pytest.raises(OSError, match="disk"):
        run(tmp_path / "stopped", Shelf(failing="third question"))
    assert not (tmp_path / "stopped" / "run.t.trec").exists()
    shelf = Shelf()
    assert [path.read_bytes() for path in run(tmp_path / "stopped", shelf)] == whole
    assert shelf.asked == ["third question"]


def test_a_torn_last_record_is_done_again(tmp_path: Path) -> None:
    whole = [path.read_bytes() for path in run(tmp_path, Shelf())]
    journal = tmp_path / PROGRESS
    journal.write_bytes(journal.read_bytes()[:-9])
    shelf = Shelf()
    assert [path.read_bytes() for path in run(tmp_path, shelf)] == whole
    assert shelf.asked == ["third question"]


def test_other_settings_are__refused_and_harm_nothing(tmp_path: Path) -> None:
    whole = [path.read_bytes() for path in run(tmp_path, Shelf())]
    with pytest.raises(RunConflict, match="index: 'x', now 'y'"):
        run(tmp_path, Shelf(), "y")
    assert [path.read_bytes() for path in run(tmp_path, Shelf())] == whole


def test_a_damaged_journal_is_said_to_be(tmp_path: Path) -> None:
    run(tmp_path, Shelf())
    (tmp_path / PROGRESS).write_text("{}\n{broken\n")
    with pytest.raises(BadFormat, match="damaged"):
        run(tmp_path, Shelf())
