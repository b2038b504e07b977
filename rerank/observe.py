"""Reading attention while a stock transformers model runs.

An attention implementation named `observed` is registered with transformers: it computes exactly what
`sdpa` computes and, where the call carries an observer, first shows it the layer's queries and keys.
Nothing of a model's own code is replaced, so any decoder that goes through transformers' attention
interface can be read. Where the call carries `held` (the cache of an attention policy), that computes the
layer's attention instead. This module knows nothing of prompts, passages, scores or policies.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "observed"


class Observer(Protocol):
    """Sees each layer's attention weights as it is computed."""

    def see(self, layer: int, weights: Tensor) -> None:
        """Take the fp32 attention weights of `layer`: `[batch, heads, rows, keys]`, rows summing to 1."""


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """How one layer attends: logits are q·kᵀ·`scaling`, capped by `softcap`, over the last `sliding` keys."""

    layer: int
    scaling: float
    softcap: float | None = None
    sliding: int | None = None
    observer: Observer | None = None


class Held(Protocol):
    """Computes attention over keys and values that it keeps itself."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        """What `query`, `[1, heads, rows, dim]`, reads from what is held and from its own rows' keys.

        `key` and `value` are the new rows' only, `[1, kv_heads, rows, dim]`. Returns
        `[1, heads, rows, dim]`.
        """


def attention_weights(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
) -> Tensor:
    """softmax(q·kᵀ·scaling) in fp32, whatever the model's own precision.

    `query` is `[batch, heads, rows, dim]`, `key` `[batch, kv_heads, keys, dim]`; `mask` is boolean (True
    may be seen) or additive, broadcastable to `[batch, heads, rows, keys]`, and None means causal with the
    last row at the last key. Returns `[batch, heads, rows, keys]`.
    """
    batch, heads, rows, dim = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    # Heads that share keys are stacked as rows, so that keys are never repeated.
    grouped = query.float().reshape(batch, kv_heads, heads // kv_heads * rows, dim)
    logits = (grouped @ key.float().transpose(2, 3)).view(batch, heads, rows, keys).mul_(scaling)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    if mask is None:
        position = torch.arange(keys, device=key.device)
        mask = position <= position[keys - rows :, None]
    if mask.dtype == torch.bool:
        logits.masked_fill_(~mask[..., :keys], -torch.inf)
    else:
        logits += mask[..., :keys].float()
    return logits.softmax(dim=-1)


def weighted_values(weights: Tensor, value: Tensor) -> Tensor:
    """Σ of `value`, `[batch, kv_heads, keys, dim]`, by `weights`, `[batch, heads, rows, keys]`.

    Returns `[batch, heads, rows, dim]` in the values' precision.
    """
    batch, heads, rows, keys = weights.shape
    kv_heads, dim = value.shape[1], value.shape[3]
    stacked = weights.reshape(batch, kv_heads, heads // kv_heads * rows, keys).to(value.dtype)
    return (stacked @ value).view(batch, heads, rows, dim)


def _observed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    observer: Observer | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    held: Held | None = None,
    **_: object,
) -> tuple[Tensor, Tensor | None]:
    """The attention function transformers calls for every layer: `[batch, rows, heads, dim]`, no weights."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if held is not None:
        layer = module.layer_idx
        assert isinstance(layer, int)
        call = AttentionCall(layer, scale, softcap, sliding_window, observer)
        return held.attend(query, key, value, call).transpose(1, 2), None
    if observer is None and softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scale, is_causal=is_causal
        )
    weights = attention_weights(query, key, attention_mask, scale, softcap)
    if observer is not None:
        layer = module.layer_idx
        assert isinstance(layer, int)
        observer.see(layer, weights)
    return weighted_values(weights, value).transpose(1, 2), None


AttentionInterface.register(NAME, _observed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
