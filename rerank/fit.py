"""Weights for late attention: ridge regression on what every head says, few KV groups kept.

For a list of passages of one query, x_{d,j} is signal j of passage d (head, and rows: query, suffix, null,
null-suffix; `rerank.late.queries`), y_d its grade. Both are centred within the list, for only differences
within a list rank; x is scaled by its spread over all lists; then

    β = argmin Σ_lists weight · Σ_d (y_d − x_d·β)² + α‖β‖²

KV groups leave a few at a time, those first whose absence raises the loss least: for group g with columns G,
Δ = β_G' (M⁻¹)_GG⁻¹ β_G with M the regularised Gram matrix (block elimination, exact for ridge). α and the
first stage's weights are chosen by cross-validation over queries. Lists may hold judged grades or label-free
ones; this module does not care.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rerank.errors import BadProfile, NumericalError
from rerank.fuse import by_rank, by_score
from rerank.late.documents import BATCH_TOKENS
from rerank.late.queries import MARK, NULL_QUERY, PROMPT, Prompt
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import read_packed, read_prefix, seen
from rerank.profile import ROWS, HeadProfile, ModelIdentity, Signal

ALPHAS = (300.0, 1000.0, 3000.0, 10_000.0)
RANK_WEIGHTS = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
SCORE_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 7.0, 10.0)
FOLDS = 5
STEP = 0.2
"""The share of KV groups that leaves at once."""

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


@dataclass(frozen=True, slots=True)
class FitOptions:
    """`groups` KV groups in the first `depth` layers; passages cut to `passage_tokens`.

    `position` is how far behind the prefix a query stands, whatever the passages' lengths. The nearer, the
    sharper heads see words; that it may stand inside a long passage does no harm (docs/experiments.md).
    `together` is written into the profile as it is: lists that one passage answers cannot tell its worth.
    """

    groups: int = 8
    depth: int | None = None
    passage_tokens: int = 400
    position: int = 512
    together: float = 0.0
    alphas: tuple[float, ...] = ALPHAS


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit found: nDCG@10 by source, cross-validated over queries, and how it was reached.

    `first_stage` is the first stage alone; `all_groups` attention and first stage with every group of the
    depth, `kept` with the groups that stayed; `transfer` of each half of the queries by weights of the other.
    """

    alpha: float
    lists: int
    passages: int
    first_stage: dict[str, float]
    all_groups: dict[str, float]
    kept: dict[str, float]
    transfer: tuple[float, float]
    path: list[tuple[int, float]] = field(default_factory=list)


class SignalReader:
    """Reads every signal of every head in the first `depth` layers."""

    def __init__(self, model: Model, depth: int, options: FitOptions) -> None:
        """Read the prefix and the null query."""
        self._model, self._depth, self._options = model, depth, options
        self._prompt = Prompt.of(model)
        self._prefix = read_prefix(model, self._prompt.before, depth)
        self._behind = read_prefix(
            model, self._prompt.between, depth, after=self._prefix, gap=options.position
        )
        self._null = self._rows(NULL_QUERY)
        self.batch_tokens = BATCH_TOKENS[model.device.type]

    @torch.inference_mode()
    def read(self, query: str, texts: Sequence[str]) -> Array:
        """Signals `[texts, 4 · depth · heads]`, fp32: rows as `ROWS` names them, then layers, then heads."""
        rows = self._rows(query)
        limit = self._options.passage_tokens
        encoded = self._model.encode(list(texts))
        tokens = [ids[:limit] or self._prompt.between[:1] for ids in encoded]
        found = torch.empty(len(texts), 4, self._depth, self._model.shape.heads)
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        for places in _batches(order, [len(ids) for ids in tokens], self.batch_tokens):
            found[places] = self._batch([tokens[place] for place in places], rows)
        values = found.flatten(1).numpy()
        if not np.isfinite(values).all():
            raise NumericalError(f"signals of {self._model.name} are not finite; try another precision")
        return values

    def _rows(self, query: str) -> list[tuple[Tensor, Tensor, int]]:
        """Of each layer: query vectors `[rows, heads, dim]`, their own log-sum-exp, the query's count."""
        own = self._model.encode([MARK + query.strip()])[0]
        tokens = own + self._prompt.after
        visible = seen(len(tokens), self._behind.length + len(tokens), None, self._model.device)
        layers: list[tuple[Tensor, Tensor, int]] = []
        shared = self._model.shape.heads // self._model.shape.kv_heads

        def take(call: AttentionCall, query: Tensor, key: Tensor) -> None:
            keys = torch.cat([self._behind.keys[call.layer], key]).float().repeat_interleave(shared, dim=1)
            logits = torch.einsum("rhd,khd->rhk", query.float(), keys) * call.scaling
            masked = logits.masked_fill_(~visible[:, None], -torch.inf)
            layers.append((query.float() * call.scaling, masked.logsumexp(-1), len(own)))

        read_packed(self._model, self._behind, [tokens], self._depth - 1, take)
        return layers

    def _batch(self, documents: list[list[int]], rows: list[tuple[Tensor, Tensor, int]]) -> Tensor:
        lengths = [len(ids) for ids in documents]
        device = self._model.device
        starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
        place = torch.arange(max(lengths))
        held = place < torch.tensor(lengths)[:, None]
        index = torch.where(held, starts[:, None] + place, 0).to(device)
        held = held.to(device)
        found: list[Tensor] = []

        def take(call: AttentionCall, _: Tensor, key: Tensor) -> None:
            keys = key[index].float()  # documents, tokens, kv_heads, dim
            kinds = []
            for vectors, own, count in (rows[call.layer], self._null[call.layer]):
                grouped = vectors.unflatten(1, (keys.shape[2], -1))
                logits = torch.einsum("rkgd,btkd->rkgbt", grouped, keys)
                match = logits.masked_fill_(~held, -torch.inf).logsumexp(-1).flatten(1, 2) - own[..., None]
                kinds += [match[:count].mean(0).T, match[count:].mean(0).T]
            found.append(torch.stack(kinds, dim=1))

        read_packed(self._model, self._prefix, documents, self._depth - 1, take)
        return torch.stack(found, dim=2).cpu()


def _batches(order: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    batch: list[int] = []
    used = 0
    for place in order:
        if batch and used + lengths[place] > limit:
            yield batch
            batch, used = [], 0
        batch.append(place)
        used += lengths[place]
    if batch:
        yield batch


def fit_signals(
    model: Model,
    lists: Sequence[RankedList],
    options: FitOptions | None = None,
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> tuple[HeadProfile, FitReport]:
    """Fit a profile's signals. Raises `BadProfile` where lists or options leave nothing to fit."""
    options = options or FitOptions()
    depth = options.depth or model.shape.layers
    if not (1 <= depth <= model.shape.layers and 1 <= options.groups <= depth * model.shape.kv_heads):
        raise BadProfile(
            f"{options.groups} groups in {depth} layers: {model.name} has {model.shape.layers} layers of "
            f"{model.shape.kv_heads} KV groups"
        )
    if (queries := len({entry.query for entry in lists if entry.weight > 0})) < FOLDS:
        raise BadProfile(
            f"{queries} queries to fit on: give at least {FOLDS}, one for each part of the check"
        )
    if not any(entry.weight > 0 and len(set(entry.grades)) > 1 for entry in lists):
        raise BadProfile("no list has passages of different grades: there is nothing to tell apart")
    reader = SignalReader(model, depth, options)
    features = []
    for done, entry in enumerate(lists):
        progress("lists read", done, len(lists))
        features.append(reader.read(entry.query, entry.texts))
    problem = _Problem(lists, features, model.shape.heads, model.shape.kv_heads)
    every = np.arange(features[0].shape[1])
    alpha = max(options.alphas, key=lambda value: problem.quality(every, value)[0])
    path = []
    columns = every
    for kept in problem.eliminate(alpha, options.groups):
        columns = kept
        path.append((len(problem.groups_of(kept)), round(problem.quality(kept, alpha)[0], 4)))
    lexical, learned = (problem.rank_weight(columns, alpha, learned=kind) for kind in (False, True))
    weights, mean, scale = problem.solve(columns, alpha)
    signals = tuple(
        Signal(
            layer=int(column) % (depth * model.shape.heads) // model.shape.heads,
            head=int(column) % model.shape.heads,
            rows=ROWS[int(column) // (depth * model.shape.heads)],
            weight=float(np.float32(weight)),
            mean=float(np.float32(mean[place])),
            scale=float(np.float32(scale[place])),
        )
        for place, (column, weight) in enumerate(zip(columns, weights, strict=True))
    )
    profile = HeadProfile(
        ModelIdentity.of(model),
        prompt=PROMPT,
        signals=signals,
        lexical=lexical,
        learned=learned,
        together=options.together,
        passage_tokens=options.passage_tokens,
        position=options.position,
    )
    report = FitReport(
        alpha=alpha,
        lists=len(lists),
        passages=sum(len(entry.texts) for entry in lists),
        first_stage=problem.first_stage(),
        all_groups=problem.quality(every, alpha)[1],
        kept=problem.quality(columns, alpha)[1],
        transfer=problem.transfer(columns, alpha),
        path=path,
    )
    return profile, report


class _Problem:
    """The lists as Gram matrices by fold: a fold's queries are left out by subtraction."""

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
        scores = self._held_out(columns, alpha)
        weight = self._best(scores, learned=False, ranks=False)
        by_source = self._by_source(lambda place: scores[place], weight, learned=False, ranks=False)
        return float(np.mean(list(by_source.values()))), by_source

    def rank_weight(self, columns: Array, alpha: float, *, learned: bool) -> float:
        """The weight of a first stage of this kind that serves its lists best; without any, the others."""
        there = any(entry.learned == learned for entry in self._lists)
        lists = learned if there else not learned
        return self._best(self._held_out(columns, alpha), learned=lists, ranks=learned)

    def first_stage(self) -> dict[str, float]:
        """nDCG@10 of the first stage's own order, by source."""
        return self._by_source(
            lambda place: by_rank(self._lists[place].ranks, 1.0), 0.0, learned=False, ranks=True
        )

    def transfer(self, columns: Array, alpha: float) -> tuple[float, float]:
        """nDCG@10 of each half of the folds by weights of the other half."""
        halves = (tuple(range(FOLDS // 2)), tuple(range(FOLDS // 2, FOLDS)))
        values = []
        for half in halves:
            weights, _, scale = self.solve(columns, alpha, without=half)
            scores = [self._features[p][:, columns] @ (weights / scale) for p in range(len(self._lists))]
            own = [p for p in range(len(self._lists)) if self._fold[p] in half and not self._lists[p].learned]
            weight = self._best(scores, learned=False, ranks=False)
            values.append(
                float(np.mean([self._value(p, scores[p], weight, ranks=False) for p in own] or [0.0]))
            )
        return values[0], values[1]

    def _held_out(self, columns: Array, alpha: float) -> list[Array]:
        """Every list's scores by weights that its query had no part in."""
        solved = []
        for place in range(FOLDS):
            weights, _, scale = self.solve(columns, alpha, without=(place,))
            solved.append(weights / scale)
        return [own[:, columns] @ solved[self._fold[p]] for p, own in enumerate(self._features)]

    def _best(self, scores: Sequence[Array], *, learned: bool, ranks: bool) -> float:
        """The weight of the first stage's ranks, or else scores, that serves lists of this kind best."""

        def value(weight: float) -> float:
            found = self._by_source(lambda p: scores[p], weight, learned=learned, ranks=ranks)
            return float(np.mean(list(found.values())))

        return max(RANK_WEIGHTS if ranks else SCORE_WEIGHTS, key=value)

    def _by_source(
        self, scores: Callable[[int], Array], weight: float, *, learned: bool, ranks: bool
    ) -> dict[str, float]:
        values: dict[str, list[float]] = {}
        for place, entry in enumerate(self._lists):
            if entry.learned == learned:
                value = self._value(place, scores(place), weight, ranks=ranks)
                values.setdefault(entry.source, []).append(value)
        return {source: round(float(np.mean(found)), 4) for source, found in values.items()}

    def _value(self, place: int, scores: Array, weight: float, *, ranks: bool) -> float:
        entry = self._lists[place]
        first = by_rank(entry.ranks, weight) if ranks else by_score(entry.scores, weight)
        order = np.argsort(-(scores + first), kind="stable")
        return ndcg(np.asarray(entry.grades)[order], entry.ideal)

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


def ndcg(grades: Array, ideal: Sequence[float], depth: int = 10) -> float:
    """NDCG at `depth` of grades in ranked order, gains linear as in trec_eval; 0 where nothing counts."""
    discount = 1 / np.log2(np.arange(2, depth + 2))
    best = np.asarray(sorted(ideal, reverse=True)[:depth], float)
    top = float((best * discount[: len(best)]).sum())
    own = np.asarray(grades[:depth], float)
    return float((own * discount[: len(own)]).sum()) / top if top > 0 else 0.0
