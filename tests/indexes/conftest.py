"""Small collections, and one index of them that the tests of searching share."""

import asyncio
import gzip
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from indexes import Index, build_index

FIVE = [
    ("d1", "Cats", "A cat sat on the mat."),
    ("d2", "Dogs", "A dog barked at the cat."),
    ("d3", "", "The stock market fell sharply."),
    ("d4", "Space", "The rocket reached orbit around the moon."),
    ("d5", "Cooking", "Simmer the tomato sauce for an hour."),
]

Write = Callable[..., Path]


class Ended(NamedTuple):
    """How a program ended, and what it printed."""

    status: int
    output: str
    errors: str


def run(*command: str, interrupt_at: str = "", **environment: str) -> Ended:
    """Run a program to its end; Ctrl-C is sent when it prints the line `interrupt_at`."""

    async def wait() -> Ended:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environment,
        )
        assert process.stdout is not None
        if interrupt_at:
            assert (await process.stdout.readline()).decode().strip() == interrupt_at
            process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        return Ended(process.returncode or 0, output.decode(), errors.decode())

    return asyncio.run(wait())


def run_python(code: str, interrupt_at: str = "", **environment: str) -> Ended:
    """Run code in a Python of its own."""
    return run(sys.executable, "-c", code, interrupt_at=interrupt_at, **environment)


@pytest.fixture
def corpus(tmp_path: Path) -> Write:
    """Writes lines (objects as JSON, strings as they are) to a file and returns its path."""

    def write(*lines: object, name: str = "corpus.jsonl") -> Path:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return file

    return write


def beir(docid: str, title: str, text: str) -> dict[str, str]:
    """A BEIR record."""
    return {"_id": docid, "title": title, "text": text}


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of five passages with both parts."""
    folder = tmp_path_factory.mktemp("five")
    file = folder / "corpus.jsonl"
    file.write_text("\n".join(json.dumps(beir(*record)) for record in FIVE))
    with build_index(file, "five", root=folder / "indexes", parts=("bm25", "dense")) as index:
        yield index
