"""`ragnarok bench`: the project's measured claims, each repeatable by one command (benchmarks/README.md)."""

import typer

from ragnarok.cli.bench import quality, speed

app = typer.Typer(help="Measure quality and speed.", no_args_is_help=True)
app.command(name="quality")(quality.quality)
app.command(name="speed")(speed.speed)
