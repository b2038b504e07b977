"""A start that fails says why in one line, and ends."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import uvicorn

from indexes import build_index
from ragnarok.errors import BadSetting
from ragnarok.pipeline import Result
from rerank.model import Model
from rerank.profile import write_profile
from rerank.store.disk import MIN_BYTES
from service import desk, server
from service.app import create_app
from service.desk import Desk
from service.local import Local
from service.parts import Parts
from service.schema import QueryRequest
from service.settings import Settings
from tests.rerank.test_late import profile_of
from tests.service.fakes import a_pipeline


def start(settings: Settings, caplog: pytest.LogCaptureFixture) -> str:
    """Run a real server that cannot start; return what it logged."""
    caplog.set_level("INFO")
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, ws="none"))
    with pytest.raises(SystemExit) as ended:
        server.run()
    assert ended.value.code
    return caplog.text


def test_an_index_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    logged = start(Settings(index="no-such-index"), caplog)
    assert "No such index: no index 'no-such-index'" in logged
    assert "Traceback" not in logged


def test_a_fault_of_ours_keeps_its_trace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(desk, "build_parts", broken)
    logged = start(Settings(), caplog)
    assert "Traceback" in logged
    assert "by hand" in logged


def test_a_policy_without_gates(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Path
) -> None:
    index_of(tmp_path, monkeypatch)
    logged = start(Settings(model=str(saved), generator="local", policy="duo"), caplog)
    assert "The head profile cannot be used: the policy duo needs a head profile with gates" in logged
    assert "Traceback" not in logged


def index_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index `demo` in a home of its own."""
    monkeypatch.setenv("RAGNAROK_HOME", str(home))
    (home / "corpus.jsonl").write_text('{"_id": "a", "text": "The tower is in Paris, by the river."}\n')
    build_index(home / "corpus.jsonl", "demo", parts=["bm25"]).close()


@pytest.mark.anyio
async def test_what_was_built_is_closed_and_what_was_given_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: Model, saved: Path
) -> None:
    index_of(tmp_path, monkeypatch)
    write_profile(profile_of(small), tmp_path / "heads.json")
    closed: list[Parts] = []
    real = Parts.close

    def close(parts: Parts) -> None:
        closed.append(parts)
        real(parts)

    monkeypatch.setattr(Parts, "close", close)
    settings = Settings(
        model=str(saved), profile=tmp_path / "heads.json", store=tmp_path / "states", store_bytes=MIN_BYTES
    )
    counter = Desk(settings)
    await counter.open()
    *_, last = [
        event async for event in counter.ask(counter.check(QueryRequest(query="where is the tower?")))
    ]
    assert isinstance(last, Result)
    assert (last.hits[0].docid, closed) == ("a", [])
    await counter.close()
    assert len(closed) == 1
    assert (tmp_path / "states").is_dir()
    counter = Desk(Settings(), a_pipeline())
    await counter.open()
    await counter.close()
    assert len(closed) == 1


STARTED = """
import os, sys, warnings
from service import server

load = server.load_settings

def loading():
    print([name for name in ("torch", "tqdm") if name in sys.modules], os.environ["OMP_WAIT_POLICY"])
    return load()

def make(settings):
    from tqdm import tqdm
    list(tqdm([1]))
    warnings.warn("something odd")
    sys.stdout.flush()
    os._exit(0)

server.load_settings = loading
server.run("127.0.0.1", 0, make)
"""


def test_what_libraries_read_when_they_are_loaded_is_there_by_then() -> None:
    environment = {**os.environ, "RAGNAROK_LOG_FORMAT": "json"}
    for name in server.BEFORE_LIBRARIES:
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", STARTED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["[]", "PASSIVE"]
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("something odd" in line["message"] for line in lines), lines


def test_the_models_library_speaks_as_the_log_does(saved: Path) -> None:
    assert Local(Settings(model=str(saved)), lambda _: None).model
    log = logging.getLogger("transformers")
    assert not any(type(handler) is logging.StreamHandler for handler in log.handlers)
    assert log.propagate


def test_settings_that_cannot_be_are_raised_to_who_starts_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGNAROK_DEPTH", "0")
    config = uvicorn.Config("service.app:create_app", factory=True, port=0, log_config=None, ws="none")
    with pytest.raises(BadSetting, match="RAGNAROK_DEPTH='0'"):
        uvicorn.Server(config).run()
