"""Answers made of the passages' own sentences, chosen by attention: nothing is written, so nothing invented.

Each sentence of the best passages is a candidate of in-context re-ranking, read in both orders (position bias
cancels), weighed by the square root of its length and by its passage's rank. Small models choose far better
than they write.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragnarok.citations import AnswerBuilder
from ragnarok.query import check_tokens
from ragnarok.sentences import split_sentences
from ragnarok.types import Answer, Hit, Sentence
from rerank.counts import Counted
from rerank.icr import IcrOptions, InContextReranker
from rerank.model import Model

# A line break inside a paragraph is the text's width, not the end of a sentence.
_WRAP = re.compile(r"(?<!\n)[ \t]*\n(?![ \t]*(?:\n|[-*+•>|]|\d+[.)]))[ \t]*")

TOKENS = 64
"""Of the model's context, for each candidate: what it takes, and its share of the rest of the prompt."""


@dataclass(frozen=True, slots=True)
class QuoteOptions:
    """How to quote.

    At most `sentences` of at least `least_words` words, from the best `passages` hits; `rank` weighs a
    passage's rank (log2) against its sentences' standardised attention; a sentence longer than `most_words`
    is no quotation. The second and third are quoted only if at most `behind` standard deviations behind. At
    most `candidates` sentences are read, as many of each passage: fewer where the model's context is small.
    """

    passages: int = 4
    candidates: int = 100
    sentences: int = 3
    least_words: int = 4
    most_words: int = 60
    rank: float = 0.5
    behind: float = 1.5


@dataclass(frozen=True, slots=True)
class _Candidate:
    place: int
    """Which passage it stands in."""
    text: str


class QuoteGenerator:
    """Answers with quotations. Safe for threads: each reading is one turn of the model."""

    def __init__(self, model: Model, options: QuoteOptions | None = None) -> None:
        """Take the model whose attention chooses."""
        self.options = options or QuoteOptions()
        self._most = min(self.options.candidates, model.shape.context // TOKENS)
        self.model = model
        self._readers = [
            InContextReranker(model, IcrOptions(order=order), counts_as="answer_prompt")
            for order in ("given", "reversed")
        ]

    def count_to(self, counted: Counted) -> None:
        """Tell `counted` of every token that the model runs, for whomever it does."""
        self.model.counted = counted

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        """Yield the chosen sentences in the passages' order, then the whole answer.

        Raises `BadQuery`, `ContextTooSmall` and `NumericalError`.
        """
        check_tokens(query, self.model)
        hits = hits[: self.options.passages]
        builder = AnswerBuilder(query, [hit.docid for hit in hits])
        candidates = list(self._candidates(hits))
        if not candidates:
            found = "the passages hold no sentence to quote" if hits else "no passage was found"
            builder.note(f"{found}, so nothing can be answered")
            yield builder.finish()
            return
        scores = self._scores(query, candidates)
        best = sorted(range(len(candidates)), key=lambda i: -scores[i])[: self.options.sentences]
        least = scores[best[0]] - self.options.behind
        for chosen in sorted(place for place in best if scores[place] >= least):
            yield from builder.quote(candidates[chosen].text, candidates[chosen].place)
        yield builder.finish()

    def _candidates(self, hits: Sequence[Hit]) -> Iterator[_Candidate]:
        seen = set()
        for place, hit in enumerate(hits):
            room = max(self._most // len(hits), 1)
            for sentence in split_sentences(_WRAP.sub(" ", hit.passage.text)):
                text = " ".join(sentence.split())
                fits = self.options.least_words <= len(text.split()) <= self.options.most_words
                if fits and text not in seen and room:
                    seen.add(text)
                    room -= 1
                    yield _Candidate(place, text)

    def _scores(self, query: str, candidates: list[_Candidate]) -> list[float]:
        """z((a + b) / √tokens) − rank · log2(place + 2), with a and b the scores of the two orders."""
        texts = [candidate.text for candidate in candidates]
        readings = [reader.read(query, texts) for reader in self._readers]
        density = [
            sum(reading.scores[i] for reading in readings) / math.sqrt(len(readings[0].tokens[i]) + 5)
            for i in range(len(texts))
        ]
        mean = sum(density) / len(density)
        std = math.sqrt(sum((value - mean) ** 2 for value in density) / len(density)) or 1.0
        return [
            (value - mean) / std - self.options.rank * math.log2(candidate.place + 2)
            for value, candidate in zip(density, candidates, strict=True)
        ]
