"""Re-ranking by a model's attention, joined with what the first stage knew."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Protocol

from ragnarok.query import check_tokens
from ragnarok.types import Highlight, Hit, RankedHit
from rerank.counts import Counted, Counts
from rerank.fuse import fuse
from rerank.icr import Reading, TokenScore
from rerank.model import Model

HIGHLIGHT_FROM = 0.3
"""Words are highlighted that drew at least this share of what the passage's strongest word drew."""

_WORD = re.compile(r"\w[\w\u0300]*")
"""A word of a text whose combining marks `_plain` has made one and the same."""


class Reader(Protocol):
    """What looks at a list of passages: in-context re-ranking, in one prompt or over passages read alone."""

    model: Model

    def read(self, query: str, passages: Sequence[str], /) -> Reading:
        """The scores of the passages, and what each of their tokens says."""


class AttentionReranker:
    """Ranks by in-context re-ranking, fused with the first stage's ranks."""

    def __init__(self, reader: Reader, *, first_stage: float = 1.0) -> None:
        """`first_stage` weighs the first stage's rank against attention; 0 is attention alone."""
        self.reader = reader
        self.first_stage = first_stage

    def rerank(self, query: str, hits: Sequence[Hit]) -> list[RankedHit]:
        """The same hits, best first, with highlighted words; scores compare within this list only.

        Raises `BadQuery`, `ContextTooSmall` and `NumericalError`.
        """
        check_tokens(query, self.reader.model)
        reading = self.reader.read(query, [hit.passage.contents for hit in hits])
        scores = fuse(reading.scores, [hit.rank for hit in hits], self.first_stage)
        marks = [highlights(hit, tokens) for hit, tokens in zip(hits, reading.tokens, strict=True)]
        return ranked(hits, scores, best_first(hits, scores), marks, reading.cut)

    def count_to(self, counted: Counted) -> None:
        """Tell `counted` of the reader's tokens, if it says how many they are."""
        if isinstance(self.reader, Counts):
            self.reader.count_to(counted)


def best_first(hits: Sequence[Hit], scores: Sequence[float]) -> list[int]:
    """The hits' places by their new scores; where these are equal, as the first stage had them."""
    return sorted(range(len(hits)), key=lambda place: (-scores[place], hits[place].rank))


def ranked(
    hits: Sequence[Hit],
    scores: Sequence[float],
    order: Sequence[int],
    marks: Sequence[tuple[Highlight, ...]],
    cut: Sequence[bool],
) -> list[RankedHit]:
    """The hits in `order`, each with its score, its highlights and what the first stage had said."""
    return [
        RankedHit(
            docid=hits[place].docid,
            score=scores[place],
            rank=rank,
            passage=hits[place].passage,
            first_rank=hits[place].rank,
            first_score=hits[place].score,
            highlights=marks[place],
            cut=cut[place],
        )
        for rank, place in enumerate(order, start=1)
    ]


def highlights(hit: Hit, tokens: Sequence[TokenScore]) -> tuple[Highlight, ...]:
    """The words of the passage's text that drew most attention, in reading order."""
    shift = len(hit.passage.contents) - len(hit.passage.text)
    text = hit.passage.text
    drawn = [0.0] * (len(text) + 1)
    for token in tokens:
        # A token's score stands at its first letter, so that each counts once in the word around it.
        letters = text[max(token.start - shift, 0) : max(token.end - shift, 0)]
        first = token.start - shift + len(letters) - len(letters.lstrip())
        if token.start >= shift and first < len(text):
            drawn[first] += token.score
    words = [(m.start(), m.end(), sum(drawn[m.start() : m.end()])) for m in _WORD.finditer(_plain(text))]
    strongest = max((score for *_, score in words), default=0.0)
    if strongest <= 0:
        return ()
    shares = [(start, end, score / strongest) for start, end, score in words]
    return tuple(Highlight(start, end, share) for start, end, share in shares if share >= HIGHLIGHT_FROM)


def _plain(text: str) -> str:
    """The text, as long as it was, with every combining mark (vowel signs, accents) as U+0300."""
    return "".join("\u0300" if unicodedata.category(c)[0] == "M" else c for c in text)
