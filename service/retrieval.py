"""Searches by name of an index, in three forms: Pyserini's and Anserini's (v1), Pyserini 1's, and batches.

What is refused comes as a problem in all of them.
"""

from collections.abc import Callable, Generator
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response

from indexes import METHODS, Hit, Index, Method
from service.desk import Desk
from service.door import JsonRoute
from service.errors import OverLimit
from service.library import Library
from service.parts import Parts
from service.problems import problems_of
from service.schema import FoundPassage
from service.schema_retrieval import (
    AskedText,
    BatchFound,
    BatchSearch,
    Candidate,
    Found,
    FoundDocument,
    IndexInfo,
    IndexList,
    OldCandidate,
    OldFound,
    OldQuery,
    OldSearch,
    document_of,
)
from service.stream import last_of

T = TypeVar("T")


def retrieval_routes(desk: Desk) -> APIRouter:
    """Searches in the indexes of `desk`."""
    router = APIRouter(prefix="/v1", responses=problems_of(404, 422, 429, 500, 503))
    posts = APIRouter(route_class=JsonRoute, responses=problems_of(400, 413, 415))
    limits = desk.settings

    def shelves(parts: Parts) -> Library:
        return parts.library or Library({}, limits)

    async def done(make: Callable[[Library], T], request: Request) -> T | Response:
        def work(parts: Parts) -> Generator[T]:
            yield make(shelves(parts))

        found = await last_of(desk.submit(work), request)
        # Nobody reads what is sent to a client that has left.
        return Response(status_code=204) if found is None else found

    def check(hits: int, queries: int = 1) -> None:
        for name, asked, most in (
            ("hits", hits, limits.max_hits),
            ("queries", queries, limits.max_queries),
        ):
            if asked > most:
                raise OverLimit(f"{asked:,} {name} are over this service's limit of {most:,}; ask for less")

    @router.get("/indexes", summary="The indexes that are served")
    @router.get("/indexes/", include_in_schema=False)
    async def indexes() -> IndexList:
        """Name them, with what each can be searched by."""
        library = shelves(desk.parts)
        return IndexList(
            indexes=[_info(name, index, limits.method) for name, index in library.indexes.items()]
        )

    @router.get("/{index}/search", response_model=Found, summary="Search an index for one query")
    async def search(
        index: str, query: str, request: Request, hits: Annotated[int, Query(ge=1)] = 10
    ) -> Found | Response:
        """Answer as Pyserini's and Anserini's REST servers do."""
        check(hits)

        def make(library: Library) -> Found:
            (found,) = library.search(index, [query], hits)
            candidates = [Candidate.of(hit) for hit in found]
            return Found(index=index, query=AskedText(text=query), candidates=candidates)

        return await done(make, request)

    # A docid may hold slashes.
    @router.get("/{index}/doc/{docid:path}", response_model=FoundDocument, summary="A document by its docid")
    async def document(index: str, docid: str, request: Request) -> FoundDocument | Response:
        """Answer as Pyserini's and Anserini's REST servers do."""
        return await done(
            lambda library: FoundDocument(
                index=index, docid=docid, doc=document_of(library.passage(index, docid))
            ),
            request,
        )

    @posts.post("/search", response_model=BatchFound, summary="Search an index for many queries")
    async def batch(asked: BatchSearch, request: Request) -> BatchFound | Response:
        """Search for all queries at once, by any method the index has."""
        check(asked.hits, len(asked.queries))

        def make(library: Library) -> BatchFound:
            name = asked.index or library.first
            found = library.search(
                name, asked.queries, asked.hits, method=asked.method, k1=asked.k1, b=asked.b
            )
            return BatchFound(index=name, results=[[FoundPassage.of(hit) for hit in hits] for hits in found])

        return await done(make, request)

    @posts.post("/indexes/{index}/search", response_model=OldFound, summary="Search as in Pyserini 1")
    async def old_search(index: str, asked: OldSearch, request: Request) -> OldFound | Response:
        """Answer as Pyserini 1's REST server does."""
        check(asked.hits)

        def make(library: Library) -> OldFound:
            (found,) = library.search(index, [asked.text], asked.hits)
            query = OldQuery(qid=asked.qid, query_txt=asked.text)
            return OldFound(query=query, candidates=[_old(hit) for hit in found])

        return await done(make, request)

    @router.get(
        "/indexes/{index}/documents/{docid:path}",
        response_model=dict[str, str],
        summary="A document as in Pyserini 1",
    )
    async def old_document(index: str, docid: str, request: Request) -> dict[str, str] | Response:
        """Answer as Pyserini 1's REST server does."""
        return await done(
            lambda library: {"id": docid, **document_of(library.passage(index, docid))}, request
        )

    router.include_router(posts)
    return router


def _old(hit: Hit) -> OldCandidate:
    return OldCandidate(docid=hit.docid, score=hit.score, document_txt=hit.passage.contents)


def _info(name: str, index: Index, usual: Method | None) -> IndexInfo:
    parts = index.manifest.parts
    methods = [method for method in METHODS if method in parts or (method == "hybrid" and len(parts) > 1)]
    return IndexInfo(
        name=name, passages=index.manifest.passages, methods=methods, method=usual or methods[-1]
    )
