"""`ragnarok eval`: how good a run is."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ragnarok.cli.console import err, out, print_json
from ragnarok.cli.options import Json
from ragnarok.evaluate import compare, read_qrels
from ragnarok.evaluate import evaluate as measure_run
from ragnarok.trec import read_run


def evaluate(
    run: Annotated[Path, typer.Argument(help="TREC run file (.gz too).")],
    qrels: Annotated[Path, typer.Argument(help="Judgments: TREC's four columns or BEIR's three (.gz too).")],
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", "-m", help="A measure as ir_measures names it; may be repeated."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Another run to compare with, topic by topic.")
    ] = None,
    topics: Annotated[bool, typer.Option("--topics", help="Show every topic's values too.")] = False,
    json: Json = False,
) -> None:
    """Measure a run against relevance judgments.

    Judged topics that the run lacks count as 0 and are reported. With --baseline the first measure is
    compared topic by topic (paired randomisation test).

    Example: ragnarok eval run.trec qrels.tsv -m nDCG@10 -m R@100 --baseline run.bm25.trec
    """
    names = measures or ["nDCG@10", "R@100"]
    grades = read_qrels(qrels)
    entries = read_run(run)
    result = measure_run(entries, grades, names)
    paired = compare(entries, read_run(baseline), grades, names[0]) if baseline else None
    if json:
        from dataclasses import asdict

        print_json(asdict(result) | ({"comparison": asdict(paired)} if paired else {}))
        return
    table = Table("measure", "mean" if not topics else "value", box=None)
    for qid, values in result.topics.items() if topics else ():
        for name, value in values.items():
            table.add_row(escape(f"{qid} {name}"), f"{value:.4f}")
    for name, value in result.mean.items():
        table.add_row(name, f"[bold]{value:.4f}[/]")
    out.print(table)
    if paired:
        out.print(
            f"against {baseline}: {paired.difference:+.4f} {paired.measure} "
            f"({paired.wins} topics better, {paired.losses} worse, {paired.ties} equal, "
            f"p = {paired.p_value:.3f})",
            soft_wrap=True,
            markup=False,
        )
    if result.missing:
        err.print(f"{len(result.missing)} judged topics are missing from the run and count as 0")
    if result.unjudged:
        err.print(f"{len(result.unjudged)} topics of the run have no judgments and are left out")
