"""Cutting of long texts: into sections by their headings, and into passages of whole paragraphs.

Knows Markdown's and reStructuredText's headings and code fences, and nothing else of those languages.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

Markup = Literal["markdown", "rst", "plain"]
WORDS = 150

_ATX = re.compile(r"#{1,6}\s+(.*?)\s*#*")
_FENCE = re.compile(r"\s*(```+|~~~+)")
_RULER = re.compile(r"([=\-~*^\"'`#+.:_])\1{2,}")
_SPLITS = ((r"\n", "\n"), (r"(?<=[.!?])\s+", " "), (r"\s+", " "))


def sections(text: str, markup: Markup) -> Iterator[tuple[str, list[str]]]:
    """Each heading with its paragraphs, in order; text before the first heading comes under an empty one.

    A section without paragraphs is given too, as its heading may be the text's title.
    """
    heading, fence = "", ""
    blocks: list[str] = []
    block: list[str] = []
    lines = [*text.expandtabs().splitlines(), ""]
    skip = 0
    for number, line in enumerate(lines):
        if skip:
            skip -= 1
            continue
        opened = _FENCE.match(line) if markup == "markdown" else None
        if opened:
            # A fence ends only with its own kind, at least as long.
            fence = "" if fence and opened[1].startswith(fence) else fence or opened[1]
        found, skip = ("", 0) if fence or block or opened else _heading(lines, number, markup)
        if found:
            if heading or blocks:
                yield heading, blocks
            heading, blocks = found, []
        elif line.strip() or fence:
            block.append(line.rstrip())
        elif block:
            blocks.append("\n".join(block).strip("\n"))
            block = []
    if block:
        blocks.append("\n".join(block).strip("\n"))
    if heading or blocks:
        yield heading, blocks


def passages(blocks: Iterable[str], words: int = WORDS) -> Iterator[str]:
    """The paragraphs packed, in order, into passages of at most so many words.

    A longer paragraph is cut at line ends, else between sentences, else between words.
    """
    return _pack(chain.from_iterable(_pieces(block, words) for block in blocks), "\n\n", words)


def _heading(lines: list[str], number: int, markup: Markup) -> tuple[str, int]:
    """The heading that starts at a line and how many further lines it takes; an empty one if none does."""
    line = lines[number]
    if markup == "plain" or not line.strip():
        return "", 0
    if markup == "markdown" and (match := _ATX.fullmatch(line)):
        return match[1], 0
    following = lines[number + 1 : number + 3]
    if markup == "rst" and _RULER.fullmatch(line) and len(following) == 2 and following[1] == line:
        return following[0].strip(), 2
    ruler = following[0].rstrip() if following else ""
    if not _RULER.fullmatch(ruler) or line[0].isspace() or _RULER.fullmatch(line):
        return "", 0
    if markup == "markdown" and ruler[0] not in "=-":
        return "", 0
    return line.strip(), 1


def _pieces(block: str, words: int) -> Iterator[str]:
    if len(block.split()) <= words:
        return iter((block,))
    for pattern, joint in _SPLITS:
        parts = [part for part in re.split(pattern, block) if part]
        if len(parts) > 1:
            return _pack(chain.from_iterable(_pieces(part, words) for part in parts), joint, words)
    return iter((block,))


def _pack(texts: Iterable[str], joint: str, words: int) -> Iterator[str]:
    held: list[str] = []
    count = 0
    for text in texts:
        size = len(text.split())
        if held and count + size > words:
            yield joint.join(held)
            held, count = [], 0
        held.append(text)
        count += size
    if held:
        yield joint.join(held)
