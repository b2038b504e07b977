"""The services that do a stage: several replicas of one kind, asked in turn.

A replica that cannot be reached, breaks off or is not ready is passed over for a while, and the next one is
asked in its place: once, for whoever asks is waiting. Errors that a service names come back as what they
were there. Knows HTTP; nothing of what is asked. Safe for threads.
"""

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from urllib3 import BaseHTTPResponse, Timeout, connection_from_url
from urllib3.exceptions import HTTPError, LocationValueError, ReadTimeoutError
from urllib3.util import parse_url

from ragnarok.errors import OUTCOMES, BadSetting
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
from service.identity import HEADER, Identities

ATTEMPTS = 2
PAUSE_SECONDS = 5.0
"""How long a replica that failed is asked only if no other is there."""

PIECE = 2**16
"""Bytes of a stream that are read at once, at most."""

KEPT = 64
"""Connections to a replica that are kept for the next question: more than threads ask at once."""

LEARN_SECONDS = 2.0
"""How long a replica may take to say what it works with."""

SAID = 200
"""Characters that an error repeats of what is no problem object."""

M = TypeVar("M", bound=BaseModel)

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
        *,
        key: str = "",
        connect: float = 2.0,
        read: float = 60.0,
        subject: str = "",
    ) -> None:
        """Ask the services at `urls`; `connect` and `read` are seconds, `key` an API key if they want one.

        `subject` is what they call, among their identities, what is asked of them. Raises `BadSetting` for
        an address that cannot be.
        """
        self.name, self.urls, self.read = name, [url.rstrip("/") for url in urls], read
        self.known = Known(self.urls)
        """What they work with, as far as they have said it."""
        self._subject = subject
        self._turn = itertools.count()
        self._down: dict[str, float] = {}
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        # It knows nothing of proxies: what the environment says of them is for the world outside.
        timeout = Timeout(connect=connect, read=read)
        try:
            self._pools = {
                url: connection_from_url(url, maxsize=KEPT, timeout=timeout, retries=False)
                for url in self.urls
            }
        except LocationValueError as error:
            raise BadSetting(
                f"the {name} service cannot be at one of {', '.join(self.urls)} ({error}); give http://HOST:PORT"
            ) from None
        self._prefixes = {url: parse_url(url).path or "" for url in self.urls}

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.close()

    def ask(self, method: str, path: str, model: type[M], body: object = None) -> M:
        """The answer, as a `model`, to `body`: a model, or what JSON holds.

        Raises `UpstreamFailed`, `UpstreamTimeout`, and the errors that the service names.
        """
        with self._responding(method, path, body) as (url, response):
            try:
                return model.model_validate_json(response.read())
            except HTTPError as error:
                raise self._broken(url, error) from error
            except ValidationError as error:
                wrong = error.errors()[0]
                raise UpstreamFailed(
                    f"the {self.name} service at {url} gave no answer that can be used "
                    f"({wrong['loc']}: {wrong['msg']}); is it such a service, of this version?"
                ) from None

    def events(self, path: str, body: object) -> Iterator[tuple[str, str]]:
        """The name and data of each server-sent event, as they come. Raises as `ask` does."""
        with self._responding("POST", path, body, {"Accept": "text/event-stream"}) as (url, response):
            reader = EventReader()
            try:
                while piece := response.read1(PIECE):  # what has come, and no waiting for more
                    yield from reader.feed(piece)
            except HTTPError as error:
                raise self._broken(url, error) from error

    def learn(self) -> None:
        """Ask every replica what it works with. One that is not there, or not ready, counts no more."""
        for url in self.urls:
            try:
                said = self._pools[url].request(
                    "GET",
                    f"{self._prefixes[url]}/v1/identity",
                    headers=self._headers,
                    timeout=LEARN_SECONDS,
                    redirect=False,
                )
            except ReadTimeoutError:
                continue  # It is there and slow: what it said before is believed for as long as it may be.
            except HTTPError:
                self.known.gone(url)
            else:
                self._hear(url, said)

    def _hear(self, url: str, said: BaseHTTPResponse) -> None:
        if said.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.known.gone(url)
            return
        try:
            found = (
                Identities.model_validate_json(said.data).identities if said.status == HTTPStatus.OK else {}
            )
        except ValidationError:
            found = {}
        self.known.tell(url, found.get(self._subject, ""))

    def problem(self, text: str, status: int = 0) -> Exception:
        """The error that a problem object says."""
        try:
            said = json.loads(text)
            kind = _KNOWN.get(str(said["type"]).rpartition(":")[2])
            detail = str(said["detail"])
        except (ValueError, KeyError, TypeError):
            kind, detail = None, text[:SAID] or "nothing was said"
        answered = f" ({status})" if status else ""
        failed = f"the {self.name} service failed{answered}: {detail}"
        return kind(detail) if kind else UpstreamFailed(failed, status)

    @contextmanager
    def _responding(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[str, BaseHTTPResponse]]:
        """The replica that answers, and its response, which went well and whose body is not read yet."""
        content = None if body is None else to_json(body, exclude_none=True)
        kind = {} if body is None else {"Content-Type": "application/json"}
        sent = {**self._headers, **outgoing_headers(), **kind, **(headers or {})}
        url, response = self._send(method, path, content, sent)
        try:
            if response.status != HTTPStatus.OK:
                raise self._error(url, response)
            said = response.headers.get(HEADER, "")
            self.known.tell(url, said)
            current().served[self.name] = said
            yield url, response
        finally:
            response.close()

    def _send(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[str, BaseHTTPResponse]:
        """The replica that answered, and its response."""
        failed = ""
        for attempt in range(ATTEMPTS):
            url = self._next()
            try:
                response = self._pools[url].urlopen(
                    method,
                    self._prefixes[url] + path,
                    body=content,
                    headers=headers,
                    preload_content=False,
                    redirect=False,
                )
            except ReadTimeoutError:
                raise UpstreamTimeout(self._late(url)) from None
            except HTTPError as error:
                failed = f"{url} cannot be reached ({error.__cause__ or error.args[-1]})"
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

    def _error(self, url: str, response: BaseHTTPResponse) -> Exception:
        try:
            return self.problem(response.read().decode(errors="replace"), response.status)
        except HTTPError as error:
            return self._broken(url, error)

    def _broken(self, url: str, error: HTTPError) -> Exception:
        if isinstance(error, ReadTimeoutError):
            return UpstreamTimeout(self._late(url))
        return UpstreamFailed(
            f"the {self.name} service at {url} broke off its answer ({error.args[-1]}); ask again"
        )

    def _late(self, url: str) -> str:
        return f"the {self.name} service at {url} has said nothing for {self.read:g} seconds; ask for less"
