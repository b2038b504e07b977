"""Answering over the wire: a query and its passages, as Castorini's tools write them, and the answer."""

from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from indexes import Hit, Passage
from ragnarok.types import Answer
from service.schema import AttributedAnswer

_TEXT_FIELDS = ("segment", "contents", "text", "passage", "body")


class TopicQuery(BaseModel):
    """A question with its identifier."""

    model_config = ConfigDict(strict=True)

    text: str
    qid: str | int | None = None


class CandidateDoc(BaseModel):
    """A passage: one of the fields that collections have their text in, and maybe title and url."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "anyOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in _TEXT_FIELDS]
        },
    )

    title: str | None = None
    url: str | None = None
    segment: str | None = None
    contents: str | None = None
    text: str | None = None
    passage: str | None = None
    body: str | None = None

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if all(getattr(self, name) is None for name in _TEXT_FIELDS):
            raise ValueError(f"a document without a text; give it as one of {', '.join(_TEXT_FIELDS)}")
        return self

    def passage_of(self, docid: str) -> Passage:
        """The passage that this is."""
        title = self.title or ""
        text = next(value for name in _TEXT_FIELDS if (value := getattr(self, name)) is not None)
        return Passage(docid, text.removeprefix(f"{title}\n") if title else text, title, self.url or "")


class GivenCandidate(BaseModel):
    """A passage to answer from, best first; without a docid it is called by its number, from 1."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    doc: str | CandidateDoc
    docid: str | int | None = None
    score: float | None = None


class GenerateRequest(BaseModel):
    """A question and the passages to answer it from."""

    model_config = ConfigDict(strict=True)

    query: str | TopicQuery
    candidates: list[GivenCandidate] = Field(fail_fast=True)
    stream: bool = Field(
        default=False,
        description="Answer with server-sent events; an Accept of text/event-stream asks for the same.",
    )

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        seen: set[str] = set()
        for hit in self.hits:
            if hit.docid in seen:
                raise ValueError(f"two candidates have the docid {hit.docid[:80]!r}; give each its own")
            seen.add(hit.docid)
        return self

    @property
    def text(self) -> str:
        """The question's words."""
        return self.query if isinstance(self.query, str) else self.query.text

    @property
    def qid(self) -> str | None:
        """The question's identifier, if it has one."""
        given = None if isinstance(self.query, str) else self.query.qid
        return None if given is None else str(given)

    @cached_property
    def hits(self) -> list[Hit]:
        """The candidates as hits, ranked as they stand."""
        hits = []
        for rank, one in enumerate(self.candidates, start=1):
            docid = str(rank if one.docid is None else one.docid)
            passage = Passage(docid, one.doc) if isinstance(one.doc, str) else one.doc.passage_of(docid)
            hits.append(Hit(docid, 1 / rank if one.score is None else one.score, rank, passage))
        return hits


class GenerateResponse(BaseModel):
    """The answer to a question."""

    query: str
    qid: str | None = None
    answer: AttributedAnswer

    @classmethod
    def of(cls, answer: Answer, qid: str | None) -> Self:
        """The JSON form of `answer`."""
        return cls(query=answer.query, qid=qid, answer=AttributedAnswer.of(answer))
