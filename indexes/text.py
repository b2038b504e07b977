"""Cleaning of text at the doors: what no encoder, database or index can take is replaced, nothing else."""

import re

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def replace_surrogates(text: str) -> str:
    """The text with halves of surrogate pairs (legal in JSON, impossible in UTF-8) as U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def clean_query(query: str) -> str:
    """The query with control characters as spaces and halves of surrogate pairs as U+FFFD."""
    return _CONTROL.sub(" ", replace_surrogates(query)).strip()
