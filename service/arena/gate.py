"""Who may ask something of the arena, and how often: no other site's pages, and nobody too fast.

Who brings a voter's cookie is counted as that voter, all others by their address, so that throwing the cookie
away gains nothing. Cookies are to be had for the asking, so all voters of one address are counted together,
too. Knows requests; nothing of battles.
"""

import math
from urllib.parse import urlsplit

from fastapi import Request

from service.arena.voters import Voters
from service.errors import ForeignOrigin, LimitReached
from service.limits import Rates, client_of

CROWD = 20
"""How many voters may be at one address (a laboratory, a lecture), each as fast as a voter may be."""


class Gate:
    """Lets requests in. All methods belong to one event loop."""

    def __init__(self, voters: Voters, rates: Rates, limits: dict[str, int]) -> None:
        """`limits` are how many of each kind of request a voter may make in a minute."""
        self._voters, self._rates, self._limits = voters, rates, limits

    def check_origin(self, request: Request) -> None:
        """Refuse what a page of another site sent. Raises `ForeignOrigin`."""
        origin = request.headers.get("origin")
        own = _host_of(origin) == request.headers.get("host") if origin else True
        if not own or request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            raise ForeignOrigin(
                f"this was sent by a page of {origin or 'another site'}; use the arena's own pages, or send "
                "no Origin"
            )

    async def spend(self, kind: str, request: Request) -> None:
        """Count a request. Raises `LimitReached` for one too many."""
        address, rate = client_of(request.scope), self._limits[kind]
        who = self._voters.of(request) or address
        await self._spend(f"{kind}:{who}", rate, f"{kind}s")
        await self._spend(f"{kind}:crowd:{address}", CROWD * rate, f"{kind}s of all voters at one address")

    async def _spend(self, counted: str, rate: int, what: str) -> None:
        spent = await self._rates.spend(f"arena:{counted}", rate)
        if not spent.may:
            wait = max(math.ceil(spent.wait), 1)
            raise LimitReached(f"more than {rate} {what} in a minute; go on in {wait} s", spent.wait)


def _host_of(origin: str) -> str:
    """The host of an origin, with its port; empty where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
