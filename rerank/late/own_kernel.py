"""`rerank.late.own.own_mass` as one Triton kernel: a program takes a block of rows and a head."""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, KEYS = 32, 64

# Triton ships no types.
_jit: Callable[[Callable[..., None]], Any] = triton.jit


@_jit
def _own_mass(
    query: tl.tensor,
    front: tl.tensor,
    key: tl.tensor,
    heads: tl.tensor,
    groups: tl.tensor,
    first: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    rows: tl.tensor,
    prefix: tl.tensor,
    row_stride: tl.tensor,
    key_stride: tl.tensor,
    chosen: tl.constexpr,
    dims: tl.constexpr,
    width: tl.constexpr,
    row_block: tl.constexpr,
    key_block: tl.constexpr,
) -> None:
    start = tl.program_id(0) * row_block
    column = tl.program_id(1)
    head = tl.load(heads + column)
    group = tl.load(groups + column)
    row = start + tl.arange(0, row_block)
    real = row < rows
    dim = tl.arange(0, width)
    within = dim < dims
    row_at = row[:, None] * row_stride + head * dims + dim[None, :]
    vector = tl.load(query + row_at, mask=real[:, None] & within[None, :], other=0.0)
    begin = tl.load(first + row, mask=real, other=0)
    top = tl.full([row_block], -float("inf"), dtype=tl.float32)
    mass = tl.zeros([row_block], dtype=tl.float32)
    for key_start in range(0, prefix, key_block):
        place = key_start + tl.arange(0, key_block)
        key_at = place[None, :] * key_stride + group * dims + dim[:, None]
        seen = place < prefix
        keys = tl.load(front + key_at, mask=seen[None, :] & within[:, None], other=0.0)
        logits = tl.where(seen[None, :], tl.dot(vector, keys) * scale, -float("inf"))
        higher = tl.maximum(top, tl.max(logits, 1))
        mass = mass * tl.exp(top - higher) + tl.sum(tl.exp(logits - higher[:, None]), 1)
        top = higher
    # Rows that come first begin first: no row of the block sees a key before the first row's first.
    for key_start in range(
        tl.load(first + start).to(tl.int32), tl.minimum(start + row_block, rows), key_block
    ):
        place = key_start + tl.arange(0, key_block)
        key_at = place[None, :] * key_stride + group * dims + dim[:, None]
        keys = tl.load(key + key_at, mask=(place < rows)[None, :] & within[:, None], other=0.0)
        seen = (place[None, :] >= begin[:, None]) & (place[None, :] <= row[:, None])
        logits = tl.where(seen, tl.dot(vector, keys) * scale, -float("inf"))
        higher = tl.maximum(top, tl.max(logits, 1))
        # Without a prefix a row may have seen nothing yet.
        base = tl.where(higher == -float("inf"), 0.0, higher)
        mass = mass * tl.exp(top - base) + tl.sum(tl.exp(logits - base[:, None]), 1)
        top = higher
    tl.store(out + row * chosen + column, top + tl.log(mass), mask=real)


def own_mass_on_gpu(
    query: Tensor, front: Tensor, key: Tensor, heads: Tensor, groups: Tensor, first: Tensor, scale: float
) -> Tensor:
    """`rerank.late.own.own_mass` on a GPU."""
    rows, _, dim = query.shape
    out = torch.empty(rows, len(heads), device=query.device)
    if rows:
        query, key, front = query.contiguous(), key.contiguous(), front.contiguous()
        _own_mass[(triton.cdiv(rows, ROWS), len(heads))](
            query, front, key, heads, groups, first, out, scale, rows, len(front), query.stride(0),
            key.stride(0), chosen=len(heads), dims=dim, width=max(16, triton.next_power_of_2(dim)),
            row_block=ROWS, key_block=KEYS, num_warps=4,
        )  # fmt: skip
    return out
