"""Topic files: `id<TAB>text`, or one JSON object a line in the forms of TREC and BEIR.

Texts are kept exactly as the file has them (answers of 2026 must repeat them to the letter); cleaning
a question for retrieval is the business of `ragnarok.query`.
"""

import json
from pathlib import Path

from ragnarok.errors import BadFormat
from ragnarok.trec.files import bad_line, read_lines
from ragnarok.types import Topic

__all__ = ["read_topics"]

_ID_KEYS = ("id", "_id", "qid")
_TEXT_KEYS = ("text", "query", "title")
_JSON_SUFFIXES = frozenset({".jsonl", ".json", ".ndjson"})


def read_topics(path: str | Path) -> list[Topic]:
    """Read a topic file in its order; JSON by suffix (`.jsonl`) or first character, gzip by suffix.

    Raises:
        NotFound: there is no such file.
        BadFormat: a line is wrong, an id is repeated, or there are no topics.
    """
    path = Path(path)
    as_json = not _JSON_SUFFIXES.isdisjoint(path.suffixes)
    topics: dict[str, Topic] = {}
    lines: dict[str, int] = {}
    for number, line in read_lines(path):
        as_json = as_json or (not topics and line.startswith("{"))
        try:
            topic = _from_json(line) if as_json else _from_tsv(line)
            if topic.qid in lines:
                raise ValueError(f"topic id {topic.qid!r} is already on line {lines[topic.qid]}")
        except ValueError as error:
            raise bad_line(path, number, str(error)) from error
        topics[topic.qid], lines[topic.qid] = topic, number
    if not topics:
        raise BadFormat(f"{path}: has no topics; write one 'id<TAB>text' or JSON object a line")
    return list(topics.values())


def _from_tsv(line: str) -> Topic:
    columns = line.split("\t")
    if len(columns) != 2:
        raise ValueError(f"has {len(columns)} columns, not the two of 'id<TAB>text'")
    return _topic(*columns)


def _from_json(line: str) -> Topic:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError(f"is not a JSON object but a {type(record).__name__}")
    qid = next((record[key] for key in _ID_KEYS if key in record), None)
    text = next((record[key] for key in _TEXT_KEYS if key in record), None)
    if isinstance(qid, bool) or not isinstance(qid, str | int):
        raise ValueError(f"has no id (a string or whole number named {' or '.join(_ID_KEYS)})")
    if not isinstance(text, str):
        raise ValueError(f"has no text (a string named {' or '.join(_TEXT_KEYS)})")
    return _topic(str(qid), text)


def _topic(qid: str, text: str) -> Topic:
    if qid.split() != [qid]:
        raise ValueError(f"topic id {qid!r} is empty or has white space")
    if not text.strip():
        raise ValueError(f"topic {qid!r} has no text")
    if any("\ud800" <= c <= "\udfff" for c in qid + text):
        raise ValueError(f"topic {qid!r} has half of a character (a lone surrogate)")
    return Topic(qid, text)
