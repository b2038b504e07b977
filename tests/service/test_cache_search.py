"""Searches that are kept, each query by itself and for every form in which it is asked."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from indexes import Hit, Index, Method
from service.library import Library
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_store import Server
from tests.service.running import client_of

pytestmark = pytest.mark.anyio


class Counted(Library):
    """Indexes that note what is searched for."""

    asked: list[str]

    def search(
        self,
        name: str,
        queries: Sequence[str],
        hits: int,
        *,
        method: Method | None = None,
        k1: float | None = None,
        b: float | None = None,
    ) -> list[list[Hit]]:
        self.asked += queries
        return super().search(name, queries, hits, method=method, k1=k1, b=b)


@asynccontextmanager
async def searching(
    index: Index, url: str | None, **settings: object
) -> AsyncIterator[tuple[httpx.AsyncClient, list[str]]]:
    """A client of a retrieval service, and what was searched for there."""
    given = {"serve": "retrieval", "index": "small", "redis_url": url and SecretStr(url)}
    chosen = Settings.model_validate(given | settings)
    library = Counted({"small": index}, chosen)
    library.asked = []
    async with client_of(Parts(library=library), chosen) as client:
        yield client, library.asked


async def batch(client: httpx.AsyncClient, *queries: str, **how: object) -> tuple[str, list[Any]]:
    """What the cache had of a batch, and the hits of each query."""
    response = await client.post("/v1/search", json={"queries": queries, **how})
    assert response.status_code == 200, response.text
    assert response.json()["index"] == "small"
    return response.headers["x-cache"], response.json()["results"]


async def test_each_query_is_kept_by_itself(small_index: Index, redis_server: Server) -> None:
    async with searching(small_index, None) as (client, _):
        outcome, plain = await batch(client, "river", "Paris", "", "river")
    assert outcome == "off"
    async with searching(small_index, redis_server.url) as (client, asked):
        assert await batch(client, "river", "Paris", "", "river") == ("miss", plain)
        assert asked == ["river", "Paris", ""], "of two equal ones, one"
        assert await batch(client, "Paris", "river") == ("hit", [plain[1], plain[0]])
        outcome, some = await batch(client, "Paris", "bananas")
        assert (outcome, some[0], asked[3:]) == ("miss", plain[1], ["bananas"])
        metrics = (await client.get("/metrics")).text
    assert 'ragnarok_cache_total{kind="search",outcome="hit"} 3.0' in metrics
    assert 'ragnarok_cache_total{kind="search",outcome="miss"} 5.0' in metrics


async def test_all_forms_share_what_is_kept(small_index: Index, redis_server: Server) -> None:
    forms = (
        ("GET", "/v1/small/search?query=river&hits=2", None),
        ("POST", "/v1/indexes/small/search", {"query": "river", "hits": 2}),
    )
    async with searching(small_index, None) as (client, _):
        plain = [(await client.request(method, path, json=body)).json() for method, path, body in forms]
    async with searching(small_index, redis_server.url) as (client, asked):
        await batch(client, "river", hits=2)
        for (method, path, body), expected in zip(forms, plain, strict=True):
            response = await client.request(method, path, json=body)
            assert (response.headers["x-cache"], response.json()) == ("hit", expected)
        assert asked == ["river"]


async def test_whatever_changes_a_search_changes_its_place(small_index: Index, redis_server: Server) -> None:
    async with searching(small_index, redis_server.url) as (client, _):
        assert (await batch(client, "river"))[0] == "miss"
        assert (await batch(client, "river", method="bm25"))[0] == "miss"
        assert (await batch(client, "river", k1=0.9, b=0.4))[0] == "hit", "the service's own"
        for how in ({"k1": 1.2}, {"b": 0.7}, {"hits": 3}):
            assert (await batch(client, "river", **how))[0] == "miss"
    async with searching(small_index, redis_server.url, k1=1.2) as (client, _):
        assert (await batch(client, "river"))[0] == "miss"


async def test_what_cannot_be_searched_is_not_kept(small_index: Index, redis_server: Server) -> None:
    async with searching(small_index, redis_server.url) as (client, _):
        for _ in range(2):
            refused = await client.post("/v1/search", json={"queries": ["q"], "method": "dense"})
            assert refused.status_code == 422
            assert (await client.get("/v1/other/search?query=q")).status_code == 404
        with Redis.from_url(redis_server.url) as redis:
            assert redis.keys() == []


async def test_a_large_batch_takes_several_exchanges(small_index: Index, redis_server: Server) -> None:
    queries = [f"river {n}" for n in range(150)]
    async with searching(small_index, redis_server.url) as (client, asked):
        first, again = await batch(client, *queries), await batch(client, *queries)
        assert (first[0], again[0]) == ("miss", "hit")
        assert first[1] == again[1]
        assert len(asked) == 150
        with Redis.from_url(redis_server.url) as redis:
            redis.delete(*redis.keys()[:20])
        assert (await batch(client, *queries))[1] == first[1]
        assert len(asked) == 170
