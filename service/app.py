"""The application: one process that does everything, or one of several that share the work.

`uvicorn --factory service.app:create_app` starts it; the setting `serve` says what it does, and with that
which routes it has. One process holds one model: more of them behind one port would each load it again.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragnarok.errors import FAULT, outcome_of
from ragnarok.pipeline import Pipeline
from service import problems, site
from service.answers import Answers
from service.arena.needs import check_packages
from service.cache import Cache
from service.chat import chat_routes
from service.desk import Desk
from service.limits import Rates
from service.operations import install
from service.parts import Parts
from service.routes import health_routes, identity_routes, query_routes
from service.settings import Settings, load_settings
from service.shared import SharedRedis
from service.site import Site
from service.watch import watching

if TYPE_CHECKING:
    from service.arena.arena import Arena, ArenaParts


class ClearStart:
    """Says in one line why a start failed, where a server would print a trace: most are ours to foresee."""

    def __init__(self, app: ASGIApp, failure: Callable[[], Exception | None]) -> None:
        """Stand before `app`; `failure` says why its start failed."""
        self.app, self.failure = app, failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change what is said of a failed start; leave all else alone."""

        async def say(message: Message) -> None:
            error = self.failure()
            if message["type"] == "lifespan.startup.failed" and error and outcome_of(error) is not FAULT:
                message["message"] = f"{outcome_of(error).title}: {error}"
            await send(message)

        await self.app(scope, receive, say if scope["type"] == "lifespan" else send)


def create_app(
    settings: Settings | None = None,
    pipeline: Pipeline | Parts | None = None,
    arena_parts: "ArenaParts | None" = None,
) -> FastAPI:
    """The application, with the environment's settings unless some are given.

    On start it builds its parts unless they, or a pipeline, are given; the same goes for the arena, which
    there is where `settings.arena` or its parts are given. Raises `BadSetting`.
    """
    settings = settings or load_settings()
    desk = Desk(settings, pipeline)
    url = settings.redis_url
    shared = None if url is None else SharedRedis(url.get_secret_value())
    cache = Cache(shared, seconds=settings.cache_seconds)
    arena = _arena(settings, shared, arena_parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.open()
        try:
            if arena is not None:
                await arena.open(desk.parts)
            # Only what is kept needs to know what it depends on.
            async with watching(desk.parts.upstreams if shared else []):
                yield
        finally:
            if arena is not None:
                await arena.close()
            await desk.close()
            await cache.close()

    app = FastAPI(
        title="Ragnarok",
        summary="Retrieval, attention-driven re-ranking and attributed answers",
        version=version("ragnarok-attention"),
        lifespan=lifespan,
        # The interactive pages load their scripts from another host; the document itself is served.
        docs_url=None,
        redoc_url=None,
        # Spans are made by `service.tracing`; these would hold a search's query.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(ClearStart, failure=lambda: desk.failure or (arena.failure if arena else None))
    if settings.serve in {"all", "gateway"}:
        answers = Answers(desk, cache)
        app.include_router(query_routes(desk, answers))
        app.include_router(chat_routes(desk, answers))
        _include_pages(app, arena)
    _include_stages(app, desk, cache)
    app.include_router(health_routes(desk))
    app.include_router(identity_routes(desk))
    problems.install(app)
    install(app, settings, desk, cache)
    return app


def _arena(settings: Settings, shared: SharedRedis | None, parts: "ArenaParts | None") -> "Arena | None":
    """The arena, not open yet; loads what a service without one does without. Raises `BadSetting`."""
    if settings.serve not in {"all", "gateway"} or (settings.arena is None and parts is None):
        return None
    check_packages()
    from service.arena.arena import Arena

    return Arena(settings, Rates(shared), parts)


def _include_pages(app: FastAPI, arena: "Arena | None") -> None:
    """The pages that there are, and the arena's routes."""
    if arena is None:
        site.install(app, Site())
        return
    from service.arena.routes import arena_routes
    from service.arena.views import links, page_routes

    pages = Site((site.ASK, *links(arena)))
    for router in (*arena_routes(arena), page_routes(arena, pages)):
        app.include_router(router)
    site.install(app, pages)


def _include_stages(app: FastAPI, desk: Desk, cache: Cache) -> None:
    """The routes of the stages that are done here; each loads what a gateway does without."""
    here = desk.settings.stages_here()
    if "retrieval" in here:
        from service.retrieval import retrieval_routes
        from service.retrieval_old import old_retrieval_routes
        from service.searches import Searches

        searches = Searches(desk, cache)
        app.include_router(retrieval_routes(searches))
        app.include_router(old_retrieval_routes(searches))
    if "rerank" in here and desk.settings.rerank:
        from service.reranking import rerank_routes

        app.include_router(rerank_routes(desk, cache))
    if "generation" in here:
        from service.generation import generation_routes

        app.include_router(generation_routes(desk))
