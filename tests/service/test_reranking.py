"""Re-ranking over HTTP: through Cohere's own client library, as Jina's documentation has it, and our own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError

from ragnarok.rerankers import AttentionReranker, LateAttentionReranker
from rerank.icr import InContextReranker
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_late import reranker
from tests.service.fakes import Reverser
from tests.service.running import client_of, server_of
from tests.service.test_problems import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rerank.model import Model

QUERY = "where is the tower?"
TEXTS = ["Bananas 🍌 are rich.", "The tower is in Paris.", "", "שלום עולם", "A mill\u2028by the river."]
SETTINGS = Settings(serve="rerank", model="org/tiny", model_aliases="rerank-v3.5, jina-reranker-v2-base")


@pytest.fixture(scope="module")
def late(small: Model) -> Iterator[Parts]:
    """A late re-ranker that can do joint as well."""
    local = LateAttentionReranker(reranker(small), evidence=3)
    parts = Parts(reranker=local, modes={"late": local, "joint": AttentionReranker(InContextReranker(small))})
    yield parts
    parts.close()


@pytest.fixture(scope="module")
def address(late: Parts) -> Iterator[str]:
    """A real server."""
    with server_of(late, SETTINGS) as address:
        yield address


def order(late: Parts) -> list[tuple[int, float]]:
    """What attention alone says of `TEXTS`."""
    assert isinstance(late.reranker, LateAttentionReranker)
    scores = late.reranker.reader.read(QUERY, TEXTS).scores
    return sorted(enumerate(scores), key=lambda pair: -pair[1])


def test_coheres_client_of_version_2(address: str, late: Parts) -> None:
    with cohere.ClientV2(api_key="none", base_url=address) as client:
        said = client.rerank(
            model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=3, max_tokens_per_doc=512
        )
    expected = order(late)[:3]
    assert [result.index for result in said.results] == [place for place, _ in expected]
    assert [r.relevance_score for r in said.results] == pytest.approx([s for _, s in expected], abs=1e-5)
    assert said.id
    assert said.meta is not None
    assert said.meta.api_version is not None
    assert said.meta.api_version.version == "2"
    assert said.meta.billed_units is not None
    assert said.meta.billed_units.search_units == 1


def test_coheres_client_of_version_1(address: str, late: Parts) -> None:
    documents = [{"text": text, "title": f"T{n}"} if n % 2 else text for n, text in enumerate(TEXTS)]
    with cohere.Client(api_key="none", base_url=address) as client:
        said = client.rerank(
            model="rerank-v3.5", query=QUERY, documents=documents, return_documents=True, rank_fields=["text"]
        )
        plain = client.rerank(query=QUERY, documents=TEXTS, model="org/tiny")
    assert sorted(result.index for result in said.results) == list(range(5))
    for result in said.results:
        assert result.document is not None
        assert result.document.text == TEXTS[result.index]
    assert said.meta is not None
    assert [(r.index, r.document) for r in plain.results] == [(place, None) for place, _ in order(late)]


def test_coheres_client_hears_what_was_wrong(address: str) -> None:
    with (
        cohere.ClientV2(api_key="none", base_url=address) as client,
        pytest.raises(ApiError) as refused,
    ):
        client.rerank(model="rerank-v9", query=QUERY, documents=TEXTS)
    assert refused.value.status_code == 404
    assert "no model 'rerank-v9' is served here; ask for 'org/tiny'" in str(refused.value.body)


def test_a_request_of_jinas_documentation(address: str, late: Parts) -> None:
    body = {
        "model": "jina-reranker-v2-base",
        "query": QUERY,
        "top_n": 3,
        "documents": TEXTS,
        "return_documents": True,
        "truncation": True,
    }
    headers = {"Authorization": "Bearer jina_none", "Content-Type": "application/json"}
    said = httpx.post(f"{address}/v1/rerank", json=body, headers=headers, trust_env=False).json()
    assert (said["model"], said["object"]) == ("org/tiny", "list")
    words = len(f"{QUERY} {' '.join(TEXTS)}".split())
    assert said["usage"] == {"total_tokens": words, "prompt_tokens": words}
    for result, (place, score) in zip(said["results"], order(late), strict=False):
        assert (result["index"], result["document"]["text"]) == (place, TEXTS[place])
        assert result["relevance_score"] == pytest.approx(score, abs=1e-5)


@pytest.mark.anyio
async def test_a_score_depends_on_query_and_document_alone(late: Parts) -> None:
    async with client_of(late, SETTINGS) as client:
        whole = await ask(client, documents=TEXTS)
        alone = await ask(client, documents=[TEXTS[1]])
    (score,) = (r["relevance_score"] for r in whole["results"] if r["index"] == 1)
    assert alone["results"][0]["relevance_score"] == pytest.approx(score, abs=1e-5)
    assert whole["mode"] == "late"


async def ask(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    """What is answered to a request."""
    response = await client.post("/v1/rerank", json={"query": QUERY, **body})
    assert response.status_code == 200, response.text
    said: dict[str, Any] = response.json()
    return said


@pytest.mark.anyio
async def test_a_first_stage_counts_if_it_is_sent(late: Parts) -> None:
    assert isinstance(late.reranker, LateAttentionReranker)
    heavy = late.reranker.with_weight(1e6, 0)
    async with client_of(Parts(reranker=heavy, modes={"late": heavy}), SETTINGS) as client:
        alone = await ask(client, documents=TEXTS)
        ranked = await ask(client, documents=TEXTS, ranks=[3, 1, 2, 5, 4])
        scored = await ask(client, documents=TEXTS, scores=[3, 5, 4, 1, 2.5])
    assert [r["index"] for r in alone["results"]] == [place for place, _ in order(late)]
    assert [r["index"] for r in ranked["results"]] == [1, 2, 0, 4, 3]
    assert [r["index"] for r in scored["results"]] == [1, 2, 0, 4, 3]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["late", "joint"])
async def test_an_explanation_adds_up(late: Parts, mode: str) -> None:
    async with client_of(late, SETTINGS) as client:
        said = await ask(client, documents=[*TEXTS, {"title": "Tower", "text": "x"}], mode=mode, explain=True)
        plain = await ask(client, documents=TEXTS, mode=mode)
    assert said["mode"] == mode
    assert not any("explanation" in result for result in plain["results"])
    for result in said["results"]:
        told = result["explanation"]
        text = [*TEXTS, "x"][result["index"]]
        assert all(0 <= mark["start"] < mark["end"] <= len(text) for mark in told["highlights"])
        if mode == "late":
            total = told["constant"] + sum(token["score"] for token in told["tokens"])
            assert total == pytest.approx(result["relevance_score"], abs=1e-3)
    assert any(result["explanation"]["highlights"] for result in said["results"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "/documents: Field required"),
        ({"documents": "text"}, 422, "/documents"),
        ({"documents": [5]}, 422, "/documents/0"),
        ({"documents": [{"title": "t"}]}, 422, "/documents/0.*Field required"),
        ({"documents": ["a"], "top_n": 0}, 422, "/top_n"),
        ({"documents": ["a"], "query": " "}, 422, "question is empty"),
        ({"documents": ["a"], "ranks": [1, 2]}, 422, "2 ranks for 1 documents"),
        ({"documents": ["a"], "ranks": [0]}, 422, "ranks count from 1, and one is 0"),
        ({"documents": ["a"], "scores": []}, 422, "0 scores for 1 documents"),
        ({"documents": ["a"], "rank_fields": ["body"]}, 422, "not 'body': put the rest in text"),
        ({"documents": ["a"], "mode": "both"}, 422, "/mode"),
        ({"documents": ["a"] * 9}, 422, "9 documents are over this service's limit of 8"),
        ({"documents": ["a" * 3_000]}, 413, "limit of 2,000 bytes"),
        ({"documents": ["a"], "model": "gpt"}, 404, "no model 'gpt'"),
    ],
)
async def test_what_cannot_be_ranked(late: Parts, body: dict[str, Any], status: int, said: str) -> None:
    limits = {"max_documents": 8, "max_documents_bytes": 2_000, "max_body_bytes": 100}
    async with client_of(late, SETTINGS.model_copy(update=limits)) as client:
        response = await client.post("/v1/rerank", json={"query": QUERY, **body})
    assert re.search(said, problem(response, status)["detail"])


@pytest.mark.anyio
async def test_a_mode_that_is_not_there(late: Parts) -> None:
    for parts, said in (
        (Parts(reranker=Reverser()), "re-ranks in one way only, not late"),
        (Parts(reranker=late.reranker, modes={"joint": late.modes["joint"]}), "re-ranks joint, not late"),
    ):
        async with client_of(parts, SETTINGS) as client:
            response = await client.post(
                "/v1/rerank", json={"query": "q", "documents": ["a"], "mode": "late"}
            )
        assert said in problem(response, 422)["detail"]


@pytest.mark.anyio
async def test_no_document_is_an_empty_list(late: Parts) -> None:
    async with client_of(late, SETTINGS) as client:
        for mode in ("late", "joint"):
            assert (await ask(client, documents=[], mode=mode, explain=True))["results"] == []
