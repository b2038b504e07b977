"""The command line: `ragnarok --help` lists the commands, `ragnarok COMMAND --help` teaches one.

One command, one file. Results go to standard output (with `--json`, as one JSON document), everything else
to standard error. Exit codes: 0 done, 2 wrong usage, and those of `ragnarok.errors.OUTCOMES`.
"""

from ragnarok.cli.app import app, main

__all__ = ["app", "main"]
