"""A Redis that several processes share, and that may be away at any time.

Redis that is gone or slow costs one short timeout, then nothing for a while: after each pause one call tries
again. One that answers and refuses a command is there, and is asked on; what is refused as a write (it is
full, or a read-only replica) only keeps other writes from being tried for a while. What it is asked for must
be dispensable. Knows nothing of what is kept there.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from ragnarok.errors import BadSetting

TIMEOUT_SECONDS = 0.25
"""How long one exchange may take."""

PAUSE_SECONDS = 2.0
"""How long a Redis that failed is left alone, and one that refused a write is sent none."""

WARN_SECONDS = 60.0
"""A Redis that stays away, or goes on refusing, is spoken of this often."""

CONNECTIONS = 64

_log = logging.getLogger("uvicorn.error")

T = TypeVar("T")


def _check_database(url: str) -> None:
    """Refuse a database that is no number, which redis-py would take for the first, with a ValueError."""
    parts = urlsplit(url)
    name = parts.path.strip("/")
    if parts.scheme in {"redis", "rediss"} and name and not name.isdecimal():
        raise ValueError(f"{name!r} is no number of a database")


@dataclass(slots=True)
class _Rest:
    """A time in which something is not tried, but for one call after each pause."""

    pause: float
    until: float = 0.0
    """0: the last call went well."""

    def asks_for_it(self) -> bool:
        """Whether a call is to do without; one that is not, after a failure, tries for all others."""
        if not self.until:
            return False
        now = time.monotonic()
        if now < self.until:
            return True
        self.until = now + self.pause
        return False

    def begin(self) -> None:
        """It failed just now."""
        self.until = time.monotonic() + self.pause


class SharedRedis:
    """One server for all that asks it; all methods belong to one event loop."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS, pause: float = PAUSE_SECONDS) -> None:
        """Name the server; nothing is sent yet. Raises `BadSetting` for a URL that cannot be."""
        self.place = url.rpartition("@")[2].partition("?")[0]
        """The server's address without its password."""
        try:
            _check_database(url)
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
        self.refusals = 0
        """Commands that the server answered with an error."""
        self._away, self._unwritable = _Rest(pause), _Rest(pause)
        self._warned: dict[str, float] = {}

    @property
    def up(self) -> bool:
        """Whether the last exchange went well, or none was tried."""
        return not self._away.until

    async def ask(
        self, call: Callable[[Any], Awaitable[T]], otherwise: T | None = None, *, writes: bool = False
    ) -> T | None:
        """What `call(redis)` answers; `otherwise` where Redis is left alone, fails or refuses.

        `writes` says that the call changes something there: where that is refused, writes rest for a while.
        """
        if self._away.asks_for_it() or (writes and self._unwritable.asks_for_it()):
            return otherwise
        try:
            answer = await call(self.redis)
        except ResponseError as error:
            self._away.until = 0.0
            self._refused(error, writes=writes)
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(error)
        else:
            self._away.until = 0.0
            if writes:
                self._unwritable.until = 0.0
            return answer
        return otherwise

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    def _fail(self, error: Exception) -> None:
        self.errors += 1
        self._away.begin()
        self._warn("does not serve", type(error).__name__)

    def _refused(self, error: ResponseError, *, writes: bool) -> None:
        self.refusals += 1
        if writes:
            self._unwritable.begin()
        self._warn("refuses to write" if writes else "refuses to read", str(error)[:200])

    def _warn(self, what: str, why: str) -> None:
        now = time.monotonic()
        if now - self._warned.get(what, -WARN_SECONDS) >= WARN_SECONDS:
            self._warned[what] = now
            _log.warning("Redis at %s %s (%s): going on without what it shares", self.place, what, why)
