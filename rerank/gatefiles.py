"""Files of gate training: a checkpoint to go on from, the published pattern folder, a picture of the loss.

Every file is written beside and renamed, so it is whole or absent. The published folder is read by
`rerank.importers`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rerank.errors import TrainingConflict

STATE = "training.json"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Where training stands: gates and AdamW's two moments are `[layers, kv_heads]`, fp32."""

    step: int
    losses: Sequence[float]
    gates: Tensor
    first: Tensor
    second: Tensor


class Checkpoint:
    """A folder with `training.json`, which names the safetensors file that belongs to it."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """`identity` is everything that must be the same when training goes on."""
        self._folder, self._identity = folder, dict(identity)

    def load(self) -> TrainingState | None:
        """The state saved last, or None. Raises `TrainingConflict` for one of other settings."""
        path = self._folder / STATE
        if not path.exists():
            return None
        try:
            saved = json.loads(path.read_text())
            identity: dict[str, Any] = saved["identity"]
            tensors = load_file(self._folder / saved["tensors"])
            state = TrainingState(saved["step"], saved["losses"], **tensors)
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise TrainingConflict(
                f"{path} cannot be gone on from ({' '.join(str(error).split())}); remove it to start over"
            ) from error
        names = sorted(self._identity.keys() | identity.keys())
        for name in names:
            if self._identity.get(name) != identity.get(name):
                raise TrainingConflict(
                    f"{self._folder} holds training with {name} {identity.get(name)!r}, now it is "
                    f"{self._identity.get(name)!r}: give the same settings to go on, or another folder"
                )
        return state

    def save(self, state: TrainingState) -> None:
        """Keep `state` in the place of the one before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"training-{state.step}.safetensors"
        tensors = {"gates": state.gates, "first": state.first, "second": state.second}
        beside = self._folder / f"{name}.new"
        save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, beside)
        beside.replace(self._folder / name)
        saved = {
            "identity": self._identity,
            "step": state.step,
            "losses": list(state.losses),
            "tensors": name,
        }
        write_whole(self._folder / STATE, json.dumps(saved, indent=1))
        for old in self._folder.glob("training-*.safetensors"):
            if old.name != name:
                old.unlink()


def write_pattern(
    folder: Path, gates: Sequence[Sequence[float]], config: Mapping[str, str | int | float]
) -> None:
    """Write gates, `[layers][kv_heads]`, as DuoAttention publishes them.

    `full_attention_heads.tsv` and `config.json`, which should name `model_name`, `sink_size`, `recent_size`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.json", json.dumps(dict(config), indent=1) + "\n")
    rows = ("\t".join(f"{gate:.18e}" for gate in row) for row in gates)
    write_whole(folder / "full_attention_heads.tsv", "\n".join(rows) + "\n")


def draw_losses(losses: Sequence[float], path: Path) -> None:
    """A picture of the loss by step; its kind follows from the name (`.svg`, `.png`)."""
    # Here, not at the top: only training draws.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, linewidth=1)
    axes.set(xlabel="step", ylabel="loss", title="Gate training")
    axes.set_ylim(bottom=0)
    beside = path.with_name(f"{path.stem}.new{path.suffix}")
    figure.savefig(beside)
    beside.replace(path)


def write_whole(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it there."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text)
    beside.replace(path)
