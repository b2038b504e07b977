"""Re-ranking by late attention, joined with what the first stage knew.

Safe for threads: what several of them ask at once is scored together, by one batcher for each reader.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from ragnarok.query import check_tokens
from ragnarok.rerankers.attention import best_first, highlights, ranked
from ragnarok.types import Highlight, Hit, RankedHit
from rerank.counts import Counted
from rerank.fuse import Floats, by_rank, first_stage_share
from rerank.icr import InContextReranker
from rerank.late.batcher import Batcher
from rerank.late.reranker import LateReranker

EVIDENCE = 20
"""Hits whose words are highlighted, best first: looking closer costs time, and nobody reads on."""


TOGETHER = 20
"""Hits of the longest list that is read as a whole, too."""


class LateAttentionReranker:
    """Ranks by late attention; a hit's attention score depends on the query and the hit alone.

    But where nothing has ranked a list of at most `TOGETHER` hits (their scores are equal), `joint` reads it
    in one prompt as well, and the mass that a hit draws there counts as the profile says: a question of
    several hops names its first passage only, and what that says leads to the next.
    """

    def __init__(
        self,
        reader: LateReranker,
        *,
        first_stage: float | None = None,
        evidence: int = EVIDENCE,
        joint: InContextReranker | None = None,
    ) -> None:
        """Take over `reader` and its store. Whoever uses the reader beside this holds its model's turn.

        `first_stage` weighs the first stage's rank; None: its part is as the profile and its scores say.
        """
        self.reader, self.first_stage, self.evidence, self.joint = reader, first_stage, evidence, joint
        self.batcher = Batcher(reader, reader.model.turn)

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits, best first, the best ones with highlighted words.

        Raises `BadQuery`, `ContextTooSmall`, `NumericalError`, and `Overloaded` where too many wait.
        """
        check_tokens(query, self.reader.model)
        texts = [hit.passage.contents for hit in hits]
        found = self.batcher.read(query, texts)
        beside = self._first_stage(query, hits)
        if self.joint is not None and len(hits) <= TOGETHER and len({hit.score for hit in hits}) == 1:
            drawn = self.joint.read(query, texts).scores
            beside += self.reader.profile.together * np.asarray(drawn, float)
        scores = (np.asarray(found.scores, float) + beside).tolist()
        order = best_first(hits, scores)
        best = order[: self.evidence]
        marks = self._marks(query, hits, best) if best else {}
        return ranked(hits, scores, order, [marks.get(place, ()) for place in range(len(hits))], found.cut)

    def with_weight(self, first_stage: float | None, evidence: int) -> "LateAttentionReranker":
        """The same with another weight of the first stage and other evidence, and nothing but late attention.

        It is closed with this one.
        """
        twin = copy(self)
        twin.first_stage, twin.evidence, twin.joint = first_stage, evidence, None
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

    def _first_stage(self, query: str, hits: Sequence[Hit]) -> Floats:
        """What the first stage adds to each hit's score."""
        if self.first_stage is not None:
            return by_rank([hit.rank for hit in hits], self.first_stage)
        order = sorted(range(len(hits)), key=lambda place: hits[place].rank)
        first = [hits[place] for place in order]
        profile = self.reader.profile
        share = np.empty(len(hits))
        share[order] = first_stage_share(
            query,
            [hit.passage.contents for hit in first],
            [hit.score for hit in first],
            [hit.rank for hit in first],
            lexical=profile.lexical,
            learned=profile.learned,
        )
        return share
