"""`ragnarok explain`: which words of a text, and which heads, make its score for a question."""

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from indexes import open_index
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import IndexName, Int8, Json, ModelName, ProfileFile, place
from ragnarok.errors import NotFound
from ragnarok.explanation import Piece, explanation_html, pieces
from ragnarok.query import clean_query

if TYPE_CHECKING:
    from rerank.late.explain import Explanation

STYLES = {2: "bold black on yellow", 1: "bold yellow", 0: "", -1: "blue"}
"""How pieces are shown that draw the question most, much, little, or speak against the text."""

PLAIN = {2: ("«", "»"), 1: ("«", "»"), 0: ("", ""), -1: ("‹", "›")}
"""The same where there is no colour."""


def explain(
    query: Annotated[str, typer.Argument(help="The question.")],
    text: Annotated[str | None, typer.Argument(help="The text to explain.")] = None,
    docid: Annotated[str | None, typer.Option("--docid", help="Or a passage of the index.")] = None,
    index: IndexName = "demo",
    model: ModelName = "smollm2-135m",
    profile: ProfileFile = None,
    int8: Int8 = False,
    strongest: Annotated[int, typer.Option(min=0, help="How many heads to show.")] = 8,
    html: Annotated[
        Path | None,
        typer.Option("--html", dir_okay=False, callback=place, help="Write a page that shows it."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what each word of a text and each head adds to its late-attention score.

    The score is a constant, which a text would get none of whose words stands out, and what its words add.

    Example: ragnarok explain "who built the tower?" "The tower was built by Gustave Eiffel's company."
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.late.reranker import LateOptions, LateReranker
    from rerank.model import load_model
    from rerank.profile import read_profile

    asked = clean_query(query)
    if (text is None) == (docid is None):
        raise typer.BadParameter("give either a text or --docid")
    known = None if profile is None else read_profile(profile)
    if docid is not None:
        with open_index(index) as opened:
            text = opened.passage(docid).contents
    assert text is not None
    with Steps().step(f"model {escape(model)} ready"):
        reranker = LateReranker(load_model(model), known, LateOptions(int8=int8))
    found = reranker.explain(asked, text)
    if html is not None:
        try:
            html.write_text(explanation_html(asked, text, found), encoding="utf-8")
        except OSError as error:
            raise NotFound(
                f"{html}: cannot be written ({error.strerror or error}); choose another place"
            ) from error
    if json:
        tokens = [token._asdict() for token in found.tokens]
        print_json({"query": asked, "docid": docid, "text": text} | asdict(found) | {"tokens": tokens})
        return
    _show(text, found, strongest)
    if html is not None:
        err.print(f"page written to {html}", markup=False)


def _show(text: str, found: "Explanation", strongest: int) -> None:
    added = found.score - found.constant
    out.print(f"score {found.score:+.4f} = constant {found.constant:+.4f}, words {added:+.4f}", markup=False)
    out.print(marked(pieces(text, found.tokens), plain=out.color_system is None))
    if found.cut:
        out.print("(read in part)", style="yellow")
    table = Table(box=None)
    for name in ("head", "rows", "adds"):
        table.add_column(name)
    for head in sorted(found.heads, key=lambda head: -abs(head.contribution))[:strongest]:
        table.add_row(f"{head.layer}-{head.head}", head.rows, f"{head.contribution:+.4f}")
    if strongest:
        out.print(table)


def marked(parts: list[Piece], *, plain: bool) -> Text:
    """The pieces, the strong ones in colour, or «so» and ‹so› (against) where there is none."""
    shown = Text()
    for level, group in groupby(parts, key=lambda piece: _level(piece.share)):
        # A text cannot speak to the terminal.
        run = "".join(c if c.isprintable() or c == "\n" else " " for piece in group for c in piece.text)
        before, after = PLAIN[level] if plain else ("", "")
        shown.append(f"{before}{run}{after}", style="" if plain else STYLES[level])
    return shown


def _level(share: float) -> int:
    return 2 if share > 0.66 else 1 if share > 0.3 else -1 if share < -0.3 else 0
