"""Re-ranking of any texts: what clients of Cohere and Jina ask for, and how it is done here.

`relevance_score` is what the re-ranker says (docs/service.md): without a first stage, attention alone.
"""

import asyncio
import uuid
from collections.abc import Generator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ragnarok.query import clean_query
from ragnarok.rerankers import EVIDENCE, AttentionReranker, LateAttentionReranker
from ragnarok.rerankers.attention import highlights
from ragnarok.seams import Reranker
from ragnarok.types import Highlight, Hit, Mode, Passage, RankedHit
from service.cache import Cache
from service.context import current
from service.desk import Desk
from service.door import JsonRoute, at_most
from service.errors import BadMode, NoSuchModel
from service.identity import HEADER
from service.parts import Parts
from service.problems import problems_of
from service.schema import HighlightedText
from service.schema_rerank import (
    ApiVersion,
    BilledUnits,
    Document,
    RerankMeta,
    RerankRequest,
    RerankResponse,
    RerankResult,
    RerankUsage,
    ResultExplanation,
    TokenAdds,
)
from service.settings import Settings, split_list
from service.stream import end_of, json_response, left, unless_left


class Ranked(BaseModel):
    """What is kept: all documents in their order, without what the request holds itself."""

    mode: Mode | None = None
    results: list[RerankResult]


def rerank_routes(desk: Desk, cache: Cache) -> APIRouter:
    """Re-ranking by `desk` of what is not in `cache`, at Cohere's two addresses; the first is Jina's."""
    router = APIRouter(
        route_class=JsonRoute, responses=problems_of(400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)
    )
    names = model_names(desk.settings)
    few = at_most(desk.settings.max_documents, "documents")

    async def rerank(asked: Annotated[RerankRequest, few], request: Request) -> Response:
        """Put documents in order, best first.

        `relevance_score` is attention's alone, or joined with a first stage's if its `ranks` or `scores` are
        sent; higher is better. `explain` marks the words that drew attention.
        """
        asked = _checked(asked, names)
        current().question = asked.query
        ranked = await _ranked(asked, request, desk, cache)
        if ranked is None:
            return left()
        version = "2" if request.url.path.startswith("/v2") else "1"
        # In a thread: megabytes of documents are counted.
        said = await asyncio.to_thread(_respond, asked, ranked, names[0], version)
        written = said.model_dump_json(exclude_none=True).encode()
        identity = desk.parts.identity("rerank")
        return json_response(written, {} if identity is None else {HEADER: identity})

    for path in ("/v1/rerank", "/v2/rerank"):
        router.add_api_route(
            path,
            rerank,
            methods=["POST"],
            response_model=RerankResponse,
            response_model_exclude_none=True,
            summary="Put documents in order",
            operation_id=f"rerank_{path[1:3]}",
        )
    return router


def model_names(settings: Settings) -> list[str]:
    """What clients may call the model, its own name first; a path is called by its last part."""
    path = Path(settings.model).expanduser()
    own = path.name if path.exists() else settings.model
    return [own, *split_list(settings.model_aliases)]


def _checked(asked: RerankRequest, names: list[str]) -> RerankRequest:
    """The request with a clean query. Raises `NoSuchModel` and `BadQuery`."""
    if asked.model is not None and asked.model not in names:
        raise NoSuchModel(
            f"no model {asked.model[:80]!r} is served here; ask for {names[0]!r} or for none, "
            "or have the name added to RAGNAROK_MODEL_ALIASES"
        )
    return asked.model_copy(update={"query": clean_query(asked.query)})


async def _ranked(asked: RerankRequest, request: Request, desk: Desk, cache: Cache) -> Ranked | None:
    """The order, found or made; nothing for a client that has left."""
    # How many results have their words marked depends on how many are sent; the scores do not.
    explained = min(asked.top_n or EVIDENCE, EVIDENCE) if asked.explain else 0
    mode = asked.mode or next(iter(desk.parts.modes), None)
    # Nothing is kept without a Redis, and then needs no address.
    texts = None if cache.shared is None else _digest(asked)
    parts = [asked.query, mode, asked.ranks, asked.scores, explained, texts]
    wanted = await cache.look("scores", desk.parts.identity("rerank"), [parts])

    async def make(_: Sequence[int]) -> list[bytes]:
        def work(open_parts: Parts) -> Generator[bytes]:
            yield _rank(open_parts, asked).model_dump_json(exclude_none=True).encode()

        return [await end_of(desk.submit(work, whole=True))]

    written = wanted.there or await unless_left(request, wanted.made(make))
    return None if written is None else Ranked.model_validate_json(written[0])


def _digest(asked: RerankRequest) -> str:
    """Of what is read of the documents."""
    found = blake2b(digest_size=20)
    for sent in asked.documents:
        for text in ("", sent) if isinstance(sent, str) else (sent.title, sent.text):
            told = text.encode(errors="surrogatepass")
            found.update(b"%d:" % len(told) + told)
    return found.hexdigest()


def _rank(parts: Parts, asked: RerankRequest) -> Ranked:
    mode, reranker = _reranker(parts, asked)
    ranked = reranker.rerank(asked.query, _hits(asked))
    looked = ranked[: asked.top_n][:EVIDENCE] if asked.explain else []
    told = _explanations(reranker, asked.query, looked)
    results = [
        RerankResult(
            index=int(hit.docid),
            relevance_score=hit.score,
            cut=hit.cut,
            explanation=told[place] if place < len(told) else None,
        )
        for place, hit in enumerate(ranked)
    ]
    return Ranked(mode=mode, results=results)


def _respond(asked: RerankRequest, ranked: Ranked, model: str, version: str) -> RerankResponse:
    documents = asked.documents
    results = ranked.results[: asked.top_n]
    if asked.return_documents:
        results = [one.model_copy(update={"document": _document(documents[one.index])}) for one in results]
    words = len(asked.query.split()) + sum(map(_words, documents))
    return RerankResponse(
        id=str(uuid.uuid4()),
        model=model,
        mode=ranked.mode,
        results=results,
        usage=RerankUsage(total_tokens=words, prompt_tokens=words),
        meta=RerankMeta(
            api_version=ApiVersion(version=version),
            billed_units=BilledUnits(search_units=-(-len(documents) // 100)),
        ),
    )


def _reranker(parts: Parts, asked: RerankRequest) -> tuple[Mode | None, Reranker]:
    """The mode that is asked for, and its re-ranker, which lets a first stage count if there is one."""
    mode = asked.mode or next(iter(parts.modes), None)
    if asked.mode is not None and asked.mode not in parts.modes:
        there = " and ".join(parts.modes) or "in one way only"
        raise BadMode(f"this service re-ranks {there}, not {asked.mode}; leave the mode out")
    chosen = parts.reranker if mode is None else parts.modes[mode]
    assert chosen is not None
    alone = asked.ranks is None and asked.scores is None
    if isinstance(chosen, LateAttentionReranker):
        # Its evidence is looked for once it is known which results are sent.
        return mode, chosen.with_weight(0.0 if alone else chosen.first_stage, evidence=0)
    if isinstance(chosen, AttentionReranker) and alone:
        return mode, AttentionReranker(chosen.reader, first_stage=0.0)
    return mode, chosen


def _hits(asked: RerankRequest) -> list[Hit]:
    """The documents as hits whose docids are their positions."""
    count = len(asked.documents)
    ranks = asked.ranks
    if ranks is None:
        ranks = list(range(1, count + 1))
        if (given := asked.scores) is not None:
            for rank, place in enumerate(sorted(range(count), key=lambda i: -given[i]), start=1):
                ranks[place] = rank
    scores = asked.scores or [float(-rank) for rank in ranks]
    documents = map(_document, asked.documents)
    return [
        Hit(str(place), score, rank, Passage(str(place), document.text, document.title))
        for place, (score, rank, document) in enumerate(zip(scores, ranks, documents, strict=True))
    ]


def _document(sent: str | Document) -> Document:
    return Document(text=sent) if isinstance(sent, str) else sent


def _words(sent: str | Document) -> int:
    return len(sent.split()) if isinstance(sent, str) else len(sent.title.split()) + len(sent.text.split())


def _explanations(reranker: Reranker, query: str, hits: Sequence[RankedHit]) -> list[ResultExplanation]:
    """Which words of `hits` drew attention."""
    if not isinstance(reranker, LateAttentionReranker):
        return [ResultExplanation(highlights=_marks(hit.highlights)) for hit in hits]
    reader = reranker.reader
    with reader.model.turn:
        found = reader.explain_all(query, [hit.passage.contents for hit in hits])
    return [
        ResultExplanation(
            highlights=_marks(highlights(hit, one.tokens)),
            constant=one.constant,
            tokens=[TokenAdds(start=t.start, end=t.end, score=t.score) for t in one.tokens],
        )
        for hit, one in zip(hits, found, strict=True)
    ]


def _marks(marks: Sequence[Highlight]) -> list[HighlightedText]:
    return [HighlightedText(start=mark.start, end=mark.end, weight=mark.weight) for mark in marks]
