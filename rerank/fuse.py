"""Joining what attention says with what the first stage knew.

Attention is weak where a query is a lexical look-up and the first stage strong, and the other way round;
one weight between the two is worth several points (docs/results.md).
"""

import math
from collections.abc import Sequence


def fuse(attention: Sequence[float], ranks: Sequence[int], weight: float) -> list[float]:
    """z(attention) − weight · log2(rank + 1), with the first stage's `ranks` (from 1) of the scores.

    z standardises over the list (all 0 when the scores are equal). Weight 0 is attention alone, and the
    first stage's order is the limit of large weights.
    """
    if not attention:
        return []
    mean = sum(attention) / len(attention)
    std = math.sqrt(sum((score - mean) ** 2 for score in attention) / len(attention))
    scale = 1 / std if std > 0 else 0.0
    return [
        (score - mean) * scale - weight * math.log2(rank + 1)
        for score, rank in zip(attention, ranks, strict=True)
    ]
