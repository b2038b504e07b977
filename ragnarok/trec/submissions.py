"""What a year's track would refuse in a file, all of it at once: to be asked before the file is sent there.

`runs` and `answers` know what is wrong with a line; here it is what is wrong with a whole file.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragnarok.trec.answers import check_record, names_of
from ragnarok.trec.files import read_lines
from ragnarok.trec.rules import RULES, Year, missing_topics
from ragnarok.trec.runs import validate_run
from ragnarok.types import Topic

__all__ = ["validate", "validate_answers"]


def validate(path: str | Path, year: Year, topics: Sequence[Topic] | None = None) -> list[str]:
    """What that year's track would refuse in a file, each problem with its line or topic; [] is none.

    A file that begins with a brace holds answers, any other is a run. With `topics`, it must have these and
    no others. Raises `NotFound`, and `BadFormat` for what is no text.
    """
    path = Path(path)
    first = next((line for _, line in read_lines(path)), "")
    check = validate_answers if first.lstrip().startswith("{") else validate_run
    return check(path, year, topics)


def validate_answers(path: Path, year: Year, topics: Sequence[Topic] | None = None) -> list[str]:
    """What that year's track would refuse in a file of answers. Raises as `validate` does."""
    problems: list[str] = []
    answered: dict[str, int] = {}
    tags: dict[str, None] = {}
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: is not JSON ({error})")
            continue
        found = [*check_record(record, year, topics), *_docid_problems(record, year)]
        qid, tag = names_of(record, year)
        if qid in answered:
            found.append(f"topic {qid!r} is answered on line {answered[qid]} already")
        problems += (f"line {number}: {problem}" for problem in found)
        answered |= {} if qid is None or qid in answered else {qid: number}
        tags |= {} if tag is None else {tag: None}
    if not answered and not problems:
        problems.append("there are no answers")
    problems += missing_topics(answered, topics)
    if len(tags) > 1:
        problems.append(f"the answers have {len(tags)} run ids, not one: {', '.join(list(tags)[:5])}")
    return problems


def _docid_problems(record: object, year: Year) -> Iterator[str]:
    references = record.get("references") if isinstance(record, dict) else None
    for docid in references if isinstance(references, list) else ():
        if isinstance(docid, str) and not RULES[year].docid.fullmatch(docid):
            yield f"reference {docid!r} is not one of the {year} collection"
