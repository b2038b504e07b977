"""Small steps of a decoder layer in Triton: silu(gate) · up, and RoPE; both write over what they read."""

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048

# Triton ships no types.
_jit: Callable[[Callable[..., None]], Any] = triton.jit


@_jit
def _silu_product(gate: tl.tensor, up: tl.tensor, size: tl.tensor, block: tl.constexpr) -> None:
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < size
    own = tl.load(gate + place, mask=inside).to(tl.float32)
    other = tl.load(up + place, mask=inside).to(tl.float32)
    tl.store(gate + place, own / (1 + tl.exp(-own)) * other, mask=inside)


def silu_product(gate: Tensor, up: Tensor) -> Tensor:
    """`silu(gate) * up` of two tensors of one shape, written over `gate`."""
    if not (gate.is_contiguous() and up.is_contiguous()):
        raise ValueError("gate and up must be contiguous")
    if size := gate.numel():
        _silu_product[(triton.cdiv(size, BLOCK),)](gate, up, size, block=BLOCK)
    return gate


@_jit
def _turn(
    states: tl.tensor,
    token: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    heads: tl.constexpr,
    half: tl.constexpr,
    heads_block: tl.constexpr,
    half_block: tl.constexpr,
) -> None:
    head = tl.arange(0, heads_block)[:, None]
    dim = tl.arange(0, half_block)[None, :]
    turn = token * 2 * half + dim
    place = (token * heads + head) * 2 * half + dim
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
    heads: tl.constexpr,
    kv_heads: tl.constexpr,
    half: tl.constexpr,
    heads_block: tl.constexpr,
    kv_block: tl.constexpr,
    half_block: tl.constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64)
    _turn(query, token, cos, sin, heads, half, heads_block, half_block)
    _turn(key, token, cos, sin, kv_heads, half, kv_block, half_block)


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> None:
    """RoPE of `query` `[batch, tokens, heads, dim]` and `key`, alike, in place: x·cos + rotate_half(x)·sin.

    `cos` and `sin` are `[batch, tokens, dim]`.
    """
    heads, dim = query.shape[2:]
    kv_heads = key.shape[2]
    if not all(states.is_contiguous() for states in (query, key)):
        raise ValueError("query and key must be contiguous")
    if tokens := query.shape[0] * query.shape[1]:
        _rotate[(tokens,)](
            query, key, cos.contiguous(), sin.contiguous(), heads=heads, kv_heads=kv_heads, half=dim // 2,
            heads_block=triton.next_power_of_2(heads), kv_block=triton.next_power_of_2(kv_heads),
            half_block=triton.next_power_of_2(dim // 2),
        )  # fmt: skip
