"""Names that would tell who answers, hidden in what an answer says, until it has been voted on.

A model that is asked may well say who it is. Names are exact: whole words, in capitals or not; what a name
means, and whether an ordinary word is one, this module does not know. Passages are left as they are.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from ragnarok.arena.types import Battle, Output
from ragnarok.types import Sentence

HIDDEN = "[name hidden]"
"""What stands in a name's place, however long it is."""


class Mask:
    """Hides names. Threads may share it."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Hide these; empty ones are passed over."""
        # The longest first: one name may begin with another.
        words = sorted({" ".join(name.split()) for name in names} - {""}, key=lambda name: (-len(name), name))
        told = "|".join(r"\s+".join(map(re.escape, name.split(" "))) for name in words)
        self._names = re.compile(rf"(?<!\w)(?:{told})(?!\w)", re.IGNORECASE) if words else None

    def text(self, text: str) -> str:
        """The text with `HIDDEN` in the place of each name."""
        return text if self._names is None else self._names.sub(HIDDEN, text)

    def sentence(self, sentence: Sentence) -> Sentence:
        """The sentence with its names hidden."""
        return replace(sentence, text=self.text(sentence.text))

    def battle(self, battle: Battle) -> Battle:
        """The battle with the names in both answers hidden."""
        return replace(battle, a=self._output(battle.a), b=self._output(battle.b))

    def _output(self, output: Output) -> Output:
        sentences = tuple(map(self.sentence, output.answer.sentences))
        return replace(output, answer=replace(output.answer, sentences=sentences))
