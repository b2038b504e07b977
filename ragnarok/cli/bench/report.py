"""What every measurement says of itself: where it ran, of which commit, and its table."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ragnarok.cli.console import out, print_json


def surroundings() -> dict[str, str]:
    """The hardware, the versions and the commit that a measurement was made with."""
    import torch
    import transformers

    cores = os.cpu_count()
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cores} cores, {_processor()}"
    return {
        "hardware": place,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "commit": _commit(),
    }


def show(rows: Sequence[dict[str, object]], about: dict[str, str], *, json: bool) -> None:
    """Print rows as a Markdown table, or everything as JSON."""
    if json:
        print_json({"about": about, "rows": list(rows)})
        return
    names = list(rows[0]) if rows else []
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    for line in [*lines, "", ", ".join(f"{name} {value}" for name, value in about.items())]:
        out.print(line, markup=False, soft_wrap=True)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
