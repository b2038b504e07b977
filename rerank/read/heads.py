"""Which KV groups see documents while a question is read, and which heads' attention is the score.

Groups that see them are the retrieval groups and those of the scoring heads, which could say nothing
otherwise. Nothing runs after the last scoring layer, and of that only the keys of its scoring groups count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rerank.errors import BadHeads
from rerank.icr import Head, check_heads
from rerank.model import Model, Shape
from rerank.profile import Group, HeadProfile


@dataclass(frozen=True, slots=True)
class Scoring:
    """Heads of one KV group that score, their weights (fp32), and the group's place among those that see."""

    place: int
    heads: Tensor
    weights: Tensor


@dataclass(frozen=True, slots=True)
class ReadLayer:
    """A layer's KV groups and heads, int64 on the device: those that see documents, and `blind` ones."""

    groups: Tensor
    heads: Tensor
    blind_groups: Tensor
    blind_heads: Tensor
    scoring: list[Scoring]


@dataclass(frozen=True, slots=True)
class ReadHeads:
    """`groups[layer]` see documents, for every layer to the last that scores; `weights` say who scores."""

    groups: tuple[tuple[int, ...], ...]
    weights: Mapping[Head, float]

    @classmethod
    def of(
        cls, model: Model, profile: HeadProfile, retrieval: tuple[Group, ...] | None, sparsity: float
    ) -> Self:
        """The groups of `retrieval`, else those that the profile's gates name at `sparsity`, else all.

        The profile's joint heads score; without any, all heads of these groups, each with weight 1. Raises
        `BadHeads`, and `BadProfile` for a sparsity that cannot be.
        """
        shape = model.shape
        if retrieval is None and profile.gates is not None:
            retrieval = profile.retrieval(sparsity)
        if retrieval is None:
            retrieval = tuple(
                (layer, group) for layer in range(shape.layers) for group in range(shape.kv_heads)
            )
        shared = shape.heads // shape.kv_heads
        for layer, group in retrieval:
            if not (0 <= layer < shape.layers and 0 <= group < shape.kv_heads):
                raise BadHeads(
                    f"{model.name} has no KV group {layer}-{group}: layers go from 0 to {shape.layers - 1}, "
                    f"groups from 0 to {shape.kv_heads - 1}"
                )
        weights = {(joint.layer, joint.head): joint.weight for joint in profile.joint} or {
            (layer, head): 1.0
            for layer, group in retrieval
            for head in range(group * shared, (group + 1) * shared)
        }
        if not weights:
            raise BadHeads(
                "no KV group sees the documents: lower the sparsity, name retrieval groups, or give a "
                "profile with joint heads"
            )
        check_heads(model, tuple(weights))
        last = max(layer for layer, _ in weights)
        scoring = {(layer, head // shared) for layer, head in weights}
        # The last layer's attention is never computed: it only needs the keys that score.
        seeing = scoring | {(layer, group) for layer, group in retrieval if layer < last}
        groups = tuple(
            tuple(group for group in range(shape.kv_heads) if (layer, group) in seeing)
            for layer in range(last + 1)
        )
        return cls(groups, weights)

    @property
    def last(self) -> int:
        """The last layer that scores."""
        return len(self.groups) - 1

    def layers(self, shape: Shape, device: torch.device) -> list[ReadLayer]:
        """Each layer's heads as they are looked up while it runs."""
        return [self._layer(layer, shape, device) for layer in range(len(self.groups))]

    def _layer(self, layer: int, shape: Shape, device: torch.device) -> ReadLayer:
        seeing = self.groups[layer]
        blind = [group for group in range(shape.kv_heads) if group not in seeing]
        shared = shape.heads // shape.kv_heads
        scoring = []
        for place, group in enumerate(seeing):
            own = range(group * shared, (group + 1) * shared)
            counted = {head: self.weights[layer, head] for head in own if (layer, head) in self.weights}
            if counted:
                weights = torch.tensor(list(counted.values()), dtype=torch.float32, device=device)
                scoring.append(Scoring(place, torch.tensor(list(counted), device=device), weights))

        def heads(groups: tuple[int, ...] | list[int]) -> Tensor:
            return (index(groups)[:, None] * shared + torch.arange(shared, device=device)).flatten()

        def index(groups: tuple[int, ...] | list[int]) -> Tensor:
            return torch.tensor(groups, dtype=torch.long, device=device)

        return ReadLayer(index(seeing), heads(seeing), index(blind), heads(blind), scoring)
