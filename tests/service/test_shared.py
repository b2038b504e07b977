"""A real Redis that is full, read-only, or away: what is refused does not stop what is not."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis import Redis

from ragnarok.errors import BadSetting
from service.cache import Cache
from service.shared import SharedRedis
from tests.rerank.test_store import Server
from tests.service.caching import ask, asking

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are heard once, whatever servers of other tests have made of their logger."""
    logger = logging.getLogger("uvicorn.error")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.WARNING, logger.name)


@asynccontextmanager
async def shared_at(server: Server, pause: float = 2.0) -> AsyncIterator[SharedRedis]:
    """A Redis that is shared, until the block ends."""
    shared = SharedRedis(server.url, pause=pause)
    yield shared
    await shared.close()


@pytest.mark.parametrize("url", ["redis://:hush@host:6379/cache", "redis://host/1x", "host:6379"])
async def test_what_is_no_redis_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match=r"cannot be named so: .*; give redis://HOST") as caught:
        SharedRedis(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://host", "rediss://host:1/15", "redis://host/", "unix:///a/b?db=2"])
async def test_what_may_be_a_redis(url: str) -> None:
    await SharedRedis(url).close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of Redis."""
    return [record.getMessage() for record in caplog.records if "Redis" in record.getMessage()]


async def test_a_full_redis_is_still_read(redis_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with Redis.from_url(redis_server.url) as redis:
        async with asking(redis_server.url) as (client, counting):
            assert (await ask(client))[0] == "miss"
            redis.config_set("maxmemory-policy", "noeviction")
            redis.config_set("maxmemory", "1mb")
            start = time.monotonic()
            for n in range(5):
                assert (await ask(client, query=f"new {n}"))[0] == "miss"
                assert (await ask(client))[0] == "hit", "at once after what was refused"
            assert time.monotonic() - start < 4, "no lease is waited for"
            assert counting.asked == 6
            metrics = (await client.get("/metrics")).text
            assert "ragnarok_redis_up 1.0" in metrics
    (said,) = warnings(caplog)
    assert "refuses to write (command not allowed when used memory > 'maxmemory'" in said


async def test_a_read_only_replica_is_still_read(
    redis_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(redis_server.url) as (client, _):
        assert (await ask(client))[0] == "miss"
        with Redis.from_url(redis_server.url) as redis:
            assert redis.config_get("replica-read-only") == {"replica-read-only": "yes"}
            # Of a master that is not there, whose old data it goes on serving.
            redis.replicaof("127.0.0.1", "1")
            for n in range(3):
                assert (await ask(client, query=f"new {n}"))[0] == "miss"
                assert (await ask(client))[0] == "hit"
            redis.replicaof("NO", "ONE")
    assert [said for said in warnings(caplog) if "refuses to write" in said] == warnings(caplog)
    assert len(warnings(caplog)) == 1


async def test_refused_writes_rest_and_begin_again(redis_server: Server) -> None:
    with Redis.from_url(redis_server.url) as redis:
        async with shared_at(redis_server, pause=0.2) as shared:
            cache = Cache(shared)
            redis.config_set("maxmemory-policy", "noeviction")
            redis.config_set("maxmemory", "1mb")
            for _ in range(5):
                await cache.keep([("ragnarok:a", b"value")])
            assert (shared.refusals, shared.errors, shared.up) == (1, 0, True), "one was tried"
            redis.config_set("maxmemory", "0")
            time.sleep(0.25)
            await cache.keep([("ragnarok:a", b"value")])
            assert await cache.find(["ragnarok:a"]) == {"ragnarok:a": b"value"}


async def test_a_refused_read_does_not_pause_the_next(redis_server: Server) -> None:
    with Redis.from_url(redis_server.url) as redis:
        redis.lpush("list", "of another type")
        redis.set("there", "yes")
    async with shared_at(redis_server) as shared:
        assert await shared.ask(lambda r: r.get("list"), b"otherwise") == b"otherwise"
        assert await shared.ask(lambda r: r.get("there")) == b"yes"
        assert (shared.refusals, shared.errors, shared.up) == (1, 0, True)


async def test_one_that_is_away_is_left_alone_for_a_while(
    redis_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared_at(redis_server, pause=0.3) as shared:
        redis_server.stop()
        for _ in range(5):
            assert await shared.ask(lambda r: r.get("there")) is None
        assert (shared.errors, shared.up) == (1, False), "one was tried"
        redis_server.start()
        time.sleep(0.35)
        await shared.ask(lambda r: r.set("there", "yes"), writes=True)
        assert await shared.ask(lambda r: r.get("there")) == b"yes"
        assert shared.up
    assert len(warnings(caplog)) == 1
