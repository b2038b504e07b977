"""The one door for questions: what is kept of a question's characters, and which questions are refused.

Knows nothing of retrieval or HTTP, and of a model only how many tokens a question has for it: text in, clean
text out, or BadQuery, which names the topic where it is one's question.
"""

import unicodedata
from typing import Protocol

from ragnarok.errors import BadQuery
from ragnarok.types import Topic

__all__ = [
    "MAX_QUERY_CHARACTERS",
    "MAX_QUERY_TOKENS",
    "MAX_QUERY_WORDS",
    "check_tokens",
    "clean_query",
    "clean_topic",
]

MAX_QUERY_WORDS = 1_000
MAX_QUERY_CHARACTERS = 10_000
MAX_QUERY_TOKENS = 2_048
"""A model runs each of them and matches it with every passage; 1,000 words of English are some 1,300."""

_WAY_OUT = "ask the question in a few sentences and leave the material to the index"


class Encodes(Protocol):
    """A model that makes tokens of texts (`rerank.model.Model`)."""

    name: str

    def encode(self, texts: list[str], /) -> list[list[int]]:
        """The token ids of each text."""


def clean_query(text: str) -> str:
    """Return the question with control characters and runs of white space each made one space.

    Everything else stays as it is: right-to-left text and its marks, emoji and their joiners.

    Raises:
        BadQuery: nothing visible is left, or the question is longer than the limits.
    """
    query = " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cs"} else c for c in text).split())
    # Format characters (joiners, direction marks) alone are as empty as white space.
    if all(unicodedata.category(c) in {"Cf", "Zs"} for c in query):
        raise BadQuery(f"the question is empty ({len(text)} characters, none of them visible); ask something")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise BadQuery(
            f"the question has {len(query):,} characters, the limit is {MAX_QUERY_CHARACTERS:,}; {_WAY_OUT}"
        )
    if (words := len(query.split())) > MAX_QUERY_WORDS:
        raise BadQuery(f"the question has {words:,} words, the limit is {MAX_QUERY_WORDS:,}; {_WAY_OUT}")
    return query


def check_tokens(query: str, model: Encodes) -> None:
    """Refuse a question of more tokens than `model` should run: digits, signs and rare letters are one each.

    Raises `BadQuery`.
    """
    # A token is a byte or more: most questions need not be counted.
    if len(query.encode(errors="replace")) <= MAX_QUERY_TOKENS:
        return
    if (tokens := len(model.encode([query])[0])) > MAX_QUERY_TOKENS:
        raise BadQuery(
            f"the question has {tokens:,} tokens of {model.name}, "
            f"the limit is {MAX_QUERY_TOKENS:,}; {_WAY_OUT}"
        )


def clean_topic(topic: Topic) -> str:
    """A topic's question, clean. Raises `BadQuery`, which names the topic."""
    try:
        return clean_query(topic.text)
    except BadQuery as error:
        raise BadQuery(f"topic {topic.qid!r}: {error}") from error
