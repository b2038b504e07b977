"""The re-ranker that changes nothing: the first stage's order, as a baseline."""

from collections.abc import Sequence

from ragnarok.types import Hit, RankedHit


class KeepOrder:
    """Leaves hits as the first stage ranked them."""

    def rerank(self, _query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits in the same order."""
        return [RankedHit(h.docid, h.score, h.rank, h.passage, h.rank, h.score) for h in hits]
