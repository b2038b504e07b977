"""`ragnarok index`: make a collection searchable."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from indexes import ENCODERS, FORMATS, IndexesError, build_index, default_root, list_indexes
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import Json


def index(
    corpus: Annotated[
        str | None,
        typer.Argument(help="File or folder to index; without it, list the indexes."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="The index's name (default: the file's).")
    ] = None,
    corpus_format: Annotated[
        str | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; found out by default.")
    ] = None,
    bm25: Annotated[bool, typer.Option(help="Build the BM25 part (Lucene).")] = True,
    dense: Annotated[bool, typer.Option(help="Build the dense part (Faiss).")] = True,
    encoder: Annotated[
        str, typer.Option(help=f"Text encoder: {', '.join(ENCODERS)}, or a folder of one.")
    ] = "minilm",
    replace: Annotated[
        bool, typer.Option(help="Replace an index of this name, once the new one is whole.")
    ] = False,
    json: Json = False,
) -> None:
    """Build an index of your text, or list the indexes there are.

    Reads BEIR or Anserini JSONL(.gz), MS MARCO v1 passages (TSV), MS MARCO v2.1 segments, and folders of text
    or Markdown. The index appears under its name when it is complete; a failed build leaves nothing.

    Example: ragnarok index docs/ --name handbook
    """
    if corpus is None:
        _list(json)
        return
    steps = Steps()
    parts = [part for part, wanted in (("bm25", bm25), ("dense", dense)) if wanted]
    chosen = name or Path(corpus).resolve().name.split(".")[0]
    try:
        with steps.stages(f"index {escape(chosen)}") as progress:
            built = build_index(
                corpus,
                chosen,
                corpus_format=corpus_format,
                parts=parts,
                encoder=encoder,
                replace=replace,
                progress=progress,
            )
    except IndexesError as error:
        # The root itself is raised for a name or parts that no index can have: wrong usage.
        if type(error) is IndexesError:
            raise typer.BadParameter(str(error)) from error
        raise
    with built:
        manifest = built.manifest
    if json:
        print_json({"name": manifest.name, "folder": str(built.folder), "passages": manifest.passages})
    else:
        out.print(f"{manifest.passages:,} passages in {built.folder}", soft_wrap=True, markup=False)
        err.print(f'[dim]ask it: ragnarok ask "…" --index {chosen}[/]')


def _list(json: bool) -> None:
    known = list_indexes()
    if json:
        print_json([{"name": m.name, "passages": m.passages, "parts": list(m.parts)} for m in known])
        return
    for manifest in known:
        out.print(f"{manifest.name}  {manifest.passages:,} passages  {', '.join(manifest.parts)}")
    if not known:
        err.print(f"no index in {default_root()} yet; build one: ragnarok index FOLDER --name NAME")
