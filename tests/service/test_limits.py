"""How much one client may ask: counted here, and in a real Redis that may go away."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Semaphore

import httpx
import pytest
from pydantic import SecretStr

from ragnarok.keys import make_key
from service.app import create_app
from service.context import begin, current
from service.limits import MINUTE, Rates, client_of
from service.settings import Settings
from service.shared import SharedRedis
from tests.rerank.test_store import Server
from tests.service.conftest import Serve
from tests.service.fakes import Reciter, a_pipeline
from tests.service.running import WAIT, samples
from tests.service.running import client_of as app_client

pytestmark = pytest.mark.anyio

QUESTION = {"query": "who built the tower?"}


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


class Clock:
    """A time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_minutes_worth_at_once_and_then_each_in_its_share() -> None:
    clock = Clock()
    rates = Rates(None, clock=clock)
    first = [await rates.spend("a", 3) for _ in range(3)]
    assert [one.may for one in first] == [True] * 3
    assert [one.left(3) for one in first] == [2, 1, 0]
    refused = await rates.spend("a", 3)
    assert (refused.may, refused.left(3)) == (False, 0)
    assert refused.wait == pytest.approx(20)
    assert (await rates.spend("b", 3)).may, "another client"
    clock.now += refused.wait
    assert (await rates.spend("a", 3)).may, "exactly then"
    assert not (await rates.spend("a", 3)).may
    clock.now += MINUTE
    assert [(await rates.spend("a", 3)).may for _ in range(4)] == [True] * 3 + [False]


@pytest.mark.parametrize("rate", [1, 7, 60, 999])
async def test_no_share_is_lost_to_rounding(rate: int) -> None:
    rates = Rates(None, clock=Clock())
    assert [(await rates.spend("a", rate)).may for _ in range(rate + 1)] == [True] * rate + [False]


async def test_what_is_remembered_is_bounded() -> None:
    clock = Clock()
    rates = Rates(None, clients=5, clock=clock)
    for name in range(50):
        await rates.spend(str(name), 1)
    assert len(rates) == 5
    assert not (await rates.spend("49", 1)).may, "the latest is remembered"
    clock.now += MINUTE + 1
    await rates.spend("new", 1)
    assert len(rates) == 1, "who has earned everything back need not be remembered"


async def test_processes_count_together_in_redis_and_alone_without(redis_server: Server) -> None:
    one, two = (SharedRedis(redis_server.url, timeout=5.0, pause=0.0) for _ in range(2))
    ours, theirs = Rates(one), Rates(two)
    assert [(await rates.spend("a", 4)).may for rates in (ours, theirs, ours, theirs)] == [True] * 4
    for rates in (ours, theirs):
        refused = await rates.spend("a", 4)
        assert not refused.may
        assert refused.wait == pytest.approx(15, abs=2)
    assert len(ours) == len(theirs) == 0
    lives = await one.ask(lambda redis: redis.pttl("ragnarok:rate:a"))
    assert lives is not None
    assert 0 < lives <= 60_000, "it goes by itself"
    at_once = await asyncio.gather(*(rates.spend("b", 10) for rates in [ours, theirs] * 20))
    assert sum(spent.may for spent in at_once) == 10, "counted one by one, whoever comes together"
    redis_server.stop()
    assert [(await ours.spend("a", 2)).may for _ in range(3)] == [True, True, False]
    redis_server.start()
    assert (await ours.spend("a", 4)).may, "as soon as it is back"
    await one.close()
    await two.close()


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions"])
async def test_more_than_the_rate_is_refused(path: str) -> None:
    body = QUESTION if path == "/v1/query" else {"messages": [{"role": "user", "content": "who?"}]}
    async with app_client(settings=Settings(rate_limit=2)) as client:
        left = []
        for _ in range(2):
            served = await client.post(path, json=body)
            assert served.status_code == 200
            assert served.headers["ratelimit-policy"] == '"minute";q=2;w=60'
            left.append(served.headers["ratelimit"].split(";")[1])
        assert left == ["r=1", "r=0"]
        refused = await client.post(path, json=body)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] in {"29", "30"}
        assert refused.headers["ratelimit"].startswith('"minute";r=0;t=')
        assert refused.headers["x-request-id"]
        problem = refused.json()
        assert problem["type"] == "urn:ragnarok:problem:limit-reached"
        assert "more than 2 requests a minute; ask again in" in problem["detail"]
        assert ("error" in problem) == path.startswith("/v1/chat/")
        if "error" in problem:
            assert problem["error"]["type"] == "rate_limit_error"
        for free in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await client.get(free)).status_code == 200
        counted = samples((await client.get("/metrics")).text)
        assert counted['ragnarok_refused_total{why="rate"}'] == 1


async def test_a_key_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    (few, one), (many, two) = make_key("few", 1), make_key("many")
    (tmp_path / "keys").write_text(f"{one}\n{two}\n")
    async with app_client(settings=Settings(api_keys=tmp_path / "keys", rate_limit=3)) as client:

        async def ask(key: str) -> int:
            return (await client.post("/v1/query", json=QUESTION, headers={"X-API-Key": key})).status_code

        assert [await ask(few) for _ in range(2)] == [200, 429]
        assert [await ask(many) for _ in range(4)] == [200, 200, 200, 429]
        assert await ask("rag_wrong") == 401, "who has no key is told so, and spends nothing"
    async with app_client(settings=Settings(api_keys=tmp_path / "keys")) as client:
        assert [await ask(few) for _ in range(2)] == [200, 429]
        assert [await ask(many) for _ in range(9)] == [200] * 9


async def test_limits_go_on_without_redis() -> None:
    settings = Settings(rate_limit=1, redis_url=SecretStr("redis://127.0.0.1:1/0"))
    async with app_client(settings=settings) as client:
        asked = [await client.post("/v1/query", json=QUESTION) for _ in range(2)]
        assert [one.status_code for one in asked] == [200, 429]
        counted = samples((await client.get("/metrics")).text)
        assert counted["ragnarok_redis_up"] == 0
        assert counted["ragnarok_redis_errors_total"] >= 1


@pytest.mark.parametrize("stream", [False, True])
async def test_more_at_once_than_may_be(serve: Serve, stream: bool) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    address = serve(a_pipeline(reciter=reciter), Settings(max_in_flight=2))
    async with httpx.AsyncClient(base_url=address, timeout=WAIT) as client:
        asked = [
            asyncio.create_task(client.post("/v1/query", json={**QUESTION, "stream": stream}))
            for _ in range(2)
        ]
        while samples((await client.get("/metrics")).text)["ragnarok_requests_in_flight"] < 3:
            await asyncio.sleep(0.01)
        refused = await client.post("/v1/query", json=QUESTION)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["type"] == "urn:ragnarok:problem:limit-reached"
        assert (await client.get("/healthz")).status_code == 200
        steps.release(6)
        assert [(await one).status_code for one in asked] == [200] * 2
        steps.release(3)
        assert (await client.post("/v1/query", json=QUESTION)).status_code == 200
        counted = samples((await client.get("/metrics")).text)
        assert counted['ragnarok_refused_total{why="at_once"}'] == 1


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("socket", "address:socket"),
    ],
)
def test_who_a_client_is(host: str, client: str) -> None:
    begin("")
    assert client_of({"client": (host, 1)}) == client
    current().client = "192.0.2.7"
    assert client_of({"client": (host, 1)}) == "key:192.0.2.7", "a key's name is no address"
    begin("")
    assert client_of({"client": None}) == "address:unknown"


async def test_pages_of_other_sites_ask_where_they_may(tmp_path: Path) -> None:
    key, line = make_key("a")
    (tmp_path / "keys").write_text(str(line))
    preflight = {
        "Origin": "https://chat.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-stainless-os",
    }
    settings = Settings(
        api_keys=tmp_path / "keys", rate_limit=1, cors_origins="https://chat.test,https://b.test"
    )
    async with app_client(settings=settings) as client:
        allowed = await client.options("/v1/query", headers=preflight)
        assert allowed.status_code == 200, "without a key: browsers send none here"
        assert allowed.headers["access-control-allow-origin"] == "https://chat.test"
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        stranger = await client.options("/v1/query", headers=preflight | {"Origin": "https://else.test"})
        assert stranger.status_code == 400
        for sent, status in ((None, 401), (key, 200), (key, 429)):
            headers = {"Origin": "https://chat.test"} | ({"X-API-Key": sent} if sent else {})
            answer = await client.post("/v1/query", json=QUESTION, headers=headers)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://chat.test"
            assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
    async with app_client() as client:
        refused = await client.options("/v1/query", headers=preflight)
        assert refused.status_code == 405
        assert "access-control-allow-origin" not in refused.headers


async def test_refusals_at_the_door_speak_openais_form(tmp_path: Path) -> None:
    _, line = make_key("a")
    (tmp_path / "keys").write_text(str(line))
    async with app_client(settings=Settings(api_keys=tmp_path / "keys")) as client:
        refused = await client.get("/v1/models")
        assert refused.status_code == 401
        assert refused.json()["error"] == {
            "message": refused.json()["detail"],
            "type": "authentication_error",
            "code": "unauthorized",
        }
    async with app_client(settings=Settings(max_body_bytes=10)) as client:
        large = await client.post("/v1/chat/completions", json={"messages": "x" * 20})
        assert (large.status_code, large.json()["error"]["type"]) == (413, "invalid_request_error")


def test_the_guards_stand_in_their_order(tmp_path: Path) -> None:
    _, line = make_key("a")
    (tmp_path / "keys").write_text(str(line))
    app = create_app(Settings(api_keys=tmp_path / "keys", cors_origins="*"), a_pipeline())
    names = [getattr(one.cls, "__name__", "") for one in app.user_middleware]
    guards = ["Observed", "CORSMiddleware", "KeyCheck", "Limits", "TimeLimits", "BodyLimit"]
    assert [name for name in names if name in guards] == guards
