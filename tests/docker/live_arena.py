"""What is true of an arena in a container; `test_arena.py` runs this beside it, in its order.

Not collected with the other tests: it wants the services of docker/compose.yaml and compose.arena.yaml.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.docker.outside import GATEWAY, WAIT, container, engine, until_answered, until_ready

SYSTEMS = {"system-near", "system-far"}
"""The systems of the configuration."""


@pytest.fixture(scope="module")
def voter() -> Iterator[httpx.Client]:
    """One who votes, with cookies, where the gateway answers and its first answer was had."""
    until_ready()
    until_answered()
    with httpx.Client(base_url=GATEWAY, timeout=WAIT) as client:
        yield client


@pytest.fixture(scope="module")
def battle(voter: httpx.Client) -> dict[str, Any]:
    """A battle that both systems have answered."""
    started = voter.post("/v1/arena/battles", json={"question": "How do I make a temporary directory?"})
    assert started.status_code == 201, started.text
    battle: dict[str, Any] = started.json()
    events = voter.get(battle["events"]).text
    assert "event: finished" in events, events
    return battle


def test_the_arenas_pages_are_reached_from_outside(voter: httpx.Client) -> None:
    for page in ("/battle", "/leaderboard", "/compare"):
        answered = voter.get(page)
        assert answered.status_code == 200, page
        assert answered.headers["content-type"].startswith("text/html")


def test_a_battle_is_fought_and_opens_as_a_page(voter: httpx.Client, battle: dict[str, Any]) -> None:
    assert voter.get(battle["page"]).status_code == 200
    blind = voter.get(f"/v1/arena/battles/{battle['id']}").text
    assert json.loads(blind)["state"] == "open"
    assert "temp" in blind
    assert not [name for name in SYSTEMS if name in blind]


def test_a_vote_outlives_the_gateway(voter: httpx.Client, battle: dict[str, Any]) -> None:
    body = {"token": battle["token"], "answer": "a"}
    voted = voter.post(f"/v1/arena/battles/{battle['id']}/vote", json=body)
    assert voted.status_code == 200, voted.text
    assert {voted.json()[side]["system"]["name"] for side in "ab"} == SYSTEMS
    engine("restart", container("gateway"))
    until_ready()
    assert voter.get(f"/v1/arena/battles/{battle['id']}").json() == voted.json()


def test_nothing_but_the_volume_can_be_written(voter: httpx.Client) -> None:
    assert voter.get("/healthz").status_code == 200
    look = "touch /arena/x /usr/x 2>/dev/null; ls /arena /data"
    seen = engine("exec", container("gateway"), "sh", "-c", look).split()
    assert "arena.toml" in seen
    assert "arena.db" in seen
    assert "x" not in seen
