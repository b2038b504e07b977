"""How much one client may ask: requests a minute, and requests at once.

A client is a key of the list, or an address where no keys are. Requests a minute are counted in Redis, for
all processes together, or here while there is none; those at once are each process's own affair. A minute's
requests may come all at once; after that each is earned back in its share of a minute. Knows nothing of what
is asked.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import current
from service.door import asks
from service.errors import LimitReached
from service.problems import answer
from service.shared import SharedRedis

MINUTE = 60.0

CLIENTS = 10_000
"""How many clients are remembered here; whoever was longest away is forgotten first."""

BUSY_SECONDS = 1.0
"""When one who has too many requests in the air may try again: nobody knows when the first will end."""

_SPEND = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local share, minute = tonumber(ARGV[1]), tonumber(ARGV[2])
local spent = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + share
if spent - now > minute then
  return {0, string.format('%.0f', spent - now - minute), string.format('%.0f', spent - share - now)}
end
redis.call('SET', KEYS[1], string.format('%.0f', spent), 'PX', math.ceil((spent - now) / 1000))
return {1, '0', string.format('%.0f', spent - now)}
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What became of a request: whether it may go on, seconds to wait if not, and until all is back."""

    may: bool
    wait: float
    reset: float

    def left(self, rate: int) -> int:
        """How many requests may still come at once."""
        return max(int((MINUTE - self.reset) * rate / MINUTE + 1e-6), 0)


class Rates:
    """Counts requests a minute. All methods belong to one event loop."""

    def __init__(
        self,
        shared: SharedRedis | None,
        *,
        clients: int = CLIENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count in `shared` while it serves, else in memory for at most so many `clients`."""
        self._shared, self._clients, self._clock = shared, clients, clock
        # Until when what a client has spent is earned back, in seconds; the last to ask stands last.
        self._spent: OrderedDict[str, float] = OrderedDict()

    async def spend(self, client: str, rate: int) -> Spent:
        """One request of `client`, who has `rate` a minute."""
        if self._shared is not None:
            share, minute = round(MINUTE * 1e6 / rate), round(MINUTE * 1e6)
            found = await self._shared.ask(
                lambda redis: redis.eval(_SPEND, 1, f"ragnarok:rate:{client}", share, minute)
            )
            if found is not None:
                return Spent(bool(found[0]), int(found[1]) / 1e6, int(found[2]) / 1e6)
        return self._spend_here(client, rate)

    def __len__(self) -> int:
        """How many clients are remembered here."""
        return len(self._spent)

    def _spend_here(self, client: str, rate: int) -> Spent:
        now, share = self._clock(), MINUTE / rate
        self._forget(now)
        before = max(self._spent.get(client, now), now)
        # A hair's breadth: sums of shares of a minute are not exact.
        if before + share - now > MINUTE + 1e-6:
            return Spent(False, before + share - now - MINUTE, before - now)
        self._spent[client] = before + share
        self._spent.move_to_end(client)
        return Spent(True, 0.0, before + share - now)

    def _forget(self, now: float) -> None:
        """Drop those who have earned everything back, from the longest away on, and whoever is too many."""
        while self._spent and (len(self._spent) >= self._clients or next(iter(self._spent.values())) <= now):
            self._spent.popitem(last=False)


class Limits:
    """Refuses with 429 who asks more than they may; what is open to all is not limited."""

    def __init__(
        self,
        app: ASGIApp,
        rates: Rates,
        *,
        rate: int | None = None,
        at_once: int | None = None,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Stand before `app`: `rate` requests a minute, unless a key says otherwise, `at_once` in the air.

        `told` hears which limit a refused request ran into: rate or at_once.
        """
        self.app, self.rates, self.rate, self.at_once, self.told = app, rates, rate, at_once, told
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if not asks(scope):
            await self.app(scope, receive, send)
            return
        client = client_of(scope)
        if self.at_once is not None and self._in_flight[client] >= self.at_once:
            self.told("at_once")
            error = LimitReached(
                f"{self.at_once} requests of yours are being answered, and no more may be at once; "
                "wait for one of them to end",
                BUSY_SECONDS,
            )
            await answer(error, scope, receive, send)
            return
        self._in_flight[client] += 1
        try:
            await self._rated(client, scope, receive, send)
        finally:
            self._in_flight[client] -= 1
            if not self._in_flight[client]:
                del self._in_flight[client]

    async def _rated(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        rate = current().rate or self.rate
        if rate is None:
            await self.app(scope, receive, send)
            return
        spent = await self.rates.spend(client, rate)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"minute";q={rate};w={MINUTE:.0f}'
                headers["RateLimit"] = f'"minute";r={spent.left(rate)};t={math.ceil(spent.reset)}'
            await send(message)

        if spent.may:
            await self.app(scope, receive, told)
            return
        self.told("rate")
        error = LimitReached(
            f"more than {rate} requests a minute; ask again in {max(math.ceil(spent.wait), 1)} s", spent.wait
        )
        await answer(error, scope, receive, told)


def client_of(scope: Scope) -> str:
    """Who asks: the name of a key, or an address; of IPv6 the network, all of which one machine may use."""
    if name := current().client:
        return f"key:{name}"
    host = (scope.get("client") or ("unknown",))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return f"address:{host}"
    if isinstance(address, IPv6Address):
        return f"address:{address.ipv4_mapped or IPv6Network((address, 64), strict=False)}"
    return f"address:{address}"
