"""Attention of short sequences behind one prefix as one Triton kernel: nothing is joined or copied before.

A program takes a block of rows of one sequence, with all heads that share a KV group, and walks the prefix's
keys and then the sequence's own with a running maximum and sum. Blocks begin where sequences begin, so that
a row's sums are the same whatever stands beside its sequence.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rerank.layout import BLOCK
from rerank.observe import AttentionCall

KEYS = 32
"""Keys that are taken at once."""

STACKED = 8
"""Heads of a KV group that one program takes, at most."""

# Triton ships no types.
_jit: Callable[[Callable[..., object]], Any] = triton.jit


@_jit
def _fold(
    top: tl.tensor,
    mass: tl.tensor,
    total: tl.tensor,
    vector: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_stride: tl.tensor,
    value_stride: tl.tensor,
    column: tl.tensor,
    place: tl.tensor,
    limit: tl.tensor,
    seen: tl.tensor,
    scale: tl.tensor,
    dims: tl.constexpr,
    width: tl.constexpr,
    reads: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Take keys from `place` on into the running maximum, mass and sum of values."""
    dim = tl.arange(0, width)
    held, within = place < limit, dim < dims
    key = tl.load(
        keys + place[None, :] * key_stride + column + dim[:, None],
        mask=held[None, :] & within[:, None],
        other=0.0,
    )
    logits = tl.where(seen, tl.dot(vector, key) * scale, -float("inf"))
    higher = tl.maximum(top, tl.max(logits, 1))
    # Under a window a row may have seen nothing yet.
    base = tl.where(higher == -float("inf"), 0.0, higher)
    part, kept = tl.exp2(logits - base[:, None]), tl.exp2(top - base)
    mass = mass * kept + tl.sum(part, 1)
    if reads:
        value = tl.load(
            values + place[:, None] * value_stride + column + dim[None, :],
            mask=held[:, None] & within[None, :],
            other=0.0,
        )
        total = tl.dot(part.to(value.dtype), value, total * kept[:, None])
    return higher, mass, total


@_jit
def _attend(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    front_key: tl.tensor,
    front_value: tl.tensor,
    blocks: tl.tensor,
    groups: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    count: tl.tensor,
    prefix: tl.tensor,
    window: tl.tensor,
    query_stride: tl.tensor,
    key_stride: tl.tensor,
    value_stride: tl.tensor,
    front_stride: tl.tensor,
    shared: tl.constexpr,
    stacked: tl.constexpr,
    parts: tl.constexpr,
    heads: tl.constexpr,
    dims: tl.constexpr,
    width: tl.constexpr,
    row_block: tl.constexpr,
    key_block: tl.constexpr,
    windowed: tl.constexpr,
    reads: tl.constexpr,
) -> None:
    block = tl.program_id(0)
    group = tl.program_id(1) // parts
    part = tl.program_id(1) % parts
    if not reads:
        group = tl.load(groups + group)
    start, begin, end = (
        tl.load(blocks + block),
        tl.load(blocks + count + block),
        tl.load(blocks + 2 * count + block),
    )
    if start < end:
        line = tl.arange(0, row_block * stacked)
        own = part * stacked + line % stacked
        token, head = start + line // stacked, group * shared + own
        real = (token < end) & (own < shared)
        dim = tl.arange(0, width)
        vector = tl.load(
            query + token[:, None] * query_stride + head[:, None] * dims + dim[None, :],
            mask=real[:, None] & (dim < dims)[None, :],
            other=0.0,
        )
        column = group * dims
        top = tl.full([row_block * stacked], -float("inf"), dtype=tl.float32)
        mass = tl.zeros([row_block * stacked], dtype=tl.float32)
        total = tl.zeros([row_block * stacked, width], dtype=tl.float32)
        for first in range(0, prefix, key_block):
            place = first + tl.arange(0, key_block)
            seen = (place < prefix)[None, :] & (token < end)[:, None]
            if windowed:
                seen &= prefix - place[None, :] + token[:, None] - begin < window
            top, mass, total = _fold(
                top, mass, total, vector, front_key, front_value, front_stride, front_stride, column, place,
                prefix, seen, scale, dims, width, reads,
            )  # fmt: skip
        for first in range(begin, tl.minimum(start + row_block, end), key_block):
            place = first + tl.arange(0, key_block)
            seen = place[None, :] <= token[:, None]
            if windowed:
                seen &= token[:, None] - place[None, :] < window
            top, mass, total = _fold(
                top, mass, total, vector, key, value, key_stride, value_stride, column, place, end, seen,
                scale, dims, width, reads,
            )  # fmt: skip
        if reads:
            tl.store(
                out + (token[:, None] * heads + head[:, None]) * dims + dim[None, :],
                total / mass[:, None],
                mask=real[:, None] & (dim < dims)[None, :],
            )
        else:
            # The logarithm to base 2 until here.
            tl.store(out + token * heads + head, (top + tl.log2(mass)) * 0.6931471805599453, mask=real)


def attend_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    front: tuple[Tensor, Tensor],
    blocks: Tensor,
    call: AttentionCall,
) -> Tensor:
    """What rows read of the prefix and of their own sequence up to them: `[rows, heads, dim]`.

    `query` is `[rows, heads, dim]`, `key` and `value` `[rows, kv_heads, dim]`; `front` are the prefix's keys
    and values, `[prefix, kv_heads, dim]`; `blocks` as in `rerank.layout.Layout`, all zeros where a block is
    of no use.
    """
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    _launch(query, key, value, front, blocks, None, out, call)
    return out


def mass_of_blocks(
    query: Tensor, key: Tensor, front: Tensor, blocks: Tensor, groups: Tensor, scale: float
) -> Tensor:
    """The log-sum-exp of each row's logits in `attend_blocks`, fp32 `[rows, heads]`, whatever the window.

    Only heads of `groups`, int64 `[groups]`, are filled.
    """
    out = torch.empty(query.shape[:2], device=query.device)
    _launch(query, key, key, (front, front), blocks, groups, out, AttentionCall(0, scale))
    return out


def _launch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    front: tuple[Tensor, Tensor],
    blocks: Tensor,
    groups: Tensor | None,
    out: Tensor,
    call: AttentionCall,
) -> None:
    heads, dim = query.shape[1:]
    kv_heads = key.shape[1]
    shared = heads // kv_heads
    query, key, value = map(_in_line, (query, key, value))
    front_key, front_value = (states.contiguous() for states in front)
    stacked = min(triton.next_power_of_2(shared), STACKED)
    parts = triton.cdiv(shared, stacked)
    if count := blocks.shape[1]:
        _attend[(count, parts * (kv_heads if groups is None else len(groups)))](
            query, key, value, front_key, front_value, blocks, blocks if groups is None else groups, out,
            call.scaling * 1.4426950408889634, count, len(front_key), call.sliding or 0, query.stride(0),
            key.stride(0), value.stride(0), front_key.stride(0), shared=shared, stacked=stacked, parts=parts,
            heads=heads, dims=dim, width=max(16, triton.next_power_of_2(dim)), row_block=BLOCK,
            key_block=KEYS, windowed=call.sliding is not None, reads=groups is None,
            num_warps=4 if BLOCK * stacked <= 64 else 8,
        )  # fmt: skip


def _in_line(states: Tensor) -> Tensor:
    """The same with heads beside each other in memory, as most models have them."""
    return states if states.stride()[1:] == (states.shape[2], 1) else states.contiguous()
