"""Head detection against its formulas, computed from the eager implementation's own attentions."""

import math

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rerank.detect import Example, core_scores, passage_mass, qrhead_scores
from rerank.errors import ContextTooSmall, NumericalError
from rerank.icr import INSTRUCTIONS, IcrOptions, InContextReranker
from rerank.model import Model
from tests.rerank.conftest import FAMILIES, make_model

PASSAGES = [
    "The tower is in Paris.\nIt was built in 1889.",
    "Bananas are rich in potassium, and the question is about the relevant paragraphs.",
    "Titel\nEine kurze Zeile – mit Umlauten: äöü.",
    "x",
]
EXAMPLES = [
    Example("where is the tower?", PASSAGES, frozenset({0})),
    Example("what are bananas rich in? ", PASSAGES[::-1], frozenset({1, 2})),
    Example("which line is short?", PASSAGES[1:], frozenset({1})),
]
OPTIONS = IcrOptions(instruction="ie", separator="\n\n")


def reference(model: Model, example: Example) -> list[list[list[float]]]:
    """Attention of each layer and head to each passage's text, in loops over eager attentions."""
    frame = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "@@"}], tokenize=False, add_generation_prompt=True
    )
    before, after = str(frame).split("@@")

    def ids(text: str) -> list[int]:
        return model.encode([text])[0]

    tokens = model.encode_template(before) + ids(" Here are some paragraphs:")
    spans = {}
    for number, place in enumerate(reversed(range(len(example.passages))), start=1):
        tokens += ids("\n\n") + ids(f"[{number}]")
        start = len(tokens)
        tokens += ids(f" {example.passages[place]}")
        spans[place] = (start, len(tokens))
    tokens += ids("\n\n")
    first = len(tokens)
    tokens += ids(f"{INSTRUCTIONS['ie']}\n\nQuery:") + ids(f" {example.query.strip()}")
    last = len(tokens)
    tokens += model.encode_template(after)
    model.network.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model.network(torch.tensor([tokens]), output_attentions=True).attentions
    model.network.set_attn_implementation("observed")
    return [
        [
            [
                sum(float(weights[0, head, row, a:b].sum()) for row in range(first, last)) / (last - first)
                for a, b in (spans[place] for place in range(len(spans)))
            ]
            for head in range(weights.shape[1])
        ]
        for weights in attentions
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_scores_equal_their_formulas(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(family, tokenizer)
    reader = InContextReranker(model, OPTIONS)
    masses = [reference(model, example) for example in EXAMPLES]
    assert passage_mass(reader, EXAMPLES[0].query, PASSAGES).tolist() == [
        [pytest.approx(head, abs=1e-5) for head in layer] for layer in masses[0]
    ]
    qrhead, core = qrhead_scores(reader, EXAMPLES), core_scores(reader, EXAMPLES, temperature=0.05)
    assert (len(qrhead), len(qrhead[0])) == (model.shape.layers, model.shape.heads)
    for layer in range(model.shape.layers):
        for head in range(model.shape.heads):
            gold, contrast = 0.0, 0.0
            for example, mass in zip(EXAMPLES, masses, strict=True):
                own = mass[layer][head]
                gold += sum(own[place] for place in example.positives)
                rest = sum(math.exp(own[n] / 0.05) for n in range(len(own)) if n not in example.positives)
                for place in example.positives:
                    power = math.exp(own[place] / 0.05)
                    contrast += power / (power + rest) / len(example.positives)
            assert qrhead[layer][head] == pytest.approx(gold / len(EXAMPLES), abs=1e-5)
            assert core[layer][head] == pytest.approx(contrast / len(EXAMPLES), abs=1e-5)


def test_nothing_is_told_apart_without_negatives(small: Model) -> None:
    everything = Example("where?", PASSAGES, frozenset(range(4)))
    scores = core_scores(InContextReranker(small, OPTIONS), [everything])
    assert {score for layer in scores for score in layer} == {1.0}


def test_sharp_temperatures_stay_finite(small: Model) -> None:
    scores = core_scores(InContextReranker(small, OPTIONS), EXAMPLES, temperature=1e-6)
    assert all(0.0 <= score <= 1.0 for layer in scores for score in layer)


def test_examples_that_teach_nothing_are_refused(small: Model) -> None:
    for positives in (frozenset[int](), frozenset({4}), frozenset({-1})):
        with pytest.raises(ValueError, match="places of passages"):
            Example("where?", PASSAGES, positives)
    with pytest.raises(ValueError, match="there is none"):
        qrhead_scores(InContextReranker(small, OPTIONS), [])


def test_questions_that_fill_the_context_are_refused(small: Model) -> None:
    with pytest.raises(ContextTooSmall, match="the question takes"):
        passage_mass(InContextReranker(small, OPTIONS), "why " * 2000, PASSAGES)


def test_nan_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError):
        passage_mass(InContextReranker(model, OPTIONS), "where?", PASSAGES)
