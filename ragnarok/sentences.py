"""Sentences of generated text, from the whole text or while it is still being written.

There is one splitter, `SentenceStream`; `split_sentences` feeds it the whole text at once, so that a
streamed answer and a finished one never differ. Text is read left to right, block by block:

- a fenced or indented code block is one sentence, and inline code is never cut;
- a list item starts a sentence and keeps its marker; a line end ends a sentence, unless the next line
  plainly goes on with it (it starts in lower case and this one did not end);
- within a line, pysbd judges each full stop from the words before it and the one after it
  (abbreviations, initials, decimals); nothing is cut inside brackets or quotes that close soon after;
- citation marks that follow a sentence belong to it, also on a line of their own.

Nothing but white space between sentences is lost. This module knows what a citation mark looks like
(`CITATION`), because it must not cut one off; what it cites is the business of `ragnarok.citations`.
"""

import re
import warnings
from functools import cache, lru_cache

with warnings.catch_warnings():
    # pysbd's source has escape sequences that Python warns of when it first compiles them.
    warnings.simplefilter("ignore")
    import pysbd

__all__ = ["CITATION", "SentenceStream", "split_sentences"]

_NAMES = r"(?:doc(?:ument)?|passage|source|ref(?:erence)?|citation|context)s?\.?[^\S\n]*[#:]?"
_ITEM = rf"(?:\^|{_NAMES})?[^\S\n]*\d{{1,6}}(?:[^\S\n]*[-–—][^\S\n]*\d{{1,6}})?"
_AND = r"[^\S\n]*(?:,|;|&|\band\b)[^\S\n]*"

CITATION = rf"\[[^\S\n]*{_ITEM}(?:{_AND}{_ITEM})*[^\S\n]*\](?!\()"
"""A pattern (case-insensitive) for `[1]`, `[1, 2]`, `[1-3]`, `[^1]`, `[Doc 1]`; not for links."""

_FLAGS = re.IGNORECASE
_CLOSERS = r"""["'”’»)\]}*_]*"""
_MARKS = re.compile(rf"(?:[^\S\n]*[,;]?[^\S\n]*{CITATION})*", _FLAGS)
_MARKS_LINE = re.compile(rf"(?:{CITATION}[^\S\n]*[,;.]?[^\S\n]*)+(?=\n|\Z)", _FLAGS)
_STOP = re.compile(
    rf"(?P<line>\n)|(?P<code>`+)|(?P<wide>[。！？｡]+{_CLOSERS})"
    rf"|(?P<stop>(?<![.!?…؟۔।॥])[.!?…؟۔।॥]++{_CLOSERS}+)(?=\s|\[|\Z)"
)
_ENDED = re.compile(rf"[.!?…؟۔।॥。！？:;]{_CLOSERS}(?:[^\S\n]*{CITATION})*[^\S\n]*\Z", _FLAGS)
_MARKER = re.compile(r"(?:[-*+•–]|\d{1,3}[.)]|[a-z][.)]|\((?:\d{1,3}|[a-z])\))[^\S\n]+", _FLAGS)
_FENCE = re.compile(r"(?P<backticks>`{3,})[^`\n]*(?:\n|\Z)|(?P<tildes>~{3,})[^\n]*(?:\n|\Z)")
_INDENTED = re.compile(r"(?:[^\S\n]*\n|(?: {4}|\t)[^\n]*(?:\n|\Z))*")
_SPACE, _GAP, _WORD = re.compile(r"\s*"), re.compile(r"[^\S\n]*"), re.compile(r"\S{1,40}")
_COMMA = re.compile(r"[^\S\n]*[,;]?[^\S\n]*")
_PAIRS = (("(", ")"), ("“", "”"), ("«", "»"))

# Lookahead after which a decision is made whatever follows: it must not depend on how text arrives.
_BLOCK_AHEAD, _MARK_AHEAD, _MARKS_LINE_AHEAD, _PAIR_AHEAD = 8, 64, 200, 300
# What pysbd is shown before a full stop, and how often it is asked in one text (about .5 ms each).
_BEFORE, _QUESTIONS = 160, 1_000


def split_sentences(text: str) -> list[str]:
    """Split text into sentences, citation marks kept with the sentence before them."""
    stream = SentenceStream()
    return stream.feed(text) + stream.close()


class SentenceStream:
    """Takes text in pieces and gives each sentence, marks and all, as soon as it is certain."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0  # the first character not yet given out
        self._resume = 0  # where the search for the end of the current sentence goes on
        self._begun = False
        self._in_list = False
        self._asked = 0

    def feed(self, piece: str) -> list[str]:
        """Take the next piece of text; return the sentences that are now certain."""
        self._text = self._text[self._at :] + piece
        self._resume = max(0, self._resume - self._at)
        self._at = 0
        return self._take(final=False)

    def close(self) -> list[str]:
        """End the text; return the sentences that were still open."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[str]:
        sentences = []
        while (span := self._next(final)) is not None:
            start, end = span
            sentences.append(self._text[start:end].rstrip())
            self._at = self._resume = end
            self._begun = True
        return sentences

    def _next(self, final: bool) -> tuple[int, int] | None:
        """The next sentence's span, or None when more text is needed (or none is left)."""
        text = self._text
        start = _end(_SPACE, text, self._at)
        if start == len(text):
            return None
        line_start = text.rfind("\n", self._at, start) + 1 or self._at
        if self._begun and line_start == self._at:
            return self._prose(start, start, final)
        if not final and len(text) - start < _BLOCK_AHEAD and "\n" not in text[start:]:
            return None
        if fence := _FENCE.match(text, start):
            self._in_list = False
            return self._span(start, _fence_end(text, fence, final), final)
        after_blank = not self._begun or text.count("\n", self._at, start) > 1
        indent = text[line_start:start].expandtabs(4)
        marker = _MARKER.match(text, start)
        if after_blank and len(indent) >= 4 and not marker and not self._in_list:
            end = _end(_INDENTED, text, line_start)
            if not final and not text[end:].strip():
                return None
            return self._span(line_start, line_start + len(text[line_start:end].rstrip()), final)
        self._in_list = marker is not None or (self._in_list and bool(indent))
        return self._prose(start, marker.end() if marker else start, final)

    def _prose(self, start: int, body: int, final: bool) -> tuple[int, int] | None:
        """A sentence that starts at `start`; its first full stop is looked for from `body`."""
        text = self._text
        at = max(self._resume, body)
        end: int | None = None
        while end is None:
            self._resume = at
            stop = _STOP.search(text, at)
            if stop is None:
                # A run of stops or backticks at the end matches, so only ordinary text is passed over.
                self._resume = max(at, len(text) - 1)
                return (start, len(text)) if final else None
            if stop["line"]:
                wraps = self._wraps(body, stop.start(), final)
                if wraps is None:
                    return None
                if not wraps:
                    return self._span(start, stop.start(), final)
                after: int | None = _end(_SPACE, text, stop.start())
            elif stop["code"]:
                after = _code_end(text, stop, final)
            else:
                after, end = self._judge(body, stop, final)
            if after is None:
                return None
            at = after
        return start, end

    def _judge(self, body: int, stop: re.Match[str], final: bool) -> tuple[int | None, int | None]:
        """Where the search goes on (None: more text is needed), and the sentence's end if it ends here."""
        text = self._text
        end = _end(_MARKS, text, stop.end())
        then = _end(_GAP, text, end)
        if not final:
            # Another mark may be on its way, after a comma too.
            more = text[_end(_COMMA, text, end) :]
            if not more or (more[0] == "[" and "]" not in more and len(more) < _MARK_AHEAD):
                return None, None
        elif then == len(text):
            return then, None
        if text[then] == "\n":
            return then, None
        if stop["wide"]:
            return then, end
        if then == end:
            return then, None
        word = _WORD.match(text, then)
        if word is None or (not final and word.end() == len(text) and len(word[0]) < 40):
            return None, None
        before = text[max(body, stop.end() - _BEFORE) : stop.end()]
        closes = _closes(before, text, then, final)
        if closes is None:
            return None, None
        if closes:
            return then, None
        self._asked += 1
        if stop[0][0] in "؟۔।॥":
            ends = True
        elif self._asked > _QUESTIONS:
            ends = not word[0][0].islower()
        else:
            ends = _ends(_plain(before), len(stop[0]), _plain(word[0]))
        return then, (end if ends else None)

    def _wraps(self, body: int, newline: int, final: bool) -> bool | None:
        """Whether the line after `newline` goes on with the sentence; None when that is not yet known."""
        text = self._text
        then = _end(_SPACE, text, newline)
        if not final and len(text) - then < _BLOCK_AHEAD and "\n" not in text[then:]:
            return None
        return (
            then < len(text)
            and text[then].islower()
            and text.count("\n", newline, then) == 1
            and not _MARKER.match(text, then)
            and not _ENDED.search(text, max(body, newline - 80), newline)
        )

    def _span(self, start: int, end: int | None, final: bool) -> tuple[int, int] | None:
        """The span up to the end of a line, with the lines of nothing but marks that follow it."""
        text = self._text
        while end is not None:
            then = _end(_SPACE, text, end)
            if then == len(text):
                return (start, end) if final else None
            if text[then] != "[":
                break
            newline = text.find("\n", then)
            length = (len(text) if newline < 0 else newline) - then
            if newline < 0 and length < _MARKS_LINE_AHEAD and not final:
                return None
            marks = _MARKS_LINE.match(text, then) if length < _MARKS_LINE_AHEAD else None
            if marks is None:
                break
            end = marks.end()
        return None if end is None else (start, end)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that also matches nothing ends."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _fence_end(text: str, fence: re.Match[str], final: bool) -> int | None:
    """The end of a fenced block: its closing line, or the end of the text; None when not yet seen."""
    tick, count = fence[0][0], len(fence["backticks"] or fence["tildes"])
    close = _closing_fence(tick, count).search(text, fence.end())
    if close and (final or close.end() < len(text)):
        return close.end()
    return len(text) if final else None


@cache
def _closing_fence(tick: str, count: int) -> re.Pattern[str]:
    return re.compile(rf"^[^\S\n]*{tick}{{{count},}}[^\S\n]*$", re.MULTILINE)


def _code_end(text: str, opening: re.Match[str], final: bool) -> int | None:
    """The end of inline code: one or two backticks close on their line, more of them anywhere."""
    count = len(opening[0])
    if opening.end() == len(text):
        return len(text) if final else None
    newline = text.find("\n", opening.end()) if count < 3 else -1
    limit = len(text) if newline < 0 else newline
    close = re.compile(rf"(?<!`)`{{{count}}}(?!`)").search(text, opening.end(), limit)
    if close and (final or close.end() < len(text)):
        return close.end()
    return opening.end() if final or newline >= 0 else None


def _closes(before: str, text: str, then: int, final: bool) -> bool | None:
    """Whether brackets or quotes open in `before` close soon on the same line; None when not yet known."""
    before = re.sub(r"`[^`\n]*`", "", before)
    closers = [close for opens, close in _PAIRS if before.count(opens) > before.count(close)]
    if before.count('"') % 2:
        closers.append('"')
    if not closers:
        return False
    ahead = text[then : then + _PAIR_AHEAD]
    line, newline, _ = ahead.partition("\n")
    if any(close in line for close in closers):
        return True
    return None if not final and not newline and len(ahead) < _PAIR_AHEAD else False


def _plain(text: str) -> str:
    """What pysbd is shown: code, emphasis and other scripts as plain letters.

    pysbd marks its decisions with rare characters of its own, which must not be in the text already.
    """
    text = re.sub(r"`[^`\n]*`", "x", text).replace("…", ".")
    return re.sub(r"[^ -~À-ɏ“”‘’]|[ȸ`]", "x", re.sub(r"\s+", " ", text))


@lru_cache(maxsize=4_096)
def _ends(before: str, stop: int, word: str) -> bool:
    """Whether pysbd starts a sentence within the last `stop` characters of `before` or at `word`."""
    # A word after the next one, because some of its rules look for the space between.
    spans = _segmenter().segment(f"{before} {word} and")
    return any(len(before) - stop < span.start <= len(before) + 1 for span in spans)


@cache
def _segmenter() -> "pysbd.Segmenter":
    return pysbd.Segmenter(language="en", clean=False, char_span=True)
