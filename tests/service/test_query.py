"""A question and its answer, whole and streamed."""

import json
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from ragnarok.types import Hit, Passage
from service import stream
from service.app import create_app
from service.settings import Settings
from tests.service.fakes import PASSAGES, REFERENCES, SENTENCES, Reciter, Shelf, a_pipeline
from tests.service.running import client_of, events_of

pytestmark = pytest.mark.anyio

SSE = {"Accept": "text/event-stream"}


def without_times(response: dict[str, Any]) -> dict[str, Any]:
    """An answer whose timings are only named."""
    return response | {"timings": sorted(response["timings"])}


async def test_an_answer_says_what_was_found_and_where_each_sentence_comes_from() -> None:
    async with client_of() as client:
        response = await client.post("/v1/query", json={"query": "  how to\u0000 sort "})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["cache-control"] == "no-store"
    said = response.json()
    assert said["query"] == "how to sort"
    assert said["answer"] == {
        "sentences": [{"text": s.text, "citations": list(s.citations)} for s in SENTENCES],
        "references": list(REFERENCES),
        "notes": ["one citation was dropped"],
    }
    assert [hit["docid"] for hit in said["hits"]] == [p.docid for p in reversed(PASSAGES)]
    assert said["hits"][0] == {
        "docid": "lib#last",
        "rank": 1,
        "score": 0.07,
        "first_rank": 7,
        "first_score": 3.0,
        "title": "Last",
        "text": "The last of all.",
        "url": "",
        "highlights": [{"start": 4, "end": 8, "weight": 0.7}],
        "cut": False,
    }
    assert [hit["docid"] for hit in said["hits"] if hit["cut"]] == ["lib#bare"]
    assert set(said["timings"]) == {"retrieve", "rerank", "answer"}
    assert all(0 <= seconds < 10 for seconds in said["timings"].values())


async def test_highlights_count_code_points() -> None:
    async with client_of() as client:
        said = (await client.post("/v1/query", json={"query": "q"})).json()
    (hit,) = (hit for hit in said["hits"] if hit["docid"] == "lib#emoji")
    marked = [hit["text"][mark["start"] : mark["end"]] for mark in hit["highlights"]]
    assert marked == ["Emoji", "key"]


@pytest.mark.parametrize(("headers", "body"), [(SSE, {}), ({}, {"stream": True}), (SSE, {"stream": True})])
async def test_the_stream_says_the_same_stage_by_stage(
    headers: dict[str, str], body: dict[str, bool]
) -> None:
    async with client_of() as client:
        whole = (await client.post("/v1/query", json={"query": "q"})).json()
        streamed = await client.post("/v1/query", json={"query": "q", **body}, headers=headers)
    assert streamed.status_code == 200
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["cache-control"] == "no-store"
    events = events_of(streamed.text)
    assert [name for name, _ in events] == ["hits", "reranked", *["sentence"] * 3, "done"]
    assert [hit["docid"] for hit in events[0][1]["hits"]] == [p.docid for p in PASSAGES]
    assert events[1][1]["hits"] == whole["hits"]
    assert [data for name, data in events if name == "sentence"] == whole["answer"]["sentences"]
    assert without_times(events[-1][1]) == without_times(whole)


async def test_a_silent_stream_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PING_SECONDS", 0.02)

    class Slow(Shelf):
        def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            time.sleep(0.15)
            return super().search(queries, k)

    async with client_of(a_pipeline(Slow())) as client:
        text = (await client.post("/v1/query", json={"query": "q"}, headers=SSE)).text
    assert text.startswith(": waiting\n\n")
    assert events_of(text)[-1][0] == "done"


async def test_depth_is_the_requests_or_the_services() -> None:
    async with client_of(a_pipeline(depth=3)) as client:
        cases: list[tuple[dict[str, int | None], int]] = [
            ({}, 3),
            ({"depth": None}, 3),
            ({"depth": 2}, 2),
            ({"depth": 100}, len(PASSAGES)),
        ]
        for asked, found in cases:
            said = (await client.post("/v1/query", json={"query": "q", **asked})).json()
            assert len(said["hits"]) == found


async def test_nothing_found_is_an_answer_without_sentences() -> None:
    async with client_of(a_pipeline(Shelf(()))) as client:
        said = (await client.post("/v1/query", json={"query": "q"})).json()
    assert said["hits"] == []
    assert said["answer"] == {"sentences": [], "references": [], "notes": ["no passage was found"]}


async def test_every_script_goes_in_and_comes_out() -> None:
    query = 'مرحبا 👩‍👩‍👧 \u2028 naïve \\ "quoted" <b>'
    shelf = Shelf([Passage("a", "one\ntwo\r\n\r\nevent: done\ndata: {}\u2028", "t\n\nt")])
    async with client_of(a_pipeline(shelf)) as client:
        whole = (await client.post("/v1/query", json={"query": query})).json()
        events = events_of((await client.post("/v1/query", json={"query": query}, headers=SSE)).text)
    assert shelf.asked[0] == whole["query"] == 'مرحبا 👩‍👩‍👧 naïve \\ "quoted" <b>'
    assert without_times(events[-1][1]) == without_times(whole)
    assert whole["hits"][0]["text"] == shelf.passages[0].text


async def test_health_and_readiness() -> None:
    async with client_of() as client:
        alive, ready = await client.get("/healthz"), await client.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive", "waiting": 0})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "waiting": 0})


async def test_before_the_pipeline_is_there_the_process_lives_but_is_not_ready() -> None:
    app = create_app(Settings(), a_pipeline())  # never started
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/healthz")).status_code == 200
        for response in (await client.get("/readyz"), await client.post("/v1/query", json={"query": "q"})):
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
            assert response.json()["type"] == "urn:ragnarok:problem:not-ready"


async def test_the_document_describes_both_forms_and_every_refusal() -> None:
    async with client_of() as client:
        document = (await client.get("/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 404  # it would load scripts from elsewhere
    responses = document["paths"]["/v1/query"]["post"]["responses"]
    refused = {"400", "401", "408", "413", "415", "422", "429", "500", "502", "503", "504"}
    assert set(responses) == {"200"} | refused
    assert set(responses["200"]["content"]) == {"application/json", "text/event-stream"}
    names = set(document["components"]["schemas"])
    used = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert used <= names
    assert "Problem" in used


async def test_an_error_in_mid_stream_ends_it_with_the_same_problem() -> None:
    async with client_of(a_pipeline(reciter=Reciter(error=ZeroDivisionError("secret")))) as client:
        streamed = events_of((await client.post("/v1/query", json={"query": "q"}, headers=SSE)).text)
        whole = await client.post("/v1/query", json={"query": "q"})
    assert [name for name, _ in streamed] == ["hits", "reranked", "sentence", "error"]
    assert whole.status_code == 500
    assert streamed[-1][1] == whole.json()
    assert "secret" not in whole.text
