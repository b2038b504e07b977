"""A start that fails says why in one line, and ends."""

import pytest
import uvicorn

from ragnarok.errors import BadSetting
from service import desk
from service.app import create_app
from service.settings import Settings


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

    monkeypatch.setattr(desk, "build_pipeline", broken)
    logged = start(Settings(), caplog)
    assert "Traceback" in logged
    assert "by hand" in logged


def test_settings_that_cannot_be_are_raised_to_who_starts_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGNAROK_DEPTH", "0")
    config = uvicorn.Config("service.app:create_app", factory=True, port=0, log_config=None, ws="none")
    with pytest.raises(BadSetting, match="RAGNAROK_DEPTH='0'"):
        uvicorn.Server(config).run()
