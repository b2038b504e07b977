"""The indexes that clients may search by name, and how what they hold looks to clients of Pyserini.

Names come from the settings alone: nothing is opened because a request names it.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b

from indexes import Hit, Index, IndexNotFound, Method, Passage, open_index
from ragnarok.pipeline import close_parts
from service.identity import identity_of
from service.settings import Settings

WARM_UP = "What is it?"
"""A question that is asked of everything once, so that nobody waits for what is loaded late."""


class Library:
    """Open indexes by name."""

    def __init__(self, indexes: Mapping[str, Index], settings: Settings) -> None:
        """Serve `indexes`, to be closed with this, with the method, k1 and b of `settings` unless asked."""
        self.indexes, self.settings = dict(indexes), settings
        self._identities: dict[str, str] = {}

    @property
    def first(self) -> str:
        """The name of the index that questions are asked of."""
        return self.settings.index_name

    def identity(self, name: str) -> str:
        """What searches of an index depend on beside the request (`service.identity`).

        That is its manifest and, of a Lucene index, its segments' own list, which no two builds share. Raises
        `IndexNotFound`.
        """
        if name not in self._identities:
            index = self.find(name)
            lists = sorted(path for path in index.folder.rglob("segments_*") if path.is_file())
            segments = [blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in lists]
            self._identities[name] = identity_of(
                "retrieval", self.settings, [asdict(index.manifest), segments]
            )
        return self._identities[name]

    def search(
        self,
        name: str,
        queries: Sequence[str],
        hits: int,
        *,
        method: Method | None = None,
        k1: float | None = None,
        b: float | None = None,
    ) -> list[list[Hit]]:
        """The best hits of each query. Raises `IndexNotFound`, `SearchError` and `IndexBroken`."""
        method, k1, b = self.settle(method, k1, b)
        return self.find(name).search(queries, hits, method=method, k1=k1, b=b)

    def settle(
        self, method: Method | None, k1: float | None, b: float | None
    ) -> tuple[Method | None, float, float]:
        """How is searched, where what is None is the settings' own; a method may be the index's."""
        own = self.settings
        return method or own.method, own.k1 if k1 is None else k1, own.b if b is None else b

    def passage(self, name: str, docid: str) -> Passage:
        """A passage by its docid. Raises `IndexNotFound` and `PassageNotFound`."""
        return self.find(name).passage(docid)

    def find(self, name: str) -> Index:
        """The index of this name. Raises `IndexNotFound`, which lists the names there are."""
        if name not in self.indexes:
            there = ", ".join(self.indexes) or "none"
            raise IndexNotFound(f"no index {name[:80]!r} is served here; there are: {there}")
        return self.indexes[name]

    def warm(self) -> None:
        """Search each index once: Java starts, encoders load. Raises what searching raises."""
        for name in self.indexes:
            self.search(name, [WARM_UP], 1)

    def close(self) -> None:
        """Close the indexes."""
        close_parts(*self.indexes.values())


class LibraryRetriever:
    """The index that questions are asked of, as the pipeline's first stage."""

    def __init__(self, library: Library) -> None:
        """Search in `library`, which is closed by whoever opened it."""
        self.library = library

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query. Raises `SearchError` and `IndexBroken`."""
        return self.library.search(self.library.first, queries, k)


def open_library(settings: Settings) -> Library:
    """Open every index that is to be served. Raises `IndexNotFound`, `IndexBroken` and `JavaMissing`."""
    with ExitStack() as failed:
        indexes = {
            name: failed.enter_context(open_index(place)) for name, place in settings.served_indexes().items()
        }
        failed.pop_all()
    return Library(indexes, settings)
