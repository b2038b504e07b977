"""`ragnarok bench` over a tiny random model: what it measures, and that it leaves no thread behind."""

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ragnarok.cli.bench.clock import FIRST, Clock
from ragnarok.trec import read_run
from rerank.model import Model
from rerank.profile import write_profile
from tests.ragnarok.conftest import Command
from tests.rerank.test_late import profile_of

TEXTS = {
    "a": "The tower is in Paris. It was built in 1889 for a fair.",
    "b": "Bananas are rich in potassium. They grow in warm places.",
    "c": "A parrot speaks of towers and of fruit all day long.",
}

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path, small: Model, saved: Path
) -> Call:
    """Runs `ragnarok bench …` in this process, in a folder with the judged set `set` and `heads.json`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGNAROK_MODEL", str(saved))
    monkeypatch.setenv("RAGNAROK_PROFILE", str(tmp_path / "heads.json"))
    write_profile(profile_of(small), tmp_path / "heads.json")
    folder = tmp_path / "set"
    folder.mkdir()
    lines = [json.dumps({"_id": docid, "text": text}) for docid, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "where is the tower?"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    (folder / "run.bm25.trec").write_text("1 Q0 b 1 3 t\n1 Q0 a 2 2 t\n1 Q0 c 3 1 t\n")
    return partial(command, "bench")


def batchers() -> set[threading.Thread]:
    """The threads that pass batches to late attention."""
    return {thread for thread in threading.enumerate() if thread.name == "late-batches"}


@pytest.mark.parametrize("mode", ["late", "read", "joint"])
def test_quality_measures_each_order_and_closes_what_it_opened(call: Call, mode: str) -> None:
    before = batchers()
    code, out, _ = call("quality", "set:bm25", "--mode", mode, "--measure", "P@1", "--runs", "runs", "--json")
    assert code == 0
    report = json.loads(out)
    (row,) = report["rows"]
    assert (row["set"], row["topics"], row["measure"]) == ("set:bm25", 1, "P@1")
    # The first stage puts what is not relevant first.
    assert row["first stage"] == "0.0000"
    for kind, measured in (("given", row["re-ranked"]), ("shuffled", row["shuffled"])):
        entries = read_run(Path(f"runs/set.bm25.{kind}.trec"), strict=True)["1"]
        assert {entry.docid for entry in entries} == TEXTS.keys()
        assert measured == f"{entries[0].docid == 'a':.4f}"
    assert (report["about"]["profile"] == "none") is (mode != "late")
    assert batchers() == before


def test_quality_closes_what_it_opened_when_it_fails(call: Call) -> None:
    before = batchers()
    Path("set/queries.jsonl").write_text(json.dumps({"_id": "1", "text": "where is it? " * 300}) + "\n")
    code, out, err = call("quality", "set:bm25")
    assert (code, out) == (3, "")
    assert "3,599 tokens" in err
    assert batchers() == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["set:bm25", "--measure", "nDGC@10"], "nDGC@10"),
        (["set:bm25", "set:nothing"], "run.nothing.trec"),
        (["set:bm25", "set:other"], "set:other ranks no judged topic"),
        (["set:bm25", "--runs", "set/qrels.tsv/runs"], "be made in"),
    ],
)
def test_quality_refuses_before_a_model_is_loaded(call: Call, words: list[str], named: str) -> None:
    Path("set/run.other.trec").write_text("2 Q0 b 1 3 t\n")
    code, out, err = call("quality", *words, "--model", "/no/model")
    assert (code, out) == (4, "")
    assert named in err


def test_a_clock_leaves_out_the_first_calls_and_what_comes_before() -> None:
    said: list[str] = []
    order: list[str] = []
    clock = Clock(3, lambda: order.append("wait"), said.append)
    median = clock.measure("a call", lambda: order.append("call"), before=lambda: order.append("before"))
    assert order == ["before", "wait", "call", "wait"] * (FIRST + 3)
    assert median >= 0
    assert said == [f"  a call: {median:.2f} ms"]
    (row,) = clock.rows
    assert (row["call"], row["median ms"]) == ("a call", f"{median:.2f}")


def test_speed_times_whole_calls_and_their_parts(call: Call) -> None:
    words = ["--passages", "4,7", "--tokens", "16", "--query-tokens", "4", "--repeats", "3"]
    code, out, err = call("speed", *words, "--concurrent", "2", "--json")
    assert code == 0, err
    assert [row["call"].partition(" (")[0] for row in json.loads(out)["rows"]] == [
        "late, cold, 100 × 16 tokens",
        "late, warm, 4 passages",
        "late, warm, 7 passages",
        "addresses of 100 passages",
        "query pass",
        "match of 100 passages",
        "reading 100 passages",
        "2 requests of 100, one at a time",
        "2 requests of 100, together",
        "joint, 100 passages, scoring heads",
    ]
