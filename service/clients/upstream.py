"""The services that do a stage: several replicas of one kind, asked in turn.

A replica that cannot be reached, breaks off or is not ready is passed over for a while, and the next one is
asked in its place: once, for whoever asks is waiting. Errors that a service names come back as what they
were there. Knows HTTP; nothing of what is asked.

Requests are made by one event loop. Who asks waits for it, in a thread or in a greenlet of that loop.
"""

import itertools
import json
import re
import time
from asyncio import AbstractEventLoop
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    SocketTimeoutError,
    TCPConnector,
)
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ragnarok.errors import OUTCOMES
from ragnarok.sse import EventReader
from service.clients.known import Known
from service.context import current, outgoing_headers
from service.errors import (
    BadMode,
    Busy,
    LimitReached,
    NoSuchModel,
    NotReady,
    OverLimit,
    Stopping,
    TookTooLong,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.greenlets import wait
from service.identity import HEADER, Identities

ATTEMPTS = 2
PAUSE_SECONDS = 5.0
"""How long a replica that failed is asked only if no other is there."""

LEARN = ClientTimeout(connect=2.0, sock_read=2.0)
"""How long a replica may take to say what it works with."""

SAID = 200
"""Characters that an error repeats of what is no problem object."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_KNOWN = {
    re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower(): kind
    for kind in (
        *(kind for kind, outcome in OUTCOMES.items() if outcome.status < 500),
        BadMode,
        Busy,
        LimitReached,
        NotReady,
        NoSuchModel,
        OverLimit,
        Stopping,
        TookTooLong,
    )
}
"""Errors that mean the same here as there, by their names on the wire."""


class Upstream:
    """One kind of service, at one address or several; to be closed."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        loop: AbstractEventLoop,
        *,
        key: str = "",
        connect: float = 2.0,
        read: float = 60.0,
        subject: str = "",
    ) -> None:
        """Ask the services at `urls` by `loop`; `connect` and `read` are seconds, `key` an API key, if any.

        `subject` is what they call, among their identities, what is asked of them.
        """
        self.name, self.urls, self.read = name, [url.rstrip("/") for url in urls], read
        self.known = Known(self.urls)
        """What they work with, as far as they have said it."""
        self._loop, self._subject = loop, subject
        self._turn = itertools.count()
        self._down: dict[str, float] = {}
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = ClientTimeout(connect=connect, sock_read=read)
        self._opened: ClientSession | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            wait(self._opened.close(), self._loop)

    def ask(self, method: str, path: str, model: type[M], body: object = None) -> M:
        """The answer, as a `model`, to `body`: a model, or what JSON holds.

        Raises `UpstreamFailed`, `UpstreamTimeout`, and the errors that the service names.
        """
        url, response, written = wait(self._whole(method, path, *self._packed(body)), self._loop)
        self._note(url, response)
        try:
            return model.model_validate_json(written)
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"]))
            raise UpstreamFailed(
                f"the {self.name} service at {url} gave no answer that can be used "
                f"({place}: {wrong['msg']}); is it such a service, of this version?"
            ) from None

    def events(self, path: str, body: object) -> Iterator[tuple[str, str]]:
        """The name and data of each server-sent event, as they come. Raises as `ask` does."""
        content, headers = self._packed(body)
        headers["Accept"] = "text/event-stream"
        url, response = wait(self._begun("POST", path, content, headers), self._loop)
        try:
            self._note(url, response)
            reader = EventReader()
            while piece := wait(self._heard(url, response.content.readany()), self._loop):
                yield from reader.feed(piece)
        finally:
            self._loop.call_soon_threadsafe(response.close)

    async def learn(self) -> None:
        """Ask every replica what it works with. One that is not there, or not ready, counts no more."""
        for url in self.urls:
            place = f"{url}/v1/identity"
            try:
                async with self._session.get(
                    place, headers=self._headers, timeout=LEARN, allow_redirects=False
                ) as response:
                    self._hear(url, response.status, await response.read())
            except SocketTimeoutError:
                continue  # It is there and slow: what it said before is believed for as long as it may be.
            except ClientError:
                self.known.gone(url)

    def _hear(self, url: str, status: int, written: bytes) -> None:
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.known.gone(url)
            return
        try:
            found = Identities.model_validate_json(written).identities if status == HTTPStatus.OK else {}
        except ValidationError:
            found = {}
        self.known.tell(url, found.get(self._subject, ""))

    def problem(self, text: str, status: int = 0, retry_after: str = "") -> Exception:
        """The error that a problem object says, and with it when the service wants to be asked again."""
        try:
            said = json.loads(text)
            kind = _KNOWN.get(str(said["type"]).rpartition(":")[2])
            detail = str(said["detail"])
        except (ValueError, KeyError, TypeError):
            kind, detail = None, text[:SAID] or "nothing was said"
        answered = f" ({status})" if status else ""
        failed = f"the {self.name} service failed{answered}: {detail}"
        if kind is LimitReached and retry_after.isascii() and retry_after.isdigit():
            return LimitReached(detail, float(retry_after))
        return kind(detail) if kind else UpstreamFailed(failed, status)

    @property
    def _session(self) -> ClientSession:
        """The connections, which the loop alone may open."""
        if self._opened is None:
            # It knows nothing of proxies: what the environment says of them is for the world outside.
            self._opened = ClientSession(
                connector=TCPConnector(limit=0),
                timeout=self._timeout,
                cookie_jar=DummyCookieJar(),
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._opened

    def _packed(self, body: object) -> tuple[bytes | None, dict[str, str]]:
        """What is sent, and its headers."""
        content = None if body is None else to_json(body, exclude_none=True)
        kind = {} if body is None else {"Content-Type": "application/json"}
        return content, {**self._headers, **outgoing_headers(), **kind}

    def _note(self, url: str, response: ClientResponse) -> None:
        """Keep what the replica said that it works with."""
        said = response.headers.get(HEADER, "")
        self.known.tell(url, said)
        current().served[self.name] = said

    async def _whole(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[str, ClientResponse, bytes]:
        """The replica that answered, its response, which went well, and the body."""
        url, response = await self._begun(method, path, content, headers)
        return url, response, await self._heard(url, response.read())

    async def _begun(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[str, ClientResponse]:
        """The replica that answers, and its response, which went well and whose body is not read yet."""
        url, response = await self._send(method, path, content, headers)
        if response.status != HTTPStatus.OK:
            said = await self._heard(url, response.read())
            after = response.headers.get("Retry-After", "")
            raise self.problem(said.decode(errors="replace"), response.status, after)
        return url, response

    async def _send(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[str, ClientResponse]:
        """The replica that answered, and its response."""
        failed = ""
        for attempt in range(ATTEMPTS):
            url = self._next()
            try:
                # As a file: of bytes, more than a megabyte would be warned of.
                response = await self._session.request(
                    method,
                    url + path,
                    data=None if content is None else BytesIO(content),
                    headers=headers,
                    allow_redirects=False,
                )
            except SocketTimeoutError:
                raise UpstreamTimeout(self._late(url)) from None
            except ClientError as error:
                failed = f"{url} cannot be reached ({error.__cause__ or error})"
            else:
                unready = response.status == HTTPStatus.SERVICE_UNAVAILABLE
                if not unready or attempt + 1 == ATTEMPTS or len(self.urls) == 1:
                    return url, response
                response.close()
            self._down[url] = time.monotonic() + PAUSE_SECONDS
        raise UpstreamFailed(f"the {self.name} service at {failed}; start it, or correct its address")

    def _next(self) -> str:
        """The replica whose turn it is, of those that did not fail just now if there are any."""
        now = time.monotonic()
        up = [url for url in self.urls if self._down.get(url, 0.0) <= now] or self.urls
        return up[next(self._turn) % len(up)]

    async def _heard(self, url: str, reading: Coroutine[Any, Any, T]) -> T:
        """What is read of a response that has begun."""
        try:
            return await reading
        except SocketTimeoutError:
            raise UpstreamTimeout(self._late(url)) from None
        except ClientError as error:
            raise UpstreamFailed(
                f"the {self.name} service at {url} broke off its answer; ask again"
            ) from error

    def _late(self, url: str) -> str:
        return f"the {self.name} service at {url} has said nothing for {self.read:g} seconds; ask for less"
