"""`ragnarok arena`: an arena's votes without its pages: kept, rated, rehearsed, judged (docs/arena.md).

One subcommand, one file.
"""

import typer

from ragnarok.cli.arena import exporter, importer, judge, rate, simulate

app = typer.Typer(help="Arena: export, import, rate, simulate, judge.", no_args_is_help=True)
app.command(name="export")(exporter.export_arena)
app.command(name="import")(importer.import_arena)
app.command(name="rate")(rate.rate)
app.command(name="simulate")(simulate.simulate_votes)
app.command(name="judge")(judge.judge)
