"""Who meets next, by what the votes so far leave open. Knows votes and pairing; nothing of battles."""

from collections.abc import Sequence

from ragnarok.arena.filters import Filters, select
from ragnarok.arena.sampling import Pairing
from ragnarok.arena.tally import count
from ragnarok.arena.types import System
from service.arena.boards import Boards


class Chooser:
    """Draws pairs. Threads may share it."""

    def __init__(self, boards: Boards) -> None:
        """By the votes on answers that `boards` has."""
        self._boards = boards

    def __call__(self, systems: Sequence[System], seed: int) -> tuple[System, System]:
        """Two of `systems`, the left one first; the votes so far and `seed` decide."""
        named = {system.name: system for system in systems}
        names = tuple(named)
        pairing = self._boards.kept(("pairing", names), lambda: self._pairing(names))
        left, right = pairing.draw(seed)
        return named[left], named[right]

    def _pairing(self, names: tuple[str, ...]) -> Pairing:
        columns = self._boards.columns()
        chosen = select(columns, Filters())
        known = tuple(system.name for system in columns.systems)
        return Pairing(count(known, columns.a[chosen], columns.b[chosen], columns.answer[chosen]), names)
