"""Streams that are kept, and kept answers that are replayed as streams."""

import json
from threading import Semaphore

import httpx
import pytest
from pydantic import SecretStr

from service.parts import parts_of
from service.settings import STAGES, Settings
from tests.rerank.test_store import Server
from tests.service.caching import QUESTION, asking
from tests.service.conftest import Serve
from tests.service.fakes import PASSAGES, SENTENCES, Reciter, a_pipeline
from tests.service.running import WAIT, events_of

CHAT = {"messages": [{"role": "user", "content": QUESTION["query"]}]}


async def streamed(client: httpx.AsyncClient) -> httpx.Response:
    """The question, as events."""
    response = await client.post("/v1/query", json=QUESTION | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    return response


@pytest.mark.anyio
async def test_a_stream_is_kept_for_both_forms(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        first, second = await streamed(client), await streamed(client)
        whole = await client.post("/v1/query", json=QUESTION)
        metrics = (await client.get("/metrics")).text
    assert [one.headers["x-cache"] for one in (first, second, whole)] == ["miss", "hit", "hit"]
    assert second.text == first.text, "to the letter, with the times that it took"
    assert events_of(second.text)[-1] == ("done", whole.json())
    assert counting.asked == 1
    assert 'ragnarok_cache_total{kind="answer",outcome="hit"} 2.0' in metrics


@pytest.mark.anyio
async def test_a_whole_answer_is_replayed(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        whole = (await client.post("/v1/query", json=QUESTION)).json()
        events = events_of((await streamed(client)).text)
    assert [name for name, _ in events] == ["hits", "reranked", *["sentence"] * 3, "done"]
    assert [hit["docid"] for hit in events[0][1]["hits"]] == [p.docid for p in PASSAGES]
    assert [hit["rank"] for hit in events[0][1]["hits"]] == list(range(1, len(PASSAGES) + 1))
    assert events[1][1]["hits"] == whole["hits"]
    assert events[-1][1] == whole
    assert counting.asked == 1


@pytest.mark.anyio
async def test_a_stream_that_is_not_kept_says_so() -> None:
    async with asking(None) as (client, _):
        assert [(await streamed(client)).headers["x-cache"] for _ in range(2)] == ["off", "off"]


@pytest.mark.anyio
async def test_a_stream_that_fails_is_not_kept(redis_server: Server) -> None:
    async with asking(redis_server.url, reciter=Reciter(error=ZeroDivisionError())) as (client, _):
        for _ in range(2):
            response = await streamed(client)
            assert response.headers["x-cache"] == "miss"
            assert events_of(response.text)[-1][0] == "error"


def test_a_stream_that_is_left_is_not_kept(redis_server: Server, serve: Serve) -> None:
    steps = Semaphore(1)
    parts = parts_of(a_pipeline(reciter=(reciter := Reciter(steps))))
    parts.identities = dict.fromkeys(STAGES, lambda: "fakes")
    url = f"{serve(parts, Settings(redis_url=SecretStr(redis_server.url)))}/v1/query"
    with httpx.stream("POST", url, json=QUESTION | {"stream": True}, timeout=WAIT) as response:
        assert "event: sentence" in response.iter_lines()
    while not reciter.closed.wait(0.05):
        steps.release()
    assert reciter.said < len(SENTENCES)
    steps.release(3)
    assert httpx.post(url, json=QUESTION, timeout=WAIT).headers["x-cache"] == "miss"


@pytest.mark.anyio
async def test_chat_shares_what_is_kept(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        await client.post("/v1/query", json=QUESTION)
        whole = await client.post("/v1/chat/completions", json=CHAT)
        stream = await client.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert (whole.headers["x-cache"], stream.headers["x-cache"]) == ("hit", "hit")
    assert counting.asked == 1
    blocks = [block.removeprefix("data: ") for block in stream.text.split("\n\n") if block.startswith("data")]
    assert blocks[-1] == "[DONE]"
    deltas = [json.loads(block)["choices"][0]["delta"] for block in blocks[:-1]]
    said = whole.json()["choices"][0]["message"]
    assert "".join(delta.get("content", "") for delta in deltas) == said["content"]
    assert deltas[-1]["annotations"] == said["annotations"]
