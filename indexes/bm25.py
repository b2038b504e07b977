"""BM25 over a Lucene index: building one through Anserini's classes, and searching one, its own or another's.

An index built here keeps each passage as JSON with `id`, `contents`, `title` and `url`, as Pyserini and
Anserini read it; an index built by those is read in the shapes their collections have. Knows nothing of
names and manifests.
"""

import errno
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from indexes.errors import IndexBroken, IndexesError, SearchError
from indexes.passages import PassageStore
from indexes.progress import Progress, silent
from indexes.text import clean_query, replace_surrogates
from indexes.types import Hit, Passage

K1 = 0.9
B = 0.4
MOST_K1 = 1_000_000.0
"""Lucene counts in 32 bits; from here on, ten of a word count ten times one."""
BUFFER_MB = 256.0
"""Memory in which Lucene gathers passages before it writes them out."""

_TEXT_FIELDS = ("contents", "segment", "text", "passage", "body")


class _Document(Protocol):
    """A document Lucene keeps."""

    def get(self, name: str) -> str | None:
        """The text of a field."""


class _Scored(Protocol):
    """A document found."""

    docid: str
    score: float
    lucene_document: _Document


def build(folder: Path, store: PassageStore, progress: Progress = silent) -> dict[str, object]:
    """Index every passage of the store in a new folder; returns what the manifest says of it.

    Raises OSError (ENOSPC) where the disk is full, IndexesError for anything else Lucene fails at,
    JavaMissing.
    """
    paths, stores, writers, configs, analyzers, arguments, generators, documents, versions = _classes(
        "java.nio.file.Paths",
        "org.apache.lucene.store.FSDirectory",
        "org.apache.lucene.index.IndexWriter",
        "org.apache.lucene.index.IndexWriterConfig",
        "io.anserini.analysis.DefaultEnglishAnalyzer",
        "io.anserini.index.IndexCollection$Args",
        "io.anserini.index.generator.DefaultLuceneDocumentGenerator",
        "io.anserini.collection.JsonCollection$Document",
        "org.apache.lucene.util.Version",
    )
    settings = arguments()
    settings.storeRaw = True
    generator = generators(settings)
    with _lucene_errors(IndexesError, f"indexing into {folder}"):
        config = configs(analyzers.newDefaultInstance())
        config.setRAMBufferSizeMB(BUFFER_MB)
        config.setUseCompoundFile(False)
        writer = writers(stores.open(paths.get(str(folder))), config)
        try:
            for done, passage in enumerate(store, start=1):
                writer.addDocument(generator.createDocument(documents.fromString(_raw(passage))))
                if done % 1000 == 0:
                    progress("bm25", done, store.rows)
            writer.forceMerge(1)
            writer.commit()
        except BaseException:
            # Without this the index stays locked for as long as the process lives.
            writer.rollback()
            raise
        writer.close()
    progress("bm25", store.rows, store.rows)
    return {
        "k1": K1,
        "b": B,
        "analyzer": "DefaultEnglishAnalyzer (Porter)",
        "lucene": versions.LATEST.toString(),
    }


class Bm25:
    """A Lucene index open for searching, usable from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the index; takes a moment the first time, when Java starts.

        Raises IndexBroken if Lucene cannot read the folder or the index keeps no text; JavaMissing.
        """
        self._folder = folder
        searchers, lucene = _classes(
            "io.anserini.search.SimpleSearcher", "org.apache.lucene.search.IndexSearcher"
        )
        # A query of thousands of words is a query like any other.
        lucene.setMaxClauseCount(2**31 - 1)
        with _lucene_errors(IndexBroken, f"opening {folder}"):
            self._searcher = searchers(str(folder))
            self.passages: int = self._searcher.get_total_num_docs()
            """How many passages the index holds."""
            first = self._searcher.doc(0) if self.passages else None
        self._turn = threading.Condition()
        self._using = 0
        self._settings: tuple[float, float] | None = None
        if first is not None and first.get("raw") is None and first.get("contents") is None:
            self.close()
            raise IndexBroken(
                f"{folder}: the Lucene index keeps no text, so nothing can be re-ranked or cited. "
                "Build it again with Pyserini's option -storeRaw, or with: ragnarok index CORPUS --name NAME"
            )

    def search(
        self, queries: Sequence[str], k: int, *, threads: int = 1, k1: float = K1, b: float = B
    ) -> list[list[Hit]]:
        """The best k passages of each query, best first, ties by docid; stop words alone find nothing.

        Scores are as Anserini gives them: rounded to four decimals, and those that tie lowered by a
        millionth each, so that the scores alone say the order.

        Raises SearchError for k1 or b out of range, and for a search that Lucene gives up.
        """
        if not (0 <= k1 <= MOST_K1 and 0 <= b <= 1):
            raise SearchError(
                f"BM25 wants k1 from 0 to {MOST_K1:,.0f} and b from 0 to 1, not k1={k1} and b={b}"
            )
        (lists,) = _classes("java.util.ArrayList")
        texts, numbers = lists(), lists()
        for number, query in enumerate(queries):
            # Lucene refuses a query's characters, not its words, so only those are cleaned.
            if cleaned := clean_query(query):
                texts.add(cleaned)
                numbers.add(str(number))
        results: list[list[Hit]] = [[] for _ in queries]
        if not texts.size():
            return results
        with self._set_to(k1, b), _lucene_errors(SearchError, f"searching {self._folder}"):
            found = self._searcher.batch_search(texts, numbers, k, threads)
            for position in range(numbers.size()):
                number = numbers.get(position)
                documents = found.get(number)
                if documents is None:
                    raise SearchError(f"Lucene gave up on the query {queries[int(number)][:80]!r}")
                results[int(number)] = _ranked(documents)
        return results

    def passage(self, docid: str) -> Passage | None:
        """The passage of this docid, or None."""
        with _lucene_errors(SearchError, f"reading {self._folder}"):
            document = self._searcher.doc(docid)
            return None if document is None else _passage(docid, document)

    def close(self) -> None:
        """Close the index; it cannot be searched after that."""
        self._searcher.close()

    @contextmanager
    def _set_to(self, k1: float, b: float) -> Iterator[None]:
        """Hold the searcher at these parameters: it knows one setting at a time, for all threads."""
        with self._turn:
            self._turn.wait_for(lambda: not self._using or self._settings == (k1, b))
            if self._settings != (k1, b):
                self._searcher.set_bm25(k1, b)
                self._settings = (k1, b)
            self._using += 1
        try:
            yield
        finally:
            with self._turn:
                self._using -= 1
                self._turn.notify_all()


def is_lucene(folder: Path) -> bool:
    """Whether a folder holds a Lucene index, whoever built it."""
    return any(folder.glob("segments_*"))


def _classes(*names: str) -> tuple[Any, ...]:
    """Java's classes of these names; raises JavaMissing."""
    # Not at the top, so that `python -m indexes.java` finds its module not imported yet.
    from indexes import java

    return java.classes(*names)


@contextmanager
def _lucene_errors(kind: type[IndexesError], doing: str) -> Iterator[None]:
    """Turn what Java throws into this room's errors, and a full disk into what Python calls it."""
    _classes()
    from jnius import JavaException

    try:
        yield
    except JavaException as error:
        if "No space left" in str(error) or "quota exceeded" in str(error):
            raise OSError(errno.ENOSPC, "no space left on device") from error
        raise kind(f"Lucene failed at {doing}: {error}") from error


def _raw(passage: Passage) -> str:
    """What Lucene keeps of a passage, in plain ASCII so that no character can be lost on the way to Java."""
    record = {"id": passage.docid, "contents": passage.contents, "title": passage.title, "url": passage.url}
    return json.dumps(record)


def _ranked(documents: Sequence[_Scored]) -> list[Hit]:
    """Lucene's documents as hits: they come best first, ties by docid."""
    hits: list[Hit] = []
    for document in documents:
        docid = document.docid
        hits.append(Hit(docid, document.score, len(hits) + 1, _passage(docid, document.lucene_document)))
    return hits


def _passage(docid: str, document: _Document) -> Passage:
    """The passage kept in a Lucene document: JSON of a known shape, or else its text as it stands."""
    raw = document.get("raw")
    if raw is None:
        raw = document.get("contents") or ""
    try:
        record = json.loads(raw)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return Passage(docid, raw)
    values = {name: value for name, value in record.items() if isinstance(value, str)}
    text = next((values[name] for name in _TEXT_FIELDS if name in values), None)
    if text is None:
        return Passage(docid, raw)
    title = values.get("title", "")
    if title:
        text = text.removeprefix(f"{title}\n")
    return Passage(docid, replace_surrogates(text), title, values.get("url", ""))
