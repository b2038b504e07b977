"""Re-ranking over the wire: what clients of Cohere (v1, v2) and Jina send and read, and what is our own.

What those clients send beyond this and means nothing here is ignored, such as `max_tokens_per_doc`. Of a
list that may be as long as a body, the first wrong item ends the reading: a million would each be an error.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ragnarok.types import Mode
from service.schema import LARGEST, HighlightedText


class Document(BaseModel):
    """A document: its text, and maybe a title that is read before it."""

    model_config = ConfigDict(strict=True)

    text: str
    title: str = ""
    docid: str = ""


class RerankRequest(BaseModel):
    """A query and the documents to put in order."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    query: str = Field(description="The question, in words.")
    documents: list[str | Document] = Field(
        fail_fast=True, description="Texts, or objects with text and maybe title, docid."
    )
    model: str | None = Field(default=None, description="The model that is served, or one of its aliases.")
    top_n: int | None = Field(
        default=None, ge=1, le=LARGEST, description="The most results; all when left out."
    )
    return_documents: bool | None = Field(default=False, description="Whether results repeat the documents.")
    rank_fields: list[str] | None = Field(
        default=None, fail_fast=True, description="Title and text are always read."
    )
    mode: Mode | None = Field(default=None, description="late, read or joint; the service's own if left out.")
    explain: bool = Field(default=False, description="Whether the best results say which words counted.")
    ranks: list[Annotated[int, Field(le=LARGEST)]] | None = Field(
        default=None,
        fail_fast=True,
        description="The documents' ranks, from 1, in a first stage that counts too.",
    )
    scores: list[float] | None = Field(
        default=None, fail_fast=True, description="Their scores there; without ranks, ranks follow from them."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, values in (("ranks", self.ranks), ("scores", self.scores)):
            if values is not None and len(values) != len(self.documents):
                raise ValueError(f"{len(values)} {name} for {len(self.documents)} documents")
        if self.ranks is not None and min(self.ranks, default=1) < 1:
            raise ValueError(f"ranks count from 1, and one is {min(self.ranks)}")
        if other := sorted({*(self.rank_fields or ())} - {"title", "text"}):
            raise ValueError(
                f"rank_fields may be title and text, not {other[0][:40]!r}: put the rest in text"
            )
        return self


class TokenAdds(BaseModel):
    """Characters `start` to `end` of what was read (title, line break, text), and what they add."""

    start: int
    end: int
    score: float


class ResultExplanation(BaseModel):
    """Which words drew attention; in late mode also what each adds: `constant` and `tokens` sum up.

    `highlights` are characters of the text alone. What sums up to is the attention's part of the score.
    """

    highlights: list[HighlightedText]
    constant: float | None = None
    tokens: list[TokenAdds] | None = None


class RerankResult(BaseModel):
    """A document's place: `index` is its position, from 0, in the request; `cut`: read in part only."""

    index: int
    relevance_score: float
    cut: bool = False
    document: Document | None = None
    explanation: ResultExplanation | None = None


class RerankUsage(BaseModel):
    """The length of query and documents, in words: a document that was kept is not read again."""

    total_tokens: int
    prompt_tokens: int


class ApiVersion(BaseModel):
    """Of Cohere's API."""

    version: str


class BilledUnits(BaseModel):
    """A search unit is a query with up to 100 documents. Nothing is billed here."""

    search_units: int


class RerankMeta(BaseModel):
    """What Cohere's clients read beside the results."""

    api_version: ApiVersion
    billed_units: BilledUnits


class RerankResponse(BaseModel):
    """The documents in their new order, best first."""

    id: str
    object: str = "list"
    model: str
    mode: Mode | None = None
    results: list[RerankResult]
    usage: RerankUsage
    meta: RerankMeta
