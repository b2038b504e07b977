"""Commands over a tiny random model: whole runs, resumed and interrupted ones, and what they refuse."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ragnarok.cli import main
from ragnarok.cli.options import read_heads
from ragnarok.trec import check_record, read_run, read_topics
from rerank.errors import BadHeads

PROGRAM = Path(sys.executable).parent / "ragnarok"
FOLDER = {
    "towers.md": "# Towers\n\n## In Paris\n\nThe tower is in Paris. It was built in 1889 for a fair.\n",
    "fruit.txt": "Bananas are rich in potassium. They grow in warm places.",
    "signs.md": "# שלום 🦜\n\nA parrot speaks of towers and of fruit all day long.\n",
}
TOPICS = "1\twhere is the tower?\n2\tzebra zzz\n3\twhat are bananas rich in?\n"


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What standard error says, but for the steps that ended well."""
        return [line for line in self.err.splitlines() if not line.startswith("✓ ")]


Call = Callable[..., Ended]


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs the command line in this process: torch is imported once."""
    monkeypatch.setenv("RAGNAROK_HOME", str(home))

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ragnarok", *map(str, words)])
        capfd.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an index `signs` of a folder of text, made by the command as a user runs it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "text").mkdir()
    for name, text in FOLDER.items():
        (folder / "text" / name).write_text(text)
    words: list[str | Path] = [PROGRAM, "index", folder / "text", "--name", "signs", "--no-dense"]
    done = subprocess.run(
        words, env=os.environ | {"RAGNAROK_HOME": str(folder)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("3 passages in ")
    assert "ragnarok ask" in done.stderr
    return folder


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    file = tmp_path / "topics.tsv"
    file.write_text(TOPICS)
    return file


def one_line(ended: Ended, code: int, *named: str) -> None:
    """The command failed with one line on standard error, which has all of `named`."""
    assert (ended.code, ended.out) == (code, ""), ended
    (line,) = ended.lines
    assert all(name in line for name in named), line


def test_indexes_are_listed(call: Call) -> None:
    assert json.loads(call("index", "--json").out) == [{"name": "signs", "passages": 3, "parts": ["bm25"]}]
    assert call("index").out == "signs  3 passages  bm25\n"


def test_an_index_is_replaced_only_on_request(call: Call, home: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "notes.v1.jsonl"
    corpus.write_text('{"_id": "a", "text": "One."}\n')
    made = call("index", corpus, "--no-dense", "--json")
    assert json.loads(made.out) == {"name": "notes", "folder": str(home / "indexes" / "notes"), "passages": 1}
    one_line(call("index", corpus, "--no-dense"), 3, "'notes' exists", "--replace")
    assert call("index", corpus, "--no-dense", "--replace").code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--name", "a/b"], "cannot be an index's name"),
        (["--no-bm25", "--no-dense"], "one at least"),
    ],
)
def test_what_no_index_can_be_is_wrong_usage(call: Call, home: Path, words: list[str], named: str) -> None:
    ended = call("index", home / "text", *words)
    assert ended.code == 2
    assert named in " ".join(ended.err.replace("│", " ").split())
    assert not list((home / "indexes").glob("*building*"))


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["index", "/no/such/place"], 3, "/no/such/place"),
        (["index", "TEXT", "--format", "nothing"], 3, "'nothing'"),
        (["index", "TEXT", "--name", "new", "--encoder", "nothing"], 4, "'nothing'"),
        (["run", "/no/topics", "-o", "new"], 4, "/no/topics"),
        (["run", "TOPICS", "-o", "new", "--index", "nothing"], 4, "signs"),
        (["run", "TOPICS", "-o", "new", "--heads", "x"], 3, "12-3"),
        (
            ["run", "TOPICS", "-o", "TOPICS/new", "--index", "signs", "--model", "SAVED"],
            4,
            "cannot be written",
        ),
        (["run", "TOPICS", "-o", "x" * 256, "--model", "/no/model"], 4, "256 bytes"),
        (["search", "--topics", "TOPICS", "-o", "x" * 256, "--index", "signs"], 4, "256 bytes"),
        (
            ["run", "TOPICS", "-o", "new", "--index", "signs", "--model", "SAVED", "--tag", "a b"],
            3,
            "white space",
        ),
        (["rerank", "/no/run", "-t", "TOPICS", "--index", "signs", "-o", "new"], 4, "/no/run"),
        (["rerank", "/no/run", "-t", "TOPICS", "--index", "signs", "-o", "TOPICS/new"], 4, "be made in"),
        (["search", "--topics", "TOPICS", "-o", "TOPICS/new", "--index", "signs"], 4, "be made in"),
        (["ask", "\u200b", "--index", "signs", "--model", "SAVED"], 3, "empty"),
        (["ask", "why?", "--index", "signs", "--model", "SAVED", "--heads", "4-0"], 3, "from 0 to 3"),
        (["ask", "why?", "--index", "signs", "--model", "TEXT"], 4, "config.json"),
        (["eval", "TOPICS", "TOPICS"], 3, "line 1"),
        (["search", "--topics", "TOPICS", "-o", "new", "--index", "signs", "--tag", ""], 3, "tag"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    call: Call,
    home: Path,
    topics: Path,
    saved: Path,
    words: list[str],
    code: int,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(topics.parent)
    places = {"TEXT": home / "text", "TOPICS": topics, "SAVED": saved}
    put = [str(places.get(word, word)).replace("TOPICS", str(topics)) for word in words]
    before = sorted(topics.parent.iterdir()), sorted((home / "indexes").iterdir())
    one_line(call(*put), code, named)
    assert (sorted(topics.parent.iterdir()), sorted((home / "indexes").iterdir())) == before
    problem = json.loads(call(*put, "--json").lines[-1])
    assert named in problem["detail"]
    assert set(problem) == {"error", "title", "detail"}


@pytest.mark.parametrize(
    "words",
    [
        ["search"],
        ["search", "x", "--hits", "0"],
        ["search", "x", "--topics", "TOPICS", "-o", "new"],
        ["search", "x", "-o", "new"],
        ["ask"],
        ["ask", "x", "--generator", "oracle"],
        ["run", "TOPICS"],
        ["run", "TOPICS", "-o", "new", "--year", "1999"],
        ["rerank", "RUN", "-t", "TOPICS", "-o", "new"],
        ["nothing"],
    ],
)
def test_wrong_usage_exits_with_2(call: Call, words: list[str]) -> None:
    ended = call(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: ragnarok" in ended.err


def test_search_shows_hits(call: Call) -> None:
    shown = call("search", "towers", "--index", "signs")
    assert shown.code == 0
    assert "The tower is in Paris." in shown.out
    assert "signs.md#1" in shown.out
    assert call("search", "zebra", "--index", "signs") == (0, "", "no passage matches\n")


def test_a_topic_set_is_searched_into_a_run(call: Call, topics: Path, tmp_path: Path) -> None:
    file = tmp_path / "out[1]" / "run.trec"
    ended = call("search", "-t", topics, "-o", file, "--index", "signs", "--tag", "bm25")
    assert (ended.code, ended.out) == (0, f"{file}\n")
    assert set(read_run(file, strict=True)) == {"1", "3"}
    ended = call("search", "-t", topics, "-o", file, "--index", "signs", "--json")
    assert json.loads(ended.out) == {"topics": 3, "output": str(file)}


def test_a_topic_that_cannot_be_searched_is_named(call: Call, topics: Path, tmp_path: Path) -> None:
    topics.write_text("7\twhere?\n8\t\u200b\n")
    one_line(
        call("search", "-t", topics, "-o", tmp_path / "new", "--index", "signs"), 3, "topic '8'", "empty"
    )


def test_ask_answers_with_references(call: Call, saved: Path) -> None:
    result = json.loads(
        call("ask", "where is the tower?", "--index", "signs", "--model", saved, "--json").out
    )
    docids = [hit["docid"] for hit in result["hits"]]
    assert set(result["answer"]["references"]) <= set(docids)
    assert result["answer"]["sentences"]
    assert [hit["rank"] for hit in result["hits"]] == list(range(1, len(docids) + 1))
    assert set(result["timings"]) == {"retrieve", "rerank", "answer"}


def test_ask_writes_and_shows_evidence(call: Call, saved: Path) -> None:
    words = ["--index", "signs", "--model", saved, "--generator", "local", "--max-tokens", "12"]
    shown = call("ask", "where is the tower?", *words)
    assert shown.code == 0
    assert "note: the answer was stopped at its limit of 12 tokens" in shown.out
    assert "answered" in shown.err


def test_ask_without_a_hit_is_no_error(call: Call, saved: Path) -> None:
    ended = call("ask", "zebra zzz", "--index", "signs", "--model", saved, "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["answer"]["notes"] == ["no passage was found, so nothing can be answered"]


def test_a_run_writes_both_files_and_goes_on(call: Call, topics: Path, saved: Path, tmp_path: Path) -> None:
    words = [
        "run",
        topics,
        "-o",
        tmp_path / "run",
        "--index",
        "signs",
        "--model",
        saved,
        "--tag",
        "t",
        "--json",
    ]
    first = call(*words, "--depth", 3)
    assert json.loads(first.out)["topics"] == 3
    run, answers = map(Path, json.loads(first.out)["files"])
    assert set(read_run(run, strict=True)) == {"1", "3"}
    records = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [check_record(record, 2025, read_topics(topics)) for record in records] == [[], [], []]
    before = run.read_bytes(), answers.read_bytes()
    assert call(*words, "--depth", 3).code == 0
    assert (run.read_bytes(), answers.read_bytes()) == before
    problem = json.loads(call(*words, "--depth", 2).lines[-1])
    assert problem["error"] == "RunConflict"
    assert "(depth: 3, now 2)" in problem["detail"]


def test_a_run_over_another_index_of_the_name_is_refused(
    call: Call, home: Path, topics: Path, saved: Path, tmp_path: Path
) -> None:
    made = ["index", home / "text", "--name", "again", "--no-dense"]
    words = ["run", topics, "-o", tmp_path / "run", "--index", "again", "--model", saved, "--no-answers"]
    assert call(*made).code == 0
    deep = call(*words, "--depth", 101)
    assert deep.code == 0
    assert "TREC RAG 2025 takes runs of 100 hits a topic; this one may have up to 101" in deep.err
    assert call(*made, "--replace").code == 0
    ended = call(*words, "--depth", 101)
    assert ended.code == 3
    assert "other settings (index created: '2" in ended.err


@pytest.fixture
def first_stage(tmp_path: Path) -> Path:
    """A run of the index's passages whose ranks begin at 0, as some tools write them."""
    file = tmp_path / "run.trec"
    docids = ["fruit.txt#1", "signs.md#1", "towers.md#1"]
    lines = [f"{qid} Q0 {d} {rank} {9 - rank} old" for qid in "13" for rank, d in enumerate(docids)]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_rerank_keeps_the_passages_and_says_how_long_it_took(
    call: Call, topics: Path, saved: Path, first_stage: Path, tmp_path: Path
) -> None:
    words = ["rerank", first_stage, "-t", topics, "--index", "signs", "--model", saved, "--json"]
    report = json.loads(call(*words, "-o", tmp_path / "new.trec", "--tag", "new").out)
    assert (report["topics"], report["passages"], report["passages_cut"]) == (2, 6, 0)
    old, new = read_run(first_stage), read_run(tmp_path / "new.trec", strict=True)
    for qid in ("1", "3"):
        assert {entry.docid for entry in new[qid]} == {entry.docid for entry in old[qid]}
        assert {entry.tag for entry in new[qid]} == {"new"}
    # A weight this large leaves the first stage's order, however the list is shuffled for reading.
    heavy = ["--first-stage", "1e6", "--shuffle", "5", "--depth", "2", "-o", tmp_path / "heavy.trec"]
    assert call(*words, *heavy).code == 0
    kept = read_run(tmp_path / "heavy.trec", strict=True)
    assert [entry.docid for entry in kept["1"]] == ["fruit.txt#1", "signs.md#1"]


def test_rerank_reads_a_corpus_and_names_what_it_lacks(
    call: Call, home: Path, topics: Path, saved: Path, first_stage: Path, tmp_path: Path
) -> None:
    words = ["rerank", first_stage, "--model", saved, "-o", tmp_path / "new.trec"]
    done = call(*words, "-t", topics, "--corpus", home / "text")
    assert done.code == 0
    assert done.out.startswith("2 topics, median ")
    (tmp_path / "new.trec").unlink()
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "fruit.txt").write_text(FOLDER["fruit.txt"])
    failed = call(*words, "-t", topics, "--corpus", tmp_path / "small")
    assert failed.code == 4
    assert "has no passage 'signs.md#1', which the run ranks (2 such)" in failed.err
    topics.write_text("1\twhere?\n")
    one_line(call(*words, "-t", topics, "--corpus", home / "text"), 4, "has no topic '3'")
    first_stage.write_text("1 Q0 gone 1 2 old\n1 Q0 gone-too 2 1 old\n")
    one_line(
        call(*words, "-t", topics, "--index", "signs"), 4, "index signs has no passage 'gone'", "(2 such)"
    )
    assert not (tmp_path / "new.trec").exists()


def test_validate_says_all_that_is_wrong(call: Call, tmp_path: Path) -> None:
    run, topics = tmp_path / "run[1]", tmp_path / "topics.tsv"
    docid = "msmarco_v2.1_doc_29_1#3_1637632"
    run.write_text(f"1 Q0 {docid} 1 2 tag\n")
    topics.write_text("1\twhere?\n2\twhen?\n")
    assert call("validate", run).out == f"{run}: nothing is wrong\n"
    failed = call("validate", run, "--topics", topics, "--year", "2024")
    assert (failed.code, failed.out) == (3, f"{run}: topic '2' is missing\n")
    assert f"TREC RAG 2024 would refuse {run}: 1 problem; mend" in failed.err
    run.write_text("".join(f"1 Q0 d{n} {n} {99 - n} tag\n" for n in range(1, 41)))
    failed = call("validate", run, "--json")
    assert [len(one["problems"]) for one in json.loads(failed.out)["files"]] == [40]
    assert json.loads(failed.err)["error"] == "BadFormat"
    shown = call("validate", run).out.splitlines()
    assert (len(shown), shown[-1]) == (26, f"{run}: and 15 more")
    one_line(call("validate", tmp_path / "none"), 4, "there is no such file")
    assert call("validate", run, "--year", "2023").code == 2


def test_eval_by_hand(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("".join(f"1 Q0 {d} {n} {9 - n} x\n" for n, d in enumerate("abcde", 1)))
    (tmp_path / "base").write_text("".join(f"1 Q0 {d} {n} {9 - n} y\n" for n, d in enumerate("edcba", 1)))
    (tmp_path / "qrels[1]").write_text("1 0 a 1\n1 0 c 1\n2 0 a 1\n")
    words = ["eval", tmp_path / "run", tmp_path / "qrels[1]", "-m", "P@2", "-m", "RR@10"]
    result = json.loads(call(*words, "--json").out)
    assert result["topics"] == {"1": {"P@2": 0.5, "RR@10": 1.0}, "2": {"P@2": 0.0, "RR@10": 0.0}}
    assert result["mean"] == {"P@2": 0.25, "RR@10": 0.5}
    assert result["missing"] == ["2"]
    shown = call(*words, "--baseline", tmp_path / "base", "--topics")
    assert "+0.2500 P@2 (1 topics better, 0 worse, 1 equal, p = 1.000)" in " ".join(shown.out.split())
    assert "1 judged topics are missing" in shown.err
    one_line(call(*words, "-m", "nDGC@10"), 4, "nDGC@10", "nDCG@10")


def test_doctor_looks_at_everything(call: Call) -> None:
    ended = call("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(ended.out)}
    assert {"Python", "torch", "Java", "model smollm2-135m", "disk", "indexes"} <= findings.keys()
    assert "signs" in findings["indexes"]["found"]
    well = all(finding["ok"] for finding in findings.values())
    assert ended.code == (0 if well else 5)
    assert all(finding["ok"] or finding["remedy"] for finding in findings.values())
    shown = call("doctor")
    assert shown.code == ended.code
    text = "".join(shown.out.split())
    assert all("".join(f"{name}:{finding['found']}".split()) in text for name, finding in findings.items())


def test_serve_refuses_a_port_in_use(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one_line(call("serve", "--port", port), 3, f"127.0.0.1:{port}", "in use", "--port")


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        (None, None),
        ("12-3", ((12, 3),)),
        ("12-3, 14-0 \n 0-1,", ((12, 3), (14, 0), (0, 1))),
        # Longer than any file's name may be.
        (",".join(["12-3"] * 100), ((12, 3),) * 100),
    ],
)
def test_heads_are_pairs(text: str | None, heads: tuple[tuple[int, int], ...] | None) -> None:
    assert read_heads(text) == heads


def test_heads_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "heads").write_text("1-2\n3-4\n")
    assert read_heads(str(tmp_path / "heads")) == ((1, 2), (3, 4))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").touch()
    for text in ("", " ", ",", "1", "1-2-3", "-1-2", "1-2,x", "a" * 5000, "a\0b", "9" * 5000 + "-1"):
        with pytest.raises(BadHeads, match="12-3,14-0"):
            read_heads(text)
    for file in ("binary", "empty", "", "nothing"):
        with pytest.raises(BadHeads, match="12-3,14-0"):
            read_heads(str(tmp_path / file))


def test_a_reader_that_leaves_is_no_disaster(home: Path) -> None:
    words: list[str | Path] = [PROGRAM, "search", "towers", "--index", "signs", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            words,
            stdout=pipe,
            stderr=subprocess.PIPE,
            env=os.environ | {"RAGNAROK_HOME": str(home)},
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_libraries_that_come_later_keep_to_errors() -> None:
    """Transformers sets its level when it is imported, which is after the command line has begun."""
    program = """
import sys
from ragnarok.cli import main
sys.argv = ["ragnarok", "--help"]
try:
    main()
except SystemExit:
    from transformers.utils import logging
    sys.stderr.write(str(logging.get_verbosity() == logging.ERROR))
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRANSFORMERS_VERBOSITY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == "True"


def test_ctrl_c_ends_a_run_that_goes_on_later(call: Call, home: Path, saved: Path, tmp_path: Path) -> None:
    topics = tmp_path / "many.tsv"
    topics.write_text("".join(f"{n}\twhere is the tower {n}?\n" for n in range(400)))
    folder = tmp_path / "run"
    words = ["run", topics, "-o", folder, "--index", "signs", "--model", saved, "--depth", 2, "--no-answers"]
    environment = os.environ | {"RAGNAROK_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([PROGRAM, *map(str, words)], env=environment, stderr=subprocess.PIPE) as process:
        journal = folder / "progress.jsonl"
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert [path.name for path in folder.iterdir()] == ["progress.jsonl"]
    done = journal.read_bytes()
    topics.write_text("".join(topics.read_text().splitlines(keepends=True)[:8]))
    assert call(*words).code == 0
    assert journal.read_bytes().startswith(done[: done.rindex(b"\n") + 1])
    assert len(read_run(folder / "run.ragnarok.trec", strict=True)) == 8
