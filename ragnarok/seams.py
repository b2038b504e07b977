"""The three seams of the pipeline: what finds, what ranks and what answers.

Each is a small Protocol; anything that keeps its promise can stand in, in this process or behind HTTP.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from ragnarok.types import Answer, Hit, RankedHit, Sentence


class Retriever(Protocol):
    """Finds passages."""

    def search(self, queries: Sequence[str], k: int, /) -> list[list[Hit]]:
        """The best `k` hits of each query, best first, ranks from 1, docids unique; maybe none."""


class Reranker(Protocol):
    """Puts hits in a better order."""

    def rerank(self, query: str, hits: Sequence[Hit], /) -> list[RankedHit]:
        """The same hits, re-scored, best first, ranks from 1, with what the first stage had said."""


class Generator(Protocol):
    """Answers from hits."""

    def stream(self, query: str, hits: Sequence[Hit], /) -> Iterator[Sentence | Answer]:
        """Each sentence as soon as it is certain, and last the whole answer.

        Citations of a sentence point into the references of the final answer; a reference's number never
        changes once a sentence has used it.
        """
