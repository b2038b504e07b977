"""Run files, `topic Q0 docid rank score tag`: read by rank, written so that no tool reorders them.

Evaluation tools sort a topic by score, as 32-bit floats, and break ties by docid. So scores are written
as 32-bit floats, and a score that would not be lower than the one before it is written as the next
float below that one: a relative change of about 1e-7, and only where there are ties.

Knows nothing of queries or passages: anything with a docid and a score can be written.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from ragnarok.errors import BadFormat
from ragnarok.trec.files import bad_line, read_lines, write_lines
from ragnarok.trec.rules import RULES, Year, check_tag, missing_topics, tag_problem
from ragnarok.types import Topic

__all__ = ["Run", "RunEntry", "Scored", "read_run", "validate_run", "write_run"]


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One line of a run: a document at a rank of a topic."""

    docid: str
    rank: int
    score: float
    tag: str


Run = dict[str, list[RunEntry]]
"""A run by topic, each topic's entries by rank."""


class Scored(Protocol):
    """What can be written to a run: a hit, a re-ranked hit, a run's entry."""

    @property
    def docid(self) -> str:
        """The document's identifier."""

    @property
    def score(self) -> float:
        """Its score; higher is better."""


def read_run(path: str | Path, *, strict: bool = False) -> Run:
    """Read a run, each topic's entries sorted by rank whatever their order in the file.

    `strict` also refuses ranks that are not dense from 1, scores that increase with rank, and more
    than one tag.

    Raises:
        NotFound: there is no such file.
        BadFormat: a line is wrong (columns, rank, score), a docid is repeated, or there are no lines.
    """
    path = Path(path)
    run: Run = {}
    seen: set[tuple[str, str]] = set()
    for number, line in read_lines(path):
        try:
            qid, entry = _parse(line, seen)
        except ValueError as error:
            raise bad_line(path, number, str(error)) from error
        run.setdefault(qid, []).append(entry)
    if not run:
        raise BadFormat(f"{path}: is empty; a run has lines of 'topic Q0 docid rank score tag'")
    _sort(run)
    if strict and (problem := next(_order_problems(run), None)):
        raise BadFormat(f"{path}: {problem}")
    return run


def write_run(
    path: str | Path, run: Mapping[str, Sequence[Scored]], tag: str, *, depth: int | None = None
) -> None:
    """Write a run whose topics are lists, best first; at most `depth` of each, ranked from 1.

    A topic without hits has no lines. Nothing is written unless everything is right.

    Raises:
        BadFormat: the tag, a topic or docid with white space, a repeated docid, a score that is not
            finite or higher than the one before it, or a run without any hit.
    """
    path = Path(path)
    check_tag(tag)
    if depth is not None and depth < 1:
        raise BadFormat(f"{path}: a run of depth {depth} has no lines; the depth is 1 or more")
    lines: list[str] = []
    for qid, hits in run.items():
        try:
            lines += _format(qid, hits[:depth], tag)
        except ValueError as error:
            raise BadFormat(f"{path}: topic {qid!r}: {error}") from error
    if not lines:
        raise BadFormat(f"{path}: none of the {len(run)} topics has a hit, so there is no run to write")
    write_lines(path, lines)


def validate_run(path: str | Path, year: Year, topics: Sequence[Topic] | None = None) -> list[str]:
    """What that year's track would refuse in a run, each problem with its line or topic; [] is none.

    With `topics`, the run must have documents for these and no others. Raises `NotFound`, and `BadFormat` for
    what is no text.
    """
    path = Path(path)
    rules = RULES[year]
    run: Run = {}
    seen: set[tuple[str, str]] = set()
    problems = []
    for number, line in read_lines(path):
        try:
            qid, entry = _parse(line, seen)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if line.split()[1] != "Q0":
            problems.append(f"line {number}: the second column is {line.split()[1]!r}, not 'Q0'")
        if not rules.docid.fullmatch(entry.docid):
            problems.append(f"line {number}: docid {entry.docid!r} is not one of the {year} collection")
        run.setdefault(qid, []).append(entry)
    if not run and not problems:
        problems.append("the run is empty")
    _sort(run)
    problems += _order_problems(run)
    for qid, entries in run.items():
        if rules.depth is not None and len(entries) > rules.depth:
            problems.append(f"topic {qid!r}: {len(entries)} documents, the limit is {rules.depth}")
    if topics is not None:
        known = {topic.qid for topic in topics}
        problems += (f"topic {qid!r} is not one of the {len(known)}" for qid in run if qid not in known)
    problems += missing_topics(run, topics)
    tags = dict.fromkeys(entry.tag for entries in run.values() for entry in entries)
    return problems + [problem for tag in tags if (problem := tag_problem(tag))]


def _parse(line: str, seen: set[tuple[str, str]]) -> tuple[str, RunEntry]:
    """One line; ValueError says what is wrong. `seen` collects (topic, docid)."""
    columns = line.split()
    if len(columns) != 6:
        raise ValueError(f"has {len(columns)} columns, not the six of 'topic Q0 docid rank score tag'")
    qid, _, docid, rank, score, tag = columns
    if not (rank.isascii() and rank.isdecimal()):
        raise ValueError(f"rank {rank!r} is not a whole number")
    if not math.isfinite(value := _number(score)):
        raise ValueError(f"score {score!r} is not a finite number")
    if (qid, docid) in seen:
        raise ValueError(f"docid {docid!r} is in topic {qid!r} a second time")
    seen.add((qid, docid))
    return qid, RunEntry(docid, int(rank), value, tag)


def _number(text: str) -> float:
    """A number as C reads it (Python would also take '1_000'), or NaN."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _sort(run: Run) -> None:
    for entries in run.values():
        entries.sort(key=lambda entry: (entry.rank, -entry.score))


def _order_problems(run: Run) -> Iterator[str]:
    """Ranks that are not dense from 1, scores that increase with rank, more than one tag."""
    for qid, entries in run.items():
        for expected, entry in enumerate(entries, start=1):
            if entry.rank != expected:
                yield f"topic {qid!r}: rank {entry.rank} where {expected} was due"
                break
        for better, entry in pairwise(entries):
            if entry.score > better.score:
                yield f"topic {qid!r}: score {entry.score} at rank {entry.rank} is above the one before it"
                break
    tags = sorted({entry.tag for entries in run.values() for entry in entries})
    if len(tags) > 1:
        yield f"the run has {len(tags)} tags, not one: {', '.join(tags[:5])}"


def _format(qid: str, hits: Iterable[Scored], tag: str) -> Iterator[str]:
    """A topic's lines; ValueError says what is wrong."""
    if qid.split() != [qid]:
        raise ValueError("a topic id is not empty and has no white space")
    seen = set()
    given = math.inf  # the score before, as it was and as it was written
    written = np.float32(np.inf)
    for rank, hit in enumerate(hits, start=1):
        if hit.docid.split() != [hit.docid]:
            raise ValueError(f"docid {hit.docid!r} is empty or has white space")
        if hit.docid in seen:
            raise ValueError(f"docid {hit.docid!r} comes a second time, at rank {rank}")
        seen.add(hit.docid)
        if not abs(hit.score) < _LARGEST:
            raise ValueError(f"score {hit.score} at rank {rank} is not a finite 32-bit number")
        if hit.score > given:
            raise ValueError(f"score {hit.score} at rank {rank} is above {given} before it")
        given = hit.score
        written = min(np.float32(hit.score), np.nextafter(written, np.float32(-np.inf)))
        # As str has it: the fewest digits that read back as the same 32-bit float.
        yield f"{qid} Q0 {hit.docid} {rank} {written!s} {tag}"


# Half the range: no decrement can leave it.
_LARGEST = float(np.finfo(np.float32).max) / 2
