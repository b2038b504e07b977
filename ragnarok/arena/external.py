"""A system that is not asked any more: its answers to a topic set are in a TREC file."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from indexes import Index, PassageNotFound
from ragnarok.arena.types import System
from ragnarok.errors import BadFormat, NotFound
from ragnarok.pipeline import Event, Reranked, Result
from ragnarok.trec import AnswerLine, read_answers
from ragnarok.types import Passage, RankedHit, Topic


class AnswersContender:
    """A system whose answers to a topic set were given before."""

    def __init__(
        self, name: str, file: Path, topics: str, questions: tuple[Topic, ...], index: Index | None = None
    ) -> None:
        """Read a TREC answer file that answers every topic of the set; `index` has its passages' text.

        Raises `NotFound`, and `BadFormat` for a file that breaks its form or does not answer each topic once.
        """
        lines = read_answers(file)
        self._lines = _by_topic(file, lines, topics, questions)
        self._index = index
        self.topics: str | None = topics
        self.runs = tuple(dict.fromkeys(line.run_id for line in lines))
        """The ids of the runs that the file is of."""
        digest = hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
        texts = "" if index is None else f" over {index.manifest.name}"
        self.system = System(name, {"answers": f"{lines[0].run_id} {digest}{texts}"})

    def stream(self, question: str, qid: str | None = None) -> Iterator[Event]:
        """Yield `Reranked` with what the answer refers to, each `Sentence`, and the `Result`.

        Raises `NotFound` for a question that is not of the topic set.
        """
        line = self._lines.get(qid or "")
        if line is None:
            raise NotFound(
                f"{self.system.name} has no answer to topic {qid!r}: it answers those of {self.topics!r} only"
            )
        start = time.perf_counter()
        answer = line.answer
        hits = [
            RankedHit(docid, 1.0 / rank, rank, self._passage(docid), rank)
            for rank, docid in enumerate(answer.references, start=1)
        ]
        yield Reranked(hits)
        yield from answer.sentences
        yield Result(question, hits, answer, {"read": time.perf_counter() - start})

    def _passage(self, docid: str) -> Passage:
        if self._index is None:
            return Passage(docid, "")
        try:
            return self._index.passage(docid)
        except PassageNotFound:
            return Passage(docid, "")


def _by_topic(
    file: Path, lines: list[AnswerLine], topics: str, questions: tuple[Topic, ...]
) -> Mapping[str, AnswerLine]:
    found: dict[str, AnswerLine] = {}
    for line in lines:
        if line.topic.qid in found:
            raise BadFormat(f"{file}: topic {line.topic.qid!r} is answered twice; keep one answer a topic")
        found[line.topic.qid] = line
    if missing := [topic.qid for topic in questions if topic.qid not in found]:
        raise BadFormat(
            f"{file}: {len(missing)} topic(s) of the set {topics!r} have no answer, {missing[0]!r} for one"
        )
    return found
