"""The tier on a local disk: one SQLite file, bounded in bytes, that several processes may share.

SQLite (write-ahead log) settles what is hard here: a write is whole or absent whenever a process dies,
and readers never wait for writers. Records that were used longest ago make room for new ones.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path

from rerank.errors import StoreUnusable
from rerank.store.record import CorruptState, decode, encode
from rerank.store.types import DocumentState, StoreStats, Tally

FILE = "documents.sqlite"
MIN_BYTES = 8 * 2**20
"""The smallest bound: below it, SQLite's own pages and log would leave no room for documents."""

BUSY_SECONDS = 2.0
"""How long a write waits for another process's write."""

_APPLICATION = 0x52446F31  # "RDo1": a file of ours, in this layout
_PAGE = 8192
_MAX_BATCH = 4 * 2**20  # bytes written in one transaction
_READ = 64  # records fetched at once
_MAX_TOUCHED = 4096  # uses noted in memory before they are written

_SETUP = (
    f"PRAGMA page_size = {_PAGE}",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
)
_SELECT = """SELECT key, record FROM uses JOIN records USING (id)
    WHERE key IN (SELECT value FROM json_each(?))"""
_TABLES = (
    """CREATE TABLE IF NOT EXISTS uses (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, used INTEGER NOT NULL, pages INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS by_use ON uses (used)",
    # Apart from `uses`, so that noting a use rewrites no document.
    "CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, record BLOB NOT NULL)",
    """CREATE TRIGGER IF NOT EXISTS forget AFTER DELETE ON uses
        BEGIN DELETE FROM records WHERE id = old.id; END""",
    f"PRAGMA application_id = {_APPLICATION}",
)


class DiskTier:
    """States in `folder`, which grows to `limit_bytes`, SQLite's log included, and no further.

    On a local disk only: SQLite's log does not work over a network. Open one in each process; a forked
    child must not use its parent's.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Open the store in a folder, or make it there. Raises StoreUnusable where that cannot be."""
        if limit_bytes < MIN_BYTES:
            raise StoreUnusable(f"a document store of {limit_bytes} bytes: give it at least {MIN_BYTES}")
        # The log holds up to a batch before it is written back, a batch more, and what that displaces.
        self._batch = min(_MAX_BATCH, limit_bytes // 8)
        self._limit = (limit_bytes - 3 * self._batch) // _PAGE
        self._lock = threading.Lock()
        self._tally = Tally()
        self._touched: dict[str, int] = {}
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise StoreUnusable(
                f"no document store can be kept in {path}: {error}. Name another folder, or remove that file"
            ) from error

    def get(self, keys: Sequence[str]) -> list[DocumentState | None]:
        """The state of each key. Damaged records are dropped."""
        found: dict[str, DocumentState] = {}
        damaged: list[str] = []
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _READ):
            batch = wanted[start : start + _READ]
            rows: list[tuple[str, bytes]] = []
            with self._forgiving():
                rows = self._db.execute(_SELECT, (json.dumps(batch),)).fetchall()
            for key, record in rows:
                try:
                    found[key] = decode(key, record)
                except CorruptState:
                    damaged.append(key)
        with self._forgiving():
            now = time.time_ns()
            self._touched.update(dict.fromkeys(found, now))
            if damaged or len(self._touched) >= _MAX_TOUCHED:
                with self._transaction():
                    self._write_touched()
                    self._db.executemany("DELETE FROM uses WHERE key = ?", ((key,) for key in damaged))
        states = [found.get(key) for key in keys]
        misses = states.count(None)
        self._tally.add(hits=len(states) - misses, misses=misses, corrupt=len(damaged))
        return states

    def put(self, items: Mapping[str, DocumentState]) -> None:
        """Keep these states; makes room first. One larger than an eighth of the bound is not kept."""
        batch: dict[str, bytes] = {}
        pages = 0
        for key, state in items.items():
            record = encode(key, state)
            if len(record) > self._batch:
                self._tally.add(errors=1)
                continue
            pages += _pages(record)
            if pages * _PAGE > self._batch:
                self._write(batch)
                batch, pages = {}, _pages(record)
            batch[key] = record
        self._write(batch)

    def stats(self) -> StoreStats:
        """Counted since this was opened; bytes and entries are the folder's, whoever wrote them."""
        size = entries = None
        with self._forgiving():
            size = self._used_pages() * _PAGE
            entries = int(self._db.execute("SELECT count(*) FROM uses").fetchone()[0])
        return self._tally.stats(size, entries)

    def close(self) -> None:
        """Note the last uses, and close the file."""
        with self._lock, suppress(sqlite3.Error):
            if self._touched:
                with self._transaction():
                    self._write_touched()
        with self._lock:
            self._db.close()

    def _prepare(self) -> None:
        """Make the tables if the file is new, and shrink it if the bound is lower than it was."""
        give_up = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._make()
                break
            except sqlite3.OperationalError as error:
                # Two that make the file at once do not always wait for each other.
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)
        step = self._batch // _PAGE
        self._db.execute(f"PRAGMA wal_autocheckpoint = {step}")
        self._db.execute(f"PRAGMA journal_size_limit = {self._batch}")
        before = 0
        while (pages := self._number("page_count")) > self._limit and pages != before:
            before = pages
            with self._transaction():
                self._evict(max(self._limit, self._used_pages() - step))
                self._db.execute(f"PRAGMA incremental_vacuum({step})").fetchall()

    def _make(self) -> None:
        with self._transaction(
            "DEFERRED"
        ):  # one moment for both: another process may be making the tables now
            ours = self._number("application_id") == _APPLICATION
            empty = self._db.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
        if not (ours or empty):
            raise OSError("the file was made by something else, or by another version")
        for statement in _SETUP:
            self._db.execute(statement)
        with self._transaction():
            for statement in _TABLES:
                self._db.execute(statement)

    def _write(self, batch: Mapping[str, bytes]) -> None:
        if not batch:
            return
        now = time.time_ns()
        # A few pages more for the tables over the records.
        needed = sum(map(_pages, batch.values())) + 4 + len(batch) // 32
        with self._forgiving():
            with self._transaction():
                self._write_touched()
                evicted = self._evict(self._limit - needed)
                for key, record in batch.items():
                    [(number,)] = self._db.execute(
                        "INSERT INTO uses (key, used, pages) VALUES (?, ?, ?) ON CONFLICT (key) "
                        "DO UPDATE SET used = excluded.used, pages = excluded.pages RETURNING id",
                        (key, now, _pages(record)),
                    ).fetchall()
                    self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (number, record))
            self._tally.add(writes=len(batch), evictions=evicted)

    def _evict(self, target: int) -> int:
        """Delete what was used longest ago until at most `target` pages are in use; how many went."""
        evicted = 0
        while (over := self._used_pages() - target) > 0:
            oldest = self._db.execute("SELECT id, pages FROM uses ORDER BY used LIMIT 256").fetchall()
            if not oldest:
                break
            ends = accumulate(pages for _, pages in oldest)
            gone = [
                (number,) for (number, pages), end in zip(oldest, ends, strict=True) if end - pages < over
            ]
            self._db.executemany("DELETE FROM uses WHERE id = ?", gone)
            evicted += len(gone)
        return evicted

    def _write_touched(self) -> None:
        uses = [(used, key) for key, used in self._touched.items()]
        self._db.executemany("UPDATE uses SET used = ? WHERE key = ?", uses)
        self._touched.clear()

    def _used_pages(self) -> int:
        return self._number("page_count") - self._number("freelist_count")

    def _number(self, pragma: str) -> int:
        return int(self._db.execute(f"PRAGMA {pragma}").fetchone()[0])

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """One transaction: all of it or nothing, and what is read is of one moment."""
        self._db.execute(f"BEGIN {kind}")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Count what goes wrong with the file instead of raising it; empty a file that is damaged."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                self._tally.add(errors=1)
                self._touched.clear()  # so that uses which cannot be noted do not pile up
                if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    self._tally.add(corrupt=1)
                    with suppress(sqlite3.Error):
                        self._empty()

    def _empty(self) -> None:
        """Drop every table without reading it, under SQLite's locks: others may have the file open."""
        self._db.execute("PRAGMA writable_schema = ON")
        try:
            self._db.execute("DELETE FROM sqlite_schema")
        finally:
            self._db.execute("PRAGMA writable_schema = OFF")
        self._db.execute("VACUUM")
        self._make()


def _pages(record: bytes) -> int:
    """The pages that a record takes, small ones counted as a whole one."""
    return 1 + (len(record) + 64) // (_PAGE - 4)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
