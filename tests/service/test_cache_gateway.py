"""A gateway of several services keeps answers while it knows what these work with."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from pydantic import SecretStr
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexes import Index, build_index
from service import watch
from service.app import create_app
from service.library import Library
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_store import Server
from tests.service.caching import QUESTION
from tests.service.fakes import Reciter, Reverser
from tests.service.running import WAIT, events_of, served


@pytest.fixture(scope="module")
def other_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of the same name with other passages."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "new", "text": "The tower was built anew."}))
    with build_index(folder / "corpus.jsonl", "small", root=folder / "indexes", parts=("bm25",)) as index:
        yield index


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed when the test is done."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway asks often, so that a test need not wait."""
    monkeypatch.setattr(watch, "PERIOD_SECONDS", 0.1)


def retrieval(index: Index) -> ASGIApp:
    """A retrieval service."""
    settings = Settings(serve="retrieval", index="small")
    return create_app(settings, Parts(library=Library({"small": index}, settings)))


class Mute:
    """A service that does not say what it works with, as those of others do not."""

    def __init__(self, app: ASGIApp) -> None:
        """Take it from what `app` says."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything else."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-identity"]
            await send(message)

        path = "/nothing" if scope.get("path") == "/v1/identity" else scope.get("path")
        await self.app({**scope, "path": path} if path else scope, receive, sent)


def port_of(address: str) -> int:
    """The port of a server."""
    return int(address.rpartition(":")[2])


@pytest.fixture
def others(stack: ExitStack) -> tuple[str, str]:
    """Fakes of the other two stages, which say what they work with."""
    rerank = Parts(reranker=Reverser(), identities={"rerank": lambda: "reverser"})
    generation = Parts(generator=Reciter(), identities={"generation": lambda: "reciter"})
    return (
        stack.enter_context(served(create_app(Settings(serve="rerank"), rerank))),
        stack.enter_context(served(create_app(Settings(serve="generation"), generation))),
    )


def gateway(stack: ExitStack, redis: Server, retrieval_url: str, others: tuple[str, str]) -> httpx.Client:
    """A client of a gateway."""
    settings = Settings(
        serve="gateway",
        index="small",
        retrieval_url=retrieval_url,
        rerank_url=others[0],
        generation_url=others[1],
        redis_url=SecretStr(redis.url),
    )
    address = stack.enter_context(served(create_app(settings)))
    return stack.enter_context(httpx.Client(base_url=address, timeout=WAIT, trust_env=False))


def ask(client: httpx.Client, **changes: object) -> tuple[str, list[str]]:
    """What the cache had of a question, and which passages were found."""
    response = client.post("/v1/query", json=QUESTION | changes)
    assert response.status_code == 200, response.text
    return response.headers["x-cache"], sorted(hit["docid"] for hit in response.json()["hits"])


def ask_until(client: httpx.Client, outcome: str, **changes: object) -> list[str]:
    """Ask until the cache has this to say; which passages were found then."""
    end = time.monotonic() + WAIT
    while (found := ask(client, **changes))[0] != outcome:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found[1]


def test_a_gateway_keeps_answers_until_an_index_behind_it_changes(
    stack: ExitStack, redis_server: Server, small_index: Index, other_index: Index, others: tuple[str, str]
) -> None:
    with served(retrieval(small_index)) as address:
        client = gateway(stack, redis_server, address, others)
        assert ask_until(client, "hit") == ["tower"]
        streamed = client.post("/v1/query", json=QUESTION | {"stream": True})
        assert streamed.headers["x-cache"] == "hit"
        assert [name for name, _ in events_of(streamed.text)][-1] == "done"
    with served(retrieval(other_index), port_of(address)):
        end = time.monotonic() + WAIT
        while ask(client)[1] == ["tower"]:
            assert time.monotonic() < end, "a kept answer of the old index"
            time.sleep(0.02)
        for _ in range(10):
            assert ask(client)[1] == ["new"], "once it is seen, nothing old is said"
        assert ask_until(client, "hit") == ["new"]
    with served(retrieval(small_index), port_of(address)):
        assert ask_until(client, "hit", query="who built the tower?") in (["new"], ["tower"])
        end = time.monotonic() + WAIT
        while ask(client) != ("hit", ["tower"]):
            assert time.monotonic() < end, "what was kept of the old index is good again"
            time.sleep(0.02)


def test_what_a_changed_service_says_is_not_kept_as_the_old_ones(
    stack: ExitStack,
    redis_server: Server,
    small_index: Index,
    other_index: Index,
    others: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served(retrieval(small_index)) as address:
        client = gateway(stack, redis_server, address, others)
        assert ask_until(client, "hit") == ["tower"]
        # From now on the gateway learns only from what it is answered.
        monkeypatch.setattr(watch, "PERIOD_SECONDS", 1000.0)
        time.sleep(0.3)
    with served(retrieval(other_index), port_of(address)):
        assert ask(client) == ("hit", ["tower"]), "nothing has shown the change yet"
        assert ask(client, query="another tower?") == ("miss", ["new"]), "under the old identity, so not kept"
        assert ask(client, query="another tower?") == ("miss", ["new"]), "the change was in the answer"
        assert ask(client, query="another tower?") == ("hit", ["new"])
        assert ask(client) == ("miss", ["new"])


@pytest.mark.parametrize("kind", ["differ", "mute"])
def test_a_gateway_keeps_nothing_of_services_that_differ_or_say_nothing(
    stack: ExitStack,
    redis_server: Server,
    small_index: Index,
    other_index: Index,
    others: tuple[str, str],
    kind: str,
) -> None:
    second = retrieval(other_index) if kind == "differ" else Mute(retrieval(small_index))
    addresses = [stack.enter_context(served(app)) for app in (retrieval(small_index), second)]
    client = gateway(stack, redis_server, ",".join(addresses), others)
    time.sleep(0.5)
    assert {ask(client)[0] for _ in range(6)} == {"off"}


def test_a_replica_that_is_gone_does_not_count(
    stack: ExitStack, redis_server: Server, small_index: Index, other_index: Index, others: tuple[str, str]
) -> None:
    first = stack.enter_context(served(retrieval(small_index)))
    with served(retrieval(other_index)) as second:
        client = gateway(stack, redis_server, f"{first},{second}", others)
        time.sleep(0.5)
        assert ask(client)[0] == "off"
    assert ask_until(client, "hit") == ["tower"]
