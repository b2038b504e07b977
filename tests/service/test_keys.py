"""API keys: made, written down, and asked for at the door."""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ragnarok.cli.app import app
from ragnarok.errors import BadSetting
from ragnarok.keys import KeyLine, digest_of, make_key, read_line, read_lines
from service.app import create_app
from service.keys import Keys
from service.settings import Settings
from tests.service.conftest import Serve
from tests.service.fakes import a_pipeline

QUESTION = {"query": "who built the tower?"}


def test_a_key_is_new_each_time_and_its_line_does_not_tell_it() -> None:
    (first, line), (second, _) = make_key("team-a"), make_key("team-a")
    assert first != second
    assert first not in str(line)
    assert read_line(str(line)) == KeyLine("team-a", digest_of(first))
    keys = Keys([line])
    assert keys.find(first) == line
    for wrong in (second, first[:-1], "", str(line), line.digest):
        assert keys.find(wrong) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rag_secret", "lacks its hash"),
        ("a b:" + "0" * 64, "letters, digits"),
        ("a:" + "0" * 63, "lacks its hash"),
        ("a:" + "0" * 64 + "\na:" + "1" * 64, "twice"),
        ("a:" + "0" * 64 + ":0", "the limit of the API key 'a' is no number"),
        ("a:" + "0" * 64 + ":many", "write a:HASH:60"),
        ("a:" + "0" * 64 + ":", "no number of requests a minute"),
        ("a:" + "0" * 64 + ":60:60", "no number of requests a minute"),
    ],
)
def test_lines_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        read_lines(text)
    assert read_lines("\n# nobody\n") == []


def test_a_key_may_have_a_limit_of_its_own() -> None:
    key, line = make_key("team-a", 600)
    assert str(line) == f"team-a:{digest_of(key)}:600"
    assert read_lines(f"{line}\n") == [KeyLine("team-a", digest_of(key), 600)]
    said = CliRunner().invoke(app, ["keys", "team-a", "--rate-limit", "600", "--json"])
    assert read_line(json.loads(said.stdout)["line"]).rate == 600
    for wrong in ("0", "1000000", "many"):
        assert CliRunner().invoke(app, ["keys", "team-a", "--rate-limit", wrong]).exit_code == 2


def test_the_command_prints_a_key_and_its_line() -> None:
    said = CliRunner().invoke(app, ["keys", "team-a", "--json"])
    made = json.loads(said.stdout)
    assert read_line(made["line"]) == KeyLine("team-a", digest_of(made["key"]))
    shown = CliRunner().invoke(app, ["keys", "team-a"]).stdout.splitlines()
    assert read_line(shown[1].removeprefix("line: ")).digest == digest_of(shown[0].removeprefix("key:  "))


def test_the_door_asks_for_a_key(serve: Serve, tmp_path: Path) -> None:
    key, line = make_key("team-a")
    # As an editor on Windows writes it.
    (tmp_path / "keys").write_bytes(f"\ufeff{line}\r\n\r\n# ours\r\n".encode())
    address = serve(a_pipeline(), Settings(api_keys=tmp_path / "keys"))
    for sent in ({"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer {key}"}, {"X-API-Key": key}):
        assert httpx.post(f"{address}/v1/query", json=QUESTION, headers=sent, timeout=20).status_code == 200
    for sent in ({}, {"Authorization": f"Basic {key}"}, {"X-API-Key": "rag_wrong"}, {"X-API-Key": "\xff"}):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        answer = httpx.post(f"{address}/v1/query", json=QUESTION, headers=raw, timeout=20)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["x-request-id"]
        problem = answer.json()
        assert problem["type"] == "urn:ragnarok:problem:unauthorized"
        assert "wrong" not in problem["detail"]
    for path in ("/", "/healthz", "/readyz", "/metrics"):
        assert httpx.get(f"{address}{path}", timeout=20).status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("", "holds no API key"), ("rag_key", "lacks its hash")],
)
def test_a_list_that_cannot_be_stops_the_start(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "keys").write_text(content)
    with pytest.raises(BadSetting, match=message):
        create_app(Settings(api_keys=tmp_path / "keys"), a_pipeline())
