"""Names that would tell who answers, hidden in what an answer says, until it has been voted on.

A model that is asked may well say who it is. Names are exact: whole words, in capitals or not; what a name
means, and whether an ordinary word is one, this module does not know. Signs are `signs`' subject. Passages
are left as they are.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from ragnarok.arena.signs import patterns
from ragnarok.arena.types import Battle, Output
from ragnarok.types import Sentence

HIDDEN = "[name hidden]"
"""What stands in a name's place, however long it is."""


class Mask:
    """Hides names. Threads may share it."""

    def __init__(self, names: Iterable[str] = (), signs: Iterable[str] = ()) -> None:
        """Hide these, and signs where they tell of a system; empty ones are passed over."""
        # The longest first: one name may begin with another.
        words = sorted({" ".join(name.split()) for name in names} - {""}, key=lambda name: (-len(name), name))
        told = "|".join(r"\s+".join(map(re.escape, name.split(" "))) for name in words)
        named = [re.compile(rf"(?<!\w)(?P<told>{told})(?!\w)", re.IGNORECASE)] if words else []
        self._patterns = (*named, *patterns(signs))

    def text(self, text: str) -> str:
        """The text with `HIDDEN` in the place of each name."""
        pieces, at = [], 0
        for start, end in self._found(text):
            pieces += [text[at:start], HIDDEN]
            at = end
        return "".join([*pieces, text[at:]])

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where names and signs stand, in order; those that overlap are one."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted(
            found.span("told") for pattern in self._patterns for found in pattern.finditer(text)
        ):
            if joined and start < joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((start, end))
        return joined

    def sentence(self, sentence: Sentence) -> Sentence:
        """The sentence with its names hidden."""
        return replace(sentence, text=self.text(sentence.text))

    def battle(self, battle: Battle) -> Battle:
        """The battle with the names in both answers hidden."""
        return replace(battle, a=self._output(battle.a), b=self._output(battle.b))

    def _output(self, output: Output) -> Output:
        sentences = tuple(map(self.sentence, output.answer.sentences))
        return replace(output, answer=replace(output.answer, sentences=sentences))
