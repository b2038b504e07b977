"""Where a model runs: what the setting asks for, held against what is here. Loads nothing.

Knows how many GPUs answer and what torch was built for; nothing of models.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ragnarok.errors import BadSetting
from service.settings import Device, variable


@dataclass(frozen=True, slots=True)
class Here:
    """What a process has: how many GPUs answer, and the CUDA that torch was built for (None: no CUDA)."""

    gpus: int
    cuda: str | None


def look() -> Here:
    """What this process has."""
    return Here(torch.cuda.device_count() if torch.cuda.is_available() else 0, torch.version.cuda)


def choose_device(wanted: Device | None, here: Here, say: Callable[[str], None]) -> Device:
    """Where the model goes: as asked, else the first GPU, or the CPU where there is none.

    `say` hears of a CPU that nobody asked for: that torch was built for CUDA says that a GPU was meant.
    Raises `BadSetting` where a GPU is asked for and none answers.
    """
    if wanted == "cpu" or (wanted is None and not here.gpus):
        if wanted is None and here.cuda:
            say("no GPU answers here: the model runs on the CPU, which is slow")
        return "cpu"
    if not here.gpus:
        why = f"torch is built for CUDA {here.cuda}" if here.cuda else "torch is a build without CUDA"
        raise BadSetting(
            f"{variable('device')}=cuda, and no GPU answers here ({why}): give this process one "
            "(docs/containers.md), or leave the setting out for the CPU"
        )
    return "cuda"
