"""Those that may meet: one Protocol for systems here, behind an address and in files, and all together.

Knows nothing of how any of them is opened, nor of who meets whom.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ragnarok.arena.masking import Mask
from ragnarok.arena.types import Output, System
from ragnarok.errors import NotFound
from ragnarok.pipeline import Event, Result, close_parts
from ragnarok.types import Topic


class Contender(Protocol):
    """A system that can be asked. Safe for threads."""

    @property
    def system(self) -> System:
        """Its name and configuration."""

    @property
    def topics(self) -> str | None:
        """The only topic set whose questions it can answer; None: it answers any question."""

    def stream(self, question: str, qid: str | None = None, /) -> Iterator[Event]:
        """What each stage comes to, as from `Pipeline.stream`, last a `Result`; `qid` names the topic."""


@dataclass(frozen=True, slots=True)
class Roster:
    """All contenders and topic sets of an arena; to be closed."""

    contenders: Mapping[str, Contender]
    topics: Mapping[str, tuple[Topic, ...]] = field(default_factory=dict)
    parts: tuple[object, ...] = ()
    """What the contenders share, in the order in which it was made."""
    masked: tuple[str, ...] = ()
    """Names that would tell who answers, beside those of the systems."""
    signs: tuple[str, ...] = ()
    """What else would: hosts, kinds of generators, ids of runs."""

    @property
    def systems(self) -> tuple[System, ...]:
        """The contenders' systems, in the order of the configuration."""
        return tuple(contender.system for contender in self.contenders.values())

    @property
    def mask(self) -> Mask:
        """Hides the names and signs of all systems, whoever meets: what is hidden does not tell who did."""
        return Mask([*self.contenders, *self.masked], self.signs)

    def find(self, name: str) -> Contender:
        """The contender of this name. Raises `NotFound`."""
        if name not in self.contenders:
            raise NotFound(f"there is no system {name[:80]!r}; there are {', '.join(self.contenders)}")
        return self.contenders[name]

    def meeting(self, topics: str | None = None) -> tuple[Contender, ...]:
        """Those that can be asked the questions of a topic set, or, without one, any question."""
        return tuple(one for one in self.contenders.values() if one.topics is None or one.topics == topics)

    def topic(self, topics: str, qid: str) -> Topic:
        """A topic of a set. Raises `NotFound`."""
        for topic in self.topics.get(topics, ()):
            if topic.qid == qid:
                return topic
        there = ", ".join(self.topics) or "none"
        raise NotFound(f"there is no topic {qid[:80]!r} in the set {topics[:80]!r}; the sets are: {there}")

    def close(self) -> None:
        """Close the contenders and what they share; nothing may be asked any more."""
        close_parts(*self.parts, *self.contenders.values())


def output_of(system: System, result: Result) -> Output:
    """What a system showed, as a battle keeps it."""
    return Output(system.name, system.digest, result.answer, tuple(result.hits), result.timings)
