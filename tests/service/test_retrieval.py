"""Searches over HTTP: as Pyserini answers them, and in batches."""

import re
from typing import Any
from urllib.parse import quote

import pytest

from indexes import Index
from service.library import Library
from service.parts import Parts
from service.settings import Settings
from tests.service.conftest import CORPUS
from tests.service.running import client_of
from tests.service.test_problems import problem

pytestmark = pytest.mark.anyio


def parts(index: Index, **settings: int) -> tuple[Parts, Settings]:
    """A retrieval service over `index`."""
    chosen = Settings.model_validate({"serve": "retrieval", "index": "small", **settings})
    return Parts(library=Library({"small": index}, chosen)), chosen


class Stuck(Index):
    """An index whose closing fails."""

    def __init__(self) -> None:
        """Open nothing."""
        self.tried = False

    def close(self) -> None:
        """Fail."""
        self.tried = True
        raise OSError("stuck")


async def test_every_index_is_closed_whatever_one_says() -> None:
    stuck = [Stuck(), Stuck()]
    library = Library({"one": stuck[0], "two": stuck[1]}, Settings())
    with pytest.raises(OSError, match="stuck"):
        library.close()
    assert [one.tried for one in stuck] == [True, True]


async def test_one_query_is_answered_as_pyserini_does(small_index: Index) -> None:
    async with client_of(*parts(small_index)) as client:
        response = await client.get("/v1/small/search", params={"query": "river tower", "hits": 1})
    assert response.status_code == 200
    said = response.json()
    (candidate,) = said.pop("candidates")
    assert said == {"api": "v1", "index": "small", "query": {"text": "river tower"}}
    docid, title, text, url = CORPUS[0]
    score = candidate.pop("score")
    assert score > 0
    document = {"contents": f"{title}\n{text}", "title": title, "url": url}
    assert candidate == {"docid": docid, "rank": 1, "doc": document}


@pytest.mark.parametrize("docid", [record[0] for record in CORPUS])
async def test_a_document_is_found_by_its_docid(small_index: Index, docid: str) -> None:
    place = quote(docid, safe="")
    async with client_of(*parts(small_index)) as client:
        said = (await client.get(f"/v1/small/doc/{place}")).json()
        old = (await client.get(f"/v1/indexes/small/documents/{place}")).json()
    (title, text, url) = next(record[1:] for record in CORPUS if record[0] == docid)
    document = {"contents": f"{title}\n{text}" if title else text, "title": title, "url": url}
    assert said == {"api": "v1", "index": "small", "docid": docid, "doc": document}
    assert old == {"id": docid, **document}


async def test_a_batch_has_the_hits_of_each_query(small_index: Index) -> None:
    async with client_of(*parts(small_index)) as client:
        queries = ["river", "", "yellow bananas"]
        body = {"queries": queries, "hits": 2, "method": "bm25", "k1": 1.2, "b": 0.7}
        said = (await client.post("/v1/search", json=body)).json()
        plain = (await client.post("/v1/search", json={"queries": ["river"], "index": "small"})).json()
    expected = small_index.search(queries, 2, k1=1.2, b=0.7)
    assert said["index"] == plain["index"] == "small"
    assert [[(hit["docid"], hit["score"]) for hit in hits] for hits in said["results"]] == [
        [(hit.docid, hit.score) for hit in hits] for hits in expected
    ]
    assert said["results"][2][0]["text"] == CORPUS[1][2]
    assert plain["results"][0][0]["score"] != said["results"][0][0]["score"]


async def test_the_indexes_are_named_with_what_they_can(small_index: Index) -> None:
    async with client_of(*parts(small_index)) as client:
        said = (await client.get("/v1/indexes")).json()
        assert (await client.get("/v1/indexes/")).json() == said
    assert said == {"indexes": [{"name": "small", "passages": 4, "methods": ["bm25"], "method": "bm25"}]}


def asked(**body: object) -> dict[str, Any]:
    """A batch."""
    return {"json": {"queries": ["q"], **body}}


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "said"),
    [
        ("GET", "/v1/other/search?query=q", {}, 404, "no index 'other' is served here; there are: small"),
        ("GET", "/v1/..%2F..%2Fetc/search?query=q", {}, 404, "."),
        ("GET", "/v1/%2Fetc/search?query=q", {}, 404, "."),
        ("GET", "/v1/small/doc/nobody", {}, 404, "no passage 'nobody'"),
        ("GET", "/v1/small/search", {}, 422, "/query: Field required"),
        ("GET", "/v1/small/search?query=q&hits=0", {}, 422, "/hits: .*greater than or equal to 1"),
        ("GET", "/v1/small/search?query=q&hits=51", {}, 422, "51 hits are over this service's limit of 50"),
        ("POST", "/v1/search", asked(hits=51), 422, "limit of 50"),
        ("POST", "/v1/search", asked(queries=["q"] * 4), 422, "4 queries are over .* limit of 3"),
        ("POST", "/v1/search", asked(queries=[]), 422, "/queries"),
        ("POST", "/v1/search", asked(queries="q"), 422, "/queries"),
        ("POST", "/v1/search", asked(index="other"), 404, "no index 'other'"),
        ("POST", "/v1/search", asked(method="dense"), 422, "it has no part dense"),
        ("POST", "/v1/search", asked(method="bm52"), 422, "/method"),
        ("POST", "/v1/search", asked(b=2), 422, "/b"),
        ("POST", "/v1/search", asked(hit=5), 422, "/hit: Extra"),
        ("POST", "/v1/search", {"content": b'{"queries": ["q"], "k1": NaN}'}, 422, "/k1|finite"),
        ("POST", "/v1/search", {"json": {"queries": ["q"], "k1": 1e300}}, 422, "/k1: .*1000000"),
        ("POST", "/v1/search", {"json": {"queries": ["q"], "hit": 1}}, 422, "/hit: Extra inputs"),
        ("POST", "/v1/search", {"json": dict.fromkeys(map(str, range(999)))}, 422, "999 members; .*queries"),
        ("POST", "/v1/indexes/other/search", {"json": {"query": "q"}}, 404, "no index 'other'"),
    ],
)
async def test_what_cannot_be_searched(
    small_index: Index, method: str, path: str, sent: dict[str, Any], status: int, said: str
) -> None:
    headers = {"Content-Type": "application/json"} if method == "POST" else {}
    async with client_of(*parts(small_index, max_hits=50, max_queries=3)) as client:
        response = await client.request(method, path, headers=headers, **sent)
    detail = problem(response, status)["detail"]
    assert re.search(said, detail), detail


async def test_a_stage_has_its_own_routes_and_no_others(small_index: Index) -> None:
    async with client_of(*parts(small_index)) as client:
        assert (await client.get("/readyz")).status_code == 200
        paths = set((await client.get("/openapi.json")).json()["paths"])
        assert (await client.get("/")).status_code == 404
    assert {path for path in paths if path.startswith("/v1")} == {
        "/v1/indexes",
        "/v1/search",
        "/v1/{index}/search",
        "/v1/{index}/doc/{docid}",
        "/v1/indexes/{index}/search",
        "/v1/indexes/{index}/documents/{docid}",
        "/v1/identity",
    }
