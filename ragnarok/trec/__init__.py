"""TREC's files: topics, runs and answers, read strictly and written so that nothing is half-written.

`rules` holds what each year allows, `files` how lines are read and files replaced; the other modules
hold one kind of file each. Nothing here retrieves, ranks or generates.
"""

from ragnarok.trec.answers import (
    AnswerLine,
    answer_record,
    check_record,
    fit_answer,
    read_answers,
    write_answers,
)
from ragnarok.trec.files import check_place
from ragnarok.trec.rules import RULES, Year, check_tag
from ragnarok.trec.runs import Run, RunEntry, read_run, write_run
from ragnarok.trec.submissions import validate
from ragnarok.trec.topics import read_topics

__all__ = [
    "RULES",
    "AnswerLine",
    "Run",
    "RunEntry",
    "Year",
    "answer_record",
    "check_place",
    "check_record",
    "check_tag",
    "fit_answer",
    "read_answers",
    "read_run",
    "read_topics",
    "validate",
    "write_answers",
    "write_run",
]
