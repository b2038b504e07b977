"""Small steps of a decoder layer in Triton: RMSNorm, silu(gate) · up, and RoPE.

The latter two write over what they read.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048

# Triton ships no types.
_jit: Callable[[Callable[..., None]], Any] = triton.jit


@_jit
def _norm(
    hidden: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    epsilon: tl.tensor,
    size: tl.constexpr,
    block: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * size
    column = tl.arange(0, block)
    inside = column < size
    states = tl.load(hidden + row + column, mask=inside, other=0.0).to(tl.float32)
    root = tl.rsqrt(tl.sum(states * states, 0) / size + epsilon)
    scaled = states * root * tl.load(weight + column, mask=inside).to(tl.float32)
    tl.store(out + row + column, scaled, mask=inside)


def norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm of the last dimension: x / √(mean x² + epsilon) · weight, shaped alike."""
    hidden = hidden.contiguous()
    out = torch.empty_like(hidden)
    if rows := hidden.numel() // len(weight):
        block = triton.next_power_of_2(len(weight))
        warps = min(8, max(1, block // 512))
        _norm[(rows,)](hidden, weight, out, epsilon, size=len(weight), block=block, num_warps=warps)
    return out


@_jit
def _silu_product(halves: tl.tensor, inner: tl.tensor, block: tl.constexpr) -> None:
    column = tl.program_id(1) * block + tl.arange(0, block)
    place = tl.program_id(0).to(tl.int64) * 2 * inner + column
    inside = column < inner
    gate = tl.load(halves + place, mask=inside).to(tl.float32)
    up = tl.load(halves + place + inner, mask=inside).to(tl.float32)
    tl.store(halves + place, gate / (1 + tl.exp(-gate)) * up, mask=inside)


def silu_product(halves: Tensor) -> Tensor:
    """`silu(gate) * up` of `[…, gate and up]`, written over gate: a view of it, half as wide."""
    if not halves.is_contiguous():
        raise ValueError("gate and up must be contiguous")
    inner = halves.shape[-1] // 2
    if rows := halves.numel() // halves.shape[-1]:
        _silu_product[(rows, triton.cdiv(inner, BLOCK))](halves, inner, block=BLOCK)
    return halves[..., :inner]


@_jit
def _turn(
    states: tl.tensor,
    token: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    stride: tl.tensor,
    heads: tl.constexpr,
    half: tl.constexpr,
    heads_block: tl.constexpr,
    half_block: tl.constexpr,
) -> None:
    head = tl.arange(0, heads_block)[:, None]
    dim = tl.arange(0, half_block)[None, :]
    turn = token * 2 * half + dim
    place = token * stride + head * 2 * half + dim
    inside = dim < half
    mine = (head < heads) & inside
    first = tl.load(states + place, mask=mine).to(tl.float32)
    second = tl.load(states + place + half, mask=mine).to(tl.float32)
    cos1 = tl.load(cos + turn, mask=inside).to(tl.float32)
    cos2 = tl.load(cos + turn + half, mask=inside).to(tl.float32)
    sin1 = tl.load(sin + turn, mask=inside).to(tl.float32)
    sin2 = tl.load(sin + turn + half, mask=inside).to(tl.float32)
    tl.store(states + place, first * cos1 - second * sin1, mask=mine)
    tl.store(states + place + half, second * cos2 + first * sin2, mask=mine)


@_jit
def _rotate(
    query: tl.tensor,
    key: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    query_stride: tl.tensor,
    key_stride: tl.tensor,
    heads: tl.constexpr,
    kv_heads: tl.constexpr,
    half: tl.constexpr,
    heads_block: tl.constexpr,
    kv_block: tl.constexpr,
    half_block: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    _turn(query, token, cos, sin, query_stride, heads, half, heads_block, half_block)
    _turn(key, token, cos, sin, key_stride, kv_heads, half, kv_block, half_block)


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> None:
    """RoPE of `query` `[batch, tokens, heads, dim]` and `key`, alike, in place: x·cos + rotate_half(x)·sin.

    `cos` and `sin` are `[batch, tokens, dim]`; a token's heads lie beside each other in memory, and tokens
    at one distance.
    """
    heads, dim = query.shape[2:]
    kv_heads = key.shape[2]
    for states in (query, key):
        in_line = len(states) == 1 or states.stride(0) == states.shape[1] * states.stride(1)
        if states.stride()[2:] != (dim, 1) or not in_line:
            raise ValueError(f"heads and tokens must lie in line, and not at strides {states.stride()}")
    if tokens := query.shape[0] * query.shape[1]:
        _rotate[(tokens,)](
            query, key, cos.contiguous(), sin.contiguous(), query.stride(1), key.stride(1), heads=heads,
            kv_heads=kv_heads, half=dim // 2,
            heads_block=triton.next_power_of_2(heads), kv_block=triton.next_power_of_2(kv_heads),
            half_block=triton.next_power_of_2(dim // 2),
        )  # fmt: skip
