"""Retrieval by another service: one of ours, or Pyserini's REST server in either of its forms.

Which it is shows when it is first asked: who does not know our way is asked in Pyserini's.
"""

from collections.abc import Callable, Sequence
from urllib.parse import quote

from indexes import Method
from ragnarok.types import Hit, Passage
from service.clients.upstream import Upstream
from service.errors import UpstreamFailed
from service.schema_retrieval import BatchFound, BatchSearch, Found, OldFound, OldSearch, passage_of

NO_ROUTE = (404, 405)
"""What a server answers that has no such route."""


class RemoteRetriever:
    """Searches one index of a retrieval service. Safe for threads."""

    def __init__(self, upstream: Upstream, index: str, method: Method | None = None) -> None:
        """Search `index` there; `method`, k1 and b are the service's own unless a method is given."""
        self.upstream, self.index, self.method = upstream, index, method
        self._place = quote(index, safe="")
        self._ways: list[Callable[[Sequence[str], int], list[list[Hit]]]] = [
            self._ours,
            self._pyserini,
            self._pyserini_1,
        ]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query.

        Raises `UpstreamFailed`, `UpstreamTimeout`, and what the service raises, such as `SearchError`.
        """
        if not queries:
            return []
        for way in tuple(self._ways):
            try:
                found = way(queries, k)
            except UpstreamFailed as error:
                if way == self._ways[-1] or error.status not in NO_ROUTE:
                    raise
            else:
                self._ways = [way]
                return found
        raise AssertionError("the last way answers or raises")

    def close(self) -> None:
        """Close the connections."""
        self.upstream.close()

    def _ours(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        body = BatchSearch.model_construct(
            queries=list(queries), hits=k, index=self.index, method=self.method, k1=None, b=None
        )
        found = self.upstream.ask("POST", "/v1/search", BatchFound, body)
        return [[passage.hit() for passage in hits] for hits in found.results]

    def _pyserini(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self._one(query, k) if query.strip() else [] for query in queries]

    def _one(self, query: str, k: int) -> list[Hit]:
        path = f"/v1/{self._place}/search?query={quote(query, safe='')}&hits={k}"
        found = self.upstream.ask("GET", path, Found)
        return [Hit(c.docid, c.score, c.rank, passage_of(c.docid, c.doc)) for c in found.candidates]

    def _pyserini_1(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self._old_one(query, k) if query.strip() else [] for query in queries]

    def _old_one(self, query: str, k: int) -> list[Hit]:
        path = f"/v1/indexes/{self._place}/search"
        found = self.upstream.ask("POST", path, OldFound, OldSearch(query=query, hits=k)).candidates
        return [
            Hit(c.docid, c.score, rank, Passage(c.docid, c.document_txt))
            for rank, c in enumerate(found, start=1)
        ]
