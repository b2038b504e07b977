"""The arena's pages: battle, its record, leaderboard and compare.

What is open to all is rendered here; what a battle shows is fetched by its script, which knows no more than
anyone. Knows templates and the arena; nothing of how either works.
"""

import asyncio
from collections.abc import Mapping
from typing import get_args

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from ragnarok.arena.pictures import rating_plot, rating_size, win_matrix, win_size
from ragnarok.arena.types import Columns
from ragnarok.errors import NotFound
from service.arena.arena import Arena
from service.arena.form import OWN, BoardQuery
from service.arena.schema import Tag
from service.errors import SideFailed
from service.site import Link, Site, page_response

PICTURES = {"ratings": rating_plot, "wins": win_matrix}

SIZES = {"ratings": rating_size, "wins": win_size}
"""What room a page keeps for each picture."""

REVISION = "revision"


def links(arena: Arena) -> tuple[Link, ...]:
    """Where the pages of `arena` are, and what they are called."""
    compare = (("/compare", "Compare"),) if arena.settings.arena_compare else ()
    return (("/battle", "Battle"), ("/leaderboard", "Leaderboard"), *compare)


def page_routes(arena: Arena, site: Site) -> APIRouter:
    """The pages of `arena`."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_battles(arena, site))
    router.include_router(_leaderboard(arena, site))
    if arena.settings.arena_compare:
        router.include_router(_compare(arena, site))
    return router


def _compare(arena: Arena, site: Site) -> APIRouter:
    router = APIRouter()

    @router.get("/compare")
    async def compare(request: Request) -> Response:
        return page_response(request, site.page("compare", "/compare", systems=arena.now.hall.roster.systems))

    return router


def _battles(arena: Arena, site: Site) -> APIRouter:
    router = APIRouter()

    def page(request: Request, status: int = 200, *, named: bool = False) -> Response:
        opened = arena.now
        topics = tuple(opened.hall.roster.topics)
        made = site.page("battle", "/battle", topics=topics, tags=get_args(Tag), named=named)
        response = page_response(request, made, status=status)
        # Set before anything is begun, so that two tabs are one voter.
        if opened.voters.of(request) is None:
            opened.voters.remember(response, opened.voters.new(), secure=request.url.scheme == "https")
        return response

    @router.get("/battle")
    async def battle(request: Request) -> Response:
        return page(request)

    @router.get("/battle/{battle_id}")
    async def one_battle(battle_id: str, request: Request) -> Response:
        opened = arena.now
        try:
            if opened.hall.match(battle_id) is None:
                await asyncio.to_thread(opened.store.battle, battle_id)
        except NotFound:
            return page(request, 404, named=True)
        except SideFailed:
            return page(request, 410, named=True)
        return page(request, named=True)

    return router


def _leaderboard(arena: Arena, site: Site) -> APIRouter:
    router = APIRouter()

    @router.get("/leaderboard")
    async def leaderboard(request: Request) -> Response:
        wanted, wrong = _wanted(dict(request.query_params))
        page, status = await asyncio.to_thread(_board_page, arena, site, wanted, wrong)
        return page_response(request, page, status=status)

    @router.get("/leaderboard/{name}.svg")
    async def picture(name: str, request: Request) -> Response:
        """Of the newest board, whatever `revision` the address has: with another one a browser asks again."""
        if name not in PICTURES:
            raise NotFound(f"there is no picture {name[:80]!r}; there are {', '.join(PICTURES)}")
        fields = {field: value for field, value in request.query_params.items() if field != REVISION}
        wanted, wrong = _wanted(fields)
        if wrong:
            raise NotFound(f"there is no picture of this: {wrong}")
        boards = arena.now.boards

        def draw() -> bytes:
            return PICTURES[name](boards.board(wanted)).encode()

        drawn = await asyncio.to_thread(boards.kept, ("picture", name, wanted), draw)
        response = page_response(request, drawn, kind=".svg")
        # It is no page: its colours are its own, and it does nothing.
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return response

    return router


def _wanted(fields: Mapping[str, str]) -> tuple[BoardQuery, str]:
    """What is asked for, and what is wrong with it: then it is the whole board."""
    try:
        return BoardQuery.model_validate(fields), ""
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return BoardQuery(), "; ".join(wrong)


def _board_page(arena: Arena, site: Site, wanted: BoardQuery, wrong: str) -> tuple[bytes, int]:
    boards = arena.now.boards
    topics, components = _topics(boards.columns()), boards.components()
    choices: dict[str, object] = {"topics": topics, "components": components}
    if wanted.topics is not None and wanted.topics not in dict(topics):
        wrong = f"no vote is about the topic set {wanted.topics[:80]!r}; choose one of the list"
    elif wanted.component is not None and wanted.component not in components:
        wrong = f"no battle compares {wanted.component[:80]!r} alone; choose one of the list"
    if wrong:
        return _render(site, wanted, **choices, wrong=wrong, board=None, suspicious=0), 422

    def make() -> bytes:
        # First: a vote that comes meanwhile makes the page newer than it says, never older.
        revision = boards.revision()
        return _render(
            site,
            wanted,
            **choices,
            wrong="",
            revision=revision,
            board=boards.board(wanted),
            suspicious=len(boards.suspicious(wanted.board)),
            agreement=boards.agreement(wanted.board),
        )

    return boards.kept(("page", wanted), make), 200


def _render(site: Site, wanted: BoardQuery, **said: object) -> bytes:
    return site.page("leaderboard", "/leaderboard", wanted=wanted, sizes=SIZES, **said)


def _topics(columns: Columns) -> list[tuple[str, str]]:
    """What a leaderboard may be narrowed to, and how it is called."""
    return [("", "all"), (OWN, "the voters’ own"), *((name, name) for name in columns.topic_sets)]
