"""Late attention re-ranking: query and texts in, scores out.

Documents' keys come from the device, the host beside it, a slower store, or the model, in this order. The
scores of one call and of many calls are the same: nothing depends on what else is scored.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor

from rerank.errors import BadProfile, NumericalError
from rerank.late.arena import Arena
from rerank.late.documents import DocumentReader
from rerank.late.explain import Explanation, explanations
from rerank.late.match import match, move_pages
from rerank.late.queries import NULL_QUERY, PROMPT, Prompt, QueryReader
from rerank.late.turning import OTHERWISE
from rerank.late.types import Rows
from rerank.model import Model
from rerank.packed import read_prefix
from rerank.profile import HeadProfile, check_profile, shipped_profile
from rerank.rotary import Rotary
from rerank.store.key import document_key, scope_key
from rerank.store.types import StoreStats, Tier
from rerank.transfer import send

ASKED = 4096
"""Rows of the last queries that are kept, so that a query whose scores are explained does not run again."""


@dataclass(frozen=True, slots=True)
class LateOptions:
    """Where documents' keys are kept, and how.

    `int8` keeps keys in one byte a number instead of the model's precision; `memory` is bytes on the device,
    `host_memory` bytes of pinned memory beside a GPU (0: none); `store` is a slower place behind both.
    """

    int8: bool = False
    memory: int = 1 << 30
    host_memory: int = 0
    store: Tier | None = None


@dataclass(frozen=True, slots=True)
class LateScores:
    """Scores of a query's texts, in the order given: higher is more relevant, whatever else was scored.

    `cut` says which were read only in part; `kept` how many came from a store instead of the model.
    """

    scores: list[float]
    cut: list[bool]
    kept: int


class LateReranker:
    """Scores texts by what a model's scoring heads make of a query; not safe for two threads."""

    def __init__(
        self, model: Model, profile: HeadProfile | None = None, options: LateOptions | None = None
    ) -> None:
        """Read the prefix and make room.

        Raises `BadProfile` for a profile of another model or prompt, and `ModelUnfit` where it has a
        `distance` and the model's positions cannot be taken apart.
        """
        profile = profile or shipped_profile(model)
        if profile is None or not profile.signals:
            raise BadProfile(
                f"late attention needs a profile with signals, and there is none for {model.name}: make one "
                "(ragnarok heads fit), or use the joint mode, which needs none"
            )
        check_profile(profile, model, PROMPT)
        self.model, self.profile, self.options = model, profile, options or LateOptions()
        dtype = torch.int8 if self.options.int8 else model.dtype
        rotary = None if profile.distance is None else Rotary(model, OTHERWISE)
        prompt = Prompt.of(model)
        prefix = read_prefix(model, prompt.before, profile.depth)
        self.queries = QueryReader(model, profile, prefix, prompt, rotary)
        self.documents = DocumentReader(model, profile, prefix, prompt, rotary, dtype)
        self.null, self.null_base = self.queries.null()
        self._asked: deque[tuple[list[str], Rows, Tensor]] = deque()
        longest = min(profile.passage_tokens, model.shape.context)
        sizes = {"memory": self.options.memory, "host memory": self.options.host_memory}
        self._arenas = {
            name: Arena(
                len(profile.groups),
                model.shape.head_dim,
                dtype,
                model.device,
                limit_bytes=size,
                longest=longest,
                pinned=name == "host memory",
            )
            for name, size in sizes.items()
            if size and (name == "memory" or model.device.type == "cuda")
        }
        self.memory, self.host = self._arenas["memory"], self._arenas.get("host memory")
        self.scope = scope_key(
            model.digest, profile.digest, f"{PROMPT} {prompt} {NULL_QUERY}", str(dtype), longest
        )

    def read(self, query: str, texts: Sequence[str]) -> LateScores:
        """Scores of `texts` for `query`. Raises `ContextTooSmall` and `NumericalError`."""
        return self.read_all([(query, texts)])[0]

    @torch.inference_mode()
    def read_all(self, requests: Sequence[tuple[str, Sequence[str]]]) -> list[LateScores]:
        """Scores of several queries' texts: queries run as one, each text is read once.

        Raises `ContextTooSmall` for a query that does not fit and `NumericalError` where a score is not
        finite; no request is answered then.
        """
        if not requests:
            return []
        rows, base = self._read([query for query, _ in requests])
        texts = [text for _, own in requests for text in own]
        owner = np.repeat(np.arange(len(requests), dtype=np.int32), [len(own) for _, own in requests])
        names = [document_key(self.scope, text) for text in texts]
        scores = torch.empty(len(texts), device=self.model.device)
        cut = np.zeros(len(texts), bool)
        kept = np.zeros(len(texts), bool)
        # No more documents at once than memory holds; that there are several turns changes no score.
        for start in range(0, len(texts), self.memory.capacity):
            turn = slice(start, start + self.memory.capacity)
            slots, known = self.slots(names[turn], texts[turn])
            place = send(torch.from_numpy(slots), self.model.device).long()
            scores[turn] = match(rows, self.memory.pages, owner[turn], slots) + self.memory.null[place]
            if self.memory.has_cut:
                cut[turn] = [self.memory.cut(slot) for slot in slots.tolist()]
            kept[turn] = known
        scores += base[send(torch.from_numpy(owner), base.device).long()] + self.null_base
        values = scores.cpu().numpy()
        if not np.isfinite(values).all():
            raise NumericalError(
                f"scores of {self.model.name} are not finite; try another precision or model"
            )
        ends = np.cumsum([0, *(len(own) for _, own in requests)]).tolist()
        return [
            LateScores(values[a:b].tolist(), cut[a:b].tolist(), int(kept[a:b].sum()))
            for a, b in pairwise(ends)
        ]

    def explain(self, query: str, text: str) -> Explanation:
        """Why `text` has its score for `query`. Raises `ContextTooSmall` and `NumericalError`."""
        return self.explain_all(query, [text])[0]

    def explain_all(self, query: str, texts: Sequence[str]) -> list[Explanation]:
        """Why each text has its score; the query runs at most once. Raises as `explain` does."""
        return explanations(self, query, texts)

    @torch.inference_mode()
    def rows_of(self, query: str) -> tuple[Rows, Tensor]:
        """A query's rows and what is added to its scores `[1]`: run now, unless it was among the last ones.

        Raises `ContextTooSmall`.
        """
        for queries, rows, base in reversed(self._asked):
            if query in queries:
                place = queries.index(query)
                return rows.of(place), base[place : place + 1]
        return self._read([query])

    @torch.inference_mode()
    def warm(self, texts: Sequence[str]) -> int:
        """Read texts into every store; how many had not been there."""
        texts = list(dict.fromkeys(texts))
        fresh = 0
        for start in range(0, len(texts), self.memory.capacity):
            turn = texts[start : start + self.memory.capacity]
            names = [document_key(self.scope, text) for text in turn]
            fresh += len(turn) - int(self.slots(names, turn)[1].sum())
        return fresh

    def stats(self) -> Mapping[str, StoreStats]:
        """What each place for documents holds and has done."""
        places = {name: arena.stats() for name, arena in self._arenas.items()}
        return places if self.options.store is None else places | {"store": self.options.store.stats()}

    def slots(self, names: Sequence[str], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Every text's slot in memory, int32, and which were kept somewhere: at most `capacity` texts."""
        slots = self.memory.find(names)
        if slots.all():
            return slots, slots > 0
        missing = {names[i]: texts[i] for i in np.flatnonzero(slots == 0).tolist()}
        # What was found is what was used last: it stays while room is made for the rest.
        known = set(names) - missing.keys()
        try:
            placed = self._from_host(missing)
            placed |= self._from_store({name: text for name, text in missing.items() if name not in placed})
            known |= placed.keys()
            placed |= self._from_model({name: text for name, text in missing.items() if name not in placed})
        except BaseException:
            # Some may have been given room, and no keys.
            for arena in self._arenas.values():
                arena.forget(missing)
            raise
        for i in np.flatnonzero(slots == 0).tolist():
            slots[i] = placed[names[i]]
        return slots, np.fromiter((name in known for name in names), bool, len(names))

    def _read(self, queries: list[str]) -> tuple[Rows, Tensor]:
        rows, base = self.queries.read(queries)
        self._asked.append((queries, rows, base))
        while sum(rows.starts[-1] for _, rows, _ in self._asked) > ASKED:
            self._asked.popleft()
        return rows, base

    def _from_host(self, missing: Mapping[str, str]) -> dict[str, int]:
        if self.host is None or not missing:
            return {}
        names = list(missing)
        found = self.host.find(names)
        here = [(name, int(slot)) for name, slot in zip(names, found, strict=True) if slot]
        theirs = [slot for _, slot in here]
        lengths = [self.host.length(slot) for slot in theirs]
        ours = self.memory.make_room([name for name, _ in here], lengths, [self.host.cut(s) for s in theirs])
        sources, targets = self.host.whole_pages(theirs), self.memory.whole_pages(ours)
        move_pages(self.host.keys, self.memory.keys, sources, targets)
        if self.host.scales is not None and self.memory.scales is not None:
            move_pages(self.host.scales, self.memory.scales, sources, targets)
        place = torch.tensor(ours, dtype=torch.long, device=self.model.device)
        self.memory.null[place] = self.host.null[torch.tensor(theirs, dtype=torch.long)].to(self.model.device)
        return dict(zip([name for name, _ in here], ours, strict=True))

    def _from_store(self, missing: Mapping[str, str]) -> dict[str, int]:
        store = self.options.store
        if store is None or not missing:
            return {}
        names = list(missing)
        found = {
            name: state for name, state in zip(names, store.get(names), strict=True) if state is not None
        }
        own = self.memory.keys
        fit = {
            name: state
            for name, state in found.items()
            if state.keys.dtype == own.dtype
            and state.keys.shape[1:] == own.shape[1:]
            and state.null.shape == (1,)
            and 0 < len(state.keys) <= self.memory.longest
        }
        if self.host is not None:
            self.host.put(dict(islice(fit.items(), self.host.capacity)))
        return dict(zip(fit, self.memory.put(fit), strict=True))

    def _from_model(self, missing: Mapping[str, str]) -> dict[str, int]:
        names = list(missing)
        texts = self.documents.tokenize(list(missing.values()))
        placed: dict[str, int] = {}
        for encoded in self.documents.read(texts, self.null):
            own = [names[place] for place in encoded.places]
            cut = [texts[place].cut for place in encoded.places]
            for arena in (self.memory, self.host):
                if arena is not None:
                    # The host may hold fewer than were read.
                    most = arena.capacity
                    slots = arena.make_room(own[:most], encoded.lengths[:most], cut[:most])
                    rows = sum(encoded.lengths[:most])
                    scales = None if encoded.scales is None else encoded.scales[:rows]
                    arena.write(slots, encoded.keys[:rows], scales, encoded.null[:most])
                    if arena is self.memory:
                        placed |= zip(own, slots, strict=True)
            if self.options.store is not None:
                states = self.memory.states([placed[name] for name in own])
                self.options.store.put(dict(zip(own, states, strict=True)))
        return placed
