"""The arena's database: opened, its tables made, one writer at a time, its failures by the house's names.

SQLite or PostgreSQL. Knows nothing of what is kept.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from indexes.errors import DiskFull
from ragnarok.arena.tables import metadata
from ragnarok.errors import ArenaConflict, ArenaUnusable, BadSetting

BUSY_SECONDS = 30
"""How long a writer waits for the one before it."""

WRITERS = 0x7261676E61726F6B
"""The number of the lock that PostgreSQL's writers hold, of this and of every other process."""

_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",
    # FULL: what has been committed survives the loss of power, not only of the process.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
_WRITES = "arena_writes"


class Database:
    """A database by its URL. Safe for threads; to be closed."""

    def __init__(self, url: str) -> None:
        """Open the database and make the tables that it lacks.

        `url` is `postgresql://…`, `sqlite:///PATH`, or an SQLite file's path alone. Raises `BadSetting` for
        what names neither, and `ArenaUnusable`.
        """
        self.url = read_url(url)
        self._lite = self.url.get_backend_name() == "sqlite"
        self._turn = threading.Lock()
        self._engine = self._made()
        with self.failures():
            if self._lite:
                Path(self.url.database or "").parent.mkdir(parents=True, exist_ok=True)
                event.listen(self._engine, "connect", _prepare)
                event.listen(self._engine, "begin", _begin)
        try:
            with self.writing() as connection:
                metadata.create_all(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the database throughout. Raises `ArenaUnusable`."""
        with self.failures(), self._engine.connect() as connection:
            if not self._lite:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The connection of the only writer; what it did is kept at the end, or nothing of it after an error.

        Once this returns, what was written survives whatever happens to the process or the machine. Raises
        `ArenaUnusable`, `DiskFull`, and `ArenaConflict` where a rule of the tables is broken.
        """
        # The lock only makes threads wait in line, where SQLite would have them try again and again.
        with (
            self._turn,
            self.failures(),
            self._engine.connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            if not self._lite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({WRITERS})"))
            yield connection

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Give the library's errors, and the system's, the house's names."""
        try:
            yield
        except IntegrityError as error:
            raise ArenaConflict(f"{self}: a rule of the tables forbids it ({error.orig})") from error
        except PoolTimeout as error:
            raise ArenaUnusable(f"{self}: all its connections are in use; ask again later") from error
        except (SQLAlchemyError, OSError) as error:
            told = error.orig if isinstance(error, DBAPIError) and error.orig else error
            reason = " ".join(str(told).split()) or type(told).__name__
            if "disk is full" in reason or "No space left" in reason:
                raise DiskFull(f"{self}: {reason}; what was kept before is safe, make room") from error
            raise ArenaUnusable(
                f"{self}: {reason}; see that the database is there, whole, and may be written"
            ) from error

    def __str__(self) -> str:
        """The database's URL, its password hidden."""
        return self.url.render_as_string(hide_password=True)

    def _made(self) -> Engine:
        try:
            if self._lite:
                return create_engine(self.url, connect_args={"check_same_thread": False})
            return create_engine(self.url, pool_pre_ping=True)
        except ModuleNotFoundError:
            raise BadSetting(
                f"{self}: PostgreSQL needs a package that is not installed; run: "
                "pip install 'ragnarok-attention[postgres]'"
            ) from None


def read_url(url: str) -> URL:
    """The URL of an arena's database. Raises `BadSetting`, without repeating a password."""
    if "://" not in url:
        if not url.strip():
            raise BadSetting("the arena's database has no name; give a file, or postgresql://HOST/NAME")
        return URL.create("sqlite", database=str(Path(url)))
    try:
        read = make_url(url)
        kind = read.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise BadSetting(
            "the arena's database is no URL such as sqlite:///arena.db or postgresql://USER@HOST/NAME"
        ) from None
    if kind == "postgresql":
        return read.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise BadSetting(f"the arena's database is SQLite or PostgreSQL, not {kind}")
    if not read.database or read.database == ":memory:":
        raise BadSetting("the arena's database is to last: give a file, such as sqlite:///arena.db")
    return read.set(drivername="sqlite")


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    # Transactions are begun by `_begin` alone, not by the driver's guess at what a statement does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    # A writer that began as a reader could not become one while another writes.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
