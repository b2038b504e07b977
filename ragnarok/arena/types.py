"""What an arena keeps: systems, the battles in which two of them met, the votes, and all of them as columns.

Types only; this module knows nothing of databases, pages or statistics.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from ragnarok.types import Answer, RankedHit

Outcome = Literal["a", "b", "tie", "both_bad"]
"""What a vote says: the left one is better, the right one, both are as good, or neither is any good."""

OUTCOMES: tuple[Outcome, ...] = ("a", "b", "tie", "both_bad")
"""The outcomes; their positions are their codes in `Columns`."""

VoterKind = Literal["human", "model"]

Board = Literal["answer", "evidence"]
"""What is voted on, each apart."""

STYLE = ("words", "citations", "sources")
"""What of an answer's style is kept: its words, its citations, and the distinct references it cites."""

Verdicts = tuple[Outcome, Outcome]
"""What was said of a battle as it is, and with its sides changed: each of the sides as they stood then."""


def style_of(sentences: Iterable[tuple[str, Sequence[int]]]) -> tuple[int, int, int]:
    """The numbers that `STYLE` names, of an answer's sentences and their citations."""
    words = 0
    cited: list[int] = []
    for text, citations in sentences:
        words += len(text.split())
        cited += citations
    return words, len(cited), len(set(cited))


@dataclass(frozen=True, slots=True)
class System:
    """One that may meet others: a name that means one configuration for good.

    `components` says, by kind (`index`, `first_stage`, `reranker`, `mode`, `profile`, `generator`, `prompt`,
    `top_k`, …), what it is made of.
    """

    name: str
    components: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """16 hex digits that change when a component does."""
        told = json.dumps(dict(self.components), sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Output:
    """What one system showed: its answer, its hits, best first, and how many seconds each stage took."""

    system: str
    digest: str
    answer: Answer
    hits: tuple[RankedHit, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)

    @property
    def style(self) -> tuple[int, int, int]:
        """The numbers that `STYLE` names."""
        return style_of((one.text, one.citations) for one in self.answer.sentences)


@dataclass(frozen=True, slots=True)
class Battle:
    """Two outputs for one question, as they were shown: `a` left, `b` right.

    `topics` names the topic set and `qid` its topic, None for a question of the voter's own. `seed` decided
    who met and on which side. Times are in UTC.
    """

    battle_id: str
    created: datetime
    question: str
    seed: int
    a: Output
    b: Output
    topics: str | None = None
    qid: str | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """What one voter said of one battle; `voter` is a pseudonym. None: not voted on.

    `answer_orders` and `evidence_orders` are what a model that was asked in both orders said.
    """

    battle_id: str
    voter: str
    kind: VoterKind
    cast: datetime
    answer: Outcome | None = None
    evidence: Outcome | None = None
    tags: tuple[str, ...] = ()
    answer_orders: Verdicts | None = None
    evidence_orders: Verdicts | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """All votes as arrays of one length n, in the order in which they were cast.

    `a` and `b` index `systems`, `voter` indexes `voters`, `topics` indexes `topic_sets` (−1: none). `answer`
    and `evidence` are positions in `OUTCOMES` (−1: not voted on). `cast` is seconds since 1970. `style` is
    [n, 2, 3]: side, then `STYLE`.
    """

    systems: tuple[System, ...]
    voters: tuple[str, ...]
    topic_sets: tuple[str, ...]
    a: npt.NDArray[np.int32]
    b: npt.NDArray[np.int32]
    answer: npt.NDArray[np.int8]
    evidence: npt.NDArray[np.int8]
    voter: npt.NDArray[np.int32]
    by_model: npt.NDArray[np.bool_]
    topics: npt.NDArray[np.int32]
    cast: npt.NDArray[np.float64]
    style: npt.NDArray[np.int32]
