"""`python -m service`: the server by itself, for images that hold no command line."""

import argparse
import os
import sys

from ragnarok.errors import OUTCOMES, outcome_of
from service.server import run


def main() -> None:
    """Serve at the address that is given; an error of the house is one line and an exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m service", description="Serve; the environment says what (docs/operations.md)."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    given = parser.parse_args()
    # Before transformers is imported, which then sets its level: its own affairs are nobody's in the log.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        run(given.host, given.port)
    except tuple(OUTCOMES) as error:
        sys.stderr.write(f"{outcome_of(error).title}: {error}\n")
        sys.exit(outcome_of(error).exit_code)


if __name__ == "__main__":
    main()
