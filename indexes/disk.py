"""Room on the disk: a rough check before a build, and one error for every way a full disk shows."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexes.errors import DiskFull

PACKED = 3.0
"""How much larger a text is than its gzip archive, at least."""


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder and the folders in it."""
    if path.is_file():
        return path.stat().st_size
    return sum(Path(place, name).lstat().st_size for place, _, names in os.walk(path) for name in names)


def text_bytes(source: Path) -> int:
    """Roughly how many bytes of text a collection holds, by the sizes of its files."""
    if source.is_file():
        return int(source.stat().st_size * (PACKED if source.suffix == ".gz" else 1))
    return sum(text_bytes(Path(place, name)) for place, _, names in os.walk(source) for name in names)


def in_words(size: int) -> str:
    """A size for people, as `1.5 GB`."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def check_room(folder: Path, needed: int) -> None:
    """Refuse to start what would not fit.

    Raises DiskFull with what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _full(folder, needed, free)


@contextmanager
def watch(folder: Path, needed: int) -> Iterator[None]:
    """Turn the errors of a full disk, the system's and SQLite's, into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(folder, needed, shutil.disk_usage(folder).free) from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise
        raise _full(folder, needed, shutil.disk_usage(folder).free) from error


def _full(folder: Path, needed: int, free: int) -> DiskFull:
    return DiskFull(
        f"no room to build an index in {folder}: {in_words(needed)} or more needed, {in_words(free)} free. "
        "Free some, or set RAGNAROK_HOME to a folder on a larger disk; nothing was left behind."
    )
