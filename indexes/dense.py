"""Dense search: a Faiss flat index over the passages' vectors, exact, compared by inner product.

Vectors are written as they are made and read through a memory map, so neither building nor opening holds
them all in memory. A vector's place is its passage's row in the passage store, which keeps the texts.
"""

import struct
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import faiss
import numpy as np

from indexes.encoder import Encoder, get_encoder
from indexes.errors import IndexBroken
from indexes.passages import PassageStore
from indexes.progress import Progress, silent
from indexes.text import clean_query
from indexes.types import Hit

FILE = "flat.faiss"
PIECE = 4096
"""Passages encoded at once: long enough to sort by length, short enough to hold in memory."""


def build(folder: Path, store: PassageStore, encoder: str, progress: Progress = silent) -> dict[str, object]:
    """Encode every passage of the store into a new folder; returns what the manifest says of it.

    Raises EncoderNotFound for an encoder that is not known or cannot be loaded, OSError where the disk is
    full.
    """
    model = get_encoder(encoder)
    folder.mkdir()
    # Faiss writes an index whole, from memory. A flat one is a header, which Faiss makes here (the number of
    # vectors is in it, the number of floats at its end), and then the vectors.
    header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(model.dim)))
    struct.pack_into("<q", header, 8, store.rows)
    struct.pack_into("<Q", header, len(header) - 8, store.rows * model.dim)
    passages, done = iter(store), 0
    with (folder / FILE).open("wb") as stream:
        stream.write(header)
        while piece := list(islice(passages, PIECE)):
            report = partial(_report, progress, done, store.rows)
            stream.write(model.encode_passages([passage.contents for passage in piece], report).tobytes())
            done += len(piece)
    Dense(folder, store, encoder)
    return {"encoder": encoder, "dim": model.dim, "metric": "inner product", "faiss": faiss.__version__}


def _report(progress: Progress, before: int, rows: int, _stage: str, done: int, _total: int | None) -> None:
    progress("dense", before + done, rows)


class Dense:
    """A dense index open for searching, from several threads too; the first search loads its encoder."""

    def __init__(self, folder: Path, store: PassageStore, encoder: str) -> None:
        """Open the index.

        Raises IndexBroken if Faiss cannot read the file or it does not fit the passages.
        """
        file = folder / FILE
        try:
            self._index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexBroken(f"{file}: Faiss cannot read the vectors: {error}") from error
        if self._index.ntotal != store.rows:
            raise IndexBroken(
                f"{file}: {self._index.ntotal} vectors for {store.rows} passages; build it again"
            )
        self._file = file
        self._store = store
        self._encoder = encoder

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best k passages of each query, best first, ties by docid; a blank query has no hits.

        Raises EncoderNotFound if the encoder is gone, IndexBroken if it makes vectors of another length.
        """
        cleaned = [clean_query(query) for query in queries]
        asked = [number for number, query in enumerate(cleaned) if query]
        results: list[list[Hit]] = [[] for _ in queries]
        if not asked:
            return results
        encoder: Encoder = get_encoder(self._encoder)
        if encoder.dim != self._index.d:
            raise IndexBroken(
                f"{self._file}: vectors of {self._index.d} numbers, but {self._encoder!r} makes "
                f"{encoder.dim}; build it again"
            )
        vectors = encoder.encode_queries([cleaned[number] for number in asked])
        scores, rows = self._index.search(np.ascontiguousarray(vectors), min(k, self._index.ntotal))
        passages = self._store.by_row(sorted({int(row) for row in rows.flat if row >= 0}))
        for number, values, places in zip(asked, scores, rows, strict=True):
            found = [
                (float(score), passages[int(row)])
                for score, row in zip(values, places, strict=True)
                if row >= 0
            ]
            found.sort(key=lambda pair: (-pair[0], pair[1].docid))
            results[number] = [Hit(hit.docid, score, rank, hit) for rank, (score, hit) in enumerate(found, 1)]
        return results

    def close(self) -> None:
        """Let go of the file; the index cannot be searched after that."""
        self._index = faiss.IndexFlatIP(self._index.d)
