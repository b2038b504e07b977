"""The seam of attention policies: which keys of a context each KV head keeps in view.

A policy says two things, who keeps everything (`full`) and what the others see (`window`); the masks that
define it and the cache that carries it out follow. One that fits no window overrides `mask` and `cache`.
This module knows nothing of how a policy comes by its heads.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from rerank.cache import PrefixCache
from rerank.errors import BadPolicy
from rerank.model import Shape
from rerank.policies.cache import HeldCache
from rerank.policies.kernels import Window

Heads = tuple[tuple[bool, ...], ...]
"""One truth for each KV head: `[layers][kv_heads]`."""


class Policy(ABC):
    """Which keys stay in view. Policies are values: made once, used for any number of contexts."""

    name: ClassVar[str]
    """What the policy is called, exactly."""

    @abstractmethod
    def full(self, shape: Shape) -> Heads:
        """Which KV heads keep everything: `[layers][kv_heads]`. Raises `BadPolicy` for another shape."""

    @property
    @abstractmethod
    def window(self) -> Window:
        """What all other heads see."""

    def mask(self, shape: Shape, layer: int, length: int) -> Tensor:
        """What may be seen, compensation aside: bool `[kv_heads, length (rows), length (keys)]`."""
        place = torch.arange(length)
        causal = place <= place[:, None]
        windowed = self.window.sees(place, place)
        return torch.stack([causal if keeps else windowed for keeps in self.full(shape)[layer]])

    def cache(self, shape: Shape, capacity: int) -> PrefixCache:
        """An empty cache for a context of at most `capacity` tokens of a model of this shape."""
        return HeldCache(self.full(shape), self.window, capacity)


def check_window(sinks: int, recent: int) -> None:
    """Refuse, with `BadPolicy`, a window that cannot be."""
    if sinks < 0 or recent < 1:
        raise BadPolicy(
            f"a window of {sinks} sinks and {recent} recent keys cannot be: sinks are 0 or more, recent keys "
            "1 or more (a token sees itself)"
        )


def check_heads(heads: Heads, shape: Shape) -> None:
    """Refuse, with `BadPolicy`, a choice of heads that was made for a model of another shape."""
    widths = sorted({len(row) for row in heads})
    if len(heads) != shape.layers or widths != [shape.kv_heads]:
        kv_heads = " or ".join(map(str, widths)) or "no"
        raise BadPolicy(
            f"the policy was made for {len(heads)} layers of {kv_heads} KV heads, and the model has "
            f"{shape.layers} of {shape.kv_heads}: use gates of this model"
        )
