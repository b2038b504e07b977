"""DuoAttention's gates, trained as published (Xiao et al., arXiv 2410.10819).

One gate α in [0, 1] for each KV head, from 1 on. What a head reads is α · (full attention) + (1 − α) ·
(sinks and recent keys). The model's weights are frozen; on passkey texts the gates learn

    loss = mean over the answers' tokens of (final hidden state − that of full attention)² + 0.05 · mean |α|

with AdamW, batch 1, the rate rising over the first fifth of the steps and falling over the last. A head whose
gate stays up needs its whole context. Training goes on where it stopped: see `Checkpoint`. This module does
not know what gates are used for.
"""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rerank.errors import BadPolicy, NumericalError
from rerank.gatefiles import Checkpoint, TrainingState
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.passkeys import PasskeyMaker, PasskeyText
from rerank.policies.base import check_window
from rerank.policies.kernels import Line, Window, causal, windowed

LONG = 2048
"""On a CPU, texts from this length on are trained with less memory: what a layer computed is computed again.

A GPU does so from the first length on that it has no memory for otherwise: it costs a third of the speed.
"""

Progress = Callable[[int, int, float], None]
"""Told of each step: how many are done, of how many, and the loss."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How to train. The defaults are the published ones.

    `sinks` and `recent` make the streaming window; texts have `lengths` different numbers of filler tokens,
    `shortest` to `longest`, each with `passkeys` passkeys of `words` words.
    """

    steps: int = 2000
    rate: float = 0.02
    regularisation: float = 0.05
    sinks: int = 128
    recent: int = 256
    lengths: int = 50
    shortest: int = 1000
    longest: int = 32_000
    passkeys: int = 10
    words: int = 32
    seed: int = 42

    def __post_init__(self) -> None:
        check_window(self.sinks, self.recent)
        if self.steps < 1 or self.lengths < 1 or not 1 <= self.shortest <= self.longest:
            raise BadPolicy(
                f"{self.steps} steps on {self.lengths} lengths from {self.shortest} to {self.longest} cannot "
                "be: steps and lengths are 1 or more, and the shortest text is no longer than the longest"
            )
        if self.rate <= 0 or self.regularisation < 0:
            raise BadPolicy(
                f"a rate of {self.rate} and a regularisation of {self.regularisation} cannot be: the rate is "
                "above 0, the regularisation 0 or more"
            )


@dataclass(frozen=True, slots=True)
class TrainedGates:
    """Gates `[layers][kv_heads]` in [0, 1], and the loss of every step."""

    gates: list[list[float]]
    losses: list[float]


def train_gates(
    model: Model,
    text: str,
    settings: GateSettings | None = None,
    *,
    folder: Path | None = None,
    save_every: int = 50,
    progress: Progress | None = None,
) -> TrainedGates:
    """Train one gate for each KV head of `model`, with `text` as filler.

    With a `folder`, training is saved there every `save_every` steps, and goes on from what is there. Raises
    `BadPolicy`, `ContextTooSmall`, `NumericalError`, and `TrainingConflict` for a folder of other settings.
    """
    settings = settings or GateSettings()
    maker = PasskeyMaker(model, model.encode([text])[0], settings.passkeys, settings.words)
    kept = None if folder is None else Checkpoint(folder, _identity(model, text, settings))
    trainer = _Trainer(model, settings, None if kept is None else kept.load())
    with _frozen(model.network):
        while trainer.step < settings.steps:
            loss = trainer.learn(_sample(maker, settings, trainer.step))
            if progress is not None:
                progress(trainer.step, settings.steps, loss)
            if kept is not None and (trainer.step % save_every == 0 or trainer.step == settings.steps):
                kept.save(trainer.state())
    return TrainedGates(trainer.gates.detach().cpu().tolist(), trainer.losses)


class GateMix:
    """Attention of a whole text under gates, `[layers, kv_heads]`, or full attention with None."""

    def __init__(self, gates: Tensor | None, window: Window) -> None:
        """Take the gates as they are: gradients flow into them."""
        self.gates, self.window = gates, window

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        """The mix of both kinds of attention: `[1, heads, rows, dim]`."""
        kv = torch.stack([key, value])
        full = causal(query, kv, call)
        if self.gates is None:
            return full
        sinks = self.window.sinks
        line = Line(kv[..., :sinks, :], kv[..., sinks:, :], sinks)
        streaming = windowed(query, line, 0, self.window, call)
        gate = self.gates[call.layer].repeat_interleave(query.shape[1] // key.shape[1])
        gate = gate[:, None, None].to(full.dtype)
        return gate * full + (1 - gate) * streaming


class _Trainer:
    """Gates, their optimiser, and the losses so far."""

    def __init__(self, model: Model, settings: GateSettings, state: TrainingState | None) -> None:
        self._model, self._settings = model, settings
        self._window = Window(settings.sinks, settings.recent)
        shape = (model.shape.layers, model.shape.kv_heads)
        self.gates = nn.Parameter(torch.ones(shape, device=model.device))
        self.step, self.losses = 0, list[float]()
        self._again_from = LONG if model.device.type == "cpu" else sys.maxsize
        self._optimizer = torch.optim.AdamW([self.gates], lr=settings.rate, weight_decay=0.0)
        if state is not None:
            self.step, self.losses = state.step, list(state.losses)
            self.gates.data.copy_(state.gates)
            moments = {"exp_avg": state.first, "exp_avg_sq": state.second}
            self._optimizer.state[self.gates] = {
                "step": torch.tensor(float(state.step)),
                **{name: moment.to(model.device) for name, moment in moments.items()},
            }

    def learn(self, text: PasskeyText) -> float:
        """One step; returns its loss."""
        if len(text.tokens) < self._again_from:
            with suppress(torch.OutOfMemoryError):
                return self._learn(text, again=False)
            self._again_from = len(text.tokens)
            torch.cuda.empty_cache()
        return self._learn(text, again=True)

    def state(self) -> TrainingState:
        """What it takes to go on from here."""
        moments = self._optimizer.state[self.gates]
        return TrainingState(
            self.step, self.losses, self.gates.detach(), moments["exp_avg"], moments["exp_avg_sq"]
        )

    def _learn(self, text: PasskeyText, *, again: bool) -> float:
        tokens = torch.tensor([text.tokens], device=self._model.device)
        with torch.no_grad():
            wanted = self._hidden(tokens, text.answers, None)
        with _computed_again(self._model.network.base_model) if again else nullcontext():
            got = self._hidden(tokens, text.answers, self.gates)
        loss = (got.float() - wanted.float()).pow(2).mean()
        loss = loss + self._settings.regularisation * self.gates.abs().mean()
        if not torch.isfinite(loss):
            raise NumericalError(f"training {self._model.name} gave a loss of NaN or infinity; try fp32")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.param_groups[0]["lr"] = self._settings.rate * ramp(self.step, self._settings.steps)
        self._optimizer.step()
        self.gates.data.clamp_(0, 1)
        self.step += 1
        self.losses.append(float(loss.detach()))
        return self.losses[-1]

    def _hidden(self, tokens: Tensor, answers: Sequence[int], gates: Tensor | None) -> Tensor:
        """Final hidden states of the answers' tokens, `[answers, hidden]`."""
        states: Tensor = self._model.network.base_model(
            input_ids=tokens,
            # With a mask of four dimensions transformers makes none of its own.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool),
            use_cache=False,
            held=GateMix(gates, self._window),
        ).last_hidden_state
        return states[0, answers]


def ramp(step: int, steps: int) -> float:
    """The share of the learning rate at `step` of `steps`: up over the first fifth, down over the last."""
    fifth = max(1, steps // 5)
    return min(1.0, (step + 1) / fifth, (steps - step) / fifth)


def _sample(maker: PasskeyMaker, settings: GateSettings, step: int) -> PasskeyText:
    """The text of a step, which does not depend on the steps before."""
    pick = random.Random(f"{settings.seed} {step}")
    share = pick.randrange(settings.lengths) / max(1, settings.lengths - 1)
    return maker.make(round(settings.shortest + share * (settings.longest - settings.shortest)), pick)


def _identity(model: Model, text: str, settings: GateSettings) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"model": model.name, "text": digest, **asdict(model.shape), **asdict(settings)}


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Keep gradients from the weights; afterwards they may have them as before."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)


@contextmanager
def _computed_again(base: nn.Module) -> Iterator[None]:
    """Keep only what goes into each layer: the rest is computed again on the way back."""
    layers = base.layers
    assert isinstance(layers, nn.ModuleList)
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
