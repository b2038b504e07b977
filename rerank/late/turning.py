"""Rows and keys, turned to one distance: keys to position 0, rows to the distance.

A match then depends on what a passage says and not on where in it that stands, or on which row asks. What is
turned has been read at positions of its own, and goes on being what it was read as.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rerank.rotary import Rotary

OTHERWISE = "use a profile without a distance"
"""The way out for a model whose positions cannot be taken apart."""

Turn = Callable[[Tensor, Tensor], Tensor]
"""Takes what heads made, `[rows, heads, dim]`, and the positions it was read at, int64 `[rows]`."""


class Turning:
    """Turns what some layers made, from the positions it was read at to one."""

    def __init__(self, rotary: Rotary, layers: Sequence[int], target: int) -> None:
        """`layers` says which layer each head or group is of; `target` is the position turned to."""
        self._rotary = rotary
        kinds = [rotary.kind(layer) for layer in layers]
        self._layers = list(dict(zip(kinds, layers, strict=True)).values())
        """One layer of each kind."""
        device = rotary.device
        order = list(dict.fromkeys(kinds))
        # On the device beforehand: a list would be copied there in the middle of a recording.
        self._kind = torch.tensor([order.index(kind) for kind in kinds], device=device)
        self._end = self._turns(torch.tensor([target], device=device))

    def __call__(self, states: Tensor, positions: Tensor) -> Tensor:
        """`states` `[rows, heads, dim]`, read at `positions`, int64 `[rows]`; shaped and kept as before."""
        turns = self._end / self._turns(positions)
        if len(self._layers) > 1:
            turns = turns[:, self._kind]
        # Heads stand in the place of rows: each has turns of its own, or all have the same.
        return self._rotary.turned(states[:, None].float(), turns)[:, 0].to(states.dtype)

    def _turns(self, positions: Tensor) -> Tensor:
        """Complex `[rows, kinds, turning]`."""
        return torch.stack([self._rotary.turns(layer, positions) for layer in self._layers], dim=1)


def turning(rotary: Rotary | None, layers: Sequence[int], target: int) -> Turn:
    """What turns heads of `layers` to `target`; without a `rotary`, all stays where it was read."""
    return (lambda states, _: states) if rotary is None else Turning(rotary, layers, target)
