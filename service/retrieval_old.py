"""Searches and documents as Pyserini 1's REST server has them."""

from fastapi import APIRouter, Request, Response

from indexes import Hit
from service.door import JsonRoute
from service.identity import HEADER
from service.problems import problems_of
from service.schema_retrieval import OldCandidate, OldFound, OldQuery, OldSearch, document_of
from service.searches import Search, Searches, hits_of
from service.stream import json_response, left

PREFIX = "/v1/indexes"


def old_retrieval_routes(searches: Searches) -> APIRouter:
    """Searches by `searches`, and documents."""
    router = APIRouter(responses=problems_of(401, 404, 422, 429, 500, 503, 504))
    posts = APIRouter(prefix=PREFIX, route_class=JsonRoute, responses=problems_of(400, 408, 413, 415))
    gets = APIRouter(prefix=PREFIX)

    @posts.post("/{index}/search", response_model=OldFound, summary="Search as in Pyserini 1")
    async def search(index: str, asked: OldSearch, request: Request) -> Response:
        """Answer as Pyserini 1's REST server does."""
        found = await searches.find(Search(index, asked.hits), [asked.text], request)
        if found is None:
            return left()
        query = OldQuery(qid=asked.qid, query_txt=asked.text)
        said = OldFound(query=query, candidates=[_candidate(hit) for hit in hits_of(found[0])])
        return json_response(said.model_dump_json().encode(), {HEADER: searches.library.identity(index)})

    @gets.get(
        "/{index}/documents/{docid:path}",
        response_model=dict[str, str],
        summary="A document as in Pyserini 1",
    )
    async def document(index: str, docid: str, request: Request) -> dict[str, str] | Response:
        """Answer as Pyserini 1's REST server does."""
        passage = await searches.passage(index, docid, request)
        return left() if passage is None else {"id": docid, **document_of(passage)}

    router.include_router(posts)
    router.include_router(gets)
    return router


def _candidate(hit: Hit) -> OldCandidate:
    return OldCandidate(docid=hit.docid, score=hit.score, document_txt=hit.passage.contents)
