"""Battles and votes by the routes: what may be seen when, and what is kept."""

import asyncio
from contextlib import suppress
from pathlib import Path
from threading import Semaphore
from typing import Any

import httpx
import pytest

from ragnarok.arena.store import ArenaStore
from ragnarok.types import Sentence
from service.arena.gate import CROWD
from tests.service.arena.conftest import Here, There
from tests.service.arena.fakes import TOPICS, Actor, quick
from tests.service.fakes import SENTENCES
from tests.service.running import WAIT, events_of

pytestmark = pytest.mark.anyio

OWN = {"question": "How do I sort?"}


async def begin(client: httpx.AsyncClient, **asked: str) -> dict[str, Any]:
    """Begin a battle and wait until it is whole."""
    response = await client.post("/v1/arena/battles", json=asked or OWN)
    assert response.status_code == 201, response.text
    started: dict[str, Any] = response.json()
    await client.get(started["events"])
    return started


async def vote(client: httpx.AsyncClient, battle: dict[str, Any], **said: object) -> httpx.Response:
    """Vote on a battle; that the left answer is better, unless something else is said."""
    body = {"token": battle["token"], **(said or {"answer": "a"})}
    return await client.post(f"/v1/arena/battles/{battle['id']}/vote", json=body)


async def test_a_battle_is_streamed_in_step_and_voted_on(here: Here, store_path: Path) -> None:
    async with here() as client:
        started = await begin(client)
        events = events_of((await client.get(started["events"])).text)
        names = [(name, data.get("side")) for name, data in events]
        assert names == [("answered", "a"), ("answered", "b"), ("finished", None)]
        assert events[0][1]["answer"]["references"] == ["6", "1", "5"]
        record = (await client.get(f"/v1/arena/battles/{started['id']}")).json()
        assert (record["state"], record["question"]) == ("open", "How do I sort?")
        answer = await vote(client, started, answer="a", evidence="both_bad", tags=["clearer", "shorter"])
        assert answer.status_code == 200
        over = answer.json()
        assert over["mine"] == over["votes"][0]
        assert (over["mine"]["answer"], over["mine"]["evidence"]) == ("a", "both_bad")
        assert {over["a"]["system"]["name"], over["b"]["system"]["name"]} == {"system-left", "system-right"}
        assert over["a"]["timings"]["rerank"] == 0.234567
        assert over["a"]["hits"][0]["docid"] == "lib#last"
    with_store = ArenaStore(str(store_path))
    battle, (kept,) = with_store.battle(started["id"]), with_store.votes_on(started["id"])
    with_store.close()
    assert battle.a.system == over["a"]["system"]["name"]
    assert battle.a.answer.sentences == SENTENCES
    assert (kept.answer, kept.evidence, kept.tags) == ("a", "both_bad", ("clearer", "shorter"))


async def test_a_model_that_names_itself_is_not_heard_before_the_vote(there: There, store_path: Path) -> None:
    said = "As System-Left of ACME  Labs I say: not system-right2, not system-right."
    actors = [Actor(name, sentences=(Sentence(said, (0,)),)) for name in ("left", "right")]
    address = there(*actors, masked=("Acme Labs",))
    shown = "As [name hidden] of [name hidden] I say: not system-right2, not [name hidden]."
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        live = events_of((await client.get(started["events"])).text)
        kept = events_of((await client.get(started["events"])).text)
        assert [data["text"] for name, data in live if name == "sentence"] == [shown, shown]
        for events in (live, kept):
            whole = [data["answer"]["sentences"] for name, data in events if name == "answered"]
            assert [[one["text"] for one in sentences] for sentences in whole] == [[shown], [shown]]
        page = f"/v1/arena/battles/{started['id']}"
        blind = (await client.get(page)).json()
        assert [blind[side]["answer"]["sentences"][0]["text"] for side in "ab"] == [shown, shown]
        over = (await vote(client, started)).json()
        assert [over[side]["answer"]["sentences"][0]["text"] for side in "ab"] == [said, said]
        assert (await client.get(page)).json() == over
    store = ArenaStore(str(store_path))
    assert store.battle(started["id"]).b.answer.text == said
    store.close()


async def test_the_faster_side_waits_for_the_slower_one(there: There) -> None:
    steps = Semaphore(0)
    address = there(Actor("slow", steps=steps), Actor("fast"))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        seen: list[tuple[str, str]] = []
        async with client.stream("GET", started["events"]) as response:
            lines = response.aiter_lines()
            async for line in lines:
                if not line.startswith("event: "):
                    continue
                seen.append((line.removeprefix("event: "), (await anext(lines))[15:16]))
                if seen[-1][0] == "evidence" and len(seen) == 2:
                    # The fast side has said everything by now; nothing of it is shown.
                    await asyncio.sleep(0.3)
                    steps.release()
                if seen[-1][0] == "sentence" and len(seen) % 2 == 0:
                    await asyncio.sleep(0.05)
                    steps.release()
        assert seen[:2] == [("evidence", "a"), ("evidence", "b")]
        assert seen[2:8] == [("sentence", "a"), ("sentence", "b")] * 3
        assert [name for name, _ in seen[8:]] == ["answered", "answered", "finished"]


async def test_what_one_says_beyond_the_other_waits_for_both_ends(there: There) -> None:
    steps = Semaphore(0)
    address = there(Actor("short", sentences=SENTENCES[:1]), Actor("slow", steps=steps))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        # All but the last sentence of the slower one are said by now, and none shows how they came.
        steps.release(2)
        seen: list[str] = []
        async with client.stream("GET", started["events"]) as response:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.7):
                    async for line in response.aiter_lines():
                        seen += [line.removeprefix("event: ")] if line.startswith("event: ") else []
        assert seen == ["evidence", "evidence", "sentence", "sentence"]
        steps.release()
        names = [name for name, _ in events_of((await client.get(started["events"])).text)]
    assert names[-3:] == ["answered", "answered", "finished"]


async def test_a_side_that_answers_at_once_is_shown_by_sentences(there: There) -> None:
    steps = Semaphore(0)
    address = there(Actor("whole", whole=True), Actor("slow", steps=steps))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        following = asyncio.create_task(client.get(started["events"]))
        steps.release(9)
        names = [name for name, _ in events_of((await following).text)]
    assert names == ["evidence"] * 2 + ["sentence"] * 6 + ["answered"] * 2 + ["finished"]


async def test_repeating_a_vote_changes_nothing(here: Here, store_path: Path) -> None:
    async with here() as client:
        started = await begin(client)
        first = await vote(client, started, answer="a")
        again = await vote(client, started, answer="a")
        other = await vote(client, started, answer="b")
        token = (await client.get(f"/v1/arena/battles/{started['id']}")).json().get("token")
    assert token is None
    assert first.status_code == again.status_code == other.status_code == 200
    assert first.json() == again.json() == other.json()
    store = ArenaStore(str(store_path))
    assert store.counts().votes == 1
    store.close()


async def test_votes_at_the_same_time_are_one(here: Here, store_path: Path) -> None:
    async with here() as client:
        started = await begin(client)
        # Another tab has a token of its own.
        tab = (await client.get(f"/v1/arena/battles/{started['id']}")).json()
        assert tab["token"] != started["token"]
        votes = [vote(client, one, answer="a") for one in (started, tab) * 10]
        answers = await asyncio.gather(*votes)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    store = ArenaStore(str(store_path))
    assert store.counts().votes == 1
    store.close()


async def test_who_did_not_begin_a_battle_sees_it_and_cannot_vote(here: Here) -> None:
    async with here() as client:
        started = await begin(client)
        client.cookies.clear()
        record = (await client.get(f"/v1/arena/battles/{started['id']}")).json()
        assert (record["state"], record["token"]) == ("open", None)
        without = await vote(client, started)
        assert (without.status_code, without.json()["type"]) == (403, "urn:ragnarok:problem:no-voter")
        assert "allow this site its cookie" in without.json()["detail"]
        other = await begin(client)
        foreign = await vote(client, started)
        assert (foreign.status_code, foreign.json()["type"]) == (403, "urn:ragnarok:problem:bad-token")
        mixed = await vote(client, started | {"token": other["token"]})
        assert mixed.status_code == 403
        changed = await vote(client, other | {"token": other["token"][:-2] + "xx"})
        assert changed.status_code == 403
        assert (await vote(client, other)).status_code == 200
        forged = httpx.AsyncClient(transport=client._transport, base_url="http://test")
        forged.cookies.set("ragnarok_voter", "0123456789abcdef.0123456789abcdef0123456789abcdef")
        assert (await vote(forged, started)).json()["type"] == "urn:ragnarok:problem:no-voter"


async def test_a_battle_that_goes_on_cannot_be_voted_on(there: There) -> None:
    steps = Semaphore(0)
    async with httpx.AsyncClient(base_url=there(Actor("a", steps=steps), Actor("b")), timeout=WAIT) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        early = await vote(client, started)
        record = (await client.get(f"/v1/arena/battles/{started['id']}")).json()
        steps.release(9)
        assert (early.status_code, early.json()["type"]) == (409, "urn:ragnarok:problem:not-finished")
        assert record["state"] == "running"
        await client.get(started["events"])
        assert (await vote(client, started)).status_code == 200


async def test_a_side_that_fails_ends_the_battle_neutrally(here: Here, store_path: Path) -> None:
    error = RuntimeError("secret-of-system-bad")
    async with here(Actor("bad", error=error), Actor("good")) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        told = events_of((await client.get(started["events"])).text)
        for path in ("", "/events"):
            later = await client.get(f"/v1/arena/battles/{started['id']}{path}")
            assert "one side could not answer" in later.text
        page = await client.get(started["page"])
    name, problem = told[-1]
    assert name == "error"
    assert problem["type"] == "urn:ragnarok:problem:side-failed"
    assert page.status_code == 410
    assert not any(
        secret in str(told) + later.text + page.text
        for secret in ("system-bad", "system-good", "secret", "Runtime")
    )
    store = ArenaStore(str(store_path))
    assert store.counts().battles == 0
    store.close()


async def test_questions_of_topic_sets(here: Here) -> None:
    one, two, three = Actor("one"), Actor("two"), Actor("three", topics="trec")
    async with here(one, two, three) as client:
        named = await begin(client, topics="trec", qid="t2")
        assert (named["question"], named["qid"]) == ("And the  second, to the letter?", "t2")
        drawn = {(await begin(client, topics="trec"))["qid"] for _ in range(12)}
        assert drawn == {topic.qid for topic in TOPICS["trec"]}
        for _ in range(6):
            await begin(client, topics="other")
            await begin(client)
        assert all(qid in {"t1", "t2"} for _, qid in three.asked)
        for asked, words in (
            ({"topics": "none"}, "the sets are: trec, other"),
            ({"topics": "trec", "qid": "t9"}, "no topic 't9'"),
        ):
            refused = await client.post("/v1/arena/battles", json=asked)
            assert refused.status_code == 404
            assert words in refused.json()["detail"]
        for body in ({}, {"question": "a", "topics": "trec"}, {"question": "a", "qid": "t1"}):
            assert (await client.post("/v1/arena/battles", json=body)).status_code == 422
    async with here(one, three) as client:
        refused = await client.post("/v1/arena/battles", json=OWN)
        assert (refused.status_code, "it takes two" in refused.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    "body",
    [
        {"answer": None},
        {"answer": "c"},
        {"answer": "a", "tags": ["<b>"]},
        {"answer": "a", "tags": ["clearer"] * 8},
        {"answer": "a", "more": 1},
    ],
)
async def test_votes_that_cannot_be(here: Here, body: dict[str, object]) -> None:
    async with here() as client:
        started = await begin(client)
        assert (await vote(client, started, **body)).status_code == 422
        assert (await vote(client, started)).status_code == 200


async def test_other_sites_cannot_ask(here: Here) -> None:
    async with here() as client:
        started = await begin(client)
        for headers in (
            {"Origin": "https://evil.test"},
            {"Origin": "null"},
            {"Origin": "http://["},
            {"Origin": "http://test.evil.test"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            for path, body in (
                ("battles", OWN),
                (f"battles/{started['id']}/vote", {"token": started["token"], "answer": "a"}),
                ("compare", OWN | {"a": "system-left", "b": "system-right"}),
            ):
                refused = await client.post(f"/v1/arena/{path}", json=body, headers=headers)
                assert (refused.status_code, refused.json()["title"]) == (403, "Asked from another site")
        own = {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"}
        assert (await client.post("/v1/arena/battles", json=OWN, headers=own)).status_code == 201


async def test_who_is_too_fast_is_told_when_to_go_on(here: Here) -> None:
    async with here(settings=quick(arena_battles=3, arena_votes=2)) as client:
        started = await begin(client)
        # The first was its address's, before it had a cookie.
        answers = [await client.post("/v1/arena/battles", json=OWN) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        refused = answers[-1]
        assert refused.json()["type"] == "urn:ragnarok:problem:limit-reached"
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        votes = [(await vote(client, started)).status_code for _ in range(3)]
        assert votes == [200, 200, 429]
        # Without the cookie the address counts again.
        client.cookies.clear()
        more = []
        for _ in range(3):
            more.append((await client.post("/v1/arena/battles", json=OWN)).status_code)
            client.cookies.clear()
        assert more == [201, 201, 429]


async def test_ever_new_cookies_do_not_outrun_the_limits(here: Here) -> None:
    async with here(settings=quick(arena_battles=1)) as client:
        said = []
        for _ in range(CROWD + 1):
            client.cookies.clear()
            await client.get("/battle")
            said.append(await client.post("/v1/arena/battles", json=OWN))
        assert [one.status_code for one in said] == [201] * CROWD + [429]
        assert "all voters at one address" in said[-1].json()["detail"]


async def test_the_cookie_is_for_this_site_alone(here: Here) -> None:
    async with here() as client:
        page = await client.get("/battle")
        (cookie,) = page.headers.get_list("set-cookie")
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert "set-cookie" not in (await client.get("/battle")).headers
        secure = await client.get("https://test/battle", headers={"Cookie": ""})
        assert "Secure" in secure.headers.get("set-cookie", "Secure")


async def test_who_leaves_a_comparison_ends_it(there: There) -> None:
    steps = Semaphore(0)
    slow = Actor("slow", steps=steps)
    async with httpx.AsyncClient(base_url=there(slow, Actor("fast")), timeout=WAIT) as client:
        body = OWN | {"a": "system-slow", "b": "system-fast"}
        async with client.stream("POST", "/v1/arena/compare", json=body) as response:
            assert response.status_code == 200
            await anext(response.aiter_lines())
        unknown = await client.post("/v1/arena/compare", json=body | {"b": "<none>"})
        assert (unknown.status_code, "'<none>'" in unknown.json()["detail"]) == (404, True)
        await asyncio.sleep(0.3)
        steps.release()
        assert await asyncio.to_thread(slow.closed.wait, 10)


async def test_where_votes_count_nothing_is_compared_by_name(here: Here) -> None:
    async with here(settings=quick(arena_compare=False)) as client:
        refused = await client.post("/v1/arena/compare", json=OWN | {"a": "system-left", "b": "system-right"})
        assert refused.status_code == 404
        assert (await client.get("/compare")).status_code == 404
        assert 'href="/compare"' not in (await client.get("/battle")).text
        assert 'href="/compare"' not in (await client.get("/")).text


async def test_the_end_of_the_service_ends_its_battles(here: Here, store_path: Path) -> None:
    steps = Semaphore(0)
    slow = Actor("slow", steps=steps)
    async with here(slow, Actor("fast")) as client:
        started = (await client.post("/v1/arena/battles", json=OWN)).json()
        while not slow.asked:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.3, steps.release)
    assert slow.closed.is_set()
    assert (started["topics"], len(slow.asked)) == (None, 1)
    store = ArenaStore(str(store_path))
    assert store.counts().battles == 0
    store.close()
