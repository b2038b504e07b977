"""What both clients do with a request before it is sent and with what comes back. Opens no connection."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from ragnarok.sse import EventReader
from service.client.calls import Call, StreamCall
from service.client.errors import (
    BadAnswer,
    BrokenOff,
    ClientError,
    LimitReached,
    ServiceUnavailable,
    TookTooLong,
    Unreachable,
    Unusable,
    refusal_in_stream,
)

T = TypeVar("T", bound=BaseModel)
E = TypeVar("E", bound=BaseModel)

TIMEOUT = 60.0
"""Seconds for which a service may say nothing, unless another number is given."""

CONNECT_SECONDS = 5.0
"""Seconds in which a connection must be there, if the client waits that long at all."""

BACKOFF_SECONDS = 0.25
"""How long is waited before a connection is tried again; twice that the next time."""

LONGEST_WAIT = 60.0
"""A service that asks to be left alone for more seconds than this is not asked again."""


class Core:
    """Where to ask, as whom, and how often."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float | None, retries: int) -> None:
        """Ask at `base_url`. Raises `Unusable`."""
        self.url = _checked(base_url)
        if api_key is not None and not (api_key and api_key.isascii() and api_key.isprintable()):
            raise Unusable("the API key holds what no header can; give it as it was made")
        if timeout is not None and timeout <= 0:
            raise Unusable(f"a timeout of {timeout} seconds leaves no time; give more than 0, or None")
        if retries < 0:
            raise Unusable(f"{retries} retries cannot be; 0 is none")
        self._headers = {"User-Agent": f"ragnarok-client/{version('ragnarok-attention')}"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.timeout, self.retries = timeout, retries

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[T] | StreamCall[E]) -> httpx.Request:
        """What `http` is to send."""
        streams = isinstance(call, StreamCall)
        kind = {} if call.content is None else {"Content-Type": "application/json"}
        connect = None if self.timeout is None else min(CONNECT_SECONDS, self.timeout)
        return http.build_request(
            "POST" if isinstance(call, StreamCall) else call.method,
            self.url + call.path,
            headers={
                **self._headers,
                **kind,
                "Accept": "text/event-stream" if streams else "application/json",
            },
            content=call.content,
            timeout=httpx.Timeout(self.timeout, connect=connect),
        )

    def pause(self, call: Call[T] | StreamCall[E], error: ClientError, attempt: int) -> float | None:
        """Seconds to wait before `call` is sent again after `error`; None to give up. Counts from 0.

        A call may be repeated, for none changes anything at the service.
        """
        if attempt >= self.retries or not call.again:
            return None
        if isinstance(error, Unreachable):
            return BACKOFF_SECONDS * float(2**attempt)
        if isinstance(error, LimitReached | ServiceUnavailable):
            seconds = error.retry_after
            return seconds if seconds is not None and seconds <= LONGEST_WAIT else None
        return None

    def unanswered(self, error: httpx.HTTPError) -> ClientError:
        """What it means that no answer began."""
        why = str(error) or type(error).__name__
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return self._late()
        return Unreachable(
            f"{self.url} cannot be reached ({why}); is the service started, and is this its address?"
        )

    def broken(self, error: httpx.HTTPError) -> ClientError:
        """What it means that an answer stopped in its middle."""
        if isinstance(error, httpx.TimeoutException):
            return self._late()
        return BrokenOff(f"{self.url} broke off its answer ({str(error) or type(error).__name__}); ask again")

    def result(self, call: Call[T], response: httpx.Response) -> T:
        """The answer that a response is. Raises `BadAnswer`."""
        try:
            return call.answer.model_validate_json(response.content)
        except ValidationError as error:
            raise self.strange(error) from None

    def strange(self, error: ValidationError | UnicodeDecodeError) -> BadAnswer:
        """What it means that an answer cannot be read."""
        wrong = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            wrong = f"{'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"
        return BadAnswer(f"{self.url} sent no answer of such a service ({wrong})")

    def _late(self) -> TookTooLong:
        return TookTooLong(
            f"{self.url} has said nothing for {self.timeout} seconds; ask for less, or give a longer timeout"
        )


class Reading(Generic[E]):
    """A stream's bytes on their way to events."""

    def __init__(self, core: Core, call: StreamCall[E], headers: Mapping[str, str]) -> None:
        """Read what answers `call`; `headers` are the response's."""
        self._core, self._call, self._headers = core, call, headers
        self._reader = EventReader()
        self.done = False
        """Whether the last event has come."""
        kind = headers.get("content-type", "nothing that it names")
        if not kind.startswith("text/event-stream"):
            raise BadAnswer(f"{core.url} sent {kind[:80]} in place of events; is it such a service?")

    def events(self, piece: bytes) -> Iterator[E]:
        """The events that `piece` completes. Raises `Refusal` and `BadAnswer`."""
        try:
            for name, data in self._reader.feed(piece):
                if name == "error":
                    raise refusal_in_stream(data, self._headers)
                # A newer service may say more.
                if kind := self._call.events.get(name):
                    event = kind.model_validate_json(data)
                    self.done = name == "done"
                    yield event
        except (ValidationError, UnicodeDecodeError) as error:
            raise self._core.strange(error) from None

    def end(self) -> None:
        """Nothing more comes. Raises `BrokenOff` unless all was said."""
        if not self.done:
            raise BrokenOff(f"{self._core.url} ended its answer in the middle; ask again")


def _checked(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        httpx.URL(base_url)
    except (ValueError, httpx.InvalidURL):
        fits = False
    if not fits or parts.query or parts.fragment or parts.username:
        raise Unusable(f"{base_url!r} is no address of a service; give http://HOST:PORT")
    return base_url.rstrip("/")
