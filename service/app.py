"""The application: one process that does everything, or one of several that share the work.

`uvicorn --factory service.app:create_app` starts it; the setting `serve` says what it does, and with that
which routes it has. One process holds one model: more of them behind one port would each load it again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragnarok.errors import FAULT, outcome_of
from ragnarok.pipeline import Pipeline
from service import problems, site
from service.cache import Cache
from service.chat import chat_routes
from service.desk import Desk
from service.door import BodyLimit
from service.operations import install
from service.parts import Parts
from service.routes import health_routes, query_routes
from service.settings import Settings, load_settings
from service.shared import SharedRedis


class ClearStart:
    """Says in one line why a start failed, where a server would print a trace: most are ours to foresee."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        """Stand before `app`."""
        self.app, self.desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change what is said of a failed start; leave all else alone."""

        async def say(message: Message) -> None:
            error = self.desk.failure
            if message["type"] == "lifespan.startup.failed" and error and outcome_of(error) is not FAULT:
                message["message"] = f"{outcome_of(error).title}: {error}"
            await send(message)

        await self.app(scope, receive, say if scope["type"] == "lifespan" else send)


BULK = ("/v1/rerank", "/v2/rerank", "/v1/generate", "/v1/search")
"""Paths whose bodies bring documents, or many queries."""


def create_app(settings: Settings | None = None, pipeline: Pipeline | Parts | None = None) -> FastAPI:
    """The application, with the environment's settings unless some are given.

    On start it builds its parts unless they, or a pipeline, are given. Raises `BadSetting`.
    """
    settings = settings or load_settings()
    desk = Desk(settings, pipeline)
    url = settings.redis_url
    shared = None if url is None else SharedRedis(url.get_secret_value())
    cache = Cache(shared, seconds=settings.cache_seconds, scope=lambda: desk.identity)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.open()
        try:
            yield
        finally:
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
    )
    bulk = max(settings.max_documents_bytes, settings.max_body_bytes)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, others=dict.fromkeys(BULK, bulk))
    app.add_middleware(ClearStart, desk=desk)
    _include_stages(app, desk)
    if settings.serve in {"all", "gateway"}:
        app.include_router(query_routes(desk, cache))
        app.include_router(chat_routes(desk))
        site.install(app)
    app.include_router(health_routes(desk))
    problems.install(app)
    install(app, settings, desk, cache)
    return app


def _include_stages(app: FastAPI, desk: Desk) -> None:
    """The routes of the stages that are done here; each loads what a gateway does without."""
    here = desk.settings.stages_here()
    if "retrieval" in here:
        from service.retrieval import retrieval_routes

        app.include_router(retrieval_routes(desk))
    if "rerank" in here and desk.settings.rerank:
        from service.reranking import rerank_routes

        app.include_router(rerank_routes(desk))
    if "generation" in here:
        from service.generation import generation_routes

        app.include_router(generation_routes(desk))
