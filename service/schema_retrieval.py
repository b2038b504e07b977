"""Searches over the wire: of one query as Pyserini's REST server has it, and of many.

`document_of` and `passage_of` are each other's inverse: a passage as the document that Pyserini shows of it.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from indexes import Hit, Method, Passage
from service.schema import LARGEST, FoundPassage

_TEXT_FIELDS = ("contents", "segment", "text", "passage", "body")
"""Where collections have their text; the first that is there counts."""


class BatchSearch(BaseModel):
    """Many queries of one index."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    queries: list[Annotated[str, Field(max_length=10_000)]] = Field(
        min_length=1, fail_fast=True, examples=[["how do I sort a list?"]]
    )
    hits: int = Field(default=10, ge=1, le=LARGEST, description="The most hits of each query.")
    index: str | None = Field(
        default=None, description="Name of the index; the one that questions are asked of when left out."
    )
    method: Method | None = Field(default=None, description="The service's own when left out.")
    k1: float | None = Field(default=None, ge=0, le=1e6, description="BM25; the service's own when left out.")
    b: float | None = Field(default=None, ge=0, le=1, description="BM25; the service's own when left out.")

    @model_validator(mode="before")
    @classmethod
    def _has_few_members(cls, sent: object) -> object:
        # A body as large as this one may be holds millions of wrong names, and each would be an error.
        if isinstance(sent, dict) and len(sent) > 2 * len(cls.model_fields):
            raise ValueError(f"{len(sent):,} members; there may be {', '.join(cls.model_fields)}")
        return sent


class BatchFound(BaseModel):
    """The hits of each query, in the order of the queries."""

    index: str
    results: list[list[FoundPassage]]


class IndexInfo(BaseModel):
    """An index that is served; `methods` are those that it can be searched by, `method` the usual one."""

    name: str
    passages: int
    methods: list[Method]
    method: Method


class IndexList(BaseModel):
    """The indexes that are served."""

    indexes: list[IndexInfo]


class AskedText(BaseModel):
    """A query as it was sent."""

    text: str


class Candidate(BaseModel):
    """A hit as Pyserini shows it: `doc` is an object of strings, or one string where there is one field."""

    docid: str
    score: float
    rank: int
    doc: dict[str, Any] | str | None

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """The JSON form of `hit`."""
        return cls(docid=hit.docid, score=hit.score, rank=hit.rank, doc=document_of(hit.passage))


class Found(BaseModel):
    """The hits of one query, as Pyserini's and Anserini's REST servers (v1) answer."""

    api: str = "v1"
    index: str
    query: AskedText
    candidates: list[Candidate]


class FoundDocument(BaseModel):
    """A document, as Pyserini's and Anserini's REST servers (v1) answer."""

    api: str = "v1"
    index: str
    docid: str
    doc: dict[str, Any] | str | None


class OldSearch(BaseModel):
    """One query, as clients of Pyserini 1 send it; what is for other kinds of index is ignored."""

    query: str | dict[str, Any]
    hits: int = Field(default=10, ge=1, le=LARGEST)
    qid: str = ""

    @property
    def text(self) -> str:
        """The query's words."""
        return self.query if isinstance(self.query, str) else str(self.query.get("query_txt") or "")


class OldQuery(BaseModel):
    """A query, as Pyserini 1's REST server repeats it."""

    qid: str
    query_txt: str
    query_img_path: str | None = None
    query_modality: str | None = "text"
    fp16: bool | None = False


class OldCandidate(BaseModel):
    """A hit, as Pyserini 1's REST server shows it."""

    docid: str
    score: float
    document_txt: str
    document_img_path: str | None = None
    encoded_img: str | None = None


class OldFound(BaseModel):
    """The hits of one query, as Pyserini 1's REST server answers."""

    query: OldQuery
    candidates: list[OldCandidate]


def document_of(passage: Passage) -> dict[str, str]:
    """The document that Pyserini shows of a passage: contents (title and text), title and url."""
    return {"contents": passage.contents, "title": passage.title, "url": passage.url}


def passage_of(docid: str, document: dict[str, Any] | str | None) -> Passage:
    """The passage that a document of Pyserini's is, whichever collection it comes from."""
    if not isinstance(document, dict):
        return Passage(docid, document or "")
    values = {name: value for name, value in document.items() if isinstance(value, str)}
    title = values.get("title", "")
    text = next((values[name] for name in _TEXT_FIELDS if name in values), "")
    return Passage(docid, text.removeprefix(f"{title}\n") if title else text, title, values.get("url", ""))
