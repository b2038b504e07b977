"""Every signal of every head: what late attention could say of a passage, before weights choose.

Slow and whole where `rerank.late` is fast and sparse, and tested to be the same sums.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rerank.errors import NumericalError
from rerank.late.documents import BATCH_TOKENS
from rerank.late.queries import NULL_QUERY, Prompt, question
from rerank.late.turning import OTHERWISE, turning
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import places_of, read_packed, read_prefix, seen
from rerank.rotary import Rotary

Array = np.ndarray


class SignalReader:
    """Reads every signal of every head in the first `depth` layers."""

    def __init__(
        self,
        model: Model,
        depth: int,
        *,
        passage_tokens: int,
        position: int,
        distance: int | None = None,
        repeats: int = 1,
    ) -> None:
        """Read the prefix and the null query.

        Passages are cut, queries stand at `position` behind the prefix, and with a `distance` both are
        matched at it. Raises `ModelUnfit` where the model's positions cannot be taken apart for that.
        """
        self._model, self._depth, self._limit, self._repeats = model, depth, passage_tokens, repeats
        rotary = None if distance is None else Rotary(model, OTHERWISE)
        self._prompt = Prompt.of(model)
        self._prefix = read_prefix(model, self._prompt.before, depth)
        self._behind = read_prefix(model, self._prompt.between, depth, after=self._prefix, gap=position)
        self._turn_rows = [turning(rotary, [layer], distance or 0) for layer in range(depth)]
        self._turn_keys = [turning(rotary, [layer], 0) for layer in range(depth)]
        self._null = self._rows(NULL_QUERY)
        self.batch_tokens = BATCH_TOKENS[model.device.type]

    @torch.inference_mode()
    def read(self, query: str, texts: Sequence[str]) -> Array:
        """Signals `[texts, 4 · depth · heads]`, fp32: rows as `ROWS` names them, then layers, then heads."""
        rows = self._rows(query)
        encoded = self._model.encode(list(texts))
        tokens = [ids[: self._limit] or self._prompt.between[:1] for ids in encoded]
        found = torch.empty(len(texts), 4, self._depth, self._model.shape.heads)
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        for places in _batches(order, [len(ids) for ids in tokens], self.batch_tokens):
            found[places] = self._batch([tokens[place] for place in places], rows)
        values = found.flatten(1).numpy()
        if not np.isfinite(values).all():
            raise NumericalError(f"signals of {self._model.name} are not finite; try another precision")
        return values

    def _rows(self, query: str) -> list[tuple[Tensor, Tensor, int]]:
        """Of each layer: query vectors `[rows, heads, dim]`, their own log-sum-exp, the query's count."""
        own = self._model.encode([question(query, self._repeats)])[0]
        tokens = own + self._prompt.after
        visible = seen(len(tokens), self._behind.length + len(tokens), None, self._model.device)
        positions = places_of([len(tokens)], self._behind.next, self._model.device)
        layers: list[tuple[Tensor, Tensor, int]] = []
        shared = self._model.shape.heads // self._model.shape.kv_heads

        def take(call: AttentionCall, query: Tensor, key: Tensor) -> None:
            keys = torch.cat([self._behind.keys[call.layer], key]).float().repeat_interleave(shared, dim=1)
            logits = torch.einsum("rhd,khd->rhk", query.float(), keys) * call.scaling
            masked = logits.masked_fill_(~visible[:, None], -torch.inf)
            turned = self._turn_rows[call.layer](query, positions)
            layers.append((turned.float() * call.scaling, masked.logsumexp(-1), len(own)))

        read_packed(self._model, self._behind, [tokens], self._depth - 1, take)
        return layers

    def _batch(self, documents: list[list[int]], rows: list[tuple[Tensor, Tensor, int]]) -> Tensor:
        lengths = [len(ids) for ids in documents]
        device = self._model.device
        starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
        place = torch.arange(max(lengths))
        held = place < torch.tensor(lengths)[:, None]
        index = torch.where(held, starts[:, None] + place, 0).to(device)
        held = held.to(device)
        positions = places_of(lengths, self._prefix.next, device)
        found: list[Tensor] = []

        def take(call: AttentionCall, _: Tensor, key: Tensor) -> None:
            turned = self._turn_keys[call.layer](key, positions)
            keys = turned[index].float()  # documents, tokens, kv_heads, dim
            kinds = []
            for vectors, own, count in (rows[call.layer], self._null[call.layer]):
                grouped = vectors.unflatten(1, (keys.shape[2], -1))
                logits = torch.einsum("rkgd,btkd->rkgbt", grouped, keys)
                match = logits.masked_fill_(~held, -torch.inf).logsumexp(-1).flatten(1, 2) - own[..., None]
                kinds += [match[:count].mean(0).T, match[count:].mean(0).T]
            found.append(torch.stack(kinds, dim=1))

        read_packed(self._model, self._prefix, documents, self._depth - 1, take)
        return torch.stack(found, dim=2).cpu()


def _batches(order: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    batch: list[int] = []
    used = 0
    for place in order:
        if batch and used + lengths[place] > limit:
            yield batch
            batch, used = [], 0
        batch.append(place)
        used += lengths[place]
    if batch:
        yield batch
