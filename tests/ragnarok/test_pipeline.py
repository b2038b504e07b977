"""The pipeline over hand-written seams: what is asked of each, and what comes of it."""

from collections.abc import Iterator, Sequence

import pytest

from ragnarok.errors import BadQuery
from ragnarok.pipeline import Pipeline, Reranked, Result, Retrieved
from ragnarok.types import Answer, Hit, Passage, RankedHit, Sentence

HITS = [Hit(f"d{n}", 5.0 - n, n, Passage(f"d{n}", f"Passage {n}.")) for n in (1, 2, 3, 4)]


class Stages:
    """All three seams: finds `hits`, turns them round, quotes the best; keeps what it was asked."""

    def __init__(self, hits: Sequence[Hit] = HITS) -> None:
        self.hits = hits
        self.asked: list[tuple[str, str, int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked += [("search", query, k) for query in queries]
        return [list(self.hits[:k]) for _ in queries]

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        self.asked.append(("rerank", query, len(hits)))
        return [
            RankedHit(hit.docid, -float(rank), rank, hit.passage, hit.rank, hit.score)
            for rank, hit in enumerate(reversed(hits), start=1)
        ]

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        self.asked.append(("answer", query, len(hits)))
        sentences = tuple(Sentence(hit.passage.text, (place,)) for place, hit in enumerate(hits[:2]))
        yield from sentences
        notes = () if hits else ("no passage was found",)
        yield Answer(query, sentences, tuple(hit.docid for hit in hits[:2]), notes)


def join(stages: Stages, depth: int = 3) -> Pipeline:
    return Pipeline(stages, stages, stages, depth=depth)


def test_every_stage_is_told_as_it_ends() -> None:
    stages = Stages()
    events = join(stages).stream("why?")
    assert stages.asked == [], "nothing is done before it is wanted"
    assert next(events) == Retrieved(HITS[:3])
    assert stages.asked == [("search", "why?", 3)]
    second = next(events)
    assert isinstance(second, Reranked)
    assert [hit.docid for hit in second.hits] == ["d3", "d2", "d1"]
    assert next(events) == Sentence("Passage 3.", (0,))
    assert next(events) == Sentence("Passage 2.", (1,))
    last = next(events)
    assert isinstance(last, Result)
    assert last.hits == second.hits
    assert last.answer.references == ("d3", "d2")
    assert list(last.timings) == ["retrieve", "rerank", "answer"]
    assert all(seconds >= 0 for seconds in last.timings.values())
    assert next(events, None) is None


def test_ask_gathers_what_stream_yields() -> None:
    *_, streamed = join(Stages()).stream("why?")
    asked = join(Stages()).ask("why?")
    assert isinstance(streamed, Result)
    assert (asked.query, asked.hits, asked.answer) == (streamed.query, streamed.hits, streamed.answer)


@pytest.mark.parametrize(("depth", "expected"), [(None, 3), (1, 1), (4, 4)])
def test_depth_may_be_asked_for(depth: int | None, expected: int) -> None:
    stages = Stages()
    assert len(join(stages).ask("why?", depth=depth).hits) == expected
    hits, ranked = join(stages).rank("why?", depth=depth)
    assert (len(hits), len(ranked)) == (expected, expected)
    assert stages.asked == [
        ("search", "why?", expected),
        ("rerank", "why?", expected),
        ("answer", "why?", expected),
        ("search", "why?", expected),
        ("rerank", "why?", expected),
    ]


def test_no_hits_are_a_result_with_a_note() -> None:
    result = join(Stages([])).ask("why?")
    assert (result.hits, result.answer.sentences, result.answer.references) == ([], (), ())
    assert result.answer.notes == ("no passage was found",)


@pytest.mark.parametrize("query", ["", " \t\n", "\u200b", "\x00", "word " * 10_000])
def test_questions_are_checked_before_anything_is_done(query: str) -> None:
    stages = Stages()
    with pytest.raises(BadQuery):
        join(stages).ask(query)
    with pytest.raises(BadQuery):
        join(stages).rank(query)
    assert stages.asked == []


def test_every_stage_gets_the_cleaned_question() -> None:
    stages = Stages()
    assert join(stages).ask(" שלום\x07  🦜\n").query == "שלום 🦜"
    assert {query for _, query, _ in stages.asked} == {"שלום 🦜"}


class Held(Stages):
    """Stages that hold something; closing fails, or not."""

    def __init__(self, log: list[str], name: str, error: Exception | None = None) -> None:
        super().__init__()
        self.log, self.name, self.error = log, name, error

    def close(self) -> None:
        self.log.append(self.name)
        if self.error is not None:
            raise self.error


def test_closing_closes_whatever_holds_anything_whatever_fails() -> None:
    log: list[str] = []
    pipeline = Pipeline(Held(log, "finds"), Held(log, "ranks", OSError("by hand")), Stages())
    with pytest.raises(OSError, match="by hand"):
        pipeline.close()
    assert log == ["ranks", "finds"]


def test_a_pipeline_closes_at_the_end_of_its_block() -> None:
    log: list[str] = []
    with Pipeline(Stages(), Stages(), Held(log, "answers")) as pipeline:
        assert pipeline.ask("why?").hits
        assert log == []
    assert log == ["answers"]
