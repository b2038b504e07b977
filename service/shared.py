"""A Redis that several processes share, and that may be away at any time.

Redis that is gone or slow costs one short timeout, then nothing for a while: after each pause one call tries
again. What it is asked for must be dispensable.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis, RedisError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ragnarok.errors import BadSetting

TIMEOUT_SECONDS = 0.25
"""How long one exchange may take."""

PAUSE_SECONDS = 2.0
"""How long a Redis that failed is left alone."""

WARN_SECONDS = 60.0
"""A Redis that stays away is spoken of this often."""

CONNECTIONS = 64

_log = logging.getLogger("uvicorn.error")

T = TypeVar("T")


class SharedRedis:
    """One server for all that asks it; all methods belong to one event loop."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS, pause: float = PAUSE_SECONDS) -> None:
        """Name the server; nothing is sent yet. Raises `BadSetting` for a URL that cannot be."""
        self.place = url.rpartition("@")[2].partition("?")[0]
        """The server's address without its password."""
        try:
            # redis-py would retry by itself, and ask the server what it can do: here, both cost timeouts.
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=timeout,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise BadSetting(
                f"Redis at {self.place!r} cannot be named so: {error}; give redis://HOST:PORT/DATABASE"
            ) from None
        self.redis: Redis = Redis(connection_pool=pool)
        self.errors = 0
        """Exchanges that failed."""
        self._pause = pause
        self._rest_until = 0.0  # 0: the last call went well
        self._warned = -WARN_SECONDS

    @property
    def up(self) -> bool:
        """Whether the last exchange went well, or none was tried."""
        return not self._rest_until

    async def ask(self, call: Callable[[Any], Awaitable[T]]) -> T | None:
        """What `call(redis)` answers; None while Redis is left alone, and when it fails."""
        now = time.monotonic()
        if now < self._rest_until:
            return None
        if self._rest_until:
            # It failed before: this call tries, the others do without meanwhile.
            self._rest_until = now + self._pause
        try:
            answer = await call(self.redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)
            return None
        self._rest_until = 0.0
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    def _fail(self, error: Exception) -> None:
        self.errors += 1
        now = time.monotonic()
        self._rest_until = now + self._pause
        if now - self._warned >= WARN_SECONDS:
            self._warned = now
            why = type(error).__name__
            _log.warning("Redis at %s does not serve (%s): going on without what it shares", self.place, why)
