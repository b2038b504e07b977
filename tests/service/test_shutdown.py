"""How a service ends: a real process that is told to."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Semaphore

import httpx
import pytest

from service.worker import Worker
from tests.service.running import WAIT, events_of

ROOT = Path(__file__).resolve().parents[2]

GATEWAY = {"RAGNAROK_SERVE": "gateway"} | {
    f"RAGNAROK_{stage}_URL": "http://127.0.0.1:9" for stage in ("RETRIEVAL", "RERANK", "GENERATION")
}
"""A gateway starts without loading torch; the fakes that it is given ask nobody."""


@contextmanager
def a_server(*, sentence: float, shutdown: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves, and its address; it takes so many seconds a `sentence`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.slow_server", str(port), str(sentence)],
        cwd=ROOT,
        env=os.environ | GATEWAY | {"RAGNAROK_SHUTDOWN_SECONDS": str(shutdown)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 6 * WAIT
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_what_is_being_answered_finishes_and_nothing_new_is_taken() -> None:
    with (
        a_server(sentence=0.7, shutdown=30) as (process, address),
        httpx.Client(base_url=address, timeout=WAIT) as client,
        client.stream("POST", "/v1/query", json={"query": "q", "stream": True}) as response,
    ):
        assert "server" not in response.headers
        pieces = response.iter_text()
        text = next(pieces)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{address}/v1/query", json={"query": "late"}, timeout=WAIT)
        text += "".join(pieces)
        assert [name for name, _ in events_of(text)][-2:] == ["sentence", "done"]
        _, said = process.communicate(timeout=WAIT)
        assert process.returncode == 0
        assert "Traceback" not in said


def test_after_its_time_it_ends_anyway() -> None:
    with (
        a_server(sentence=300.0, shutdown=1) as (process, address),
        httpx.Client(base_url=address, timeout=WAIT) as client,
        client.stream("POST", "/v1/query", json={"query": "q", "stream": True}) as response,
    ):
        pieces = response.iter_text()
        next(pieces)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
        _, said = process.communicate(timeout=WAIT)
        assert process.returncode == 0
        assert 1 <= time.monotonic() - start < 15, "its time, and five seconds for what is being computed"
        assert "given up" in said


def test_an_idle_service_ends_at_once() -> None:
    with a_server(sentence=0.0, shutdown=30) as (process, _):
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
        assert process.returncode == 0
        assert time.monotonic() - start < 10


@pytest.mark.anyio
async def test_a_job_that_does_not_end_is_not_waited_for() -> None:
    worker, go = Worker(0), Semaphore(0)
    begun = Semaphore(0)

    def stuck() -> Generator[int]:
        begun.release()
        assert go.acquire(timeout=WAIT)
        yield 1

    worker.submit(stuck)
    assert begun.acquire(timeout=WAIT)
    start = time.monotonic()
    assert not await worker.close(0.2)
    assert time.monotonic() - start < 5
    go.release()
    assert await worker.close()


def test_images_run_the_same_server() -> None:
    command = '["python", "-m", "service", "--host", "0.0.0.0", "--port", "8000"]'
    assert f"CMD {command}" in (ROOT / "docker" / "Dockerfile").read_text()


def test_a_setting_that_cannot_be_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service", "--port", "1"],
        cwd=ROOT,
        env=os.environ | {"RAGNAROK_DEPTH": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("A setting cannot be used: RAGNAROK_DEPTH='0'")
    assert "Traceback" not in done.stderr
