"""What the service itself costs, and how it bears many clients: real servers, processes of this machine.

    python benchmarks/load.py overhead|gateway|cached|crowd [--seconds 10] [--clients 200]

`overhead`: one process whose stages take no time, so that a question's time is the service's own. `gateway`:
three services behind a gateway, of which two take no time; told is what is left of a question's time without
what the services themselves took (their own counters). `cached`: answers that a Redis keeps. `crowd`: clients
with a key each, all at once, more than are let in.
"""

import argparse
import asyncio
import collections
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ragnarok.keys import make_key

HITS = 20
STAGES = ("retrieval", "rerank", "generation")


# --- what is served


def serve(port: int, slow: float) -> None:
    """Serve stages that take no time, or `slow` seconds for an answer, with the environment's settings."""
    from fastapi import FastAPI

    from ragnarok.types import Answer, Hit, Passage, RankedHit, Sentence
    from service.app import create_app
    from service.parts import Parts
    from service.server import run
    from service.settings import Settings

    text = "A passage of some sixty words, as they are in collections of passages from the web. " * 4
    passages = [Passage(f"doc{number}", text, f"Title {number}") for number in range(HITS)]

    class Stages:
        def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            hits = [Hit(one.docid, 9.0 - rank, rank, one) for rank, one in enumerate(passages[:k], start=1)]
            return [hits for _ in queries]

        def rerank(self, _query: str, hits: Sequence[Hit]) -> list[RankedHit]:
            return [
                RankedHit(hit.docid, -float(rank), rank, hit.passage, hit.rank, hit.score)
                for rank, hit in enumerate(reversed(hits), start=1)
            ]

        def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
            time.sleep(slow)
            said = tuple(
                Sentence(f"A sentence of the answer, number {number}.", (number,)) for number in (0, 1, 2)
            )
            yield from said
            yield Answer(query, said, tuple(hit.docid for hit in hits[:3]))

    stages = Stages()

    def make(settings: Settings) -> FastAPI:
        return create_app(
            settings,
            Parts(stages, stages, stages, depth=HITS, identities=dict.fromkeys(STAGES, lambda: "instant")),
        )

    run("127.0.0.1", port, make)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@contextmanager
def process(command: list[str], settings: dict[str, str], port: int) -> Iterator[int]:
    """A server as a process of its own, ready; its process id."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAGNAROK_")}
    known |= {f"RAGNAROK_{name.upper()}": value for name, value in settings.items()}
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen([sys.executable, *command], env=known, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 180
            while not _is_ready(port):
                if child.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    sys.exit(log.read().decode())
                time.sleep(0.05)
            yield child.pid
        finally:
            child.terminate()
            child.wait()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def instant(settings: dict[str, str], slow: float = 0.0) -> Iterator[tuple[int, int]]:
    """The port and the process of a server whose stages take no time."""
    port = free_port()
    with process([__file__, "serve", "--port", str(port), "--slow", str(slow)], settings, port) as pid:
        yield port, pid


@contextmanager
def redis() -> Iterator[str]:
    """The URL of a Redis that keeps nothing on disk."""
    port = free_port()
    program = shutil.which("redis-server") or sys.exit(
        "redis-server is not here: install it (Debian: redis-server)"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--save", "", "--dir", folder, "--loglevel", "warning"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            child.terminate()
            child.wait()


# --- who asks


@dataclass
class Told:
    """What clients saw: seconds of each answer, how many of each status, answers for each client."""

    seconds: list[float] = field(default_factory=list)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    answered: collections.Counter[int] = field(default_factory=collections.Counter)


def request(query: str, key: str = "") -> bytes:
    """A question as bytes: a client that spends its time on HTTP would measure itself."""
    body = json.dumps({"query": query}).encode()
    extra = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST /v1/query HTTP/1.1\r\nHost: localhost\r\n{extra}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes
) -> tuple[int, bytes]:
    """Status and body of one answer."""
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    assert length is not None, head
    return int(head[9:12]), await reader.readexactly(int(length[1]))


async def client(number: int, port: int, asked: Sequence[bytes], end: float, told: Told, rest: float) -> None:
    """Ask over one connection until `end`; after a refusal, rest a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = number
    while time.perf_counter() < end:
        start = time.perf_counter()
        status, _ = await exchange(reader, writer, asked[turn % len(asked)])
        told.statuses[status] += 1
        if status == 200:
            told.seconds.append(time.perf_counter() - start)
            told.answered[number] += 1
        else:
            await asyncio.sleep(rest)
        turn += 1
    writer.close()


def one_by_one(port: int, count: int, first: int = 10) -> list[tuple[float, dict[str, object]]]:
    """Milliseconds and answer of `count` different questions, after the `first` ones, which do not count."""

    async def ask() -> list[tuple[float, dict[str, object]]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = []
        for number in range(count + first):
            start = time.perf_counter()
            status, body = await exchange(reader, writer, request(f"What does statement number {number} do?"))
            assert status == 200, body
            found.append((1000 * (time.perf_counter() - start), json.loads(body)))
        writer.close()
        return found[first:]

    return asyncio.run(ask())


def spread(values: Sequence[float]) -> str:
    """Median, tenth and ninetieth percentile."""
    cuts = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):.2f} (10–90 %: {cuts[0]:.2f}–{cuts[-1]:.2f})"


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    """What a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# --- what is told


def overhead() -> None:
    """A question's time where stages take none."""
    with instant({}) as (port, _):
        print(f"one process, stages that take no time: {spread([ms for ms, _ in one_by_one(port, 300)])} ms")


def gateway() -> None:
    """What is left of a question's time behind a gateway without what the three services took.

    Retrieval searches the demo by BM25; the other two take no time, so that nothing fights for a processor.
    """
    ports = {stage: free_port() for stage in STAGES}
    front = free_port()
    with ExitStack() as running:
        for stage, port in ports.items():
            program = ["-m", "service"] if stage == "retrieval" else [__file__, "serve"]
            running.enter_context(process([*program, "--port", str(port)], {"serve": stage}, port))
        urls = {f"{stage}_url": f"http://127.0.0.1:{port}" for stage, port in ports.items()}
        settings = {"serve": "gateway", "method": "bm25", **urls}
        running.enter_context(process(["-m", "service", "--port", str(front)], settings, front))
        one_by_one(front, 1, first=20)
        found = []
        for _ in range(3):
            before = sum(map(_served_seconds, ports.values()))
            spent = sum(ms for ms, _ in one_by_one(front, 100, first=0)) / 100
            inside = 1000 * (sum(map(_served_seconds, ports.values())) - before) / 100
            found.append((spent - inside, spent))
        left, spent = sorted(found)[1]
        print(f"gateway and three services: {left:.2f} ms of {spent:.2f} ms a question")


def _served_seconds(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    lines = re.findall(r'^ragnarok_request_seconds_sum\{route="(/v1/[^"]*)"\} (\S+)', text, re.MULTILINE)
    return sum(float(value) for _, value in lines)


def cached(seconds: float) -> None:
    """Answers a second that a Redis keeps."""
    with redis() as url, instant({"redis_url": url, "max_waiting": "1000"}) as (port, pid):
        asked = [request(f"What is kept under number {number}?") for number in range(100)]
        for clients in (1, 32):
            _ask_all(port, [asked] * clients, 1.0)
            start = cpu_seconds(pid)
            told = _ask_all(port, [asked] * clients, seconds)
            used = cpu_seconds(pid) - start
            count = told.statuses[200]
            print(
                f"kept answers, {clients} connections: {count / seconds:.0f} a second, "
                f"{count / used:.0f} a second of a processor, {spread([1000 * s for s in told.seconds])} ms, "
                f"statuses {dict(told.statuses)}"
            )


def crowd(seconds: float, clients: int) -> None:
    """Many clients with a key each, more than are let in."""
    with tempfile.TemporaryDirectory() as folder:
        made = [make_key(f"client{number}") for number in range(clients)]
        file = Path(folder) / "keys"
        file.write_text("".join(f"{line}\n" for _, line in made))
        settings = {"api_keys": str(file), "rate_limit": "120", "threads": "4"}
        with instant(settings, slow=0.02) as (port, pid):
            asked = [[request(f"Question {number}?", key) for number in range(50)] for key, _ in made]
            begun = megabytes(pid)
            told = _ask_all(port, asked, seconds, rest=0.25)
            ended = megabytes(pid)
        shares = sorted(told.answered[number] for number in range(clients))
        print(
            f"{clients} clients for {seconds:.0f} s: statuses {dict(told.statuses)}, answers a client "
            f"{shares[0]}–{shares[-1]} (median {shares[len(shares) // 2]}), "
            f"{spread([1000 * s for s in told.seconds])} ms, memory {begun:.0f} → {ended:.0f} MB"
        )


def _ask_all(port: int, asked: Sequence[Sequence[bytes]], seconds: float, rest: float = 0.0) -> Told:
    told = Told()

    async def all_of_them() -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(
            *(client(number, port, own, end, told, rest) for number, own in enumerate(asked))
        )

    asyncio.run(all_of_them())
    return told


def main() -> None:
    """Measure what is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["overhead", "gateway", "cached", "crowd", "serve"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--port", type=int, default=0, help="of serve, which the others start themselves")
    parser.add_argument("--slow", type=float, default=0.0, help="of serve: seconds that an answer takes")
    given = parser.parse_args()
    match given.what:
        case "serve":
            serve(given.port, given.slow)
        case "overhead":
            overhead()
        case "gateway":
            gateway()
        case "cached":
            cached(given.seconds)
        case "crowd":
            crowd(given.seconds, given.clients)


if __name__ == "__main__":
    main()
