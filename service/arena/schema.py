"""What the arena's routes take and send: battles, blinded until they are voted on, and votes.

Knows the arena's types and their JSON; nothing of routes or of how battles are run.
"""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ragnarok.arena.types import Battle, Outcome, Output, System, Vote
from ragnarok.types import Answer, RankedHit
from service.schema import AttributedAnswer, CitedSentence, RankedPassage

SHOWN = 10
"""Passages of a side that are seen before the vote, beside those that its answer cites: how many there are
would tell systems apart."""

Side = Literal["a", "b"]

SIDES: tuple[Side, Side] = ("a", "b")

Tag = Literal[
    "more complete", "more correct", "better cited", "clearer", "shorter", "off the question", "not supported"
]
"""A reason that a vote may give."""


class BattleRequest(BaseModel):
    """A question of one's own, or one of a topic set: the named topic, or any."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str | None = Field(default=None, description="A question of one's own.")
    topics: str | None = Field(default=None, description="A topic set that the question is taken from.")
    qid: str | None = Field(default=None, description="The topic; any of the set when left out.")

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        if (self.question is None) == (self.topics is None):
            raise ValueError("give either a question or topics")
        if self.qid is not None and self.topics is None:
            raise ValueError("a qid is one of a topic set; give topics")
        return self


class VoteRequest(BaseModel):
    """What a voter says of a battle: of the answers, of the evidence, or of both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: str = Field(max_length=4096, description="The battle's token, which was sent to its voter.")
    answer: Outcome | None = None
    evidence: Outcome | None = None
    tags: list[Tag] = Field(default_factory=list, max_length=7, description="Reasons.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.answer is None and self.evidence is None:
            raise ValueError("vote on the answer, on the evidence, or on both")
        return self


class CompareRequest(BaseModel):
    """A question to two systems that are named."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str
    a: str
    b: str


class Started(BaseModel):
    """A battle that runs. `events` streams it, `page` shows it, and `token` is needed to vote on it."""

    id: str
    question: str
    topics: str | None
    qid: str | None
    token: str
    events: str
    page: str


class BlindPassage(BaseModel):
    """A passage without what would tell which system found it; `docid` is its place in the list."""

    docid: str
    rank: int
    title: str
    text: str
    url: str


class BlindAnswer(BaseModel):
    """Sentences with their citations; `references` are places in the list of passages."""

    sentences: list[CitedSentence]
    references: list[str]


class BlindSide(BaseModel):
    """What one side shows before the vote."""

    side: Side
    hits: list[BlindPassage]
    answer: BlindAnswer

    @classmethod
    def of(cls, side: Side, answer: Answer, hits: tuple[RankedHit, ...]) -> Self:
        """The best passages and those that are cited; a citation of one that is not there leads nowhere."""
        cited = set(answer.references)
        places = {hit.docid: str(hit.rank) for hit in hits}
        return cls(
            side=side,
            hits=blinded([hit for hit in hits if hit.rank <= SHOWN or hit.docid in cited]),
            answer=BlindAnswer(
                sentences=AttributedAnswer.of(answer).sentences,
                references=[places.get(docid, "") for docid in answer.references],
            ),
        )


def blinded(hits: list[RankedHit]) -> list[BlindPassage]:
    """Passages without docids, scores, marks and where the first stage had them."""
    return [
        BlindPassage(
            docid=str(hit.rank),
            rank=hit.rank,
            title=hit.passage.title,
            text=hit.passage.text,
            url=hit.passage.url,
        )
        for hit in hits
    ]


class OneSystem(BaseModel):
    """A system: its name, and what it is made of."""

    name: str
    digest: str
    components: dict[str, str]

    @classmethod
    def of(cls, system: System) -> Self:
        """The JSON form of `system`."""
        return cls(name=system.name, digest=system.digest, components=dict(system.components))


class OpenSide(BaseModel):
    """What one side showed, and which system it was; `timings` are seconds by stage."""

    side: Side
    system: OneSystem
    hits: list[RankedPassage]
    answer: AttributedAnswer
    timings: dict[str, float]

    @classmethod
    def of(cls, side: Side, output: Output, system: System) -> Self:
        """The JSON form of what `system` showed."""
        return cls(
            side=side,
            system=OneSystem.of(system),
            hits=[RankedPassage.of(hit) for hit in output.hits],
            answer=AttributedAnswer.of(output.answer),
            timings=dict(output.timings),
        )


class CastVote(BaseModel):
    """A vote that is kept."""

    kind: Literal["human", "model"]
    cast: datetime
    answer: Outcome | None
    evidence: Outcome | None
    tags: list[str]

    @classmethod
    def of(cls, vote: Vote) -> Self:
        """The JSON form of `vote`, without its voter."""
        return cls(
            kind=vote.kind,
            cast=vote.cast,
            answer=vote.answer,
            evidence=vote.evidence,
            tags=list(vote.tags),
        )


class RunningRecord(BaseModel):
    """A battle whose answers are being written."""

    state: Literal["running"] = "running"
    id: str
    question: str
    topics: str | None
    qid: str | None
    token: str | None = None


class BlindRecord(BaseModel):
    """A battle that waits for its vote; `token` is there for its voter."""

    state: Literal["open"] = "open"
    id: str
    question: str
    topics: str | None
    qid: str | None
    created: datetime
    a: BlindSide
    b: BlindSide
    token: str | None = None

    @classmethod
    def of(cls, battle: Battle, token: str | None) -> Self:
        """What may be seen of `battle` before its vote."""
        return cls(
            id=battle.battle_id,
            question=battle.question,
            topics=battle.topics,
            qid=battle.qid,
            created=battle.created,
            a=BlindSide.of("a", battle.a.answer, battle.a.hits),
            b=BlindSide.of("b", battle.b.answer, battle.b.hits),
            token=token,
        )


class OpenRecord(BaseModel):
    """A battle that is over: who it was, and the votes on it. `mine` is the vote of who asks."""

    state: Literal["over"] = "over"
    id: str
    question: str
    topics: str | None
    qid: str | None
    created: datetime
    seed: int
    a: OpenSide
    b: OpenSide
    votes: list[CastVote]
    mine: CastVote | None = None


class SideHits(BaseModel):
    """Data of the event `evidence`: the best passages of one side."""

    side: Side
    hits: list[BlindPassage]


class SideSentence(BaseModel):
    """Data of the event `sentence`: one more of a side's answer."""

    side: Side
    text: str
    citations: list[int]


class Finished(BaseModel):
    """Data of the event `finished`: both sides are whole, and the battle can be voted on."""

    id: str
