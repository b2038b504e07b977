"""The score of late attention: how strongly query rows match a document's keys.

For document d with keys k_t, and query rows q_r of head h with coefficients c_{h,r}:

    score(d) = Σ_{h,r} c_{h,r} · log Σ_{t ∈ d} exp(q_{h,r}·k_t·scale)                          fp32

Heads of one KV group share keys. One kernel computes it on a GPU (`rerank.late.kernel`), plain PyTorch
elsewhere; neither keeps more than one number a document and group. This module knows nothing of how rows
and keys are made, or of what their coefficients mean.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from rerank.late.types import PAGE, Pages, Rows

BLOCK = 1 << 22
"""Logits that plain PyTorch holds at once; four times as many numbers of keys."""


def match(rows: Rows, pages: Pages, queries: np.ndarray, slots: np.ndarray) -> Tensor:
    """The score of each pair of a query and a document, fp32 `[pairs]`, on the keys' device.

    `queries` and `slots` are int32 `[pairs]`; pairs of one query lie together.
    """
    if pages.keys.is_cuda:
        from rerank.late.kernel import match_on_gpu

        return match_on_gpu(rows, pages, queries, slots)
    return torch.cat(
        [
            _match_one(rows, pages, int(queries[start]), torch.from_numpy(slots[start:end]).long())
            for start, end in _runs(queries)
        ]
    )


def move_pages(source: Tensor, target: Tensor, sources: np.ndarray, targets: np.ndarray) -> None:
    """Copy pages of `source` `[tokens, …]` into those of `target`; beside a GPU it may be pinned memory."""
    source, target = (whole.view(len(whole) // PAGE, -1) for whole in (source, target))
    if target.is_cuda:
        from rerank.late.kernel import move_rows_on_gpu

        move_rows_on_gpu(source, target, sources, targets)
    else:
        target[torch.from_numpy(targets)] = source[torch.from_numpy(sources)]


def document_keys(pages: Pages, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Keys of some documents, padded: `[documents, tokens, groups, dim]`, and bool `[documents, tokens]`."""
    lengths = pages.lengths[slots]
    place = torch.arange(int(lengths.max()), device=lengths.device)
    held = place < lengths[:, None]
    index = torch.where(held, pages.table[slots][:, place // PAGE] * PAGE + place % PAGE, 0).long()
    keys = pages.keys[index]
    if pages.scales is not None:
        keys = keys.to(torch.float32) * pages.scales[index][..., None]
    return keys, held


def row_logits(rows: Rows, query: int, keys: Tensor, group: int) -> Tensor:
    """q·k·scale in fp32, `[rows, heads of the group, documents, tokens]`."""
    own = slice(rows.starts[query], rows.starts[query + 1])
    vectors = rows.vectors[own, rows.heads[group] : rows.heads[group + 1]].float()
    return torch.einsum("rhd,btd->rhbt", vectors, keys[:, :, group].float()).mul_(rows.scale)


def _match_one(rows: Rows, pages: Pages, query: int, slots: Tensor) -> Tensor:
    own = slice(rows.starts[query], rows.starts[query + 1])
    lengths = pages.lengths[slots]
    order = lengths.argsort()
    scores = torch.zeros(len(slots))
    widest = max(b - a for a, b in zip(rows.heads, rows.heads[1:], strict=False))
    # What a token takes: logits of one group, and numbers of all groups' keys.
    a_token = max((own.stop - own.start) * widest, pages.keys[0].numel() // 4)
    each = a_token * max(int(lengths.max()), 1)
    for batch in order.split(max(1, BLOCK // each)):
        keys, held = document_keys(pages, slots[batch])
        for group in range(len(rows.heads) - 1):
            logits = row_logits(rows, query, keys, group).masked_fill_(~held, -torch.inf)
            weight = rows.coefficients[own, rows.heads[group] : rows.heads[group + 1]]
            scores[batch] += torch.einsum("rh,rhb->b", weight, logits.logsumexp(dim=-1))
    return scores


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Where equal neighbours start and end."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(cuts)) if len(values) else []
