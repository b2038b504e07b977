"""`ragnarok arena import`: systems, battles and votes from a file."""

from pathlib import Path
from typing import Annotated

import typer

from ragnarok.cli.arena.shared import STORE, Store, opened
from ragnarok.cli.console import out, print_json
from ragnarok.cli.options import Json


def import_arena(
    file: Annotated[Path, typer.Argument(help="JSONL as `ragnarok arena export` writes it (.gz too).")],
    answers: Annotated[
        list[Path] | None,
        typer.Option("--answers", help="TREC answer file whose runs FILE judges in pairs; may be repeated."),
    ] = None,
    topics: Annotated[str, typer.Option(help="With --answers: what the topic set is called.")] = "topics",
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Add what a file has to an arena, all of it or, if a line is wrong, nothing.

    What the arena keeps already is passed over, so importing twice does no harm; what it keeps otherwise (a
    system's name, a battle's id, a voter's vote) is refused. With --answers, FILE has judgments of pairs of
    TREC answers instead (docs/arena.md).

    Example: ragnarok arena import battles.jsonl --store arena.db
    """
    from dataclasses import asdict

    from ragnarok.arena.files import import_jsonl
    from ragnarok.arena.pairs import read_pairs

    with opened(store, new=True) as arena:
        pairs = answers and read_pairs(answers, file, topics)
        added = arena.add_all(pairs) if pairs else import_jsonl(arena, file)
    if json:
        print_json(asdict(added))
    else:
        out.print(f"{added.systems} systems, {added.battles} battles and {added.votes} votes are new")
