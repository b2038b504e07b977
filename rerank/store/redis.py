"""The tier in Redis: shared by machines, lost without loss.

Redis that is gone, slow, full or filled by someone else costs at most one timeout, then nothing for a
while: the breaker lets one call try again after each pause.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from rerank.errors import StoreUnusable
from rerank.store.record import CorruptState, decode, encode
from rerank.store.types import DocumentState, StoreStats, Tally

VALUE_BYTES = 4 * 2**20
"""The largest record that is sent."""

PAUSE_SECONDS = 5.0
"""How long a Redis that failed is left alone."""

_READ = 16  # records asked for at once
_WRITE_BYTES = 2**20  # sent at once, or one record

T = TypeVar("T")


class RedisTier:
    """States in Redis under `namespace:key`, each for `ttl` seconds after it was last written.

    What bounds it is the server: `ttl` for what is no longer written, `maxmemory` with an eviction policy
    for the sum. `timeout` is how many seconds one exchange may take.
    """

    def __init__(
        self,
        url: str,
        ttl: int = 7 * 86_400,
        namespace: str = "ragnarok:document",
        timeout: float = 0.5,
        *,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        """Name the server; nothing is sent yet. Raises StoreUnusable for a URL or number that cannot be."""
        if ttl < 1 or timeout <= 0:
            raise StoreUnusable(f"ttl {ttl} and timeout {timeout}: ttl is 1 second or more, timeout over 0")
        try:
            # redis-py would retry by itself, and ask the server what it can do: here, both cost timeouts.
            self._redis = Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            shown = url.rpartition("@")[2]  # without the password
            raise StoreUnusable(f"Redis at {shown!r}: {error}. Give redis://HOST:PORT/DATABASE") from error
        self._ttl = ttl
        self._prefix = f"{namespace}:"
        self._pause = pause
        self._tally = Tally()
        self._lock = threading.Lock()
        self._rest_until = 0.0  # 0: the last call went well

    def get(self, keys: Sequence[str]) -> list[DocumentState | None]:
        """The state of each key. What is no record of its key is deleted."""
        found: dict[str, DocumentState] = {}
        foreign: list[str] = []
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), _READ):
            batch = wanted[start : start + _READ]
            names = [self._prefix + key for key in batch]
            records = self._ask(partial(self._redis.mget, names)) or [None] * len(batch)
            for key, record in zip(batch, records, strict=True):
                try:
                    if isinstance(record, bytes):
                        found[key] = decode(key, record)
                except CorruptState:
                    foreign.append(self._prefix + key)
        if foreign:
            self._ask(partial(self._redis.unlink, *foreign))
        states = [found.get(key) for key in keys]
        misses = states.count(None)
        self._tally.add(hits=len(states) - misses, misses=misses, corrupt=len(foreign))
        return states

    def put(self, items: Mapping[str, DocumentState]) -> None:
        """Keep these states; one of over `VALUE_BYTES` is not kept."""
        batch: dict[str, bytes] = {}
        size = 0
        for key, state in items.items():
            record = encode(key, state)
            if len(record) > VALUE_BYTES:
                self._tally.add(errors=1)
                continue
            if size + len(record) > _WRITE_BYTES:
                self._write(batch)
                batch, size = {}, 0
            batch[key] = record
            size += len(record)
        self._write(batch)

    def stats(self) -> StoreStats:
        """Counted since this was opened; bytes and entries are all that the server's database holds."""
        held = self._ask(lambda: (self._redis.info("memory")["used_memory"], self._redis.dbsize()))
        return self._tally.stats(*(held or (None, None)))

    def close(self) -> None:
        """Close the connections."""
        self._rest_until = math.inf
        self._redis.close()

    def _write(self, batch: Mapping[str, bytes]) -> None:
        if not batch:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, record in batch.items():
            pipeline.set(self._prefix + key, record, ex=self._ttl)
        # A server that is full or read-only says so for each value, and is no less well for that.
        answers = self._ask(partial(pipeline.execute, raise_on_error=False)) or []
        refused = sum(isinstance(answer, Exception) for answer in answers)
        self._tally.add(writes=len(answers) - refused, errors=refused)

    def _ask(self, call: Callable[[], T]) -> T | None:
        """What Redis answers; None while it is left alone, and when it fails."""
        with self._lock:
            now = time.monotonic()
            if now < self._rest_until:
                return None
            if self._rest_until:
                # It failed before: this call tries, the others wait for what becomes of it.
                self._rest_until = now + self._pause
        try:
            answer = call()
        except (RedisError, OSError, ValueError):
            self._tally.add(errors=1)
            self._rest_until = time.monotonic() + self._pause
            return None
        self._rest_until = 0.0
        return answer
