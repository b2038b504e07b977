"""TREC's files: topics, runs and answers."""

import errno
import gzip
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes.errors import DiskFull
from ragnarok.errors import BadFormat, NotFound
from ragnarok.trec import files
from ragnarok.trec.answers import (
    AnswerLine,
    answer_record,
    check_record,
    fit_answer,
    read_answers,
    write_answers,
)
from ragnarok.trec.files import check_place, read_lines, write_lines
from ragnarok.trec.rules import RULES, Year, check_tag
from ragnarok.trec.runs import RunEntry, read_run, validate_run, write_run
from ragnarok.trec.submissions import validate
from ragnarok.trec.topics import read_topics
from ragnarok.types import Answer, Hit, Passage, Sentence, Topic

YEARS: tuple[Year, ...] = get_args(Year)


def write(path: Path, text: str) -> Path:
    """Write text, packed when the suffix says so."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


# Files


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\u2028still\x85\r\n\n  \ntwo")
    assert list(read_lines(path)) == [(1, "one\u2028still\x85"), (4, "two")]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(NotFound, match="not a file"):
        list(read_lines(tmp_path))
    (tmp_path / "b").write_bytes(b"good\nb\xffd\n")
    with pytest.raises(BadFormat, match="b, line 2: is not UTF-8"):
        list(read_lines(tmp_path / "b"))
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"line\n" * 1000)[:-12])
    with pytest.raises(BadFormat, match="not a complete gzip"):
        list(read_lines(tmp_path / "c.gz"))
    (tmp_path / "d.gz").write_bytes(b"plain")
    with pytest.raises(BadFormat, match="not a complete gzip"):
        list(read_lines(tmp_path / "d.gz"))


@pytest.mark.parametrize("name", ["a.txt", "deep/er/a.gz"])
def test_a_failed_write_changes_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_lines(path, ["old"])

    def failing() -> Iterator[str]:
        yield "new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match=r"a.*No space left on device; nothing was written"):
        write_lines(path, failing())
    with pytest.raises(BadFormat, match="line 2: cannot be written as UTF-8"):
        write_lines(path, ["x", "\ud800"])
    assert list(read_lines(path)) == [(1, "old")]
    assert list(path.parent.iterdir()) == [path]


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "below", tmp_path):
        with pytest.raises(NotFound, match="cannot be written"):
            write_lines(path, ["x"])
    assert [path.name for path in tmp_path.parent.glob(".*.tmp")] == []


def test_a_name_is_as_long_as_it_can_be_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    check_place(path)
    write_lines(path, ["x"])
    assert list(tmp_path.iterdir()) == [path]
    # Letters may have two bytes, and a folder that is to be made has a name, too.
    for long in ("x" * 256, "é" * 128, f"{'x' * 256}/name"):
        with pytest.raises(NotFound, match="a name has 256 bytes, and 255 are the most"):
            check_place(tmp_path / long)
        with pytest.raises(NotFound, match="cannot be written"):
            write_lines(tmp_path / long, ["x"])


def test_packed_files_are_repeatable(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_lines(tmp_path / name, ["x"])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert files.__doc__


# Topics


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "1\tfirst one \nb\tsecond\n"),
        ("t.tsv.gz", "1\tfirst one \r\nb\tsecond"),
        ("t.jsonl", '{"id": 1, "title": "first one "}\n{"id": "b", "title": "second"}\n'),
        ("t.jsonl.gz", '{"_id": "1", "text": "first one ", "metadata": {}}\n{"_id": "b", "text": "second"}'),
        ("t.txt", '{"qid": "1", "query": "first one "}\n\n{"qid": "b", "query": "second"}\n'),
    ],
)
def test_topics(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    assert read_topics(path) == [Topic("1", "first one "), Topic("b", "second")]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("t.tsv", "1\ta\n1\tb\n", "line 2: topic id '1' is already on line 1"),
        ("t.tsv", "1\ta\n2\t  \n", "line 2: topic '2' has no text"),
        ("t.tsv", "1 a\n", "line 1: has 1 columns"),
        ("t.tsv", "1\ta\tb\n", "line 1: has 3 columns"),
        ("t.tsv", "1 2\ta\n", "line 1: topic id '1 2' is empty or has white space"),
        ("t.tsv", "", "t.tsv: has no topics"),
        ("t.jsonl", '{"id": "1", "title": "a"}\n{oops\n', "line 2: is not JSON"),
        ("t.jsonl", "[" * 100_000, "line 1: is not JSON"),
        ("t.jsonl", "[1]\n", "line 1: is not a JSON object but a list"),
        ("t.jsonl", '{"title": "a"}\n', "line 1: has no id"),
        ("t.jsonl", '{"id": true, "title": "a"}\n', "line 1: has no id"),
        ("t.jsonl", '{"id": "1", "title": 3}\n', "line 1: has no text"),
        ("t.jsonl", '{"id": "1", "title": "\\ud83d"}\n', "line 1: topic '1' has half of a character"),
    ],
)
def test_bad_topics(tmp_path: Path, name: str, text: str, error: str) -> None:
    with pytest.raises(BadFormat, match=error):
        read_topics(write(tmp_path / name, text))


# Runs


def test_a_run_is_read_by_rank(tmp_path: Path) -> None:
    path = write(tmp_path / "r.gz", "1 Q0 b 2 1.5 t\n2 Q0 a 1 9 t\n1\tQ0\ta\t1\t2e0\tt\n")
    run = {"1": [RunEntry("a", 1, 2.0, "t"), RunEntry("b", 2, 1.5, "t")], "2": [RunEntry("a", 1, 9.0, "t")]}
    assert read_run(path) == run
    assert read_run(path, strict=True) == run


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 Q0 a 1 2.0\n", "line 1: has 5 columns"),
        ("1 Q0 a 1 2.0 t\n1 Q0 b 2 nan t\n", "line 2: score 'nan' is not a finite number"),
        ("1 Q0 a 1 1_0 t\n", "line 1: score '1_0'"),
        ("1 Q0 a 1 x t\n", "line 1: score 'x'"),
        ("1 Q0 a 1.0 2 t\n", "line 1: rank '1.0' is not a whole number"),
        ("1 Q0 a 1 2 t\n1 Q0 a 2 1 t\n", "line 2: docid 'a' is in topic '1' a second time"),
        ("\n", "is empty"),
    ],
)
def test_bad_runs(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(BadFormat, match=error):
        read_run(write(tmp_path / "r", text))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 Q0 a 1 2 t\n1 Q0 b 3 1 t\n", "topic '1': rank 3 where 2 was due"),
        ("1 Q0 a 0 2 t\n", "topic '1': rank 0 where 1 was due"),
        ("1 Q0 a 1 1 t\n1 Q0 b 2 2 t\n", "topic '1': score 2.0 at rank 2 is above"),
        ("1 Q0 a 1 2 t\n2 Q0 b 1 1 u\n", "2 tags, not one: t, u"),
    ],
)
def test_strict_runs(tmp_path: Path, text: str, error: str) -> None:
    path = write(tmp_path / "r", text)
    assert read_run(path)
    with pytest.raises(BadFormat, match=error):
        read_run(path, strict=True)


def entries(*scores: float) -> list[RunEntry]:
    """Documents d1, d2, ... with these scores."""
    return [RunEntry(f"d{n}", n, score, "old") for n, score in enumerate(scores, start=1)]


def test_written_runs(tmp_path: Path) -> None:
    path = tmp_path / "r"
    hits = [Hit("a", 10.606700, 7, Passage("a", "text")), Hit("b", 1.0, 9, Passage("b", "text"))]
    write_run(path, {"1": hits, "none": [], "2": entries(1, 1, 1)}, "tag", depth=2)
    assert path.read_text() == (
        "1 Q0 a 1 10.6067 tag\n1 Q0 b 2 1.0 tag\n2 Q0 d1 1 1.0 tag\n2 Q0 d2 2 0.99999994 tag\n"
    )
    assert validate_run(path, 2026) == [
        f"line {n}: docid '{docid}' is not one of the 2026 collection"
        for n, docid in enumerate(["a", "b", "d1", "d2"], start=1)
    ]


@pytest.mark.parametrize(
    ("run", "tag", "depth", "error"),
    [
        ({"1": entries(1)}, "a tag", None, "run tag 'a tag' is empty or has white space"),
        ({"1": entries(1)}, "", None, "run tag"),
        ({"1": entries(1)}, "t" * 21, None, "has 21 characters, the limit is 20"),
        ({"1": entries(1, 2)}, "t", None, "topic '1': score 2 at rank 2 is above 1 before it"),
        ({"1": entries(float("nan"))}, "t", None, "score nan at rank 1 is not a finite"),
        ({"1": entries(1e39)}, "t", None, "is not a finite 32-bit number"),
        ({"1": entries(2) + entries(1)}, "t", None, "docid 'd1' comes a second time, at rank 2"),
        ({"1": [RunEntry("a b", 1, 1.0, "")]}, "t", None, "docid 'a b' is empty or has white space"),
        ({"a b": entries(1)}, "t", None, "topic 'a b': a topic id"),
        ({"1": []}, "t", None, "none of the 1 topics has a hit"),
        ({"1": entries(1)}, "t", 0, "depth 0"),
    ],
)
def test_runs_that_are_not_written(
    tmp_path: Path, run: dict[str, list[RunEntry]], tag: str, depth: int | None, error: str
) -> None:
    with pytest.raises(BadFormat, match=error):
        write_run(tmp_path / "r", run, tag, depth=depth)
    assert list(tmp_path.iterdir()) == []


SCORES = st.lists(
    st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1.0, 1 + 1e-9, 1 - 1e-9, 1e-45, -1e-300]),
    min_size=1,
    max_size=30,
)


@given(st.dictionaries(st.sampled_from("xyz"), SCORES, min_size=1))
def test_a_written_run_keeps_its_order_for_every_tool(scores: dict[str, list[float]]) -> None:
    run = {qid: entries(*sorted(values, reverse=True)) for qid, values in scores.items()}
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        write_run(first, run, "t")
        back = read_run(first, strict=True)
        write_run(second, back, "t")
        assert first.read_bytes() == second.read_bytes()
    for qid, given_entries in run.items():
        assert [entry.docid for entry in back[qid]] == [entry.docid for entry in given_entries]
        single = np.array([entry.score for entry in back[qid]], dtype=np.float32)
        assert (np.diff(single) < 0).all()
        np.testing.assert_allclose(
            single, [entry.score for entry in given_entries], rtol=1e-5, atol=1e-40, strict=False
        )


def test_a_year_s_rules_for_runs(tmp_path: Path) -> None:
    segment = "msmarco_v2.1_doc_29_{}#3_1637632"
    good = [RunEntry(segment.format(n), n, -n, "t") for n in range(101)]
    path = tmp_path / "r"
    write_run(path, {"1": good}, "t", depth=100)
    assert validate_run(path, 2024) == validate_run(path, 2025) == []
    write_run(path, {"1": good}, "t")
    assert validate_run(path, 2025) == ["topic '1': 101 documents, the limit is 100"]
    write(path, "1 0 d 1 2 t\nshort\n1 Q0 shard_1_2 3 3 " + "u" * 21 + "\n")
    assert validate_run(path, 2026) == [
        "line 1: the second column is '0', not 'Q0'",
        "line 1: docid 'd' is not one of the 2026 collection",
        "line 2: has 1 columns, not the six of 'topic Q0 docid rank score tag'",
        "topic '1': rank 3 where 2 was due",
        "topic '1': score 3.0 at rank 3 is above the one before it",
        "the run has 2 tags, not one: t, uuuuuuuuuuuuuuuuuuuuu",
        "run tag 'uuuuuuuuuuuuuuuuuuuuu' has 21 characters, the limit is 20",
    ]
    assert validate_run(write(path, "\n"), 2024) == ["the run is empty"]
    write_run(path, {"2": good[:1]}, "t")
    assert validate_run(path, 2024, [Topic("1", "a"), Topic("3", "b")]) == [
        "topic '2' is not one of the 2",
        "topic '1' is missing",
        "topic '3' is missing",
    ]
    assert check_tag("my-run.1") == "my-run.1"


# Answers

TOPIC = Topic("7", "why is the sky blue? ")
ANSWER = Answer(
    TOPIC.text, (Sentence("Light\u00a0scatters.", (0, 1)), Sentence("Blue most.", (1,))), ("d5", "d2")
)


def test_records_as_published() -> None:
    sentences = [
        {"text": "Light\u00a0scatters.", "citations": [0, 1]},
        {"text": "Blue most.", "citations": [1]},
    ]
    assert answer_record(ANSWER, TOPIC, year=2024, run_id="r") == {
        "run_id": "r",
        "topic_id": "7",
        "topic": "why is the sky blue? ",
        "references": ["d5", "d2"],
        "response_length": 4,
        "answer": sentences,
    }
    assert answer_record(ANSWER, TOPIC, year=2025, run_id="r", team_id="us", prompt="p") == {
        "metadata": {
            "team_id": "us",
            "run_id": "r",
            "type": "automatic",
            "narrative_id": "7",
            "narrative": "why is the sky blue? ",
            "prompt": "p",
        },
        "references": ["d5", "d2"],
        "answer": sentences,
    }
    metadata = answer_record(
        ANSWER, TOPIC, year=2026, run_id="r", team_id="us", description="what", kind="manual"
    )["metadata"]
    assert metadata == {
        "team_id": "us",
        "run_id": "r",
        "type": "manual",
        "run_desc": "what",
        "narrative_id": "7",
        "narrative": "why is the sky blue? ",
    }


def test_words_are_counted_after_nfkc_or_not() -> None:
    # NFKC turns a diaeresis of its own into a space and a combining one.
    assert [RULES[year].count_words("a\u00a8b c") for year in YEARS] == [3, 3, 2]


@pytest.mark.parametrize(
    ("year", "change", "problem"),
    [
        (2024, {"response_length": 5}, "response_length is 5, the answer has 4 words"),
        (2024, {"references": ["d5", "d5"]}, "references are not unique"),
        (2024, {"references": [5]}, "references is not a list of docids"),
        (2024, {"references": ["d5"]}, "sentence 1 cites 1, which is not among the 1 references"),
        (2024, {"references": [*"abcdefghijklmnopqrstu"]}, "21 references, the limit is 20"),
        (
            2024,
            {"answer": [{"text": "a", "citations": ["d5"]}], "response_length": 1},
            "sentence 1 cites 'd5'",
        ),
        (2024, {"answer": [{"text": "a"}], "response_length": 1}, "sentence 1 has no list of citations"),
        (
            2024,
            {"answer": [{"text": "a", "citations": [True]}], "response_length": 1},
            "sentence 1 cites True",
        ),
        (2024, {"answer": [{"text": " ", "citations": []}], "response_length": 0}, "sentence 1 has no text"),
        (2024, {"answer": "text"}, "answer is not a list of sentences"),
        (2024, {"run_id": "a b"}, "run tag 'a b'"),
        (2024, {"run_id": 3}, "run_id is not a string"),
        (2024, {"topic_id": "8"}, "topic_id '8' is not one of the 1 topics"),
        (2024, {"topic_id": 1.5}, "topic_id is not a string or whole number"),
        (2024, {"answer": [{"text": "w " * 401, "citations": []}], "response_length": 401}, "401 words, the"),
        (2025, {"metadata": None}, "metadata is missing"),
        (2025, {"metadata": {"type": "robot"}}, "type is 'robot', not 'automatic' or 'manual'"),
        (2026, {"metadata": {"narrative": "why is the sky blue?"}}, "narrative of '7' is not exactly"),
        (2026, {"metadata": {"run_desc": None}}, "run_desc is not a string"),
        (2026, {"answer": [{"text": "a", "citations": [0, 0]}]}, "sentence 1 cites a reference twice"),
        (
            2026,
            {"references": [*"abcd"], "answer": [{"text": "a", "citations": [0, 1, 2, 3]}]},
            "4 citations, the",
        ),
        (2026, {"answer": [{"text": "w " * 1025, "citations": []}]}, "1025 words, the limit is 1024"),
    ],
)
def test_what_is_wrong_with_a_record(year: Year, change: dict[str, Any], problem: str) -> None:
    record = answer_record(ANSWER, TOPIC, year=year, run_id="r")
    assert check_record(record, year, [TOPIC]) == []
    if isinstance(change.get("metadata"), dict):
        change = {"metadata": record["metadata"] | change["metadata"]}
    problems = check_record(record | change, year, [TOPIC])
    assert any(found.startswith(problem) or problem in found for found in problems), problems


def test_no_record_of_an_answer_over_the_limits() -> None:
    assert check_record([], 2024) == ["is not a JSON object"]
    long = replace(ANSWER, sentences=(Sentence("w " * 401),))
    with pytest.raises(BadFormat, match=r"topic '7', 2024: 401 words.*see fit_answer"):
        answer_record(long, TOPIC, year=2024, run_id="r")
    assert check_record(answer_record(fit_answer(long, 2024), TOPIC, year=2024, run_id="r"), 2024) == []


def test_fitting_words() -> None:
    assert fit_answer(ANSWER, 2024) == ANSWER
    answer = Answer(
        "q",
        (Sentence("w " * 300, (0,)), Sentence("w " * 101, (1,)), Sentence("w", (2,))),
        tuple("abc"),
        ("n",),
    )
    assert fit_answer(answer, 2025) == Answer(
        "q", answer.sentences[:1], ("a",), ("n", "answer over 400 words: the last 2 sentence(s) dropped")
    )
    assert fit_answer(answer, 2026) == answer
    alone = fit_answer(Answer("q", (Sentence("a\u00a8b " * 300, ()),)), 2024)
    assert RULES[2024].count_words(alone.text) == 400
    assert alone.notes == ("answer over 400 words: its only sentence cut",)


def test_fitting_references() -> None:
    # 22 references: d21 cited twice and d0..d20 once, in sentences of two; the two weakest go (second, last).
    sentences = (*(Sentence(f"s{n}", (n, n + 1)) for n in range(0, 22, 2)), Sentence("x", (21,)))
    answer = Answer("q", sentences, tuple(f"d{n}" for n in range(22)))
    fitted = fit_answer(answer, 2024)
    assert fitted.references == tuple(f"d{n}" for n in [*range(17), 18, 20, 21])
    assert fitted.notes == ("over 20 references: the 2 least cited dropped",)
    assert fitted.sentences[8] == Sentence("s16", (16,))
    assert fitted.sentences[-1] == Sentence("x", (19,))
    uncited = Answer("q", (Sentence("s", (0, 1, 2, 3)),), tuple("abcde"))
    assert fit_answer(uncited, 2025) == uncited
    assert fit_answer(uncited, 2026) == Answer(
        "q",
        (Sentence("s", (0, 1, 2)),),
        tuple("abc"),
        ("over 3 citations in a sentence: the first ones kept",),
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Answers that keep their promise, of any length."""
    references = draw(st.lists(st.text("abc#_0", min_size=1), unique=True, max_size=130))
    citations = (
        st.lists(st.integers(0, len(references) - 1), unique=True, max_size=5) if references else st.just([])
    )
    words = st.integers(1, 500).map("w ".__mul__) | st.text(min_size=1).filter(str.strip)
    sentences = st.builds(Sentence, words, citations.map(tuple))
    return Answer(TOPIC.text, tuple(draw(st.lists(sentences, max_size=6))), tuple(references))


@given(answers(), st.sampled_from(YEARS))
def test_fitted_answers_are_valid_and_read_back(answer: Answer, year: Year) -> None:
    fitted = fit_answer(answer, year)
    assert bool(fitted.notes) == (
        fitted.sentences != answer.sentences or fitted.references != answer.references
    )
    record = answer_record(fitted, TOPIC, year=year, run_id="r")
    assert check_record(record, year, [TOPIC]) == []
    for before, after in zip(answer.sentences[1:], fitted.sentences[1:], strict=False):
        assert before.text == after.text
        names = [answer.references[c] for c in before.citations]
        assert {fitted.references[c] for c in after.citations} <= set(names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        write_answers(path, [record, record])
        assert path.read_bytes().count(b"\n") == 2
        assert read_answers(path) == [AnswerLine(TOPIC, replace(fitted, notes=()), "r", year)] * 2


def test_citations_by_docid_are_read(tmp_path: Path) -> None:
    record = answer_record(ANSWER, TOPIC, year=2025, run_id="r")
    record["answer"] = [{"text": "a", "citations": ["d2", 1, "d5"]}]
    path = write(tmp_path / "a.jsonl", json.dumps(record))
    assert read_answers(path)[0].answer.sentences == (Sentence("a", (1, 0)),)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"references": ["d5"]}, "line 2: sentence 1 cites 1, which is not among the 1 references"),
        ({"references": None}, "line 2: references is not"),
        ({"references": ["d5", "d5"]}, "line 2: references are not unique"),
        ({"answer": [{"text": 3}]}, "line 2: sentence 1 has no text"),
        ({"answer": [{"text": "a"}]}, "line 2: sentence 1 has no list of citations"),
        ({"topic": None}, "line 2: lacks run_id, topic_id or topic"),
        ({"metadata": []}, "line 2: metadata is not a JSON object"),
    ],
)
def test_bad_answers(tmp_path: Path, change: dict[str, Any], error: str) -> None:
    record = answer_record(ANSWER, TOPIC, year=2024, run_id="r")
    path = write(tmp_path / "a.jsonl", f"{json.dumps(record)}\n{json.dumps(record | change)}\n")
    with pytest.raises(BadFormat, match=error):
        read_answers(path)


def test_files_that_hold_no_answers(tmp_path: Path) -> None:
    for text, error in (
        ("{", "line 1: is not JSON"),
        ("[]", "line 1: is not a JSON object"),
        ("", "no answers"),
    ):
        with pytest.raises(BadFormat, match=error):
            read_answers(write(tmp_path / "a.jsonl", text))


def test_a_year_s_rules_for_a_file_of_answers(tmp_path: Path) -> None:
    path, segment = tmp_path / "answers", "msmarco_v2.1_doc_29_1#3_1637632"
    good = answer_record(Answer(TOPIC.text, (), (segment,)), TOPIC, year=2025, run_id="r")
    write_answers(path, [good])
    assert validate(path, 2025) == validate(path, 2025, [TOPIC]) == []
    assert validate(path, 2025, [Topic("8", "where?")]) == [
        "line 1: narrative_id '7' is not one of the 1 topics",
        "topic '8' is missing",
    ]
    other = answer_record(ANSWER, TOPIC, year=2025, run_id="other")
    lines = [json.dumps(good), "{", "[]", json.dumps(other), '{"metadata": 5}']
    write(path, "\n".join(lines))
    assert validate(path, 2025) == [
        "line 2: is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        "line 3: is not a JSON object",
        "line 4: reference 'd5' is not one of the 2025 collection",
        "line 4: reference 'd2' is not one of the 2025 collection",
        "line 4: topic '7' is answered on line 1 already",
        "line 5: metadata is missing",
        "line 5: references is not a list of docids",
        "the answers have 2 run ids, not one: r, other",
    ]


def test_what_is_validated_is_told_by_its_first_letter(tmp_path: Path) -> None:
    run = write(tmp_path / "a.jsonl", "1 Q0 d 1 2 t\n")
    assert validate(run, 2026) == ["line 1: docid 'd' is not one of the 2026 collection"]
    assert validate(write(tmp_path / "r.trec", "\n  {}\n"), 2024)[0] == "line 2: run_id is not a string"
    with pytest.raises(NotFound):
        validate(tmp_path / "none", 2024)
