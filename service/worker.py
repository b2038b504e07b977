"""A thread, or a few, working through jobs in their order, for an event loop that must never wait for it.

A job is an iterator: what it yields reaches the event loop as it comes, or its last alone, where nobody wants
the rest: each time, the loop is woken. Jobs queue up to a limit. One that nobody waits for any more is not
begun, or ended after what it yields next. Where jobs only wait for others, the loop itself does them
(`service.greenlets`). Knows nothing of what jobs do.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from functools import partial
from threading import Event
from typing import Any, Final, Generic, Protocol, TypeVar

from service.errors import Busy, Stopping

T = TypeVar("T")

THREADS = "pipeline"
"""What the threads' names begin with."""

END_SECONDS = 5.0
"""How long the end of what is being done is waited for: a pass of a model cannot be broken off."""

STOPPING = "the service is shutting down; ask again in a moment"


class _End:
    """Marks the end of a job in its queue."""


_END: Final = _End()


class Pool(Protocol):
    """What jobs are done in."""

    def submit(self, function: Callable[[], T], /) -> Future[T] | asyncio.Task[T]:
        """Queue a function up."""

    def end(self) -> None:
        """Take no more."""


class Threads(ThreadPoolExecutor):
    """So many threads."""

    def __init__(self, places: int) -> None:
        """Do as many functions at once as there are `places`."""
        super().__init__(places, THREADS)

    def end(self) -> None:
        """Drop what waits, and wait for nothing: what is being done cannot be ended."""
        self.shutdown(wait=False, cancel_futures=True)


class Job(Generic[T]):
    """What one caller asked for: iterate it for what it yields; `leave` it when nobody needs the rest."""

    def __init__(self, make: Callable[[], Generator[T]], *, whole: bool = False) -> None:
        """Prepare to run what `make` makes; with `whole`, only what it yields last is wanted."""
        self._make, self._whole = make, whole
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[T | _End] = asyncio.Queue()
        self._last: list[T] = []
        """What is told with the end."""
        self._left = Event()
        self._future: Future[bool] | asyncio.Task[bool] = Future()

    def start(
        self,
        pool: Pool,
        ended: Callable[["Job[T]"], None],
        waited: Callable[[float], None],
    ) -> None:
        """Queue up in `pool`; `ended` is called in the event loop once no thread can be at it any more.

        `waited` hears, where it is done, after how many seconds it was begun.
        """
        queued = time.perf_counter()

        def end() -> None:
            for event in self._last:
                self._events.put_nowait(event)
            self._events.put_nowait(_END)
            ended(self)

        # What is known of the request goes along: its id is passed on to the services that are asked for it.
        run = partial(self._run, lambda: waited(time.perf_counter() - queued))
        self._future = pool.submit(partial(copy_context().run, run))
        self._future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(end))

    def leave(self) -> None:
        """Give up the place in the queue, or end the work after what it yields next."""
        self._left.set()
        self._future.cancel()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield what the job yields and raise what it raises; `Stopping` when it was ended early."""
        while not isinstance(event := await self._events.get(), _End):
            yield event
        if self._future.cancelled() or not self._future.result():
            raise Stopping(STOPPING)

    def _run(self, begin: Callable[[], None]) -> bool:
        begin()
        with closing(self._make()) as events:
            for event in events:
                if self._whole:
                    self._last = [event]
                else:
                    self._loop.call_soon_threadsafe(self._events.put_nowait, event)
                if self._left.is_set():
                    return False
        return True


class Worker:
    """The threads and their queue. All methods belong to the event loop."""

    def __init__(
        self,
        max_waiting: int,
        threads: int = 1,
        pool: Callable[[int], Pool] = Threads,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Do as many jobs at once as there are threads, and let `max_waiting` wait meanwhile.

        `pool` makes what does them; `waited` hears, from whatever thread, how many seconds each job waited.
        """
        self.max_waiting, self.threads, self._waited = max_waiting, threads, waited
        self._jobs: set[Job[Any]] = set()
        self._idle = asyncio.Event()
        self._closed = False
        self._pool = pool(threads)

    @property
    def waiting(self) -> int:
        """How many jobs wait behind those that are being done."""
        return max(len(self._jobs) - self.threads, 0)

    def submit(self, make: Callable[[], Generator[T]], *, whole: bool = False) -> Job[T]:
        """Queue a job up, of which all or, with `whole`, only what it yields last is wanted.

        Raises `Busy` when too many wait and `Stopping` after `close`.
        """
        if self._closed:
            raise Stopping(STOPPING)
        if len(self._jobs) >= self.threads + self.max_waiting:
            raise Busy(f"{self.waiting} questions wait already, and no more may; ask again in a moment")
        job = Job(make, whole=whole)
        self._jobs.add(job)
        job.start(self._pool, self._end, self._waited)
        return job

    async def close(self, seconds: float = END_SECONDS) -> bool:
        """Drop what waits, end each job being done after what it yields next, and wait for that.

        False where one is still being done after so many `seconds`: it goes on for nobody.
        """
        self._closed = True
        for job in self._jobs:
            job.leave()
        self._pool.end()
        # Not with the pool's own waiting, which nothing can end.
        with contextlib.suppress(TimeoutError):
            while self._jobs:
                self._idle.clear()
                await asyncio.wait_for(self._idle.wait(), seconds)
        return not self._jobs

    def _end(self, job: Job[Any]) -> None:
        self._jobs.discard(job)
        if not self._jobs:
            self._idle.set()
