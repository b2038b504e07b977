"""Full attention: every head keeps everything. What the other policies are measured against."""

from dataclasses import dataclass

from rerank.model import Shape
from rerank.policies.base import Heads, Policy
from rerank.policies.kernels import Window


@dataclass(frozen=True, slots=True)
class FullPolicy(Policy):
    """Every KV head keeps everything."""

    name = "full"

    def full(self, shape: Shape) -> Heads:
        """All of them: `[layers][kv_heads]`."""
        return ((True,) * shape.kv_heads,) * shape.layers

    @property
    def window(self) -> Window:
        """Nobody looks through it."""
        return Window(0, 1)
