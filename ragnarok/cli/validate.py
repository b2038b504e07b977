"""`ragnarok validate`: what TREC would refuse, before it is sent there."""

from pathlib import Path
from typing import Annotated

import typer

from ragnarok.cli.console import out, print_json
from ragnarok.cli.options import Json, TrackYear, track_year
from ragnarok.errors import BadFormat
from ragnarok.trec import read_topics
from ragnarok.trec import validate as problems_of

SHOWN = 25
"""How many problems of a file are shown; where one line is wrong, most others are, too."""


def validate(
    files: Annotated[list[Path], typer.Argument(help="Runs, or answers as JSONL (.gz too).")],
    year: TrackYear = 2025,
    topics: Annotated[
        Path | None,
        typer.Option("--topics", "-t", help="The topics that they must have, and no others."),
    ] = None,
    json: Json = False,
) -> None:
    """Check runs and answers by the rules of a year's TREC RAG track, before they are sent there.

    Says what is wrong with which line or topic: the form, docids that are not of the collection, ranks and
    scores, tags, lengths, citations; and with --topics which topics are missing or unknown.

    Example: ragnarok validate run.first.trec answers.first.jsonl --year 2025 --topics topics.tsv
    """
    form = track_year(year)
    asked = None if topics is None else read_topics(topics)
    found = {str(file): problems_of(file, form, asked) for file in files}
    if json:
        print_json({"files": [{"file": file, "problems": problems} for file, problems in found.items()]})
    else:
        for file, problems in found.items():
            _show(file, problems)
    if wrong := [file for file, problems in found.items() if problems]:
        count = sum(map(len, found.values()))
        how_many = "1 problem" if count == 1 else f"{count:,} problems"
        raise BadFormat(f"TREC RAG {year} would refuse {', '.join(wrong)}: {how_many}; mend what is named")


def _show(file: str, problems: list[str]) -> None:
    lines = [f"{file}: {problem}" for problem in problems[:SHOWN]] or [f"{file}: nothing is wrong"]
    if len(problems) > SHOWN:
        lines.append(f"{file}: and {len(problems) - SHOWN:,} more")
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
