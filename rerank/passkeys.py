"""Passkey texts: long filler with things to be remembered in it, and the questions that ask for them.

The training data of DuoAttention (arXiv 2410.10819), made of any text: passkeys of NATO words are put into it
at random depths, and a question and its answer for each of them follows. Nothing here knows of attention.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rerank.errors import BadPolicy, ContextTooSmall
from rerank.model import Model

# fmt: off
WORDS = (
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
    "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor",
    "whiskey", "xray", "yankee", "zulu",
)
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)
# fmt: on
NEEDLE = "\n\nRemember this sequence of words. It is the {ordinal} passkey to the vault: {passkey}\n\n"
QUESTION = "\n\nBased on the text above, what is the {ordinal} passkey to the vault?\nPasskey:"
DEPTHS = (0.05, 0.95)
"""Between which shares of the filler passkeys lie."""


@dataclass(frozen=True, slots=True)
class PasskeyText:
    """Token ids, and which of them answer a question."""

    tokens: list[int]
    answers: list[int]


@dataclass(frozen=True, slots=True)
class PasskeyMaker:
    """Makes passkey texts of one model's tokens from `filler`, which starts over where it ends."""

    model: Model
    filler: Sequence[int]
    passkeys: int = 10
    words: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.passkeys <= len(ORDINALS) or self.words < 1 or not self.filler:
            raise BadPolicy(
                f"{self.passkeys} passkeys of {self.words} words in {len(self.filler)} tokens of text cannot "
                f"be: give 1 to {len(ORDINALS)} passkeys, a word or more, and a text that is not empty"
            )

    def make(self, length: int, pick: random.Random) -> PasskeyText:
        """A text of `length` tokens of filler, or as many as the model's context leaves room for.

        Raises `ContextTooSmall` where the passkeys and questions alone fill it.
        """
        keys = [" ".join(pick.choices(WORDS, k=self.words)) for _ in range(self.passkeys)]
        named = list(zip(ORDINALS, keys, strict=False))
        needles = self.model.encode([NEEDLE.format(ordinal=ordinal, passkey=key) for ordinal, key in named])
        questions = self.model.encode([QUESTION.format(ordinal=ordinal) for ordinal, _ in named])
        answers = self.model.encode([f" {key}" for key in keys])
        begin = self.model.tokenizer.bos_token_id
        tokens = [begin] if isinstance(begin, int) else []
        taken = len(tokens) + sum(map(len, needles + questions + answers))
        room = min(length, self.model.shape.context - taken)
        if room < self.passkeys:
            raise ContextTooSmall(
                f"{self.passkeys} passkeys and their questions take {taken} of the "
                f"{self.model.shape.context} tokens that {self.model.name} reads: ask for fewer"
            )
        start = pick.randrange(len(self.filler))
        filler = [self.filler[(start + place) % len(self.filler)] for place in range(room)]
        depths = sorted(round(pick.uniform(*DEPTHS) * room) for _ in keys)
        for needle, low, high in zip(needles, [0, *depths], depths, strict=False):
            tokens += filler[low:high] + needle
        tokens += filler[depths[-1] :]
        places: list[int] = []
        for question, answer in zip(questions, answers, strict=True):
            tokens += question
            places += range(len(tokens), len(tokens) + len(answer))
            tokens += answer
        return PasskeyText(tokens, places)
