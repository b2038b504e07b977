"""`ragnarok heads train` on a tiny random model: a folder as published, made or gone on with."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from ragnarok.cli.heads.train import train
from ragnarok.errors import BadFormat
from rerank.errors import TrainingConflict
from rerank.importers import import_duo
from rerank.model import Model

app = typer.Typer()
app.command()(train)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A text to hide passkeys in."""
    path = tmp_path / "book.txt"
    path.write_text("The clocks were striking thirteen, and nobody minded. " * 30)
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)


def test_gates_are_trained_into_a_folder(book: Path, saved: Path, small: Model, tmp_path: Path) -> None:
    output = tmp_path / "gates"
    words = [book, "--model", saved, "--output", output, "--passkeys", 2, "--words", 2, "--longest", 90]
    words += ["--sinks", 2, "--recent", 6, "--save-every", 1]
    assert call(*words, "--steps", 2).exit_code == 0
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json",
        "full_attention_heads.tsv",
        "loss.svg",
        "training-2.safetensors",
        "training.json",
    ]
    profile = import_duo(output, small)
    assert profile.gates is not None
    assert all(0 < gate < 1 for row in profile.gates for gate in row)
    assert profile.provenance["gates.sink"] == 2
    # Once more, nothing is left to do; other settings are refused.
    again = call(*words, "--steps", 2, "--json")
    assert json.loads(again.stdout)["kv_heads"] == 8
    assert import_duo(output, small) == profile
    with pytest.raises(TrainingConflict, match="steps 2, now it is 3"):
        call(*words, "--steps", 3)


def test_heads_are_scored_without_training(book: Path, saved: Path, small: Model, tmp_path: Path) -> None:
    result = call(book, book, "--model", saved, "--output", tmp_path / "new", "--quick")
    assert result.exit_code == 0
    assert "of 8 KV heads have a gate above 0.5, written to" in " ".join(result.stdout.split())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "config.json",
        "full_attention_heads.tsv",
    ]
    gates = import_duo(tmp_path / "new", small).gates
    assert gates is not None
    assert [len(row) for row in gates] == [2] * 4


def test_what_is_no_text_is_refused(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "book.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFormat, match=r"book\.bin cannot be read as text"):
        call(tmp_path / "book.bin", "--model", saved, "--output", tmp_path / "new")
    assert not (tmp_path / "new").exists()
