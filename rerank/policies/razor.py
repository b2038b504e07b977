"""RazorAttention (Tang et al., "Efficient KV Cache Compression Through Retrieval Heads", arXiv 2407.15891).

On random tokens repeated a few times, a head's echo score is the attention it pays to the earlier copies of
a token, its induction score that to the tokens after them. The best heads by induction (14 %) and by echo
(1 %) keep everything; the others keep 4 sinks, a local buffer and one compensation token, the mean of the
keys and values dropped, whose exp(logit) counts as often as keys were dropped. Differences: the buffer has a
fixed size (published: the larger of 4,000 and a fifth of the context); what a row sees does not depend on
chunks (published: compressed once the prompt is read); a KV head scores as its best query head; layers with a
sliding window of their own get no compensation token. This module knows nothing of any text: random tokens
find heads that copy, not heads that are good for a task.
"""

import math
import random
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rerank.errors import BadPolicy
from rerank.model import Model, Shape
from rerank.policies.base import Heads, Policy, check_heads, check_window
from rerank.policies.full import FullPolicy
from rerank.policies.kernels import Window

ROWS = 64
"""Rows whose weights are looked at in one go."""


@dataclass(frozen=True, slots=True)
class RazorPolicy(Policy):
    """Copying heads, `retrieval[layer][kv_head]`, keep everything; the others a window and a mean."""

    retrieval: Heads
    sinks: int = 4
    recent: int = 4000

    name = "razor"

    def __post_init__(self) -> None:
        check_window(self.sinks, self.recent)

    @classmethod
    def measure(cls, model: Model, *, sinks: int = 4, recent: int = 4000, tokens: int = 2500) -> Self:
        """Choose heads by what `model` does on `tokens` random tokens, four times in a row."""
        scores = copy_scores(model, tokens)
        return cls(copying_heads(scores.induction, scores.echo), sinks, recent)

    def full(self, shape: Shape) -> Heads:
        """The copying heads: `[layers][kv_heads]`."""
        check_heads(self.retrieval, shape)
        return self.retrieval

    @property
    def window(self) -> Window:
        """What the other heads see."""
        return Window(self.sinks, self.recent, compensated=True)


@dataclass(frozen=True, slots=True)
class CopyScores:
    """Mean attention to the tokens after earlier copies, and to the copies: `[layers, kv_heads]`, fp32."""

    induction: Tensor
    echo: Tensor


def copy_scores(model: Model, tokens: int = 2500, times: int = 4, seed: int = 0) -> CopyScores:
    """Read `tokens` random tokens `times` times in a row, or as many as the context takes.

    Raises `BadPolicy` where nothing would be repeated.
    """
    tokens = min(tokens, model.shape.context // max(times, 1))
    if tokens < 2 or times < 2:
        raise BadPolicy(
            f"{tokens} tokens, {times} times in a row: nothing is copied. Give 2 of both at least"
        )
    pick = random.Random(seed)
    vocabulary = model.network.get_input_embeddings().weight.shape[0]
    sample = [pick.randrange(vocabulary) for _ in range(tokens)] * times
    cache = FullPolicy().cache(model.shape, len(sample))
    model.read(sample[:tokens], cache)
    watcher = _Copies(model.shape, tokens)
    for start in range(tokens, len(sample), ROWS):
        watcher.start = start
        model.read(sample[start : start + ROWS], cache, watcher)
    return CopyScores(*(watcher.total / (len(sample) - tokens)).cpu())


def copying_heads(
    induction: Tensor, echo: Tensor, induction_share: float = 0.14, echo_share: float = 0.01
) -> Heads:
    """The best heads by either score, `[layers, kv_heads]` both; at least one by each.

    Equal scores: the lower layer, then the lower head, goes first. Raises `BadPolicy`.
    """
    if not (0 <= induction_share <= 1 and 0 <= echo_share <= 1) or induction.shape != echo.shape:
        raise BadPolicy("shares of heads go from 0 to 1, and both scores are of the same heads")
    chosen = torch.zeros(induction.numel(), dtype=torch.bool)
    for scores, share in ((induction, induction_share), (echo, echo_share)):
        best = scores.flatten().argsort(descending=True, stable=True)
        chosen[best[: math.ceil(round(share * len(best), 9))]] = True
    return tuple(tuple(row) for row in chosen.view(induction.shape).tolist())


class _Copies:
    """Observer: sums both scores over rows, `[2, layers, kv_heads]`; `start` is the first row's position."""

    def __init__(self, shape: Shape, period: int) -> None:
        self._kv_heads, self._period = shape.kv_heads, period
        self.start = 0
        self.total = torch.zeros(2, shape.layers, shape.kv_heads)

    def see(self, layer: int, weights: Tensor) -> None:
        """Take `[1, heads, rows, keys]`."""
        rows, keys = weights.shape[2:]
        back = torch.arange(self.start, self.start + rows, device=weights.device)[:, None]
        back = back - torch.arange(keys, device=weights.device)
        echo = (back > 0) & (back % self._period == 0)
        induction = (back > 1) & (back % self._period == self._period - 1)
        for kind, wanted in enumerate((induction, echo)):
            heads = (weights[0] * wanted).sum(dim=(1, 2))
            self.total[kind, layer] += heads.view(self._kv_heads, -1).amax(dim=1).cpu()
