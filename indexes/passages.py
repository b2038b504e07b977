"""The passages of an index in one SQLite file: by docid, by row, or all in order.

Rows from 0 number the passages that can be found, in corpus order: a vector's place in the dense index is its
passage's row. Passages without text cannot be found; they are kept in rows below 0 and fetched by docid only.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from indexes.corpora.source import Located, fault
from indexes.errors import CorpusError, IndexBroken
from indexes.progress import Progress, silent
from indexes.types import Passage

_SCHEMA = """
CREATE TABLE passage (
  row INTEGER PRIMARY KEY,
  docid TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL,
  url TEXT NOT NULL,
  text TEXT NOT NULL
)
"""


_Record = tuple[int, str, str, str, str]


class Counts(NamedTuple):
    """How many passages were read, and how many of them have no text."""

    passages: int
    empty: int


def is_empty(passage: Passage) -> bool:
    """Whether there is nothing to find a passage by: only white space and control characters."""
    return not any(character.isprintable() and not character.isspace() for character in passage.contents)


def write(file: Path, corpus: Iterable[Located], progress: Progress = silent) -> Counts:
    """Write a corpus to a new file, one row a passage.

    Raises CorpusError for a docid that occurs twice (with its line) and for a corpus without passages, and
    sqlite3.OperationalError where the disk is full.
    """
    found = empty = 0
    store = sqlite3.connect(file, isolation_level=None)
    try:
        # The file is new and thrown away on failure, so nothing is gained by a journal.
        store.execute("PRAGMA journal_mode = OFF")
        store.execute("PRAGMA synchronous = OFF")
        store.execute(_SCHEMA)
        store.execute("BEGIN")
        for located in corpus:
            passage = located.passage
            row = -1 - empty if is_empty(passage) else found
            try:
                store.execute(
                    "INSERT INTO passage VALUES (?, ?, ?, ?, ?)",
                    (row, passage.docid, passage.title, passage.url, passage.text),
                )
            except sqlite3.IntegrityError:
                message = f"the id {passage.docid!r} occurs a second time; every passage needs its own"
                raise fault(located.file, located.line, message) from None
            if row < 0:
                empty += 1
            else:
                found += 1
            if (found + empty) % 1000 == 0:
                progress("reading", found + empty, None)
        store.execute("COMMIT")
    finally:
        store.close()
    if not found:
        raise CorpusError(f"the corpus is empty: {empty} passages without text, none with")
    progress("reading", found + empty, found + empty)
    return Counts(found + empty, empty)


class PassageStore:
    """A store open for reading, usable from several threads."""

    def __init__(self, file: Path) -> None:
        """Open the store.

        Raises IndexBroken if the file is missing or no passage store.
        """
        self._file = file
        self._lock = threading.Lock()
        try:
            # Immutable: nobody writes to a finished index, so no lock files are needed (nor write access).
            uri = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise IndexBroken(f"{file}: the passages cannot be opened: {error}") from error
        try:
            ((last,),) = self._connection.execute("SELECT max(row) FROM passage").fetchall()
        except sqlite3.Error as error:
            self._connection.close()
            raise IndexBroken(f"{file}: the passages cannot be read: {error}") from error
        self.rows: int = last + 1
        """How many passages can be found; their rows are 0 to rows - 1."""

    def by_docid(self, docids: Sequence[str]) -> dict[str, Passage]:
        """The passages of these docids; those that are not there are left out."""
        statement = (
            "SELECT row, docid, title, url, text FROM passage WHERE docid IN (SELECT value FROM json_each(?))"
        )
        found = (_passage(record) for record in self._rows(statement, json.dumps(list(docids))))
        return {passage.docid: passage for passage in found}

    def by_row(self, rows: Sequence[int]) -> dict[int, Passage]:
        """The passages of these rows; those that are not there are left out."""
        statement = (
            "SELECT row, docid, title, url, text FROM passage WHERE row IN (SELECT value FROM json_each(?))"
        )
        return {record[0]: _passage(record) for record in self._rows(statement, json.dumps(list(rows)))}

    def __iter__(self) -> Iterator[Passage]:
        """The passages that can be found, in row order, read in bounded pieces."""
        statement = "SELECT row, docid, title, url, text FROM passage WHERE row BETWEEN ? AND ? ORDER BY row"
        for start in range(0, self.rows, 1000):
            yield from map(_passage, self._rows(statement, start, start + 999))

    def close(self) -> None:
        """Close the file; the store cannot be used after that."""
        with self._lock:
            self._connection.close()

    def _rows(self, statement: str, *values: str | int) -> list[_Record]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise IndexBroken(f"{self._file}: the passages cannot be read: {error}") from error


def _passage(record: _Record) -> Passage:
    _, docid, title, url, text = record
    return Passage(docid, text, title, url)
