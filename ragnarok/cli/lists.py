"""A run's lists as commands read them: the question of each topic, and the text of its hits."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from indexes import Index, PassageNotFound, open_index, read_corpus
from ragnarok.cli.groups import Source
from ragnarok.errors import NotFound
from ragnarok.query import clean_topic
from ragnarok.trec import Run, RunEntry, read_topics
from ragnarok.types import Hit, Passage


def questions_of(entries: Run, run: Path, topics: Path) -> dict[str, str]:
    """The question of every topic that the run ranks. Raises `NotFound` and `BadQuery`."""
    asked = {topic.qid: topic for topic in read_topics(topics)}
    if unknown := [qid for qid in entries if qid not in asked]:
        raise NotFound(
            f"{topics} has no topic {unknown[0]!r}, which {run} ranks ({len(unknown)} such topics)"
        )
    return {qid: clean_topic(asked[qid]) for qid in entries}


def hits_of(
    qid: str, listed: Sequence[RunEntry], passages: Mapping[str, Passage], shuffle: int | None
) -> list[Hit]:
    """A topic's hits as the run ranks them, numbered from 1, or shuffled."""
    hits = [Hit(e.docid, e.score, rank, passages[e.docid]) for rank, e in enumerate(listed, start=1)]
    if shuffle is not None:
        # A topic's own generator: the order does not depend on which topics came before.
        random.Random(f"{shuffle} {qid}").shuffle(hits)
    return hits


def passages_of(entries: Run, depth: int, source: Source) -> dict[str, Passage]:
    """The text of every passage that will be read. Raises `NotFound` where one has none."""
    wanted = {entry.docid for listed in entries.values() for entry in listed[:depth]}
    if source.index is not None:
        place = f"the index {source.index}"
        with open_index(source.index) as opened:
            found = dict(_held(opened, wanted))
    else:
        assert source.corpus is not None
        place = str(source.corpus)
        found = {passage.docid: passage for passage in read_corpus(source.corpus) if passage.docid in wanted}
    if missing := sorted(wanted - found.keys()):
        raise NotFound(f"{place} has no passage {missing[0]!r}, which the run ranks ({len(missing)} such)")
    return found


def _held(index: Index, docids: Iterable[str]) -> Iterator[tuple[str, Passage]]:
    for docid in docids:
        with suppress(PassageNotFound):
            yield docid, index.passage(docid)
