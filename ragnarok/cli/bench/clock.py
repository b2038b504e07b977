"""How long calls take: their median and the middle of their spread, as rows of a table."""

import statistics
import time
from collections.abc import Callable

FIRST = 2
"""Calls that come before those that count: the first ones find nothing ready."""


class Clock:
    """Times calls, each several times, and keeps a row of each."""

    def __init__(self, repeats: int, wait: Callable[[], None], say: Callable[[str], None]) -> None:
        """`wait` returns when the device has done all it was given; `say` hears each result at once."""
        self._repeats, self._wait, self._say = repeats, wait, say
        self.rows: list[dict[str, object]] = []

    def measure(
        self, name: str, call: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> float:
        """The median of a call in milliseconds; `before` is done ahead of each and not counted."""
        spent = []
        for turn in range(FIRST + self._repeats):
            before()
            self._wait()
            start = time.perf_counter()
            call()
            self._wait()
            if turn >= FIRST:
                spent.append(1000 * (time.perf_counter() - start))
        spent.sort()
        middle = statistics.median(spent)
        low, high = spent[len(spent) // 10], spent[-1 - len(spent) // 10]
        self.rows.append({"call": name, "median ms": f"{middle:.2f}", "10–90 % ms": f"{low:.2f}–{high:.2f}"})
        self._say(f"  {name}: {middle:.2f} ms")
        return middle
