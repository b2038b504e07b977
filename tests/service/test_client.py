"""The Python client, in both forms, against real servers and against some that misbehave."""

import asyncio
import inspect
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Semaphore
from typing import cast

import httpx
import pytest

from indexes import Index
from ragnarok.keys import make_key
from ragnarok.sse import EventReader
from service import client as package
from service.client import (
    AsyncClient,
    AsyncEvents,
    BadAnswer,
    BadRequest,
    BrokenOff,
    CitedSentence,
    Client,
    ClientError,
    Document,
    FoundHits,
    GenerateResponse,
    LimitReached,
    NotFound,
    QueryResponse,
    RankedHits,
    Refusal,
    ServiceFailed,
    ServiceUnavailable,
    TookTooLong,
    Unauthorized,
    Unreachable,
    Unusable,
)
from service.library import Library
from service.parts import Parts
from service.settings import Settings
from tests.service.conftest import CORPUS, Serve
from tests.service.fakes import PASSAGES, REFERENCES, SENTENCES, Reciter, Reverser, Shelf, a_pipeline
from tests.service.running import WAIT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"
MADE = ["client", "awaited"]
Make = Callable[..., Client]


class AwaitedEvents:
    """Asynchronous events, drawn one by one by who does not await."""

    def __init__(self, runner: asyncio.Runner, events: AsyncEvents[QueryResponse]) -> None:
        """Draw `events` in the loop of `runner`."""
        self.runner, self.events = runner, events

    def __enter__(self) -> "AwaitedEvents":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> "AwaitedEvents":
        return self

    def __next__(self) -> object:
        async def step() -> object:
            return await anext(self.events, None)

        if (event := self.runner.run(step())) is None:
            raise StopIteration
        return event

    def close(self) -> None:
        self.runner.run(self.events.aclose())


class Awaited:
    """An `AsyncClient` behind the methods of a `Client`, so that one test speaks for both."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        """Run what `client` does in the loop of `runner`."""
        self.runner, self.client = runner, client

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            made = getattr(self.client, name)(*given, **named)
            return (
                AwaitedEvents(self.runner, made) if isinstance(made, AsyncEvents) else self.runner.run(made)
            )

        return call


@pytest.fixture(params=MADE)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make clients that end with the test, all of one form."""
    with ExitStack() as stack:
        if request.param == "client":
            yield lambda *given, **named: stack.enter_context(Client(*given, **named))
            return
        runner = stack.enter_context(asyncio.Runner())

        def start(url: str, *, api_key: str | None = None, timeout: float = WAIT, retries: int = 2) -> Client:
            made = AsyncClient(url, api_key=api_key, timeout=timeout, retries=retries)
            stack.callback(lambda: runner.run(made.aclose()))
            return cast("Client", Awaited(runner, made))

        yield start


@pytest.fixture
def whole(serve: Serve, small_index: Index) -> str:
    """A service of everything: fakes, over a real index."""
    settings = Settings(index="small", max_hits=100)
    library = Library({"small": small_index}, settings)
    return serve(Parts(Shelf(), Reverser(), Reciter(), library=library, depth=len(PASSAGES)), settings)


Script = Callable[..., "Player"]


class Player:
    """A server that answers each connection with the bytes that are next, whatever is asked, and closes it.

    The last are repeated. `None` says nothing for as long as the test takes.
    """

    def __init__(self, *answers: bytes | None) -> None:
        """Play `answers`."""
        self.answers = answers
        self.asked: list[bytes] = []
        self.door = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        self.held: list[socket.socket] = []
        self.closing = False
        self.thread = threading.Thread(target=self._play)
        self.thread.start()

    def close(self) -> None:
        """Stop."""
        self.closing = True
        socket.create_connection(self.door.getsockname()).close()
        self.thread.join(WAIT)
        for line in (*self.held, self.door):
            line.close()

    def _play(self) -> None:
        while True:
            line, _ = self.door.accept()
            if self.closing:
                line.close()
                return
            answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
            self.asked.append(line.recv(1 << 16))
            if answer is None:
                self.held.append(line)
                continue
            line.sendall(answer)
            line.shutdown(socket.SHUT_WR)
            while line.recv(1 << 16):
                pass
            line.close()


@pytest.fixture
def play() -> Iterator[Script]:
    """Start players that end with the test."""
    with ExitStack() as stack:

        def start(*answers: bytes | None) -> Player:
            player = Player(*answers)
            stack.callback(player.close)
            return player

        yield start


def said(status: str, body: bytes, kind: str = "application/json", *more: str, length: int = 0) -> bytes:
    """A response; one that is shorter than its `length` is broken off."""
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {length or len(body)}", *more]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + body


ALIVE = said("200 OK", b'{"status": "alive", "waiting": 0}')
INDEXES = said("200 OK", b'{"indexes": []}')
BUSY = b'{"type": "urn:ragnarok:problem:busy", "title": "Too many", "status": 429, "detail": "wait"}'


def test_a_question_is_answered(make: Make, whole: str) -> None:
    answer = make(whole).query("how do I sort?", depth=3)
    assert isinstance(answer, QueryResponse)
    assert answer.query == "how do I sort?"
    assert [s.text for s in answer.answer.sentences] == [s.text for s in SENTENCES]
    assert answer.answer.references == list(REFERENCES)
    assert [hit.docid for hit in answer.hits] == [p.docid for p in reversed(PASSAGES[:3])]


def test_a_question_is_answered_as_it_is_made(make: Make, whole: str) -> None:
    client = make(whole + "/")
    events = list(client.stream("how do I sort?"))
    found, ranked, *sentences, last = events
    assert isinstance(found, FoundHits)
    assert isinstance(ranked, RankedHits)
    assert isinstance(last, QueryResponse)
    assert [s.text for s in sentences if isinstance(s, CitedSentence)] == [s.text for s in SENTENCES]
    assert [hit.text for hit in found.hits] == [p.text for p in PASSAGES]
    whole_answer = client.query("how do I sort?")
    assert last.model_copy(update={"timings": whole_answer.timings}) == whole_answer


def test_an_index_is_searched(make: Make, whole: str, small_index: Index) -> None:
    client = make(whole)
    (expected,) = small_index.search(["river in Paris"], 2)
    found = client.search("river in Paris", "small", hits=2)
    assert [(c.docid, c.rank) for c in found.candidates] == [(h.docid, h.rank) for h in expected]
    batch = client.search_many(["river in Paris", "zebras"], index="small", hits=2, method="bm25")
    assert [[hit.docid for hit in hits] for hits in batch.results] == [[h.docid for h in expected], []]
    assert [(one.name, one.passages) for one in client.indexes()] == [("small", len(CORPUS))]


@pytest.mark.parametrize("docid", [record[0] for record in CORPUS])
def test_a_document_is_fetched(make: Make, whole: str, docid: str) -> None:
    document = make(whole).document(docid, "small")
    title, text, url = next(record[1:] for record in CORPUS if record[0] == docid)
    assert document.doc == {"contents": f"{title}\n{text}" if title else text, "title": title, "url": url}


@pytest.mark.parametrize("name", ["nothing", "..", ".", "a/b", "%2e%2e", "ÿ 🍌", "?x#y", ""])
def test_a_name_that_is_not_there(make: Make, whole: str, name: str) -> None:
    client = make(whole, retries=0)
    with pytest.raises(NotFound) as caught:
        client.document(name, "small")
    assert caught.value.status == 404
    with pytest.raises(NotFound):
        client.search("river", name or "none")


def test_documents_are_put_in_order(make: Make, whole: str) -> None:
    client = make(whole)
    texts: list[str | Document] = ["first", Document(text="second", title="Two"), "last"]
    ranked = client.rerank("which?", texts, top_n=2, return_documents=True, ranks=(3, 1, 2))
    assert [(r.index, r.document and r.document.text) for r in ranked.results] == [(2, "last"), (1, "second")]


def test_stages_feed_each_other(make: Make, whole: str) -> None:
    client = make(whole)
    (hits,) = client.search_many(["river in Paris"]).results
    order = [hits[result.index] for result in client.rerank("river", hits).results]
    assert [hit.docid for hit in order] == [hit.docid for hit in reversed(hits)]
    answer = client.generate("river?", order)
    assert [s.text for s in answer.answer.sentences] == [s.text for s in SENTENCES]
    assert client.generate("river?", client.search("river in Paris", "small").candidates) == answer
    assert client.generate("river?", ["a passage", *order]) == answer
    assert client.generate("river?", client.query("river?").hits) == answer
    *sentences, last = client.stream_generate("river?", order)
    assert sentences == answer.answer.sentences
    assert isinstance(last, GenerateResponse)
    assert last == answer


def test_state(make: Make, whole: str, play: Script) -> None:
    client = make(whole)
    assert client.health().status == "alive"
    assert client.ready()
    loading = play(said("503 No", b"loading", "text/plain", "Retry-After: 0"))
    assert not make(loading.address).ready()
    assert len(loading.asked) == 1, "who asks for the state is not made to wait"
    with pytest.raises(Unreachable):
        make("http://127.0.0.1:9").ready()


def test_a_refusal_says_what_the_service_says(make: Make, whole: str) -> None:
    client = make(whole)
    with pytest.raises(BadRequest) as caught:
        client.query("q", depth=0)
    error = caught.value
    assert (error.type, error.status) == ("urn:ragnarok:problem:invalid-request", 422)
    assert [(one.pointer, "greater than" in one.detail) for one in error.errors] == [("/depth", True)]
    assert re.fullmatch(r"[0-9a-f]{16}", error.request_id)
    assert error.request_id in str(error)
    assert error.detail in str(error)
    assert error.title in str(error)
    with pytest.raises(BadRequest, match="limit of 100"):
        client.search("q", "small", hits=101)
    with pytest.raises(NotFound, match="no index 'other' is served here; there are: small"):
        client.search_many(["q"], index="other")
    with pytest.raises(NotFound, match="no model 'other'"):
        client.rerank("q", ["a"], model="other")
    with pytest.raises(BadRequest, match="question is empty"):
        list(client.stream("  "))


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_what_is_no_text(make: Make, whole: str, text: str) -> None:
    client = make(whole)
    with pytest.raises(BadRequest):
        client.query(text)
    with pytest.raises(BadRequest):
        client.rerank("q", [text])
    with pytest.raises(Unusable, match="no text"):
        client.search(text, "small")
    with pytest.raises(Unusable, match="no text"):
        client.document(text, "small")
    with pytest.raises(Unusable, match="'5' is no text"):
        client.document(cast("str", 5), "small")
    with pytest.raises(BadRequest):
        client.rerank("q", ["a"], scores=[float("nan")])
    with pytest.raises(Unusable, match="JSON"):
        client.rerank("q", ["a"], scores=[cast("float", object())])


def test_one_text_is_no_list(make: Make, whole: str) -> None:
    client = make(whole)
    for ask in (
        lambda: client.rerank("q", "text"),
        lambda: client.search_many("text", index="small"),
        lambda: client.generate("q", "text"),
    ):
        with pytest.raises(Unusable, match="'text' is one text; give a list"):
            ask()


def test_keys(make: Make, serve: Serve, tmp_path: Path) -> None:
    key, line = make_key("anna")
    (tmp_path / "keys").write_text(f"{line}\n")
    address = serve(a_pipeline(), Settings(api_keys=tmp_path / "keys"))
    assert make(address, api_key=key).query("q").answer.sentences
    for wrong in (None, "wrong"):
        with pytest.raises(Unauthorized, match="API key") as caught:
            make(address, api_key=wrong).query("q")
        assert caught.value.request_id
        with pytest.raises(Unauthorized):
            next(make(address, api_key=wrong).stream("q"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (405, BadRequest),
        (408, BadRequest),
        (413, BadRequest),
        (429, LimitReached),
        (500, ServiceFailed),
        (502, ServiceFailed),
        (503, ServiceUnavailable),
        (504, ServiceFailed),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>  \n gone \xff", b"[]", b'{"status": "no"}', BUSY])
def test_statuses_have_their_errors(
    make: Make, play: Script, status: int, kind: type[Refusal], body: bytes
) -> None:
    player = play(said(f"{status} So", body, "text/html", "X-Request-ID: r-1"))
    with pytest.raises(kind) as caught:
        make(player.address).indexes()
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.request_id, error.retry_after) == (status, "r-1", None)
    assert error.detail
    assert len(str(error)) < 400
    assert len(player.asked) == 1, "without Retry-After, nothing is asked again"


def test_who_leads_elsewhere_is_no_such_service(make: Make, play: Script) -> None:
    player = play(said("301 So", b"", "text/html", "Location: https://there.test/"))
    with pytest.raises(BadAnswer, match=r"HTTP 301 leads elsewhere \(https://there\.test/\); give"):
        make(player.address).indexes()
    assert len(player.asked) == 1


def test_a_busy_service_is_asked_again_when_it_says(make: Make, play: Script) -> None:
    player = play(said("429 No", BUSY, "application/problem+json", "Retry-After: 1"), INDEXES)
    begun = time.monotonic()
    assert make(player.address).indexes() == []
    assert 1 <= time.monotonic() - begun < 5
    assert len(player.asked) == 2
    assert player.asked[0] == player.asked[1]


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize(("status", "kind"), [(429, LimitReached), (503, ServiceUnavailable)])
def test_retries_are_bounded(
    make: Make, play: Script, retries: int, status: int, kind: type[Refusal]
) -> None:
    player = play(said(f"{status} No", BUSY, "application/problem+json", "Retry-After: 0"))
    with pytest.raises(kind) as caught:
        next(make(player.address, retries=retries).stream("q"))
    assert caught.value.retry_after == 0
    assert len(player.asked) == retries + 1


@pytest.mark.parametrize("after", ["61", "3600", "soon", "-1", "1.5", ""])
def test_who_says_to_come_much_later_is_left_alone(make: Make, play: Script, after: str) -> None:
    player = play(said("503 No", BUSY, "application/problem+json", f"Retry-After: {after}"))
    with pytest.raises(ServiceUnavailable) as caught:
        make(player.address).query("q")
    assert caught.value.retry_after == (float(after) if after.isdigit() else None)
    assert len(player.asked) == 1


def test_a_date_to_come_again(make: Make, play: Script) -> None:
    for hours, expected in ((2, 7200), (-2, 0)):
        when = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
        player = play(said("429 No", BUSY, "application/problem+json", f"Retry-After: {when}"))
        with pytest.raises(LimitReached) as caught:
            make(player.address, retries=0).query("q")
        assert caught.value.retry_after == pytest.approx(expected, abs=5)


def test_a_connection_that_fails_is_made_again(make: Make, play: Script) -> None:
    player = play(b"", b"", INDEXES)
    assert make(player.address).indexes() == []
    assert len(player.asked) == 3


def test_nobody_there(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
    with pytest.raises(Unreachable, match=r"cannot be reached .*is the service started"):
        make(address, retries=1).query("q")
    with pytest.raises(Unreachable):
        next(make(address, retries=0).stream("q"))
    with pytest.raises(Unreachable):
        make("http://nowhere.invalid", retries=0).query("q")


def test_silence_ends(make: Make, play: Script) -> None:
    player = play(None)
    with pytest.raises(TookTooLong, match=r"nothing for 0\.3 seconds"):
        make(player.address, timeout=0.3).query("q")
    assert len(player.asked) == 1, "what takes long is not begun a second time"


@pytest.mark.parametrize(
    "answer",
    [
        said("200 OK", b"<html>a proxy</html>", "text/html"),
        said("200 OK", b""),
        said("200 OK", b'{"indexes": 5}'),
        said("200 OK", b'{"indexes": [{"name": "\xff\xfe"}]}'),
        said("200 OK", b'{"indexes": []', length=100),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\r\n",
    ],
)
def test_an_answer_of_something_else(make: Make, play: Script, answer: bytes) -> None:
    player = play(answer)
    with pytest.raises(BadAnswer, match=re.escape(player.address)):
        make(player.address).indexes()
    assert len(player.asked) == 1


SENTENCE = b'event: sentence\ndata: {"text": "Yes \xf0\x9f\x8d\x8c\xe2\x80\xa8.", "citations": []}\n\n'


@pytest.mark.parametrize(
    ("rest", "length", "kind", "match"),
    [
        (b"", 0, BrokenOff, "in the middle"),
        (b"", 1_000, BrokenOff, "broke off its answer"),
        (b"event: sentence\ndata: {", 0, BrokenOff, "in the middle"),
        (b'event: done\ndata: {"qu', 500, BrokenOff, "broke off"),
        (b'event: sentence\ndata: {"text": "\xff\xfe"}\n\n', 0, BadAnswer, "utf-8|UTF-8"),
        (b"event: sentence\ndata: {}\n\n", 0, BadAnswer, "text: Field required"),
        (b"event: error\ndata: " + BUSY + b"\n\n", 0, LimitReached, "Too many: wait"),
        (b"event: error\ndata: oh no\n\n", 0, BadAnswer, "oh no"),
    ],
)
def test_a_stream_that_ends_badly(
    make: Make, play: Script, rest: bytes, length: int, kind: type[ClientError], match: str
) -> None:
    player = play(said("200 OK", SENTENCE + rest, "text/event-stream", length=length))
    events = make(player.address).stream("q")
    first = next(events)
    assert isinstance(first, CitedSentence)
    assert first.text == "Yes 🍌\u2028."
    with pytest.raises(kind, match=match):
        next(events)
    assert len(player.asked) == 1, "what has begun is not begun again"


def test_no_stream_at_all(make: Make, play: Script) -> None:
    with pytest.raises(BadAnswer, match="application/json in place of events"):
        next(make(play(INDEXES).address).stream("q"))


def test_a_failure_on_the_way_is_told(make: Make, serve: Serve) -> None:
    address = serve(a_pipeline(reciter=Reciter(error=RuntimeError("inside"))))
    with pytest.raises(ServiceFailed) as caught:
        list(make(address).stream("q"))
    assert caught.value.status == 500
    assert caught.value.request_id


def test_leaving_a_stream_ends_the_work(make: Make, serve: Serve) -> None:
    reciter = Reciter(steps := Semaphore(1))
    client = make(serve(a_pipeline(reciter=reciter)))
    with client.stream("q") as events:
        assert [type(next(events)) for _ in range(3)] == [FoundHits, RankedHits, CitedSentence]
    assert list(events) == []
    time.sleep(0.3)  # the connection's end has to come to the server first
    until = time.monotonic() + WAIT
    while not reciter.closed.is_set() and time.monotonic() < until:
        steps.release()
        time.sleep(0.05)
    assert reciter.closed.is_set()
    assert reciter.said < len(SENTENCES)
    steps.release(9)
    assert client.query("again").answer.sentences


def test_a_stream_is_asked_for_when_it_is_wanted(make: Make, play: Script) -> None:
    player = play(INDEXES)
    make(player.address).stream("q").close()
    assert player.asked == []


def test_many_threads_share_a_client(whole: str) -> None:
    answers: list[QueryResponse] = []
    with Client(whole) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.query("q"))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert len(answers) == 16


def test_a_client_of_ones_own_is_used_and_left_open(whole: str) -> None:
    with httpx.Client(headers={"X-Request-ID": "mine"}) as http:
        with Client(whole, http=http) as client, pytest.raises(NotFound) as caught:
            client.document("nothing", "small")
        assert caught.value.request_id == "mine"
        assert http.get(f"{whole}/healthz").status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://x?y=z",
        "http://a:b@x",
        "http://[x",
    ],
)
def test_an_address_that_cannot_be(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(Unusable, match="give http://HOST:PORT"):
            kind(url)


@pytest.mark.parametrize("key", ["", "a\nb", "ключ"])
def test_a_key_that_cannot_be(key: str) -> None:
    with pytest.raises(Unusable, match="API key") as caught:
        Client(api_key=key)
    assert not key or key not in str(caught.value)


def test_numbers_that_cannot_be() -> None:
    with pytest.raises(Unusable, match="retries"):
        Client(retries=-1)
    with pytest.raises(Unusable, match="timeout"):
        Client(timeout=0)


def methods(kind: type) -> dict[str, inspect.Signature]:
    """The public methods of a client."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in {"close", "aclose"}
    }


def test_both_clients_are_alike() -> None:
    mine, theirs = methods(Client), methods(AsyncClient)
    assert {name: one.parameters for name, one in mine.items()} == {
        name: one.parameters for name, one in theirs.items()
    }
    for name, one in mine.items():
        assert str(one.return_annotation).replace("sync.", "asynchronous.Async") == str(
            theirs[name].return_annotation
        )


def test_everything_is_documented() -> None:
    page = PAGE.read_text()
    for name in methods(Client):
        assert f"| `{name}(" in page, name
    assert [name for name in package.__all__ if f"`{name}`" not in page] == []


def test_the_page_is_true(whole: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 2
    script = "\n".join(blocks).replace("http://localhost:8000", whole).replace('"demo"', '"small"')
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert SENTENCES[0].text in done.stdout


def test_it_needs_no_model_index_or_server() -> None:
    heavy = {"torch", "transformers", "pyserini", "faiss", "fastapi", "starlette", "uvicorn", "jnius"}
    code = f"import sys, service.client; sys.exit(', '.join({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_typed() -> None:
    assert (Path(package.__file__).parents[1] / "py.typed").exists()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_come_in_pieces(size: int, end: bytes) -> None:
    lines = [b": hello", b"", b"event: a", "data: é🍌\u2028".encode(), b"data:more", b"id: 5", b""]
    lines += [b"event: lost", b"", b"data: plain", b"", b"data: cut"]
    whole = end.join(lines)
    reader = EventReader()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    events = [event for piece in pieces for event in reader.feed(piece)]
    assert events == [("a", "é🍌\u2028\nmore"), ("message", "plain")]
