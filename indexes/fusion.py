"""Fusion of rankings: several runs over the same queries become one.

A run is a list of hits for each query; runs are parallel lists, their n-th entries belonging to the same
query. Scores are summed in the order of the runs, ties are broken by docid: the same runs always give the
same order. Knows nothing of how the runs came about.
"""

from collections.abc import Callable, Sequence

from indexes.errors import SearchError
from indexes.types import Hit, Passage

Run = Sequence[Sequence[Hit]]


def reciprocal_rank(runs: Sequence[Run], k: int = 60) -> list[list[Hit]]:
    """Fuse by rank: a passage scores the sum of 1 / (k + rank) over the runs that hold it.

    Raises SearchError if k is negative or the runs are not over the same number of queries.
    """
    if k < 0:
        raise SearchError(f"reciprocal-rank fusion wants k of 0 or more, not {k}")
    return _fuse(runs, [lambda hits: [1 / (k + hit.rank) for hit in hits]] * len(runs))


def weighted(runs: Sequence[Run], weights: Sequence[float]) -> list[list[Hit]]:
    """Fuse by score: a passage scores the sum of weight x score over the runs that hold it.

    Within each query and run, scores are first stretched to [0, 1] (lowest to highest; all 1 where they are
    equal), so that weights compare runs of any scale: (0.3, 0.7) lets the second run say 70 % at most. A
    passage that a run does not hold gets 0 from it, like that run's last.
    Raises SearchError if there are not as many weights as runs, or the runs are not over the same number of
    queries.
    """
    if len(weights) != len(runs):
        raise SearchError(f"{len(runs)} runs want as many weights, not {len(weights)}")
    return _fuse(runs, [_stretched(weight) for weight in weights])


_Scores = Callable[[Sequence[Hit]], list[float]]


def _stretched(weight: float) -> _Scores:
    def scores(hits: Sequence[Hit]) -> list[float]:
        if not hits:
            return []
        low, high = min(hit.score for hit in hits), max(hit.score for hit in hits)
        return [weight * ((hit.score - low) / (high - low) if high > low else 1.0) for hit in hits]

    return scores


def _fuse(runs: Sequence[Run], scores: Sequence[_Scores]) -> list[list[Hit]]:
    if len({len(run) for run in runs}) > 1:
        raise SearchError(
            f"runs of different numbers of queries cannot be fused: {[len(run) for run in runs]}"
        )
    fused = []
    for rankings in zip(*runs, strict=True):
        totals: dict[str, float] = {}
        passages: dict[str, Passage] = {}
        for hits, score in zip(rankings, scores, strict=True):
            for hit, value in zip(hits, score(hits), strict=True):
                totals[hit.docid] = totals.get(hit.docid, 0.0) + value
                passages.setdefault(hit.docid, hit.passage)
        order = sorted(totals, key=lambda docid: (-totals[docid], docid))
        fused.append(
            [Hit(docid, totals[docid], rank, passages[docid]) for rank, docid in enumerate(order, start=1)]
        )
    return fused
