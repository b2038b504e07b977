"""The door for questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragnarok.errors import BadQuery
from ragnarok.query import (
    MAX_QUERY_CHARACTERS,
    MAX_QUERY_TOKENS,
    MAX_QUERY_WORDS,
    check_tokens,
    clean_query,
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  what\tis \n love? ", "what is love?"),
        ("a\x00b\x1b[0mc\x85d", "a b [0mc d"),
        ("half \ud83d of it", "half of it"),
        ("ما هي عاصمة فرنسا؟", "ما هي عاصمة فرنسا؟"),
        ("family 👩\u200d👩\u200d👧 emoji", "family 👩\u200d👩\u200d👧 emoji"),
        ("\u200fשלום\u200e", "\u200fשלום\u200e"),
    ],
)
def test_cleans(text: str, clean: str) -> None:
    assert clean_query(text) == clean


@pytest.mark.parametrize("text", ["", " \t\n", "\x00\x07", "\u200d\u200b", "\ud800"])
def test_empty_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="empty"):
        clean_query(text)


def test_limits_are_named() -> None:
    assert clean_query("w " * MAX_QUERY_WORDS)
    with pytest.raises(BadQuery, match="1,001 words, the limit is 1,000; ask"):
        clean_query("w " * (MAX_QUERY_WORDS + 1))
    assert clean_query("w" * MAX_QUERY_CHARACTERS)
    with pytest.raises(BadQuery, match="10,001 characters, the limit is 10,000; ask"):
        clean_query("w" * (MAX_QUERY_CHARACTERS + 1))
    with pytest.raises(BadQuery, match="limit"):
        clean_query("word " * 10_000)


class Cutter:
    """A model with a token every so many characters."""

    name = "cutter"

    def __init__(self, characters: int) -> None:
        """Cut after so many."""
        self.characters, self.asked = characters, 0

    def encode(self, texts: list[str]) -> list[list[int]]:
        """The first letter of each token."""
        self.asked += len(texts)
        return [[ord(letter) for letter in text[:: self.characters]] for text in texts]


def test_tokens_are_limited_too() -> None:
    by_letter, by_word = Cutter(1), Cutter(5)
    check_tokens("7" * MAX_QUERY_TOKENS, by_letter)
    assert by_letter.asked == 0, "it cannot be too long"
    with pytest.raises(BadQuery, match="2,049 tokens of cutter, the limit is 2,048; ask"):
        check_tokens("7" * (MAX_QUERY_TOKENS + 1), by_letter)
    with pytest.raises(BadQuery, match="3,000 tokens"):
        check_tokens("क" * 3_000, by_letter)
    check_tokens("word " * MAX_QUERY_WORDS, by_word)
    assert by_word.asked == 1


@given(st.text(st.characters(codec=None)))
def test_clean_text_stays(text: str) -> None:
    try:
        clean = clean_query(text)
    except BadQuery:
        return
    assert clean_query(clean) == clean
    clean.encode()
