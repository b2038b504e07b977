"""One question through the three seams: retrieve, re-rank, answer.

The pipeline knows only the seams. It yields what each stage found as soon as it is there; `ask` gathers
the same events into one result. It is as safe for threads as its seams are: those of `ragnarok.assemble` are.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from ragnarok.query import clean_query
from ragnarok.seams import Generator, Reranker, Retriever
from ragnarok.types import Answer, Hit, RankedHit, Sentence


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The first stage's hits."""

    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class Reranked:
    """All hits in their new order."""

    hits: list[RankedHit]


@dataclass(frozen=True, slots=True)
class Result:
    """A question's whole outcome; `timings` are seconds by stage (`retrieve`, `rerank`, `answer`)."""

    query: str
    hits: list[RankedHit]
    answer: Answer
    timings: dict[str, float]


Event = Retrieved | Reranked | Sentence | Result


@runtime_checkable
class Closes(Protocol):
    """A part that holds threads, files or connections."""

    def close(self) -> None:
        """Let go of them."""


def close_parts(*parts: object) -> None:
    """Close those of `parts` that hold anything, the last one first; all of them, whatever one raises."""
    with ExitStack() as closing:
        for part in parts:
            if isinstance(part, Closes):
                closing.callback(part.close)


class Pipeline:
    """Retrieve `depth` hits, re-rank them, answer from the best."""

    def __init__(
        self, retriever: Retriever, reranker: Reranker, generator: Generator, *, depth: int = 20
    ) -> None:
        """Join one implementation of each seam; `close` closes them."""
        self.retriever, self.reranker, self.generator, self.depth = retriever, reranker, generator, depth

    def close(self) -> None:
        """Let go of threads, files and connections; nothing may be asked any more."""
        close_parts(self.retriever, self.reranker, self.generator)

    def __enter__(self) -> Self:
        """The pipeline itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def rank(self, query: str, *, depth: int | None = None) -> tuple[list[Hit], list[RankedHit]]:
        """The first stage's hits and the re-ranked ones. Raises `BadQuery` and the seams' errors."""
        query = clean_query(query)
        hits = self._retrieve(query, depth)
        return hits, self.reranker.rerank(query, hits)

    def stream(self, query: str, *, depth: int | None = None) -> Iterator[Event]:
        """Yield `Retrieved`, `Reranked`, each `Sentence`, and last the `Result`."""
        query = clean_query(query)
        timings: dict[str, float] = {}
        start = time.perf_counter()
        hits = self._retrieve(query, depth)
        timings["retrieve"] = time.perf_counter() - start
        yield Retrieved(hits)
        start = time.perf_counter()
        ranked = self.reranker.rerank(query, hits)
        timings["rerank"] = time.perf_counter() - start
        yield Reranked(ranked)
        start = time.perf_counter()
        answer = Answer(query)
        for event in self.generator.stream(query, ranked):
            if isinstance(event, Answer):
                answer = event
            else:
                yield event
        timings["answer"] = time.perf_counter() - start
        yield Result(query, ranked, answer, timings)

    def ask(self, query: str, *, depth: int | None = None) -> Result:
        """The whole outcome of one question. Raises `BadQuery` and the seams' errors."""
        *_, result = self.stream(query, depth=depth)
        assert isinstance(result, Result)
        return result

    def _retrieve(self, query: str, depth: int | None) -> list[Hit]:
        (hits,) = self.retriever.search([query], depth or self.depth)
        return hits
