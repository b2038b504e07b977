"""Asks the services behind this one, now and then, what they work with, so that their answers may be kept.

Knows whom to ask and how often; what is made of it is said where it is kept (`service.clients.known`).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from service.clients import Upstream

PERIOD_SECONDS = 5.0
"""How often they are asked: what they said is believed for twice that time."""


@asynccontextmanager
async def watching(upstreams: Sequence[Upstream]) -> AsyncIterator[None]:
    """Ask `upstreams`, at once and then again and again, until the block ends."""
    task = asyncio.create_task(_watch(upstreams))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(upstreams: Sequence[Upstream]) -> None:
    while upstreams:
        # All at once: one that hangs keeps nobody else waiting.
        await asyncio.gather(*(upstream.learn() for upstream in upstreams))
        await asyncio.sleep(PERIOD_SECONDS)
