"""Where settings come from: the environment's names, and the file that one of them names."""

import os
from pathlib import Path

PREFIX = "RAGNAROK_"

FILE = "RAGNAROK_SETTINGS"
"""The environment variable that names the settings file."""


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def settings_file() -> Path | None:
    """The settings file, if one is named."""
    named = os.environ.get(FILE)
    return Path(named).expanduser() if named else None
