"""Readers of collections: each turns a file or a folder into passages, and says where a bad line is.

A reader knows its format and nothing of what becomes of the passages; whether ids repeat is found when an
index is built. To add a format, write a module with `read(path)` and give it a line in FORMATS.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from indexes.corpora import folder, jsonl, msmarco_v1, msmarco_v21, pydocs
from indexes.corpora.source import Located, files_of, records_of
from indexes.errors import CorpusError
from indexes.types import Passage

FORMATS: dict[str, Callable[[Path], Iterator[Located]]] = {
    "jsonl": jsonl.read,
    "msmarco-v1": msmarco_v1.read,
    "msmarco-v2.1": msmarco_v21.read,
    "folder": folder.read,
    "pydocs": pydocs.read,
}


def read_corpus(path: str | Path, corpus_format: str | None = None) -> Iterator[Passage]:
    """The passages of a collection, in order; the format is detected where none is named.

    Raises CorpusError for an unknown format, and while reading, with file and line, for what is no passage.
    """
    for located in read_located(Path(path), corpus_format or detect(Path(path))):
        yield located.passage


def read_located(path: Path, corpus_format: str) -> Iterator[Located]:
    """The passages of a collection with the files and lines they come from.

    Raises CorpusError for an unknown format, and while reading, with file and line, for what is no passage.
    """
    reader = FORMATS.get(corpus_format)
    if reader is None:
        raise CorpusError(f"no corpus format {corpus_format!r}; known are {', '.join(FORMATS)}")
    return reader(path)


def detect(path: Path) -> str:
    """The format of a file or folder, by the names of its files and the fields of the first record.

    Raises CorpusError where no format fits.
    """
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder")
    if path.is_file():
        return _of_file(path)
    if any((path / name).is_file() for name in jsonl.BEIR_FILES):
        return "jsonl"
    for suffixes in ((".jsonl", ".jsonl.gz", ".json.gz"), msmarco_v1.SUFFIXES):
        if any(file.name.endswith(suffixes) for file in path.iterdir()):
            return _of_file(files_of(path, suffixes)[0])
    # Plain .json comes after text, since folders of documentation often hold settings in it.
    if folder.text_files(path):
        return "folder"
    return _of_file(files_of(path, (".json",))[0])


def _of_file(file: Path) -> str:
    if file.name.endswith(msmarco_v1.SUFFIXES):
        return "msmarco-v1"
    if file.suffix.lower() in folder.MARKUPS:
        return "folder"
    if file.name.endswith(jsonl.SUFFIXES):
        for _, record in records_of(file):
            return "msmarco-v2.1" if "docid" in record and "segment" in record else "jsonl"
        raise CorpusError(f"{file}: the file is empty")
    raise CorpusError(f"{file}: the format cannot be told from the name; name one of {', '.join(FORMATS)}")
