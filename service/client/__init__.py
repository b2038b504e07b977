"""A client of the service, for programs in Python.

    from service.client import Client

    with Client("http://localhost:8000") as client:
        print(client.query("What does the yield statement do?").answer.sentences[0].text)

`AsyncClient` is the same with `await`. Results are the models that the service itself answers with. Of the
project it needs types and schemas alone: no model, no index, no server.
"""

from service.client.asynchronous import AsyncClient, AsyncEvents
from service.client.calls import GenerateEvent, QueryEvent, RerankOptions, SearchOptions
from service.client.errors import (
    BadAnswer,
    BadRequest,
    BrokenOff,
    ClientError,
    LimitReached,
    NotFound,
    Refusal,
    ServiceFailed,
    ServiceUnavailable,
    TookTooLong,
    Unauthorized,
    Unreachable,
    Unusable,
)
from service.client.sync import Client, Events
from service.schema import CitedSentence, FoundHits, FoundPassage, QueryResponse, RankedHits, RankedPassage
from service.schema_generation import GenerateResponse, GivenCandidate
from service.schema_rerank import Document, RerankResponse
from service.schema_retrieval import BatchFound, Found, FoundDocument, IndexInfo

__all__ = [
    "AsyncClient",
    "AsyncEvents",
    "BadAnswer",
    "BadRequest",
    "BatchFound",
    "BrokenOff",
    "CitedSentence",
    "Client",
    "ClientError",
    "Document",
    "Events",
    "Found",
    "FoundDocument",
    "FoundHits",
    "FoundPassage",
    "GenerateEvent",
    "GenerateResponse",
    "GivenCandidate",
    "IndexInfo",
    "LimitReached",
    "NotFound",
    "QueryEvent",
    "QueryResponse",
    "RankedHits",
    "RankedPassage",
    "Refusal",
    "RerankOptions",
    "RerankResponse",
    "SearchOptions",
    "ServiceFailed",
    "ServiceUnavailable",
    "TookTooLong",
    "Unauthorized",
    "Unreachable",
    "Unusable",
]
