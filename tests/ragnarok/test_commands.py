"""The command line as a user meets it: help, results, errors and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import indexes.errors
import ragnarok.errors
import rerank.errors
from ragnarok.cli import app
from ragnarok.errors import OUTCOMES

PROGRAM = Path(sys.executable).parent / "ragnarok"
NAMES = [command.name for command in app.registered_commands]
CORPUS = (
    '{"_id": "a", "title": "Apples", "text": "Apples grow on trees."}\n'
    '{"_id": "b", "title": "Bread", "text": "Bread is baked. It is made of flour."}\n'
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an index named `food` in it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "corpus.jsonl").write_text(CORPUS)
    done = call(folder, "index", str(folder / "corpus.jsonl"), "--name", "food", "--no-dense", "--json")
    assert json.loads(done.stdout)["passages"] == 2
    return folder


def call(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RAGNAROK_HOME": str(home)}
    return subprocess.run([PROGRAM, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: ragnarok {name}" in " ".join(result.output.replace("│", " ").split())


def test_every_error_has_an_outcome() -> None:
    roots = [indexes.errors.IndexesError, rerank.errors.RerankError, ragnarok.errors.RagnarokError]
    assert {error for root in roots for error in root.__subclasses__()} == set(OUTCOMES)


def test_search_speaks_json(home: Path) -> None:
    found = json.loads(call(home, "search", "bread", "--index", "food", "--json").stdout)
    assert [hit["docid"] for hit in found["hits"]] == ["b"]
    assert found["hits"][0]["passage"]["title"] == "Bread"


def test_no_hit_is_no_error(home: Path) -> None:
    done = call(home, "search", "zebra 🦓 \x07 זברה", "--index", "food", "--json")
    assert (done.returncode, json.loads(done.stdout)["hits"]) == (0, [])


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["search", " ", "--index", "food"], 3, "empty"),
        (["search", "word " * 10_000, "--index", "food"], 3, "49999 characters"),
        (["search", "x", "--index", "nothing"], 4, "food"),
        (["search", "x", "--index", "food", "--method", "dense"], 3, "only bm25"),
        (["search"], 2, "give a query"),
        (["ask", "x", "--index", "food", "--model", "nothing"], 4, "smollm2-135m"),
        (["ask", "x", "--index", "food", "--heads", "a-b"], 3, "12-3"),
        (["eval", "nothing.trec", "nothing.qrels"], 4, "nothing.qrels"),
        (["serve", "--port", "0"], 2, "--port"),
    ],
)
def test_errors_are_one_clear_line(home: Path, words: list[str], code: int, named: str) -> None:
    done = call(home, *words)
    assert done.returncode == code
    assert named in done.stderr.replace(",", "")
    assert "Traceback" not in done.stderr
    if code != 2:
        assert len(done.stderr.strip().splitlines()) == 1


def test_errors_speak_json_too(home: Path) -> None:
    done = call(home, "search", "x", "--index", "nothing", "--json")
    problem = json.loads(done.stderr)
    assert (problem["error"], done.stdout) == ("IndexNotFound", "")


def test_a_broken_corpus_names_its_line_and_leaves_nothing(home: Path) -> None:
    bad = home / "bad.jsonl"
    bad.write_text(CORPUS + "{not json\n")
    done = call(home, "index", str(bad), "--name", "bad", "--no-dense")
    assert (done.returncode, "line 3" in done.stderr) == (3, True)
    assert [path.name for path in (home / "indexes").iterdir() if path.name.startswith("bad")] == []
