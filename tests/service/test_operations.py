"""Request ids, counters and log lines of a running service."""

import json
import logging
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import httpx
import pytest
from pydantic import SecretStr

from ragnarok.keys import make_key
from ragnarok.types import Hit
from service.context import REQUEST_ID, outgoing_headers
from service.logs import REQUESTS, SERVER, JsonLines, install
from service.metrics import LEVELS, TOTALS, Metrics
from service.parts import parts_of
from service.settings import Settings
from tests.service.conftest import Serve
from tests.service.fakes import a_pipeline
from tests.service.running import client_of, samples

QUESTION = {"query": "who built the secret tower?"}


@pytest.mark.anyio
async def test_a_request_keeps_its_id_or_gets_one() -> None:
    async with client_of() as client:
        sent = await client.post("/v1/query", json=QUESTION, headers={"X-Request-ID": "door-1:a"})
        assert sent.headers["x-request-id"] == "door-1:a"
        for bad in ("", "a b", "x" * 200, "<script>"):
            made = await client.get("/healthz", headers={"X-Request-ID": bad})
            assert re.fullmatch("[0-9a-f]{16}", made.headers["x-request-id"])
        refused = await client.post("/v1/query", json={"query": " "})
        assert refused.status_code == 422
        assert refused.headers["x-request-id"]


class Broken:
    """A retriever that fails, and says which request it was asked for."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        raise RuntimeError(f"{k} for {queries}: {outgoing_headers()[REQUEST_ID]}")


@pytest.mark.anyio
async def test_a_fault_has_the_id_too_which_goes_along_with_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = parts_of(a_pipeline())
    parts.retriever = Broken()
    async with client_of(parts) as client:
        failed = await client.post("/v1/query", json=QUESTION, headers={REQUEST_ID: "r-8"})
    assert (failed.status_code, failed.headers[REQUEST_ID]) == (500, "r-8")
    assert "r-8" not in failed.text
    assert "r-8" in caplog.text, "the error that the retriever raised"


@pytest.mark.anyio
async def test_requests_are_counted_by_route_and_status() -> None:
    async with client_of() as client:
        await client.post("/v1/query", json=QUESTION)
        await client.post("/v1/query", json={"query": ""})
        for path in ("/nothing", "/nothing/else", "/v2/x"):
            await client.get(path)
        found = samples((await client.get("/metrics")).text)
    query = 'method="POST",route="/v1/query"'
    assert found[f'ragnarok_requests_total{{{query},status="200"}}'] == 1
    assert found[f'ragnarok_requests_total{{{query},status="422"}}'] == 1
    assert found['ragnarok_requests_total{method="any",route="none",status="404"}'] == 3
    assert found['ragnarok_request_seconds_count{route="/v1/query"}'] == 2
    assert found["ragnarok_ready"] == 1
    assert found["ragnarok_waiting"] == 0
    assert found["ragnarok_requests_in_flight"] == 1, "the one that asks"
    assert found["ragnarok_queue_seconds_count"] >= 1
    assert found['ragnarok_words_total{kind="question"}'] == 5
    assert found['ragnarok_words_total{kind="answer"}'] > 5
    for stage in ("retrieve", "rerank", "answer"):
        assert found[f'ragnarok_stage_seconds_count{{stage="{stage}"}}'] == 1


def test_metrics_are_documented() -> None:
    document = Path("docs/operations.md").read_text(encoding="utf-8")
    counted = {
        re.sub("_(bucket|sum|count|created)$", "", name.partition("{")[0]).removeprefix("ragnarok_")
        for name in re.findall("^# HELP (ragnarok_[a-z_]+)", Metrics(dict).text().decode(), re.MULTILINE)
    }
    assert {"requests_total", "queue_seconds", "refused_total", "words_total"} <= counted
    for name in (*LEVELS, *(f"{name}_total" for name in TOTALS), *counted):
        assert f"`ragnarok_{name}`" in document


@pytest.mark.anyio
async def test_two_applications_count_apart() -> None:
    async with client_of() as first, client_of() as second:
        await first.get("/healthz")
        found = samples((await second.get("/metrics")).text)
        assert not any('route="/healthz"' in name for name in found)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_request_is_one_line_without_the_question(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    log_format: Literal["text", "json"],
) -> None:
    address = serve(a_pipeline(), Settings(log_format=log_format))
    # The server's own loggers keep what they hear to themselves.
    monkeypatch.setattr(logging.getLogger(REQUESTS), "handlers", [caplog.handler])
    caplog.set_level(logging.INFO, REQUESTS)
    httpx.post(f"{address}/v1/query", json=QUESTION, headers={"X-Request-ID": "r-7"}, timeout=20)
    httpx.get(f"{address}/healthz", timeout=20)
    (said,) = [r for r in caplog.records if r.name == REQUESTS]
    line = JsonLines().format(said) if log_format == "json" else said.getMessage()
    assert "tower" not in line
    if log_format == "json":
        record = json.loads(line)
        assert (record["request"], record["route"], record["status"]) == ("r-7", "/v1/query", 200)
        assert record["seconds"] >= 0
    else:
        assert "request=r-7" in line
        assert "route=/v1/query status=200" in line


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the server's loggers say, which they otherwise keep to themselves."""
    for name in (REQUESTS, "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [caplog.handler])
        monkeypatch.setattr(logging.getLogger(name), "propagate", False)
        caplog.set_level(logging.INFO, name)
    return caplog


@pytest.mark.anyio
async def test_a_fault_is_one_json_object_with_its_request_and_trace(
    heard: pytest.LogCaptureFixture,
) -> None:
    heard.handler.setFormatter(JsonLines())
    parts = parts_of(a_pipeline())
    parts.retriever = Broken()
    async with client_of(parts, Settings(log_format="json")) as client:
        await client.post("/v1/query", json=QUESTION, headers={REQUEST_ID: "r-9"})
    lines = [json.loads(line) for line in heard.text.splitlines()]
    (fault,) = [line for line in lines if line["level"] == "error"]
    assert fault["request"] == "r-9"
    assert fault["message"].startswith("Something went wrong here")
    assert "Traceback" in fault["trace"]
    assert "RuntimeError" in fault["trace"]
    (request,) = [line for line in lines if line.get("route") == "/v1/query"]
    assert (request["request"], request["status"], request["level"]) == ("r-9", 500, "info")
    assert datetime.fromisoformat(request["time"]).tzinfo is not None


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_servers_own_lines_have_the_same_form(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(SERVER), "handlers", [handler])
    install(log_format)
    record = logging.LogRecord("uvicorn.error", logging.INFO, "", 0, "Started %s\nnow", ("it",), None)
    line = handler.format(record)
    if log_format == "text":
        assert line == "Started it\nnow"
        return
    assert "\n" not in line
    assert json.loads(line)["message"] == "Started it\nnow"


@pytest.mark.anyio
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions", "/v1/rerank", "/v1/generate"])
async def test_questions_are_in_the_log_where_they_are_wanted(
    heard: pytest.LogCaptureFixture, path: str, wanted: bool
) -> None:
    question = "who built\n the “secret” tower?"
    bodies: dict[str, dict[str, object]] = {
        "/v1/query": {"query": question, "stream": True},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": question}]},
        "/v1/rerank": {"query": question, "documents": ["a", "b"]},
        "/v1/generate": {"query": {"text": question, "qid": "1"}, "candidates": []},
    }
    async with client_of(settings=Settings(log_questions=wanted)) as client:
        answer = await client.post(path, json=bodies[path])
        assert answer.status_code == 200, answer.text
    (said,) = [one for one in heard.records if one.name == REQUESTS]
    told = json.loads(JsonLines().format(said))
    assert ("tower" in said.getMessage()) == wanted
    assert ("question" in told) == wanted
    if wanted:
        assert "the “secret” tower?" in told["question"]
        assert "\n" not in said.getMessage()
        assert len(said.getMessage()) < 1_500


@pytest.mark.anyio
async def test_no_secret_is_ever_said(heard: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Keys that are right, wrong or misplaced, and a Redis that is away, with all the log that there is."""
    heard.handler.setFormatter(JsonLines())
    heard.set_level(logging.DEBUG)
    # The clients of this test name the addresses that they ask.
    heard.set_level(logging.WARNING, "httpx")
    key, line = make_key("team-a")
    (tmp_path / "keys").write_text(f"{line}\n")
    settings = Settings(
        api_keys=tmp_path / "keys",
        redis_url=SecretStr("redis://user:redis-hush@127.0.0.1:1/0"),
        upstream_key=SecretStr("upstream-hush"),
        log_questions=True,
        rate_limit=3,
    )
    parts = parts_of(a_pipeline())
    parts.retriever = Broken()
    said = []
    async with client_of(parts, settings) as client:
        for sent in (key, "rag_wrong-hush"):
            for headers in ({"Authorization": f"Bearer {sent}"}, {"X-API-Key": sent}):
                answer = await client.post(f"/v1/query?api_key={sent}", json=QUESTION, headers=headers)
                said.append(answer.text + str(answer.headers))
        said.append((await client.get("/metrics")).text)
        said.append((await client.get("/openapi.json")).text)
    everything = "\n".join([heard.text, *said])
    assert "127.0.0.1:1" in heard.text, "the Redis is named"
    for secret in (key, line.digest, "hush"):
        assert secret not in everything
