"""What the pipeline passes along: hits with their history, sentences with their citations.

Types only; this module knows nothing of models, indexes or HTTP.
"""

from dataclasses import dataclass, field
from typing import Literal

from indexes.types import Hit, Passage

__all__ = ["Answer", "GeneratorName", "Highlight", "Hit", "Mode", "Passage", "RankedHit", "Sentence", "Topic"]


Mode = Literal["late", "read", "joint"]
"""`late`: passages are read alone and their keys kept; `read`: their values too, and the question reads them
all at once; `joint`: one prompt holds them all."""

GeneratorName = Literal["local", "quote", "openai"]
"""`local`: the model writes; `quote`: the passages' own sentences; `openai`: a model behind an endpoint."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A question of a topic set: `qid` is its TREC identifier."""

    qid: str
    text: str


@dataclass(frozen=True, slots=True)
class Highlight:
    """Characters `start:end` of a passage's text that drew attention; `weight` is 0–1 of the strongest."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class RankedHit(Hit):
    """A hit after re-ranking: where the first stage had it, and which of its words drew attention.

    `first_rank` and `first_score` are the first stage's; `cut` says that the model read only the
    beginning of the passage because the list would not have fitted its context.
    """

    first_rank: int = 0
    first_score: float = 0.0
    highlights: tuple[Highlight, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer; `citations` are positions in the answer's references, best first."""

    text: str
    citations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An attributed answer: every citation points into `references`, every reference is a docid."""

    query: str
    sentences: tuple[Sentence, ...] = ()
    references: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def text(self) -> str:
        """The sentences as one string, without citation marks."""
        return " ".join(sentence.text for sentence in self.sentences)
