"""What is known of the request that is being answered, wherever its answer is made.

Threads that work for a request see its context too (`service.worker`), so that its id goes on to whatever
services are asked on its behalf. Knows nothing of HTTP frameworks.
"""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

REQUEST_ID = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Asked:
    """A request: its id, who sent it (the name of a key, or an address), and what became of it.

    `cache` is hit, miss or off where a cache was asked.
    """

    id: str = ""
    client: str = ""
    cache: str = ""


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


def begin(sent: str) -> Asked:
    """A request begins in this context: it keeps the id that was sent where that is sane, or gets one."""
    asked = Asked(sent if _SANE.fullmatch(sent) else secrets.token_hex(8))
    _asked.set(asked)
    return asked


def current() -> Asked:
    """The request of this context; outside of any, one without an id."""
    return _asked.get() or Asked()


def outgoing_headers() -> dict[str, str]:
    """What a service that is asked on behalf of this request is to be sent: its id."""
    asked = current()
    return {REQUEST_ID: asked.id} if asked.id else {}
