"""Answers from a model in this process, with the attention that each sentence paid as its evidence.

The prompt is the chat template around numbered passages. While tokens are chosen (greedily), the attention
that predicts each is summed by passage: a sentence that the model leaves without a citation gets the
passages it drew on. Safe for threads: each answer has a cache of its own and takes the model's turn token by
token, so that nobody waits for a whole answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ragnarok.citations import AnswerBuilder
from ragnarok.query import check_tokens
from ragnarok.sentences import SentenceStream
from ragnarok.types import Answer, Hit, Sentence
from rerank.cache import PrefixCache
from rerank.counts import Counted
from rerank.model import Model
from rerank.policies import FullPolicy, Policy
from rerank.prompt import ChatFrame, passage_context
from rerank.support import PassageMass, supporting

SYSTEM = "You answer questions from numbered passages and cite them."
LEAD = "Here are numbered passages:"
INSTRUCTION = (
    "Answer the question below in at most three sentences, using only the passages above. "
    "End every sentence with the number of the passage it comes from, such as [1]."
)


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How to answer.

    `passages`: the best hits that are read, each cut to `passage_tokens`; `max_tokens`: the longest answer;
    `max_citations`: a sentence; `support`: attention share, in even shares, from which an uncited sentence
    cites a passage; `repeat`: an answer stops when its last `repeat` tokens stood in it before; `policy`:
    what of the prompt stays in view (what a head has let go of draws no attention); `prompt`: what the model
    is told to do, between passages and question (empty: `INSTRUCTION`).
    """

    passages: int = 5
    passage_tokens: int = 256
    max_tokens: int = 256
    max_citations: int = 3
    support: float = 1.25
    repeat: int = 12
    policy: Policy = field(default_factory=FullPolicy)
    prompt: str = ""


class LocalGenerator:
    """Answers with a model in this process."""

    def __init__(self, model: Model, options: LocalOptions | None = None) -> None:
        """Take a model and how to answer with it."""
        self.model = model
        self.options = options or LocalOptions()
        self._frame = ChatFrame.of(model, SYSTEM)

    def count_to(self, counted: Counted) -> None:
        """Tell `counted` of every token that the model runs, for whomever it does."""
        self.model.counted = counted

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        """Yield each sentence as soon as it is certain, then the whole answer.

        Without hits the answer has no sentence and a note. Raises `BadQuery`, `ContextTooSmall` and
        `NumericalError`.
        """
        check_tokens(query, self.model)
        hits = hits[: self.options.passages]
        builder = AnswerBuilder(query, [hit.docid for hit in hits], max_citations=self.options.max_citations)
        if not hits:
            builder.note("no passage was found, so nothing can be answered")
            yield builder.finish()
            return
        writing = _Writing(self.model, self._frame, query, hits, self.options)
        sentences = SentenceStream()
        for piece in writing:
            for raw in sentences.feed(piece):
                yield from builder.add(raw, writing.support(raw))
        for raw in sentences.close():
            yield from builder.add(raw, writing.support(raw))
        if writing.stopped:
            builder.note(writing.stopped)
        yield builder.finish()


class _Writing:
    """One answer being written: pieces of text, and where in the passages they come from."""

    def __init__(
        self, model: Model, frame: ChatFrame, query: str, hits: Sequence[Hit], options: LocalOptions
    ) -> None:
        self.model, self.options, self.stopped = model, options, ""
        with model.turn:
            asked = model.encode([f"{options.prompt or INSTRUCTION}\n\nQuestion: {query}"])[0]
            ending = asked + model.encode_template(frame.after)
            context = passage_context(
                model,
                frame.before,
                LEAD,
                [hit.passage.contents for hit in hits],
                separator="\n\n",
                reserve=len(ending) + options.max_tokens,
                passage_tokens=options.passage_tokens,
            )
        self._prompt = context.tokens + ending
        self._mass = PassageMass(context.spans)
        self._text = ""
        self._ends: list[int] = []  # where in the text each token's characters end
        self._cursor = 0

    def __iter__(self) -> Iterator[str]:
        cache = self.options.policy.cache(self.model.shape, len(self._prompt) + self.options.max_tokens)
        self.model.read(self._prompt[:-1], cache)
        self.model.counted("answer_prompt", len(self._prompt))
        written: list[int] = []
        while len(written) < self.options.max_tokens:
            # Not around the yield: whoever takes the pieces may take their time.
            with self.model.turn:
                last = self._next(written[-1] if written else self._prompt[-1], cache)
                if last in self.model.stop_tokens:
                    return
                written.append(last)
                self.model.counted("answer", 1)
                piece = self._piece(written)
            if piece:
                yield piece
            if _repeats(written, self.options.repeat):
                self.stopped = "the answer was stopped where the model began to repeat itself"
                return
        self.stopped = f"the answer was stopped at its limit of {self.options.max_tokens} tokens"

    def _next(self, last: int, cache: PrefixCache) -> int:
        """The token that follows `last`."""
        hidden = self.model.read([last], cache, self._mass)
        return int(self.model.logits(hidden).argmax())

    def _piece(self, written: list[int]) -> str:
        """What the last token adds to the text."""
        # Not tidied up (some tokenizers close gaps before commas): what is there must stay as it was.
        text = str(
            self.model.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
        # Half of a multi-byte letter decodes to U+FFFD: wait for the rest.
        piece = "" if text.endswith("\ufffd") else text[len(self._text) :]
        self._text += piece
        self._ends.append(len(self._text))
        return piece

    def support(self, sentence: str) -> tuple[int, ...]:
        """The passages that `sentence`, the next one of the text, drew on, best first."""
        start = self._text.find(sentence, self._cursor)
        if start < 0:
            return ()
        end = self._cursor = start + len(sentence)
        rows: Tensor = self._mass.rows()
        inside = [i for i, stop in enumerate(self._ends) if start < stop <= end]
        return supporting(rows[torch.tensor(inside, dtype=torch.long)], self.options.support)


def _repeats(tokens: list[int], size: int) -> bool:
    """Whether the last `size` tokens stood in `tokens` before."""
    tail = tokens[-size:]
    return len(tokens) > size and any(
        tokens[start : start + size] == tail for start in range(len(tokens) - size)
    )
