"""Ridge regression on lists of passages, and the choices that are made by leaving queries out.

For a list of passages of one query, x_{d,j} is signal j of passage d, y_d its grade. Both are centred within
the list, for only differences within a list rank; x is scaled by its spread over all lists; then

    β = argmin Σ_lists weight · Σ_d (y_d − x_d·β)² + α‖β‖²

KV groups leave a few at a time, those first whose absence raises the loss least: for group g with columns G,
Δ = β_G' (M⁻¹)_GG⁻¹ β_G with M the regularised Gram matrix (block elimination, exact for ridge). What a first
stage weighs is chosen by nDCG@10, cross-validated over queries. Near its top nDCG is flat, and which weight
is the best is chance. One that sees words only weighs what is best on average over resamples of the lists
(bagging, Breiman 1996); one that knows what attention may not, the most that still gains over its own order
by a standard error or more, so that re-ranking does not harm it. This module knows nothing of models; grades
may be judged or label-free.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rerank.fuse import by_rank, by_score
from rerank.profile import ROWS

RANK_WEIGHTS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
SCORE_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 7.0, 10.0)
FOLDS = 5
STEP = 0.2
"""The share of KV groups that leaves at once."""

RESAMPLES = 300

SURE = 1.0
"""How many of its standard errors a gain must be, for re-ranking not to harm a learned first stage."""

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class RankedList:
    """Passages of one query, in any order: their grades, the first stage's ranks and scores of them.

    `ideal` are the best ten grades that the query has anywhere, for nDCG; `weight` is what the list counts
    in the fit (0: it only serves to choose the first stage's weight); `learned` says that the first stage
    knew more than words; `source` names the set it is of.
    """

    query: str
    texts: Sequence[str]
    grades: Sequence[float]
    ranks: Sequence[int]
    scores: Sequence[float]
    ideal: Sequence[float]
    source: str
    weight: float = 1.0
    learned: bool = False


class Problem:
    """The lists as Gram matrices by fold: a fold's queries are left out by leaving its matrix out."""

    def __init__(
        self, lists: Sequence[RankedList], features: Sequence[Array], heads: int, kv_heads: int
    ) -> None:
        self._lists, self._heads, self._kv_heads = lists, heads, kv_heads
        self._features = features
        queries = list(dict.fromkeys(entry.query for entry in lists))
        shuffled = np.random.default_rng(13).permutation(len(queries))
        fold = {queries[place]: turn % FOLDS for turn, place in enumerate(shuffled.tolist())}
        self._fold = [fold[entry.query] for entry in lists]
        size = features[0].shape[1]
        self._gram = np.zeros((FOLDS, size, size))
        self._product = np.zeros((FOLDS, size))
        self._count = np.zeros(FOLDS)
        total, seen = np.zeros(size), 0
        for entry, own, place in zip(lists, features, self._fold, strict=True):
            if entry.weight <= 0:
                continue
            x = own - own.mean(axis=0)
            y = np.asarray(entry.grades, float) - np.mean(entry.grades)
            self._gram[place] += entry.weight * (x.T @ x)
            self._product[place] += entry.weight * (x.T @ y)
            self._count[place] += entry.weight * len(y)
            total += own.sum(axis=0)
            seen += len(own)
        self._mean = total / seen
        spread = np.sqrt(np.diagonal(self._gram.sum(axis=0)) / self._count.sum())
        self._scale = np.maximum(spread, 1e-6)

    def groups_of(self, columns: Array) -> Array:
        """The KV groups that columns belong to, as layer · kv_heads + group."""
        return np.unique(self._group(columns))

    def solve(self, columns: Array, alpha: float, without: Sequence[int] = ()) -> tuple[Array, Array, Array]:
        """Weights of z-scored columns, for centred scores of spread 1; the columns' means and scales."""
        folds = [place for place in range(FOLDS) if place not in without]
        matrix, product = self._normal(columns, alpha, folds)
        beta = np.linalg.solve(matrix, product)
        gram = matrix - alpha * np.eye(len(columns))
        spread = math.sqrt(max(beta @ gram @ beta, 1e-12) / self._count[folds].sum())
        return beta / spread, self._mean[columns], self._scale[columns]

    def eliminate(self, alpha: float, target: int) -> Iterator[Array]:
        """Columns of ever fewer groups, all of them first, `target` groups last."""
        columns = np.arange(len(self._scale))
        yield columns
        while len(groups := self.groups_of(columns)) > target:
            matrix, product = self._normal(columns, alpha, range(FOLDS))
            inverse = np.linalg.inv(matrix)
            beta = inverse @ product
            owner = self._group(columns)
            loss = {}
            for group in groups.tolist():
                own = np.flatnonzero(owner == group)
                loss[group] = beta[own] @ np.linalg.solve(inverse[np.ix_(own, own)], beta[own])
            leaving = min(len(groups) - target, max(1, int(len(groups) * STEP)))
            gone = sorted(loss, key=lambda group: loss[group])[:leaving]
            columns = columns[~np.isin(owner, gone)]
            yield columns

    def quality(self, columns: Array, alpha: float) -> tuple[float, dict[str, float]]:
        """Cross-validated nDCG@10 at the first stage's best weight: the mean over sources, and by source."""
        by_source = self._by_source(self._held_out(columns, alpha), learned=False, ranks=False)
        mean = _mean(by_source.values())
        best = int(mean.argmax())
        return float(mean[best]), _rounded(by_source, best)

    def first_stage_weight(self, columns: Array, alpha: float, *, learned: bool) -> float:
        """What a first stage of this kind weighs, by its lists; without any, by the others."""
        there = any(entry.learned == learned for entry in self._lists)
        kind = learned if there else not learned
        by_source = self._by_source(self._held_out(columns, alpha), learned=kind, ranks=learned)
        if not learned:
            return SCORE_WEIGHTS[_best_on_average(list(by_source.values()))]
        own = self._by_source(self._nothing(), learned=kind, ranks=True)
        return RANK_WEIGHTS[_most_that_gains([by_source[name] - own[name][:, -1:] for name in own])]

    def first_stage(self) -> dict[str, float]:
        """nDCG@10 of the first stage's own order, by source; of lexical ones only."""
        return _rounded(self._by_source(self._nothing(), learned=False, ranks=True), -1)

    def transfer(self, columns: Array, alpha: float) -> tuple[float, float]:
        """nDCG@10 of each half of the folds by weights of the other half."""
        halves = (tuple(range(FOLDS // 2)), tuple(range(FOLDS // 2, FOLDS)))
        values = []
        for half in halves:
            weights, _, scale = self.solve(columns, alpha, without=half)
            scores = [own[:, columns] @ (weights / scale) for own in self._features]
            best = _mean(self._by_source(scores, learned=False, ranks=False).values()).argmax()
            own = [p for p, entry in enumerate(self._lists) if self._fold[p] in half and not entry.learned]
            values.append(float(np.mean([self._values(p, scores[p], ranks=False)[best] for p in own] or 0.0)))
        return values[0], values[1]

    def _held_out(self, columns: Array, alpha: float) -> list[Array]:
        """Every list's scores by weights that its query had no part in."""
        solved = []
        for place in range(FOLDS):
            weights, _, scale = self.solve(columns, alpha, without=(place,))
            solved.append(weights / scale)
        return [own[:, columns] @ solved[self._fold[p]] for p, own in enumerate(self._features)]

    def _nothing(self) -> list[Array]:
        """Scores that leave every list to its first stage, as soon as that weighs anything."""
        return [np.zeros(len(entry.grades)) for entry in self._lists]

    def _by_source(self, scores: Sequence[Array], *, learned: bool, ranks: bool) -> dict[str, Array]:
        """nDCG@10 of lists of this kind, `[lists, weights]` by source, for every list's own scores."""
        values: dict[str, list[Array]] = {}
        for place, entry in enumerate(self._lists):
            if entry.learned == learned:
                values.setdefault(entry.source, []).append(self._values(place, scores[place], ranks=ranks))
        return {source: np.stack(found) for source, found in values.items()}

    def _values(self, place: int, scores: Array, *, ranks: bool) -> Array:
        """nDCG@10 of a list by each weight of the first stage's ranks, or else of its scores."""
        entry = self._lists[place]
        grades = np.asarray(entry.grades)
        # Both are linear in the weight.
        first = by_rank(entry.ranks, 1.0) if ranks else by_score(entry.scores, 1.0)
        orders = (
            np.argsort(-(scores + weight * first), kind="stable")
            for weight in (RANK_WEIGHTS if ranks else SCORE_WEIGHTS)
        )
        return np.array([ndcg(grades[order], entry.ideal) for order in orders])

    def _normal(self, columns: Array, alpha: float, folds: Sequence[int]) -> tuple[Array, Array]:
        scale = self._scale[columns]
        gram = sum(self._gram[place][np.ix_(columns, columns)] for place in folds)
        product = sum(self._product[place][columns] for place in folds)
        matrix = gram / scale[:, None] / scale + alpha * np.eye(len(columns))
        return matrix, product / scale

    def _group(self, columns: Array) -> Array:
        size = len(self._scale) // len(ROWS)
        layer, head = columns % size // self._heads, columns % self._heads
        groups: Array = layer * self._kv_heads + head // (self._heads // self._kv_heads)
        return groups


def _mean(by_source: Iterable[Array]) -> Array:
    """The mean over sources of their lists' mean, `[weights]`: a source counts once, however long it is."""
    mean: Array = np.mean([own.mean(axis=0) for own in by_source], axis=0)
    return mean


def _rounded(by_source: dict[str, Array], place: int) -> dict[str, float]:
    return {source: round(float(own[:, place].mean()), 4) for source, own in by_source.items()}


def _best_on_average(by_source: Sequence[Array]) -> int:
    """The place of the best weight, on average over resamples of every source's lists.

    Of weights that are equally good in a resample the first counts.
    """
    chance = np.random.default_rng(13)
    places = [
        _mean(own[chance.integers(len(own), size=len(own))] for own in by_source).argmax()
        for _ in range(RESAMPLES)
    ]
    return round(float(np.mean(places)))


def _most_that_gains(gains: Sequence[Array]) -> int:
    """The place of the largest weight with a sure gain; where none is sure, of the one that is nearest to it.

    `gains` are each source's over the first stage's own order, `[lists, weights]`; their error is the lists'.
    """
    variances = [own.var(axis=0) / max(len(own) - 1, 1) for own in gains]
    error = np.sqrt(np.sum(variances, axis=0)) / len(gains)
    certain = _mean(gains) / np.maximum(error, 1e-9)
    return int(np.flatnonzero(certain >= min(SURE, certain.max()))[-1])


def ndcg(grades: Array, ideal: Sequence[float], depth: int = 10) -> float:
    """NDCG at `depth` of grades in ranked order, gains linear as in trec_eval; 0 where nothing counts."""
    discount = 1 / np.log2(np.arange(2, depth + 2))
    best = np.asarray(sorted(ideal, reverse=True)[:depth], float)
    top = float((best * discount[: len(best)]).sum())
    own = np.asarray(grades[:depth], float)
    return float((own * discount[: len(own)]).sum()) / top if top > 0 else 0.0
