"""Attention of some rows over some keys: causal, or by an explicit mask, or a window of a long line of keys.

`query` is `[1, heads, rows, dim]`; keys and values come as one tensor `kv`, `[2, 1, kv_heads, keys, dim]`.
Heads that share keys are stacked as rows wherever that saves repeating the keys. Nothing here knows where
keys are kept, or why a head sees what it sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from rerank.observe import AttentionCall, attention_weights, weighted_values
from rerank.policies.flash_window import has_flash, sinks_and_recent

TILE = 512
"""Rows of a window computed at once: each tile reads the window before it and its own keys, no more."""

STEP_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""What one row may run on: cuDNN makes a plan for every number of keys, which takes longer than the step."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a streaming head sees: the first `sinks` keys and the last `recent` ones, its own included.

    `compensated`: the keys between them are seen as copies of their mean, as many as they are.
    """

    sinks: int
    recent: int
    compensated: bool = False

    def sees(self, row: Tensor, key: Tensor) -> Tensor:
        """Whether rows at positions `row`, `[rows]`, see `key`, `[keys]`: bool `[rows, keys]`."""
        back = row[:, None] - key
        return (back >= 0) & ((key < self.sinks) | (back < self.recent))


@dataclass(frozen=True, slots=True)
class Line:
    """Keys that a window slides along.

    `sinks` are at positions 0, 1, …; `keys` from position `start` (never below the number of sinks) up to
    that of the last row; `dropped`, fp32 `[2, 1, kv_heads, 1, dim]`, is the sum of those between the two.
    """

    sinks: Tensor
    keys: Tensor
    start: int
    dropped: Tensor | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What rows `rows` look at: `kv`, of which the first `len(positions)` are keys at those positions.

    Any others are compensation tokens, one a row: it stands for `counts`, `[rows]`, keys from position
    `dropped` on. `mask`, `[rows, keys]`, is boolean or additive.
    """

    rows: slice
    kv: Tensor
    positions: Tensor
    mask: Tensor
    dropped: int
    counts: Tensor


@dataclass(frozen=True, slots=True)
class Place:
    """Where one row is, all of it on the device: the same work can be recorded once and replayed.

    `position`, int64 `[1]`, is its own, `slot`, int64 `[1]`, that of its key in a ring; `count`, int32 `[1]`,
    of the buffer's keys are in use. `row_ends` and `key_ends`, int32 `[2]`, bound the row and the buffer.
    """

    position: Tensor
    slot: Tensor
    count: Tensor
    row_ends: Tensor
    key_ends: Tensor

    @classmethod
    def at(cls, position: Tensor, window: Window, capacity: int) -> "Place":
        """The row at `position`, int64 `[1]`, where windows are full."""
        ends = [
            torch.arange(0, 2 * size, size, dtype=torch.int32, device=position.device)
            for size in (1, capacity)
        ]
        slot = window.sinks + (position - window.sinks) % window.recent
        return cls(position, slot, (position + 1).int(), ends[0], ends[1])


def causal(query: Tensor, kv: Tensor, call: AttentionCall) -> Tensor:
    """Attention of rows that end at the last key, within the model's own window: `[1, heads, rows, dim]`."""
    batch, heads, rows, dim = query.shape
    kv_heads, keys = kv.shape[2], kv.shape[3]
    if call.sliding is not None and keys > call.sliding:
        low = max(0, keys - rows - call.sliding + 1)
        line = Line(kv[..., :0, :], kv[..., low:, :], low)
        return windowed(query, line, keys - rows, Window(0, call.sliding), call)
    if call.softcap is not None:
        weights = attention_weights(query, kv[0], None, call.scaling, call.softcap)
        return weighted_values(weights, kv[1])
    if rows == 1:
        stacked = query.reshape(batch, kv_heads, heads // kv_heads, dim)
        with sdpa_kernel(STEP_KERNELS):
            out = scaled_dot_product_attention(stacked, kv[0], kv[1], scale=call.scaling)
        return out.reshape(query.shape)
    shared = heads != kv_heads
    if rows == keys:
        return scaled_dot_product_attention(
            query, kv[0], kv[1], is_causal=True, scale=call.scaling, enable_gqa=shared
        )
    if query.is_cuda:
        bias = causal_lower_right(rows, keys)
        return scaled_dot_product_attention(
            query, kv[0], kv[1], attn_mask=bias, scale=call.scaling, enable_gqa=shared
        )
    position = torch.arange(keys, device=query.device)
    return masked(query, kv, position <= position[keys - rows :, None], call)


def masked(query: Tensor, kv: Tensor, mask: Tensor, call: AttentionCall) -> Tensor:
    """Attention under `mask`, `[rows, keys]`, boolean or additive: `[1, heads, rows, dim]`."""
    batch, heads, rows, dim = query.shape
    kv_heads, keys = kv.shape[2], kv.shape[3]
    if call.softcap is not None:
        weights = attention_weights(query, kv[0], mask, call.scaling, call.softcap)
        return weighted_values(weights, kv[1])
    sharing = heads // kv_heads
    stacked = query.reshape(batch, kv_heads, sharing * rows, dim)
    mask = mask.expand(sharing, rows, keys).reshape(sharing * rows, keys)
    mask = mask if mask.dtype == torch.bool else mask.to(query.dtype)
    out = scaled_dot_product_attention(stacked, kv[0], kv[1], attn_mask=mask, scale=call.scaling)
    return out.reshape(query.shape)


def used(query: Tensor, kv: Tensor, place: Place, call: AttentionCall) -> Tensor:
    """Attention of one row over a buffer's keys up to its own: `[1, heads, 1, dim]`."""
    if not query.is_cuda or query.dtype == torch.float32:
        seen = torch.arange(kv.shape[3], device=kv.device)[None] < place.count
        return masked(query, kv, seen, call)
    out: Tensor = torch.ops.aten._flash_attention_forward(
        query[0].transpose(0, 1),
        kv[0, 0].transpose(0, 1),
        kv[1, 0].transpose(0, 1),
        place.row_ends,
        place.key_ends,
        1,
        kv.shape[3],
        0.0,
        False,
        False,
        scale=call.scaling,
        seqused_k=place.count,
    )[0]
    return out.view(query.shape)


def windowed(query: Tensor, line: Line, start: int, window: Window, call: AttentionCall) -> Tensor:
    """Attention of rows at positions `start`, `start + 1`, … through a window: `[1, heads, rows, dim]`."""
    own = call.sliding is None or window == Window(0, call.sliding)
    if own and not window.compensated and call.softcap is None and has_flash(query):
        return _by_flash(query, line, start, window, call)
    tiles = [
        masked(query[:, :, view.rows], view.kv, view.mask, call)
        for view in views(line, start, query.shape[2], window, call.sliding, TILE)
    ]
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=2)


def _by_flash(query: Tensor, line: Line, start: int, window: Window, call: AttentionCall) -> Tensor:
    """The same by flash attention: rows before the window is full are causal, the others see two parts."""
    sinks, rows = window.sinks, query.shape[2]
    early = min(max(sinks + window.recent - start, 0), rows)
    parts: list[Tensor] = []
    if early:
        end = start + early
        kv = torch.cat([line.sinks[..., :end, :], line.keys[..., : max(end - sinks, 0), :]], dim=3)
        parts.append(causal(query[:, :, :early], kv, call))
    if early < rows:
        low = start + early - window.recent + 1 - line.start
        keys = line.keys[..., low:, :]
        parts.append(sinks_and_recent(query[:, :, early:], line.sinks, keys, window.recent, call.scaling))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def views(
    line: Line, start: int, rows: int, window: Window, sliding: int | None, tile: int
) -> Iterator[View]:
    """What `rows` rows from position `start` on look at, `tile` rows at a time.

    `sliding` is the model's own window: nothing further back is seen, whatever the policy says, and a layer
    that has one gets no compensation token.
    """
    sums = _sums(line) if window.compensated and sliding is None else None
    place = torch.arange(start + rows, device=line.keys.device)
    for first in range(start, start + rows, tile):
        last = min(first + tile, start + rows)
        # Before the sinks are full the line is empty, and may start beyond the last row.
        low = min(max(line.start, first - window.recent + 1), last)
        sinks = line.sinks[..., : min(window.sinks, last), :]
        kept = line.keys[..., max(low - line.start, 0) : max(last - line.start, 0), :]
        row = place[first:last]
        position = torch.cat([place[: sinks.shape[3]], place[low : low + kept.shape[3]]])
        mask = window.sees(row, position)
        if sliding is not None:
            mask = mask & (row[:, None] - position < sliding)
        parts, counts = [sinks, kept], torch.zeros_like(row)
        if sums is not None:
            left = row - window.recent + 1
            counts = (left - window.sinks).clamp(min=0)
            mean = sums[..., (left - line.start).clamp(min=0), :] / counts.clamp(min=1)[:, None]
            parts.append(mean.to(kept.dtype))
            mask = _with_compensation(mask, counts)
        yield View(
            rows=slice(first - start, last - start),
            kv=torch.cat(parts, dim=3),
            positions=position,
            mask=mask,
            dropped=window.sinks,
            counts=counts,
        )


def positioned(weights: Tensor, view: View, length: int) -> Tensor:
    """Weights over a view's keys, `[1, heads, rows, keys]`, moved to their positions: `[…, rows, length]`.

    What a compensation token drew is spread evenly over the keys that it stands for; keys that are not seen
    have weight 0.
    """
    known = len(view.positions)
    out = weights.new_zeros(*weights.shape[:-1], length)
    out.index_copy_(3, view.positions, weights[..., :known])
    if weights.shape[3] > known:
        each = weights[..., known:].diagonal(dim1=2, dim2=3) / view.counts.clamp(min=1)
        place = torch.arange(length, device=weights.device)
        stood_for = (place >= view.dropped) & (place < view.dropped + view.counts[:, None])
        out += each[..., None] * stood_for
    return out


def _sums(line: Line) -> Tensor:
    """The sum of everything dropped once the line's first 0, 1, 2, … keys are: `[2, 1, kv_heads, n, dim]`."""
    keys = line.keys.float()
    sums = torch.cat([torch.zeros_like(keys[..., :1, :]), keys], dim=3).cumsum(dim=3)
    return sums if line.dropped is None else sums + line.dropped


def _with_compensation(mask: Tensor, counts: Tensor) -> Tensor:
    """The additive mask with one compensation token a row, each counted as often as keys were dropped."""
    own = torch.full((len(counts), len(counts)), -torch.inf, device=mask.device)
    own.diagonal().copy_(counts.float().log())
    seen = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)
    return torch.cat([seen, own], dim=1)
