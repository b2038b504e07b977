"""What every corpus reader shares: places of passages, lines with their numbers, fields with their checks.

This module knows files and lines; it does not know any corpus format.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from indexes.errors import CorpusError
from indexes.text import replace_surrogates
from indexes.types import Passage

MAX_DOCID = 512


class Located(NamedTuple):
    """A passage and where it was read: the file and the line, counted from 1."""

    passage: Passage
    file: Path
    line: int


def fault(file: Path, line: int, what: str) -> CorpusError:
    """The error for something wrong at a line."""
    return CorpusError(f"{file}, line {line}: {what}")


def files_of(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """The file itself, or the files directly in a folder that end in one of the suffixes, sorted by name.

    Raises CorpusError if there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CorpusError(f"{path}: no such file or folder")
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(tuple(suffixes)))
    if not files:
        raise CorpusError(f"{path}: the folder holds no file ending in {', '.join(suffixes)}")
    return files


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """The file's lines that are not blank, with their numbers; a name ending in .gz is decompressed.

    Raises CorpusError for bytes that are not UTF-8, a damaged or truncated archive, and an unreadable file.
    """
    number = 0
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        what = f"not UTF-8: byte {error.start + 1} of the line is 0x{error.object[error.start]:02x}"
        raise fault(file, number, what) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise fault(file, number + 1, f"the archive is damaged or cut short: {error}") from error
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read: {error.strerror or error}") from error


def records_of(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The JSON objects of a file with one a line, with their line numbers.

    Raises CorpusError for a line that is not a JSON object, and as `lines_of` does.
    """
    for number, line in lines_of(file):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise fault(file, number, f"not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:  # A number of thousands of digits; brackets as many.
            raise fault(file, number, f"not JSON that can be read: {error}") from None
        if not isinstance(record, dict):
            raise fault(file, number, f"a JSON object is wanted, not {type(record).__name__}")
        yield number, record


def docid(value: object, file: Path, line: int) -> str:
    """A passage's id from a field's value: a string without white space, or an integer.

    Raises CorpusError for anything else: run files separate their columns by white space.
    """
    if value is None or value == "":
        raise fault(file, line, "the passage has no id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise fault(file, line, f"the id must be a string, not {type(value).__name__}")
    name = str(value)
    if len(name) > MAX_DOCID:
        raise fault(file, line, f"the id has {len(name)} characters, more than {MAX_DOCID}: {name[:40]!r}…")
    if any(character.isspace() or not character.isprintable() for character in name):
        raise fault(file, line, f"the id {name!r} holds white space or control characters")
    return name


def text(record: dict[str, object], field: str, file: Path, line: int, *, required: bool = False) -> str:
    """A field's text; a missing or null field is empty unless it is required.

    Raises CorpusError for a value that is not a string, and for a required field that is missing.
    """
    value = record.get(field)
    if value is None and not required:
        return ""
    if field not in record:
        fields = ", ".join(sorted(record))
        raise fault(file, line, f"the passage has no field {field!r}; its fields are {fields}")
    if not isinstance(value, str):
        raise fault(file, line, f"{field!r} must be a string, not {type(value).__name__}")
    return replace_surrogates(value)
