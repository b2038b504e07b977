"""The cache of an attention policy: some KV heads keep everything, the others sinks and a window.

Heads that keep everything have one buffer of the context's size. Streaming heads have one of constant size:
the sinks in front, then a ring in which the newest key takes the oldest one's place. Keys are stored after
RoPE, so their order in the ring says nothing and positions stay the original ones. Every chunk's attention is
computed before the ring forgets anything, so that results do not depend on how a context is cut into chunks.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from rerank.cache import PrefixCache
from rerank.observe import AttentionCall, attention_weights, weighted_values
from rerank.policies.kernels import Line, Place, Window, causal, masked, positioned, used, views, windowed


class HeldCache(PrefixCache):
    """Keys and values of one context of at most `capacity` tokens, kept as a policy says."""

    def __init__(self, full: Sequence[Sequence[bool]], window: Window, capacity: int) -> None:
        """`full[layer][kv_head]` says who keeps everything; the others see through `window`."""
        self._held = [_HeldLayer(list(heads), window, capacity) for heads in full]
        Cache.__init__(self, layers=[*self._held])
        self._window = window
        # With a mask of four dimensions transformers makes none of its own: ours follow from positions.
        self._no_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)

    @property
    def length(self) -> int:
        """Tokens read; streaming heads hold fewer."""
        return self._held[0].length

    @property
    def capacity(self) -> int:
        """Tokens that can be read."""
        return self._held[0].capacity

    @property
    def is_steady(self) -> bool:
        """Whether one more token is kept as the next one will be: every window is full."""
        return all(self.length >= layer.is_whole_until for layer in self._held)

    @contextmanager
    def at(self, position: Tensor) -> Iterator[None]:
        """Take the place of the token to be read, int64 `[1]`, from the device instead of from `length`.

        Attention then runs for one row, leaves `length` alone, and can be recorded; see
        `rerank.policies.recorded`.
        """
        place = Place.at(position, self._window, self.capacity)
        for layer in self._held:
            layer.place = place
        try:
            yield
        finally:
            for layer in self._held:
                layer.place = None

    def advance(self) -> None:
        """Count the token that was read at a position given by the device."""
        for layer in self._held:
            layer.length += 1

    @property
    def nbytes(self) -> int:
        """Bytes that keys, values and sums of dropped ones take; 0 before the first token is written."""
        return sum(layer.nbytes for layer in self._held)

    @property
    def keywords(self) -> dict[str, Any]:
        """What a call of the model has to carry beside the cache itself."""
        return {"held": self, "attention_mask": self._no_mask}

    def rewind(self, length: int) -> None:
        """Forget every token after the first `length`; nothing is copied.

        A streaming head cannot take back what pushed older keys out of its window: `ValueError`.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind a cache of {self.length} tokens to {length}")
        if length < self.length and any(layer.lost for layer in self._held):
            raise ValueError(
                f"cannot rewind a cache of {self.length} tokens to {length}: its streaming heads have let go "
                "of keys that were in view then"
            )
        for layer in self._held:
            layer.length = length

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        """Keep the rows' keys and values, `[1, kv_heads, rows, dim]`, and attend over what is held.

        `query` and the result are `[1, heads, rows, dim]`.
        """
        return self._held[call.layer].attend(query, torch.stack([key, value]), call)


class _HeldLayer(CacheLayerMixin):
    """One layer: the heads that keep everything, and those that stream."""

    is_sliding = False

    def __init__(self, full: list[bool], window: Window, capacity: int) -> None:
        CacheLayerMixin.__init__(self)
        self.capacity, self.length = capacity, 0
        self.place: Place | None = None
        kept = [head for head, keeps in enumerate(full) if keeps]
        streaming = [head for head, keeps in enumerate(full) if not keeps]
        self.is_whole_until = window.sinks + window.recent if streaming else 0
        kinds: list[tuple[list[int], _Kept | _Streaming]] = [
            (kept, _Kept(capacity)),
            (streaming, _Streaming(window, capacity)),
        ]
        self._kinds = [(heads, store) for heads, store in kinds if heads]
        self._index: list[Tensor] = []

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take the memory; called with the first tokens' `[1, kv_heads, rows, dim]`."""
        if value_states.shape[3] != key_states.shape[3]:
            raise ValueError(f"keys of {key_states.shape[3]} and values of {value_states.shape[3]} numbers")
        for heads, store in self._kinds:
            store.take(key_states, len(heads))
            self._index.append(torch.tensor(heads, device=key_states.device))
        self._order = torch.cat(self._index).argsort()
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Let the new rows' keys and values pass: `attend` keeps them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} were written")
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys a mask would cover, and where they start."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens read."""
        return self.length

    def get_max_length(self) -> int:
        """Tokens that can be read."""
        return self.capacity

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return sum(store.nbytes for _, store in self._kinds)

    @property
    def lost(self) -> bool:
        """Whether streaming heads have let go of anything."""
        return 0 < self.is_whole_until < self.length

    def attend(self, query: Tensor, kv: Tensor, call: AttentionCall) -> Tensor:
        """Attention of new rows, whose keys and values `[2, 1, kv_heads, rows, dim]` are kept."""
        batch, heads, rows, dim = query.shape
        kv_heads = kv.shape[2]
        groups = query.reshape(batch, kv_heads, heads // kv_heads, rows, dim)
        outputs: list[Tensor] = []
        weights: list[Tensor] = []
        for index, (_, store) in zip(self._index, self._kinds, strict=True):
            alone = len(self._kinds) == 1
            own = groups if alone else groups.index_select(1, index)
            new = kv if alone else kv.index_select(2, index)
            if self.place is not None:
                outputs.append(store.step(own.flatten(1, 2), new, self.place, call))
            elif call.observer is None:
                outputs.append(store.attend(own.flatten(1, 2), new, self.length, call))
            else:
                output, seen = store.observe(own.flatten(1, 2), new, self.length, call)
                outputs.append(output)
                weights.append(seen)
        self.length += rows if self.place is None else 0
        if call.observer is not None:
            call.observer.see(call.layer, self._merged(weights, kv_heads))
        return self._merged(outputs, kv_heads)

    def _merged(self, parts: list[Tensor], kv_heads: int) -> Tensor:
        """Both kinds' `[1, heads, rows, …]` in the model's order of heads."""
        if len(parts) == 1:
            return parts[0]
        both = torch.cat(parts, dim=1)
        both = both.view(both.shape[0], kv_heads, -1, *both.shape[2:])
        return both.index_select(1, self._order).flatten(1, 2)


class _Kept:
    """Heads that keep every key: `[2, 1, kv_heads, capacity, dim]`."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._buffer: Tensor | None = None

    def take(self, like: Tensor, kv_heads: int) -> None:
        """Allocate, with the batch, precision and device of `like`, `[1, kv_heads, rows, dim]`."""
        # Zeros: what a mask hides is still multiplied by 0, and 0 · NaN is no 0.
        self._buffer = like.new_zeros(2, like.shape[0], kv_heads, self._capacity, like.shape[3])

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return 0 if self._buffer is None else self._buffer.nbytes

    def attend(self, query: Tensor, new: Tensor, start: int, call: AttentionCall) -> Tensor:
        """Keep `new` at `start` and attend: `[1, heads, rows, dim]`."""
        return causal(query, self._write(new, start), call)

    def observe(self, query: Tensor, new: Tensor, start: int, call: AttentionCall) -> tuple[Tensor, Tensor]:
        """The same, with the weights `[1, heads, rows, length]`."""
        kv = self._write(new, start)
        mask = None
        if call.sliding is not None:
            place = torch.arange(kv.shape[3], device=kv.device)
            mask = Window(0, call.sliding).sees(place[start:], place)
        weights = attention_weights(query, kv[0], mask, call.scaling, call.softcap)
        return weighted_values(weights, kv[1]), weights

    def step(self, query: Tensor, new: Tensor, place: Place, call: AttentionCall) -> Tensor:
        """Keep one row's `new` at a place and attend: `[1, heads, 1, dim]`."""
        assert self._buffer is not None
        self._buffer.index_copy_(3, place.position, new)
        return used(query, self._buffer, place, call)

    def _write(self, new: Tensor, start: int) -> Tensor:
        assert self._buffer is not None
        end = start + new.shape[3]
        self._buffer[..., start:end, :] = new
        return self._buffer[..., :end, :]


class _Streaming:
    """Heads that keep sinks and a window: `[2, 1, kv_heads, sinks + recent, dim]`.

    The first `sinks` slots never change; in the others, position p lies in slot
    `sinks + (p − sinks) mod recent`. With compensation, a last slot holds the mean of what was dropped, and
    `_dropped`, fp32 `[2, 1, kv_heads, 1, dim]`, its sum.
    """

    def __init__(self, window: Window, capacity: int) -> None:
        self._window = window
        self._slots = min(window.sinks + window.recent, capacity)
        self._ring: Tensor | None = None
        self._dropped: Tensor | None = None

    def take(self, like: Tensor, kv_heads: int) -> None:
        """Allocate, with the batch, precision and device of `like`, `[1, kv_heads, rows, dim]`."""
        shape = (2, like.shape[0], kv_heads, self._slots + self._window.compensated, like.shape[3])
        self._ring = like.new_empty(shape)
        if self._window.compensated:
            self._dropped = like.new_zeros(*shape[:3], 1, shape[4], dtype=torch.float32)

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return sum(tensor.nbytes for tensor in (self._ring, self._dropped) if tensor is not None)

    def attend(self, query: Tensor, new: Tensor, start: int, call: AttentionCall) -> Tensor:
        """Attend over the window and `new`, which is then kept: `[1, heads, rows, dim]`."""
        # A layer's own window hides slots of the ring, and switches compensation off.
        hidden = call.sliding is not None and (self._window.compensated or start >= call.sliding)
        if query.shape[2] == 1 and not hidden:
            return self._next(query, new, start, call)
        line = self._line(new, start)
        output = windowed(query, line, start, self._window, call)
        self._keep(line, start + query.shape[2])
        return output

    def observe(self, query: Tensor, new: Tensor, start: int, call: AttentionCall) -> tuple[Tensor, Tensor]:
        """The same, with the weights `[1, heads, rows, length]`: 0 where nothing is seen."""
        line, rows = self._line(new, start), query.shape[2]
        view = next(views(line, start, rows, self._window, call.sliding, rows))
        weights = attention_weights(query, view.kv[0], view.mask, call.scaling, call.softcap)
        self._keep(line, start + rows)
        return weighted_values(weights, view.kv[1]), positioned(weights, view, start + rows)

    def _next(self, query: Tensor, new: Tensor, start: int, call: AttentionCall) -> Tensor:
        """One row: once its key is in place, it sees every slot in use, in whatever order."""
        assert self._ring is not None
        sinks, recent = self._window.sinks, self._window.recent
        full = start >= sinks + recent
        slot = sinks + (start - sinks) % recent if full else start
        if full and self._dropped is not None:
            self._dropped += self._ring[..., slot : slot + 1, :]
        self._ring[..., slot : slot + 1, :] = new
        if not full:
            return causal(query, self._ring[..., : start + 1, :], call)
        if self._dropped is None:
            return causal(query, self._ring, call)
        count = start + 1 - self._slots
        self._ring[..., -1:, :] = self._dropped / count
        mask = torch.zeros(1, self._slots + 1, device=query.device)
        mask[:, -1] = math.log(count)
        return masked(query, self._ring, mask, call)

    def step(self, query: Tensor, new: Tensor, place: Place, call: AttentionCall) -> Tensor:
        """The same for a place in a ring that is full: `[1, heads, 1, dim]`."""
        assert self._ring is not None
        if self._dropped is not None:
            self._dropped += self._ring.index_select(3, place.slot)
        self._ring.index_copy_(3, place.slot, new)
        if self._dropped is None:
            return causal(query, self._ring, call)
        count = place.count - self._slots
        self._ring[..., -1:, :] = self._dropped / count
        mask = torch.zeros(1, self._slots + 1, device=query.device)
        mask[:, -1] = count.log()
        return masked(query, self._ring, mask, call)

    def _line(self, new: Tensor, start: int) -> Line:
        """The window before `new` and `new` itself, in order."""
        assert self._ring is not None
        sinks = self._window.sinks
        ahead = max(0, min(sinks, start + new.shape[3]) - start)
        if ahead:
            self._ring[..., start : start + ahead, :] = new[..., :ahead, :]
        low = max(sinks, start - self._window.recent)
        held = self._slot(torch.arange(low, max(low, start), device=new.device))
        keys = torch.cat([self._ring.index_select(3, held), new[..., ahead:, :]], dim=3)
        return Line(self._ring[..., :sinks, :], keys, low, self._dropped)

    def _keep(self, line: Line, end: int) -> None:
        """Put the line's last keys, which end before position `end`, where they belong."""
        assert self._ring is not None
        low = max(line.start, end - self._window.recent)
        if self._dropped is not None:
            self._dropped += line.keys[..., : low - line.start, :].sum(
                dim=3, keepdim=True, dtype=torch.float32
            )
        if end > low:
            slots = self._slot(torch.arange(low, end, device=line.keys.device))
            self._ring.index_copy_(3, slots, line.keys[..., low - line.start :, :])

    def _slot(self, position: Tensor) -> Tensor:
        """Where the keys of positions at or after the sinks' end lie, `[positions]`."""
        return self._window.sinks + (position - self._window.sinks) % self._window.recent
