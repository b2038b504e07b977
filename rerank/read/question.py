"""A question's pass over documents: who sees what, and how much attention their tokens draw.

The endings of the prompt (the question's and the null query's) run as one row of tokens, neither seeing the
other. Groups that see documents see the prefix, all documents and their own ending; the others see the
prefix and their own ending. A layer's own window counts positions, and documents share theirs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rerank.icr import BLOCK, paid
from rerank.observe import AttentionCall
from rerank.packed import Enough, Prefix, attend_masked
from rerank.read.documents import KeptDocuments
from rerank.read.heads import ReadLayer
from rerank.transfer import send


class QuestionPass:
    """Attention of endings over documents (`rerank.observe.Held`); `drawn` is what their tokens drew.

    Σ over scoring heads of weight · mean over an ending's scored rows of softmax: fp32 `[endings, tokens]`.
    """

    def __init__(
        self,
        prefix: Prefix,
        documents: KeptDocuments,
        rows: Tensor,
        places: Tensor,
        layers: Sequence[ReadLayer],
        endings: Sequence[int],
        *,
        first: int,
        unscored: int,
    ) -> None:
        """Documents' tokens are `rows` at `places` behind the prefix, int64 `[tokens]` on the device.

        Endings of so many tokens each begin at position `first`; their first `unscored` rows do not score.
        """
        device = rows.device
        self._prefix, self._documents, self._rows, self._layers = prefix, documents, rows, layers
        owner = torch.repeat_interleave(torch.arange(len(endings)), torch.tensor(endings))
        place = torch.cat([torch.arange(length) for length in endings])
        own = (owner == owner[:, None]) & (place <= place[:, None])
        scored = (place >= unscored).nonzero()[:, 0]
        shares = torch.zeros(len(endings), len(place))
        for ending, length in enumerate(endings):
            shares[ending, (owner == ending) & (place >= unscored)] = 1 / (length - unscored)
        self._own, self._scored = send(own, device), send(scored, device)
        self._shares = send(shares[:, scored], device)
        self._positions = send(place + first, device)
        before = torch.arange(prefix.length, device=device)
        self._fronts = {True: torch.cat([before, places + prefix.next]), False: before}
        self._farthest = first + max(endings) - 1
        self._masks: dict[tuple[bool, int | None], Tensor] = {}
        self.drawn = torch.zeros(len(endings), len(rows), device=device)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        """What the endings' rows read, `[1, heads, rows, dim]`; adds what the layer's scoring heads pay."""
        layer, number = self._layers[call.layer], call.layer
        out = torch.empty_like(query)
        if len(layer.groups):
            keys = self._joined(key, self._prefix.keys[number], layer.groups, number, values=False)
            mask = self._mask(call, documents=True)
            self._score(query, keys, mask, layer, call)
            if number == len(self._layers) - 1:
                raise Enough
            values = self._joined(value, self._prefix.values[number], layer.groups, number, values=True)
            out[:, layer.heads] = _attended(query[:, layer.heads], keys, values, mask, call)
        if len(layer.blind_groups):
            keys, values = (
                torch.cat([front[:, layer.blind_groups].transpose(0, 1), new[0, layer.blind_groups]], dim=1)
                for front, new in ((self._prefix.keys[number], key), (self._prefix.values[number], value))
            )
            mask = self._mask(call, documents=False)
            out[:, layer.blind_heads] = _attended(query[:, layer.blind_heads], keys, values, mask, call)
        return out

    def _joined(self, new: Tensor, front: Tensor, groups: Tensor, layer: int, *, values: bool) -> Tensor:
        """The prefix's, the documents' and the endings' keys or values: `[groups, keys, dim]`."""
        before, count = self._prefix.length, len(self._rows)
        joined = new.new_empty(before + count + new.shape[2], len(groups), new.shape[3])
        joined[:before] = front[:, groups]
        self._documents.gather(layer, self._rows, joined[before : before + count], values=values)
        joined[before + count :] = new[0, groups].transpose(0, 1)
        return joined.transpose(0, 1)

    def _score(
        self, query: Tensor, keys: Tensor, mask: Tensor, layer: ReadLayer, call: AttentionCall
    ) -> None:
        before, count = self._prefix.length, len(self._rows)
        seen = mask[self._scored]
        for scoring in layer.scoring:
            rows = query[0, scoring.heads][:, self._scored].transpose(0, 1)
            shares = self._shares[:, :, None] * scoring.weights
            own = keys[scoring.place : scoring.place + 1].transpose(0, 1)
            drawn = paid(rows, own, seen, shares, call)
            self.drawn += drawn[:, before : before + count]

    def _mask(self, call: AttentionCall, *, documents: bool) -> Tensor:
        """What the endings' rows see, bool `[rows, keys]`: a model's layers share one or two of these."""
        sliding = call.sliding if call.sliding is not None and call.sliding <= self._farthest else None
        if (documents, sliding) not in self._masks:
            front, rows = self._fronts[documents], self._positions
            if sliding is None:
                seen, own = torch.ones(len(rows), len(front), dtype=torch.bool, device=rows.device), self._own
            else:
                from_here = (rows - sliding)[:, None]
                seen, own = front > from_here, self._own & (rows > from_here)
            self._masks[documents, sliding] = torch.cat([seen, own], dim=1)
        return self._masks[documents, sliding]


def _attended(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, call: AttentionCall) -> Tensor:
    """`attend_masked`, no more than `BLOCK` pairs of a row and a key at a time."""
    size = max(1, BLOCK // (query.shape[1] // len(keys) * keys.shape[1]))
    parts = [
        attend_masked(rows, keys, values, visible, call)
        for rows, visible in zip(query.split(size, dim=2), mask.split(size), strict=True)
    ]
    return torch.cat(parts, dim=2)
