"""The score of `rerank.late.match` as one Triton kernel.

A program takes one pair of query and document and one KV group: it walks the query's rows in blocks, and
for each block the document's pages, with a running maximum and sum (online log-sum-exp). Logits live in
registers only; what is written is one number a pair and group, summed afterwards.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from rerank.late.types import PAGE, Pages, Rows
from rerank.transfer import send

# Triton ships no types.
_jit: Callable[[Callable[..., None]], Any] = triton.jit


@_jit
def _match(
    vectors: tl.tensor,
    coefficients: tl.tensor,
    row_starts: tl.tensor,
    head_starts: tl.tensor,
    keys: tl.tensor,
    scales: tl.tensor,
    table: tl.tensor,
    lengths: tl.tensor,
    queries: tl.tensor,
    slots: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    table_width: tl.tensor,
    key_stride: tl.tensor,
    heads: tl.tensor,
    groups: tl.constexpr,
    dims: tl.constexpr,
    width: tl.constexpr,
    row_block: tl.constexpr,
    token_block: tl.constexpr,
    page_tokens: tl.constexpr,
    quantised: tl.constexpr,
    exact: tl.constexpr,
) -> None:
    pair = tl.program_id(0)
    group = tl.program_id(1)
    query = tl.load(queries + pair)
    slot = tl.load(slots + pair)
    first = tl.load(row_starts + query)
    rows = tl.load(row_starts + query + 1) - first
    head = tl.load(head_starts + group)
    shared = tl.load(head_starts + group + 1) - head
    length = tl.load(lengths + slot)
    dim = tl.arange(0, width)
    within = dim < dims
    total = tl.zeros([row_block], dtype=tl.float32)
    for start in range(0, rows * shared, row_block):
        row = start + tl.arange(0, row_block)
        real = row < rows * shared
        place = (first + row // shared) * heads + head + row % shared
        vector = tl.load(
            vectors + place[:, None] * dims + dim[None, :], mask=real[:, None] & within[None, :], other=0.0
        )
        top = tl.full([row_block], -float("inf"), dtype=tl.float32)
        mass = tl.zeros([row_block], dtype=tl.float32)
        for begin in range(0, length, token_block):
            token = begin + tl.arange(0, token_block)
            held = token < length
            page = tl.load(table + slot * table_width + token // page_tokens, mask=held, other=0)
            line = (page * page_tokens + token % page_tokens).to(tl.int64)
            at = line[None, :] * key_stride + group * dims + dim[:, None]
            key = tl.load(keys + at, mask=held[None, :] & within[:, None], other=0.0)
            if exact:
                logits = tl.dot(vector.to(tl.float32), key.to(tl.float32), input_precision="ieee") * scale
            else:
                logits = tl.dot(vector, key.to(vector.dtype)) * scale
            if quantised:
                logits *= tl.load(scales + line * groups + group, mask=held, other=0.0)[None, :]
            logits = tl.where(held[None, :], logits, -float("inf"))
            higher = tl.maximum(top, tl.max(logits, 1))
            mass = mass * tl.exp(top - higher) + tl.sum(tl.exp(logits - higher[:, None]), 1)
            top = higher
        weight = tl.load(coefficients + place, mask=real, other=0.0)
        total += tl.where(real, weight * (top + tl.log(mass)), 0.0)
    tl.store(out + pair * groups + group, tl.sum(total, 0))


@_jit
def _move(
    source: tl.tensor,
    target: tl.tensor,
    sources: tl.tensor,
    targets: tl.tensor,
    size: tl.tensor,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0)
    column = tl.program_id(1) * block + tl.arange(0, block)
    inside = column < size
    start = tl.load(sources + place).to(tl.int64) * size
    end = tl.load(targets + place).to(tl.int64) * size
    tl.store(target + end + column, tl.load(source + start + column, mask=inside), mask=inside)


def match_on_gpu(rows: Rows, pages: Pages, queries: np.ndarray, slots: np.ndarray) -> Tensor:
    """`rerank.late.match.match` for keys on a GPU."""
    device = pages.keys.device
    groups, dim = pages.keys.shape[1], pages.keys.shape[2]
    out = torch.empty(len(slots), groups, device=device)
    placed = send(torch.from_numpy(np.stack([queries, slots]).astype(np.int32)), device)
    starts = send(torch.tensor(rows.starts + rows.heads, dtype=torch.int32), device)
    if len(slots):
        exact = rows.vectors.dtype == torch.float32
        _match[(len(slots), groups)](
            rows.vectors, rows.coefficients, starts, starts[len(rows.starts) :], pages.keys,
            pages.keys if pages.scales is None else pages.scales, pages.table, pages.lengths,
            placed[0], placed[1], out, rows.scale, pages.table.shape[1], groups * dim, rows.vectors.shape[1],
            groups=groups, dims=dim, width=max(16, triton.next_power_of_2(dim)),
            row_block=32 if exact else 64, token_block=32, page_tokens=PAGE,
            quantised=pages.scales is not None, exact=exact, num_warps=4, num_stages=1,
        )  # fmt: skip
    return out.sum(dim=1)


def move_rows_on_gpu(source: Tensor, target: Tensor, sources: np.ndarray, targets: np.ndarray) -> None:
    """target[targets] = source[sources] into a GPU, of contiguous `[rows, numbers]`."""
    placed = send(torch.from_numpy(np.stack([sources, targets]).astype(np.int32)), target.device)
    size = source.shape[1]
    block = min(4096, triton.next_power_of_2(size))
    if len(sources):
        _move[(len(sources), triton.cdiv(size, block))](
            source, target, placed[0], placed[1], size, block=block, num_warps=8
        )
