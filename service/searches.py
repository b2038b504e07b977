"""Searches of the indexes here, found or made: each query is kept by itself, in one form for all who ask.

Knows the desk, its indexes and the cache; nothing of routes.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from fastapi import Request
from pydantic import TypeAdapter

from indexes import Hit, Method, Passage
from service.cache import Cache
from service.desk import Desk
from service.errors import OverLimit
from service.library import Library
from service.parts import Parts
from service.schema import FoundPassage
from service.stream import end_of, last_of, unless_left

_PASSAGES = TypeAdapter(list[FoundPassage])


@dataclass(frozen=True, slots=True)
class Search:
    """How to search: an index by its name, the hits of each query; None is the service's own way."""

    index: str
    hits: int
    method: Method | None = None
    k1: float | None = None
    b: float | None = None


class Searches:
    """Searches in the indexes of a desk, and what a cache has of them."""

    def __init__(self, desk: Desk, cache: Cache) -> None:
        """Search by `desk` for what is not in `cache`."""
        self.desk, self.cache = desk, cache

    @property
    def library(self) -> Library:
        """The indexes. Raises `NotReady`."""
        return self.desk.parts.library or Library({}, self.desk.settings)

    async def find(self, search: Search, queries: Sequence[str], request: Request) -> list[bytes] | None:
        """The hits of each query, the JSON of a list of `FoundPassage`; nothing for a client that has left.

        Raises `OverLimit`, `IndexNotFound`, `SearchError` and what `Desk.submit` raises.
        """
        self._check(search.hits, len(queries))
        library = self.library
        method, k1, b = library.settle(search.method, search.k1, search.b)
        asked = [[query, search.hits, method, k1, b] for query in queries]
        wanted = await self.cache.look("search", library.identity(search.index), asked)
        if (there := wanted.there) is not None:
            return there

        async def make(places: Sequence[int]) -> list[bytes]:
            some = [queries[place] for place in places]

            def work(_: Parts) -> Generator[list[bytes]]:
                found = library.search(search.index, some, search.hits, method=method, k1=k1, b=b)
                yield [_PASSAGES.dump_json([FoundPassage.of(hit) for hit in hits]) for hits in found]

            return await end_of(self.desk.submit(work, whole=True))

        return await unless_left(request, wanted.made(make))

    async def passage(self, index: str, docid: str, request: Request) -> Passage | None:
        """A passage by its docid; nothing for a client that has left. Raises as `find` does."""
        library = self.library

        def work(_: Parts) -> Generator[Passage]:
            yield library.passage(index, docid)

        return await last_of(self.desk.submit(work, whole=True), request)

    def _check(self, hits: int, queries: int) -> None:
        limits = self.desk.settings
        for name, asked, most in (
            ("hits", hits, limits.max_hits),
            ("queries", queries, limits.max_queries),
        ):
            if asked > most:
                raise OverLimit(f"{asked:,} {name} are over this service's limit of {most:,}; ask for less")


def hits_of(written: bytes) -> list[Hit]:
    """The hits of a query that `Searches.find` gave."""
    return [passage.hit() for passage in _PASSAGES.validate_json(written)]
