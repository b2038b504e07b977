"""Gates without training: how much of a head's attention would fall outside a streaming window.

After kvpress (NVIDIA, `DuoAttentionPress` with patterns made on the fly). Before RoPE, a head's queries and
keys are averaged over sample texts; the means are repeated to some length, given their positions, and the
last row's attention says how much mass lies beyond sinks and window. A head whose positions alone make it
look near scores 0. It does not know content: what only some queries look for is averaged away.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rerank.errors import BadPolicy
from rerank.model import Model
from rerank.observe import AttentionCall, attention_weights
from rerank.policies.base import check_window
from rerank.policies.kernels import Window
from rerank.rotary import Rotary

SAMPLE = 500
"""Tokens of one sample."""


@torch.inference_mode()
def quick_gates(
    model: Model, text: str, *, sinks: int = 128, recent: int = 256, length: int = 4096, samples: int = 50
) -> list[list[float]]:
    """Score each KV head from 0 to 1 by its attention beyond the window: `[layers][kv_heads]`.

    `text` is cut into at most `samples` pieces; `length` is shortened to the model's context. A KV head's
    score is the mean of its query heads'. Raises `BadPolicy` and `ModelUnfit`.
    """
    check_window(sinks, recent)
    length = min(length, model.shape.context)
    tokens = model.encode([text])[0]
    if not tokens or length <= sinks + recent or samples < 1:
        raise BadPolicy(
            f"{samples} samples of a text of {len(tokens)} tokens, at a length of {length} for a window of "
            f"{sinks} + {recent}, score nothing: give a text, and a length beyond the window"
        )
    size = min(SAMPLE, model.shape.context)
    pieces = [tokens[at : at + size] for at in range(0, len(tokens), size)][:samples]
    means = _Means()
    rotary = Rotary(model, "train its gates instead")
    hooks = [
        module.register_forward_pre_hook(means.catch, with_kwargs=True)
        for module in rotary.attention.values()
    ]
    try:
        for piece in pieces:
            model.read(piece, model.new_cache(len(piece)))
    finally:
        for hook in hooks:
            hook.remove()
    window = Window(sinks, recent)
    return [_score(rotary, means, layer, window, length).tolist() for layer in range(model.shape.layers)]


class _Means:
    """Mean queries and keys before RoPE, by layer; stands in for the layer's attention to get at them."""

    def __init__(self) -> None:
        self.query: dict[int, Tensor] = {}
        self.key: dict[int, Tensor] = {}
        self.call: dict[int, AttentionCall] = {}
        self._tokens: dict[int, int] = {}

    def catch(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a layer attends, run it with positions that turn nothing."""
        hidden = args[0] if args else kwargs["hidden_states"]
        cos, sin = kwargs["position_embeddings"]
        still = (torch.ones_like(cos), torch.zeros_like(sin))
        # Not the module itself, whose hook this is.
        module.forward(hidden, position_embeddings=still, attention_mask=None, held=self)

    def attend(self, query: Tensor, key: Tensor, _value: Tensor, call: AttentionCall) -> Tensor:
        """Add `[1, heads, rows, dim]` and `[1, kv_heads, rows, dim]` to the means; attend to nothing."""
        layer, rows = call.layer, query.shape[2]
        seen = self._tokens.get(layer, 0)
        for means, new in ((self.query, query), (self.key, key)):
            total = new.float().sum(dim=2, keepdim=True)
            if layer in means:
                total = total + means[layer] * seen
            means[layer] = total / (seen + rows)
        self._tokens[layer], self.call[layer] = seen + rows, call
        return query


def _score(rotary: Rotary, means: _Means, layer: int, window: Window, length: int) -> Tensor:
    """Attention of the last of `length` rows beyond the window, `[kv_heads]`."""
    query, key, call = means.query[layer], means.key[layer], means.call[layer]
    place = torch.arange(length, device=key.device)
    turns = rotary.turns(layer, place)[None]
    query = rotary.turned(query, turns[:, -1:])
    key = rotary.turned(key.expand(-1, -1, length, -1), turns)
    mask = place[-1:, None] >= place
    if call.sliding is not None:
        mask = mask & (place[-1:, None] - place < call.sliding)
    weights = attention_weights(query, key, mask, call.scaling, call.softcap)
    beyond = weights[0, :, 0] @ (~window.sees(place[-1:], place)[0]).float()
    return beyond.view(key.shape[1], -1).mean(dim=1).clamp(0, 1)
