"""Finding the heads that look at what answers a question, by the two published scores.

Both read one joint prompt an example. With A_h(d) the attention that head h pays to the text of passage d,
its mean over the rows of instruction and question (the chat template's end is left out, as published):

    QRHead (EMNLP 2025):       mean over examples of Σ_{d positive} A_h(d)
    CoRe (arXiv 2510.02219):   mean over examples of softmax(A_h / temperature) at the positive,
                               over the positive and the negatives

Where an example has several positives, each stands against the negatives in turn. All heads are scored at
once, and only the rows of the ending are ever computed as weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rerank.errors import NumericalError
from rerank.icr import InContextReranker

TEMPERATURE = 0.1
"""CoRe's temperature for Llama-3.1-8B and Phi-4; Mistral and Granite took 0.001."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question, passages in the first stage's order, and the places of those that answer it."""

    query: str
    passages: Sequence[str]
    positives: frozenset[int]

    def __post_init__(self) -> None:
        """Refuse, with `ValueError`, an example that nothing can be learnt from."""
        if not self.positives or not self.positives <= set(range(len(self.passages))):
            raise ValueError(f"positives are places of passages, one at least: {sorted(self.positives)}")


class PassageMass:
    """Observer: each head's attention to each span, mean over the first rows, `[heads, spans]` a layer."""

    def __init__(self, spans: Sequence[tuple[int, int]], rows: int) -> None:
        """`spans` are half-open token ranges; only the first `rows` rows count."""
        self._spans = spans
        self._rows = rows
        self.layers: list[Tensor] = []

    def see(self, layer: int, weights: Tensor) -> None:
        """Keep one layer's masses, of weights `[1, heads, rows, keys]`; layers come in order."""
        assert layer == len(self.layers)
        mass = weights[0, :, : self._rows].mean(dim=1)
        self.layers.append(torch.stack([mass[:, start:end].sum(dim=1) for start, end in self._spans], dim=1))


def passage_mass(reader: InContextReranker, query: str, passages: Sequence[str]) -> Tensor:
    """What every head of the reader's model pays to each passage: `[layers, heads, passages]`, on the CPU.

    Of the reader's options, instruction, order, lengths and separator count. Raises `ContextTooSmall` and
    `NumericalError`.
    """
    model, ending = reader.model, reader.ending(query)
    context = reader.context(passages, len(ending))
    # The text alone: a passage's number is no part of it.
    spans = [(end - length, end) for (_, end), length in zip(context.spans, context.lengths, strict=True)]
    observer = PassageMass(spans, len(ending) - len(reader.suffix))
    cache = model.new_cache(len(context.tokens) + len(ending))
    model.read(context.tokens, cache)
    model.read(ending, cache, observer)
    mass = torch.stack(observer.layers).cpu()
    if not torch.isfinite(mass).all():
        raise NumericalError(f"attention of {model.name} is not finite; try another precision or model")
    return mass


def qrhead_scores(reader: InContextReranker, examples: Iterable[Example]) -> list[list[float]]:
    """QRHead's score of every head, `[layers][heads]`. Raises `ValueError` without an example."""
    return _mean(_gold(_mass(reader, example), example) for example in examples)


def core_scores(
    reader: InContextReranker, examples: Iterable[Example], temperature: float = TEMPERATURE
) -> list[list[float]]:
    """CoRe's score of every head, `[layers][heads]`. Raises `ValueError` without an example.

    An example without a negative tells no head from another, but counts.
    """
    return _mean(_contrast(_mass(reader, example), example, temperature) for example in examples)


def _mass(reader: InContextReranker, example: Example) -> Tensor:
    return passage_mass(reader, example.query, example.passages)


def _gold(mass: Tensor, example: Example) -> Tensor:
    return mass[:, :, sorted(example.positives)].sum(dim=2)


def _contrast(mass: Tensor, example: Example, temperature: float) -> Tensor:
    negatives = [place for place in range(len(example.passages)) if place not in example.positives]
    against = [
        (mass[:, :, [positive, *negatives]] / temperature).softmax(dim=2)[:, :, 0]
        for positive in sorted(example.positives)
    ]
    return torch.stack(against).mean(dim=0)


def _mean(scores: Iterable[Tensor]) -> list[list[float]]:
    """The mean of `[layers, heads]` tables, one an example; one is held at a time."""
    total, count = torch.zeros(()), 0
    for score in scores:
        total, count = total + score.double(), count + 1
    if not count:
        raise ValueError("heads are found by examples, and there is none")
    mean: list[list[float]] = (total / count).tolist()
    return mean
