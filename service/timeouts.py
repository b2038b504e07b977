"""How long a request may take: to bring its body, to be answered, and to be sent its answer.

Until the answer begins a request that takes too long is refused. After that it is told when it must be at its
end (`service.context`), so that a stream can say so; what goes on all the same is cut off, and the connection
with it, so that nobody takes half an answer for a whole one. What was being done is given up, and its place
is free again. Knows nothing of what is asked.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import current
from service.errors import BodyTooSlow, TookTooLong
from service.problems import answer

GRACE_SECONDS = 1.0
"""How long a stream has to say that its time is over, before it is cut off."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: of the body, until the answer begins, and of the whole of a streamed answer."""

    body: float
    request: float
    stream: float


class TimeLimits:
    """Ends what takes too long."""

    def __init__(self, app: ASGIApp, times: Times, told: Callable[[str], None] = lambda _: None) -> None:
        """Stand before `app`; `told` hears which time was over: body, request or stream."""
        self.app, self.times, self.told = app, times, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request while there is time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Timed(self.times, receive, send, self.told).serve(self.app, scope)


class _Timed:
    """One request and its clock."""

    def __init__(self, times: Times, receive: Receive, send: Send, told: Callable[[str], None]) -> None:
        self._times, self._receive, self._send, self._told = times, receive, send, told
        self._start = asyncio.get_running_loop().time()
        self._clock = asyncio.timeout_at(self._start + times.request)
        self._whole = self._begun = False
        self._ends = math.inf

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        try:
            async with self._clock:
                await app(scope, self.receive, self.send)
            if asyncio.get_running_loop().time() >= self._ends:
                self._told("stream")
        except TimeoutError:
            if not self._clock.expired():
                raise
            self._told("stream" if self._begun else "request")
            if not self._begun:
                error = TookTooLong(
                    f"this took longer than the {self._times.request:g} seconds that a request may take; "
                    "ask for less, or again when less is asked"
                )
                await answer(error, scope, self._receive, self._send)

    async def receive(self) -> Message:
        """A part of the body, while there is time for it."""
        if self._whole:
            return await self._receive()
        end = self._start + min(self._times.body, self._times.request)
        try:
            async with asyncio.timeout_at(end):
                message = await self._receive()
        except TimeoutError:
            if self._clock.expired():
                raise
            self._told("body")
            raise BodyTooSlow(
                f"the body did not arrive within {end - self._start:g} seconds; send less, or faster"
            ) from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer; with the first, the answer's own time begins to count."""
        if message["type"] == "http.response.start":
            self._begun = True
            self._ends = current().ends = asyncio.get_running_loop().time() + self._times.stream
            self._clock.reschedule(self._ends + GRACE_SECONDS)
        await self._send(message)
