"""What each method asks, and what comes back: the same for the client that waits and the one that awaits.

Knows paths, bodies and answers; nothing of connections. What a request must be is left to the service to say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from indexes.index import Method
from ragnarok.types import Mode
from service.client.errors import Unusable
from service.schema import (
    CitedSentence,
    FoundHits,
    FoundPassage,
    Health,
    QueryResponse,
    RankedHits,
    RankedPassage,
)
from service.schema_generation import GenerateResponse, GivenCandidate
from service.schema_rerank import Document, RerankResponse
from service.schema_retrieval import BatchFound, Candidate, Found, FoundDocument, IndexList

T = TypeVar("T", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)
One = TypeVar("One")

QueryEvent = FoundHits | RankedHits | CitedSentence | QueryResponse
"""What a streamed question sends: hits, the same re-ranked, each sentence, and last the whole answer."""

GenerateEvent = CitedSentence | GenerateResponse
"""What a streamed answer from passages sends: each sentence, and last the whole answer."""

Text = str | Document | FoundPassage | RankedPassage
"""A document to re-rank: a text, or a passage that was found."""

Passage = str | GivenCandidate | Candidate | FoundPassage | RankedPassage
"""A passage to answer from: a text, or one that was found, by whichever method."""


class SearchOptions(TypedDict, total=False):
    """How many queries are searched for: what is left out is the service's own.

    `hits` is the most hits of each query, `index` the index's name, `method` bm25, dense or hybrid; `k1` and
    `b` are BM25's.
    """

    hits: int
    index: str
    method: Method
    k1: float
    b: float


class RerankOptions(TypedDict, total=False):
    """How documents are re-ranked: what is left out is the service's own.

    `top_n` is the most results; `mode` late, read or joint; `explain` asks which words counted; `ranks` and
    `scores` are the documents' in a first stage that counts too, in their order; `model` names the model;
    `return_documents` has results repeat the documents.
    """

    top_n: int
    mode: Mode
    explain: bool
    ranks: Sequence[int]
    scores: Sequence[float]
    model: str
    return_documents: bool


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and what its answer is read as; `again` says whether it may be repeated."""

    method: str
    path: str
    answer: type[T]
    content: bytes | None = None
    again: bool = True


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[E]):
    """One request whose answer comes in events, by their names; the event `done` is the last."""

    path: str
    events: Mapping[str, type[E]]
    content: bytes
    again: bool = True


def query(question: str, depth: int | None) -> Call[QueryResponse]:
    """A question."""
    return Call("POST", "/v1/query", QueryResponse, _body(query=question, depth=depth))


def stream(question: str, depth: int | None) -> StreamCall[QueryEvent]:
    """A question whose answer comes as it is made."""
    kinds: dict[str, type[QueryEvent]] = {
        "hits": FoundHits,
        "reranked": RankedHits,
        "sentence": CitedSentence,
        "done": QueryResponse,
    }
    return StreamCall("/v1/query", kinds, _body(query=question, depth=depth, stream=True))


def search(query: str, index: str, hits: int) -> Call[Found]:
    """One query in one index."""
    return Call("GET", f"/v1/{_segment(index)}/search?{_text_of(query=query, hits=hits)}", Found)


def search_many(queries: Sequence[str], options: SearchOptions) -> Call[BatchFound]:
    """Many queries in one index."""
    return Call("POST", "/v1/search", BatchFound, _body(queries=_several(queries), **options))


def document(docid: str, index: str) -> Call[FoundDocument]:
    """A document of an index."""
    return Call("GET", f"/v1/{_segment(index)}/doc/{_segment(docid)}", FoundDocument)


def indexes() -> Call[IndexList]:
    """The indexes."""
    return Call("GET", "/v1/indexes", IndexList)


def rerank(query: str, documents: Sequence[Text], options: RerankOptions) -> Call[RerankResponse]:
    """Documents to put in order."""
    sent = [_document(one) for one in _several(documents)]
    return Call("POST", "/v1/rerank", RerankResponse, _body(query=query, documents=sent, **options))


def generate(question: str, passages: Sequence[Passage]) -> Call[GenerateResponse]:
    """An answer from passages."""
    return Call("POST", "/v1/generate", GenerateResponse, _generate(question, passages, stream=False))


def stream_generate(question: str, passages: Sequence[Passage]) -> StreamCall[GenerateEvent]:
    """An answer from passages that comes as it is made."""
    kinds: dict[str, type[GenerateEvent]] = {"sentence": CitedSentence, "done": GenerateResponse}
    return StreamCall("/v1/generate", kinds, _generate(question, passages, stream=True))


def health() -> Call[Health]:
    """Whether the process answers."""
    return Call("GET", "/healthz", Health, again=False)


def ready() -> Call[Health]:
    """Whether it can be asked."""
    return Call("GET", "/readyz", Health, again=False)


def _generate(question: str, passages: Sequence[Passage], *, stream: bool) -> bytes:
    return _body(query=question, candidates=[_candidate(one) for one in _several(passages)], stream=stream)


def _several(given: Sequence[One]) -> list[One]:
    """What is in a list; one text is none, though Python would take it apart."""
    if isinstance(given, str):
        raise Unusable(f"{given[:80]!r} is one text; give a list of texts")
    return list(given)


def _document(one: Text) -> object:
    if isinstance(one, FoundPassage | RankedPassage):
        return {"text": one.text, "title": one.title, "docid": one.docid}
    return one if isinstance(one, str) else one.model_dump()


def _candidate(one: Passage) -> object:
    if isinstance(one, str):
        return {"doc": one}
    if isinstance(one, FoundPassage | RankedPassage):
        doc = {"title": one.title, "text": one.text, "url": one.url}
        return {"docid": one.docid, "score": one.score, "doc": doc}
    return one.model_dump(exclude_none=True, include={"docid", "score", "doc"})


def _body(**members: object) -> bytes:
    """JSON of what is given; in ASCII, so that it can be sent whatever is in it."""
    given = {name: value for name, value in members.items() if value is not None}
    try:
        return json.dumps(given, default=list).encode()
    except (TypeError, ValueError) as error:
        raise Unusable(f"an argument is nothing that JSON can hold ({error})") from None


def _segment(name: str) -> str:
    """A part of a path; one of dots alone would lead to another place."""
    try:
        quoted = quote(name, safe="")
    except (TypeError, UnicodeEncodeError):
        raise Unusable(f"{str(name)[:80]!r} is no text that can be written in UTF-8") from None
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def _text_of(**parameters: object) -> str:
    try:
        return urlencode(parameters)
    except UnicodeEncodeError:
        raise Unusable("the query is no text: it cannot be written in UTF-8") from None
