"""What each year's track allows, in one table; and the rules for run tags and topics, which all years share.

Knows nothing of files: `runs` and `answers` apply these rules to theirs.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ragnarok.errors import BadFormat
from ragnarok.types import Topic

__all__ = ["MAX_TAG", "RULES", "Rules", "Year", "check_tag", "missing_topics", "tag_problem"]

Year = Literal[2024, 2025, 2026]

MAX_TAG = 20

_SEGMENT = re.compile(r"msmarco_v2\.1_doc_\d+_\d+#\d+_\d+", re.ASCII)
_SHARD = re.compile(r"shard_\d+_\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rules:
    """One year's limits; None is no limit. `normalised` counts words after NFKC."""

    words: int
    references: int | None
    citations: int | None
    depth: int | None
    docid: re.Pattern[str]
    normalised: bool

    def count_words(self, text: str) -> int:
        """How many words the track counts in a text."""
        return len((unicodedata.normalize("NFKC", text) if self.normalised else text).split())


RULES: dict[Year, Rules] = {
    2024: Rules(words=400, references=20, citations=None, depth=100, docid=_SEGMENT, normalised=True),
    2025: Rules(words=400, references=100, citations=None, depth=100, docid=_SEGMENT, normalised=True),
    2026: Rules(words=1024, references=None, citations=3, depth=None, docid=_SHARD, normalised=False),
}


def tag_problem(tag: str) -> str | None:
    """What is wrong with a run's name, or None."""
    if not tag or tag.split() != [tag]:
        return f"run tag {tag!r} is empty or has white space; use letters, digits, '-', '_' and '.'"
    if len(tag) > MAX_TAG:
        return f"run tag {tag!r} has {len(tag)} characters, the limit is {MAX_TAG}"
    return None


def check_tag(tag: str) -> str:
    """Return the run's name, or raise BadFormat when the track would refuse it."""
    if problem := tag_problem(tag):
        raise BadFormat(problem)
    return tag


def missing_topics(found: Collection[str], topics: Sequence[Topic] | None) -> Iterator[str]:
    """Which of `topics`, where they are known, are not among the ids that were found in a file."""
    return (f"topic {topic.qid!r} is missing" for topic in topics or () if topic.qid not in found)
