"""`ragnarok demo`: from nothing to answers with evidence, on text that every Python carries."""

import io
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from indexes import IndexNotFound, build_index, open_index
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import Json, ModelName
from ragnarok.cli.render import evidence, result_json, sentence_text
from ragnarok.pipeline import Pipeline, Result
from ragnarok.types import Sentence

INDEX = "demo"
QUESTIONS = (
    "How do I make a temporary directory?",
    "When is the else clause of a for loop executed?",
    "What does functools.lru_cache do when maxsize is None?",
)


def demo(
    model: ModelName = "smollm2-135m",
    picture: Annotated[Path | None, typer.Option(help="Also draw the first answer as an SVG file.")] = None,
    json: Json = False,
) -> None:
    """Build a small index of the Python documentation on this machine and ask it three questions.

    Shows each answer sentence by sentence with its citations, then the cited passages: what re-ranking
    changed (rank before → after), and the words that drew the model's attention.

    Example: ragnarok demo
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import PipelineSettings, build_pipeline

    steps = Steps()
    _ensure_index(steps)
    with steps.step("index opened, model loaded"):
        pipeline = build_pipeline(PipelineSettings(index=INDEX, model=model, depth=10))
    results = []
    with pipeline:
        for number, question in enumerate(QUESTIONS, start=1):
            if not json:
                out.print()
                out.print(Rule(Text(f"{number}. {question}", style="bold"), align="left"))
            results.append(_ask(pipeline, question, steps, quiet=json))
    if json:
        print_json([result_json(result) for result in results])
        return
    if picture is not None:
        _draw(results[0], picture)
    out.print(_timings(results, steps))
    program = Path(sys.argv[0]).name if shutil.which("ragnarok") else ".venv/bin/ragnarok"
    print(f'Ask another question: {program} ask "How do I make a temporary directory?"')
    print(f"Start the service:    {program} serve    then open http://127.0.0.1:8000")


def _ensure_index(steps: Steps) -> None:
    try:
        open_index(INDEX).close()
    except IndexNotFound:
        with steps.stages("demo index built of Python's own documentation") as progress:
            build_index(
                "pydocs", INDEX, corpus_format="pydocs", parts=("bm25", "dense"), progress=progress
            ).close()


def _ask(pipeline: Pipeline, question: str, steps: Steps, *, quiet: bool) -> Result:
    """Answer one question, printing each sentence as it comes."""
    result: Result | None = None
    events = pipeline.stream(question)
    while result is None:
        with steps.waiting("thinking"):
            event = next(events)
        if isinstance(event, Sentence) and not quiet:
            out.print(sentence_text(event))
        if isinstance(event, Result):
            result = event
    if not quiet:
        for note in result.answer.notes:
            out.print(f"[dim italic]note: {note}[/]")
        out.print(evidence(out, result.answer, result.hits))
    return result


def _timings(results: list[Result], steps: Steps) -> Table:
    table = Table("step", "seconds", box=None, title="timings", title_justify="left")
    for name, seconds in steps.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    for stage in results[0].timings:
        each = " + ".join(f"{result.timings[stage]:.1f}" for result in results)
        table.add_row(f"{stage}, three questions", each)
    return table


def _draw(result: Result, picture: Path) -> None:
    sheet = Console(record=True, width=100, file=io.StringIO())
    sheet.print(Text(result.query, style="bold"))
    for sentence in result.answer.sentences:
        sheet.print(sentence_text(sentence))
    sheet.print(evidence(sheet, result.answer, result.hits))
    sheet.save_svg(str(picture), title="ragnarok ask")
    err.print(f"drawn to {picture}")
