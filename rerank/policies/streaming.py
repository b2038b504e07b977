"""StreamingLLM (Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453).

Every head sees the first few tokens, which softmax uses as a sink, and the most recent ones. The published
method renumbers positions within the cache, to go on beyond the context a model was trained for; here they
stay the original ones. It does not know which heads retrieve: what leaves the window is lost to all of them.
"""

from dataclasses import dataclass

from rerank.model import Shape
from rerank.policies.base import Heads, Policy, check_window
from rerank.policies.kernels import Window


@dataclass(frozen=True, slots=True)
class StreamingPolicy(Policy):
    """Sinks and recent keys in every head."""

    sinks: int = 4
    recent: int = 1020

    name = "streaming"

    def __post_init__(self) -> None:
        check_window(self.sinks, self.recent)

    def full(self, shape: Shape) -> Heads:
        """None of them: `[layers][kv_heads]`."""
        return ((False,) * shape.kv_heads,) * shape.layers

    @property
    def window(self) -> Window:
        """What every head sees."""
        return Window(self.sinks, self.recent)
