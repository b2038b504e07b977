"""Citation marks in generated text, and answers built so that every citation points somewhere.

A model numbers its passages from 1 and writes marks of several kinds; `parse_citations` takes them out
of the text and keeps those that name a passage it was given. `AnswerBuilder` makes an `Answer` of raw
sentences: citations are repaired first, then made unique, then cut to the number allowed, and only then are
references collected and numbered, so that none is out of range, dangling or left behind.

This module knows nothing of models, prompts or TREC.
"""

import re
from collections.abc import Iterable, Sequence

from ragnarok.sentences import CITATION, split_sentences
from ragnarok.types import Answer, Sentence

__all__ = ["AnswerBuilder", "build_answer", "cover_marks", "parse_citations", "uncover_marks"]

# Marks directly after a word or another bracket are indexing (`list[0]`) or links (`[text][1]`),
# those before a colon and an address define links.
_CHAIN = re.compile(rf"(?<![\w\]]){CITATION}(?:[\s,;]*{CITATION})*(?!:\s*<?https?:)", re.IGNORECASE)
# Where the text stopped in the middle of a mark.
_TORN = re.compile(r"(?<![\w\]\s])\s*\[\^?\d[\d\s,;–-]*\Z|(?<=\s)\[\^?\d[\d\s,;–-]*\Z")
_CODE = re.compile(
    r"^[^\S\n]*(?P<fence>`{3,}|~{3,})[^\n]*$.*?(?:^[^\S\n]*(?P=fence)[`~]*[^\S\n]*$|\Z)"
    r"|(?<!`)(?P<ticks>`{1,2})(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)"
    r"|(?<!`)(?P<more>`{3,})(?!`).*?(?<!`)(?P=more)(?!`)"
    r"|(?:\A|(?<=\n\n))(?:(?: {4}|\t)[^\n]*(?:\n|\Z))+",
    re.MULTILINE | re.DOTALL,
)
_NUMBERS = re.compile(r"(\d+)(?:\s*[-–—]\s*(\d+))?")
_WRAPPERS = (("**", "**"), ("<sup>", "</sup>"), ("(", ")"))
_NO_SPACE_BEFORE = frozenset(".,;:!?…)]}”’\n")
_COVER, _UNCOVER = str.maketrans("[]", "⟦⟧"), str.maketrans("⟦⟧", "[]")


def parse_citations(text: str, passages: int) -> tuple[str, tuple[int, ...]]:
    """Return the text without its marks, and the passages they cite: from 0, each once, in order.

    Marks that name no passage (0, beyond `passages`, a range that runs backwards or past the end) are
    taken out and cite nothing. What only looks like a mark stays: code, indexing, links, `[sic]`.
    """
    clean, cited, _ = _parse(text, passages)
    return clean, cited


def cover_marks(text: str) -> str:
    """A passage whose own citation marks, and what looks like them, stand in `⟦ ⟧` and so cite nothing."""
    return _CHAIN.sub(lambda chain: chain[0].translate(_COVER), text)


def uncover_marks(text: str) -> str:
    """The brackets back as they were, in text that repeats what `cover_marks` covered."""
    return text.translate(_UNCOVER)


class AnswerBuilder:
    """Makes an attributed answer sentence by sentence; a reference's number never changes once given."""

    def __init__(self, query: str, docids: Sequence[str], *, max_citations: int = 3) -> None:
        """Begin an answer from the numbered passages `docids`; a docid may be there more than once."""
        self._query, self._docids, self._max = query, docids, max_citations
        self._sentences: list[Sentence] = []
        self._references: dict[str, int] = {}
        self._notes: list[str] = []
        self._bad = self._cut = 0

    def add(self, raw: str, fallback: Sequence[int] = ()) -> list[Sentence]:
        """Take the next raw sentence; return it as it stands in the answer, or nothing if it has no text.

        `fallback` holds positions in `docids`, best first, for a sentence without a valid mark. Marks
        without text are added to the sentence before, in the finished answer.
        """
        text, cited, bad = _parse(raw, len(self._docids))
        self._bad += bad
        if text.strip():
            chosen = cited or [mark for mark in fallback if 0 <= mark < len(self._docids)]
            self._sentences.append(Sentence(text, self._cite((), chosen)))
            return self._sentences[-1:]
        if cited and self._sentences:
            last = self._sentences[-1]
            self._sentences[-1] = Sentence(last.text, self._cite(last.citations, cited))
        return []

    def quote(self, text: str, place: int) -> list[Sentence]:
        """Take a sentence of the passage at `place`, word for word: marks in it are the passage's own."""
        self._sentences.append(Sentence(text, self._cite((), [place])))
        return self._sentences[-1:]

    def note(self, text: str) -> None:
        """Add a note to the answer."""
        self._notes.append(text)

    def finish(self) -> Answer:
        """The whole answer; its notes also say what was repaired."""
        notes = list(self._notes)
        if self._bad:
            notes.append(f"{self._bad} citation(s) named none of the {len(self._docids)} passages, dropped")
        if self._cut:
            notes.append(f"{self._cut} sentence(s) cited over {self._max} passages, only the first kept")
        return Answer(self._query, tuple(self._sentences), tuple(self._references), tuple(notes))

    def _cite(self, before: Sequence[int], cited: Iterable[int]) -> tuple[int, ...]:
        """Positions in the references: made unique by docid, then cut to the number allowed."""
        names = list(self._references)
        unique = list(dict.fromkeys([*(names[old] for old in before), *(self._docids[c] for c in cited)]))
        self._cut += len(unique) > self._max
        return tuple(self._references.setdefault(name, len(self._references)) for name in unique[: self._max])


def build_answer(
    query: str,
    raw_text: str,
    docids: Sequence[str],
    *,
    fallback: Sequence[Sequence[int]] | None = None,
    max_citations: int = 3,
) -> Answer:
    """Make an attributed answer of all that a model wrote about the numbered passages `docids`.

    `fallback[i]` holds positions in `docids`, best first, for the i-th of `split_sentences(raw_text)`;
    it is used where that sentence has no valid mark. References are the docids cited, in order of
    first citation.
    """
    builder = AnswerBuilder(query, docids, max_citations=max_citations)
    for number, raw in enumerate(split_sentences(raw_text)):
        builder.add(raw, fallback[number] if fallback is not None and number < len(fallback) else ())
    return builder.finish()


def _parse(text: str, passages: int) -> tuple[str, tuple[int, ...], int]:
    """As `parse_citations`, and how many numbers or ranges in marks were dropped."""
    cited: dict[int, None] = {}
    dropped = 0
    pieces: list[str] = []  # what is kept, in order
    at = 0
    for start, end in _marks(text):
        for first, last in _NUMBERS.findall(text[start:end]):
            low, high = int(first), int(last or first)
            if 1 <= low <= high <= passages:
                cited.update(dict.fromkeys(range(low - 1, high)))
            else:
                dropped += 1
        before = text[at:start]
        for opens, closes in _WRAPPERS:  # "([1])" and "**[1]**" leave nothing behind
            if before.endswith(opens) and text.startswith(closes, end):
                before, end = before.removesuffix(opens), end + len(closes)
        pieces.append(before)
        at = _close_gap(pieces, text, end)
    pieces.append(text[at:])
    clean = "".join(pieces)
    if torn := _TORN.search(clean):
        clean = clean[: torn.start()]
        dropped += 1
    return (clean.rstrip() if clean != text else clean), tuple(cited), dropped


def _marks(text: str) -> Iterable[tuple[int, int]]:
    """The spans of runs of marks outside code."""
    codes = [(code.start(), code.end()) for code in _CODE.finditer(text)]
    for chain in _CHAIN.finditer(text):
        while codes and codes[0][1] <= chain.start():
            codes.pop(0)
        if not codes or chain.end() <= codes[0][0]:
            yield chain.start(), chain.end()


def _close_gap(pieces: list[str], text: str, end: int) -> int:
    """Mend the white space where a mark was taken out; return where the text goes on."""
    while pieces and not pieces[-1]:
        pieces.pop()
    last = pieces[-1] if pieces else ""
    trimmed = last.rstrip(" \t")
    goes_on = end
    while goes_on < len(text) and text[goes_on] in " \t":
        goes_on += 1
    following = text[goes_on : goes_on + 1]
    if not trimmed or trimmed.endswith("\n"):
        return goes_on  # the mark began its line
    if following == "" or following in _NO_SPACE_BEFORE:
        pieces[-1] = trimmed
    elif trimmed != last or goes_on > end:
        pieces[-1] = trimmed + " "
    return goes_on
