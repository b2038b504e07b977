"""Sentence splitting, whole and streamed."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragnarok.sentences import SentenceStream, split_sentences

CASES = {
    "Dr. Smith paid 3.5 dollars. He left at 5 p.m. on Jan. 5. Then came Mr. Jones.": [
        "Dr. Smith paid 3.5 dollars.",
        "He left at 5 p.m. on Jan. 5.",
        "Then came Mr. Jones.",
    ],
    "J. K. Rowling et al. found e.g. this, i.e. that. See Fig. 3.": [
        "J. K. Rowling et al. found e.g. this, i.e. that.",
        "See Fig. 3.",
    ],
    "The U.S. The U.S. economy grew.": ["The U.S.", "The U.S. economy grew."],
    "Yahoo! is a firm. Wait... what? No!": ["Yahoo! is a firm.", "Wait... what?", "No!"],
    "Blue. [1] Red [2]. Green.[3] Grey. [1][2], [3] End": [
        "Blue. [1]",
        "Red [2].",
        "Green.[3]",
        "Grey. [1][2], [3]",
        "End",
    ],
    "Blue.\n[1, 2]\nRed.\n\n[Doc 3]": ["Blue.\n[1, 2]", "Red.\n\n[Doc 3]"],
    "[1] Smith, 2020.\n[2] Jones, 2021.": ["[1] Smith, 2020.", "[2] Jones, 2021."],
    "Steps:\n1. Open it. Look.\n2. Close it\n- a bullet\n* b. c": [
        "Steps:",
        "1. Open it.",
        "Look.",
        "2. Close it",
        "- a bullet",
        "* b.",
        "c",
    ],
    "A line that\nwraps here.\nnext one": ["A line that\nwraps here.", "next one"],
    "A title\nThe text. More.": ["A title", "The text.", "More."],
    'He said "Go. Now." Then left. (It was. Really.) Done.': [
        'He said "Go. Now."',
        "Then left.",
        "(It was. Really.)",
        "Done.",
    ],
    "Use `a.b. C` now. Then ``x ` y. Z``. End.": ["Use `a.b. C` now.", "Then ``x ` y. Z``.", "End."],
    "An odd ` tick. Next.": ["An odd ` tick.", "Next."],
    "Code:\n```py\nx = 1. Y\n\nprint(x[0])\n```\nAfter.": [
        "Code:",
        "```py\nx = 1. Y\n\nprint(x[0])\n```",
        "After.",
    ],
    "Open:\n~~~\na. b\n\nc. d": ["Open:", "~~~\na. b\n\nc. d"],
    "Code:\n\n    x = 1. b\n    c. D\n\nAfter. It": ["Code:", "    x = 1. b\n    c. D", "After.", "It"],
    "- item. One\n\n    more. Text": ["- item.", "One", "more.", "Text"],
    "مرحبا بالعالم. كيف حالك؟ بخير": ["مرحبا بالعالم.", "كيف حالك؟", "بخير"],
    "你好。再见！[1] 好": ["你好。", "再见！[1]", "好"],
    "Great 👍. Next 👩\u200d👧!": ["Great 👍.", "Next 👩\u200d👧!"],
    "": [],
    " \n\t\n ": [],
}

UNITS = [
    *'ab.A1 \n\n`[]()"!?*',
    "[1]",
    ". ",
    " [1, 2]",
    "```",
    "```\n",
    "    ",
    "- ",
    "1. ",
    "Dr. ",
    "。",
    "[1]: ",
]
UNITS += [
    "The cat sat. ",
    "e.g. ",
    "so it goes",
    '"',
    "“",
    "”",
    "…",
    "\r\n",
    "؟ ",
    "], [",
    ". [1], ",
    "\n\n    ",
]
PIECES = st.lists(st.sampled_from(UNITS), max_size=40).map("".join)


def streamed(text: str, sizes: Sequence[int]) -> list[str]:
    """Split text fed in pieces of the given sizes, over and over."""
    stream, sentences, at, turn = SentenceStream(), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        sentences += stream.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    return sentences + stream.close()


@pytest.mark.parametrize(("text", "sentences"), CASES.items())
def test_splits(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
    for size in (1, 2, 3, 7):
        assert streamed(text, [size]) == sentences


@given(PIECES | st.text(max_size=200), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_only_white_space_is_lost_and_streaming_is_the_same(text: str, sizes: list[int]) -> None:
    whole = split_sentences(text)
    assert "".join("".join(whole).split()) == "".join(text.split())
    assert all(sentence.strip() for sentence in whole)
    assert streamed(text, sizes) == whole


def test_a_sentence_comes_as_soon_as_the_next_word_is_whole() -> None:
    stream = SentenceStream()
    assert stream.feed("It is blue [1]. ") == []
    assert stream.feed("The") == []
    assert stream.feed(" ") == ["It is blue [1]."]
    assert stream.feed("sea is not. [2] So ") == ["The sea is not. [2]"]
    assert stream.close() == ["So"]


@pytest.mark.parametrize(
    "unit",
    ["a", "\n", ".", "1. ", ". a", "[1]", "` `` ", "(a. ", '."', "a\n", "[1, ", "```\n", ".)", "19. A b"],
)
def test_pathological_text_takes_no_time(unit: str) -> None:
    text = (unit * 100_000)[:100_000]
    began = time.perf_counter()
    split_sentences(text)
    assert time.perf_counter() - began < 3
