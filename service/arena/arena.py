"""The arena of one application: opened with it, closed with it, and what its routes work with.

Knows settings and what an arena is made of; nothing of routes and pages.
"""

import asyncio
import logging
from dataclasses import dataclass

from ragnarok.arena.contenders import Roster
from ragnarok.arena.lent import Lent
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.tokens import Tokens, read_secret
from ragnarok.pipeline import close_parts
from service.arena.boards import Boards
from service.arena.choosing import Chooser
from service.arena.downloads import Downloads
from service.arena.gate import Gate
from service.arena.hall import Hall
from service.arena.records import Records
from service.arena.voters import Voters
from service.errors import NotReady
from service.limits import Rates
from service.parts import Parts
from service.settings import Settings

LOADING = "the arena's systems are still being opened; come back in a moment"

_log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True, slots=True)
class ArenaParts:
    """What an arena is made of: who may meet, the store, and the secret that signs tokens and cookies."""

    roster: Roster
    store: ArenaStore
    secret: str

    def close(self) -> None:
        """Let go of models, files and connections."""
        close_parts(self.store, self.roster)


@dataclass(frozen=True, slots=True)
class Open:
    """An arena that is open."""

    hall: Hall
    records: Records
    boards: Boards
    gate: Gate
    voters: Voters
    store: ArenaStore
    downloads: Downloads


class Arena:
    """Opens and closes. All methods belong to one event loop."""

    def __init__(self, settings: Settings, rates: Rates, parts: ArenaParts | None = None) -> None:
        """Work with `parts`, or with parts that are built on opening and closed on closing."""
        self.settings, self._rates, self._given = settings, rates, parts
        self._built: ArenaParts | None = None
        self._open: Open | None = None
        self.failure: Exception | None = None
        """Why opening failed."""

    @property
    def now(self) -> Open:
        """What is open. Raises `NotReady`."""
        if self._open is None:
            raise NotReady(LOADING)
        return self._open

    async def open(self, beside: Parts) -> None:
        """Build the parts, whose systems share what is open `beside` and have to be closed before it.

        Raises what opening systems and the store raises, and `ArenaConflict`.
        """
        try:
            if self._given is None:
                self._built = await asyncio.to_thread(build, self.settings, lent_by(beside))
            parts = self._given or self._built
            assert parts is not None
            await asyncio.to_thread(parts.store.add_systems, parts.roster.systems)
            self._open = self._made(parts)
        except Exception as error:
            self.failure = error
            raise

    async def close(self) -> None:
        """End the battles that run, and close what was built."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.hall.close()
        if self._built is not None:
            await asyncio.to_thread(self._built.close)
            self._built = None

    def _made(self, parts: ArenaParts) -> Open:
        own = self.settings
        voters, tokens = Voters(parts.secret.encode()), Tokens(parts.secret)
        boards = Boards(parts.store)
        # Two sides make one question.
        threads, waiting = 2 * own.threads, 2 * own.max_waiting
        hall = Hall(parts.roster, parts.store, Chooser(boards), threads=threads, max_waiting=waiting)
        limits = {"battle": own.arena_battles, "vote": own.arena_votes}
        return Open(
            hall,
            Records(parts.store, tokens, voters, parts.roster.mask),
            boards,
            Gate(voters, self._rates, limits),
            voters,
            parts.store,
            Downloads(parts.store),
        )


def lent_by(parts: Parts) -> Lent:
    """What the systems of an arena may use of a process's own parts."""
    indexes = () if parts.library is None else tuple(parts.library.indexes.values())
    return Lent(indexes, () if parts.model is None else (parts.model,))


def build(settings: Settings, lent: Lent) -> ArenaParts:
    """Open the store and the systems that `settings` name, but what is `lent`. Raises what these raise."""
    # Not at the top: it loads torch, which who has no arena does without.
    from ragnarok.arena.systems import open_roster

    place = settings.arena
    assert place is not None
    secret, url = settings.arena_secret, settings.arena_store
    # The secret first, and the store: they are quick, and they are what is mostly wrong.
    signed = read_secret(place.with_suffix(".secret")) if secret is None else secret.get_secret_value()
    Tokens(signed)
    store = ArenaStore(str(place.with_suffix(".db")) if url is None else url.get_secret_value())
    try:
        return ArenaParts(open_roster(place, _log.info, lent=lent), store, signed)
    except BaseException:
        store.close()
        raise
