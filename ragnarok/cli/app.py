"""The commands together, and what an error looks like at the command line."""

import json
import os
import sys
import warnings

import typer

from ragnarok.cli import (
    arena,
    ask,
    bench,
    demo,
    doctor,
    evaluate,
    explain,
    heads,
    index,
    keys,
    rerank,
    run,
    search,
    serve,
    validate,
    warm,
)
from ragnarok.errors import OUTCOMES, outcome_of

app = typer.Typer(
    name="ragnarok",
    help="Retrieve passages, re-rank them by a model's attention, answer with every sentence attributed.",
    epilog="Start with `ragnarok demo`. Then index your own text: `ragnarok index FOLDER --name NAME`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="demo")(demo.demo)
app.command(name="index")(index.index)
app.command(name="search")(search.search)
app.command(name="rerank")(rerank.rerank)
app.command(name="warm")(warm.warm)
app.command(name="explain")(explain.explain)
app.command(name="ask")(ask.ask)
app.command(name="run")(run.run)
app.command(name="validate")(validate.validate)
app.command(name="eval")(evaluate.evaluate)
app.add_typer(heads.app, name="heads")
app.add_typer(bench.app, name="bench")
app.add_typer(arena.app, name="arena")
app.command(name="serve")(serve.serve)
app.command(name="keys")(keys.keys)
app.command(name="doctor")(doctor.doctor)

INTERRUPTED = 130


def main() -> None:
    """Run the command line; the house's errors become one clear message and an exit code."""
    # Libraries speak of their own affairs; what matters to the user is an error of ours.
    warnings.simplefilter("ignore")
    # By the environment: transformers sets its own level again when it is imported, which is later.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has left (`| head`). As typer and rich do: say nothing, and exit with 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except tuple(OUTCOMES) as error:
        outcome = outcome_of(error)
        detail = " ".join(str(error).splitlines())
        if "--json" in sys.argv:
            problem = {"error": type(error).__name__, "title": outcome.title, "detail": detail}
            sys.stderr.write(json.dumps(problem, ensure_ascii=False) + "\n")
        else:
            sys.stderr.write(f"{outcome.title}: {detail}\n")
        sys.exit(outcome.exit_code)
