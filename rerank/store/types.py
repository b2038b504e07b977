"""What the store keeps, what it counts, and what a tier of it is."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class DocumentState:
    """What is kept of one document.

    `keys`: `[tokens, groups, head_dim]` in bf16, fp16, fp32 or int8, with `scales` `[tokens, groups]` fp32
    for int8 only; `null`: `[signals]` fp32, what the null query's signals were; `cut`: the text was longer
    than what was read.
    """

    keys: Tensor
    scales: Tensor | None
    null: Tensor
    cut: bool = False

    def __post_init__(self) -> None:
        """Refuse shapes and types that belong to no document."""
        scaled = None if self.scales is None else (self.scales.dtype, self.scales.shape)
        wanted = (torch.float32, self.keys.shape[:2]) if self.keys.dtype == torch.int8 else None
        if self.keys.dim() != 3 or self.keys.dtype not in DTYPES or scaled != wanted:
            raise ValueError(
                f"keys {self.keys.dtype} {list(self.keys.shape)} with scales {scaled}: keys are "
                "[tokens, groups, head_dim] in bf16, fp16 or fp32, or int8 with fp32 scales [tokens, groups]"
            )
        if self.null.dim() != 1 or self.null.dtype != torch.float32:
            raise ValueError(f"null {self.null.dtype} {list(self.null.shape)}: null is [signals] in fp32")


DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.int8)
"""What keys may be kept in; the record format numbers them in this order."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What one tier did since it was opened, and what it holds now (None where that cannot be told).

    `errors` counts operations that failed and values too large to be kept: a full disk, a lost server.
    """

    hits: int = 0
    misses: int = 0
    writes: int = 0
    evictions: int = 0
    corrupt: int = 0
    errors: int = 0
    bytes: int | None = None
    entries: int | None = None


class Tier(Protocol):
    """One place where states are kept; safe for threads. Nothing but `close` may be called after `close`.

    `get` and `put` do not raise for what happens to the place: a state that cannot be had is a miss, a
    state that cannot be kept is forgotten, and `stats` counts why.
    """

    def get(self, keys: Sequence[str]) -> list[DocumentState | None]:
        """The state of each key, on the CPU, in the order asked; None where it is not held."""
        ...

    def put(self, items: Mapping[str, DocumentState]) -> None:
        """Keep these states, in place of any of the same keys."""
        ...

    def stats(self) -> StoreStats:
        """What was counted so far, and what is held."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Tally:
    """The counters of a tier, safe for threads."""

    def __init__(self) -> None:
        """All at zero."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, **counts: int) -> None:
        """Add to counters, by the names of `StoreStats`."""
        with self._lock:
            self._counts.update(counts)

    def stats(self, size: int | None, entries: int | None) -> StoreStats:
        """The counters so far, with the bytes and entries held."""
        with self._lock:
            return StoreStats(**self._counts, bytes=size, entries=entries)
