"""Documents' keys in one preallocated block of memory: on the device, or pinned on the host beside it.

Documents take pages of 16 tokens; a table says which pages are whose, so that a document's pages need not
lie together and nothing is ever moved to make room. The least recently used documents leave first. This
module knows nothing of how keys are made or where else they are kept.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rerank.errors import StoreUnusable
from rerank.late.types import PAGE, Pages
from rerank.store.types import DocumentState, StoreStats, Tally
from rerank.transfer import send


class Arena:
    """At most `limit_bytes` of keys of documents of at most `longest` tokens. Not safe for two threads."""

    def __init__(
        self,
        groups: int,
        dim: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        limit_bytes: int,
        longest: int,
        pinned: bool = False,
    ) -> None:
        """Allocate everything now. Raises `StoreUnusable` where not one document would fit."""
        self.longest = longest
        self._width = -(-longest // PAGE)
        quantised = dtype == torch.int8
        page_bytes = PAGE * groups * (dim * dtype.itemsize + 4 * quantised)
        count = limit_bytes // page_bytes
        if count < self._width:
            raise StoreUnusable(
                f"{limit_bytes} bytes of memory for documents hold {count * PAGE} tokens, and one document "
                f"may have {longest}: give at least {self._width * page_bytes} bytes, or read less of each"
            )
        # A document takes at least a page; slot 0 stands for no document.
        slots = count + 1
        with torch.inference_mode():
            place = torch.device("cpu") if pinned else device
            self.keys = torch.empty(count * PAGE, groups, dim, dtype=dtype, device=place, pin_memory=pinned)
            self.scales = (
                torch.empty(count * PAGE, groups, device=place, pin_memory=pinned) if quantised else None
            )
            self.table = torch.zeros(slots, self._width, dtype=torch.int32, device=place)
            self.lengths = torch.zeros(slots, dtype=torch.int32, device=place)
            self.null = torch.zeros(slots, device=place)
        self._page_bytes = page_bytes
        # Pages and slots that nobody has, the last to be given first.
        self._free = np.arange(count - 1, -1, -1, dtype=np.int32)
        self._free_pages = count
        self._free_slots = list(range(slots - 1, 0, -1))
        self._held: OrderedDict[str, int] = OrderedDict()
        self._table = np.zeros((slots, self._width), np.int32)
        self._sizes = np.zeros(slots, np.int32)
        self._cut: set[int] = set()
        self._tally = Tally()

    @property
    def pages(self) -> Pages:
        """The keys as `rerank.late.match` reads them."""
        return Pages(self.keys, self.scales, self.table, self.lengths)

    @property
    def capacity(self) -> int:
        """Documents of the greatest length that fit together."""
        return len(self.keys) // PAGE // self._width

    def find(self, names: Sequence[str]) -> np.ndarray:
        """The slots of documents, int32 `[names]`, 0 for those not held. What is found counts as used."""
        held = self._held
        slots = np.fromiter((held.get(name, 0) for name in names), np.int32, len(names))
        for name, slot in zip(names, slots.tolist(), strict=True):
            if slot:
                held.move_to_end(name)
        hits = int(np.count_nonzero(slots))
        self._tally.add(hits=hits, misses=len(names) - hits)
        return slots

    @property
    def has_cut(self) -> bool:
        """Whether any document held was longer than what was read of it."""
        return bool(self._cut)

    def cut(self, slot: int) -> bool:
        """Whether the document was longer than what was read of it."""
        return slot in self._cut

    def length(self, slot: int) -> int:
        """Tokens of a document."""
        return int(self._sizes[slot])

    def rows(self, slots: Sequence[int]) -> np.ndarray:
        """Which rows of `keys` the tokens of some documents are, in order, one after another."""
        owner, place = _spread(self._sizes[slots])
        rows: np.ndarray = self._table[slots][owner, place // PAGE] * PAGE + place % PAGE
        return rows

    def whole_pages(self, slots: Sequence[int]) -> np.ndarray:
        """Which pages some documents have, in order, one after another."""
        owner, place = _spread(_page_count(self._sizes[slots]))
        pages: np.ndarray = self._table[slots][owner, place]
        return pages

    def make_room(self, names: Sequence[str], lengths: Sequence[int], cut: Sequence[bool]) -> list[int]:
        """Slots for new documents; whoever was used longest ago leaves. Their keys are to be written next.

        The documents are all different and must fit together: at most `capacity` of them.
        """
        self.forget(names)
        needed = _page_count(np.asarray(lengths, np.int32))
        total = int(needed.sum())
        while self._free_pages < total or len(self._free_slots) < len(names):
            self._forget(next(iter(self._held)))
            self._tally.add(evictions=1)
        slots = [self._free_slots.pop() for _ in names]
        self._held.update(zip(names, slots, strict=True))
        self._sizes[slots] = lengths
        owner, place = _spread(needed)
        table = np.zeros((len(slots), self._width), np.int32)
        table[owner, place] = self._free[self._free_pages - total : self._free_pages][::-1]
        self._free_pages -= total
        self._table[slots] = table
        self._cut.update(slot for slot, partly in zip(slots, cut, strict=True) if partly)
        device = self.table.device
        with torch.inference_mode():
            index = send(torch.tensor(slots, dtype=torch.long), device)
            self.table[index] = send(torch.from_numpy(table), device)
            self.lengths[index] = send(torch.tensor(list(lengths), dtype=torch.int32), device)
        self._tally.add(writes=len(slots))
        return slots

    def write(self, slots: Sequence[int], keys: Tensor, scales: Tensor | None, null: Tensor) -> None:
        """Fill slots in turn: `keys` `[tokens, groups, dim]` of all, `scales` alike, `null` `[slots]`."""
        place = self.keys.device
        rows = torch.from_numpy(self.rows(slots)).to(place)
        with torch.inference_mode():
            self.keys.index_copy_(0, rows, keys.to(place))
            if self.scales is not None and scales is not None:
                self.scales.index_copy_(0, rows, scales.to(place))
            self.null[torch.tensor(list(slots), dtype=torch.long, device=place)] = null.to(place)

    def put(self, states: Mapping[str, DocumentState]) -> list[int]:
        """Take in documents that another place kept; their slots."""
        kept = list(states.values())
        slots = self.make_room(list(states), [len(s.keys) for s in kept], [s.cut for s in kept])
        if kept:
            scales = [s.scales for s in kept if s.scales is not None]
            self.write(
                slots,
                torch.cat([s.keys for s in kept]),
                torch.cat(scales) if scales else None,
                torch.cat([s.null for s in kept]),
            )
        return slots

    def states(self, slots: Sequence[int]) -> list[DocumentState]:
        """Documents as another place may keep them, on the CPU."""
        rows = torch.from_numpy(self.rows(slots)).to(self.keys.device)
        sizes = [int(self._sizes[slot]) for slot in slots]
        keys = self.keys[rows].cpu().split(sizes)
        scales = [None] * len(slots) if self.scales is None else self.scales[rows].cpu().split(sizes)
        null = self.null[torch.tensor(list(slots), dtype=torch.long, device=self.null.device)].cpu()
        return [
            DocumentState(
                key.clone(), None if scale is None else scale.clone(), null[i : i + 1], self.cut(slot)
            )
            for i, (slot, key, scale) in enumerate(zip(slots, keys, scales, strict=True))
        ]

    def stats(self) -> StoreStats:
        """What was counted so far, and the bytes of the pages in use."""
        used = len(self.keys) // PAGE - self._free_pages
        return self._tally.stats(used * self._page_bytes, len(self._held))

    def forget(self, names: Iterable[str]) -> None:
        """Let documents go, those that are held."""
        for name in names:
            if name in self._held:
                self._forget(name)

    def _forget(self, name: str) -> None:
        slot = self._held.pop(name)
        pages = int(_page_count(self._sizes[slot]))
        self._free[self._free_pages : self._free_pages + pages] = self._table[slot, :pages]
        self._free_pages += pages
        self._free_slots.append(slot)
        self._cut.discard(slot)


def _page_count(tokens: np.ndarray) -> np.ndarray:
    count: np.ndarray = -(-tokens // PAGE)
    return count


def _spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0…count − 1 for every count, one after another, and which count each is of."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
