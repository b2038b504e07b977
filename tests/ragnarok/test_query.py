"""The door for questions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragnarok.errors import BadQuery
from ragnarok.query import MAX_QUERY_CHARACTERS, MAX_QUERY_WORDS, clean_query


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


@given(st.text(st.characters(codec=None)))
def test_clean_text_stays(text: str) -> None:
    try:
        clean = clean_query(text)
    except BadQuery:
        return
    assert clean_query(clean) == clean
    clean.encode()
