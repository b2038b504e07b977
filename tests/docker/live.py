"""What is true of the running services; `test_containers.py` runs this beside them, in its order.

Not collected with the other tests: it wants the services of docker/compose.yaml on port 8000.
"""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from tests.docker.outside import (
    ENGINE,
    GATEWAY,
    LOST,
    WAIT,
    ask,
    check_sources,
    container,
    engine,
    log_of,
    until_answered,
    until_ready,
)


def reranked(service: str) -> int:
    """How many requests a re-ranker says it was sent."""
    return log_of(service).count("/v1/rerank")


@contextmanager
def killed(service: str) -> Iterator[None]:
    """A service that is killed, and started again afterwards."""
    engine("kill", container(service))
    try:
        yield
    finally:
        engine("start", container(service))


def check_lost(response: httpx.Response, service: str) -> None:
    """A question that cannot be answered is answered with one clear problem."""
    assert response.status_code in LOST, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert service in problem["detail"]


@dataclass
class Crowd:
    """Clients that ask without a pause, and what each question came to: status and when it was asked."""

    answers: list[tuple[float, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def since(self, moment: float, number: int) -> list[int]:
        """What came of the questions asked since a moment, once there are `number` of them."""
        end = time.monotonic() + WAIT
        while len(found := [status for asked, status in self.answers if asked > moment]) < number:
            assert time.monotonic() < end, "questions come to nothing"
            time.sleep(0.2)
        return found

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stop.is_set():
            asked = time.monotonic()
            self.answers.append((asked, ask().status_code))


@contextmanager
def crowd(size: int) -> Iterator[Crowd]:
    """`size` clients at once."""
    clients = Crowd()
    threads = [threading.Thread(target=clients.run) for _ in range(size)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join(WAIT)


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    """The gateway answers, and its first answer was had."""
    until_ready()
    until_answered()


def test_a_question_from_outside_is_answered_with_its_sources() -> None:
    check_sources("How do I make a temporary directory?", "tempfile")


def test_the_page_comes_from_the_gateway() -> None:
    page = httpx.get(f"{GATEWAY}/", timeout=10)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("service", ["redis", "retrieval", "rerank-1", "rerank-2", "generation", "gateway"])
def test_a_service_has_no_rights_and_cannot_change_its_files(service: str) -> None:
    here = container(service)
    assert int(engine("exec", here, "id", "-u")) > 0
    assert subprocess.run(
        [ENGINE, "exec", here, "touch", "/usr/x"], capture_output=True, check=False
    ).returncode
    assert engine("exec", here, "sh", "-c", "grep CapEff /proc/1/status").split()[1].strip("0") == ""


def test_losing_one_of_two_rerankers_costs_at_most_what_was_in_it() -> None:
    with crowd(2) as clients:
        clients.since(0, 2)
        with killed("rerank-1"):
            assert set(clients.since(time.monotonic(), 4)) == {200}
    assert {status for _, status in clients.answers} <= {200, *LOST}
    assert sum(status != 200 for _, status in clients.answers) <= 2
    before, end = reranked("rerank-1"), time.monotonic() + WAIT
    while reranked("rerank-1") == before:
        assert ask().status_code == 200
        assert time.monotonic() < end, "the re-ranker that came back is not asked"


def test_without_redis_everything_is_answered() -> None:
    with killed("redis"):
        assert [ask().status_code for _ in range(3)] == [200] * 3
    assert ask().status_code == 200


@pytest.mark.parametrize("service", ["retrieval", "generation"])
def test_losing_the_only_one_is_said_clearly_and_passes(service: str) -> None:
    with killed(service):
        start = time.monotonic()
        check_lost(ask(), service)
        assert time.monotonic() - start < 30
        assert httpx.get(f"{GATEWAY}/healthz", timeout=5).status_code == 200
    print(f"{service} was of use again {until_answered():.1f} s after its start")
