"""Answers and evidence on a terminal, and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from ragnarok.pipeline import Result
from ragnarok.types import Answer, Highlight, Hit, RankedHit, Sentence

SNIPPET = 420
"""Characters of a passage shown: those around the words that drew most attention."""


def result_json(result: Result) -> dict[str, Any]:
    """A result as plain data; passages beside their hits."""
    return asdict(result)


def hits_json(hits: Iterable[Hit]) -> list[dict[str, Any]]:
    """Hits as plain data."""
    return [asdict(hit) for hit in hits]


def sentence_text(sentence: Sentence) -> Text:
    """A sentence and its citations, numbered from 1."""
    text = Text(_flat(sentence.text))
    for citation in sentence.citations:
        text.append(f" [{citation + 1}]", style="bold cyan")
    return text


def answer_text(answer: Answer) -> RenderableType:
    """The answer, a sentence a line, and what there is to say about it."""
    lines: list[RenderableType] = [sentence_text(sentence) for sentence in answer.sentences]
    lines += [Text(f"note: {note}", style="dim italic") for note in answer.notes]
    return Group(*lines)


def evidence(console: Console, answer: Answer, hits: Sequence[RankedHit]) -> RenderableType:
    """The cited passages, with what re-ranking changed and the words that drew attention."""
    by_docid = {hit.docid: hit for hit in hits}
    panels = [
        _passage(console, f"[{number}] ", by_docid[docid])
        for number, docid in enumerate(answer.references, start=1)
        if docid in by_docid
    ]
    return Group(*panels)


def hit_list(console: Console, hits: Sequence[Hit]) -> RenderableType:
    """Hits one below the other."""
    return Group(*(_passage(console, "", hit) for hit in hits))


def _passage(console: Console, mark: str, hit: Hit) -> RenderableType:
    title = Text(mark, style="bold cyan")
    title.append(_flat(hit.passage.title) or hit.docid, style="bold")
    marks = hit.highlights if isinstance(hit, RankedHit) else ()
    body = highlighted(hit.passage.text, marks, plain=console.color_system is None)
    if hit.passage.url:
        body.append(f"\n{_flat(hit.passage.url)}", style="dim")
    foot = _move(hit).append(hit.docid, style="dim")
    return Panel(body, title=title, title_align="left", subtitle=foot, subtitle_align="left")


def _move(hit: Hit) -> Text:
    if not isinstance(hit, RankedHit):
        return Text(f"rank {hit.rank}, score {hit.score:.3f}  ", style="bold")
    arrow, style = ("=", "dim")
    if hit.rank != hit.first_rank:
        arrow, style = ("▲", "bold green") if hit.rank < hit.first_rank else ("▼", "yellow")
    text = Text(f"rank {hit.first_rank} → {hit.rank} {arrow}  ", style=style)
    if hit.cut:
        text.append("(read in part)  ", style="yellow")
    return text


def highlighted(text: str, marks: Sequence[Highlight], *, plain: bool = False) -> Text:
    """The part of `text` around its strongest words, those words marked: in colour, or «so» when plain."""
    start, end = _window(text, marks)
    shown = Text("… " if start else "")
    place = start
    for mark in marks:
        if mark.start < start or mark.end > end:
            continue
        shown.append(_flat(text[place : mark.start]))
        word = text[mark.start : mark.end]
        style = "bold black on yellow" if mark.weight > 0.66 else "bold yellow"
        shown.append(f"«{word}»" if plain else word, style=style)
        place = mark.end
    shown.append(_flat(text[place:end]))
    return shown.append(" …" if end < len(text) else "")


def _window(text: str, marks: Sequence[Highlight]) -> tuple[int, int]:
    """The `SNIPPET` characters that hold the most highlighted weight, from the start of a word."""
    if len(text) <= SNIPPET:
        return 0, len(text)
    begins = [0, *(max(mark.start - SNIPPET // 6, 0) for mark in marks)]
    weight = [sum(m.weight for m in marks if b <= m.start and m.end <= b + SNIPPET) for b in begins]
    start = begins[weight.index(max(weight))]
    start = text.rfind(" ", 0, start) + 1 if start else 0
    return start, min(start + SNIPPET, len(text))


def _flat(text: str) -> str:
    """White space as single spaces, and no control characters: a passage cannot speak to the terminal."""
    return "".join(" " if c.isspace() else c for c in text if c.isprintable() or c.isspace())
