"""One computation for equal requests in the air.

Within a process always: who comes while a result is being made waits for it. Across processes, where that is
worth it, by a lease in Redis: whoever holds it computes, the others look now and then whether the result is
there. Knows nothing of what is computed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.shared import SharedRedis

LEASE_SECONDS = 5.0
"""How long a process may compute before another one that wants the same does so too."""

POLL_SECONDS = 0.05

Results = dict[str, bytes]
Make = Callable[[Sequence[int]], Awaitable[Sequence[bytes]]]


@dataclass(slots=True, eq=False)
class _Flight:
    """One computation, and how many wait for it."""

    task: asyncio.Task[Results]
    waiting: int = 0


class Flights:
    """What is being computed in this process, by address. All methods belong to one event loop."""

    def __init__(
        self,
        shared: SharedRedis | None,
        find: Callable[[Sequence[str]], Awaitable[Results]],
        keep: Callable[[Iterable[tuple[str, bytes]]], Awaitable[None]],
    ) -> None:
        """`find` and `keep` reach what has landed; `shared` holds the leases."""
        self._shared, self._find, self._keep = shared, find, keep
        self._flights: dict[str, _Flight] = {}

    async def make(
        self, missing: Mapping[str, int], make: Make, sure: Callable[[], bool], *, alone: bool
    ) -> Results:
        """The results of `missing`, addresses and their positions, some of which may be in the air already.

        `make` is given positions; `sure` says, after that, whether its results may be kept; `alone` asks for
        a lease for a single one. Raises what `make` raises; it is cancelled when nobody waits any more.
        """
        flights = {address: self._flights[address] for address in missing if address in self._flights}
        if own := [address for address in missing if address not in flights]:
            task = asyncio.ensure_future(self._run(own, [missing[one] for one in own], make, sure, alone))
            flight = _Flight(task)
            flights |= dict.fromkeys(own, flight)
            self._flights |= dict.fromkeys(own, flight)
            task.add_done_callback(lambda _: self._land(own, flight))
        taken = {id(flight): flight for flight in flights.values()}.values()
        for flight in taken:
            flight.waiting += 1
        try:
            for flight in taken:
                await asyncio.shield(flight.task)
        finally:
            for flight in taken:
                self._leave(flight)
        return {address: flight.task.result()[address] for address, flight in flights.items()}

    def _leave(self, flight: _Flight) -> None:
        flight.waiting -= 1
        if not flight.waiting and not flight.task.done():
            # Taken off before it has landed: whoever comes next must not join what is being ended.
            self._land(list(self._flights), flight)
            flight.task.cancel()

    def _land(self, addresses: Iterable[str], flight: _Flight) -> None:
        for address in addresses:
            if self._flights.get(address) is flight:
                del self._flights[address]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # Asked for: it is no news where everyone who waited has left.

    async def _run(
        self, own: list[str], places: list[int], make: Make, sure: Callable[[], bool], alone: bool
    ) -> Results:
        async with self._alone(own[0] if alone and len(own) == 1 else "") as made:
            if made:
                return made
            results = dict(zip(own, await make(places), strict=True))
            if sure():
                await self._keep(results.items())
            return results

    @asynccontextmanager
    async def _alone(self, address: str) -> AsyncIterator[Results]:
        """Hold the lease on a result, or wait for who holds it; what they have made, if they have."""
        shared, lease = self._shared, f"{address}:lease"
        if shared is None or not address:
            yield {}
            return
        milliseconds = int(LEASE_SECONDS * 1000)
        mine, made = None, Results()
        end = asyncio.get_running_loop().time() + LEASE_SECONDS
        while not made and asyncio.get_running_loop().time() < end:
            # Where there is no lease to be had, everyone computes.
            mine = await shared.ask(
                lambda redis: redis.set(lease, b"1", nx=True, px=milliseconds), False, writes=True
            )
            if mine is not None:
                break
            await asyncio.sleep(POLL_SECONDS)
            made = await self._find([address])
        try:
            yield made
        finally:
            if mine:
                await asyncio.shield(shared.ask(lambda redis: redis.delete(lease)))
