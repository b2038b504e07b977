"""What the subcommands share: the options for a model and for where profiles go, and how one is kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragnarok.cli.console import out, print_json
from ragnarok.cli.options import place
from rerank.errors import ModelUnfit
from rerank.profile import HeadProfile, ModelIdentity, check_profile, read_profile, write_profile

if TYPE_CHECKING:
    from rerank.model import Model


Output = Annotated[
    Path,
    typer.Option("--output", "-o", dir_okay=False, callback=place, help="Where the profile goes (JSON)."),
]
Into = Annotated[
    Path | None,
    typer.Option("--into", dir_okay=False, help="A profile whose other parts are kept."),
]


def identity(source: str) -> ModelIdentity:
    """The identity of a model by name, path or hub id; of a folder, only `config.json` is read.

    Raises `ModelNotFound` and `ModelUnfit`.
    """
    from transformers import AutoConfig

    from rerank.model import UNLOADABLE, load_model

    try:
        folder = Path(source).expanduser()
        local = (folder / "config.json").is_file()
    except (OSError, RuntimeError):
        local = False  # A name that no file can have.
    if not local:
        return ModelIdentity.of(load_model(source))
    try:
        return ModelIdentity.of_config(AutoConfig.from_pretrained(folder))
    except UNLOADABLE as error:
        raise ModelUnfit(f"{source}/config.json cannot be used: {' '.join(str(error).split())}") from error


def read_into(into: Path | None) -> HeadProfile | None:
    """The profile that a new part joins, if one was named. Raises `BadProfile`."""
    return None if into is None else read_profile(into)


def load_like(source: str, into: HeadProfile | None) -> "Model":
    """The model, which has to be that of the profile that a new part joins.

    Raises `ModelNotFound`, `ModelUnfit` and `BadProfile`.
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.model import load_model

    loaded = load_model(source)
    if into is not None:
        check_profile(into, loaded)
    return loaded


def keep(
    new: HeadProfile, into: HeadProfile | None, output: Path, report: Mapping[str, object], *, json: bool
) -> None:
    """Write `new`, joined into `into`, and print `report`. Raises `BadProfile`."""
    from rerank.importers import merge

    profile = new if into is None else merge(new, into)
    write_profile(profile, output)
    if json:
        print_json({**report, "digest": profile.digest, "output": str(output)})
        return
    for name, value in report.items():
        shown = (
            " ".join(f"{head} ({score:.3f})" for head, score in value.items())
            if isinstance(value, dict)
            else value
        )
        out.print(f"{name}: {shown}", markup=False)
    out.print(f"profile {profile.digest} written to {output}", soft_wrap=True, markup=False)
