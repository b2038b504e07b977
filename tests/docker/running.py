"""Compose files, built and run for real, with a file of tests beside their services.

A Docker engine does it or, where there is none, a program that the environment names. Knows nothing of what
the services are.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
GPU = DOCKER / "compose.gpu.yaml"
ARENA = DOCKER / "compose.arena.yaml"
RUNNER = "RAGNAROK_CONTAINERS"
"""Environment variable: a program that builds and runs compose files where there is no Docker engine."""
UP_SECONDS = 1200
"""Seconds within which images must be built, services up, and the tests beside them over."""

QUICK_INDEX: dict[str, dict[str, object]] = {
    "demo-index": {
        "command": ["ragnarok", "index", "pydocs", "--name", "demo", "--format", "pydocs", "--no-dense"]
    }
}
"""What has the demo index built for BM25 alone, a fraction of the work."""


def on_top(file: Path, services: dict[str, dict[str, object]]) -> Path:
    """Write a compose file that changes what `services` say; the file."""
    file.write_text(yaml.safe_dump({"services": services}))
    return file


def check_beside(files: Sequence[Path], live: str, *, seconds: int = UP_SECONDS, **variables: str) -> None:
    """Run the tests of `live`, a file of this folder, beside the services of `files`, merged in order.

    `variables` are set for both, `seconds` is how long it may all take. Skips where no container can run.
    """
    environment = {"CONTAINERS_TIMEOUT": str(seconds // 2), **os.environ, **variables}
    tests = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/docker/{live}"]
    with _up(files, environment, seconds) as (around, engine):
        done = subprocess.run(
            [*around, *tests],
            cwd=ROOT,
            env={**environment, "RAGNAROK_ENGINE": engine},
            timeout=seconds,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


@contextmanager
def _up(files: Sequence[Path], environment: dict[str, str], seconds: int) -> Iterator[tuple[list[str], str]]:
    """What goes before a command that meets the services, and the engine; skips where none can run."""
    if runner := environment.get(RUNNER):
        yield [runner, "test", *map(str, files), "--"], "podman"
        return
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        pytest.skip(f"no Docker engine answers here, and {RUNNER} names no program that runs compose files")
    compose = [docker, "compose", *(word for file in files for word in ("--file", str(file)))]
    try:
        up = [*compose, "up", "--build", "--detach"]
        subprocess.run(up, env=environment, timeout=seconds, check=True)
        yield [], "docker"
    finally:
        subprocess.run([*compose, "down", "--volumes"], env=environment, timeout=120, check=True)
