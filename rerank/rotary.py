"""How a model's own RoPE turns queries and keys, layer by layer: asked of the model's code, and tried out.

Families differ in how much of a head turns, in which of its numbers make a pair, and in layers that turn at
another pace or not at all. So a token is read alone at two positions: all that its keys may differ by is the
turn between them. This module knows nothing of what else is turned, or why.
"""

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

from rerank.errors import ModelUnfit
from rerank.layout import Layout
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import run_packed

AWAY = 100
"""Where a token is tried, besides position 0: far enough for a wrong pair of numbers to show."""

ALIKE = 0.02
"""Two keys are one if they differ by no more than this share of their length: bf16 stays well below."""

ODD = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model's code may raise that wants to be called in another way."""


class Rotary:
    """The rotary positions of one model. A turn is complex: cos + i·sin, times what the model scales them by.

    Of two, the quotient is the turn from one position to the other, with nothing scaled.
    """

    def __init__(self, model: Model, otherwise: str) -> None:
        """Raises `ModelUnfit` where positions cannot be taken apart; `otherwise` says the way out."""
        base: Any = model.network.base_model
        self.attention: dict[int, nn.Module] = {
            int(module.layer_idx): module
            for module in base.modules()
            if isinstance(getattr(module, "layer_idx", None), int) and hasattr(module, "scaling")
        }
        """The attention module of each layer."""
        family = type(model.network).__name__
        unfit = ModelUnfit(f"{model.name}: the positions of {family} cannot be taken apart; {otherwise}")
        homes = [sys.modules[type(module).__module__] for module in self.attention.values()]
        able = all(hasattr(home, "apply_rotary_pos_emb") for home in homes)
        if len(self.attention) != model.shape.layers or not able or not hasattr(base, "rotary_emb"):
            raise unfit
        self._embedding, self._apply = base.rotary_emb, homes[0].apply_rotary_pos_emb
        by_kind = "layer_type" in inspect.signature(base.rotary_emb.forward).parameters
        self._kinds = (
            getattr(model.network.config.get_text_config(), "layer_types", None) if by_kind else None
        )
        self.device = model.device
        # Of what turns are made "like", only device and precision count.
        self._like = torch.zeros(1, device=model.device)
        self._still: set[int] = set()
        keys = _alone(model)
        try:
            fits = all(self._try(layer, *key.float()) for layer, key in keys.items())
        except ODD as error:
            raise unfit from error
        if not fits:
            raise unfit

    def kind(self, layer: int) -> str | None:
        """Layers of one kind turn alike; those of none, not at all."""
        if layer in self._still:
            return None
        return self._kinds[layer] if self._kinds else "every layer"

    def turns(self, layer: int, positions: Tensor) -> Tensor:
        """The layer's turn to each of `positions`, int64 `[rows]`: complex `[rows, turning]`."""
        own = {"layer_type": self._kinds[layer]} if self._kinds else {}
        cos, sin = self._embedding(self._like, positions[None], **own)
        found = torch.complex(cos[0], sin[0])
        return torch.ones_like(found) if layer in self._still else found

    def turned(self, states: Tensor, turns: Tensor) -> Tensor:
        """`states`, fp32 `[batch, heads, rows, dim]`, by `turns`, complex `[batch, rows, turning]`.

        Some models turn only the first numbers of a head.
        """
        turning = turns.shape[-1]
        first = states[..., :turning]
        # The model's function turns queries and keys; here there are no keys.
        out, _ = self._apply(first, first[:, :0], turns.real, turns.imag)
        return out if turning == states.shape[-1] else torch.cat([out, states[..., turning:]], dim=-1)

    def _try(self, layer: int, here: Tensor, away: Tensor) -> bool:
        """Whether a token's keys at 0 and `AWAY`, `[kv_heads, dim]`, differ by a turn or not at all."""
        start, end = self.turns(layer, torch.tensor([0, AWAY], device=here.device))
        turned = self.turned(here[None, :, None], (end / start)[None, None])[0, :, 0]
        apart, still = float((turned - away).norm()), float((here - away).norm())
        # Clearly, not by rounding: where most of a key hardly turns, both are near 0.
        if 2 * still < apart:
            self._still.add(layer)
        # Not "at most": weights that are no numbers are found where scores are.
        return not min(apart, still) > ALIKE * float(away.norm())


def _alone(model: Model) -> dict[int, Tensor]:
    """Each layer's keys of a token that sees nothing but itself, at 0 and `AWAY`: `[2, kv_heads, dim]`."""
    token = model.encode(["a"])[0][0]
    keys: dict[int, Tensor] = {}

    def take(call: AttentionCall, _: Tensor, key: Tensor) -> None:
        keys[call.layer] = key

    run_packed(
        model,
        None,
        torch.tensor([[token, token]], device=model.device),
        torch.tensor([[0, AWAY]], device=model.device),
        Layout.of([1, 1], 0, model.device),
        model.shape.layers - 1,
        take,
    )
    return keys
