"""Citation marks, and answers whose citations all point somewhere."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragnarok.citations import AnswerBuilder, build_answer, parse_citations
from ragnarok.sentences import split_sentences
from ragnarok.types import Sentence


@pytest.mark.parametrize(
    ("text", "clean", "cited"),
    [
        ("The sky is blue [1].", "The sky is blue.", (0,)),
        ("Blue. [1][2]", "Blue.", (0, 1)),
        ("Blue [2, 1], red [3].", "Blue, red.", (1, 0, 2)),
        ("Blue [1-3] and [1–2] x", "Blue and x", (0, 1, 2)),
        ("Blue [^1] [Doc 2] [passage 3].", "Blue.", (0, 1, 2)),
        ("Blue [docs 1 and 2]; [Passages 2, 3]", "Blue", (0, 1, 2)),
        ("Blue ([1]) or **[2]** it", "Blue or it", (0, 1)),
        ("[2] begins.", "begins.", (1,)),
        ("No [0] such [4] things [1-99999] here [3-1] [2020].", "No such things here.", ()),
        ("Of [1, 9] one counts.", "Of one counts.", (0,)),
        ("Torn [1, 2", "Torn", ()),
        ("```\nx = [1]\n```\n[2]", "```\nx = [1]\n```", (1,)),
        ("[1][2]", "", (0, 1)),
        ("[1]\u00a0\u200dשלום [2]", "\u00a0\u200dשלום", (0, 1)),
    ],
)
def test_marks_are_taken_out(text: str, clean: str, cited: tuple[int, ...]) -> None:
    assert parse_citations(text, 3) == (clean, cited)


@pytest.mark.parametrize(
    "text",
    [
        "list[0] and a[1][2]",
        "in `x = [0, 1]` code",
        "```\n[1]\n```",
        "    y = [1]",
        "a [text](u) and [1](http://x) and [text][1]",
        "so [sic] it (1) went",
        "[1]: https://example.org",
        "  spaces   stay ",
        "",
    ],
)
def test_what_looks_alike_is_left_alone(text: str) -> None:
    assert parse_citations(text, 3) == (text, ())


def test_an_answer_by_hand() -> None:
    raw = "One [2]. Two [2][1][2][3][7]. [1] Three.\n\nFour. Five."
    answer = build_answer("q", raw, ["a", "b", "a"], fallback=[[0], [], [0, 5, -1, 2]], max_citations=2)
    # Passages 1 and 3 are the same document. Marks go before the fallback, in the first sentence.
    assert answer.sentences == (
        Sentence("One.", (0,)),
        Sentence("Two.", (0, 1)),
        Sentence("Three.", (1,)),
        Sentence("Four."),
        Sentence("Five."),
    )
    assert answer.references == ("b", "a")
    assert answer.notes == ("1 citation(s) named none of the 3 passages, dropped",)


def test_unique_before_cut() -> None:
    answer = build_answer("q", "X [1][1][1][1][2][3][4].", list("abcd"))
    assert answer.sentences == (Sentence("X.", (0, 1, 2)),)
    assert answer.references == ("a", "b", "c")
    assert answer.notes == ("1 sentence(s) cited over 3 passages, only the first kept",)


def test_marks_alone_join_the_sentence_before() -> None:
    builder = AnswerBuilder("q", ["a", "b"])
    assert builder.add("[1]") == []
    assert builder.add("One [1].") == [Sentence("One.", (0,))]
    assert builder.add("[2] [1]") == []
    builder.note("said")
    answer = builder.finish()
    assert answer.sentences == (Sentence("One.", (0, 1)),)
    assert answer.notes == ("said",)


def test_nothing_written_and_nothing_found() -> None:
    assert build_answer("q", " \n", ["a"]).sentences == ()
    answer = build_answer("q", "One [1].", [], fallback=[[0]])
    assert answer.sentences == (Sentence("One."),)
    assert answer.references == ()


RAW = st.lists(
    st.sampled_from(
        [
            "Blue. ",
            "Red",
            " [1]",
            "[2]. ",
            " [3, 1-2]",
            "[9]",
            "[0]",
            "\n",
            "```\n",
            "`",
            "[1-99999]",
            "x[1] ",
            "[2",
        ]
    ),
    max_size=25,
).map("".join)


@given(
    RAW | st.text(max_size=100),
    st.lists(st.sampled_from("abcd"), max_size=5),
    st.lists(st.lists(st.integers(-2, 7), max_size=5), max_size=6),
    st.integers(1, 4),
)
def test_citations_always_point_somewhere(
    raw: str, docids: list[str], fallback: list[list[int]], most: int
) -> None:
    answer = build_answer("q", raw, docids, fallback=fallback, max_citations=most)
    cited = [citation for sentence in answer.sentences for citation in sentence.citations]
    assert list(dict.fromkeys(cited)) == list(range(len(answer.references)))  # first citations in order
    assert len(set(answer.references)) == len(answer.references)
    assert set(answer.references) <= set(docids)
    for sentence in answer.sentences:
        assert sentence.text.strip()
        assert len(sentence.citations) <= most
        assert len(set(sentence.citations)) == len(sentence.citations)


@given(RAW, st.lists(st.sampled_from("abcd"), min_size=1, max_size=5))
def test_renumbering_keeps_what_was_cited(raw: str, docids: list[str]) -> None:
    """Without the builder: the documents that each sentence's own marks name are those it cites."""
    answer = build_answer("q", raw, docids, max_citations=99)
    marked = [parse_citations(sentence, len(docids)) for sentence in split_sentences(raw)]
    expected: list[set[str]] = []
    for text, marks in marked:
        if text.strip():
            expected.append(set())
        if expected:
            expected[-1] |= {docids[mark] for mark in marks}
    assert [{answer.references[c] for c in s.citations} for s in answer.sentences] == expected


@pytest.mark.parametrize("unit", ["[1", "[", "[1]", "[1,", "`", "(", "[doc ", "    a\n", " ", "[1-", "~~~\n"])
def test_pathological_text_takes_no_time(unit: str) -> None:
    began = time.perf_counter()
    parse_citations((unit * 100_000)[:100_000], 3)
    assert time.perf_counter() - began < 1
