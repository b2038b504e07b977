"""DuoAttention (Xiao et al., "Efficient Long-Context LLM Inference with Retrieval and Streaming Heads").

arXiv 2410.10819. A gate in [0, 1] says how much each KV head needs its whole context. At a sparsity s, heads
whose gate reaches the s-quantile of all gates are retrieval heads and keep everything; the others stream.
Where gates are equal the lower layer, then the lower head, counts as the larger, so that the same gates
always choose the same heads (the published code adds random noise). Streaming heads see through their window
from the first token on (in the published code, from the second chunk of a prompt on). This module does not
know where gates come from: `rerank.gates` trains and reads them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rerank.errors import BadPolicy
from rerank.model import Shape
from rerank.policies.base import Heads, Policy, check_heads, check_window
from rerank.policies.kernels import Window


@dataclass(frozen=True, slots=True)
class DuoPolicy(Policy):
    """Retrieval heads, `retrieval[layer][kv_head]`, keep everything; the others sinks and recent keys."""

    retrieval: Heads
    sinks: int = 64
    recent: int = 256

    name = "duo"

    def __post_init__(self) -> None:
        check_window(self.sinks, self.recent)

    @classmethod
    def from_gates(
        cls, gates: Sequence[Sequence[float]], sparsity: float = 0.5, *, sinks: int = 64, recent: int = 256
    ) -> Self:
        """Choose retrieval heads by their gates, `[layers][kv_heads]`; raises `BadPolicy`."""
        return cls(retrieval_heads(gates, sparsity), sinks, recent)

    def full(self, shape: Shape) -> Heads:
        """The retrieval heads: `[layers][kv_heads]`."""
        check_heads(self.retrieval, shape)
        return self.retrieval

    @property
    def window(self) -> Window:
        """What streaming heads see."""
        return Window(self.sinks, self.recent)


def retrieval_heads(gates: Sequence[Sequence[float]], sparsity: float) -> Heads:
    """Which heads' gates reach the `sparsity`-quantile of all gates: `[layers][kv_heads]`.

    Of n heads, n − ⌈sparsity · (n − 1)⌉ do; at sparsity 1 none. Raises `BadPolicy`.
    """
    places = [(layer, head) for layer, row in enumerate(gates) for head in range(len(row))]
    if not places or not all(math.isfinite(gate) for row in gates for gate in row):
        raise BadPolicy("gates must be finite numbers, one for each KV head of each layer")
    if not 0 <= sparsity <= 1:
        raise BadPolicy(
            f"a sparsity of {sparsity} cannot be: it is the share of streaming heads, from 0 to 1"
        )
    # Rounded, for 0.1 · 30 is a little over 3.
    keep = 0 if sparsity == 1 else len(places) - math.ceil(round(sparsity * (len(places) - 1), 9))
    chosen = set(sorted(places, key=lambda place: -gates[place[0]][place[1]])[:keep])
    return tuple(
        tuple((layer, head) in chosen for head in range(len(row))) for layer, row in enumerate(gates)
    )
