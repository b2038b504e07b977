"""`ragnarok warm` over a tiny random model, and the stores that it fills."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from indexes import build_index
from ragnarok.documents import open_store
from rerank.errors import NumericalError, StoreUnusable
from rerank.late.documents import DocumentReader, Encoded, Text
from rerank.late.reranker import LateOptions, LateReranker
from rerank.model import Model, load_model
from rerank.profile import write_profile
from rerank.store.disk import MIN_BYTES, DiskTier
from rerank.store.redis import RedisTier
from rerank.store.tiers import TieredStore
from tests.ragnarok.conftest import Command
from tests.rerank.test_late import profile_of

TEXTS = {
    "a": "The tower is in Paris. It was built in 1889 for a fair.",
    "b": "Bananas are rich in potassium. They grow in warm places.",
    "c": "A parrot speaks of towers and of fruit all day long.",
}
NOWHERE = "redis://127.0.0.1:1/0"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Model) -> Path:
    """An empty home with a corpus, an index `demo` of it, a run, topics and a profile; the working folder."""
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"_id": docid, "text": text}) for docid, text in TEXTS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "run.trec").write_text(
        "1 Q0 a 1 3 t\n1 Q0 b 2 2 t\n1 Q0 c 3 1 t\n2 Q0 b 1 2 t\n2 Q0 a 2 1 t\n"
    )
    (tmp_path / "topics.tsv").write_text("1\twhere is the tower?\n2\tbananas or parrot\n3\ttower in Paris\n")
    write_profile(profile_of(small), tmp_path / "heads.json")
    build_index(tmp_path / "corpus.jsonl", "demo", parts=["bm25"]).close()
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, command: Command, folder: Path, saved: Path) -> Call:
    """Runs `ragnarok warm …` in this process with the tiny model: code, output, and what is not progress."""
    monkeypatch.setenv("RAGNAROK_MODEL", str(saved))
    monkeypatch.setenv("RAGNAROK_PROFILE", str(folder / "heads.json"))

    return partial(command, "warm")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--corpus", "corpus.jsonl"], 3),
        (["--index", "demo"], 3),
        (["--run", "run.trec", "--corpus", "corpus.jsonl"], 3),
        (["--run", "run.trec", "--index", "demo", "--depth", "1"], 2),
        (["--topics", "topics.tsv", "--index", "demo"], 3),
        (["--topics", "topics.tsv", "--index", "demo", "--depth", "1", "--method", "bm25"], 2),
    ],
)
def test_what_was_warmed_need_not_be_read(
    call: Call, folder: Path, saved: Path, words: list[str], count: int
) -> None:
    code, out, err = call(*words, "--store", "states", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["documents"], report["new"], report["evictions"], report["errors"]) == (count, count, 0, 0)
    assert report["tokens"] > 5 * count
    assert report["tokens_per_second"] > 0
    assert report["bytes"] > 0
    code, out, _ = call(*words, "--store", "states", "--json")
    again = json.loads(out)
    assert (again["documents"], again["new"], again["tokens"]) == (count, 0, 0)
    # As a service would find it.
    model = load_model(str(saved))
    store = DiskTier(folder / "states", MIN_BYTES)
    late = LateReranker(model, profile_of(model), LateOptions(memory=1 << 22, store=store))
    assert late.read("tower", list(TEXTS.values())).kept == count
    store.close()


@pytest.mark.parametrize("int8", [[], ["--int8"]], ids=["exact", "int8"])
@pytest.mark.parametrize(
    "words",
    [
        ["rerank", "run.trec", "-t", "topics.tsv", "--index", "demo", "-o", "new.trec"],
        ["ask", "tower", "--index", "demo", "--memory-bytes", "4194304", "--host-memory-bytes", "65536"],
        ["run", "topics.tsv", "--index", "demo", "-o", "out", "--no-answers", "--store-bytes", "9000000"],
    ],
    ids=lambda words: words[0],
)
def test_what_was_warmed_is_what_commands_read(
    call: Call,
    command: Command,
    words: list[str],
    int8: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert call("--index", "demo", "--store", "states", *int8)[0] == 0
    assert call("--index", "demo", "--redis", NOWHERE, *int8)[0] == 0
    other = ["--int8"] if not int8 else []

    def unread(_reader: DocumentReader, texts: Sequence[Text], _null: object) -> Iterator[Encoded]:
        if texts:
            raise NumericalError("a document was read again")
        return iter(())

    monkeypatch.setattr(DocumentReader, "read", unread)
    code, _, err = command(*words, *int8, "--store", "states", "--redis", NOWHERE)
    assert (code, err if words[0] != "ask" else "") == (0, "")
    shutil.rmtree("out", ignore_errors=True)
    code, _, err = command(*words, *other, "--store", "states")
    assert (code, "read again" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--mode", "joint", "--store", "states"], 3, "this is not late mode"),
        (["--redis", "http://host"], 5, "redis://HOST"),
        (["--memory-bytes", "8"], 5, "bytes of memory for documents"),
        (["--policy", "dou"], 3, "full, streaming, duo"),
        (["--policy", "duo"], 3, "quotes"),
        (["--policy", "duo", "--generator", "local"], 3, "has no gates"),
        (["--sparsity", "2"], 2, "--sparsity"),
    ],
)
def test_what_asking_refuses(command: Command, call: Call, words: list[str], code: int, named: str) -> None:
    assert callable(call)
    got, _, err = command("ask", "tower", "--index", "demo", *words)
    assert got == code
    assert named in " ".join(err.replace("│", " ").split())


def test_a_run_may_go_on_with_another_store_but_not_with_other_keys(call: Call, command: Command) -> None:
    assert callable(call)
    words = ["run", "topics.tsv", "--index", "demo", "-o", "out", "--no-answers"]
    assert command(*words, "--store", "states")[0] == 0
    assert command(*words, "--memory-bytes", "4194304")[0] == 0
    code, _, err = command(*words, "--int8")
    assert (code, "int8" in err) == (3, True)


def test_an_answer_is_written_with_a_policy(call: Call, command: Command, folder: Path, small: Model) -> None:
    assert callable(call)
    write_profile(replace(profile_of(small), gates=((0.9, 0.1),) * 4), folder / "heads.json")
    words = ["ask", "tower", "--index", "demo", "--generator", "local", "--max-tokens", "4"]
    code, out, _ = command(*words, "--policy", "duo", "--sparsity", "0.75", "--json")
    assert (code, "answer" in json.loads(out)) == (0, True)


def test_it_says_what_it_did(call: Call) -> None:
    code, out, err = call("--index", "demo", "--store", "states")
    assert (code, err) == (0, "")
    assert out.startswith("3 documents, 3 new, ")
    assert "bytes" in out


def test_a_redis_that_is_gone_is_told_of(call: Call) -> None:
    code, out, err = call("--index", "demo", "--redis", NOWHERE)
    assert (code, "size unknown" in out) == (0, True)
    assert "failed" in err


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ([], 2, "--corpus or --index"),
        (["--index", "demo", "--corpus", "corpus.jsonl", "--store", "s"], 2, "one of them"),
        (["--index", "demo"], 2, "--store"),
        (["--topics", "topics.tsv", "--corpus", "corpus.jsonl", "--store", "s"], 2, "--topics"),
        (["--topics", "topics.tsv", "--run", "run.trec", "--index", "demo", "--store", "s"], 2, "--run"),
        (["--index", "demo", "--store", "s", "--store-bytes", "100"], 5, "8388608"),
        (["--index", "demo", "--redis", "http://host"], 5, "redis://HOST"),
        (["--index", "nothing", "--store", "s"], 4, "nothing"),
        (["--run", "none.trec", "--index", "demo", "--store", "s"], 4, "none.trec"),
        (["--index", "demo", "--store", "s", "--model", "nothing"], 4, "nothing"),
    ],
)
def test_what_is_refused(call: Call, words: list[str], code: int, named: str) -> None:
    got, _, err = call(*words)
    assert got == code
    assert named in " ".join(err.replace("│", " ").split())


def test_stores_are_opened_as_they_are_named(tmp_path: Path) -> None:
    assert open_store(None) is None
    kinds: list[tuple[Path | None, str | None, type[object]]] = [
        (tmp_path, None, DiskTier),
        (None, NOWHERE, RedisTier),
        (tmp_path, NOWHERE, TieredStore),
    ]
    for folder, redis, kind in kinds:
        store = open_store(folder, MIN_BYTES, redis)
        assert store is not None
        assert type(store) is kind
        store.close()
    with pytest.raises(StoreUnusable, match="redis://HOST"):
        open_store(tmp_path, MIN_BYTES, "http://host")
