"""`ragnarok keys`: a new API key for the service."""

from typing import Annotated

import typer

from ragnarok.cli.console import err, out, print_json
from ragnarok.cli.options import Json
from ragnarok.keys import make_key


def keys(
    name: Annotated[str, typer.Argument(help="Whose key it is; logs name it so.")],
    rate_limit: Annotated[
        int | None,
        typer.Option(
            "--rate-limit",
            min=1,
            max=999_999,
            help="Requests a minute of this key, in place of RAGNAROK_RATE_LIMIT.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make an API key: shown this once, with the line that lets it in.

    Example: ragnarok keys team-a
    """
    key, line = make_key(name, rate_limit)
    if json:
        print_json({"key": key, "line": str(line)})
        return
    out.print(f"key:  {key}\nline: {line}", markup=False, soft_wrap=True)
    err.print("The line goes into the file that RAGNAROK_API_KEYS names; the key is kept nowhere.")
