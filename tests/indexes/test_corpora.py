"""Every reader, and every bad line it must name."""

import re
from pathlib import Path

import pytest

from indexes import CorpusError, Passage, read_corpus
from indexes.corpora import FORMATS, cut, detect
from tests.indexes.conftest import Write


def test_beir_lines_keep_title_text_and_empty_text(corpus: Write) -> None:
    path = corpus({"_id": "a", "title": "T", "text": "x"}, "", {"_id": 7, "text": ""}, name="c.jsonl.gz")
    assert list(read_corpus(path)) == [Passage("a", "x", "T"), Passage("7", "")]


def test_anserini_contents_do_not_repeat_the_title(corpus: Write) -> None:
    path = corpus(
        {"id": "a", "contents": "T\nbody", "title": "T", "url": "u"}, {"id": "b", "contents": "plain"}
    )
    passages = list(read_corpus(path))
    assert passages == [Passage("a", "body", "T", "u"), Passage("b", "plain")]
    assert passages[0].contents == "T\nbody"


def test_a_beir_folder_is_its_corpus_alone(corpus: Write) -> None:
    path = corpus({"_id": "a", "text": "x"}, name="set/corpus.jsonl")
    corpus({"_id": "q", "text": "a query"}, name="set/queries.jsonl")
    corpus("query-id\tcorpus-id\tscore", name="set/qrels.tsv")
    assert [passage.docid for passage in read_corpus(path.parent)] == ["a"]


def test_a_folder_of_json_lines_is_read_in_order(corpus: Write) -> None:
    path = corpus({"id": "b", "contents": "x"}, name="set/2.jsonl")
    corpus({"id": "a", "contents": "x"}, name="set/1.jsonl")
    assert [passage.docid for passage in read_corpus(path.parent)] == ["a", "b"]


@pytest.mark.parametrize("name", ["c.tsv", "c.tsv.gz"])
def test_msmarco_v1(corpus: Write, name: str) -> None:
    assert list(read_corpus(corpus("0\tFirst text.", "1\tSecond", name=name))) == [
        Passage("0", "First text."),
        Passage("1", "Second"),
    ]


def test_msmarco_v21_segments(corpus: Write) -> None:
    record = {
        "docid": "msmarco_v2.1_doc_00_0#1_2",
        "url": "https://example.org",
        "title": "T",
        "headings": "H",
        "segment": "S",
        "start_char": 0,
        "end_char": 1,
    }
    path = corpus(record, name="seg/part.json.gz")
    expected = [Passage("msmarco_v2.1_doc_00_0#1_2", "S", "T", "https://example.org")]
    assert list(read_corpus(path)) == list(read_corpus(path.parent)) == expected


def test_folder_titles_passages_by_file_and_heading(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "my guide.md").write_text(
        "---\ntitle: x\n---\n# Setup\n\nFirst.\n\n## On Debian\n\nInstall.\n"
        "\n```sh\n# no heading\n\nmake\n```\n"
        "\nLast\n----\nThe end.\n"
    )
    (tmp_path / "plain.txt").write_text("One.\n\nTwo.\n")
    (tmp_path / "notes.rst").write_text("=====\nNotes\n=====\n\nBody.\n")
    (tmp_path / ".hidden.md").write_text("secret")
    assert list(read_corpus(tmp_path)) == [
        Passage("docs/my%20guide.md#1", "First.", "Setup"),
        Passage("docs/my%20guide.md#2", "Install.\n\n```sh\n# no heading\n\nmake\n```", "Setup > On Debian"),
        Passage("docs/my%20guide.md#3", "The end.", "Setup > Last"),
        Passage("notes.rst#1", "Body.", "Notes"),
        Passage("plain.txt#1", "One.\n\nTwo.", "plain"),
    ]


def test_long_paragraphs_are_cut_and_nothing_is_lost() -> None:
    text = " ".join(f"Sentence {number} has exactly six words." for number in range(100))
    pieces = list(cut.passages([text, "short", "w " * 400]))
    assert all(len(piece.split()) <= cut.WORDS for piece in pieces)
    assert " ".join(pieces).split() == (text + " short " + "w " * 400).split()
    assert pieces[0].endswith(".")


def test_pydocs_are_a_few_thousand_titled_passages_and_always_the_same() -> None:
    passages = list(read_corpus("/nowhere", "pydocs"))
    assert 2000 < len(passages) < 9000
    assert len({passage.docid for passage in passages}) == len(passages)
    titles = {passage.title for passage in passages}
    assert {"re.sub (function)", "Function definitions", "str.split (method)", "json (module)"} <= titles
    assert all(
        passage.text.strip() and passage.url.startswith("https://docs.python.org/3/") for passage in passages
    )
    assert not any(
        passage.docid.startswith(("antigravity", "this", "test.", "idlelib")) for passage in passages
    )
    assert passages == list(read_corpus("/elsewhere", "pydocs"))


GOOD = {"_id": "a", "text": "x"}


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        ([GOOD, "{oops"], 2, "not JSON"),
        ([GOOD, "", "[1]"], 3, "a JSON object is wanted, not list"),
        ([{"text": "x"}], 1, "no id"),
        ([{"_id": "", "text": "x"}], 1, "no id"),
        ([{"_id": None, "text": "x"}], 1, "no id"),
        ([{"_id": 1.5, "text": "x"}], 1, "the id must be a string, not float"),
        ([{"_id": "a b", "text": "x"}], 1, "white space"),
        ([{"_id": "a" * 600, "text": "x"}], 1, "600 characters"),
        ([GOOD, {"_id": "b", "text": 3}], 2, "'text' must be a string, not int"),
        ([GOOD, {"_id": "b", "text": None}], 2, "'text' must be a string, not NoneType"),
        ([{"_id": "b"}], 1, "no field 'text'"),
        ([{"_id": "b", "title": [], "text": ""}], 1, "'title' must be a string"),
        (["[" * 100_000], 1, "not JSON"),
        (['{"_id": ' + "1" * 5000 + "}"], 1, "not JSON that can be read"),
    ],
)
def test_a_bad_line_is_named(corpus: Write, lines: list[object], line: int, what: str) -> None:
    path = corpus(*lines)
    with pytest.raises(CorpusError, match=rf"{re.escape(str(path))}, line {line}: .*{re.escape(what)}"):
        list(read_corpus(path, "jsonl"))


def test_a_line_without_a_tab_is_named(corpus: Write) -> None:
    with pytest.raises(CorpusError, match="line 2: no tab"):
        list(read_corpus(corpus("1\tx", "2 y", name="c.tsv")))


def test_a_segment_without_text_is_named(corpus: Write) -> None:
    with pytest.raises(CorpusError, match="line 1: the passage has no field 'segment'"):
        list(read_corpus(corpus({"docid": "a"}), "msmarco-v2.1"))


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_bytes(b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": "\xff"}\n')
    with pytest.raises(CorpusError, match="line 2: not UTF-8: byte 23 of the line is 0xff"):
        list(read_corpus(file))
    text = tmp_path / "t" / "c.md"
    text.parent.mkdir()
    text.write_bytes(b"one\ntwo\n\xfe\n")
    with pytest.raises(CorpusError, match=r"c\.md, line 3: not UTF-8"):
        list(read_corpus(text.parent))


def test_a_truncated_archive_is_named(corpus: Write) -> None:
    path = corpus(*({"_id": str(n), "text": f"{n * 7919}"} for n in range(5000)), name="c.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CorpusError, match=r"line \d{4}: the archive is damaged or cut short"):
        list(read_corpus(path))
    path.write_bytes(b"no archive")
    with pytest.raises(CorpusError, match="line 1: the archive is damaged"):
        list(read_corpus(path))


def test_control_characters_pass_and_half_surrogates_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(
        '\ufeff{"_id": "a", "text": "x\\u0000y\\u0007 \\ud83d \\ud83d\\ude00"}\r\n', encoding="utf-8"
    )
    assert list(read_corpus(file)) == [Passage("a", "x\0y\a \ufffd 😀")]


def test_formats_are_named_exactly_and_detected(corpus: Write, tmp_path: Path) -> None:
    assert list(FORMATS) == ["jsonl", "msmarco-v1", "msmarco-v2.1", "folder", "pydocs"]
    with pytest.raises(CorpusError, match="no corpus format 'JSONL'; known are jsonl, msmarco-v1"):
        read_corpus_now(tmp_path, "JSONL")
    with pytest.raises(CorpusError, match="no such file or folder"):
        detect(tmp_path / "missing")
    with pytest.raises(CorpusError, match="holds no file"):
        detect(tmp_path)
    with pytest.raises(CorpusError, match="cannot be told from the name"):
        detect(corpus("x", name="c.parquet"))
    with pytest.raises(CorpusError, match="the file is empty"):
        detect(corpus(name="empty.jsonl"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "package.json").write_text("{}")
    (tmp_path / "site" / "readme.md").write_text("hello")
    assert detect(tmp_path / "site") == "folder"


def read_corpus_now(path: Path, corpus_format: str) -> list[Passage]:
    """All passages."""
    return list(read_corpus(path, corpus_format))
