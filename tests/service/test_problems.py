"""Every error comes in one envelope and gives nothing away."""

import gzip
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from indexes.errors import IndexBroken, IndexNotFound, JavaMissing, PassageNotFound, SearchError
from ragnarok.errors import OUTCOMES, BadQuery
from rerank.errors import ContextTooSmall, ModelNotFound, NumericalError
from service.problems import Problem, problem_of
from service.settings import Settings
from tests.service.fakes import Shelf, a_pipeline
from tests.service.running import client_of

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that `response` carries, after what all of them have in common."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    said: dict[str, Any] = response.json()
    assert Problem.model_validate(said).status == status
    assert said["title"]
    assert said["detail"]
    assert len(response.content) < 2_000
    return said


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 422, "the body: Field required"),
        (b"{", 400, "not JSON: Expecting property name.*character 1"),
        (b'{"query": "\xff\xfe"}', 400, "not UTF-8: byte 11"),
        ('{"query": "q"}'.encode("utf-16"), 400, "not UTF-8: byte 0"),
        (b"[" * 30_000, 400, "nested too deeply"),
        (b'{"query": "q", "depth": ' + b"1" * 5_000 + b"}", 400, "thousands of digits"),
        (b"null", 422, "the body"),
        (b'"q"', 422, "the body"),
        (b"{}", 422, "/query: Field required"),
        (b'{"query": null}', 422, "/query: .*valid string"),
        (b'{"query": 5}', 422, "/query: .*valid string"),
        (b'{"query": "q", "depth": 0}', 422, "/depth: .*greater than or equal to 1"),
        (b'{"query": "q", "depth": "5"}', 422, "/depth: .*valid integer"),
        (b'{"query": "q", "depth": true}', 422, "/depth: .*valid integer"),
        (b'{"query": "q", "depth": 1e999}', 422, "/depth"),
        (b'{"query": "q", "depth": 101}', 422, "depth of 101 is over this service's limit of 100"),
        (b'{"query": "q", "stream": "yes"}', 422, "/stream: .*valid boolean"),
        (b'{"query": "q", "deepth": 5}', 422, "/deepth: Extra inputs"),
        (b'{"query": "q", "' + b"x" * 5_000 + b'": 5}', 422, "/x{64}: Extra inputs"),
        (b'{"query": "   "}', 422, "question is empty"),
        (b'{"query": "\\u200b\\u0000"}', 422, "question is empty"),
        (b'{"query": "\\ud800"}', 422, "."),
        (b'{"query": "' + b"word " * 10_000 + b'"}', 422, "limit"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_what_cannot_be_a_question(content: bytes, status: int, said: str, accept: str) -> None:
    async with client_of() as client:
        response = await client.post("/v1/query", content=content, headers={**JSON, "Accept": accept})

    assert re.search(said, problem(response, status)["detail"])


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; charset=not-utf-8",
        "application/json; charset=latin-1; note=utf-8",
        "a" * 9_000,
    ],
)
async def test_another_content_type(kind: str) -> None:
    async with client_of() as client:
        response = await client.post("/v1/query", content=b'{"query": "q"}', headers={"Content-Type": kind})
    problem(response, 415)


@pytest.mark.parametrize(("packed", "status"), [("gzip", 415), ("br", 415), ("identity", 200), ("", 200)])
async def test_a_packed_body_is_refused_as_such(packed: str, status: int) -> None:
    content = gzip.compress(b'{"query": "q"}') if status == 415 else b'{"query": "q"}'
    async with client_of() as client:
        headers = {**JSON, "Content-Encoding": packed}
        response = await client.post("/v1/query", content=content, headers=headers)
    assert response.status_code == status
    assert status == 200 or f"packed by {packed}" in problem(response, 415)["detail"]


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}, ["/messages/0/content"] * 2),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"text": "q"}]}]},
            ["/messages/0/content", "/messages/0/content/0/type"],
        ),
        ("/v1/chat/completions", {"messages": [{"content": "q"}]}, ["/messages/0/role"]),
        ("/v1/query", {"query": "q", "a/b~c": 1}, ["/a~1b~0c"]),
        ("/v1/query", ["query"], [""]),
    ],
)
async def test_pointers_lead_into_the_body(path: str, body: object, pointers: list[str]) -> None:
    async with client_of() as client:
        said = problem(await client.post(path, json=body), 422)
    assert [one["pointer"] for one in said["errors"]] == pointers


async def test_of_very_many_wrong_things_some_are_named() -> None:
    names = {f"name{number}": 1 for number in range(1_000)}
    async with client_of() as client:
        said = problem(await client.post("/v1/query", json={"query": "q", **names}), 422)
    assert len(said["errors"]) == 10
    assert said["detail"].endswith("; and 990 more")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON ; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json; charset=utf8",
        "application/json; note=charset",
    ],
)
async def test_json_by_any_spelling(kind: str) -> None:
    async with client_of() as client:
        response = await client.post("/v1/query", content=b'{"query": "q"}', headers={"Content-Type": kind})
    assert response.status_code == 200


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit(declared: bool) -> None:
    body = b'{"query": "' + b"x" * 988 + b'"}'  # 1,001 bytes
    read: list[bytes] = []

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            read.append(body)
            yield body

    async with client_of(settings=Settings(max_body_bytes=1_000)) as client:
        content = body if declared else pieces()
        said = problem(await client.post("/v1/query", content=content, headers=JSON), 413)
        assert "limit of 1,000 bytes" in said["detail"]
        fits = await client.post("/v1/query", content=body[:-4] + b'"}', headers=JSON)
    assert fits.status_code == 200
    assert len(read) <= 1, "the rest must not be read"


async def test_a_body_that_says_it_is_small() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 2_000

    async with client_of(settings=Settings(max_body_bytes=1_000)) as client:
        headers = {**JSON, "Content-Length": "10"}
        problem(await client.post("/v1/query", content=pieces(), headers=headers), 413)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/v1/query", 405),
        ("DELETE", "/healthz", 405),
        ("POST", "/", 405),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/assets/", 404),
        ("GET", "/assets/../site.py", 404),
        ("GET", "/assets/..%2fsite.py", 404),
        ("GET", "/assets/%00", 404),
        ("GET", "/assets/" + "x" * 5_000, 404),
    ],
)
async def test_paths_and_methods_that_are_not_there(method: str, path: str, status: int) -> None:
    async with client_of() as client:
        said = problem(await client.request(method, path), status)
    assert said["type"] == "about:blank"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadQuery("the way out"), 422, "bad-query"),
        (SearchError("the way out"), 422, "search-error"),
        (IndexNotFound("the way out"), 404, "index-not-found"),
        (PassageNotFound("the way out"), 404, "passage-not-found"),
        (IndexBroken("the way out"), 503, "index-broken"),
        (JavaMissing("the way out"), 503, "java-missing"),
        (ModelNotFound("the way out"), OUTCOMES[ModelNotFound].status, "model-not-found"),
        (ContextTooSmall("the way out"), 422, "context-too-small"),
        (NumericalError("the way out"), 500, "numerical-error"),
    ],
)
async def test_what_the_pipeline_raises(error: Exception, status: int, kind: str) -> None:
    async with client_of(a_pipeline(Shelf(error=error))) as client:
        said = problem(await client.post("/v1/query", json={"query": "q"}), status)
    assert said["type"] == f"urn:ragnarok:problem:{kind}"
    assert said["detail"] == "the way out"


async def test_a_fault_of_ours_is_logged_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("the password is swordfish")
    async with client_of(a_pipeline(Shelf(error=error))) as client:
        response = await client.post("/v1/query", json={"query": "q"})
    said = problem(response, 500)
    assert said == {"type": "about:blank", "title": said["title"], "status": 500, "detail": said["detail"]}
    assert "swordfish" not in response.text
    assert "swordfish" in caplog.text


@pytest.mark.parametrize("error", OUTCOMES)
def test_every_error_of_the_house_has_its_envelope(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    said = problem_of(error("the way out"))
    assert (said.status, said.title, said.detail) == (
        OUTCOMES[error].status,
        OUTCOMES[error].title,
        "the way out",
    )
