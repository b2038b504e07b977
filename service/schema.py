"""What goes over the wire: requests, answers and the data of each streamed event.

Knows the pipeline's types and their JSON; nothing of routes or of how answers are made.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from ragnarok.pipeline import Result
from ragnarok.types import Answer, Highlight, Hit, Passage, RankedHit, Sentence

LARGEST = 2**31 - 1
"""The largest number that anything counts to here: JSON itself knows no end."""


class QueryRequest(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(description="The question, in words.", examples=["How do I sort a list by two keys?"])
    depth: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST,
        description="Passages to retrieve and re-rank; the service's own number when left out.",
    )
    stream: bool = Field(
        default=False,
        description="Answer with server-sent events; an Accept of text/event-stream asks for the same.",
    )


class FoundPassage(BaseModel):
    """A passage as the first stage found it; ranks count from 1, higher scores are better."""

    docid: str
    rank: int
    score: float
    title: str
    text: str
    url: str

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """The JSON form of `hit`."""
        passage = hit.passage
        return cls(
            docid=hit.docid,
            rank=hit.rank,
            score=hit.score,
            title=passage.title,
            text=passage.text,
            url=passage.url,
        )

    def hit(self) -> Hit:
        """The hit that this is the JSON form of."""
        return Hit(self.docid, self.score, self.rank, Passage(self.docid, self.text, self.title, self.url))


class HighlightedText(BaseModel):
    """Characters of a passage's `text` that drew attention.

    `start` and `end` count Unicode code points, not bytes or UTF-16 units; `weight` is 0–1 of the strongest.
    """

    start: int
    end: int
    weight: float


class RankedPassage(BaseModel):
    """A passage after re-ranking: `first_rank` and `first_score` are the first stage's.

    `cut` says that the model read only the beginning of the passage.
    """

    docid: str
    rank: int
    score: float
    first_rank: int
    first_score: float
    title: str
    text: str
    url: str
    highlights: list[HighlightedText]
    cut: bool

    @classmethod
    def of(cls, hit: RankedHit) -> Self:
        """The JSON form of `hit`."""
        passage = hit.passage
        return cls(
            docid=hit.docid,
            rank=hit.rank,
            score=hit.score,
            first_rank=hit.first_rank,
            first_score=hit.first_score,
            title=passage.title,
            text=passage.text,
            url=passage.url,
            highlights=[HighlightedText(start=h.start, end=h.end, weight=h.weight) for h in hit.highlights],
            cut=hit.cut,
        )

    def hit(self) -> RankedHit:
        """The hit that this is the JSON form of."""
        return RankedHit(
            docid=self.docid,
            score=self.score,
            rank=self.rank,
            passage=Passage(self.docid, self.text, self.title, self.url),
            first_rank=self.first_rank,
            first_score=self.first_score,
            highlights=tuple(Highlight(one.start, one.end, one.weight) for one in self.highlights),
            cut=self.cut,
        )


class CitedSentence(BaseModel):
    """A sentence of the answer; `citations` are positions, from 0, in the answer's `references`."""

    text: str
    citations: list[int]


class AttributedAnswer(BaseModel):
    """Sentences with their citations; `references` are the docids they cite, `notes` what else to know."""

    sentences: list[CitedSentence]
    references: list[str]
    notes: list[str]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """The JSON form of `answer`."""
        return cls(
            sentences=[CitedSentence(text=s.text, citations=list(s.citations)) for s in answer.sentences],
            references=list(answer.references),
            notes=list(answer.notes),
        )


class QueryResponse(BaseModel):
    """The whole outcome of a question; `timings` are seconds by stage: retrieve, rerank, answer."""

    query: str
    answer: AttributedAnswer
    hits: list[RankedPassage]
    timings: dict[str, float]

    @classmethod
    def of(cls, result: Result) -> Self:
        """The JSON form of `result`."""
        return cls(
            query=result.query,
            answer=AttributedAnswer.of(result.answer),
            hits=[RankedPassage.of(hit) for hit in result.hits],
            timings=result.timings,
        )

    def result(self) -> Result:
        """The result that this is the JSON form of."""
        said = self.answer
        sentences = tuple(Sentence(one.text, tuple(one.citations)) for one in said.sentences)
        answer = Answer(self.query, sentences, tuple(said.references), tuple(said.notes))
        return Result(self.query, [hit.hit() for hit in self.hits], answer, self.timings)


class FoundHits(BaseModel):
    """Data of the event `hits`: what the first stage found, best first."""

    hits: list[FoundPassage]


class RankedHits(BaseModel):
    """Data of the event `reranked`: the same passages in their new order."""

    hits: list[RankedPassage]


class Health(BaseModel):
    """That the process answers, or that it can be asked questions."""

    status: str
    waiting: int = Field(description="Questions that wait behind the one being answered.")
