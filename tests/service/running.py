"""Applications that run: in this process without a socket, or as a real server."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from ragnarok.pipeline import Pipeline
from service.app import create_app
from service.parts import Parts
from service.settings import Settings
from tests.service.fakes import a_pipeline

WAIT = 20.0
"""Seconds after which something that should have happened will not."""


def app_of(pipeline: Pipeline | Parts | None, settings: Settings | None) -> FastAPI:
    """An application of fakes, unless it is given parts or is a gateway, which has none."""
    settings = settings or Settings()
    return create_app(settings, pipeline or (a_pipeline() if settings.serve == "all" else None))


@asynccontextmanager
async def client_of(
    pipeline: Pipeline | Parts | None = None, settings: Settings | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has been started, without a socket between them."""
    app = app_of(pipeline, settings)
    async with app.router.lifespan_context(app):
        # Errors are answered, as they are by a server, and not raised in the client.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=WAIT) as client:
            yield client


@contextmanager
def server_of(pipeline: Pipeline | Parts | None, settings: Settings | None = None) -> Iterator[str]:
    """The address of a real server, run by a thread."""
    with served(app_of(pipeline, settings)) as address:
        yield address


@contextmanager
def served(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """The address of a real server of any application, run by a thread, at a free port if none is given."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    with socket.create_server(("127.0.0.1", port)) as door:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[door])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(WAIT)
            assert not thread.is_alive()


def samples(text: str) -> dict[str, float]:
    """Each of Prometheus' numbers by its name and labels."""
    return {
        name: float(value)
        for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) ([-+.\deE]+)$", text, re.MULTILINE)
    }


def events_of(text: str) -> list[tuple[str, Any]]:
    """The name and data of each server-sent event."""
    pairs = [block.split("\ndata: ", 1) for block in text.split("\n\n") if block.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data)) for name, data in pairs]
