"""Where sequences lie that run as one, and what each of their tokens sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rerank.transfer import send

Ints = npt.NDArray[np.int64]

BLOCK = 16
"""Rows of a sequence that one program of the kernel for short sequences takes."""


@dataclass
class Layout:
    """Where the sequences of a pack lie behind a prefix: built once, used by every layer.

    `blocks`, int32 `[3, blocks]` on the device, are at most `BLOCK` rows each of one sequence: the block's
    first row, the sequence's first row and the row behind the sequence.
    """

    lengths: list[int]
    prefix: int
    blocks: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], prefix: int, device: torch.device) -> "Layout":
        """The layout of sequences of these lengths, all at least 1, behind a prefix."""
        blocks = torch.from_numpy(blocks_of(np.array(lengths)))
        return cls(list(lengths), prefix, send(blocks.to(torch.int32), device))

    @cached_property
    def first(self) -> Tensor:
        """The first row of each row's sequence, int64 `[tokens]`."""
        lengths = np.array(self.lengths)
        return self._sent(np.repeat(np.cumsum(lengths) - lengths, lengths))

    @cached_property
    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """What flash attention is told: where rows start, which keys they see, where these start.

        `[sequences + 1]`, `[sequences · prefix + tokens]` rows of the prefix's and then the pack's keys,
        and `[sequences + 1]` places among the latter.
        """
        lengths, prefix = np.array(self.lengths), self.prefix
        starts = np.concatenate([[0], np.cumsum(lengths)])
        key_starts = starts + prefix * np.arange(len(starts))
        # A row's keys are the prefix's, which stand first, and then its own sequence's.
        within = np.arange(key_starts[-1]) - np.repeat(key_starts[:-1], lengths + prefix)
        own = np.repeat(starts[:-1], lengths + prefix)
        keys = np.where(within < prefix, within, within + own)
        return self._sent(starts).int(), self._sent(keys), self._sent(key_starts).int()

    def _sent(self, places: Ints) -> Tensor:
        return send(torch.from_numpy(places), self.blocks.device)

    def seen(self, sliding: int | None) -> Tensor:
        """Which of the prefix's and the pack's keys each row sees: bool `[tokens, prefix + tokens]`."""
        begins, device = self.first, self.blocks.device
        place = torch.arange(len(begins), device=device) - begins
        front = torch.arange(-self.prefix, 0, device=device)
        seen = (begins[:, None] == begins) & (place[:, None] >= place)
        if sliding is None:
            return torch.nn.functional.pad(seen, (self.prefix, 0), value=True)
        return torch.cat([front > place[:, None] - sliding, seen & (place > place[:, None] - sliding)], dim=1)


def blocks_of(lengths: Ints) -> Ints:
    """`Layout`'s `blocks` for sequences of these lengths, int64; an empty one has none."""
    starts, counts = np.cumsum(lengths) - lengths, -(-lengths // BLOCK)
    owner = np.repeat(np.arange(len(lengths)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([starts[owner] + within * BLOCK, starts[owner], (starts + lengths)[owner]])
