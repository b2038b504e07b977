"""Answers to questions, found or made: whole, as a stream's events, and as the pipeline's own result.

All three are kept as one: the JSON of the whole answer. An answer that is there is replayed to who wants
events, and one that was streamed is there for everyone. Where answers are kept, equal questions in the air
are one: whoever comes later hears what there is so far, and the rest with the others. Knows the desk and the
cache; nothing of routes.
"""

from collections.abc import Sequence

from fastapi import Request, Response

from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from ragnarok.types import Hit
from service.broadcast import Broadcasts, Source
from service.cache import Cache, Wanted
from service.context import current
from service.desk import Desk, Question
from service.schema import QueryResponse
from service.stream import Wire, end_of, event_stream, replayed, unless_left

Identity = dict[str, str] | None


class Answers:
    """What a desk answers, and what a cache has of it."""

    def __init__(self, desk: Desk, cache: Cache) -> None:
        """Ask `desk` for what is not in `cache`."""
        self.desk, self.cache = desk, cache
        self._broadcasts = Broadcasts[Event]()
        self._said: tuple[Result, bytes] | None = None

    async def whole(self, question: Question, request: Request) -> bytes | None:
        """The JSON of a `QueryResponse`, or nothing for a client that has left. Raises as `Desk.ask` does."""
        identity = self.desk.identity
        wanted = await self._look(question, identity)
        if (there := wanted.there) is not None:
            return there[0]

        async def make(_: Sequence[int]) -> list[bytes]:
            result = await end_of(self._asked(question, wanted, identity, whole=True))
            assert isinstance(result, Result)
            return [self._written(result)]

        # Whoever began to ask keeps the answer: it alone knows which services were asked.
        made = await unless_left(request, wanted.made(make, lambda: False))
        return None if made is None else made[0]

    async def result(self, question: Question, request: Request) -> Result | None:
        """The result, or nothing for a client that has left. Raises as `Desk.ask` does."""
        written = await self.whole(question, request)
        return None if written is None else _read(written)

    async def events(self, question: Question, wire: Wire[Event]) -> Response:
        """The events as they come, or all at once where they are known. Raises as `Desk.ask` does."""
        identity = self.desk.identity
        wanted = await self._look(question, identity)
        outcome = {"X-Cache": current().cache}
        if (there := wanted.there) is not None:
            return replayed(events_of(_read(there[0])), wire, outcome)

        return event_stream(self._asked(question, wanted, identity), wire, outcome)

    def _asked(
        self, question: Question, wanted: Wanted, identity: Identity, *, whole: bool = False
    ) -> Source[Event]:
        """The question's events, of the one time that it is asked at a time. Raises as `Desk.ask` does.

        With `whole`, the last is enough: what nobody else may want to hear is not told.
        """
        if wanted.address is None:
            return self.desk.ask(question, whole=whole)

        async def heard(event: Event) -> None:
            if isinstance(event, Result) and _as_said(identity):
                await wanted.keep([self._written(event)])

        return self._broadcasts.join(wanted.address, lambda: self.desk.ask(question), heard)

    def _written(self, result: Result) -> bytes:
        # Kept and then sent to each who asked for it, it is written once.
        if self._said is None or self._said[0] is not result:
            self._said = result, QueryResponse.of(result).model_dump_json().encode()
        return self._said[1]

    async def _look(self, question: Question, identity: Identity) -> Wanted:
        # A gateway passes its own method on to whoever retrieves.
        scope = None if identity is None else [identity, self.desk.settings.method]
        return await self.cache.look("answer", scope, [[question.text, question.depth]])


def events_of(result: Result) -> list[Event]:
    """The events that a result came by."""
    first = sorted(result.hits, key=lambda hit: hit.first_rank)
    found = [Hit(hit.docid, hit.first_score, hit.first_rank, hit.passage) for hit in first]
    return [Retrieved(found), Reranked(result.hits), *result.answer.sentences, result]


def _read(written: bytes) -> Result:
    return QueryResponse.model_validate_json(written).result()


def _as_said(identity: Identity) -> bool:
    """Whether the services that were asked were those that `identity` names: one may have changed since."""
    known = identity or {}
    return all(known.get(stage) == said for stage, said in current().served.items())
