"""Settings read and refused: every message names the variable, or the line of the file."""

import difflib
import os
import tomllib
from typing import get_args

from pydantic import SecretStr, ValidationError

from ragnarok.errors import BadSetting
from service.settings.checks import check_together
from service.settings.settings import Settings
from service.settings.sources import FILE, PREFIX, settings_file, variable


def load_settings() -> Settings:
    """The settings of the environment and the file.

    Raises `BadSetting` with every value that cannot be, for a file that cannot be read or says more than
    settings, and for a variable that is nearly one of ours: a misspelt setting would otherwise go unnoticed.
    Other RAGNAROK_ variables belong to other rooms.
    """
    ours = [FILE, *map(variable, Settings.model_fields)]
    for name in sorted(os.environ):
        if (
            name.startswith(PREFIX)
            and name not in ours
            and (near := difflib.get_close_matches(name, ours, 1, 0.9))
        ):
            raise BadSetting(f"{name} is no setting; did you mean {near[0]}?")
    _check_file()
    try:
        settings = Settings()
    except ValidationError as error:
        raise BadSetting(
            "; ".join(_wrong(str(e["loc"][0]), e["input"], e["msg"]) for e in error.errors())
        ) from None
    check_together(settings)
    return settings


def _check_file() -> None:
    """Refuse a file that is not there, is no TOML, or names what is no setting. Raises `BadSetting`."""
    file = settings_file()
    if file is None:
        return
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(
            f"{FILE}={str(file)!r} cannot be read ({error.strerror}); correct or unset it"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{FILE}={str(file)!r} is no TOML: {error}") from None
    for name in said:
        if name not in Settings.model_fields:
            bare = name.removeprefix(PREFIX).lower()
            near = difflib.get_close_matches(bare, Settings.model_fields, 1, 0.6)
            hint = (
                f"did you mean {near[0]}?" if near else "docs/service.md lists them, here without RAGNAROK_"
            )
            raise BadSetting(f"{name!r} in {file} is no setting; {hint}")


def _wrong(field: str, value: object, why: str) -> str:
    """What is wrong with a setting's value, and where it stands; a secret is not repeated."""
    known = Settings.model_fields.get(field)
    open_ = known is None or (known.repr and SecretStr not in get_args(known.annotation))
    shown = repr(value) if open_ else "…"
    if os.environ.get(variable(field)) or settings_file() is None:
        return f"{variable(field)}={shown}: {why}"
    return f"{field} = {shown} in {settings_file()}: {why}"
