"""In-context re-ranking (ICR), joint mode: one prompt holds all passages, attention ranks them.

Chen, Gutiérrez and Su, "Attention in Large Language Models Yields Efficient Zero-shot Re-rankers"
(ICLR 2025, arXiv 2410.02642). For passage token t, with R(q) the rows from the instruction after the
passages to the end of the prompt, and w_h a head's weight (1 as published):

    s_q(t) = Σ_heads w_h · mean_{r ∈ R(q)} softmax(q_r·K/√d)_t    fp32
    c(t)   = s_query(t) − s_"N/A"(t)
    score  = Σ c(t) over the passage's tokens with c(t) > mean − 2·std

The passages are read once, through the last layer of which a head counts; both endings then run as one
pack behind their keys and values. A list that one context cannot hold goes to several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rerank.counts import Counted, TokenKind
from rerank.errors import BadHeads, ContextTooSmall, NumericalError
from rerank.layout import Layout
from rerank.model import Model
from rerank.observe import AttentionCall, attention_weights
from rerank.packed import Prefix, end_to_end, read_prefix, run_packed, seen
from rerank.prompt import ChatFrame, PassageContext, passage_context

LEAD = " Here are some paragraphs:"
INSTRUCTIONS = {
    "ie": "Please find information that are relevant to the following query in the paragraphs above.",
    "qa": "Please answer the following question based on the information in the paragraphs above.",
}
NULL_QUERY = "N/A"

SEGMENT_TOKENS = 64
"""A list is dealt out to several contexts before a passage is cut to less than this to make it fit."""

BLOCK = 1 << 25
"""Attention weights that are held at once."""

Head = tuple[int, int]
"""A layer and a head of it, both from 0."""


@dataclass(frozen=True, slots=True)
class IcrOptions:
    """How to read.

    The defaults are the paper's. `heads` restricts the sum to some (layer, head) pairs, each counted by its
    `head_weights` (1 without them), and no layer runs after the last of them; `order` is
    `reversed` (best first-stage passage next to the question), or `given`; `calibrate` subtracts the null
    query's scores; `drop_low` leaves out tokens at or below mean − 2·std; passages are cut to
    `passage_tokens`; `separator` defaults to the published one of the model's family.
    """

    instruction: Literal["ie", "qa"] = "qa"
    order: Literal["reversed", "given"] = "reversed"
    calibrate: bool = True
    drop_low: bool = True
    heads: tuple[Head, ...] | None = None
    head_weights: tuple[float, ...] | None = None
    passage_tokens: int = 400
    separator: str | None = None


class TokenScore(NamedTuple):
    """Characters `start:end` of a passage and the calibrated attention its token drew."""

    start: int
    end: int
    score: float


Drawn = npt.NDArray[np.float64]
"""What tokens drew, `[tokens]`."""


class TokenScores(Sequence[TokenScore]):
    """The tokens of one text; made when they are looked at, which those of most passages never are."""

    def __init__(self, offsets: Callable[[], Sequence[tuple[int, int]]], drawn: Drawn) -> None:
        """`offsets` gives each token's characters, and `drawn` is what each drew."""
        self._offsets, self._drawn = offsets, drawn

    @cached_property
    def _made(self) -> list[TokenScore]:
        pairs = zip(self._offsets(), self._drawn.tolist(), strict=True)
        return [TokenScore(start, end, score) for (start, end), score in pairs]

    def __len__(self) -> int:
        return len(self._drawn)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenScores) and self._made == other._made

    @overload
    def __getitem__(self, place: int) -> TokenScore: ...
    @overload
    def __getitem__(self, place: slice) -> list[TokenScore]: ...
    def __getitem__(self, place: int | slice) -> TokenScore | list[TokenScore]:
        return self._made[place]


@dataclass(frozen=True, slots=True)
class Reading:
    """What attention said of a list of passages, in the order they were given.

    `scores` are higher for more relevant passages and comparable within this reading only; `tokens` are
    the text tokens that count towards them; `cut` says which passages were read only in part; `segments` in
    how many contexts the list was read.
    """

    scores: list[float]
    tokens: list[TokenScores]
    cut: list[bool]
    prompt_tokens: int
    segments: int = 1


class _EndingMass:
    """Takes each layer's queries of all endings: what each of them pays to the tokens of the context.

    Σ over heads of weight · mean over rows of the softmax, fp32, `[endings, context]`. At most `BLOCK`
    weights are held at a time: of one layer, one ending, and as many rows as that allows.
    """

    def __init__(self, prefix: Prefix, lengths: Sequence[int], heads: Mapping[int, Tensor]) -> None:
        """`heads[layer]` are the weights of all heads of a layer that counts, `[heads]`."""
        self._prefix, self._lengths, self._heads = prefix, lengths, heads
        self.total = torch.zeros(len(lengths), prefix.length, device=prefix.keys[0].device)

    def __call__(self, call: AttentionCall, query: Tensor, key: Tensor) -> None:
        """Add one layer."""
        if call.layer not in self._heads:
            return
        context = self._prefix.keys[call.layer].float()
        for mass, rows, own, new in zip(
            self.total, self._lengths, query.split(self._lengths), key.split(self._lengths), strict=True
        ):
            keys = torch.cat([context, new.float()])
            visible = seen(rows, len(keys), call.sliding, query.device)
            shares = (self._heads[call.layer] / rows).expand(1, rows, -1)
            mass += paid(own, keys, visible, shares, call)[0, : len(mass)]


def paid(query: Tensor, key: Tensor, mask: Tensor, shares: Tensor, call: AttentionCall) -> Tensor:
    """Σ over rows and heads of `shares` · softmax(q·K) in fp32: `[sums, keys]`.

    `query` is `[rows, heads, dim]`, `key` `[keys, kv_heads, dim]`, `mask` bool `[rows, keys]`, True where
    a row sees a key, and `shares` `[sums, rows, heads]`. At most `BLOCK` weights are held at a time.
    """
    sums, _, heads = shares.shape
    total = torch.zeros(sums, len(key), device=key.device)
    keys = key.float().transpose(0, 1)[None]
    size = max(1, BLOCK // (heads * len(key)))
    for rows, visible, share in zip(
        query.split(size), mask.split(size), shares.split(size, dim=1), strict=True
    ):
        weights = attention_weights(
            rows.transpose(0, 1)[None], keys, visible, call.scaling, call.softcap
        ).flatten(0, 2)
        total += share.transpose(1, 2).flatten(1) @ weights
    return total


class InContextReranker:
    """Scores passages by the attention that a question pays to them in one joint prompt."""

    def __init__(
        self, model: Model, options: IcrOptions | None = None, *, counts_as: TokenKind = "rerank_prompt"
    ) -> None:
        """Take a model and how to read with it; raises `BadHeads` for heads the model lacks.

        `counts_as` is what the model's `counted` hears of.
        """
        self.model, self._counts_as = model, counts_as
        self.options = options or IcrOptions()
        check_heads(model, self.options.heads, self.options.head_weights)
        every = [(layer, head) for layer in range(model.shape.layers) for head in range(model.shape.heads)]
        heads = every if self.options.heads is None else self.options.heads
        counts = torch.zeros(model.shape.layers, model.shape.heads)
        for (layer, head), weight in zip(heads, self.options.head_weights or [1.0] * len(heads), strict=True):
            counts[layer, head] = weight
        counts = counts.to(model.device)
        self._weights = {layer: counts[layer] for layer, _ in heads}
        self._depth = max(self._weights) + 1
        self.segmented = 0
        self._frame = ChatFrame.of(model)
        self.suffix = model.encode_template(self._frame.after)
        # The published code writes " \n\n" between passages for Llama and "\n\n" for the others.
        family = " \n\n" if model.type == "llama" else "\n\n"
        self._separator = self.options.separator if self.options.separator is not None else family

    def count_to(self, counted: Counted) -> None:
        """Tell `counted` of every token that the model runs, for whomever it does."""
        self.model.counted = counted

    def read(self, query: str, passages: Sequence[str]) -> Reading:
        """Score `passages` for `query`. No passages give an empty reading.

        A list that would fit only with passages cut to less than `SEGMENT_TOKENS` tokens is dealt out to as
        few contexts as it takes: of n, the first has passages 0, n, 2n, …, so that all have as many and as
        good ones, the same prompt and the same calibration, and scores compare; `segmented` counts such
        lists. Raises `ContextTooSmall` when the question leaves no room for a passage, and `NumericalError`
        when the model's attention is not finite.
        """
        if not passages:
            return Reading([], [], [], 0)
        with self.model.turn:
            return self._read_all(query, passages)

    def _read_all(self, query: str, passages: Sequence[str]) -> Reading:
        ending, null = self.ending(query), self.ending(NULL_QUERY)
        contexts = self._contexts(passages, max(len(ending), len(null)))
        count = len(contexts)
        self.segmented += count > 1
        nothing = TokenScores(list, np.zeros(0))
        whole = Reading([0.0] * len(passages), [nothing] * len(passages), [False] * len(passages), 0, count)
        for start, context in enumerate(contexts):
            part = self._read(context, ending, null)
            whole.scores[start::count], whole.tokens[start::count] = part.scores, part.tokens
            whole.cut[start::count] = part.cut
        return replace(whole, prompt_tokens=sum(len(context.tokens) for context in contexts))

    def _read(self, context: PassageContext, ending: list[int], null: list[int]) -> Reading:
        """One context: the passages, then both endings as one pack behind them."""
        device, length = self.model.device, len(context.tokens)
        # The null query itself runs once, so that calibration leaves exactly 0 of it.
        endings = [ending, null] if self.options.calibrate and ending != null else [ending]
        lengths = [len(rows) for rows in endings]
        # All that goes to the device goes there first: nothing between the two runs waits for it.
        tokens, positions = end_to_end(endings, length, device)
        layout = Layout.of(lengths, length, device)
        prefix = read_prefix(self.model, context.tokens, self._depth)
        mass = _EndingMass(prefix, lengths, self._weights)
        run_packed(self.model, prefix, tokens, positions, layout, self._depth - 1, mass)
        self.model.counted(self._counts_as, length + sum(lengths))
        total = calibrated(mass.total, self.model, calibrate=self.options.calibrate)
        return self._reading(total, context)

    def _contexts(self, passages: Sequence[str], reserve: int) -> list[PassageContext]:
        """The list's contexts: of n, number k has passages k, k + n, k + 2n, …."""
        count = 1
        while True:
            try:
                contexts = [self.context(passages[start::count], reserve) for start in range(count)]
                if count == len(passages) or not any(map(self._is_squeezed, contexts)):
                    return contexts
            except ContextTooSmall:
                if count == len(passages) or reserve > self.model.shape.context // 2:
                    raise
            count = min(self._fewest(passages, reserve) if count == 1 else count + 1, len(passages))

    def _is_squeezed(self, context: PassageContext) -> bool:
        """Whether too little is left of a passage, for the sake of others."""
        least = min(SEGMENT_TOKENS, self.options.passage_tokens)
        return any(cut and length < least for cut, length in zip(context.cut, context.lengths, strict=True))

    def _fewest(self, passages: Sequence[str], reserve: int) -> int:
        """The contexts, 2 at least, that would do if every passage could be put where there is room."""
        least = min(SEGMENT_TOKENS, self.options.passage_tokens)
        gap, mark, lead = map(len, self.model.encode([self._separator, f"[{len(passages)}]", LEAD]))
        wanted = sum(min(len(ids), least) + gap + mark for ids in self.model.encode(list(passages)))
        frame = len(self.model.encode_template(self._frame.before)) + lead + gap
        return max(2, -(-wanted // max(self.model.shape.context - reserve - frame, 1)))

    def context(self, passages: Sequence[str], reserve: int) -> PassageContext:
        """The prompt up to the last passage, with room for an ending of `reserve` tokens.

        Raises `ContextTooSmall` when the two cannot share the model's context.
        """
        if reserve > self.model.shape.context // 2:
            raise ContextTooSmall(
                f"the question takes {reserve} tokens of the {self.model.shape.context} that "
                f"{self.model.name} reads, and at most half may be the question. Shorten it or use a model "
                "with a longer context"
            )
        order = range(len(passages))
        return passage_context(
            self.model,
            self._frame.before,
            LEAD,
            passages,
            separator=self._separator,
            reserve=reserve,
            order=order[::-1] if self.options.order == "reversed" else order,
            passage_tokens=self.options.passage_tokens,
        )

    def ending(self, query: str) -> list[int]:
        """The rows that are read: instruction, question, end of the chat template (`suffix`)."""
        opening = f"{INSTRUCTIONS[self.options.instruction]}{self._separator}Query:"
        pieces = self.model.encode([opening, f" {query.strip()}"])
        return pieces[0] + pieces[1] + self.suffix

    def _reading(self, mass: Drawn, context: PassageContext) -> Reading:
        found = [
            passage_score(
                mass[start:end], length, partial(context.offsets, place), drop_low=self.options.drop_low
            )
            for place, ((start, end), length) in enumerate(zip(context.spans, context.lengths, strict=True))
        ]
        scores, tokens = [score for score, _ in found], [own for _, own in found]
        return Reading(scores, tokens, context.cut, len(context.tokens))


def calibrated(total: Tensor, model: Model, *, calibrate: bool) -> Drawn:
    """What tokens drew from the query, less what they drew from the null query: `[tokens]`.

    `total` `[endings, tokens]` is of both, in this order, or of one that is both. Raises `NumericalError`.
    """
    values = total.cpu().double().numpy()
    drawn: Drawn = values[0] - values[-1] if calibrate else values[0]
    if not np.isfinite(drawn).all():
        raise NumericalError(f"attention of {model.name} is not finite; try another precision or model")
    return drawn


def passage_score(
    drawn: Drawn, length: int, offsets: Callable[[], Sequence[tuple[int, int]]], *, drop_low: bool
) -> tuple[float, TokenScores]:
    """A passage's score, and those of its text's tokens: the last `length` of all that it has.

    Of what its tokens drew, `[tokens]`, values at or below mean − 2·std count as nothing with `drop_low`.
    """
    if drop_low and len(drawn) > 1:
        drawn = drawn * (drawn > drawn.mean() - 2 * drawn.std(ddof=1))
    return float(drawn.sum()), TokenScores(offsets, drawn[len(drawn) - length :])


def check_heads(model: Model, heads: Sequence[Head] | None, weights: Sequence[float] | None = None) -> None:
    """Refuse, with `BadHeads`, no head, one that `model` does not have, or weights of other heads."""
    if weights is not None and len(weights) != len(heads or ()):
        raise BadHeads(f"{len(weights)} weights for {len(heads or ())} heads: give each head one, or none")
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
