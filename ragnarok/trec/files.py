"""How the files of this package are read and written: line by line, gzip by suffix, replaced whole.

Knows nothing of what the lines mean.
"""

import errno
import gzip
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from indexes.errors import DiskFull
from ragnarok.errors import BadFormat, NotFound

__all__ = ["bad_line", "check_place", "read_lines", "write_lines"]


def bad_line(path: Path, number: int, what: str) -> BadFormat:
    """The error for a line that breaks its file's format."""
    return BadFormat(f"{path}, line {number}: {what}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give each line that is not blank with its number, without its line end or a byte-order mark.

    Only a line feed ends a line: text may hold every other separator.

    Raises:
        NotFound: there is no such file.
        BadFormat: it is not UTF-8, or not the gzip file that its suffix says.
    """
    if not path.is_file():
        raise NotFound(f"{path}: {'is not a file' if path.exists() else 'there is no such file'}")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                if number == 1:
                    line = line.removeprefix("\ufeff")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise bad_line(path, number, f"is not UTF-8 ({error.reason} at byte {error.start})") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise bad_line(path, number + 1, f"is not a complete gzip file ({error})") from error
    except OSError as error:
        raise NotFound(f"{path}: cannot be read ({error.strerror or error})") from error


def check_place(path: Path) -> None:
    """Refuse now what could not be written once the work for it is done. Raises `NotFound`."""
    nearest = next(place for place in path.absolute().parents if os.access(place, os.F_OK))
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise NotFound(f"{path}: cannot be written (nothing can be made in {nearest}); choose another path")
    longest, most = max(len(os.fsencode(part)) for part in path.parts), os.pathconf(nearest, "PC_NAME_MAX")
    if longest > most:
        raise NotFound(
            f"{path}: cannot be written (a name has {longest} bytes, and {most} are the most there); "
            "choose a shorter one"
        )


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines beside `path`, then rename: readers see the old file or the new one, never a part.

    Raises:
        BadFormat: a line has characters that UTF-8 cannot hold (lone surrogates).
        DiskFull: there is no room for the file.
        NotFound: the path cannot be written for another reason.
    """
    # Without the file's own name, which may be as long as a name can be.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as raw:
            if path.suffix == ".gz":
                # No name and no time inside: the same lines give the same bytes.
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    packed.writelines(_encode(path, lines))
            else:
                raw.writelines(_encode(path, lines))
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"{path}: {reason}; nothing was written, make room or choose another path"
            ) from error
        raise NotFound(f"{path}: cannot be written ({reason}); choose another path") from error
    finally:
        with suppress(OSError):  # renamed already, or its folder never was
            temporary.unlink()


def _encode(path: Path, lines: Iterable[str]) -> Iterator[bytes]:
    for number, line in enumerate(lines, start=1):
        try:
            yield f"{line}\n".encode()
        except UnicodeEncodeError as error:
            raise bad_line(path, number, f"cannot be written as UTF-8 ({error.reason})") from error
