"""Answers that are kept in a real Redis, which may go away."""

import asyncio
from typing import Self

import pytest
from redis import Redis

from ragnarok.pipeline import Result
from service import answers
from service.schema import QueryResponse
from tests.rerank.test_store import Server
from tests.service.caching import QUESTION, ask, asking

pytestmark = pytest.mark.anyio


async def test_an_answer_is_kept_until_anything_changes(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        first, second = await ask(client), await ask(client, query="  who built the tower? ")
        assert (first[0], second[0]) == ("miss", "hit")
        assert first[1] == second[1]
        assert counting.asked == 1
        assert (await ask(client, depth=1))[0] == "miss"
        metrics = (await client.get("/metrics")).text
        assert 'ragnarok_cache_total{kind="answer",outcome="hit"} 1.0' in metrics
    async with asking(redis_server.url) as (client, _):
        assert (await ask(client))[0] == "hit", "another process with the same settings"
    async with asking(redis_server.url, identity="fakes-2") as (client, _):
        assert (await ask(client))[0] == "miss", "another index or model"
    async with asking(redis_server.url, max_hits=9, threads=2, log_format="json") as (client, _):
        assert (await ask(client))[0] == "hit", "settings that change nothing of it"


async def test_what_is_no_answer_is_replaced(redis_server: Server) -> None:
    redis = Redis.from_url(redis_server.url)
    async with asking(redis_server.url) as (client, _):
        await ask(client)
        (key,) = redis.keys("ragnarok:answer:*")
        kept = redis.get(key)
        assert isinstance(kept, bytes)
        turned = kept[:-1] + bytes([kept[-1] ^ 1])
        for junk in (b"", b"{}", b"\xff" * 40, kept[:-1], kept + b" ", kept[16:], turned):
            redis.set(key, junk)
            assert (await ask(client))[0] == "miss"
            assert (await ask(client))[0] == "hit"
        redis.delete(key)
        redis.lpush(key, "of another type")
        assert (await ask(client))[0] == "miss"
    redis.close()


async def test_equal_questions_in_the_air_are_answered_once(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, counting):
        counting.gate.clear()
        asked = [asyncio.ensure_future(ask(client)) for _ in range(5)]
        while not counting.asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        counting.gate.set()
        answers = await asyncio.gather(*asked)
        assert counting.asked == 1
        assert all(answer == answers[0] for answer in answers)


async def test_everything_goes_on_without_redis(redis_server: Server) -> None:
    async with asking(None) as (client, _):
        assert [(await ask(client))[0] for _ in range(2)] == ["off", "off"]
    async with asking(redis_server.url, identity=None) as (client, _):
        assert (await ask(client))[0] == "off", "what answers depend on is not known"
    async with asking(redis_server.url) as (client, counting):
        assert [(await ask(client))[0] for _ in range(2)] == ["miss", "hit"]
        redis_server.stop()
        assert [(await ask(client))[0] for _ in range(3)] == ["miss"] * 3
        assert counting.asked == 4
        redis_server.start()
        await asyncio.sleep(2.1)
        assert [(await ask(client))[0] for _ in range(2)][-1] == "hit", "it is used again"


async def test_what_was_kept_for_another_question_is_not_this_ones(redis_server: Server) -> None:
    redis = Redis.from_url(redis_server.url)
    async with asking(redis_server.url) as (client, _):
        await ask(client)
        (key,) = redis.keys("ragnarok:answer:*")
        kept = redis.get(key)
        await ask(client, query="another")
        assert isinstance(kept, bytes)
        (other,) = {*redis.keys("ragnarok:answer:*")} - {key}
        redis.set(other, kept)
        outcome, answer = await ask(client, query="another")
    redis.close()
    assert outcome == "miss"
    assert isinstance(answer, dict)
    assert answer["query"] == "another"


async def test_an_answer_that_is_kept_is_written_once(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    class Noting(QueryResponse):
        @classmethod
        def of(cls, result: Result) -> Self:
            written.append(result.query)
            return super().of(result)

    monkeypatch.setattr(answers, "QueryResponse", Noting)
    async with asking(redis_server.url) as (client, _):
        together = await asyncio.gather(ask(client), ask(client))
        other, _ = await ask(client, query="another"), await ask(client)
    assert together[0][1] == together[1][1]
    assert isinstance(other[1], dict)
    assert other[1]["query"] == "another"
    assert written == [QUESTION["query"], "another"]


async def test_a_kept_answer_is_sent_as_it_was(redis_server: Server) -> None:
    async with asking(redis_server.url) as (client, _):
        first, second = [await client.post("/v1/query", json=QUESTION) for _ in range(2)]
        too_deep = await client.post("/v1/query", json=QUESTION | {"depth": 1000})
    assert first.content == second.content
    assert {**first.headers, "x-cache": "", "x-request-id": ""} == {
        **second.headers,
        "x-cache": "",
        "x-request-id": "",
    }
    assert too_deep.status_code == 422
