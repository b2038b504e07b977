"""One job that several may listen to: who comes while it is being done hears all of it from the start.

Events are held once, however many listen, and only while somebody does; a slow listener keeps nobody else
waiting. Knows nothing of what jobs do, nor of how their events are sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Heard = Callable[[T], Awaitable[None]]
"""Is told of each event before any listener is."""


class Source(Protocol[T_co]):
    """What is iterated for events, once: `service.worker.Job` is one."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """Its events; raises what ended it early."""

    def leave(self) -> None:
        """Nobody needs the rest."""


class Listener(Generic[T]):
    """A place at a broadcast: iterate it for all events; `leave` it when the rest is not needed."""

    def __init__(self, run: "_Run[T]") -> None:
        """Listen to `run`, from its beginning."""
        self._run, self._here = run, True
        run.listeners += 1

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield what was yielded already, and the rest as it comes; raise what the job raised."""
        run, place = self._run, 0
        while True:
            while place < len(run.events):
                yield run.events[place]
                place += 1
            if run.ended:
                break
            await run.changed.wait()
        if run.error is not None:
            raise run.error

    def leave(self) -> None:
        """Listen no more; the last one to leave ends the job."""
        if self._here:
            self._here = False
            self._run.left()


class Broadcasts(Generic[T]):
    """The jobs that are being done, by address. All methods belong to one event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self._runs: dict[str, _Run[T]] = {}

    def join(self, address: str, start: Callable[[], Source[T]], heard: Heard[T]) -> Listener[T]:
        """Listen to the job at `address`, which is what `start` begins where none is being done.

        `heard` of whoever began it is told of each event, in the context of that request. Raises what
        `start` does.
        """
        run = self._runs.get(address)
        if run is None:
            run = self._runs[address] = _Run(start(), heard, lambda ended: self._forget(address, ended))
        return Listener(run)

    def _forget(self, address: str, run: "_Run[T]") -> None:
        if self._runs.get(address) is run:
            del self._runs[address]


class _Run(Generic[T]):
    """A job, what it yielded so far, and how many listen."""

    def __init__(self, job: Source[T], heard: Heard[T], forget: "Callable[[_Run[T]], None]") -> None:
        self._job, self._heard, self._forget = job, heard, forget
        self.events: list[T] = []
        self.listeners = 0
        self.ended = False
        self.error: BaseException | None = None
        self.changed = asyncio.Event()
        """Set at the next change, and then replaced by another."""
        self._task = asyncio.create_task(self._pass_on())
        self._task.add_done_callback(self._end)

    def left(self) -> None:
        self.listeners -= 1
        if not self.listeners and not self.ended:
            # Taken off before it has ended: whoever comes next must not join what is being ended.
            self._forget(self)
            self._job.leave()
            self._task.cancel()

    async def _pass_on(self) -> None:
        async for event in self._job:
            await self._heard(event)
            self.events.append(event)
            self._tell()

    def _end(self, task: asyncio.Task[None]) -> None:
        self.error = None if task.cancelled() else task.exception()
        self.ended = True
        self._forget(self)
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
