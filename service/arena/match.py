"""A battle while it runs: two systems answer, and whoever looks sees both in step and neither by name.

Each side's next piece (its passages, or one sentence) is shown once the other side has as many, and what one
has beyond the other once both are at their end: so neither how fast a system is nor where it pauses tells who
it is. What was shown is kept until the end, so that whoever comes later, or comes back, sees it from the
beginning. Knows nothing of stores and routes.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import BaseModel

from ragnarok.arena.contenders import output_of
from ragnarok.arena.masking import Mask
from ragnarok.arena.types import Battle, System
from ragnarok.pipeline import Event, Reranked, Result
from ragnarok.types import RankedHit, Sentence
from service.arena.schema import SHOWN, SIDES, BlindSide, Finished, Side, SideHits, SideSentence, blinded
from service.errors import SideFailed, Stopping
from service.worker import Job

Shown = tuple[str, BaseModel]
"""An event's name and data."""

FAILED = "one side could not answer, so there is nothing to vote on; begin another battle"

_log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class Meeting:
    """Who meets whom, `systems[0]` left, and about what."""

    battle_id: str
    question: str
    seed: int
    systems: tuple[System, System]
    topics: str | None = None
    qid: str | None = None


@dataclass(slots=True)
class _Corner:
    """What one side has so far, its sentences with `mask` over them; `result` once it is whole."""

    mask: Mask
    pieces: list[Shown] = field(default_factory=list)
    result: Result | None = None

    def take(self, side: Side, event: Event) -> None:
        """Passages come first, whole answers come by sentences: how a system tells of itself is not shown."""
        match event:
            case Reranked(hits):
                self._evidence(side, hits)
            case Sentence():
                self._evidence(side, [])
                self._sentence(side, event)
            case Result(hits=hits, answer=answer):
                self._evidence(side, hits)
                for sentence in answer.sentences[len(self.pieces) - 1 :]:
                    self._sentence(side, sentence)
                self.result = event

    def _evidence(self, side: Side, hits: Sequence[RankedHit]) -> None:
        if not self.pieces:
            best = [hit for hit in hits if hit.rank <= SHOWN]
            self.pieces.append(("evidence", SideHits(side=side, hits=blinded(best))))

    def _sentence(self, side: Side, sentence: Sentence) -> None:
        text = self.mask.text(sentence.text)
        shown = SideSentence(side=side, text=text, citations=list(sentence.citations))
        self.pieces.append(("sentence", shown))


class Match:
    """One battle. All methods belong to one event loop."""

    def __init__(
        self,
        meeting: Meeting,
        jobs: tuple[Job[Event], Job[Event]],
        keep: Callable[[Battle], Awaitable[None]],
        mask: Mask,
    ) -> None:
        """Begin: `jobs` answer, and the battle goes to `keep`, unmasked, once both have."""
        self.meeting = meeting
        self._jobs, self._keep, self._mask = jobs, keep, mask
        self._corners = {side: _Corner(mask) for side in SIDES}
        self._released = 0
        self._shown: list[Shown] = []
        self._changed = asyncio.Event()
        self.error: Exception | None = None
        self.task = asyncio.ensure_future(self._run())

    async def events(self) -> AsyncGenerator[Shown]:
        """What is shown, from the beginning and as it comes, to the end. Raises `SideFailed`."""
        at = 0
        while True:
            changed = self._changed
            while at < len(self._shown):
                yield self._shown[at]
                at += 1
            if self.error is not None:
                raise self.error
            if self._shown and self._shown[-1][0] == "finished":
                return
            await changed.wait()

    def leave(self) -> None:
        """End the work; nobody will see more of it."""
        for job in self._jobs:
            job.leave()

    async def _run(self) -> None:
        work = asyncio.ensure_future(self._work())
        await asyncio.wait({work})
        if error := work.exception():
            if not isinstance(error, Stopping):
                names = " and ".join(system.name for system in self.meeting.systems)
                _log.error("the battle of %s came to nothing: %s", names, error, exc_info=error)
            self.error = SideFailed(FAILED)
        self.leave()
        self._tell()

    async def _work(self) -> None:
        sides = [
            asyncio.ensure_future(self._follow(side, job))
            for side, job in zip(SIDES, self._jobs, strict=True)
        ]
        done, pending = await asyncio.wait(sides, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
        battle = self._battle()
        await self._keep(battle)
        masked = self._mask.battle(battle)
        for side, output in zip(SIDES, (masked.a, masked.b), strict=True):
            self._shown.append(("answered", BlindSide.of(side, output.answer, output.hits)))
        self._shown.append(("finished", Finished(id=battle.battle_id)))

    async def _follow(self, side: Side, job: Job[Event]) -> None:
        corner = self._corners[side]
        async for event in job:
            corner.take(side, event)
            self._release()
        if corner.result is None:
            raise SideFailed(FAILED)
        self._release()

    def _release(self) -> None:
        """Show as many pieces of both sides as both have, and all of them once both are at their end."""
        corners = self._corners.values()
        has = [len(corner.pieces) for corner in corners]
        ready = max(has) if all(corner.result for corner in corners) else min(has)
        for place in range(self._released, ready):
            self._shown += [corner.pieces[place] for corner in corners if place < len(corner.pieces)]
        if ready > self._released:
            self._released = ready
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _battle(self) -> Battle:
        meeting = self.meeting
        a, b = (
            output_of(system, result)
            for corner, system in zip(self._corners.values(), meeting.systems, strict=True)
            if (result := corner.result)
        )
        return Battle(
            battle_id=meeting.battle_id,
            created=datetime.now(UTC),
            question=meeting.question,
            seed=meeting.seed,
            a=a,
            b=b,
            topics=meeting.topics,
            qid=meeting.qid,
        )
