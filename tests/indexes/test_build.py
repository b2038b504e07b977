"""Building, replacing and opening: what a failure must not leave behind, and what cannot be opened."""

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexes import (
    CorpusError,
    DiskFull,
    EncoderNotFound,
    IndexBroken,
    IndexesError,
    IndexExists,
    IndexNotFound,
    Passage,
    PassageNotFound,
    build_index,
    catalogue,
    java,
    list_indexes,
    open_index,
)
from tests.indexes.conftest import Write, run, run_python


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the test's indexes are."""
    return tmp_path / "root"


def left(root: Path) -> list[str]:
    """Everything in the root, hidden files too."""
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


def test_an_index_describes_itself(corpus: Write, root: Path) -> None:
    path = corpus(
        {"_id": "a", "text": "cat"}, {"_id": "b", "text": " \0 "}, {"_id": "c", "title": "T", "text": ""}
    )
    heard: list[tuple[str, int, int | None]] = []
    with build_index(path, "pets-1.0", root=root, progress=lambda *step: heard.append(step)) as index:
        about = index.manifest
        assert (about.name, about.passages, about.empty, about.corpus_format) == ("pets-1.0", 3, 1, "jsonl")
        assert about.source == str(path)
        assert about.bytes > 0
        assert about.parts["bm25"]["k1"] == 0.9
        assert index.passage("b") == Passage("b", " \0 ")
        assert [hit.docid for hit in index.search(["t"])[0]] == ["c"]
    assert heard == [("reading", 3, 3), ("bm25", 2, 2)]
    assert list_indexes(root) == [about]
    assert left(root) == ["pets-1.0"]


def test_text_comes_back_as_it_went_in(corpus: Write, root: Path) -> None:
    text = 'tab\t quote " nul \0 bell \a line\u2028 שלום 😀 cat'
    with build_index(corpus({"_id": "a", "title": "T\u0001", "text": text}), "odd", root=root) as index:
        (hit,) = index.search(["cat"])[0]
        assert hit.passage == index.passage("a") == Passage("a", text, "T\u0001")


def test_names_are_found_in_the_home_and_indexes_by_path(
    corpus: Write, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGNAROK_HOME", str(root))
    build_index(corpus({"_id": "a", "text": "cat"}), "pets").close()
    assert left(root / "indexes") == ["pets"]
    for place in ("pets", root / "indexes" / "pets", str(root / "indexes" / "pets")):
        open_index(place).close()
    with pytest.raises(IndexNotFound, match=r"no index 'pet': .* there are pets\. Build one: ragnarok index"):
        open_index("pet")
    with pytest.raises(IndexNotFound, match="there are none yet"):
        open_index("pet", root=root / "nothing")
    with pytest.raises(IndexNotFound):
        open_index("", root=root)


@pytest.mark.parametrize("name", ["", ".x", "a/b", "a b", "é", "..", "-x", "x" * 101, "a.building-1"])
def test_names_that_could_not_be_folders(corpus: Write, root: Path, name: str) -> None:
    with pytest.raises(IndexesError, match="cannot be an index's name"):
        build_index(corpus({"_id": "a", "text": "cat"}), name, root=root)
    assert left(root) == []


def test_a_taken_name_is_kept_unless_it_is_to_be_replaced(corpus: Write, root: Path) -> None:
    old = build_index(corpus({"_id": "old", "text": "cat"}), "pets", root=root)
    new = corpus({"_id": "new", "text": "cat"}, name="new.jsonl")
    with pytest.raises(IndexExists, match="the index 'pets' exists"):
        build_index(new, "pets", root=root)
    build_index(new, "pets", root=root, replace=True).close()
    with old:  # It was opened before, but not yet searched.
        assert old.passage("old").text == "cat"
        with pytest.raises(IndexBroken, match="replaced after it was opened"):
            old.search(["cat"])
    with open_index("pets", root) as index:
        assert [hit.docid for hit in index.search(["cat"])[0]] == ["new"]
    assert left(root) == ["pets"]


def test_failures_leave_nothing_and_harm_nothing(corpus: Write, root: Path) -> None:
    build_index(corpus({"_id": "a", "text": "cat"}), "pets", root=root).close()
    before = {path: path.stat().st_mtime_ns for path in (root / "pets").rglob("*")}
    good = [{"_id": str(number), "text": "cat"} for number in range(50)]
    bad = corpus(*good, "{", name="bad.jsonl")
    for replace, name in ((True, "pets"), (False, "new")):
        with pytest.raises(CorpusError, match=r"bad\.jsonl, line 51: not JSON"):
            build_index(bad, name, root=root, replace=replace)
    with pytest.raises(CorpusError, match=r"twice\.jsonl, line 51: the id '7' occurs a second time"):
        build_index(corpus(*good, good[7], name="twice.jsonl"), "new", root=root)
    with pytest.raises(CorpusError, match="the corpus is empty"):
        build_index(corpus({"_id": "a", "text": ""}, name="empty.jsonl"), "new", root=root)
    with pytest.raises(EncoderNotFound):
        build_index(bad, "new", root=root, parts=("dense",), encoder="unknown")
    with pytest.raises(IndexesError, match="parts of bm25, dense, one at least; not splade"):
        build_index(bad, "new", root=root, parts=("splade",))
    with pytest.raises(CorpusError, match="no corpus format 'csv'"):
        build_index(bad, "new", root=root, corpus_format="csv")

    def interrupt(stage: str, *_: int | None) -> None:
        if stage == "bm25":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(corpus(*good), "pets", root=root, replace=True, progress=interrupt)
    assert left(root) == ["pets"]
    assert {path: path.stat().st_mtime_ns for path in (root / "pets").rglob("*")} == before


def test_ctrl_c_reaches_python_while_java_runs(corpus: Write, root: Path) -> None:
    path = corpus(*({"_id": str(number), "text": "cat"} for number in range(2000)))
    code = (
        "import time\nfrom indexes import build_index\n"
        "def wait(stage, *_):\n"
        "    if stage == 'bm25':\n"
        "        print(stage, flush=True)\n        time.sleep(30)\n"
        f"build_index({str(path)!r}, 'x', root={str(root)!r}, progress=wait)\n"
    )
    assert "KeyboardInterrupt" in run_python(code, interrupt_at="bm25").errors
    assert left(root) == []


def test_a_killed_build_is_told_and_swept(corpus: Write, root: Path) -> None:
    half = root / "pets.building-1"
    half.mkdir(parents=True)
    (half / "passages.sqlite").touch()
    with pytest.raises(IndexNotFound, match="a build of it was started and is not complete"):
        open_index("pets", root)
    for place in ("pets.building-1", half):
        with pytest.raises(IndexBroken, match=r"half-built.*ragnarok index CORPUS --name pets"):
            open_index(place, root)
    build_index(corpus({"_id": "a", "text": "cat"}), "pets", root=root).close()
    # Killed between the two renames of a replacement: the old index comes back.
    (root / "pets").rename(root / "pets.replaced-1")
    with pytest.raises(IndexExists):
        build_index(corpus({"_id": "a", "text": "cat"}), "pets", root=root)
    assert left(root) == ["pets"]


def test_one_build_of_a_name_at_a_time(corpus: Write, root: Path) -> None:
    path = corpus({"_id": "a", "text": "cat"})
    with catalogue.building("pets", root) as folder:
        (folder / "x").touch()
        with pytest.raises(IndexExists, match="is being built by someone else"):
            build_index(path, "pets", root=root)
        build_index(path, "others", root=root).close()
    assert left(root) == ["others", "pets"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "layout has version 2, and this software reads version 1"),
        ({"format": None}, "layout has version None"),
        ({"parts": 3}, "lacks its form"),
        ({"parts": {}}, "passages are missing"),
        ({"parts": {"dense": {}}}, "its part 'dense' is missing"),
        ({"parts": {"bm25": {}, "sparse": {}}}, "its part 'sparse' is missing"),
    ],
)
def test_manifests_that_do_not_fit(
    corpus: Write, root: Path, change: dict[str, object], message: str
) -> None:
    folder = root / "pets"
    folder.mkdir(parents=True)
    (folder / "bm25").mkdir()
    (folder / "bm25" / "segments_1").touch()
    (folder / "passages.sqlite").touch()
    about = {
        "format": 1,
        "name": "pets",
        "created": "",
        "source": str(corpus()),
        "corpus_format": "jsonl",
        "passages": 1,
        "empty": 0,
        "bytes": 1,
        "parts": {"bm25": {}},
        "software": "",
    }
    (folder / "manifest.json").write_text(json.dumps(about | change))
    with pytest.raises(IndexBroken, match=message):
        open_index("pets", root)
    with pytest.raises(IndexBroken, match="Build it again: ragnarok index CORPUS --name pets --replace"):
        open_index("pets", root)


def test_damaged_indexes(corpus: Write, root: Path, tmp_path: Path) -> None:
    path = corpus({"_id": "a", "text": "cat"}, {"_id": "b", "text": "dog"})
    build_index(path, "pets", root=root, parts=("bm25", "dense")).close()
    vectors = root / "pets" / "dense" / "flat.faiss"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:100])
    with open_index("pets", root) as index:
        assert index.search(["cat"], method="bm25")[0]
        with pytest.raises(IndexBroken, match="Faiss cannot read"):
            index.search(["cat"], method="dense")
    segments = next((root / "pets" / "bm25").glob("segments_*"))
    segments.write_bytes(b"x" * 100)
    with open_index("pets", root) as index, pytest.raises(IndexBroken, match="Lucene failed at opening"):
        index.search(["cat"], method="bm25")
    (root / "pets" / "passages.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(IndexBroken, match="the passages cannot be read"):
        open_index("pets", root)
    (root / "pets" / "manifest.json").write_text("{")
    with pytest.raises(IndexBroken, match=r"its manifest\.json cannot be read"):
        open_index("pets", root)
    assert list_indexes(root) == []
    with pytest.raises(IndexBroken, match=r"holds neither a manifest\.json nor a Lucene index"):
        open_index(tmp_path)


def lucene(folder: Path, documents: list[str], *, raw: bool = True, contents: bool = False) -> Path:
    """An index as Anserini builds it."""
    arguments, indexers = java.classes(
        "io.anserini.index.IndexCollection$Args", "io.anserini.index.SimpleIndexer"
    )
    settings = arguments()
    settings.index, settings.storeRaw, settings.storeContents, settings.threads = (
        str(folder),
        raw,
        contents,
        1,
    )
    indexer = indexers(settings)
    for document in documents:
        assert indexer.addRawDocument(document)
    indexer.close()
    return folder


def test_indexes_of_others(tmp_path: Path) -> None:
    records = [
        {"id": "a", "contents": "cat one"},
        {"id": "b", "contents": "cat T b", "title": "T b", "url": "u", "segment": "ignored"},
        {"id": "c", "contents": "T c\ncat", "title": "T c"},
    ]
    with open_index(lucene(tmp_path / "others", [json.dumps(record) for record in records])) as index:
        assert (index.manifest.format, index.manifest.passages, list(index.manifest.parts)) == (
            0,
            3,
            ["bm25"],
        )
        found = {hit.docid: hit.passage for hit in index.search(["cat"])[0]}
        assert found == {
            "a": Passage("a", "cat one"),
            "b": Passage("b", "cat T b", "T b", "u"),
            "c": Passage("c", "cat", "T c"),
        }
        assert index.passage("a") == found["a"]
        with pytest.raises(PassageNotFound):
            index.passage("z")
    documents = [json.dumps(record) for record in records]
    with open_index(lucene(tmp_path / "contents", documents, raw=False, contents=True)) as index:
        assert index.passage("a").text == "cat one"
    with pytest.raises(IndexBroken, match=r"keeps no text.*-storeRaw"):
        open_index(lucene(tmp_path / "bare", documents, raw=False))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    place = tmp_path / "tiny"
    place.mkdir()
    if os.geteuid() != 0 or run("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)).status:
        pytest.skip("only root may mount a small disk to fill")
    yield place
    # Java lets go of the files that it failed to write when it next collects garbage.
    assert run("umount", "--lazy", str(place)).status == 0


def test_a_disk_known_to_be_too_small(corpus: Write, tiny: Path) -> None:
    path = corpus({"_id": "a", "text": "cat " * 2_000_000})
    with pytest.raises(DiskFull, match=r"no room .* 12\.0 MB or more needed, 3\.\d MB free"):
        build_index(path, "pets", root=tiny / "root")
    assert left(tiny / "root") == []


def test_a_disk_that_fills_while_the_corpus_is_read(tmp_path: Path, tiny: Path) -> None:
    # Packed better than text usually is, so that the check before the build lets it pass.
    lines = (json.dumps({"_id": str(number), "text": "cat " * 60}) for number in range(12_000))
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(DiskFull, match="no room to build"):
        build_index(path, "pets", root=tiny / "root")
    assert left(tiny / "root") == []


@pytest.mark.parametrize("part", ["bm25", "dense"])
def test_a_disk_that_others_fill(corpus: Write, tiny: Path, part: str) -> None:
    path = corpus(*({"_id": str(number), "text": f"cat {number * 2654435761:x}"} for number in range(100)))

    def fill(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("reading", total):
            (tiny / "ballast").write_bytes(b"x" * (shutil.disk_usage(tiny).free - 8192))

    with pytest.raises(DiskFull, match="no room to build") as caught:
        build_index(path, "pets", root=tiny / "root", parts=(part,), progress=fill)
    assert isinstance(caught.value.__cause__, OSError)
    assert left(tiny / "root") == []
