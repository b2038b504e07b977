"""Reads of many requests in few exchanges with Redis: what comes while one is on its way goes together.

A lone read goes out at once. Knows keys and values; nothing of what they mean.
"""

import asyncio
from collections.abc import Sequence
from operator import methodcaller

from service.shared import SharedRedis

AT_ONCE = 32
"""Keys of one exchange, beside those of the last call that it takes along."""

Values = Sequence[bytes | None]


class Reader:
    """Reads keys of one Redis. All methods belong to one event loop."""

    def __init__(self, shared: SharedRedis) -> None:
        """Read in `shared`."""
        self._shared = shared
        self._waiting: list[tuple[Sequence[str], asyncio.Future[Values]]] = []
        self._task: asyncio.Task[None] | None = None

    async def read(self, keys: Sequence[str]) -> Values:
        """The value of each key; None where there is none, or where Redis does not serve."""
        future: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._exchange()
        finally:
            self._task = None

    async def _exchange(self) -> None:
        calls, keys = [], list[str]()
        while self._waiting and len(keys) < AT_ONCE:
            calls.append(self._waiting.pop(0))
            keys += calls[-1][0]
        values: Values = []
        try:
            values = await self._shared.ask(methodcaller("mget", keys)) or [None] * len(keys)
        finally:
            start = 0
            for asked, future in calls:
                end = start + len(asked)
                if not future.done():  # Who asked may have left.
                    future.set_result(values[start:end] or [None] * len(asked))
                start = end
