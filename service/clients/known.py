"""What the replicas of a service have said that they work with, and for how long that is believed.

Safe for threads. Knows nothing of HTTP.
"""

import time
from collections.abc import Callable, Sequence

BELIEVED_SECONDS = 10.0
"""How long a replica's word counts, which every answer of it renews."""


class Known:
    """The identities that replicas said, each with its time."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet of the replicas at `urls`."""
        self._urls, self._clock = list(urls), clock
        self._said: dict[str, tuple[str | None, float]] = {}

    def tell(self, url: str, identity: str) -> None:
        """A replica said its identity just now; empty where it has none to say."""
        self._said[url] = identity, self._clock()

    def gone(self, url: str) -> None:
        """A replica is not there just now: it need not agree."""
        self._said[url] = None, self._clock()

    def agreed(self) -> str | None:
        """The identity of all replicas that are there.

        None where two differ, where one has none to say, and while one has not been heard of lately.
        """
        oldest, identities = self._clock() - BELIEVED_SECONDS, set[str]()
        for url in self._urls:
            identity, said = self._said.get(url, ("", 0.0))
            if said < oldest:
                return None
            if identity is not None:
                identities.add(identity)
        return identities.pop() or None if len(identities) == 1 else None
