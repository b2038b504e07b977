"""Documents encoded once and alone: keys and values of the KV groups that will be read, bounded in bytes.

All stand behind the shared prefix at the same positions, and see it and themselves through all heads. They
are addressed by their text; the least recently used leave first. This module knows nothing of questions.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from rerank.errors import ContextTooSmall
from rerank.late.arena import Arena
from rerank.late.documents import BATCH_TOKENS, Text
from rerank.late.types import PAGE
from rerank.layout import Layout
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import Pack, Prefix, end_to_end, run_held
from rerank.store.key import document_key
from rerank.store.types import StoreStats
from rerank.transfer import send

SCOPE = "read"
"""Addresses are of one re-ranker's own memory: the text alone tells documents apart."""


class KeptDocuments:
    """Keys and values of documents, made where they are missing; not safe for two threads.

    A token has a column of `dim` numbers for each group's key and value: layer by layer, keys before values.
    """

    def __init__(
        self, model: Model, prefix: Prefix, groups: Sequence[Sequence[int]], *, memory: int, longest: int
    ) -> None:
        """`groups[layer]` are kept, of the last layer their keys only. Raises `StoreUnusable`."""
        self._model, self._prefix = model, prefix
        self._groups = [torch.tensor(own, dtype=torch.long, device=model.device) for own in groups]
        self._columns: dict[tuple[int, bool], slice] = {}
        start = 0
        for layer, own in enumerate(groups):
            for is_value in (False, True) if layer < len(groups) - 1 else (False,):
                self._columns[layer, is_value] = slice(start, start + len(own))
                start += len(own)
        self._token_bytes = start * model.shape.head_dim * model.dtype.itemsize
        self._arena = Arena(
            start,
            model.shape.head_dim,
            model.dtype,
            model.device,
            limit_bytes=memory,
            longest=longest,
        )
        self.batch_tokens = BATCH_TOKENS[model.device.type]

    def stats(self) -> StoreStats:
        """What is held and what was found."""
        return self._arena.stats()

    @torch.inference_mode()
    def rows(self, texts: Sequence[str], tokens: Sequence[Text]) -> Tensor:
        """Where the tokens of all documents lie, one document after another: int64 on the device.

        They hold until the next call. Raises `ContextTooSmall` where memory does not hold all documents.
        """
        names = [document_key(SCOPE, text) for text in texts]
        own = dict(zip(names, tokens, strict=True))
        self._check_room(own.values())
        slots = self._arena.find(names)
        missing = {names[place]: own[names[place]] for place in (slots == 0).nonzero()[0].tolist()}
        try:
            placed = self._encode(sorted(missing, key=lambda name: len(missing[name].tokens)), missing)
        except BaseException:
            # Some may have been given room, and nothing in it.
            self._arena.forget(missing)
            raise
        found = [slot or placed[name] for name, slot in zip(names, slots.tolist(), strict=True)]
        return send(torch.from_numpy(self._arena.rows(found)), self._model.device).long()

    def gather(self, layer: int, rows: Tensor, out: Tensor, *, values: bool) -> None:
        """Copy the keys or values of `rows` in a layer into `out`, `[rows, groups, dim]`."""
        torch.index_select(self._arena.keys[:, self._columns[layer, values]], 0, rows, out=out)

    def _check_room(self, documents: Collection[Text]) -> None:
        pages = sum(-(-len(text.tokens) // PAGE) for text in documents)
        if pages * PAGE > len(self._arena.keys):
            raise ContextTooSmall(
                f"{len(documents)} passages take {pages * PAGE * self._token_bytes} bytes of keys and "
                f"values, and the memory for them is {len(self._arena.keys) * self._token_bytes} bytes: give "
                "more memory, fewer or shorter passages (passage_tokens), or a higher sparsity"
            )

    def _encode(self, names: list[str], texts: Mapping[str, Text]) -> dict[str, int]:
        """Encode documents in this order, in batches of at most `batch_tokens` tokens; their slots."""
        placed: dict[str, int] = {}
        done = 0
        while done < len(names):
            end, tokens = done + 1, len(texts[names[done]].tokens)
            while end < len(names) and tokens + len(texts[names[end]].tokens) <= self.batch_tokens:
                tokens += len(texts[names[end]].tokens)
                end += 1
            batch = names[done:end]
            states = None
            try:
                states = self._states([texts[name].tokens for name in batch])
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            if states is None:
                # Not above: while an error is handled, its frames hold what is to be freed.
                torch.cuda.empty_cache()
                self.batch_tokens = tokens // 2
                continue
            self._model.counted("rerank_passages", tokens)
            lengths = [len(texts[name].tokens) for name in batch]
            slots = self._arena.make_room(batch, lengths, [texts[name].cut for name in batch])
            self._arena.write(slots, states, None, torch.zeros(len(batch), device=states.device))
            placed |= zip(batch, slots, strict=True)
            done = end
        return placed

    def _states(self, documents: list[list[int]]) -> Tensor:
        """Keys and values of documents, one after another: `[tokens, columns, dim]`."""
        tokens, positions = end_to_end(documents, self._prefix.next, self._model.device)
        layout = Layout.of([len(own) for own in documents], self._prefix.length, self._model.device)
        kept = _Keep(self._prefix, layout, self._groups)
        run_held(self._model, tokens, positions, kept)
        return torch.cat(kept.states, dim=1)


class _Keep(Pack):
    """Keeps keys and values of some groups while documents run."""

    def __init__(self, prefix: Prefix, layout: Layout, groups: list[Tensor]) -> None:
        super().__init__(prefix, layout, len(groups) - 1, lambda *_: None)
        self._groups = groups
        self.states: list[Tensor] = []

    def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
        groups = self._groups[call.layer]
        for states in (key, value) if call.layer < len(self._groups) - 1 else (key,):
            self.states.append(states[0, groups].transpose(0, 1))
        return super().attend(query, key, value, call)
