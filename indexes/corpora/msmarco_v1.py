"""MS MARCO v1 passages: lines of an id, a tab and a text."""

from collections.abc import Iterator
from pathlib import Path

from indexes.corpora.source import Located, docid, fault, files_of, lines_of
from indexes.types import Passage

SUFFIXES = (".tsv", ".tsv.gz")


def read(path: Path) -> Iterator[Located]:
    """Read a file, or a folder's files in order of their names.

    Raises CorpusError, with file and line, for a line without an id or without a tab.
    """
    for file in files_of(path, SUFFIXES):
        for line, content in lines_of(file):
            name, tab, body = content.partition("\t")
            if not tab:
                raise fault(file, line, "no tab between an id and a text")
            yield Located(Passage(docid(name, file, line), body), file, line)
