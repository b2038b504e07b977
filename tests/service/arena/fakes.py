"""Contenders by hand, whose every word is known and whose pace a test decides, and an arena of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from threading import Semaphore

from ragnarok.arena.contenders import Contender, Roster
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.types import System
from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from ragnarok.types import Answer, Hit, RankedHit, Sentence, Topic
from service.arena.arena import ArenaParts
from service.settings import Settings
from tests.service.fakes import PASSAGES, REFERENCES, SENTENCES, Reverser

SECRET = "of no use outside " * 2

COMPONENTS = ("index", "reranker", "generator")

TOPICS = {
    "trec": (Topic("t1", "What is the first topic?"), Topic("t2", "And the  second, to the letter?")),
    "other": (Topic("o1", "Only one?"),),
}


@dataclass
class Actor:
    """A system that says the same sentences to every question.

    With `steps`, each sentence waits until it is let go; with `error`, it fails after the first.
    """

    name: str
    topics: str | None = None
    steps: Semaphore | None = None
    error: Exception | None = None
    sentences: Sequence[Sentence] = SENTENCES
    references: tuple[str, ...] = REFERENCES
    whole: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    closed: Flag = field(default_factory=Flag)

    @property
    def system(self) -> System:
        """A system whose name and components stand nowhere else."""
        return System(f"system-{self.name}", {kind: f"{kind}-of-{self.name}" for kind in COMPONENTS})

    def stream(self, question: str, qid: str | None = None, /) -> Iterator[Event]:
        """The fakes' passages, turned around, and the sentences; with `whole`, the end alone."""
        self.asked.append((question, qid))
        try:
            yield from self._events(question)
        finally:
            self.closed.set()

    def _events(self, question: str) -> Iterator[Event]:
        hits = [Hit(p.docid, 10.0 - n, n, p) for n, p in enumerate(PASSAGES, start=1)]
        ranked: list[RankedHit] = Reverser().rerank(question, hits)
        if not self.whole:
            yield Retrieved(hits)
            yield Reranked(ranked)
        for sentence in self.sentences:
            if self.steps is not None:
                assert self.steps.acquire(timeout=20)
            if not self.whole:
                yield sentence
            if self.error is not None:
                raise self.error
        answer = Answer(question, tuple(self.sentences), self.references, ("note-of-the-generator",))
        yield Result(question, ranked, answer, {"retrieve": 0.123456, "rerank": 0.234567, "answer": 0.345678})


@contextmanager
def parts_of(
    store: Path | str, *contenders: Contender, masked: tuple[str, ...] = (), signs: tuple[str, ...] = ()
) -> Iterator[ArenaParts]:
    """An arena of these, or of two that say the same; `masked` and `signs` are hidden beside their names."""
    chosen = contenders or (Actor("left"), Actor("right"))
    roster = Roster({one.system.name: one for one in chosen}, TOPICS, masked=masked, signs=signs)
    kept = ArenaStore(str(store))
    try:
        yield ArenaParts(roster, kept, SECRET)
    finally:
        kept.close()


def quick(**more: object) -> Settings:
    """Settings in which nobody is too fast."""
    return Settings.model_validate({"arena_battles": 100_000, "arena_votes": 100_000, "threads": 4, **more})
