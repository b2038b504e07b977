"""What an arena's process has open already, for systems to use and never to close.

Knows nothing of who opened it, nor of which system uses it. Loads no torch: who lends nothing does without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexes import Index
    from rerank.model import Model


@dataclass(frozen=True, slots=True)
class Lent:
    """Open indexes, and loaded models; they outlive whoever borrows them."""

    indexes: tuple[Index, ...] = ()
    models: tuple[Model, ...] = ()


NOTHING = Lent()
