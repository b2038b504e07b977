"""Searches by name of an index: as Pyserini's and Anserini's REST servers (v1) have them, and in batches.

What is refused comes as a problem in all of them. Pyserini 1's forms are in `service.retrieval_old`.
"""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from indexes import METHODS, Index, Method
from service.door import JsonRoute
from service.identity import HEADER
from service.problems import problems_of
from service.schema import LARGEST
from service.schema_retrieval import (
    AskedText,
    BatchFound,
    BatchSearch,
    Candidate,
    Found,
    FoundDocument,
    IndexInfo,
    IndexList,
    document_of,
)
from service.searches import Search, Searches, hits_of
from service.stream import json_response, left


def retrieval_routes(searches: Searches) -> APIRouter:
    """Searches by `searches`, and documents."""
    # A route is counted by the path that its own router knows, so the prefix stands there.
    router = APIRouter(responses=problems_of(401, 404, 422, 429, 500, 503, 504))
    router.include_router(_looks(searches))
    router.include_router(_batches(searches))
    return router


def _looks(searches: Searches) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/indexes", summary="The indexes that are served")
    @router.get("/indexes/", include_in_schema=False)
    async def indexes() -> IndexList:
        """Name them, with what each can be searched by."""
        named, usual = searches.library.indexes, searches.desk.settings.method
        return IndexList(indexes=[_info(name, index, usual) for name, index in named.items()])

    # A docid may hold slashes.
    @router.get("/{index}/doc/{docid:path}", response_model=FoundDocument, summary="A document by its docid")
    async def document(index: str, docid: str, request: Request) -> FoundDocument | Response:
        """Answer as Pyserini's and Anserini's REST servers do."""
        passage = await searches.passage(index, docid, request)
        if passage is None:
            return left()
        return FoundDocument(index=index, docid=docid, doc=document_of(passage))

    @router.get("/{index}/search", response_model=Found, summary="Search an index for one query")
    async def search(
        index: str, query: str, request: Request, hits: Annotated[int, Query(ge=1, le=LARGEST)] = 10
    ) -> Response:
        """Answer as Pyserini's and Anserini's REST servers do."""
        found = await searches.find(Search(index, hits), [query], request)
        if found is None:
            return left()
        candidates = [Candidate.of(hit) for hit in hits_of(found[0])]
        said = Found(index=index, query=AskedText(text=query), candidates=candidates)
        return json_response(said.model_dump_json().encode(), {HEADER: searches.library.identity(index)})

    return router


def _batches(searches: Searches) -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=JsonRoute, responses=problems_of(400, 408, 413, 415))

    @router.post("/search", response_model=BatchFound, summary="Search an index for many queries")
    async def batch(asked: BatchSearch, request: Request) -> Response:
        """Search for all queries at once, by any method the index has."""
        name = asked.index or searches.library.first
        wanted = Search(name, asked.hits, asked.method, asked.k1, asked.b)
        found = await searches.find(wanted, asked.queries, request)
        if found is None:
            return left()
        # A `BatchFound`, put together of what is kept as JSON already.
        written = b'{"index":%s,"results":[%s]}' % (json.dumps(name).encode(), b",".join(found))
        return json_response(written, {HEADER: searches.library.identity(name)})

    return router


def _info(name: str, index: Index, usual: Method | None) -> IndexInfo:
    parts = index.manifest.parts
    methods = [method for method in METHODS if method in parts or (method == "hybrid" and len(parts) > 1)]
    return IndexInfo(
        name=name, passages=index.manifest.passages, methods=methods, method=usual or methods[-1]
    )
