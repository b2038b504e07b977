"""Which passages a text under way draws on, by the attention of the rows that predict it.

CITENTION (arXiv 2510.20303) and AT2 (arXiv 2504.13752): with row t−1 predicting token t,

    M(s, p) = mean_{t ∈ s} Σ_heads Σ_{k ∈ p} A_{t−1,k}

Uniform head weights here; the null query's calibration is left out, for it hurts citations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class PassageMass:
    """Observer: Σ over heads of the last row's attention to each passage, one `[passages]` row a call."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        """`spans` are half-open token ranges of the context, one a passage."""
        self._spans = spans
        self._rows: list[Tensor] = []
        self._sum: Tensor | None = None

    def see(self, layer: int, weights: Tensor) -> None:
        """Add one layer's weights `[1, heads, rows, keys]`; layer 0 begins a new row."""
        if layer == 0:
            self._close()
        mass = weights[0, :, -1].sum(dim=0)
        self._sum = mass if self._sum is None else self._sum + mass

    def rows(self) -> Tensor:
        """What has been seen: `[calls, passages]`, fp32, on the CPU."""
        self._close()
        return torch.stack(self._rows) if self._rows else torch.zeros(0, len(self._spans))

    def _close(self) -> None:
        if self._sum is not None:
            self._rows.append(torch.stack([self._sum[start:end].sum() for start, end in self._spans]).cpu())
            self._sum = None


def supporting(rows: Tensor, threshold: float) -> tuple[int, ...]:
    """The passages that a sentence draws on, best first, from its tokens' rows `[tokens, passages]`.

    A passage counts when its share of the attention that goes to passages is at least `threshold` times
    the even share.
    """
    mass = rows.mean(dim=0)
    total = float(mass.sum())
    if rows.shape[0] == 0 or total <= 0:
        return ()
    share = mass / total * len(mass)
    return tuple(place for place in share.argsort(descending=True).tolist() if share[place] >= threshold)
