"""JSON lines as BEIR writes them (`_id`, `title`, `text`) and as Anserini reads them (`id`, `contents`).

A folder is read whole, file by file, unless it holds a `corpus.jsonl[.gz]`: then it is a BEIR set, whose
other files are queries and judgments.
"""

from collections.abc import Iterator
from pathlib import Path

from indexes.corpora.source import Located, docid, fault, files_of, records_of, text
from indexes.types import Passage

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
BEIR_FILES = ("corpus.jsonl", "corpus.jsonl.gz")


def read(path: Path) -> Iterator[Located]:
    """Read a file, or a folder's files in order of their names.

    Raises CorpusError, with file and line, for anything that is no passage.
    """
    beir = [path / name for name in BEIR_FILES if (path / name).is_file()]
    for file in beir[:1] or files_of(path, SUFFIXES):
        for line, record in records_of(file):
            yield Located(_passage(record, file, line), file, line)


def _passage(record: dict[str, object], file: Path, line: int) -> Passage:
    key = next((key for key in ("_id", "id") if key in record), None)
    if key is None:
        raise fault(file, line, f"the passage has no id; its fields are {', '.join(sorted(record))}")
    name = docid(record[key], file, line)
    title, url = text(record, "title", file, line), text(record, "url", file, line)
    if "contents" in record and "text" not in record:
        # Anserini's contents start with the title, which Passage.contents would put there again.
        body = text(record, "contents", file, line, required=True)
        return Passage(name, body.removeprefix(f"{title}\n") if title else body, title, url)
    return Passage(name, text(record, "text", file, line, required=True), title, url)
