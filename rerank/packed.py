"""Many short sequences behind one prefix, run as one: nothing is padded, and no layer runs that nobody needs.

The sequences lie end to end in one row, so that the model's linear layers see no padding; attention gives
each its own tokens and the prefix, and nothing else. Whoever runs them takes the queries and keys of the
layers it wants, and the run ends with the last of these: what comes after the last wanted layer's queries
and keys (its attention, its MLP, all later layers, the LM head) is never computed.

This module knows nothing of passages, profiles or scores.
"""

import contextlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from rerank.layout import Layout
from rerank.model import Model
from rerank.observe import AttentionCall, Held, attention_weights, weighted_values
from rerank.transfer import send

Take = Callable[[AttentionCall, Tensor, Tensor], None]
"""Takes how a layer attends, its queries `[tokens, heads, dim]` and its keys `[tokens, kv_heads, dim]`."""

# Flash attention serves grouped queries anyway; newer torch wants to be told.
_GROUPED: dict[str, Any] = (
    {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
)


CHUNK = {True: 16_384, False: 1_024}
"""Tokens of a long prefix that run at once, with flash attention and without: then a mask is made."""


SHORT = 4096
"""Sequences up to this many tokens attend by one kernel, behind a prefix of fewer than `TALL`."""

TALL, LOGITS = 2048, 1 << 27
"""From this many tokens of a prefix, and to this many logits, plain products are faster than flash attention.

Flash attention walks all keys of 64 rows one after another: few rows leave most of a GPU idle.
"""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands in front of every sequence: keys and values of `length` tokens, layer by layer.

    `keys[layer]` and `values[layer]` are `[length, kv_heads, dim]`, keys after RoPE; layers from `depth` on
    are not there. `next` is the position of the first token after it.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    length: int
    next: int


class Enough(Exception):
    """Every wanted layer has been taken."""


class Pack:
    """Attention of packed sequences, each over the prefix and its own tokens (`rerank.observe.Held`)."""

    def __init__(self, prefix: Prefix | None, layout: Layout, last: int, take: Take) -> None:
        self._prefix, self._layout, self._last, self._take = prefix, layout, last, take
        self._masks: dict[int | None, Tensor] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        """`[1, heads, tokens, dim]`, of `query` `[1, heads, tokens, dim]` over `key` and `value`."""
        rows, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
        self._take(call, rows, keys)
        if call.layer == self._last:
            raise Enough
        flash = call.softcap is None and _is_flash(query.device, query.dtype)
        if flash and self._prefix is not None and self._is_short():
            from rerank.packed_kernel import attend_blocks

            front = self._prefix.keys[call.layer], self._prefix.values[call.layer]
            return attend_blocks(rows, keys, values, front, self._layout.blocks, call).transpose(0, 1)[None]
        if self._prefix is not None:
            keys = torch.cat([self._prefix.keys[call.layer], keys])
            values = torch.cat([self._prefix.values[call.layer], values])
        if flash:
            logits = query.shape[1] * query.shape[2] * len(keys)
            if self._layout.prefix < TALL or logits > LOGITS:
                return self._flash(rows, keys, values, call).transpose(0, 1)[None]
            return attend_plainly(query, keys.transpose(0, 1), values.transpose(0, 1), self._mask(call), call)
        return self._one_by_one(query, keys.transpose(0, 1), values.transpose(0, 1), call)

    def _is_short(self) -> bool:
        return self._layout.prefix < TALL and max(self._layout.lengths) <= SHORT

    def _mask(self, call: AttentionCall) -> Tensor:
        """What each row sees of the prefix's keys and the pack's, bool `[tokens, prefix + tokens]`."""
        if call.sliding not in self._masks:
            self._masks[call.sliding] = self._layout.seen(call.sliding)
        return self._masks[call.sliding]

    def _flash(self, rows: Tensor, keys: Tensor, values: Tensor, call: AttentionCall) -> Tensor:
        starts, seen, key_starts = self._layout.joined
        prefix, longest = self._layout.prefix, max(self._layout.lengths)
        if prefix:
            keys, values = keys.index_select(0, seen), values.index_select(0, seen)
        out = varlen_attn(
            rows.contiguous(),
            keys.contiguous(),
            values.contiguous(),
            starts,
            key_starts,
            longest,
            longest + prefix,
            scale=call.scaling,
            window_size=(-1 if call.sliding is None else call.sliding - 1, 0),
            **_GROUPED,
        )
        assert isinstance(out, Tensor)
        return out

    def _one_by_one(self, query: Tensor, keys: Tensor, values: Tensor, call: AttentionCall) -> Tensor:
        """`keys` and `values` are `[kv_heads, prefix + tokens, dim]`."""
        prefix, start = self._layout.prefix, 0
        out = torch.empty_like(query)
        for length in self._layout.lengths:
            own = slice(prefix + start, prefix + start + length)
            key = torch.cat([keys[:, :prefix], keys[:, own]], dim=1)
            value = torch.cat([values[:, :prefix], values[:, own]], dim=1)
            mask = seen(length, prefix + length, call.sliding, query.device)
            rows = query[:, :, start : start + length]
            out[:, :, start : start + length] = attend_masked(rows, key, value, mask, call)
            start += length
        return out


def _is_flash(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def seen(rows: int, keys: int, sliding: int | None, device: torch.device) -> Tensor:
    """Which keys each row sees, the last row standing at the last key: bool `[rows, keys]`."""
    place = torch.arange(keys, device=device)
    distance = place[keys - rows :, None] - place
    return (distance >= 0) if sliding is None else (distance >= 0) & (distance < sliding)


def attend_masked(rows: Tensor, key: Tensor, value: Tensor, mask: Tensor, call: AttentionCall) -> Tensor:
    """What `rows` `[1, heads, rows, dim]` read where `mask`, bool `[rows, keys]`, lets them: shaped alike.

    `key` and `value` are `[kv_heads, keys, dim]`. Heads that share keys are stacked as rows: keys are never
    repeated. The layer's own window is not applied: `mask` says all.
    """
    if call.softcap is not None:
        return weighted_values(
            attention_weights(rows, key[None], mask, call.scaling, call.softcap), value[None]
        )
    _, heads, length, dim = rows.shape
    shared = heads // key.shape[0]
    out = torch.nn.functional.scaled_dot_product_attention(
        rows.reshape(1, key.shape[0], shared * length, dim),
        key[None],
        value[None],
        attn_mask=mask.repeat(shared, 1),
        scale=call.scaling,
    )
    return out.reshape(1, heads, length, dim)


def attend_plainly(rows: Tensor, key: Tensor, value: Tensor, mask: Tensor, call: AttentionCall) -> Tensor:
    """`attend_masked` by plain products over all keys at once, logits in fp32, without a cap."""
    heads, length, dim = rows.shape[1:]
    stacked = rows.reshape(len(key), -1, dim)
    if rows.device.type == "cuda":
        logits = torch.bmm(stacked, key.transpose(1, 2), out_dtype=torch.float32)
    else:
        logits = stacked.float() @ key.float().transpose(1, 2)
    logits = logits.mul_(call.scaling).view(1, heads, length, -1).masked_fill_(~mask, -torch.inf)
    return weighted_values(logits.softmax(dim=-1), value[None])


@torch.inference_mode()
def run_packed(
    model: Model,
    prefix: Prefix | None,
    tokens: Tensor,
    positions: Tensor,
    layout: Layout,
    last: int,
    take: Take,
) -> None:
    """Run sequences through layers 0 to `last` and hand each layer's queries and keys to `take`.

    `tokens` and `positions` are int64 `[1, tokens]` on the device. Of layer `last` only queries and keys
    are computed. The prefix must reach through layer `last` − 1.
    """
    run_held(model, tokens, positions, Pack(prefix, layout, last, take))


def read_packed(
    model: Model, prefix: Prefix, sequences: Sequence[Sequence[int]], last: int, take: Take
) -> Tensor:
    """`run_packed` for sequences of tokens, each of which follows the prefix at once.

    Returns the positions that they were read at, int64 `[tokens]`.
    """
    tokens, positions = end_to_end(sequences, prefix.next, model.device)
    layout = Layout.of([len(sequence) for sequence in sequences], prefix.length, model.device)
    run_packed(model, prefix, tokens, positions, layout, last, take)
    return positions[0]


def end_to_end(sequences: Sequence[Sequence[int]], first: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens of sequences and their positions from `first` on: int64 `[1, tokens]`, on the device."""
    tokens = torch.tensor([[token for sequence in sequences for token in sequence]])
    return send(tokens, device), places_of([len(sequence) for sequence in sequences], first, device)[None]


def places_of(lengths: Sequence[int], first: int, device: torch.device) -> Tensor:
    """Positions of sequences of these lengths, each from `first` on: int64 `[tokens]`, on the device."""
    return send(torch.cat([torch.arange(length) for length in lengths]) + first, device)


@torch.inference_mode()
def read_prefix(
    model: Model, tokens: Sequence[int], depth: int, *, after: Prefix | None = None, gap: int = 0
) -> Prefix:
    """The prefix that `tokens` make, through `depth` layers; a long one is read in chunks.

    Behind another prefix they stand `gap` positions further on than they would, and both together are
    returned.
    """
    size = CHUNK[_is_flash(model.device, model.dtype)]
    for start in range(0, len(tokens), size):
        after = _read_chunk(model, tokens[start : start + size], depth, after, gap if start == 0 else 0)
    assert after is not None
    return after


def _read_chunk(model: Model, tokens: Sequence[int], depth: int, after: Prefix | None, gap: int) -> Prefix:
    front = 0 if after is None else after.length
    first = 0 if after is None else after.next + gap
    kept = _Keep(after, Layout.of([len(tokens)], front, model.device), depth - 1)
    ids = torch.tensor([list(tokens)], device=model.device)
    positions = torch.arange(first, first + len(tokens), device=model.device)[None]
    run_held(model, ids, positions, kept)
    return Prefix(tuple(kept.keys), tuple(kept.values), front + len(tokens), first + len(tokens))


class _Keep(Pack):
    """Keeps each layer's keys and values, those of the prefix before them in front."""

    def __init__(self, prefix: Prefix | None, layout: Layout, last: int) -> None:
        super().__init__(prefix, layout, last, lambda *_: None)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        keys, values = key[0].transpose(0, 1), value[0].transpose(0, 1)
        if self._prefix is not None:
            keys = torch.cat([self._prefix.keys[call.layer], keys])
            values = torch.cat([self._prefix.values[call.layer], values])
        self.keys.append(keys.contiguous())
        self.values.append(values.contiguous())
        return super().attend(query, key, value, call)


def run_held(model: Model, tokens: Tensor, positions: Tensor, held: Held) -> None:
    """Run tokens at their positions, int64 `[1, tokens]`, until `held` has `Enough` of attention."""
    # With a mask of four dimensions transformers makes none of its own: what is seen follows from the layout.
    unused = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=tokens.device)
    with contextlib.suppress(Enough):
        model.network.base_model(
            input_ids=tokens, position_ids=positions, attention_mask=unused, use_cache=False, held=held
        )
