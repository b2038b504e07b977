"""An explained score made readable: the text in pieces that carry what they add, and a page of HTML.

The page needs nothing but itself, and is readable on light and dark screens. Whatever comes from outside
(question, text, names) is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rerank.icr import TokenScore
    from rerank.late.explain import Explanation

STRONGEST = 12
"""Heads that a page lists."""

FULL = 0.6
"""Opacity of the strongest piece's background: text in front stays readable on any ground."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.7 system-ui, sans-serif; margin: 2rem auto; max-width: 48rem; padding: 0 1rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { color: inherit; border-radius: .2em; }
.unread { opacity: .6; }
td, th { text-align: left; padding-right: 1.5rem; font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text, what it adds to the score, and that as a share (−1 to 1) of the strongest piece."""

    text: str
    score: float
    share: float


def pieces(text: str, tokens: Sequence[TokenScore]) -> list[Piece]:
    """The text up to its last token, piece by piece: tokens that share a character are one piece."""
    spans: list[tuple[int, int, float]] = []
    reached = 0
    for token in tokens:
        if token.start > reached:
            spans.append((reached, token.start, 0.0))
        elif spans and token.start < reached:
            start, end, score = spans.pop()
            spans.append((start, max(end, token.end), score + token.score))
            reached = max(reached, token.end)
            continue
        if token.end > token.start:
            spans.append((token.start, token.end, token.score))
        reached = max(reached, token.end)
    strongest = max((abs(score) for *_, score in spans), default=0.0) or 1.0
    return [Piece(text[start:end], score, score / strongest) for start, end, score in spans]


def explanation_html(query: str, text: str, explanation: Explanation) -> str:
    """A whole page: question, score as a sum, the text with its pieces coloured, the strongest heads."""
    parts = pieces(text, explanation.tokens)
    unread = text[sum(len(piece.text) for piece in parts) :]
    body = "".join(_marked(piece) for piece in parts)
    if unread:
        body += f'<span class="unread" title="not read">{escape(unread)}</span>'
    heads = sorted(explanation.heads, key=lambda head: -abs(head.contribution))[:STRONGEST]
    rows = "".join(
        f"<tr><td>{head.layer}-{head.head}</td><td>{head.rows}</td><td>{head.contribution:+.4f}</td></tr>"
        for head in heads
    )
    added = explanation.score - explanation.constant
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(query)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1 dir="auto">{escape(query)}</h1>\n'
        f"<p>Score {explanation.score:+.4f} = {explanation.constant:+.4f} (an even text) "
        f"{added:+.4f} (its words)</p>\n"
        f'<p class="text" dir="auto">{body}</p>\n'
        f"<table><tr><th>head</th><th>rows</th><th>adds</th></tr>{rows}</table>\n</body></html>\n"
    )


def _marked(piece: Piece) -> str:
    shown = escape(piece.text)
    if abs(piece.share) < 0.05:
        return shown
    colour = "255 170 0" if piece.share > 0 else "70 130 255"
    return (
        f'<mark style="background:rgb({colour}/{abs(piece.share) * FULL:.2f})" title="{piece.score:+.4f}">'
        f"{shown}</mark>"
    )
