"""`ragnarok arena export`: everything an arena keeps, as a file."""

from pathlib import Path
from typing import Annotated

import typer

from ragnarok.cli.arena.shared import STORE, Store, opened
from ragnarok.cli.console import out, print_json
from ragnarok.cli.options import Json


def export_arena(
    output: Annotated[Path, typer.Argument(help="File to write: .jsonl or .csv, .gz behind it packs it.")],
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Write all systems, battles and votes as JSONL, or a table of the votes as CSV.

    JSONL holds everything, both answers and their evidence too, and `ragnarok arena import` reads it back.
    The table has no texts.

    Example: ragnarok arena export battles.jsonl.gz --store arena.db
    """
    from ragnarok.arena.files import export_csv, export_jsonl
    from ragnarok.trec import check_place

    writers = {".jsonl": export_jsonl, ".csv": export_csv}
    form = output.with_suffix("").suffix if output.suffix == ".gz" else output.suffix
    if form not in writers:
        raise typer.BadParameter(
            f"{output}: the name ends in .jsonl or .csv, maybe with .gz, not in {form!r}"
        )
    check_place(output)
    with opened(store) as arena:
        writers[form](arena, output)
        counts = arena.counts()
    if json:
        print_json({"file": str(output), "battles": counts.battles, "votes": counts.votes})
    else:
        out.print(f"{output}: {counts.battles} battles, {counts.votes} votes", markup=False, soft_wrap=True)
