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
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from ragnarok.errors import OUTCOMES
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
from service.sse import EventReader

ATTEMPTS = 2
PAUSE_SECONDS = 5.0
"""How long a replica that failed is asked only if no other is there."""

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

        `subject` is what they call, among their identities, what is asked of them.
        """
        self.name, self.urls, self.read = name, [url.rstrip("/") for url in urls], read
        self.known = Known(self.urls)
        """What they work with, as far as they have said it."""
        self._subject = subject
        self._turn = itertools.count()
        self._down: dict[str, float] = {}
        self._client = httpx.Client(
            timeout=httpx.Timeout(read, connect=connect),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=None),
            # What the environment says of proxies is for the world outside.
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, model: type[M], body: BaseModel | None = None) -> M:
        """The answer, as a `model`, to `body`.

        Raises `UpstreamFailed`, `UpstreamTimeout`, and the errors that the service names.
        """
        with self._responding(method, path, body) as response:
            try:
                response.read()
                return model.model_validate_json(response.content)
            except httpx.HTTPError as error:
                raise self._broken(response, error) from error
            except ValidationError as error:
                wrong = error.errors()[0]
                raise UpstreamFailed(
                    f"{self._at(response)} gave no answer that can be used ({wrong['loc']}: {wrong['msg']}); "
                    "is it such a service, of this version?"
                ) from None

    def events(self, path: str, body: BaseModel) -> Iterator[tuple[str, str]]:
        """The name and data of each server-sent event, as they come. Raises as `ask` does."""
        with self._responding("POST", path, body, {"Accept": "text/event-stream"}) as response:
            reader = EventReader()
            try:
                for piece in response.iter_bytes():
                    yield from reader.feed(piece)
            except httpx.HTTPError as error:
                raise self._broken(response, error) from error

    def learn(self) -> None:
        """Ask every replica what it works with. One that is not there, or not ready, counts no more."""
        for url in self.urls:
            try:
                said = self._client.get(f"{url}/v1/identity", timeout=LEARN_SECONDS)
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout):
                self.known.gone(url)
            except httpx.HTTPError:
                continue  # It is there and slow: what it said before is believed for as long as it may be.
            else:
                self._hear(url, said)

    def _hear(self, url: str, said: httpx.Response) -> None:
        if said.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            self.known.gone(url)
            return
        try:
            found = Identities.model_validate_json(said.content).identities if said.is_success else {}
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
        self, method: str, path: str, body: BaseModel | None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """A response that went well, its body not read yet."""
        content = None if body is None else body.model_dump_json(exclude_none=True)
        kind = {} if body is None else {"Content-Type": "application/json"}
        sent = {**outgoing_headers(), **kind, **(headers or {})}
        url, response = self._send(method, path, content, sent)
        try:
            if not response.is_success:
                raise self._error(response)
            said = response.headers.get(HEADER, "")
            self.known.tell(url, said)
            current().served[self.name] = said
            yield response
        finally:
            response.close()

    def _send(
        self, method: str, path: str, content: str | None, headers: dict[str, str]
    ) -> tuple[str, httpx.Response]:
        """The replica that answered, and its response."""
        failed = ""
        for attempt in range(ATTEMPTS):
            url = self._next()
            request = self._client.build_request(method, url + path, content=content, headers=headers)
            try:
                response = self._client.send(request, stream=True)
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout) as error:
                failed = f"{url} cannot be reached ({str(error) or type(error).__name__})"
            except httpx.TimeoutException:
                raise UpstreamTimeout(self._late(url)) from None
            else:
                if response.status_code != 503 or attempt + 1 == ATTEMPTS or len(self.urls) == 1:
                    return url, response
                response.close()
            self._down[url] = time.monotonic() + PAUSE_SECONDS
        raise UpstreamFailed(f"the {self.name} service at {failed}; start it, or correct its address")

    def _next(self) -> str:
        """The replica whose turn it is, of those that did not fail just now if there are any."""
        now = time.monotonic()
        up = [url for url in self.urls if self._down.get(url, 0.0) <= now] or self.urls
        return up[next(self._turn) % len(up)]

    def _error(self, response: httpx.Response) -> Exception:
        try:
            response.read()
        except httpx.HTTPError as error:
            return self._broken(response, error)
        return self.problem(response.text, response.status_code)

    def _broken(self, response: httpx.Response, error: httpx.HTTPError) -> Exception:
        if isinstance(error, httpx.TimeoutException):
            return UpstreamTimeout(self._late(str(response.url.copy_with(raw_path=b""))))
        return UpstreamFailed(f"{self._at(response)} broke off its answer ({error}); ask again")

    def _at(self, response: httpx.Response) -> str:
        return f"the {self.name} service at {response.url.scheme}://{response.url.netloc.decode()}"

    def _late(self, url: str) -> str:
        return f"the {self.name} service at {url} has said nothing for {self.read:g} seconds; ask for less"
