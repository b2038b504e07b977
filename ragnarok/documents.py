"""Where the states of documents are kept beyond this process: what a folder and a Redis together make."""

from pathlib import Path

from rerank.store.disk import DiskTier
from rerank.store.redis import RedisTier
from rerank.store.tiers import TieredStore
from rerank.store.types import Tier

STORE_BYTES = 10 * 10**9
"""How large a folder of documents may grow unless it is told otherwise."""


def open_store(
    folder: Path | None, limit_bytes: int = STORE_BYTES, redis_url: str | None = None
) -> Tier | None:
    """The store in a folder, in Redis, or in Redis with the folder behind it; None where neither is named.

    Raises `StoreUnusable`.
    """
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
