"""Re-ranking of any texts: what clients of Cohere and Jina ask for, and how it is done here.

`relevance_score` is what the re-ranker says (docs/service.md): without a first stage, attention alone.
"""

import uuid
from collections.abc import Generator, Sequence
from pathlib import Path

from fastapi import APIRouter, Request, Response

from ragnarok.query import clean_query
from ragnarok.rerankers import EVIDENCE, AttentionReranker, LateAttentionReranker
from ragnarok.rerankers.attention import highlights
from ragnarok.seams import Reranker
from ragnarok.types import Highlight, Hit, Mode, Passage, RankedHit
from service.desk import Desk
from service.door import JsonRoute
from service.errors import BadMode, NoSuchModel, OverLimit
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
from service.stream import last_of


def rerank_routes(desk: Desk) -> APIRouter:
    """Re-ranking by `desk`, at Cohere's two addresses; Jina's is the first of them."""
    router = APIRouter(route_class=JsonRoute, responses=problems_of(400, 404, 413, 415, 422, 429, 500, 503))
    names = model_names(desk.settings)
    most = desk.settings.max_documents

    async def rerank(asked: RerankRequest, request: Request) -> RerankResponse | Response:
        """Put documents in order, best first.

        `relevance_score` is attention's alone, or joined with a first stage's if its `ranks` or `scores` are
        sent; higher is better. `explain` marks the words that drew attention.
        """
        if asked.model is not None and asked.model not in names:
            raise NoSuchModel(
                f"no model {asked.model[:80]!r} is served here; ask for {names[0]!r} or for none, "
                "or have the name added to RAGNAROK_MODEL_ALIASES"
            )
        if len(asked.documents) > most:
            raise OverLimit(
                f"{len(asked.documents):,} documents are over this service's limit of {most:,}; send less"
            )
        asked = asked.model_copy(update={"query": clean_query(asked.query)})
        version = "2" if request.url.path.startswith("/v2") else "1"

        def work(parts: Parts) -> Generator[RerankResponse]:
            yield _respond(parts, asked, names[0], version)

        found = await last_of(desk.submit(work), request)
        # Nobody reads what is sent to a client that has left.
        return Response(status_code=204) if found is None else found

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


def _respond(parts: Parts, asked: RerankRequest, model: str, version: str) -> RerankResponse:
    mode, reranker = _reranker(parts, asked)
    hits = _hits(asked)
    ranked = reranker.rerank(asked.query, hits)[: asked.top_n]
    told = _explanations(reranker, asked.query, ranked[:EVIDENCE]) if asked.explain else []
    words = len(asked.query.split()) + sum(len(hit.passage.contents.split()) for hit in hits)
    return RerankResponse(
        id=str(uuid.uuid4()),
        model=model,
        mode=mode,
        results=[
            RerankResult(
                index=int(hit.docid),
                relevance_score=hit.score,
                cut=hit.cut,
                document=_document(asked.documents[int(hit.docid)]) if asked.return_documents else None,
                explanation=told[place] if place < len(told) else None,
            )
            for place, hit in enumerate(ranked)
        ],
        usage=RerankUsage(total_tokens=words, prompt_tokens=words),
        meta=RerankMeta(
            api_version=ApiVersion(version=version),
            billed_units=BilledUnits(search_units=-(-len(hits) // 100)),
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
