"""A model's turn: one thread at a time is at its network and its tokenizer, in the order in which they asked.

Neither is made for two threads: passes of one network fight for the same memory, and a tokenizer refuses a
second caller. Whoever uses a model's network or tokenizer holds `Model.turn` meanwhile; the model's own
methods take it by themselves. A thread that has the turn may take it again, so that many calls can be made
one piece of work. The order is kept, unlike with a plain lock, which a thread that lets go of it and takes
it again nearly always gets back: an answer takes one turn a token, and whoever asks has the next one.
"""

import threading
from collections import deque
from typing import Self


class Turn:
    """A lock for one thread, as often as it likes, which goes to whoever has waited longest."""

    def __init__(self) -> None:
        """Nobody has it."""
        self._changing = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._holder: int | None = None
        self._depth = 0

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread has the turn."""
        return self._holder == threading.get_ident()

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return len(self._waiting)

    def __enter__(self) -> Self:
        """Wait for the turn."""
        me = threading.get_ident()
        with self._changing:
            if self._holder in (None, me):
                self._holder = me
                self._depth += 1
                return self
            handed = threading.Lock()
            handed.acquire()
            self._waiting.append((me, handed))
        try:
            handed.acquire()
        except BaseException:
            self._give_up(me, handed)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Hand the turn on, once it was given back as often as it was taken."""
        with self._changing:
            self._depth -= 1
            if self._depth == 0:
                self._hand_on()

    def _hand_on(self) -> None:
        self._holder = None
        if self._waiting:
            self._holder, handed = self._waiting.popleft()
            self._depth = 1
            handed.release()

    def _give_up(self, me: int, handed: threading.Lock) -> None:
        """Interrupted: leave the queue, or hand on what was handed over meanwhile."""
        with self._changing:
            if (me, handed) in self._waiting:
                self._waiting.remove((me, handed))
            else:
                self._depth = 0
                self._hand_on()
