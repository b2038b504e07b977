"""MS MARCO v2.1 segments: JSON lines with docid, url, title, headings, segment, start_char and end_char.

The passage's text is the segment; the headings and offsets are not kept.
"""

from collections.abc import Iterator
from pathlib import Path

from indexes.corpora.source import Located, docid, files_of, records_of, text
from indexes.types import Passage

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def read(path: Path) -> Iterator[Located]:
    """Read a file, or a folder's files in order of their names.

    Raises CorpusError, with file and line, for a line that is no segment.
    """
    for file in files_of(path, SUFFIXES):
        for line, record in records_of(file):
            passage = Passage(
                docid(record.get("docid"), file, line),
                text(record, "segment", file, line, required=True),
                text(record, "title", file, line),
                text(record, "url", file, line),
            )
            yield Located(passage, file, line)
