"""Real servers on loopback ports, and what asynchronous tests run on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ragnarok.pipeline import Pipeline
from service.settings import Settings
from tests.service.running import server_of

Serve = Callable[..., str]


@pytest.fixture
def anyio_backend() -> str:
    """The loop that uvicorn runs on."""
    return "asyncio"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that end with the test; calling it returns the address."""
    with ExitStack() as stack:

        def start(pipeline: Pipeline, settings: Settings | None = None) -> str:
            return stack.enter_context(server_of(pipeline, settings))

        yield start
