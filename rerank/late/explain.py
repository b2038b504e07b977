"""Why a text has its late score: what each of its tokens and each head adds.

A row r (of head h, counting c = weight / (rows · scale)) finds log Σ_t exp(l_t) in a text of n tokens with
logits l_t = q_r·k_t·scale. Had all tokens matched it alike, with the same mean logit, it would find

    even_r = mean_t(l_t) + log n            so that            lift_r = LSE_r − even_r ≥ 0

is what it finds because some tokens match better than others: 0 for an even text, more for a sharper match.
Lift is what tokens and heads are given; all else is the constant:

    token t    Σ_{h,r} c · lift_r · p_t     with the row's softmax shares p_t = exp(l_t − LSE_r)
    head h     Σ_r c · lift_r               for each kind of rows that a signal reads
    constant   Σ_{h,r} c · (even_r − own_r) − Σ_signals weight · mean / scale

Tokens and constant sum to the score, and so do heads and constant. A token is positive where it draws rows
that speak for a text, negative where it draws those that speak against one: rows with negative weights, and
as a rule the null query's, so that a token which draws any query ends near 0. Shared out whole, LSE − own
would give a poor text's best match the most negative number of all. The constant is thus the score of an even
text, and depends on the text through its length and mean logit only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rerank.errors import NumericalError
from rerank.icr import Head, TokenScore
from rerank.late.arena import Arena
from rerank.late.documents import DocumentReader, Text
from rerank.late.match import BLOCK, document_keys, row_logits
from rerank.late.queries import Prompt, scoring_heads
from rerank.late.types import Rows
from rerank.model import Model
from rerank.profile import HeadProfile, Kinds
from rerank.store.key import document_key


class Explains(Protocol):
    """What is asked of a late re-ranker to take its scores apart (`rerank.late.reranker.LateReranker`)."""

    model: Model
    profile: HeadProfile
    documents: DocumentReader
    memory: Arena
    null: Rows
    null_base: Tensor
    scope: str

    def rows_of(self, query: str) -> tuple[Rows, Tensor]:
        """The query's rows, and what is added to each of its scores `[1]`."""
        ...

    def slots(self, names: Sequence[str], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Every text's slot in `memory`, int32, and which were kept somewhere."""
        ...


@dataclass(frozen=True, slots=True)
class HeadScore:
    """What one head, read from one kind of rows, adds to a score."""

    layer: int
    head: int
    rows: Kinds
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score as a sum: of `constant` and `tokens`, and of `constant` and `heads`.

    `tokens` are those read, in order (of an empty text one, without characters); `heads` follow the
    profile's signals; `cut` says that only the text's beginning was read.
    """

    score: float
    constant: float
    tokens: list[TokenScore]
    heads: list[HeadScore]
    cut: bool


@torch.inference_mode()
def explanations(reranker: Explains, query: str, texts: Sequence[str]) -> list[Explanation]:
    """Why each text has the score that `reranker` gives it for `query`; the query runs at most once.

    Raises `ContextTooSmall` and `NumericalError`.
    """
    rows, base = reranker.rows_of(query)
    constant = float(base[0] + reranker.null_base[0])
    suffix = len(Prompt.of(reranker.model).after)
    found: list[Explanation] = []
    for start in range(0, len(texts), reranker.memory.capacity):
        turn = texts[start : start + reranker.memory.capacity]
        slots, _ = reranker.slots([document_key(reranker.scope, text) for text in turn], turn)
        for text, slot in zip(reranker.documents.tokenize(turn), slots, strict=True):
            keys, _ = document_keys(
                reranker.memory.pages, torch.tensor([slot], device=reranker.model.device).long()
            )
            found.append(_explained(reranker.profile, rows, reranker.null, suffix, constant, keys, text))
    if not all(math.isfinite(explanation.score) for explanation in found):
        raise NumericalError(
            f"scores of {reranker.model.name} are not finite; try another precision or model"
        )
    return found


def _explained(
    profile: HeadProfile, rows: Rows, null: Rows, suffix: int, constant: float, keys: Tensor, text: Text
) -> Explanation:
    """One document's explanation, of its keys `[1, tokens, groups, dim]`; `suffix` rows end a query."""
    drawn = torch.zeros(keys.shape[1], dtype=torch.float64, device=keys.device)
    heads: dict[str, dict[Head, float]] = {}
    for kind in {signal.rows for signal in profile.signals}:
        source = null if kind in ("null", "null-suffix") else rows
        end = source.starts[1]
        part = range(end - suffix, end) if kind in ("suffix", "null-suffix") else range(end - suffix)
        tokens, lifts, even = _lifted(source, part, keys)
        drawn += tokens
        constant += even
        heads[kind] = dict(zip(scoring_heads(profile), lifts, strict=True))
    scores = drawn.tolist()
    return Explanation(
        constant + sum(scores),
        constant,
        [
            TokenScore(start, end, score)
            for (start, end), score in zip(text.characters(), scores, strict=True)
        ],
        [HeadScore(s.layer, s.head, s.rows, heads[s.rows][s.layer, s.head]) for s in profile.signals],
        text.cut,
    )


def _lifted(rows: Rows, part: range, keys: Tensor) -> tuple[Tensor, list[float], float]:
    """What the rows of `part` find: each token's and each head's share of lift, and what even texts get.

    `keys` are one document's, `[1, tokens, groups, dim]`. No more than `BLOCK` logits are held at once.
    """
    count = keys.shape[1]
    tokens = torch.zeros(count, dtype=torch.float64, device=keys.device)
    heads = torch.zeros(rows.heads[-1], dtype=torch.float64, device=keys.device)
    even = torch.zeros((), dtype=torch.float64, device=keys.device)
    for group, (first, last) in enumerate(pairwise(rows.heads)):
        step = max(1, BLOCK // ((last - first) * count))
        for start in part[::step]:
            own = slice(start, min(start + step, part.stop))
            logits = row_logits(replace(rows, starts=[own.start, own.stop]), 0, keys, group)[:, :, 0].double()
            total = logits.logsumexp(dim=-1)
            level = logits.mean(dim=-1) + math.log(count)
            counts = rows.coefficients[own, first:last].double()
            lift = counts * (total - level)
            tokens += torch.einsum("rh,rht->t", lift, (logits - total[..., None]).exp())
            heads[first:last] += lift.sum(dim=0)
            even += (counts * level).sum()
    return tokens, heads.tolist(), float(even)
