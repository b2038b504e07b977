"""What a model's work is counted in: the kinds of token that it runs.

Knows the names alone; nothing of who counts, nor of who is told.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

TokenKind = Literal["rerank_query", "rerank_passages", "rerank_prompt", "answer_prompt", "answer"]
"""`rerank_query`: questions, with what frames them, where passages are read apart from them;
`rerank_passages`: passages so read that no store held; `rerank_prompt`: prompts that hold both;
`answer_prompt`: what a generator reads, and `answer`: what it writes."""

Counted = Callable[[TokenKind, int], None]
"""Hears how many tokens of a kind were run, from whatever thread ran them."""


@runtime_checkable
class Counts(Protocol):
    """What runs tokens and can say how many."""

    def count_to(self, counted: Counted, /) -> None:
        """Tell `counted` from now on, and nobody else."""


def uncounted(_kind: TokenKind, _tokens: int, /) -> None:
    """Nobody counts."""
