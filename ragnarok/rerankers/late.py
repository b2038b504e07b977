"""Re-ranking by late attention, joined with what the first stage knew.

Safe for threads: what several of them ask at once is scored together, by one batcher for each reader.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from ragnarok.rerankers.attention import best_first, highlights, ranked
from ragnarok.types import Highlight, Hit, RankedHit
from rerank.counts import Counted
from rerank.fuse import first_stage_weight, late_fused
from rerank.late.batcher import Batcher
from rerank.late.reranker import LateReranker

EVIDENCE = 20
"""Hits whose words are highlighted, best first: looking closer costs time, and nobody reads on."""


class LateAttentionReranker:
    """Ranks by late attention; a hit's attention score depends on the query and the hit alone."""

    def __init__(
        self,
        reader: LateReranker,
        *,
        first_stage: float | None = None,
        evidence: int = EVIDENCE,
    ) -> None:
        """Take over `reader` and its store. Whoever uses the reader beside this holds its model's turn.

        `first_stage` weighs the first stage's rank; None: as the profile and the hits' scores say.
        """
        self.reader, self.first_stage, self.evidence = reader, first_stage, evidence
        self.batcher = Batcher(reader, reader.model.turn)

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits, best first, the best ones with highlighted words.

        Raises `ContextTooSmall`, `NumericalError`, and `Overloaded` where too many wait.
        """
        texts = [hit.passage.contents for hit in hits]
        found = self.batcher.read(query, texts)
        scores = late_fused(
            np.asarray(found.scores), np.asarray([hit.rank for hit in hits]), self.weight(query, hits)
        ).tolist()
        order = best_first(hits, scores)
        best = order[: self.evidence]
        marks = self._marks(query, hits, best) if best else {}
        return ranked(hits, scores, order, [marks.get(place, ()) for place in range(len(hits))], found.cut)

    def with_weight(self, first_stage: float | None, evidence: int) -> "LateAttentionReranker":
        """The same with another weight of the first stage and other evidence; closed with this one."""
        twin = copy(self)
        twin.first_stage, twin.evidence = first_stage, evidence
        return twin

    def count_to(self, counted: Counted) -> None:
        """Tell `counted` of every token that the model runs, for whomever it does."""
        self.reader.model.counted = counted

    def close(self) -> None:
        """End the batcher's thread and close the reader's store."""
        self.batcher.close()
        store = self.reader.options.store
        if store is not None:
            store.close()

    def _marks(
        self, query: str, hits: Sequence[Hit], best: Sequence[int]
    ) -> dict[int, tuple[Highlight, ...]]:
        """The highlights of the hits at the places `best`."""
        with self.reader.model.turn:
            explained = self.reader.explain_all(query, [hits[place].passage.contents for place in best])
        return {
            place: highlights(hits[place], one.tokens) for place, one in zip(best, explained, strict=True)
        }

    def weight(self, query: str, hits: Sequence[Hit]) -> float:
        """What the first stage's rank weighs in this list."""
        if self.first_stage is not None:
            return self.first_stage
        first = sorted(hits, key=lambda hit: hit.rank)
        profile = self.reader.profile
        return first_stage_weight(
            query,
            [hit.passage.contents for hit in first],
            [hit.score for hit in first],
            lexical=profile.lexical,
            learned=profile.learned,
        )
