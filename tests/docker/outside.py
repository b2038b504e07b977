"""What is seen of running services from outside: questions to the gateway, and the containers' engine.

Knows the compose files' names and port; nothing of which services are up, nor of how they were started.
"""

import os
import subprocess
import time
from itertools import count

import httpx

GATEWAY = "http://127.0.0.1:8000"
ENGINE = os.environ.get("RAGNAROK_ENGINE", "docker")
WAIT = 120.0
"""Seconds within which a service that was started must be of use."""
LOST = {502, 503, 504}
"""Statuses of a question that was in what went down."""

_numbers = count()


def engine(*words: str) -> str:
    """Have the container engine do something; what it prints."""
    return subprocess.run([ENGINE, *words], capture_output=True, text=True, check=True).stdout.strip()


def container(service: str) -> str:
    """The container of a service."""
    return f"ragnarok-{service}-1"


def log_of(service: str) -> str:
    """All that a service has said."""
    done = subprocess.run([ENGINE, "logs", container(service)], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def ask(query: str | None = None) -> httpx.Response:
    """Ask a question, one that was never asked before unless it is given."""
    body = {"query": query or f"How do I make temporary directory number {next(_numbers)}?", "depth": 5}
    return httpx.post(f"{GATEWAY}/v1/query", json=body, timeout=WAIT)


def until_answered() -> float:
    """Ask until an answer comes; the seconds that took."""
    start = time.monotonic()
    while (response := ask()).status_code != 200:
        assert response.status_code in LOST, response.text
        assert time.monotonic() < start + WAIT, response.text
        time.sleep(0.5)
    return time.monotonic() - start


def until_ready() -> None:
    """Wait until the gateway answers."""
    end = time.monotonic() + WAIT
    while True:
        try:
            if httpx.get(f"{GATEWAY}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, "the gateway is not ready"
        time.sleep(0.5)


def check_sources(query: str, docid: str) -> None:
    """A question is answered from what was found; `docid` is part of the first source's."""
    answered = ask(query)
    assert answered.status_code == 200, answered.text
    answer = answered.json()["answer"]
    assert answer["sentences"]
    references = answer["references"]
    cited = {number for sentence in answer["sentences"] for number in sentence["citations"]}
    assert cited
    assert cited <= set(range(len(references)))
    found = {hit["docid"]: hit for hit in answered.json()["hits"]}
    assert set(references) <= found.keys()
    assert docid in references[0], references
    assert any(hit["rank"] != hit["first_rank"] or hit["highlights"] for hit in found.values())
