"""The arena's routes under /v1: battles, their events, votes, comparisons, boards and downloads.

Each hands over at once; nothing is run, reckoned or kept here.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from ragnarok.arena.files import csv_lines, jsonl_lines
from service.arena.arena import Arena
from service.arena.form import BoardQuery
from service.arena.match import Shown
from service.arena.schema import (
    BattleRequest,
    BlindRecord,
    CompareRequest,
    Finished,
    OneSystem,
    OpenRecord,
    RunningRecord,
    Started,
    VoteRequest,
)
from service.arena.wire import compared, events_response
from service.door import JsonRoute
from service.errors import NotFinished
from service.problems import problems_of
from service.sse import event_content

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": event_content()},
}


PREFIX = "/v1/arena"


def arena_routes(arena: Arena) -> tuple[APIRouter, ...]:
    """Everything that `arena` answers under /v1/arena."""
    return _posts(arena), _gets(arena), _boards(arena)


def _posts(arena: Arena) -> APIRouter:
    router = APIRouter(
        prefix=PREFIX,
        route_class=JsonRoute,
        responses=problems_of(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504),
    )
    _add_begin(router, arena)
    _add_vote(router, arena)
    if arena.settings.arena_compare:
        _add_compare(router, arena)
    return router


def _add_begin(router: APIRouter, arena: Arena) -> None:
    @router.post("/battles", status_code=201, summary="Begin a battle")
    async def begin(asked: BattleRequest, request: Request, response: Response) -> Started:
        """Choose two systems by chance, and let both answer.

        Who begins one without a voter's cookie gets one; only with it can be voted.
        """
        opened = arena.now
        opened.gate.check_origin(request)
        await opened.gate.spend("battle", request)
        voter = opened.voters.of(request) or opened.voters.new()
        battle_id = opened.voters.new_battle(voter)
        meeting = await opened.hall.begin(battle_id, asked.question, asked.topics, asked.qid)
        opened.voters.remember(response, voter, secure=request.url.scheme == "https")
        response.headers["Cache-Control"] = "no-store"
        return Started(
            id=battle_id,
            question=meeting.question,
            topics=meeting.topics,
            qid=meeting.qid,
            token=opened.records.token(battle_id, voter) or "",
            events=f"/v1/arena/battles/{battle_id}/events",
            page=f"/battle/{battle_id}",
        )


def _add_vote(router: APIRouter, arena: Arena) -> None:
    @router.post("/battles/{battle_id}/vote", responses=problems_of(409), summary="Vote on a battle")
    async def vote(battle_id: str, said: VoteRequest, request: Request, response: Response) -> OpenRecord:
        """Keep the vote, and tell who met. A vote that is sent again changes nothing and tells the same."""
        opened = arena.now
        opened.gate.check_origin(request)
        await opened.gate.spend("vote", request)
        if opened.hall.match(battle_id):
            raise NotFinished("both answers are not complete yet; vote once they are")
        response.headers["Cache-Control"] = "no-store"
        return await asyncio.to_thread(opened.records.vote, battle_id, opened.voters.of(request), said)


def _add_compare(router: APIRouter, arena: Arena) -> None:
    @router.post(
        "/compare", response_class=StreamingResponse, responses=_EVENTS, summary="Compare two systems"
    )
    async def compare(asked: CompareRequest, request: Request) -> Response:
        """Stream both answers, by name and with all they tell; nothing is kept.

        The events `hits`, `reranked`, `sentence`, `done` and `failed` say which side they are of; `end` is
        last.
        """
        opened = arena.now
        opened.gate.check_origin(request)
        await opened.gate.spend("battle", request)
        jobs = opened.hall.compare(asked.question, asked.a, asked.b)
        first, second = (OneSystem.of(opened.hall.roster.find(name).system) for name in (asked.a, asked.b))
        return events_response(compared(jobs, (first, second)))


def _gets(arena: Arena) -> APIRouter:
    router = APIRouter(prefix=PREFIX, responses=problems_of(404, 429, 500, 502, 503))

    @router.get("/battles/{battle_id}", summary="A battle")
    async def battle(
        battle_id: str, request: Request, response: Response
    ) -> RunningRecord | BlindRecord | OpenRecord:
        """What may be seen of it: nothing of who meets before the vote, everything after it."""
        opened = arena.now
        response.headers["Cache-Control"] = "no-store"
        voter = opened.voters.of(request)
        if match := opened.hall.match(battle_id):
            meeting = match.meeting
            return RunningRecord(
                id=battle_id,
                question=meeting.question,
                topics=meeting.topics,
                qid=meeting.qid,
                token=opened.records.token(battle_id, voter),
            )
        return await asyncio.to_thread(opened.records.show, battle_id, voter)

    @router.get(
        "/battles/{battle_id}/events",
        response_class=StreamingResponse,
        responses=_EVENTS,
        summary="A battle's two answers as they come",
    )
    async def events(battle_id: str) -> Response:
        """Stream both sides in step, from the beginning, to whoever looks; neither says who it is.

        The events are `evidence`, `sentence` and `answered`, each with its side; `finished` or `error` is
        last.
        """
        opened = arena.now
        if match := opened.hall.match(battle_id):
            return events_response(match.events())
        sides = await asyncio.to_thread(opened.records.blinded, battle_id)
        shown: list[Shown] = [("answered", side) for side in sides]
        shown.append(("finished", Finished(id=battle_id)))
        return events_response(_each(shown))

    return router


def _boards(arena: Arena) -> APIRouter:
    router = APIRouter(prefix=PREFIX, responses=problems_of(404, 422, 429, 500, 503))

    @router.get("/systems", summary="The systems that may meet")
    async def systems() -> list[OneSystem]:
        """Name them, with what each is made of."""
        return [OneSystem.of(system) for system in arena.now.hall.roster.systems]

    @router.get("/leaderboard", summary="The leaderboard")
    async def leaderboard(wanted: Annotated[BoardQuery, Query()]) -> dict[str, Any]:
        """Ratings with their intervals, where the votes join all systems; counts in any case.

        Beside them stands how well models agree with people, and each with itself when the sides change.
        """
        return await asyncio.to_thread(arena.now.boards.record, wanted)

    @router.get("/battles.jsonl", response_class=StreamingResponse, summary="All battles, complete")
    async def jsonl() -> Response:
        """Systems, battles that are over and their votes, one JSON object a line; they can be imported."""
        return arena.now.downloads.send(jsonl_lines, "battles.jsonl", "application/x-ndjson")

    @router.get("/battles.csv", response_class=StreamingResponse, summary="All votes as a table")
    async def csv() -> Response:
        """One line a vote on battles that are over, without texts."""
        return arena.now.downloads.send(csv_lines, "battles.csv", "text/csv; charset=utf-8")

    return router


async def _each(shown: list[Shown]) -> AsyncGenerator[Shown]:
    for one in shown:
        yield one
