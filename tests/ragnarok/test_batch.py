"""Batch runs on hard ground: damaged journals, other questions, folders that cannot be written."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from indexes.errors import DiskFull
from ragnarok.batch import PROGRESS, BatchOptions, run_batch
from ragnarok.errors import BadFormat, BadQuery, NotFound, RunConflict
from ragnarok.pipeline import Pipeline
from ragnarok.rerankers import KeepOrder
from ragnarok.trec import Year, check_record, read_run
from ragnarok.types import Answer, Hit, Passage, RankedHit, Sentence, Topic

TOPICS = [Topic("7", "first \u2028 question 🦜"), Topic("8", "nothing at all"), Topic("9", "last question")]
DOCIDS = {
    2024: "msmarco_v2.1_doc_00_1#{}_2",
    2025: "msmarco_v2.1_doc_00_1#{}_2",
    2026: "shard_00_{}",
}


class Stages:
    """Finds three passages (none for `nothing`), and quotes all of them at length; may stop at a topic."""

    def __init__(self, docid: str = "d{}", stop_at: str = "") -> None:
        self.docid, self.stop_at = docid, stop_at
        self.asked: list[str] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        (query,) = queries
        if query == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(query)
        docids = [self.docid.format(n) for n in range(3 if "nothing" not in query else 0)]
        return [[Hit(d, 1 / n, n, Passage(d, f"Text {d}.")) for n, d in enumerate(docids[:k], start=1)]]

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        everything = tuple(range(len(hits)))
        sentences = tuple(Sentence(f"{hit.passage.text} " * 90, everything) for hit in hits)
        yield Answer(query, sentences, tuple(hit.docid for hit in hits), () if hits else ("nothing found",))


def start(
    folder: Path,
    stages: Stages | None = None,
    topics: Sequence[Topic] = TOPICS,
    settings: dict[str, object] | None = None,
    options: BatchOptions | None = None,
) -> list[Path]:
    stages = stages or Stages()
    pipeline = Pipeline(stages, KeepOrder(), stages)
    return run_batch(
        pipeline, topics, folder, options or BatchOptions("tag", depth=2), settings or {"index": "x"}
    )


def contents(files: Sequence[Path]) -> list[bytes]:
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize("year", [2024, 2025, 2026])
def test_long_answers_are_fitted_to_the_years_form(tmp_path: Path, year: Year) -> None:
    options = BatchOptions("tag", year, depth=3, description="by hand")
    run, answers = start(tmp_path, Stages(DOCIDS[year]), options=options)
    assert [len(entries) for entries in read_run(run, strict=True).values()] == [3, 3]
    records = [json.loads(line) for line in answers.read_text().split("\n") if line]
    assert len(records) == 3
    assert [check_record(record, year, TOPICS) for record in records] == [[], [], []]
    # A sentence has 180 words: two fit 400, three fit 1024.
    fitting = 3 if year == 2026 else 2
    assert [len(record["answer"]) for record in records] == [fitting, 0, fitting]


@pytest.mark.parametrize("stop_at", ["last question", "nothing at all", "first question 🦜"])
def test_interrupted_anywhere_the_end_is_the_same(tmp_path: Path, stop_at: str) -> None:
    whole = contents(start(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "torn", Stages(stop_at=stop_at))
    assert [path.name for path in (tmp_path / "torn").iterdir()] == [PROGRESS]
    second = Stages()
    assert contents(start(tmp_path / "torn", second)) == whole
    assert stop_at == second.asked[0], "what was finished is not asked again"


@pytest.mark.parametrize("cut", [1, 10, 150])
def test_a_torn_line_is_done_again(tmp_path: Path, cut: int) -> None:
    whole = contents(start(tmp_path))
    journal = tmp_path / PROGRESS
    kept = journal.read_bytes()
    journal.write_bytes(kept[:-cut])
    assert contents(start(tmp_path)) == whole
    assert [json.loads(line)["qid"] for line in journal.read_bytes().splitlines()[1:]] == ["7", "8", "9"]


def test_a_torn_first_line_begins_afresh(tmp_path: Path) -> None:
    whole = contents(start(tmp_path / "whole"))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / PROGRESS).write_text('{"settings": {"ind')
    assert contents(start(tmp_path / "torn")) == whole


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    "line", ["", "{", "[]", "7", "null", "{}", '{"settings": 1, "options": 2}', "\udcff"]
)
def test_any_damaged_line_is_refused_and_kept(tmp_path: Path, number: int, line: str) -> None:
    start(tmp_path)
    journal = tmp_path / PROGRESS
    lines = journal.read_bytes().split(b"\n")
    lines[number] = line.encode(errors="surrogateescape")
    damaged = b"\n".join(lines)
    journal.write_bytes(damaged)
    with pytest.raises(BadFormat, match=r"progress\.jsonl is damaged .*remove it to start this run afresh"):
        start(tmp_path)
    assert journal.read_bytes() == damaged


@pytest.mark.parametrize(
    ("settings", "options", "named"),
    [
        ({"index": "y"}, BatchOptions("tag", depth=2), r"\(index: 'x', now 'y'\)"),
        ({"index": "x", "new": 1}, BatchOptions("tag", depth=2), r"\(new: None, now 1\)"),
        ({"other": 2}, BatchOptions("tag", depth=2), r"\(index: 'x', now None, other: None, now 2\)"),
        ({"index": "x"}, BatchOptions("tag", depth=3), r"\(depth: 2, now 3\)"),
        (
            {"index": "x"},
            BatchOptions("else", 2024, depth=2),
            r"\(tag: 'tag', now 'else', year: 2025,",
        ),
    ],
)
def test_every_setting_that_differs_is_named(
    tmp_path: Path, settings: dict[str, object], options: BatchOptions, named: str
) -> None:
    start(tmp_path)
    before = (tmp_path / PROGRESS).read_bytes()
    with pytest.raises(RunConflict, match=named):
        start(tmp_path, settings=settings, options=options)
    assert (tmp_path / PROGRESS).read_bytes() == before


def test_another_question_under_a_finished_id_is_refused(tmp_path: Path) -> None:
    start(tmp_path)
    with pytest.raises(RunConflict, match=r"text of topic '9' \('last question', now 'new question'\)"):
        start(tmp_path, topics=[*TOPICS[:2], Topic("9", "new question")])


def test_topics_may_be_added(tmp_path: Path) -> None:
    start(tmp_path, topics=TOPICS[:1])
    second = Stages()
    assert contents(start(tmp_path, second)) == contents(start(tmp_path / "whole"))
    assert second.asked == ["nothing at all", "last question"]


def test_a_run_that_is_under_way_is_refused_and_goes_on(tmp_path: Path) -> None:
    whole = contents(start(tmp_path / "whole"))
    refused: list[str] = []

    class Twice(Stages):
        def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            with pytest.raises(RunConflict) as caught:
                start(tmp_path / "run")
            refused.append(str(caught.value))
            return super().search(queries, k)

    assert contents(start(tmp_path / "run", Twice())) == whole
    assert (
        refused == [f"a run is under way in {tmp_path / 'run'}: wait for its end, or give another folder"] * 3
    )
    assert len((tmp_path / "run" / PROGRESS).read_bytes().splitlines()) == 1 + len(TOPICS)
    assert contents(start(tmp_path / "run")) == whole


def test_progress_counts_the_topics_of_this_run(tmp_path: Path) -> None:
    start(tmp_path)
    heard: list[tuple[str, int, int | None]] = []
    stages = Stages()
    run_batch(
        Pipeline(stages, KeepOrder(), stages),
        TOPICS[:2],
        tmp_path,
        BatchOptions("tag", depth=2),
        {"index": "x"},
        lambda stage, done, total: heard.append((stage, done, total)),
    )
    assert heard == [("topics", 0, 2), ("topics", 1, 2), ("topics", 2, 2)]


def test_a_run_alone_has_no_answers(tmp_path: Path) -> None:
    (file,) = start(tmp_path, options=BatchOptions("tag", answers=False, depth=2))
    assert file.read_text() == (
        "7 Q0 d0 1 1.0 tag\n7 Q0 d1 2 0.5 tag\n9 Q0 d0 1 1.0 tag\n9 Q0 d1 2 0.5 tag\n"
    )


def test_no_hit_in_any_topic_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadFormat, match="none of the 1 topics has a hit"):
        start(tmp_path, topics=TOPICS[1:2])


def test_a_bad_tag_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadFormat, match="white space"):
        start(tmp_path / "new", options=BatchOptions("two words"))
    assert not (tmp_path / "new").exists()


def test_a_question_that_cannot_be_asked_is_found_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(BadQuery, match="topic 'long': the question has"):
        start(tmp_path / "new", topics=[*TOPICS, Topic("long", "word " * 10_000)])
    assert not (tmp_path / "new").exists()


class Refuser(KeepOrder):
    """A re-ranker for which the last question is too long."""

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        if query == TOPICS[-1].text:
            raise BadQuery("the question has 3,000 tokens")
        return super().rerank(query, hits)


def test_a_question_that_is_too_long_for_the_model_is_named(tmp_path: Path) -> None:
    stages = Stages()
    with pytest.raises(BadQuery, match="topic '9': the question has 3,000 tokens"):
        run_batch(Pipeline(stages, Refuser(), stages), TOPICS, tmp_path, BatchOptions("tag", depth=2), {})
    assert (tmp_path / PROGRESS).read_bytes().count(b"\n") == 3, "what was done is kept"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(NotFound, match=r"cannot be written \(.*choose another folder"):
            start(folder)


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(start(tmp_path / "whole"))
    sync, calls = os.fsync, []

    def fill(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        with pytest.raises(DiskFull, match="finished topics are kept"):
            start(tmp_path / "full")
    lines = (tmp_path / "full" / PROGRESS).read_bytes().splitlines()
    assert [json.loads(line).get("qid") for line in lines] == [None, "7"]
    assert contents(start(tmp_path / "full")) == whole
