"""Results that were computed before: in Redis, for as long as they may be used.

A result's address is a digest of everything that it depends on, so what changes is found no more. What stands
there and is no such result counts as missing and is replaced. Equal requests in the air are answered by one
computation: within a process always, across processes where Redis is there. Knows nothing of routes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from service.context import current
from service.shared import SharedRedis

VERSION = 1
"""Part of every address and value. Raise it when the same request begins to give another result."""

LEASE_SECONDS = 5.0
"""How long a process may compute before another one that wants the same does so too."""

POLL_SECONDS = 0.05

Outcome = Literal["hit", "miss", "off"]
Kind = Literal["answer"]

T = TypeVar("T", bound=BaseModel)


@dataclass(slots=True)
class _Flight:
    """One computation, and how many wait for it."""

    task: asyncio.Task[BaseModel]
    waiting: int = 0


class Slot(Generic[T]):
    """The place of one result: `find` it, or `keep` it once it is there."""

    def __init__(self, cache: "Cache", kind: Kind, key: str, model: type[T]) -> None:
        """Name the place."""
        self._cache, self.kind, self.key, self.model = cache, kind, key, model

    async def find(self) -> T | None:
        """The result, if there is one."""
        shared = self._cache.shared
        if shared is None:
            return None
        text = await shared.ask(lambda redis: redis.get(self.key))
        if text is None:
            return None
        try:
            record = json.loads(text)
            if record["version"] != VERSION or record["key"] != self.key:
                return None
            return self.model.model_validate(record["value"])
        except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
            return None

    async def keep(self, result: T) -> None:
        """Keep a result, unless it is larger than may be kept."""
        shared, seconds = self._cache.shared, self._cache.seconds
        record = {"version": VERSION, "key": self.key, "value": result.model_dump(mode="json")}
        value = json.dumps(record, ensure_ascii=False).encode()
        if shared is not None and len(value) <= self._cache.max_bytes:
            await shared.ask(lambda redis: redis.set(self.key, value, ex=seconds))


class Cache:
    """The results of one service; off without a Redis. All methods belong to one event loop."""

    def __init__(
        self,
        shared: SharedRedis | None,
        *,
        seconds: int = 3600,
        max_bytes: int = 2**20,
        scope: Callable[[], object] = lambda: None,
    ) -> None:
        """Keep results of at most `max_bytes` each for `seconds`.

        `scope` says, in JSON, what all results depend on beside their request, and None while that is not
        known (nothing is kept then).
        """
        self.shared, self.seconds, self.max_bytes = shared, seconds, max_bytes
        self._scope = scope
        self.told: Callable[[Kind, Outcome], None] = lambda *_: None
        """Hears what became of each request."""
        self._flights: dict[str, _Flight] = {}

    async def close(self) -> None:
        """Close the connections."""
        if self.shared is not None:
            await self.shared.close()

    def slot(self, kind: Kind, parts: object, model: type[T]) -> Slot[T] | None:
        """The place of the result that `parts` (JSON) ask for; None where nothing is kept."""
        scope = self._scope() if self.shared is not None else None
        if scope is None:
            return None
        told = json.dumps([VERSION, kind, scope, parts], sort_keys=True, ensure_ascii=False, default=str)
        digest = blake2b(told.encode(errors="surrogatepass"), digest_size=20).hexdigest()
        return Slot(self, kind, f"ragnarok:{kind}:{digest}", model)

    def tell(self, kind: Kind, outcome: Outcome) -> None:
        """Say what became of a request, to its client and to the counters."""
        current().cache = outcome
        self.told(kind, outcome)

    async def get_or_make(
        self, kind: Kind, parts: object, model: type[T], make: Callable[[], Awaitable[T]]
    ) -> T:
        """The result of `parts`, found or made. Raises what `make` raises; whoever waits may be cancelled.

        `make` ends, cancelled, when nobody waits for it any more.
        """
        slot = self.slot(kind, parts, model)
        if slot is None:
            self.tell(kind, "off")
            return await make()
        if found := await slot.find():
            self.tell(kind, "hit")
            return found
        self.tell(kind, "miss")
        key = slot.key
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(self._make(slot, make)))
            flight.task.add_done_callback(lambda task: self._land(key, task))
        flight.waiting += 1
        try:
            result = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Left before it has landed: whoever comes next must not join what is being ended.
                self._flights.pop(slot.key, None)
                flight.task.cancel()
        assert isinstance(result, model)
        return result

    def _land(self, key: str, task: asyncio.Task[BaseModel]) -> None:
        if key in self._flights and self._flights[key].task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # Asked for: it is no news where everyone who waited has left.

    async def _make(self, slot: Slot[T], make: Callable[[], Awaitable[T]]) -> BaseModel:
        async with self._alone(slot) as made:
            if made is not None:
                return made
            result = await make()
            await slot.keep(result)
            return result

    @asynccontextmanager
    async def _alone(self, slot: Slot[T]) -> AsyncIterator[T | None]:
        """Hold the lease on a result, or wait for who holds it; what they have made, if they have."""
        shared, lease = self.shared, f"{slot.key}:lease"
        assert shared is not None
        milliseconds = int(LEASE_SECONDS * 1000)
        mine, made = None, None
        end = asyncio.get_running_loop().time() + LEASE_SECONDS
        while asyncio.get_running_loop().time() < end:
            mine = await shared.ask(lambda redis: redis.set(lease, b"1", nx=True, px=milliseconds))
            if mine or not shared.up:
                break
            await asyncio.sleep(POLL_SECONDS)
            if made := await slot.find():
                break
        try:
            yield made
        finally:
            if mine:
                await asyncio.shield(shared.ask(lambda redis: redis.delete(lease)))
