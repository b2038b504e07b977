"""What can go wrong for a client of the service.

    ClientError
    ├── Unusable          an address, a key or an argument that cannot be sent
    ├── Unreachable       no connection, or one that ended before an answer began
    ├── TookTooLong       the service said nothing for as long as the client waits
    ├── BadAnswer         an answer that is not what such a service sends
    │   └── BrokenOff     an answer that ended in its middle
    └── Refusal           the service said no, in a problem object
        ├── BadRequest            400, 405, 408, 413, 415, 422: it cannot be served as it is
        ├── Unauthorized          401, 403: no API key, or one that is not known
        ├── NotFound              404: no such index, document or model
        ├── LimitReached          429: more than the service takes now
        ├── ServiceUnavailable    503: it is loading, stopping, or lacks something
        └── ServiceFailed         500, 502, 504: it failed, or a service behind it did

Knows statuses and problem objects; nothing of how requests are sent.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, ValidationError

SAID = 200
"""Characters that an error repeats of an answer that is no problem object."""


class ClientError(Exception):
    """Root of this package's errors."""


class Unusable(ClientError):
    """An address, a key or an argument that cannot be sent."""


class Unreachable(ClientError):
    """No connection, or one that ended before an answer began."""


class TookTooLong(ClientError):
    """The service said nothing for as long as the client waits."""


class BadAnswer(ClientError):
    """An answer that is not what such a service sends."""


class BrokenOff(BadAnswer):
    """An answer that ended in its middle; what came of it before is no whole answer."""


class WrongPart(BaseModel):
    """One thing wrong with a request: where, as a JSON pointer into the body, and what."""

    pointer: str = ""
    detail: str = ""


class _Said(BaseModel):
    """A problem object, as far as it is one."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    errors: list[WrongPart] = []


class Refusal(ClientError):
    """The service said no.

    `type` identifies the kind (`urn:ragnarok:problem:…`, or `about:blank`), `title` names it, `detail` says
    the way out, `errors` lists what is wrong with the request, and `request_id` is what the service's log
    calls the request. `retry_after` is the seconds after which to ask again, None where that was not said.
    """

    def __init__(self, said: _Said, request_id: str = "", retry_after: float | None = None) -> None:
        """Carry what was said."""
        named = f" (request {request_id})" if request_id else ""
        super().__init__(f"{said.title or said.status}: {said.detail}{named}")
        self.type, self.title, self.status, self.detail = said.type, said.title, said.status, said.detail
        self.errors, self.request_id, self.retry_after = list(said.errors), request_id, retry_after


class BadRequest(Refusal):
    """The request cannot be served as it is; `errors` says where, if the body is at fault."""


class Unauthorized(Refusal):
    """The service wants an API key, and was sent none or one that it does not know."""


class NotFound(Refusal):
    """No such index, document or model."""


class LimitReached(Refusal):
    """More is asked than the service takes now; ask again after `retry_after` seconds."""


class ServiceUnavailable(Refusal):
    """The service is loading or stopping, or lacks something."""


class ServiceFailed(Refusal):
    """The service, or one behind it, failed."""


_KINDS: dict[int, type[Refusal]] = {
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    429: LimitReached,
    503: ServiceUnavailable,
}


def refusal_of(status: int, content: bytes, headers: Mapping[str, str]) -> ClientError:
    """The refusal that an answer is, whoever sent it: a proxy's has a body of its own.

    An answer that leads elsewhere is none: the service sends nobody away.
    """
    if status < 400:
        place = headers.get("location", "it does not say where")[:SAID]
        return BadAnswer(
            f"HTTP {status} leads elsewhere ({place}); give the address where the service answers"
        )
    said = _read(content)
    if said is None:
        words = " ".join(content[: 4 * SAID].decode(errors="replace").split())[:SAID]
        said = _Said(title=f"HTTP {status}", detail=words or "nothing was said")
    said.status = status
    return _kind(status)(said, headers.get("x-request-id", ""), _seconds(headers.get("retry-after", "")))


def refusal_in_stream(data: str, headers: Mapping[str, str]) -> ClientError:
    """The refusal that a stream's event `error` is."""
    said = _read(data.encode())
    if said is None:
        return BadAnswer(f"the stream ended with an error that is no problem object: {data[:SAID]}")
    return _kind(said.status)(said, headers.get("x-request-id", ""))


def _kind(status: int) -> type[Refusal]:
    return _KINDS.get(status, BadRequest if 400 <= status < 500 else ServiceFailed)


def _read(content: bytes) -> _Said | None:
    try:
        return _Said.model_validate_json(content)
    except ValidationError:
        return None


def _seconds(retry_after: str) -> float | None:
    """Seconds of a Retry-After, which is a number or a date."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
