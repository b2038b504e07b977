"""What the arena's commands share: which store, and how a board looks."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ragnarok.cli.console import err, out

if TYPE_CHECKING:
    from ragnarok.arena.boards import Leaderboard
    from ragnarok.arena.store import ArenaStore

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="RAGNAROK_ARENA_STORE",
        help="The arena's database: an SQLite file, or postgresql://USER@HOST/NAME.",
    ),
]
STORE = "arena.db"


@contextmanager
def opened(url: str, *, new: bool = False) -> Iterator["ArenaStore"]:
    """The store, closed at the end; an SQLite file that is not there is made only where it may be `new`.

    Raises `NotFound`.
    """
    # Here, not at the top: `--help` needs no database.
    from ragnarok.arena.database import read_url
    from ragnarok.arena.store import ArenaStore
    from ragnarok.errors import NotFound

    read = read_url(url)
    if not new and read.get_backend_name() == "sqlite" and not Path(read.database or "").exists():
        raise NotFound(
            f"{read.database}: there is no such arena; name its database by --store or RAGNAROK_ARENA_STORE"
        )
    with closing(ArenaStore(url)) as store:
        yield store


def print_board(board: "Leaderboard") -> None:
    """The board on standard output; what keeps it from having ratings on standard error."""
    table = Table(box=None)
    for name in ("rank", "system", "rating", "95 %", "votes", "won", "lost", "tied", "win rate"):
        table.add_column(name, justify="left" if name == "system" else "right")
    for one in board.standings:
        # Ratings come together or not at all.
        rated = one.rating is not None and one.low is not None and one.high is not None
        ranks = f"{one.best}" if one.best == one.worst else f"{one.best}–{one.worst}"
        table.add_row(
            ranks if rated else "–",
            escape(one.system),
            f"{one.rating:.0f}" if rated else "–",
            f"{one.low:.0f}–{one.high:.0f}" if rated else "–",
            *map(str, (one.battles, one.wins, one.losses, one.ties)),
            f"{one.win_rate:.2f}",
        )
    out.print(table)
    for effect in board.effects:
        out.print(
            f"{effect.style}: {effect.points:+.0f} points ({effect.low:+.0f} to {effect.high:+.0f}) for one "
            "standard deviation more",
            markup=False,
        )
    if not board.rated:
        err.print(f"no ratings: {board.why}", markup=False)
