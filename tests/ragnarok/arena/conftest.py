"""The databases that an arena can have: a new SQLite file, and a PostgreSQL server of the tests' own."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ragnarok.arena.database import read_url
from ragnarok.arena.store import ArenaStore

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/bin", "/usr/bin")


def _program(name: str) -> str | None:
    found = [path for place in PLACES for path in sorted(Path("/").glob(f"{place[1:]}/{name}"))]
    return str(found[0]) if found else shutil.which(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server, reached through a socket in its folder."""
    initdb, control = _program("initdb"), _program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("no PostgreSQL here: sh tests/setup-system.sh installs it on Debian")
    # It refuses to run as root, and others may not enter pytest's own folder.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    if user:
        shutil.chown(folder, user)

    def run(*words: str) -> None:
        done = subprocess.run(
            words, user=user, cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr + done.stdout

    data = str(folder / "data")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c shared_buffers=16MB"
    run(initdb, "-D", data, "-U", "arena", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    run(control, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://arena@/postgres?host={folder}"
    finally:
        run(control, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'arena.db'}"
    address: str = request.getfixturevalue("postgres")
    # A schema of its own does for a database, and is made in no time.
    name = f"arena_{uuid.uuid4().hex[:8]}"
    engine = create_engine(read_url(address))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{address}&options=-csearch_path%3D{name}"


@pytest.fixture
def store(url: str) -> Iterator[ArenaStore]:
    """An empty store."""
    made = ArenaStore(url)
    yield made
    made.close()
