"""`ragnarok heads`: what is known of a model's attention heads, kept in profiles (docs/heads.md).

One subcommand, one file.
"""

import typer

from ragnarok.cli.heads import detect, fit, importer, show, train

app = typer.Typer(help="Head profiles: show, import, fit, find out, train.", no_args_is_help=True)
app.command(name="show")(show.show)
app.command(name="import")(importer.import_table)
app.command(name="detect")(detect.detect)
app.command(name="fit")(fit.fit)
app.command(name="train")(train.train)
