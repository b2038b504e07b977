"""What is reckoned from the arena's votes, once for each state of the store: boards and suspicious voters.

Knows the store and the statistics; nothing of pages.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from ragnarok.arena.agreement import Agreement, Consistency, agreement, consistency
from ragnarok.arena.boards import Leaderboard, leaderboard
from ragnarok.arena.components import component_columns, component_kinds
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.suspicion import suspects
from ragnarok.arena.types import Board, Columns
from ragnarok.errors import Unratable
from service.arena.form import BoardQuery

KEPT = 256
"""How many results are kept; those that were longest not asked for go first."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of models as voters, whatever votes a board counts.

    `met` is how well they agree with people, None where no battle has votes of both; `orders`, by model, how
    often it said the same when the sides changed, of those that were asked so.
    """

    met: Agreement | None
    orders: Mapping[str, Consistency]


class Boards:
    """Reckons, and keeps what comes out. Threads may share it; every method waits for the database."""

    def __init__(self, store: ArenaStore) -> None:
        """Of the votes in `store`."""
        self.store = store
        self._kept: OrderedDict[object, Any] = OrderedDict()
        self._turn = threading.RLock()

    def revision(self) -> int:
        """A number that rises with every vote."""
        return self.store.version()

    def columns(self) -> Columns:
        """All votes."""
        return self.store.columns()

    def board(self, wanted: BoardQuery) -> Leaderboard:
        """The board that is wanted, of systems or of one component's values.

        Raises `NotFound` for a topic set that no vote is about, or a component that no battle compares alone.
        """

        def make() -> Leaderboard:
            without = self.suspicious(wanted.board) if wanted.trusted else frozenset()
            columns = self.columns()
            if wanted.component is not None:
                columns = component_columns(columns, wanted.component)
            return leaderboard(columns, wanted.filters(without))

        return self.kept(("board", wanted), make)

    def components(self) -> tuple[str, ...]:
        """The kinds of component that battles compare alone."""
        return self.kept("components", lambda: component_kinds(self.columns()))

    def suspicious(self, board: Board) -> frozenset[str]:
        """The voters whose votes look like chance or habit."""
        return self.kept(("suspicious", board), lambda: suspects(self.columns(), board=board))

    def agreement(self, board: Board) -> Models:
        """How well models' votes agree with people's, and each model's with its own."""

        def make() -> Models:
            said = self.store.orders(board)
            orders = {judge: consistency(said[judge]) for judge in sorted(said)}
            try:
                return Models(agreement(self.store.votes_met(), board=board), orders)
            except Unratable:
                return Models(None, orders)

        return self.kept(("agreement", board), make)

    def record(self, wanted: BoardQuery) -> dict[str, Any]:
        """The board that is wanted as JSON can hold it, with what is known of models as voters.

        Raises as `board`.
        """
        models = self.agreement(wanted.board)
        return self.board(wanted).record() | {
            "agreement": None if models.met is None else models.met.record(),
            "consistency": {judge: asdict(one) for judge, one in models.orders.items()},
        }

    def kept(self, key: object, make: Callable[[], T]) -> T:
        """What `make` makes of the store as it is now, made once for each `key`."""
        whole = (self.revision(), key)
        # One at a time: who waits finds what the one before has reckoned.
        with self._turn:
            if whole in self._kept:
                self._kept.move_to_end(whole)
            else:
                self._kept[whole] = make()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            made: T = self._kept[whole]
            return made
