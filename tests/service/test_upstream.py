"""The services behind a gateway: replicas, failures, and a question that goes through all of them."""

import json
import socket
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Semaphore

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from indexes import Index, IndexNotFound
from ragnarok.types import Answer, Hit, Passage
from rerank.errors import ContextTooSmall
from service import context
from service.clients import RemoteGenerator, RemoteRetriever, Upstream
from service.errors import Busy, LimitReached, NotReady, UpstreamFailed, UpstreamTimeout
from service.greenlets import wait
from service.identity import Identities
from service.library import Library
from service.parts import Parts
from service.problems import response_of
from service.settings import Settings
from tests.service.conftest import CORPUS, Serve
from tests.service.fakes import REFERENCES, SENTENCES, Reciter, Reverser, Shelf, a_pipeline
from tests.service.running import WAIT, app_of, client_of, events_of, served
from tests.service.test_problems import problem


class Said(BaseModel):
    """What the small services here answer."""

    name: str


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is closed when the test is done."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def replica(stack: ExitStack) -> Callable[..., str]:
    """Start a service that says its name, or what it is told to; calling it returns the address."""

    def start(name: str, answer: Callable[[Request], Response] | None = None) -> str:
        app = FastAPI()

        @app.get("/")
        @app.post("/v1/{rest:path}")
        def say(request: Request) -> Response:
            return answer(request) if answer else Response(json.dumps({"name": name}))

        return stack.enter_context(served(app))

    return start


@pytest.fixture
def silent() -> Iterator[str]:
    """A service that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return f"http://127.0.0.1:{door.getsockname()[1]}"


Ask = Callable[..., Upstream]


@pytest.fixture
def upstream(stack: ExitStack, loop: AbstractEventLoop) -> Ask:
    """Make clients of services at addresses."""

    def make(*urls: str, key: str = "", connect: float = 1.0, read: float = WAIT) -> Upstream:
        made = Upstream("rerank", urls, loop, key=key, connect=connect, read=read, subject="rerank")
        stack.callback(made.close)
        return made

    return make


def test_replicas_take_turns(upstream: Ask, replica: Callable[..., str]) -> None:
    asked = upstream(replica("a"), replica("b") + "/", replica("c"))
    assert [asked.ask("GET", "/", Said).name for _ in range(6)] == ["a", "b", "c"] * 2


def test_an_address_may_have_a_path(stack: ExitStack, upstream: Ask, loop: AbstractEventLoop) -> None:
    app = FastAPI()

    @app.get("/some/where/v1/said")
    def say() -> Said:
        return Said(name="a")

    @app.get("/some/where/v1/identity")
    def identity() -> Identities:
        return Identities(identities={"rerank": "one"})

    address = stack.enter_context(served(app))
    asked = upstream(f"{address}/some/where/")
    assert asked.ask("GET", "/v1/said", Said).name == "a"
    wait(asked.learn(), loop)
    assert asked.known.agreed() == "one"
    with pytest.raises(UpstreamFailed, match=r"failed \(404\)"):
        upstream(address).ask("GET", "/v1/said", Said)


def test_a_dead_replica_is_passed_over(upstream: Ask, replica: Callable[..., str], nobody: str) -> None:
    asked = upstream(nobody, replica("a"), replica("b"))
    names = [asked.ask("GET", "/", Said).name for _ in range(7)]
    assert set(names) == {"a", "b"}
    assert 3 <= names.count("a") <= 4


def test_one_that_is_not_ready_is_passed_over(upstream: Ask, replica: Callable[..., str]) -> None:
    asked = upstream(replica("a", lambda _: Response("not yet", 503)), replica("b"))
    assert [asked.ask("GET", "/", Said).name for _ in range(4)] == ["b"] * 4


def test_a_restarted_service_is_asked_again(upstream: Ask) -> None:
    app = FastAPI()

    @app.get("/")
    def say() -> Said:
        return Said(name="a")

    with served(app) as address:
        asked = upstream(address)
        assert asked.ask("GET", "/", Said).name == "a"
    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        asked.ask("GET", "/", Said)


def test_where_nobody_listens_is_said_at_once(upstream: Ask, nobody: str) -> None:
    start = time.monotonic()
    with pytest.raises(UpstreamFailed, match=f"the rerank service at {nobody} cannot be reached"):
        upstream(nobody, nobody).ask("GET", "/", Said)
    assert time.monotonic() - start < 5


def test_silence_ends_in_an_error(upstream: Ask, silent: str) -> None:
    start = time.monotonic()
    with pytest.raises(UpstreamTimeout, match=r"said nothing for 0\.3 seconds"):
        upstream(silent, read=0.3).ask("GET", "/", Said)
    assert time.monotonic() - start < 5


def test_who_takes_no_connection_is_not_waited_for(stack: ExitStack, upstream: Ask) -> None:
    door = stack.enter_context(socket.socket())
    door.bind(("127.0.0.1", 0))
    door.listen(0)
    # Who listens and takes nobody in: the places before the door are soon all taken.
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(door.getsockname())
    full = f"http://127.0.0.1:{door.getsockname()[1]}"
    asked = upstream(full, connect=0.3, read=20.0)
    start = time.monotonic()
    with pytest.raises(UpstreamFailed, match=f"at {full} cannot be reached"):
        asked.ask("GET", "/", Said)
    assert time.monotonic() - start < 10


def test_a_large_body_is_sent_without_a_warning(upstream: Ask, replica: Callable[..., str]) -> None:
    assert upstream(replica("a")).ask("POST", "/v1/said", Said, {"text": "a" * 2**21}).name == "a"


def test_an_answer_to_its_end_leaves_a_connection_to_be_used_again(stack: ExitStack, upstream: Ask) -> None:
    connections = set[tuple[str, int]]()
    settings = Settings(serve="generation")
    app = app_of(Parts(generator=Reciter()), settings)

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            connections.add(scope["client"])
        await app(scope, receive, send)

    asked = RemoteGenerator(upstream(stack.enter_context(served(noting))))
    for _ in range(3):
        *_, answer = asked.stream("q", [Hit("tower", 1.0, 1, Passage("tower", "A tower."))])
        assert isinstance(answer, Answer)
    assert len(connections) == 1


def test_an_answer_that_stops_in_the_middle(stack: ExitStack, upstream: Ask) -> None:
    door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    heard = threading.Event()

    def half() -> None:
        for _ in range(2):
            line, _ = door.accept()
            with line:
                line.recv(65536)
                line.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n"
                    b'event: sentence\ndata: {"text": "One.", "citations": []}\n\nevent: sent'
                )
                heard.wait(WAIT)

    thread = threading.Thread(target=half)
    thread.start()
    asked = upstream(f"http://127.0.0.1:{door.getsockname()[1]}")
    answer = RemoteGenerator(asked).stream("q", [])
    assert next(answer).text == "One."
    heard.set()
    with pytest.raises(UpstreamFailed, match="broke off its answer"):
        next(answer)
    with pytest.raises(UpstreamFailed, match="broke off its answer"):
        asked.ask("GET", "/", Said)
    thread.join(WAIT)


PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("status", "kind", "body", "error", "said"),
    [
        (200, "text/html", "<h1>It works!</h1>", UpstreamFailed, "no answer that can be used"),
        (200, "application/json", "{}", UpstreamFailed, r"\(name: Field required\)"),
        (404, "text/plain", "no such page", UpstreamFailed, r"failed \(404\): no such page"),
        (500, PROBLEM, '{"type": "about:blank", "detail": "d"}', UpstreamFailed, r"failed \(500\): d"),
        (503, PROBLEM, '{"type": "urn:ragnarok:problem:not-ready", "detail": "d"}', NotReady, "d"),
        (503, PROBLEM, '{"type": "urn:ragnarok:problem:index-broken", "detail": "d"}', UpstreamFailed, "503"),
        (429, PROBLEM, '{"type": "urn:ragnarok:problem:busy", "detail": "d"}', Busy, "d"),
        (404, PROBLEM, '{"type": "urn:ragnarok:problem:index-not-found", "detail": "d"}', IndexNotFound, "d"),
        (
            422,
            PROBLEM,
            '{"type": "urn:ragnarok:problem:context-too-small", "detail": "d"}',
            ContextTooSmall,
            "d",
        ),
        (422, PROBLEM, "[]", UpstreamFailed, r"failed \(422\)"),
        (302, "text/plain", "", UpstreamFailed, r"failed \(302\): nothing was said"),
    ],
)
def test_errors_come_back_as_what_they_were(
    upstream: Ask,
    replica: Callable[..., str],
    status: int,
    kind: str,
    body: str,
    error: type[Exception],
    said: str,
) -> None:
    address = replica("a", lambda _: Response(body, status, media_type=kind))
    with pytest.raises(error, match=said):
        upstream(address).ask("GET", "/", Said)


def test_a_limits_time_to_wait_is_passed_on(upstream: Ask, replica: Callable[..., str]) -> None:
    body = '{"type": "urn:ragnarok:problem:limit-reached", "detail": "d"}'
    waits = iter(["9", "soon"])
    asked = upstream(
        replica("a", lambda _: Response(body, 429, {"Retry-After": next(waits)}, media_type=PROBLEM))
    )
    for said in ("9", "5"):
        with pytest.raises(LimitReached) as limited:
            asked.ask("GET", "/", Said)
        assert response_of(limited.value, "/v1/query").headers["retry-after"] == said


@pytest.mark.parametrize("place", [1, -1])
def test_a_citation_of_nothing_is_no_answer(upstream: Ask, replica: Callable[..., str], place: int) -> None:
    sentence = {"text": "One.", "citations": [place]}
    done = {"query": "q", "answer": {"sentences": [sentence], "references": ["a"], "notes": []}}
    said = f"event: done\ndata: {json.dumps(done)}\n\n"
    asked = upstream(replica("a", lambda _: Response(said, media_type="text/event-stream")))
    with pytest.raises(UpstreamFailed, match="cites what is none of its answer's references"):
        list(RemoteGenerator(asked).stream("q", []))


def test_the_key_and_the_requests_id_are_sent(upstream: Ask, replica: Callable[..., str]) -> None:
    address = replica(
        "a",
        lambda request: Response(
            json.dumps({"name": f"{request.headers['authorization']} {request.headers['x-request-id']}"})
        ),
    )
    context.begin("from-the-test")
    assert upstream(address, key="k").ask("GET", "/", Said).name == "Bearer k from-the-test"


GATEWAY = ("retrieval", "rerank", "generation")


def gateway(*urls: str, **more: object) -> Settings:
    """A gateway to services at `urls`, in the order of the stages."""
    given = {f"{stage}_url": url for stage, url in zip(GATEWAY, urls, strict=True)}
    return Settings.model_validate({"serve": "gateway", "index": "small", **given, **more})


@pytest.fixture
def stages(small_index: Index, serve: Serve) -> Callable[..., list[str]]:
    """Start the three stages: an index, and fakes of the others."""

    def start(reciter: Reciter | None = None) -> list[str]:
        settings = Settings(serve="retrieval", index="small")
        return [
            serve(Parts(library=Library({"small": small_index}, settings)), settings),
            serve(Parts(reranker=Reverser()), Settings(serve="rerank")),
            serve(Parts(generator=reciter or Reciter()), Settings(serve="generation")),
        ]

    return start


def test_a_question_goes_through_four_services(stages: Callable[..., list[str]], serve: Serve) -> None:
    address = serve(None, gateway(*stages()))
    whole = httpx.post(f"{address}/v1/query", json={"query": "the river in Paris"}, timeout=WAIT).json()
    assert {hit["docid"] for hit in whole["hits"]} == {"tower", "fruit", "a/b?c&d#1"}
    assert [hit["rank"] for hit in whole["hits"]] == [1, 2, 3]
    assert [hit["first_rank"] for hit in whole["hits"]] == [3, 2, 1]
    (tower,) = (hit for hit in whole["hits"] if hit["docid"] == "tower")
    assert (tower["title"], tower["text"], tower["url"]) == CORPUS[0][1:]
    assert whole["answer"]["references"] == list(REFERENCES)
    assert [sentence["text"] for sentence in whole["answer"]["sentences"]] == [s.text for s in SENTENCES]
    streamed = httpx.post(
        f"{address}/v1/query", json={"query": "the river in Paris", "stream": True}, timeout=WAIT
    )
    events = events_of(streamed.text)
    assert [name for name, _ in events] == ["hits", "reranked", *["sentence"] * 3, "done"]
    assert events[-1][1] | {"timings": {}} == whole | {"timings": {}}


def test_each_sentence_comes_through_before_the_next_is_made(
    stages: Callable[..., list[str]], serve: Serve
) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    address = serve(None, gateway(*stages(reciter)))
    names = []
    body = {"query": "river", "stream": True}
    with httpx.stream("POST", f"{address}/v1/query", json=body, timeout=WAIT) as response:
        for line in response.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
                assert reciter.said <= names.count("sentence")
                if names[-1] in {"reranked", "sentence"} and reciter.said < len(SENTENCES):
                    steps.release()
    assert names == ["hits", "reranked", "sentence", "sentence", "sentence", "done"]


def test_who_leaves_the_gateway_ends_the_work_behind_it(
    stages: Callable[..., list[str]], serve: Serve
) -> None:
    steps = Semaphore(0)
    reciter = Reciter(steps)
    address = serve(None, gateway(*stages(reciter)))
    body = {"query": "river", "stream": True}
    with httpx.stream("POST", f"{address}/v1/query", json=body, timeout=WAIT) as response:
        for line in response.iter_lines():
            if line == "event: reranked":
                assert reciter.begun.wait(WAIT)
                break
    end = time.monotonic() + WAIT
    while not reciter.closed.is_set() and time.monotonic() < end:
        steps.release()
        time.sleep(0.2)
    assert reciter.closed.is_set()
    assert reciter.said < len(SENTENCES)


@pytest.mark.anyio
async def test_what_fails_behind_a_gateway_is_a_problem_that_names_it(nobody: str, silent: str) -> None:
    async with client_of(None, gateway(nobody, nobody, nobody)) as client:
        assert (await client.get("/readyz")).status_code == 200
        said = problem(await client.post("/v1/query", json={"query": "q"}), 502)
        assert said["type"] == "urn:ragnarok:problem:upstream-failed"
        assert said["detail"].startswith(f"the retrieval service at {nobody} cannot be reached")
    async with client_of(None, gateway(silent, nobody, nobody, read_seconds=0.3)) as client:
        said = problem(await client.post("/v1/query", json={"query": "q"}), 504)
        assert said["type"] == "urn:ragnarok:problem:upstream-timeout"


@pytest.mark.anyio
async def test_a_gateway_has_no_stage_of_its_own(nobody: str) -> None:
    async with client_of(None, gateway(nobody, nobody, nobody)) as client:
        paths = set((await client.get("/openapi.json")).json()["paths"])
        assert (await client.get("/")).status_code == 200
    assert {"/v1/query", "/healthz", "/readyz"} <= paths
    assert not paths & {"/v1/search", "/v1/rerank", "/v2/rerank", "/v1/generate", "/v1/indexes"}


@pytest.mark.anyio
async def test_one_process_has_every_route() -> None:
    async with client_of(a_pipeline(Shelf())) as client:
        paths = set((await client.get("/openapi.json")).json()["paths"])
    assert {
        "/v1/query",
        "/v1/search",
        "/v1/indexes",
        "/v1/{index}/search",
        "/v1/rerank",
        "/v2/rerank",
        "/v1/generate",
        "/v1/chat/completions",
    } <= paths


def test_an_index_of_another_name(upstream: Ask, stages: Callable[..., list[str]]) -> None:
    with pytest.raises(IndexNotFound, match="no index 'other' is served here; there are: small"):
        RemoteRetriever(upstream(stages()[0]), "other").search(["q"], 3)
