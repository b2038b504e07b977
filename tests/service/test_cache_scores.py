"""Re-rankings that are kept."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from ragnarok.rerankers import AttentionReranker, LateAttentionReranker
from rerank.icr import InContextReranker
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_late import reranker
from tests.service.running import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from rerank.model import Model
    from tests.rerank.test_store import Server

pytestmark = pytest.mark.anyio

QUERY = "where is the tower?"
TEXTS = ["Bananas are rich.", "The tower is in Paris.", "", "A mill by the river."]


class Counted(LateAttentionReranker):
    """Late attention that counts how often it is asked."""

    asked = 0

    def with_weight(self, first_stage: float | None, evidence: int) -> LateAttentionReranker:
        Counted.asked += 1
        return super().with_weight(first_stage, evidence)


@pytest.fixture(scope="module")
def parts(small: Model) -> Iterator[Parts]:
    """A late re-ranker that can do joint as well."""
    late = Counted(reranker(small), evidence=3)
    parts = Parts(reranker=late, modes={"late": late, "joint": AttentionReranker(InContextReranker(small))})
    parts.identities["rerank"] = lambda: "model-1"
    yield parts
    parts.close()


@asynccontextmanager
async def ranking(parts: Parts, url: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a rerank service."""
    Counted.asked = 0
    secret = None if url is None else SecretStr(url)
    async with client_of(parts, Settings(serve="rerank", model="org/tiny", redis_url=secret)) as client:
        yield client


async def rank(client: httpx.AsyncClient, path: str = "/v1/rerank", **changes: object) -> tuple[str, Any]:
    """What the cache had of a re-ranking, and the response without its own number."""
    response = await client.post(path, json={"query": QUERY, "documents": TEXTS} | changes)
    assert response.status_code == 200, response.text
    said = response.json()
    assert said.pop("id")
    return response.headers["x-cache"], said


async def test_a_ranking_is_kept_for_every_form_of_the_request(parts: Parts, redis_server: Server) -> None:
    async with ranking(parts, None) as client:
        outcome, plain = await rank(client)
        documents = (await rank(client, return_documents=True))[1]
        assert outcome == "off"
    async with ranking(parts, redis_server.url) as client:
        assert await rank(client) == ("miss", plain)
        assert await rank(client) == ("hit", plain)
        assert await rank(client, return_documents=True) == ("hit", documents)
        assert await rank(client, mode="late", model="org/tiny") == ("hit", plain)
        assert await rank(client, documents=[{"text": text, "docid": "x"} for text in TEXTS]) == (
            "hit",
            plain,
        )
        outcome, best = await rank(client, top_n=2)
        assert (outcome, best["results"]) == ("hit", plain["results"][:2])
        outcome, second = await rank(client, "/v2/rerank")
        assert (outcome, second["results"]) == ("hit", plain["results"])
        assert second["meta"]["api_version"]["version"] == "2"
        assert Counted.asked == 1
        metrics = (await client.get("/metrics")).text
    assert 'ragnarok_cache_total{kind="scores",outcome="hit"} 6.0' in metrics


async def test_whatever_changes_a_ranking_changes_its_place(parts: Parts, redis_server: Server) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"query": "another"},
        {"documents": TEXTS[::-1]},
        {"documents": ["".join(TEXTS)]},
        {"documents": [{"title": "Bananas", "text": "are rich."}, *TEXTS[1:]]},
        {"mode": "joint"},
        {"ranks": [1, 2, 3, 4]},
        {"scores": [4.0, 3.0, 2.0, 1.0]},
        {"explain": True},
        {"explain": True, "top_n": 1},
    ]
    async with ranking(parts, redis_server.url) as client:
        assert [(await rank(client, **one))[0] for one in changes] == ["miss"] * len(changes)
        assert [(await rank(client, **one))[0] for one in changes] == ["hit"] * len(changes)
        explained = (await rank(client, explain=True))[1]
        assert all("explanation" in one for one in explained["results"])
        parts.identities["rerank"] = lambda: "model-2"
        assert (await rank(client))[0] == "miss", "another model"
        parts.identities["rerank"] = lambda: "model-1"
        assert (await rank(client))[0] == "hit"
