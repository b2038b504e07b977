"""`ragnarok heads import`: published head tables into a profile."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragnarok.cli.heads.shared import Into, Output, identity, keep, read_into
from ragnarok.cli.options import Json


def import_table(
    table: Annotated[Path, typer.Argument(help="The published file; for duo, its folder.")],
    output: Output,
    table_format: Annotated[
        Literal["duo", "qrhead", "core"],
        typer.Option("--format", help="duo: DuoAttention's gates; qrhead: a list of heads; core: scores."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model it is for; a folder with config.json is enough."),
    ] = None,
    into: Into = None,
    top: Annotated[int, typer.Option(min=1, help="Heads to keep of a core table.")] = 8,
    json: Json = False,
) -> None:
    """Import a published table of heads: DuoAttention's, QRHead's or CoRe's.

    A table of another shape than the model's is refused. With --into, the profile's other parts are kept, and
    its model is the model.

    Example: ragnarok heads import Meta-Llama-3.1-8B-Instruct --format duo --model llama/ -o llama.json
    """
    from rerank.importers import import_core, import_duo, import_qrhead
    from rerank.profile import check_profile

    base = read_into(into)
    wanted = None if model is None else identity(model)
    if base is not None and wanted is not None:
        check_profile(base, wanted)
    target = base.model if base is not None else wanted
    if target is None:
        raise typer.BadParameter("give --model or --into: a table does not say in full what model it fits")
    if table_format == "duo":
        new = import_duo(table, target)
    elif table_format == "qrhead":
        new = import_qrhead(table, target)
    else:
        new = import_core(table, target, top)
    report = {"gates": sum(map(len, new.gates or ())), "joint heads": len(new.joint)}
    keep(new, base, output, {name: count for name, count in report.items() if count}, json=json)
