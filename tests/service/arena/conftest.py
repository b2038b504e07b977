"""Arenas of fakes, in this process without a socket and as a real server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from ragnarok.arena.contenders import Contender
from service.app import create_app
from service.settings import Settings
from tests.service.arena.fakes import parts_of, quick
from tests.service.fakes import a_pipeline
from tests.service.running import WAIT, served


class Here(Protocol):
    """Opens an arena in this process; gives a client of it."""

    def __call__(
        self, *contenders: Contender, settings: Settings | None = None
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """A client that keeps cookies."""


class There(Protocol):
    """Starts a server with an arena; gives its address."""

    def __call__(
        self,
        *contenders: Contender,
        settings: Settings | None = None,
        masked: tuple[str, ...] = (),
        signs: tuple[str, ...] = (),
    ) -> str:
        """The address."""


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where the arenas of a test keep what they keep."""
    return tmp_path / "arena.sqlite"


@pytest.fixture
def here(store_path: Path) -> Here:
    """Arenas in this process."""

    @asynccontextmanager
    async def start(
        *contenders: Contender, settings: Settings | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        with parts_of(store_path, *contenders) as parts:
            app = create_app(settings or quick(), a_pipeline(), parts)
            async with app.router.lifespan_context(app):
                transport = httpx.ASGITransport(app, raise_app_exceptions=False)
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://test", timeout=WAIT
                ) as client:
                    yield client

    return start


@pytest.fixture
def there(store_path: Path) -> Iterator[There]:
    """Servers that end with the test."""
    with ExitStack() as stack:

        def start(
            *contenders: Contender,
            settings: Settings | None = None,
            masked: tuple[str, ...] = (),
            signs: tuple[str, ...] = (),
        ) -> str:
            parts = stack.enter_context(parts_of(store_path, *contenders, masked=masked, signs=signs))
            return stack.enter_context(served(create_app(settings or quick(), a_pipeline(), parts)))

        yield start
