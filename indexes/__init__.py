"""What is searched: collections of passages, and indexes over them.

    from indexes import build_index, open_index

    build_index("corpus.jsonl", "papers", parts=("bm25", "dense"))
    with open_index("papers") as index:
        for hit in index.search(["what is late interaction?"], k=5)[0]:
            print(hit.rank, hit.score, hit.passage.title)

An index is a named folder: passages in SQLite, BM25 through Pyserini's Lucene, dense vectors through Faiss,
and a manifest that says what it holds and how it was made. The room knows nothing of what is done with the
hits.
"""

from indexes.build import PARTS, build_index
from indexes.catalogue import default_root, list_indexes
from indexes.corpora import FORMATS, read_corpus
from indexes.encoder import ENCODERS
from indexes.errors import (
    CorpusError,
    DiskFull,
    EncoderNotFound,
    IndexBroken,
    IndexesError,
    IndexExists,
    IndexNotFound,
    JavaMissing,
    PassageNotFound,
    SearchError,
)
from indexes.fusion import reciprocal_rank, weighted
from indexes.index import MAX_K, METHODS, Index, Method, open_index
from indexes.manifest import Manifest
from indexes.progress import Progress
from indexes.types import Hit, Passage

__all__ = [
    "ENCODERS",
    "FORMATS",
    "MAX_K",
    "METHODS",
    "PARTS",
    "CorpusError",
    "DiskFull",
    "EncoderNotFound",
    "Hit",
    "Index",
    "IndexBroken",
    "IndexExists",
    "IndexNotFound",
    "IndexesError",
    "JavaMissing",
    "Manifest",
    "Method",
    "Passage",
    "PassageNotFound",
    "Progress",
    "SearchError",
    "build_index",
    "default_root",
    "list_indexes",
    "open_index",
    "read_corpus",
    "reciprocal_rank",
    "weighted",
]
