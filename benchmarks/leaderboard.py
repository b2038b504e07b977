"""How quickly the leaderboard's page is there: at first, again, and after one more vote.

    python benchmarks/leaderboard.py [--votes 100000] [--systems 12] [--voters 300]

Simulated votes, one battle each, in an SQLite file; pages are asked of the application in this process,
without a socket between. The very first includes that all votes are read. Again: the median of 20.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from ragnarok.arena.contenders import Roster
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.staged import staged
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.types import Vote
from service.app import create_app
from service.arena.arena import ArenaParts
from service.parts import Parts
from service.settings import Settings

QUERIES = ("", "?board=evidence", "?style=true", "?trusted=true", "?voters=human&since=2026-01-20")


def main() -> None:
    """Measure, and print a line for each address."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {"votes": 100_000, "systems": 12, "voters": 300}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "arena.db")
        start = time.perf_counter()
        _fill(place, arguments.votes, arguments.systems, arguments.voters)
        spent = time.perf_counter() - start
        print(f"{arguments.votes:,} battles and votes kept in {spent:.1f} s")
        asyncio.run(_measure(place))


async def _measure(place: str) -> None:
    store = ArenaStore(place)
    app = create_app(Settings(), Parts(), ArenaParts(Roster({}), store, "of no use outside " * 2))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://here", timeout=120) as client,
    ):
        for path in (*(f"/leaderboard{query}" for query in QUERIES), "/leaderboard/ratings.svg"):
            first = await _seconds(client, path)
            again = statistics.median([await _seconds(client, path) for _ in range(20)])
            _vote(store)
            after = await _seconds(client, path)
            print(f"{path:48} at first {first:.3f} s, again {again * 1e3:.1f} ms, after a vote {after:.3f} s")
    store.close()


def _fill(place: str, votes: int, systems: int, voters: int) -> None:
    ratings = {f"system-{number:02}": 900.0 + 200.0 * number / systems for number in range(systems)}
    scenario = Scenario(ratings, votes=votes, voters={"honest": voters - 3, "left": 3})
    store = ArenaStore(place)
    store.add_all(staged(simulate(scenario)))
    store.close()


def _vote(store: ArenaStore) -> None:
    """One more, by a voter whom nobody has met."""
    battle = store.battle("simulated-000001")
    store.add_vote(Vote(battle.battle_id, f"v{time.perf_counter_ns()}", "human", battle.created, "a", "b"))


async def _seconds(client: httpx.AsyncClient, path: str) -> float:
    start = time.perf_counter()
    (await client.get(path)).raise_for_status()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
