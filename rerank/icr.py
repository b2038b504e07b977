"""In-context re-ranking (ICR), joint mode: one prompt holds all passages, attention ranks them.

Chen, Gutiérrez and Su, "Attention in Large Language Models Yields Efficient Zero-shot Re-rankers"
(ICLR 2025, arXiv 2410.02642). For passage token t, with R(q) the rows from the instruction after the
passages to the end of the prompt:

    s_q(t) = Σ_heads mean_{r ∈ R(q)} softmax(q_r·K/√d)_t          fp32
    c(t)   = s_query(t) − s_"N/A"(t)
    score  = Σ c(t) over the passage's tokens with c(t) > mean − 2·std

The passages are read once; the two endings are then run over their keys and values in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rerank.cache import PrefixCache
from rerank.errors import BadHeads, ContextTooSmall, NumericalError
from rerank.model import Model
from rerank.prompt import ChatFrame, PassageContext, passage_context

LEAD = " Here are some paragraphs:"
INSTRUCTIONS = {
    "ie": "Please find information that are relevant to the following query in the paragraphs above.",
    "qa": "Please answer the following question based on the information in the paragraphs above.",
}
NULL_QUERY = "N/A"

Head = tuple[int, int]
"""A layer and a head of it, both from 0."""


@dataclass(frozen=True, slots=True)
class IcrOptions:
    """How to read.

    The defaults are the paper's. `heads` restricts the sum to some (layer, head) pairs; `order` is
    `reversed` (best first-stage passage next to the question), or `given`; `calibrate` subtracts the null
    query's scores; `drop_low` leaves out tokens at or below mean − 2·std; passages are cut to
    `passage_tokens`; `separator` defaults to the published one of the model's family.
    """

    instruction: Literal["ie", "qa"] = "qa"
    order: Literal["reversed", "given"] = "reversed"
    calibrate: bool = True
    drop_low: bool = True
    heads: tuple[Head, ...] | None = None
    passage_tokens: int = 400
    separator: str | None = None


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Characters `start:end` of a passage and the calibrated attention its token drew."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What attention said of a list of passages, in the order they were given.

    `scores` are higher for more relevant passages and comparable within this reading only; `tokens` are
    the text tokens that count towards them; `cut` says which passages were read only in part.
    """

    scores: list[float]
    tokens: list[list[TokenScore]]
    cut: list[bool]
    prompt_tokens: int


class TokenMass:
    """Observer: Σ over heads of the mean over rows of attention weights, `[keys]`, fp32."""

    def __init__(self, heads: Sequence[Head] | None = None) -> None:
        self._heads: dict[int, list[int]] | None = None if heads is None else {}
        for layer, head in heads or ():
            assert self._heads is not None
            self._heads.setdefault(layer, []).append(head)
        self.total: Tensor | None = None

    def see(self, layer: int, weights: Tensor) -> None:
        """Add one layer's weights `[1, heads, rows, keys]`."""
        chosen = weights[0]
        if self._heads is not None:
            if layer not in self._heads:
                return
            chosen = chosen[self._heads[layer]]
        mass = chosen.mean(dim=1).sum(dim=0)
        self.total = mass if self.total is None else self.total + mass


class InContextReranker:
    """Scores passages by the attention that a question pays to them in one joint prompt."""

    def __init__(self, model: Model, options: IcrOptions | None = None) -> None:
        """Take a model and how to read with it; raises `BadHeads` for heads the model lacks."""
        self.model = model
        self.options = options or IcrOptions()
        check_heads(model, self.options.heads)
        self._frame = ChatFrame.of(model)
        # The published code writes " \n\n" between passages for Llama and "\n\n" for the others.
        family = " \n\n" if model.type == "llama" else "\n\n"
        self._separator = self.options.separator if self.options.separator is not None else family

    def read(self, query: str, passages: Sequence[str]) -> Reading:
        """Score `passages` for `query`. No passages give an empty reading.

        Raises `ContextTooSmall` when question and passages cannot share the context, and
        `NumericalError` when the model's attention is not finite.
        """
        if not passages:
            return Reading([], [], [], 0)
        ending, null = self._ending(query), self._ending(NULL_QUERY)
        reserve = max(len(ending), len(null))
        if reserve > self.model.shape.context // 2:
            raise ContextTooSmall(
                f"the question takes {len(ending)} tokens of the {self.model.shape.context} that "
                f"{self.model.name} reads, and at most half may be the question. Shorten it or use a model "
                "with a longer context"
            )
        order = range(len(passages))
        context = passage_context(
            self.model,
            self._frame.before,
            LEAD,
            passages,
            separator=self._separator,
            reserve=reserve,
            order=order[::-1] if self.options.order == "reversed" else order,
            passage_tokens=self.options.passage_tokens,
        )
        cache = self.model.new_cache(len(context.tokens) + reserve)
        self.model.read(context.tokens, cache)
        mass = self._mass(ending, cache, len(context.tokens))
        if self.options.calibrate:
            mass = mass - self._mass(null, cache, len(context.tokens))
        return self._reading(mass, context)

    def _ending(self, query: str) -> list[int]:
        """The rows that are read: instruction, question, end of the chat template."""
        opening = f"{INSTRUCTIONS[self.options.instruction]}{self._separator}Query:"
        pieces = self.model.encode([opening, f" {query.strip()}"])
        return pieces[0] + pieces[1] + self.model.encode_template(self._frame.after)

    def _mass(self, ending: list[int], cache: PrefixCache, length: int) -> Tensor:
        """What `ending` pays to each of the first `length` tokens, `[length]`, on the CPU."""
        observer = TokenMass(self.options.heads)
        self.model.read(ending, cache, observer)
        cache.rewind(length)
        assert observer.total is not None
        if not torch.isfinite(observer.total).all():
            raise NumericalError(
                f"attention of {self.model.name} is not finite; try another precision or model"
            )
        return observer.total[:length].cpu()

    def _reading(self, mass: Tensor, context: PassageContext) -> Reading:
        scores: list[float] = []
        tokens: list[list[TokenScore]] = []
        for (start, end), offsets in zip(context.spans, context.offsets, strict=True):
            own = mass[start:end]
            if self.options.drop_low and len(own) > 1:
                own = own * (own > own.mean() - 2 * own.std())
            scores.append(float(own.sum()))
            text = own[len(own) - len(offsets) :].tolist()
            tokens.append([TokenScore(a, b, score) for (a, b), score in zip(offsets, text, strict=True)])
        return Reading(scores, tokens, context.cut, len(context.tokens))


def check_heads(model: Model, heads: Sequence[Head] | None) -> None:
    """Refuse, with `BadHeads`, an empty selection or a head that `model` does not have."""
    if heads is None:
        return
    if not heads:
        raise BadHeads("no head is selected; leave the selection out to use all heads")
    for layer, head in heads:
        if not (0 <= layer < model.shape.layers and 0 <= head < model.shape.heads):
            raise BadHeads(
                f"{model.name} has no head {layer}-{head}: layers go from 0 to {model.shape.layers - 1}, "
                f"heads from 0 to {model.shape.heads - 1}"
            )
