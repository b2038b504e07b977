"""Weights for late attention from lists: signals read, few KV groups kept, a profile written.

The regression is `rerank.ridge`'s, what is read `rerank.signals`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rerank.errors import BadProfile
from rerank.late.queries import PROMPT
from rerank.model import Model
from rerank.profile import ROWS, HeadProfile, ModelIdentity, Signal
from rerank.ridge import FOLDS, Array, Problem, RankedList
from rerank.signals import SignalReader

ALPHAS = (300.0, 1000.0, 3000.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """`groups` KV groups in the first `depth` layers; passages cut to `passage_tokens`.

    `position` is how far behind the prefix a query stands, whatever the passages' lengths. The nearer, the
    sharper heads see words; that it may stand inside a long passage does no harm (docs/experiments.md).
    `repeats` is how often it is written there, one time after the other. `distance` is how far behind every
    token of a passage each of its rows is matched.
    `together` is written into the profile as it is: lists that one passage answers cannot tell its worth.
    """

    groups: int = 8
    depth: int | None = None
    passage_tokens: int = 400
    position: int = 512
    distance: int | None = None
    repeats: int = 1
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


def fit_signals(
    model: Model,
    lists: Sequence[RankedList],
    options: FitOptions | None = None,
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> tuple[HeadProfile, FitReport]:
    """Fit a profile's signals. Raises `BadProfile` where lists or options leave nothing to fit."""
    options = options or FitOptions()
    depth = options.depth or model.shape.layers
    _check(model, lists, options, depth)
    reader = SignalReader(
        model,
        depth,
        passage_tokens=options.passage_tokens,
        position=options.position,
        distance=options.distance,
        repeats=options.repeats,
    )
    features = []
    for done, entry in enumerate(lists):
        progress("lists read", done, len(lists))
        features.append(reader.read(entry.query, entry.texts))
    problem = Problem(lists, features, model.shape.heads, model.shape.kv_heads)
    every = np.arange(features[0].shape[1])
    alpha = max(options.alphas, key=lambda value: problem.quality(every, value)[0])
    path = []
    columns = every
    for kept in problem.eliminate(alpha, options.groups):
        columns = kept
        path.append((len(problem.groups_of(kept)), round(problem.quality(kept, alpha)[0], 4)))
    lexical, learned = (problem.first_stage_weight(columns, alpha, learned=kind) for kind in (False, True))
    profile = HeadProfile(
        ModelIdentity.of(model),
        prompt=PROMPT,
        signals=_signals(columns, *problem.solve(columns, alpha), depth=depth, heads=model.shape.heads),
        lexical=lexical,
        learned=learned,
        together=options.together,
        passage_tokens=options.passage_tokens,
        position=options.position,
        distance=options.distance,
        repeats=options.repeats,
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


def _check(model: Model, lists: Sequence[RankedList], options: FitOptions, depth: int) -> None:
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


def _signals(
    columns: Array, weights: Array, mean: Array, scale: Array, *, depth: int, heads: int
) -> tuple[Signal, ...]:
    """What a profile says of columns, which go through kinds of rows, then layers, then heads."""
    return tuple(
        Signal(
            layer=int(column) % (depth * heads) // heads,
            head=int(column) % heads,
            rows=ROWS[int(column) // (depth * heads)],
            weight=float(np.float32(weight)),
            mean=float(np.float32(mean[place])),
            scale=float(np.float32(scale[place])),
        )
        for place, (column, weight) in enumerate(zip(columns, weights, strict=True))
    )
