"""`ragnarok arena rate`: the board."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragnarok.arena.filters import Interval
from ragnarok.arena.types import Board, VoterKind
from ragnarok.cli.arena.shared import STORE, Store, opened, print_board
from ragnarok.cli.console import err, out, print_json
from ragnarok.cli.options import Json

if TYPE_CHECKING:
    from ragnarok.arena.boards import Leaderboard


_DAY = ["%Y-%m-%d"]

OfBoard = Annotated[Board, typer.Option(help="What was voted on: answer or evidence.")]
Since = Annotated[datetime | None, typer.Option(formats=_DAY, help="Votes from this day on, in UTC.")]
Until = Annotated[datetime | None, typer.Option(formats=_DAY, help="Votes up to this day and on it, in UTC.")]
Topics = Annotated[str | None, typer.Option(help="Votes on this topic set; '' is the voters' own questions.")]
Voters = Annotated[VoterKind | None, typer.Option(help="Votes of this kind: human or model.")]
Without = Annotated[list[str] | None, typer.Option(help="A voter to leave out; may be repeated.")]
Suspects = Annotated[bool, typer.Option(help="Count voters who vote against all others or by the side, too.")]
Component = Annotated[
    str | None,
    typer.Option(help="Rate this component (index, reranker, …) by battles that differ in it alone."),
]
Style = Annotated[bool, typer.Option("--style", help="Hold words, citations and sources equal.")]
OfInterval = Annotated[Interval, typer.Option(help="How intervals are found: sandwich or bootstrap.")]
Picture = Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the ratings into this file (SVG).")]
Matrix = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Draw who beats whom into this file (SVG).")
]


def rate(
    store: Store = STORE,
    board: OfBoard = "answer",
    since: Since = None,
    until: Until = None,
    topics: Topics = None,
    voters: Voters = None,
    without: Without = None,
    suspects: Suspects = True,
    component: Component = None,
    style: Style = False,
    interval: OfInterval = "sandwich",
    picture: Picture = None,
    matrix: Matrix = None,
    json: Json = False,
) -> None:
    """Rate an arena's systems by its votes: ratings with 95 % intervals, ranks, and counts.

    There are no ratings where votes do not join all systems that met; the groups that can be rated are named.

    Example: ragnarok arena rate --store arena.db --board evidence --voters human --style
    """
    from ragnarok.arena.boards import leaderboard
    from ragnarok.arena.components import component_columns
    from ragnarok.arena.filters import Filters
    from ragnarok.arena.suspicion import examine
    from ragnarok.trec import check_place

    if style and interval == "bootstrap":
        raise typer.BadParameter(
            "with --style intervals are sandwiches; leave out one of --style and --interval"
        )
    for path in filter(None, (picture, matrix)):
        check_place(path)
    with opened(store) as arena:
        columns = arena.columns()
    left_out = frozenset(without or ())
    if not suspects:
        found = [one for one in examine(columns, board=board) if one.reason]
        left_out |= {one.voter for one in found}
        for one in found:
            err.print(f"left out: {one.voter}: {one.reason}", markup=False, soft_wrap=True)
        if not left_out:
            err.print("left out: nobody")
    filters = Filters(
        board=board,
        since=_utc(since),
        # Behind the last day that there is nothing can be cast.
        until=None if until is None or until.date() == date.max else _utc(until + timedelta(days=1)),
        topics=topics,
        voters=voters,
        without=left_out,
        style=style,
        interval=interval,
    )
    made = leaderboard(columns if component is None else component_columns(columns, component), filters)
    _draw(made, picture, matrix)
    if json:
        print_json(made.record())
        return
    print_board(made)
    for path in filter(None, (picture, matrix)):
        out.print(str(path), soft_wrap=True, markup=False)


def _draw(board: "Leaderboard", picture: Path | None, matrix: Path | None) -> None:
    # Here, not at the top: drawing takes a second to import.
    from ragnarok.arena.pictures import rating_plot, win_matrix
    from ragnarok.trec.files import write_lines

    for path, drawn in ((picture, rating_plot), (matrix, win_matrix)):
        if path is not None:
            write_lines(path, drawn(board).splitlines())


def _utc(day: datetime | None) -> datetime | None:
    return None if day is None else day.replace(tzinfo=UTC)
