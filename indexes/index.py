"""An index open for searching: its manifest, its passages, and the parts that find them.

Opening is quick: Java starts, and the encoder loads, when a search first needs them.
"""

import os
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from indexes import bm25, catalogue, disk, fusion, manifest
from indexes.bm25 import Bm25, is_lucene
from indexes.errors import PassageNotFound, SearchError
from indexes.manifest import Manifest
from indexes.passages import PassageStore
from indexes.types import Hit, Passage

if TYPE_CHECKING:
    from indexes.dense import Dense

Method = Literal["bm25", "dense", "hybrid"]
METHODS: tuple[Method, ...] = ("bm25", "dense", "hybrid")
MAX_K = 10_000
MAX_THREADS = 256
FUSED_DEPTH = 100
"""A hybrid search fuses at least this many hits of each part, however few are asked for."""


class Index:
    """An open index, usable from several threads, and as a context manager that closes it."""

    def __init__(self, folder: Path) -> None:
        """Open the index in a folder.

        Raises IndexBroken if it is damaged, of another version or lacks a part; JavaMissing for an index that
        Pyserini built, which must be looked into.
        """
        self.folder = folder
        """Where the index is."""
        self._lock = threading.Lock()
        self._closed = False
        self._bm25: Bm25 | None = None
        self._dense: Dense | None = None
        self._store: PassageStore | None = None
        if (folder / manifest.FILE).is_file():
            self.manifest: Manifest = manifest.read(folder)
            """What the index holds and how it was made."""
            self._check_parts()
            self._store = PassageStore(folder / "passages.sqlite")
        else:
            self._bm25 = Bm25(folder)
            self.manifest = Manifest(
                0,
                folder.name,
                "",
                "",
                "",
                self._bm25.passages,
                0,
                disk.size_of(folder),
                {"bm25": {}},
                "Anserini",
            )

    def search(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        method: Method | None = None,
        threads: int | None = None,
        k1: float = bm25.K1,
        b: float = bm25.B,
    ) -> list[list[Hit]]:
        """The best k passages of each query: ranks from 1, scores never rising, ties by docid.

        `method` None is the best the index can: `hybrid` (both parts, fused by reciprocal rank) if it has
        both. A query that is blank, or for `bm25` only of stop words, has no hits. `threads` (one a core by
        default), `k1` and `b` are for BM25.

        Raises SearchError for a value out of range, a part the index lacks and a closed index; JavaMissing,
        EncoderNotFound and IndexBroken where a part cannot be opened.
        """
        if isinstance(queries, str):
            raise SearchError("search takes a list of queries; one query is a list of one")
        if not 1 <= k <= MAX_K:
            raise SearchError(f"k is how many passages to find, from 1 to {MAX_K}, not {k}")
        threads = (os.cpu_count() or 1) if threads is None else threads
        if not 1 <= threads <= MAX_THREADS:
            raise SearchError(f"threads must be from 1 to {MAX_THREADS}, not {threads}")
        held = [part for part in METHODS if part in self.manifest.parts]
        chosen: Method = method or ("hybrid" if len(held) > 1 else held[0])
        if chosen not in METHODS:
            raise SearchError(f"no search method {chosen!r}; there are {', '.join(METHODS)}")
        missing = set(METHODS[:2] if chosen == "hybrid" else [chosen]) - set(self.manifest.parts)
        if missing:
            raise SearchError(
                f"the index {self.manifest.name!r} cannot be searched by {chosen!r}: it has no part "
                f"{' and '.join(sorted(missing))}, only {', '.join(self.manifest.parts)}"
            )
        if chosen == "bm25":
            return self._lucene().search(queries, k, threads=threads, k1=k1, b=b)
        if chosen == "dense":
            return self._faiss().search(queries, k)
        depth = max(k, FUSED_DEPTH)
        runs = (
            self._lucene().search(queries, depth, threads=threads, k1=k1, b=b),
            self._faiss().search(queries, depth),
        )
        return [hits[:k] for hits in fusion.reciprocal_rank(runs)]

    def passage(self, docid: str) -> Passage:
        """The passage of this docid.

        Raises PassageNotFound if the index has none, SearchError if it is closed.
        """
        self._check_open()
        found = self._store.by_docid([docid]).get(docid) if self._store else self._lucene().passage(docid)
        if found is None:
            raise PassageNotFound(f"the index {self.manifest.name!r} has no passage {docid!r}")
        return found

    def passages(self) -> Iterator[Passage]:
        """Every passage that can be found, in the order they were indexed in.

        Raises SearchError for an index without a passage store of its own, or if it is closed.
        """
        return iter(self._own_passages())

    def sample(self, count: int, seed: int) -> list[Passage]:
        """Passages drawn at random, at most `count`, the same for the same seed. Raises as `passages`."""
        store = self._own_passages()
        rows = random.Random(seed).sample(range(store.rows), min(count, store.rows))
        found = store.by_row(rows)
        return [found[row] for row in rows if row in found]

    def close(self) -> None:
        """Close the files; closing twice does no harm, searching after it is a SearchError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for part in (self._bm25, self._dense, self._store):
                    if part is not None:
                        part.close()

    def __enter__(self) -> Self:
        """The index itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _lucene(self) -> Bm25:
        with self._lock:
            self._check_open()
            if self._bm25 is None:
                self._check_unchanged()
                self._bm25 = Bm25(self.folder / "bm25")
            return self._bm25

    def _faiss(self) -> "Dense":
        with self._lock:
            self._check_open()
            if self._dense is None:
                from indexes.dense import Dense

                self._check_unchanged()
                assert self._store is not None
                encoder = str(self.manifest.parts["dense"]["encoder"])
                self._dense = Dense(self.folder / "dense", self._store, encoder)
            return self._dense

    def _own_passages(self) -> PassageStore:
        self._check_open()
        if self._store is None:
            raise SearchError(
                f"the index {self.manifest.name!r} cannot list its passages: it has no store of its own, as "
                "indexes made by ragnarok index have"
            )
        return self._store

    def _check_open(self) -> None:
        if self._closed:
            raise SearchError(f"the index {self.manifest.name!r} is closed")

    def _check_parts(self) -> None:
        present = {
            "bm25": is_lucene(self.folder / "bm25"),
            "dense": (self.folder / "dense" / "flat.faiss").is_file(),
        }
        for part in self.manifest.parts:
            if not present.get(part, False):
                raise manifest.broken(self.folder, f"its part {part!r} is missing")
        if not self.manifest.parts or not (self.folder / "passages.sqlite").is_file():
            raise manifest.broken(self.folder, "its passages are missing")

    def _check_unchanged(self) -> None:
        """A part opened late must belong to the passages opened early."""
        if manifest.read(self.folder) != self.manifest:
            raise manifest.broken(self.folder, "it was replaced after it was opened; open it again")


def open_index(name_or_path: str | Path, root: str | Path | None = None) -> Index:
    """Open an index by its name in the root (`catalogue.default_root` if None), or any by its path.

    The path may be of a Lucene index that Pyserini or Anserini built, if it keeps the passages' text.
    Raises IndexNotFound, which lists the names there are; IndexBroken if it is half-built, damaged or of
    another version.
    """
    return Index(catalogue.locate(name_or_path, root))
