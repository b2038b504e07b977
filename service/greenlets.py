"""Functions that wait for others, done by the event loop itself: what threads would do, without threads.

Each runs in a greenlet. Where it waits for a coroutine, the loop goes on with all else, and comes back to it
with the outcome. A change of threads, there and back, costs as much as what a gateway does between two
stages. What computes for long has no place here: meanwhile, the loop does nothing else. Knows nothing of what
the functions do.
"""

import asyncio
from asyncio import AbstractEventLoop, Semaphore, Task
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class Greenlets:
    """Does so many functions at once, the others in their order. All methods belong to one event loop."""

    def __init__(self, places: int) -> None:
        """Do as many at once as there are `places`."""
        self._places = Semaphore(places)

    def submit(self, function: Callable[[], T]) -> Task[T]:
        """Queue a function up. Who cancels the task ends it where it waits."""
        task = asyncio.create_task(self._do(function))
        # Asked for: it is no news where everyone who waited has left.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def end(self) -> None:
        """Nothing needs an end but the functions themselves."""

    async def _do(self, function: Callable[[], T]) -> T:
        async with self._places:
            return await _done(function)


def wait(coroutine: Coroutine[Any, Any, T], loop: AbstractEventLoop) -> T:
    """What `coroutine` comes to on `loop`: for a function that `Greenlets` do there, and for other threads.

    Raises what it raises, and `CancelledError` where nobody wants it any more.
    """
    here = getcurrent()
    if isinstance(here, _Waiting):
        found: T = here.loop.switch(coroutine)
        return found
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


class _Waiting(greenlet):
    """A function that may wait. As a context, it is told of what is raised where the loop waits for it."""

    def __init__(self, function: Callable[[], object], loop: greenlet) -> None:
        super().__init__(function, loop)
        self.loop = loop
        self.said: Any = self.switch()
        """What the loop has to wait for or, at its end, what the function returned."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is None or self.dead:
            return False
        self.said = self.throw(kind, error, trace)
        return True


async def _done(function: Callable[[], T]) -> T:
    """What `function` returns or raises; what it waits for is awaited here."""
    here = _Waiting(function, getcurrent())
    while not here.dead:
        with here:
            here.said = here.switch(await here.said)
    found: T = here.said
    return found
