"""What is known of the request that is being answered, wherever its answer is made.

Threads that work for a request see its context too (`service.worker`), so that its id goes on to whatever
services are asked on its behalf. Knows nothing of HTTP frameworks.
"""

import math
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

REQUEST_ID = "X-Request-ID"

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Asked:
    """A request: its id, who sent it (the name of a key, or an address), and what became of it.

    `cache` is hit, miss or off where a cache was asked; `rate` how many requests a minute its key may make,
    where that is the key's own; `question` what was asked; `served` what the services that were asked on its
    behalf said that they work with, by stage; `trace` gives the headers that let its trace go on elsewhere;
    `ends` is when its answer must be at its end, by the event loop's clock.
    """

    id: str = ""
    client: str = ""
    cache: str = ""
    rate: int | None = None
    question: str = ""
    trace: Callable[[], dict[str, str]] = dict
    ends: float = math.inf
    served: dict[str, str] = field(default_factory=dict)


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
    """What a service that is asked on behalf of this request is to be sent: its id, and its trace."""
    asked = current()
    return {**({REQUEST_ID: asked.id} if asked.id else {}), **asked.trace()}
