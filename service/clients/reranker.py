"""Re-ranking by another service of ours."""

from collections.abc import Sequence

from ragnarok.types import Highlight, Hit, RankedHit
from service.clients.upstream import Upstream
from service.errors import UpstreamFailed
from service.schema_rerank import RerankResponse, RerankResult


class RemoteReranker:
    """Has hits re-ranked, with what the first stage said of them. Safe for threads."""

    def __init__(self, upstream: Upstream) -> None:
        """Ask `upstream`; its model, mode and weights are its own."""
        self.upstream = upstream

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits, best first, the best ones with highlighted words.

        Raises `UpstreamFailed`, `UpstreamTimeout`, and what the service raises, such as `ContextTooSmall`.
        """
        if not hits:
            return []
        # A `RerankRequest`, not checked here: the service does.
        asked = {
            "query": query,
            "documents": [
                {"text": hit.passage.text, "title": hit.passage.title, "docid": hit.docid} for hit in hits
            ],
            "ranks": [hit.rank for hit in hits],
            "scores": [hit.score for hit in hits],
            "explain": True,
        }
        found = self.upstream.ask("POST", "/v1/rerank", RerankResponse, asked).results
        if sorted(result.index for result in found) != list(range(len(hits))):
            raise UpstreamFailed(f"the {self.upstream.name} service ranked other documents than it was sent")
        return [_ranked(hits[result.index], rank, result) for rank, result in enumerate(found, start=1)]

    def close(self) -> None:
        """Close the connections."""
        self.upstream.close()


def _ranked(hit: Hit, rank: int, result: RerankResult) -> RankedHit:
    marks = result.explanation.highlights if result.explanation else []
    return RankedHit(
        docid=hit.docid,
        score=result.relevance_score,
        rank=rank,
        passage=hit.passage,
        first_rank=hit.rank,
        first_score=hit.score,
        highlights=tuple(Highlight(mark.start, mark.end, mark.weight) for mark in marks),
        cut=result.cut,
    )
