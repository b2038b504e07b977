"""Where the states of documents are kept beyond this process: what a folder and a Redis together make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rerank.store.types import Tier

STORE_BYTES = 10 * 10**9
"""How large a folder of documents may grow unless it is told otherwise."""


def open_store(
    folder: Path | None, limit_bytes: int = STORE_BYTES, redis_url: str | None = None
) -> Tier | None:
    """The store in a folder, in Redis, or in Redis with the folder behind it; None where neither is named.

    Raises `StoreUnusable`.
    """
    # Not at the top: these load torch, which naming a store does not need.
    from rerank.store.disk import DiskTier
    from rerank.store.redis import RedisTier
    from rerank.store.tiers import TieredStore

    disk = None if folder is None else DiskTier(folder, limit_bytes)
    if redis_url is None:
        return disk
    try:
        redis = RedisTier(redis_url)
    except BaseException:
        if disk is not None:
            disk.close()
        raise
    return redis if disk is None else TieredStore({"redis": redis, "disk": disk})


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """A store before it is opened: a `folder` that may grow to `limit_bytes`, a `redis` URL, both, or none.

    The URL may hold a password, and is not shown.
    """

    folder: Path | None = None
    limit_bytes: int = STORE_BYTES
    redis: str | None = field(default=None, repr=False)

    @property
    def is_named(self) -> bool:
        """Whether there is a store to open."""
        return self.folder is not None or self.redis is not None

    def open(self) -> Tier | None:
        """The store, or None where none is named. Raises `StoreUnusable`."""
        return open_store(self.folder, self.limit_bytes, self.redis)
