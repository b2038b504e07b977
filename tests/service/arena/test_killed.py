"""A server that is killed while a thousand people vote: no vote that it acknowledged is lost."""

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from ragnarok.arena.store import ArenaStore
from ragnarok.arena.tokens import Tokens
from ragnarok.arena.types import Battle, Output
from ragnarok.types import Answer
from service.arena.voters import Voters
from tests.service.arena.fakes import SECRET, Actor

pytestmark = pytest.mark.anyio

VOTERS = 1000
KILLED_AFTER = 400
CLIENTS = 20
LIMITS = httpx.Limits(max_connections=VOTERS // CLIENTS)


def begun(place: Path) -> list[tuple[str, str, str]]:
    """Battles that are whole, each of a voter of its own: id, token and cookie."""
    voters, tokens = Voters(SECRET.encode()), Tokens(SECRET)
    systems = Actor("left").system, Actor("right").system
    a, b = (Output(one.name, one.digest, Answer("q")) for one in systems)
    found, battles = [], []
    for number in range(VOTERS):
        voter, response = voters.new(), Response()
        battle_id = voters.new_battle(voter)
        voters.remember(response, voter, secure=False)
        battles.append(Battle(battle_id, datetime.now(UTC), "q", number, a, b))
        cookie = response.headers["set-cookie"].partition(";")[0]
        found.append((battle_id, tokens.issue(battle_id, voter), cookie))
    store = ArenaStore(str(place))
    store.add_all([*systems, *battles])
    store.close()
    return found


async def test_no_acknowledged_vote_is_lost(store_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.service.arena.voting_server", str(store_path), str(port)]
    server = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    acknowledged: dict[str, str] = {}
    try:
        battles = begun(store_path)
        await until_up(address)
        async with AsyncExitStack() as stack:
            # Several: one client's pool looks through all its connections for each request.
            clients = [
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=address, timeout=60, limits=LIMITS)
                )
                for _ in range(CLIENTS)
            ]

            async def vote(place: int, battle_id: str, token: str, cookie: str) -> None:
                said = ("a", "b", "tie", "both_bad")[place % 4]
                body, headers = {"token": token, "answer": said}, {"Cookie": cookie}
                path = f"/v1/arena/battles/{battle_id}/vote"
                try:
                    response = await clients[place % CLIENTS].post(path, json=body, headers=headers)
                except httpx.TransportError:
                    return
                assert response.status_code == 200, response.text
                acknowledged[battle_id] = said
                if len(acknowledged) == KILLED_AFTER:
                    server.kill()

            await asyncio.gather(*(vote(place, *battle) for place, battle in enumerate(battles)))
    finally:
        server.kill()
        server.wait(30)
    assert server.returncode == -9
    assert KILLED_AFTER <= len(acknowledged) < VOTERS
    store = ArenaStore(str(store_path))
    try:
        kept = {battle_id: store.votes_on(battle_id) for battle_id in acknowledged}
    finally:
        store.close()
    answers = {battle_id: [vote.answer for vote in found] for battle_id, found in kept.items()}
    assert answers == {battle_id: [answer] for battle_id, answer in acknowledged.items()}


async def until_up(address: str) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + 120
    async with httpx.AsyncClient() as client:
        while time.monotonic() < end:
            try:
                if (await client.get(f"{address}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    raise TimeoutError(f"no server at {address} within 120 s")
