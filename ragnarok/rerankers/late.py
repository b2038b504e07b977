"""Re-ranking by late attention, joined with what the first stage knew."""

from collections.abc import Sequence

import numpy as np

from ragnarok.rerankers.attention import best_first, highlights, ranked
from ragnarok.types import Hit, RankedHit
from rerank.fuse import first_stage_weight, late_fused
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
        """`first_stage` weighs the first stage's rank; None: as the profile and the hits' scores say."""
        self.reader, self.first_stage, self.evidence = reader, first_stage, evidence

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits, best first, the best ones with highlighted words.

        Raises `ContextTooSmall` and `NumericalError`.
        """
        texts = [hit.passage.contents for hit in hits]
        found = self.reader.read(query, texts)
        scores = late_fused(
            np.asarray(found.scores), np.asarray([hit.rank for hit in hits]), self.weight(query, hits)
        ).tolist()
        order = best_first(hits, scores)
        best = order[: self.evidence]
        explained = self.reader.explain_all(query, [texts[place] for place in best]) if best else []
        marks = {
            place: highlights(hits[place], one.tokens) for place, one in zip(best, explained, strict=True)
        }
        return ranked(hits, scores, order, [marks.get(place, ()) for place in range(len(hits))], found.cut)

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
