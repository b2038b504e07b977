"""Results that were computed before: in Redis, for as long as they may be used.

A result is bytes, sent as they were kept. Its address is a digest of everything that it depends on, so what
changes is found no more. What stands there and was not kept by this module, for this address, counts as
missing and is replaced. Equal requests in the air are answered by one computation (`service.flights`). Knows
nothing of routes, nor of what the bytes mean.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Literal, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from service.context import current
from service.flights import Flights, Make
from service.identity import EDITION
from service.reader import AT_ONCE, Reader
from service.shared import SharedRedis

MAX_BYTES = 2**20
"""The largest result that is kept."""

MARK = 16
"""Bytes before each kept result: a digest of it and its address."""

Outcome = Literal["hit", "miss", "off"]
Kind = Literal["answer", "search", "scores"]

COSTLY: frozenset[Kind] = frozenset({"answer", "scores"})
"""Kinds that take so long to compute that processes wait for one another."""

T = TypeVar("T")


class Cache:
    """The results of one service; off without a Redis. All methods belong to one event loop."""

    def __init__(
        self, shared: SharedRedis | None, *, seconds: int = 3600, max_bytes: int = MAX_BYTES
    ) -> None:
        """Keep results of at most `max_bytes` each for `seconds`."""
        self.shared, self.seconds, self.max_bytes = shared, seconds, max_bytes
        self.told: Callable[[Kind, Outcome], None] = lambda *_: None
        """Hears what became of each request."""
        self._reader = None if shared is None else Reader(shared)
        self.flights = Flights(shared, self.find, self.keep)
        """What is being made."""

    async def close(self) -> None:
        """Close the connections."""
        if self.shared is not None:
            await self.shared.close()

    async def find(self, addresses: Sequence[str]) -> dict[str, bytes]:
        """The results that there are, by their addresses."""
        if self._reader is None:
            return {}
        found: dict[str, bytes] = {}
        for some in _pieces(addresses):
            for address, value in zip(some, await self._reader.read(some), strict=True):
                if value is not None and value[:MARK] == _mark(address, value[MARK:]):
                    found[address] = value[MARK:]
        return found

    async def keep(self, results: Iterable[tuple[str, bytes]]) -> None:
        """Keep results at their addresses, but those that are larger than may be kept."""
        shared, seconds = self.shared, self.seconds
        small = [(address, value) for address, value in results if len(value) <= self.max_bytes]
        for some in _pieces(small if shared is not None else []):
            assert shared is not None
            pipeline = shared.redis.pipeline(transaction=False)
            for address, value in some:
                pipeline.set(address, _mark(address, value) + value, ex=seconds)
            await shared.ask(partial(_run, pipeline), writes=True)

    async def look(self, kind: Kind, scope: object, parts: Sequence[object]) -> "Wanted":
        """Look for the result of each of `parts`, and say what was found.

        `scope` is what results depend on beside these. Both are JSON; nothing is kept where the scope is not
        known (None).
        """
        if self.shared is None or scope is None:
            self._tell(kind, ["off"] * len(parts))
            return Wanted(self, kind, None, {}, len(parts))
        addresses = [_address(kind, scope, one) for one in parts]
        found = await self.find(addresses)
        self._tell(kind, ["hit" if address in found else "miss" for address in addresses])
        return Wanted(self, kind, addresses, found, len(parts))

    def _tell(self, kind: Kind, outcomes: Sequence[Outcome]) -> None:
        # To its client, a request is a hit where all of it was there.
        current().cache = next((one for one in outcomes if one != "hit"), "hit")
        for outcome in outcomes:
            self.told(kind, outcome)


class Wanted:
    """The results that a request wants: those that are there, and those that are to be made."""

    def __init__(
        self, cache: Cache, kind: Kind, addresses: list[str] | None, found: dict[str, bytes], count: int
    ) -> None:
        """`found` stands at some of `addresses`; without addresses, nothing is kept of `count` results."""
        self._cache, self._kind, self._addresses, self._count = cache, kind, addresses, count
        self._found = found

    @property
    def there(self) -> list[bytes] | None:
        """All results in their order, if all are there."""
        if self._addresses is None or any(one not in self._found for one in self._addresses):
            return None
        return [self._found[one] for one in self._addresses]

    async def made(self, make: Make, sure: Callable[[], bool] = lambda: True) -> list[bytes]:
        """All results. Raises what `make` raises; who waits may be cancelled.

        `make` is given the positions of those that are missing, and is cancelled when nobody waits for it any
        more: equal requests wait together. What it made is kept if `sure()` says that it is what was wanted.
        """
        if self._addresses is None:
            return list(await make(range(self._count)))
        # Of two equal parts, one is made.
        missing = {one: place for place, one in enumerate(self._addresses) if one not in self._found}
        flights, alone = self._cache.flights, self._kind in COSTLY
        self._found |= await flights.make(missing, make, sure, alone=alone)
        return [self._found[one] for one in self._addresses]

    @property
    def address(self) -> str | None:
        """Where the one result is kept that is wanted; None where nothing is kept."""
        if self._addresses is None:
            return None
        (address,) = self._addresses
        return address

    async def keep(self, results: Sequence[bytes]) -> None:
        """Keep results that were made elsewhere, in their order."""
        if self._addresses is not None:
            await self._cache.keep(zip(self._addresses, results, strict=True))


async def _run(pipeline: Pipeline, _: Redis) -> None:
    await pipeline.execute()


def _address(kind: Kind, scope: object, parts: object) -> str:
    told = json.dumps([EDITION, scope, parts], sort_keys=True)
    return f"ragnarok:{kind}:{blake2b(told.encode(), digest_size=20).hexdigest()}"


def _mark(address: str, value: bytes) -> bytes:
    return blake2b(value, digest_size=MARK, key=address.encode()[-64:]).digest()


def _pieces(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
