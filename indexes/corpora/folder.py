"""A folder of text, Markdown or reStructuredText files, cut into titled passages by headings and paragraphs.

A passage's docid is its file's path within the folder and its number in the file, `guide/setup.md#3`; its
title is the file's title and the heading it stands under, `Setup > On Debian`. Hidden files and folders are
left out.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from indexes.corpora.cut import Markup, passages, sections
from indexes.corpora.source import Located, docid, fault
from indexes.errors import CorpusError
from indexes.text import replace_surrogates
from indexes.types import Passage

MARKUPS: dict[str, Markup] = {".md": "markdown", ".markdown": "markdown", ".rst": "rst", ".txt": "plain"}
_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)


def read(path: Path) -> Iterator[Located]:
    """Read a folder and the folders in it, or one file, in order of the paths.

    Raises CorpusError, with file and line, for a file that cannot be read or is not UTF-8.
    """
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder")
    files = [path] if path.is_file() else text_files(path)
    if not files:
        raise CorpusError(f"{path}: the folder holds no file ending in {', '.join(MARKUPS)}")
    base = path.parent if path.is_file() else path
    for file in files:
        # White space would end the docid's column in a run file.
        name = re.sub(r"\s", lambda space: quote(space[0]), file.relative_to(base).as_posix())
        for number, (title, text) in enumerate(_cut(file), start=1):
            place = docid(replace_surrogates(f"{name}#{number}"), file, 1)
            yield Located(Passage(place, text, title), file, 1)


def text_files(folder: Path) -> list[Path]:
    """The text files in a folder and the folders in it, sorted by path; links to folders are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = (name for name in files if not name.startswith("."))
        found += [Path(place, name) for name in shown if _suffix(name) in MARKUPS]
    return sorted(found)


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _cut(file: Path) -> Iterator[tuple[str, str]]:
    """A file's passages as (title, text)."""
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise fault(file, line, f"not UTF-8: byte 0x{raw[error.start]:02x}") from None
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read: {error.strerror or error}") from error
    markup = MARKUPS.get(_suffix(file.name), "plain")
    if markup == "markdown":
        text = _FRONT_MATTER.sub("", text)
    found = list(sections(text, markup))
    title = next((heading for heading, _ in found if heading), file.stem)
    for heading, blocks in found:
        for passage in passages(blocks):
            yield title if heading in ("", title) else f"{title} > {heading}", passage
