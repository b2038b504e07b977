"""Request ids, counters and log lines of a running service."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import httpx
import pytest

from ragnarok.types import Hit
from service.context import REQUEST_ID, outgoing_headers
from service.metrics import LEVELS
from service.operations import LOGGER
from service.parts import parts_of
from service.settings import Settings
from tests.service.conftest import Serve
from tests.service.fakes import a_pipeline
from tests.service.running import client_of

QUESTION = {"query": "who built the secret tower?"}


def samples(text: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) ([-+.\deE]+)$", text, re.MULTILINE)
    }


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
    for stage in ("retrieve", "rerank", "answer"):
        assert found[f'ragnarok_stage_seconds_count{{stage="{stage}"}}'] == 1


def test_metrics_are_documented() -> None:
    document = Path("docs/service.md").read_text(encoding="utf-8")
    counted = ("requests_total", "cache_total", "request_seconds", "stage_seconds", "requests_in_flight")
    for name in (*LEVELS, *counted):
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
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [caplog.handler])
    caplog.set_level(logging.INFO, LOGGER)
    httpx.post(f"{address}/v1/query", json=QUESTION, headers={"X-Request-ID": "r-7"}, timeout=20)
    httpx.get(f"{address}/healthz", timeout=20)
    (line,) = [r.getMessage() for r in caplog.records if r.name == LOGGER]
    assert "tower" not in line
    if log_format == "json":
        record = json.loads(line)
        assert (record["request"], record["route"], record["status"]) == ("r-7", "/v1/query", 200)
        assert record["seconds"] >= 0
    else:
        assert "request=r-7" in line
        assert "route=/v1/query status=200" in line
