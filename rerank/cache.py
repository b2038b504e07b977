"""A key/value cache of fixed capacity, written in place.

transformers' own dynamic cache copies everything it holds at each step, and drops what a sliding-window
layer no longer needs; here a prefix stays where it was written, so that several suffixes can be tried
after it (`rewind`), and every layer keeps every position: masks, not the cache, say who sees what.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class _Layer(CacheLayerMixin):
    """One layer's keys and values: `[batch, kv_heads, capacity, head_dim]`, the first `length` in use."""

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        CacheLayerMixin.__init__(self)
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, dim = key_states.shape
        self.keys = key_states.new_empty(batch, heads, self.capacity, dim)
        self.values = value_states.new_empty(batch, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.length + key_states.shape[2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} were written")
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


class PrefixCache(Cache):
    """Keys and values of one context, preallocated for `capacity` tokens in each of `layers` layers."""

    def __init__(self, layers: int, capacity: int) -> None:
        self._layers = [_Layer(capacity) for _ in range(layers)]
        super().__init__(layers=[*self._layers])

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._layers[0].length

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values take; 0 before the first token is written."""
        held = [tensor for layer in self._layers for tensor in (layer.keys, layer.values)]
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    @property
    def keywords(self) -> dict[str, Any]:
        """What a call of the model has to carry beside the cache itself."""
        return {}

    def rewind(self, length: int) -> None:
        """Forget every token after the first `length`; nothing is copied."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind a cache of {self.length} tokens to {length}")
        for layer in self._layers:
            layer.length = length
