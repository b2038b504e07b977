"""The battles of this process: who meets is chosen, both answer, and the battle is kept.

A battle is kept once both answers are whole, and not before. Knows nothing of HTTP, nor of what may be seen.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from random import Random

from ragnarok.arena.contenders import Contender, Roster
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.types import Battle, System
from ragnarok.errors import NotFound
from ragnarok.pipeline import Event
from ragnarok.query import clean_query
from ragnarok.types import Topic
from service.arena.match import FAILED, Match, Meeting
from service.errors import SideFailed
from service.worker import Job, Worker

REMEMBERED = 1_000
"""How many battles that failed are remembered, so that whoever comes back to one is told."""

Choose = Callable[[Sequence[System], int], tuple[System, System]]
"""Who meets of several, left one first, as a seed decides."""


class Hall:
    """Runs battles. All methods belong to one event loop."""

    def __init__(
        self, roster: Roster, store: ArenaStore, choose: Choose, *, threads: int = 2, max_waiting: int = 32
    ) -> None:
        """Let so many sides be worked on at once, and so many wait."""
        self.roster, self._store, self._choose = roster, store, choose
        self._mask = roster.mask
        self._worker = Worker(max_waiting, threads)
        self._running: dict[str, Match] = {}
        self._failed: OrderedDict[str, None] = OrderedDict()

    async def close(self) -> None:
        """End the battles that run."""
        matches = list(self._running.values())
        for match in matches:
            match.leave()
        await self._worker.close()
        await asyncio.gather(*(match.task for match in matches))

    async def begin(
        self, battle_id: str, question: str | None, topics: str | None, qid: str | None
    ) -> Meeting:
        """Choose who meets, and let them answer. Raises `BadQuery`, `NotFound`, `Busy` and `Stopping`."""
        if topics is not None:
            topic = self._topic(topics, qid)
            question, qid = topic.text, topic.qid
        # A topic's text is kept to the letter; what is asked of systems is cleaned by themselves.
        asked = (question or "") if topics is not None else clean_query(question or "")
        able = {one.system.name: one for one in self.roster.meeting(topics)}
        if len(able) < 2:
            there = ", ".join(self.roster.topics) or "none"
            raise NotFound(
                f"{len(able)} of the arena's systems can answer this, and it takes two; take a question of "
                f"another topic set: {there}"
            )
        seed = secrets.randbits(48)
        pair = await asyncio.to_thread(self._choose, [one.system for one in able.values()], seed)
        meeting = Meeting(battle_id, asked, seed, pair, topics, qid)
        jobs = self._ask(able[pair[0].name], able[pair[1].name], asked, qid)
        match = self._running[battle_id] = Match(meeting, jobs, self._keep, self._mask)
        match.task.add_done_callback(lambda _: self._end(match))
        return meeting

    def match(self, battle_id: str) -> Match | None:
        """A battle that runs. Raises `SideFailed` for one that came to nothing."""
        if battle_id in self._failed:
            raise SideFailed(FAILED)
        return self._running.get(battle_id)

    def compare(self, question: str, a: str, b: str) -> tuple[Job[Event], Job[Event]]:
        """Let two systems answer by name. Raises `BadQuery`, `NotFound`, `Busy` and `Stopping`."""
        return self._ask(self.roster.find(a), self.roster.find(b), clean_query(question), None)

    def _topic(self, topics: str, qid: str | None) -> Topic:
        chosen = self.roster.topics.get(topics)
        if qid is None and chosen:
            qid = Random(secrets.randbits(64)).choice(chosen).qid
        return self.roster.topic(topics, qid or "")

    def _ask(
        self, first: Contender, second: Contender, question: str, qid: str | None
    ) -> tuple[Job[Event], Job[Event]]:
        left = self._submit(first, question, qid)
        try:
            return left, self._submit(second, question, qid)
        except Exception:
            left.leave()
            raise

    def _submit(self, contender: Contender, question: str, qid: str | None) -> Job[Event]:
        def events() -> Generator[Event]:
            yield from contender.stream(question, qid)

        return self._worker.submit(events)

    async def _keep(self, battle: Battle) -> None:
        await asyncio.to_thread(self._store.add_battle, battle)

    def _end(self, match: Match) -> None:
        battle_id = match.meeting.battle_id
        del self._running[battle_id]
        if match.error is not None:
            self._failed[battle_id] = None
            if len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)
