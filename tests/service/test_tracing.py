"""Spans, as a collector gets them."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_tracer_provider

from ragnarok.errors import BadSetting
from ragnarok.types import Hit
from service.app import create_app
from service.context import outgoing_headers
from service.parts import parts_of
from service.settings import Settings
from tests.service.fakes import Shelf, a_pipeline
from tests.service.running import WAIT, client_of, server_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
QUESTION = {"query": "who built the secret tower?"}


class Collector:
    """A server that keeps the spans it is sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces":
                    bodies.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def spans(self) -> dict[str, Span]:
        return {
            span.name: span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


class Telling(Shelf):
    """A retriever that keeps what a service it asked would be sent."""

    sent: dict[str, str]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.sent = outgoing_headers()
        return super().search(queries, k)


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_goes_on_through_the_stages(collector: Collector, stream: bool) -> None:
    shelf = Telling()
    with server_of(a_pipeline(shelf), Settings(otlp_endpoint=collector.address)) as address:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "r-9"}
        body = {**QUESTION, "stream": stream}
        answer = httpx.post(f"{address}/v1/query", json=body, headers=headers, timeout=WAIT)
        assert answer.status_code == 200
        httpx.get(f"{address}/healthz", timeout=WAIT)
    spans = collector.spans()
    assert set(spans) == {"POST /v1/query", "retrieve", "rerank", "answer"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    request = spans["POST /v1/query"]
    assert request.parent_span_id.hex() == PARENT
    told = {one.key: one.value for one in request.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert told["ragnarok.request"].string_value == "r-9"
    stages = [spans[name] for name in ("retrieve", "rerank", "answer")]
    assert {stage.parent_span_id for stage in stages} == {request.span_id}
    for first, second in itertools.pairwise(stages):
        assert first.end_time_unix_nano <= second.start_time_unix_nano
    assert shelf.sent == {
        "X-Request-ID": "r-9",
        "traceparent": f"00-{TRACE}-{spans['retrieve'].span_id.hex()}-01",
    }
    sent = b"".join(collector.bodies)
    assert b"ragnarok-all" in sent
    assert b"tower" not in sent, "never what was asked"


def test_a_failure_is_marked(collector: Collector) -> None:
    parts = parts_of(a_pipeline(Shelf(error=RuntimeError("by hand"))))
    with server_of(parts, Settings(otlp_endpoint=collector.address)) as address:
        assert httpx.post(f"{address}/v1/query", json=QUESTION, timeout=WAIT).status_code == 500
    spans = collector.spans()
    assert spans["POST /v1/query"].status.code == spans["retrieve"].status.code == 2


@pytest.mark.anyio
async def test_nothing_is_traced_unless_it_is_asked_for() -> None:
    shelf = Telling()
    async with client_of(a_pipeline(shelf)) as client:
        await client.post("/v1/query", json=QUESTION, headers={"X-Request-ID": "r-9"})
    assert shelf.sent == {"X-Request-ID": "r-9"}


@pytest.mark.anyio
async def test_a_tracer_of_the_whole_process_hears_nothing() -> None:
    # The framework would send a search's query there.
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    set_tracer_provider(provider)
    async with client_of(a_pipeline()) as client:
        await client.get("/v1/any/search", params={"query": "who built the secret tower?"})
    assert kept.get_finished_spans() == ()


def test_a_collector_that_is_away_delays_nothing() -> None:
    with server_of(a_pipeline(), Settings(otlp_endpoint="http://127.0.0.1:9")) as address:
        start = time.monotonic()
        assert httpx.post(f"{address}/v1/query", json=QUESTION, timeout=WAIT).status_code == 200
        assert time.monotonic() - start < 5
        start = time.monotonic()
    assert time.monotonic() - start < 15


def test_without_the_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(BadSetting, match=r"pip install 'ragnarok-attention\[otel\]'"):
        create_app(Settings(otlp_endpoint="http://127.0.0.1:9"), a_pipeline())
