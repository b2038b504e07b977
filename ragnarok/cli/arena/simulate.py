"""`ragnarok arena simulate`: votes whose truth is known."""

from pathlib import Path
from typing import Annotated

import typer

from ragnarok.cli.arena.shared import print_board
from ragnarok.cli.console import err, out, print_json
from ragnarok.cli.options import Json


def simulate_votes(
    systems: Annotated[list[str], typer.Argument(help="Systems and their true ratings, as NAME=RATING.")],
    votes: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many votes.")] = 1000,
    ties: Annotated[float, typer.Option(min=0, max=1, help="Share of ties between equals.")] = 0.3,
    voters: Annotated[int, typer.Option(min=1, help="How many honest voters.")] = 20,
    careless: Annotated[int, typer.Option(min=0, help="How many more that vote at random.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same votes.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="Write the votes as JSONL (.gz too)."),
    ] = None,
    json: Json = False,
) -> None:
    """Draw votes on systems of known strength and rate them: how many votes does a difference need?

    With --output the votes become a file for `ragnarok arena import`, to rehearse with.

    Example: ragnarok arena simulate bm25=1000 late=1060 joint=1080 --votes 2000 -o rehearsal.jsonl
    """
    from ragnarok.arena.boards import leaderboard
    from ragnarok.arena.files import write_jsonl
    from ragnarok.arena.simulate import Scenario, simulate
    from ragnarok.arena.staged import staged
    from ragnarok.trec import check_place

    if output is not None:
        check_place(output)
    truth = dict(map(_rating, systems))
    if len(truth) < len(systems):
        raise typer.BadParameter("a system is named twice; give each a name of its own")
    scenario = Scenario(truth, votes, ties, voters={"honest": voters, "random": careless})
    columns = simulate(scenario, seed)
    board = leaderboard(columns)
    if output is not None:
        write_jsonl(output, staged(columns))
    if json:
        print_json({"truth": truth, **board.record()})
        return
    print_board(board)
    middle = sum(truth.values()) / len(truth)
    told = ", ".join(f"{name} {rating - middle + 1000:.0f}" for name, rating in truth.items())
    err.print(f"true ratings, on the board's scale: {told}", markup=False)
    if output is not None:
        out.print(str(output), soft_wrap=True, markup=False)


def _rating(text: str) -> tuple[str, float]:
    name, _, rating = text.rpartition("=")
    try:
        return name or _refuse(text), float(rating)
    except ValueError:
        return _refuse(text), 0.0


def _refuse(text: str) -> str:
    raise typer.BadParameter(f"a system is NAME=RATING, such as late=1060, not {text!r}")
