"""`ragnarok heads fit` on a judged set and a tiny random model: the profile, and what is refused."""

import json
from pathlib import Path

import pytest

from rerank.model import Model
from rerank.profile import HeadProfile, JointHead, ModelIdentity, read_profile, write_profile
from tests.ragnarok.conftest import Command
from tests.rerank.test_fit import lists

SIZE = ["--groups", "2", "--depth", "2", "--passage-tokens", "40", "--position", "64", "--distance", "9"]


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Path) -> Path:
    """The set `set` of ten topics in the working folder; its run has what is relevant last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGNAROK_MODEL", str(saved))
    texts, queries, qrels, run = [], [], ["query-id\tcorpus-id\tscore"], []
    for topic, made in enumerate(lists(10)):
        queries.append(json.dumps({"_id": f"{topic}", "text": made.query}))
        qrels.append(f"{topic}\t{topic}-4\t1")
        for place, text in enumerate(made.texts):
            texts.append(json.dumps({"_id": f"{topic}-{place}", "text": text}))
            run.append(f"{topic} Q0 {topic}-{place} {place + 1} {9 - place} t")
    parts = {"corpus.jsonl": texts, "queries.jsonl": queries, "qrels.tsv": qrels, "run.bm25.trec": run}
    (tmp_path / "set").mkdir()
    for name, rows in parts.items():
        (tmp_path / "set" / name).write_text("\n".join(rows) + "\n")
    return tmp_path


def test_weights_are_fitted_into_a_profile(judged: Path, command: Command, small: Model) -> None:
    base = HeadProfile(ModelIdentity.of(small), joint=(JointHead(1, 2),))
    write_profile(base, judged / "base.json")
    words = ["heads", "fit", "--on", "set:bm25,weight=3", *SIZE, "--into", "base.json", "-o", "new.json"]
    code, out, err = command(*words, "--json")
    assert (code, err) == (0, "")
    said, profile = json.loads(out), read_profile(judged / "new.json")
    assert (said["digest"], said["report"]["lists"], said["report"]["passages"]) == (profile.digest, 10, 50)
    # What is relevant stands fifth: 1 / log2(6).
    assert said["first stage"] == {"set:bm25": 0.3869}
    assert len(profile.groups) == 2
    assert profile.depth <= 2
    assert (profile.passage_tokens, profile.position, profile.distance) == (40, 64, 9)
    assert profile.joint == base.joint
    assert profile.provenance["signals.on"] == "set:bm25,weight=3"
    assert profile.provenance["signals.lists"] == 10


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ([], 2, "there is nothing to fit on"),
        (["--on", "set:bm25,deep=3"], 3, "is no option"),
        (["--on", "set:none"], 4, "run.none"),
    ],
)
def test_what_cannot_be_fitted_on_is_refused(
    judged: Path, command: Command, words: list[str], code: int, named: str
) -> None:
    ended, out, err = command("heads", "fit", *words, "-o", "new.json")
    assert (ended, out) == (code, "")
    assert named in " ".join(err.replace("│", " ").split())
    assert not (judged / "new.json").exists()
