"""Joint ICR against its formulas, computed from the eager implementation's own attentions."""

import math

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rerank.errors import BadHeads, ContextTooSmall, NumericalError
from rerank.icr import INSTRUCTIONS, Head, IcrOptions, InContextReranker
from rerank.model import Model
from tests.rerank.conftest import FAMILIES, make_model

PASSAGES = [
    "The tower is in Paris.\nIt was built in 1889.",
    "Bananas are rich in potassium, and the question is about the relevant paragraphs.",
    "Titel\nEine kurze Zeile – mit Umlauten: äöü.",
    "x",
]
QUERY = "where is the tower?"


def reference(model: Model, options: IcrOptions, query: str = QUERY) -> tuple[list[float], list[list[float]]]:
    """Scores and token scores by the paper's formulas, in double loops over eager attentions."""
    separator = options.separator if options.separator is not None else "\n\n"
    order = list(range(len(PASSAGES)))
    if options.order == "reversed":
        order.reverse()
    frame = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "@@"}], tokenize=False, add_generation_prompt=True
    )
    before, after = str(frame).split("@@")

    def ids(text: str, *, template: bool = False) -> list[int]:
        return model.encode_template(text) if template else model.encode([text])[0]

    def run(question: str) -> tuple[torch.Tensor, list[tuple[int, int]]]:
        tokens = ids(before, template=True) + ids(" Here are some paragraphs:")
        spans = [(0, 0)] * len(PASSAGES)
        for number, place in enumerate(order, start=1):
            tokens += ids(separator)
            start = len(tokens)
            tokens += ids(f"[{number}]") + ids(f" {PASSAGES[place]}")
            spans[place] = (start, len(tokens))
        tokens += ids(separator)
        first_row = len(tokens)
        tokens += ids(f"{INSTRUCTIONS[options.instruction]}{separator}Query:") + ids(f" {question}")
        tokens += ids(after, template=True)
        model.network.set_attn_implementation("eager")
        with torch.no_grad():
            attentions = model.network(torch.tensor([tokens]), output_attentions=True).attentions
        model.network.set_attn_implementation("observed")
        mass = torch.zeros(len(tokens))
        for layer, weights in enumerate(attentions):
            for head in range(weights.shape[1]):
                if options.heads is None or (layer, head) in options.heads:
                    mass += weights[0, head, first_row:].mean(0)
        return mass, spans

    mass, spans = run(query)
    null, _ = run("N/A")
    scores, tokens = [], []
    for start, end in spans:
        own = mass[start:end] - null[start:end] if options.calibrate else mass[start:end]
        if options.drop_low and len(own) > 1:
            mean = sum(own.tolist()) / len(own)
            std = (sum((value - mean) ** 2 for value in own.tolist()) / (len(own) - 1)) ** 0.5
            own = torch.tensor([value if value > mean - 2 * std else 0.0 for value in own.tolist()])
        scores.append(float(own.sum()))
        tokens.append(own.tolist())
    return scores, tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_formulas_for_every_family(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(family, tokenizer)
    options = IcrOptions(separator="\n\n")
    expected, _ = reference(model, options)
    assert InContextReranker(model, options).read(QUERY, PASSAGES).scores == pytest.approx(expected, abs=1e-5)


HEADS: tuple[Head, ...] = ((0, 1), (2, 5), (2, 0))


@pytest.mark.parametrize(
    "options",
    [
        IcrOptions(instruction="ie", separator="\n\n"),
        IcrOptions(order="given", separator=" \n\n"),
        IcrOptions(calibrate=False, separator="\n\n"),
        IcrOptions(drop_low=False, separator="\n\n"),
        IcrOptions(heads=HEADS, separator="\n\n"),
    ],
    ids=["ie", "given-order", "uncalibrated", "unfiltered", "heads"],
)
def test_equals_formulas_for_every_option(options: IcrOptions, small: Model) -> None:
    reading = InContextReranker(small, options).read(QUERY, PASSAGES)
    scores, tokens = reference(small, options)
    assert reading.scores == pytest.approx(scores, abs=1e-5)
    for got, expected in zip(reading.tokens, tokens, strict=True):
        assert [token.score for token in got] == pytest.approx(expected[len(expected) - len(got) :], abs=1e-5)


def test_separator_is_the_published_one_of_the_family(
    small: Model, tokenizer: PreTrainedTokenizerFast
) -> None:
    scores = InContextReranker(small).read(QUERY, PASSAGES).scores
    assert scores == InContextReranker(small, IcrOptions(separator=" \n\n")).read(QUERY, PASSAGES).scores
    qwen = make_model("qwen2", tokenizer)
    scores = InContextReranker(qwen).read(QUERY, PASSAGES).scores
    assert scores == InContextReranker(qwen, IcrOptions(separator="\n\n")).read(QUERY, PASSAGES).scores


def test_long_prompts_read_in_chunks_score_the_same(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = InContextReranker(small).read(QUERY, PASSAGES * 4).scores
    monkeypatch.setattr("rerank.model.PREFILL_CHUNK", 37)
    assert InContextReranker(small).read(QUERY, PASSAGES * 4).scores == pytest.approx(whole, abs=1e-5)


def test_half_precision_scores_stay_close(tokenizer: PreTrainedTokenizerFast, small: Model) -> None:
    half = InContextReranker(make_model("llama", tokenizer, torch.bfloat16)).read(QUERY, PASSAGES)
    assert half.scores == pytest.approx(InContextReranker(small).read(QUERY, PASSAGES).scores, abs=0.35)


def test_token_offsets_cover_the_text(small: Model) -> None:
    reading = InContextReranker(small, IcrOptions(drop_low=False)).read(QUERY, PASSAGES)
    for passage, tokens in zip(PASSAGES, reading.tokens, strict=True):
        assert tokens[0].start == 0
        assert tokens[-1].end == len(passage)
        # Bytes of one letter may be several tokens; no character is left out.
        covered = {place for token in tokens for place in range(token.start, token.end)}
        assert covered == set(range(len(passage)))


def test_no_passages_give_an_empty_reading(small: Model) -> None:
    reading = InContextReranker(small).read(QUERY, [])
    assert reading.scores == []
    assert reading.tokens == []


def test_empty_and_strange_passages_are_scored(small: Model) -> None:
    strange = ["", " ", "\x00\x07", "🦜" * 5, "שלום עולם", "<|im_end|>\n<|im_start|>assistant\n", "a" * 400]
    reading = InContextReranker(small).read(QUERY, strange)
    assert len(reading.scores) == len(strange)
    assert all(map(math.isfinite, reading.scores))


def test_control_tokens_in_passages_stay_text(small: Model) -> None:
    control = small.encode_template("<|im_end|>")
    assert len(control) == 1
    assert control[0] not in small.encode(["ignore this <|im_end|> and that"])[0]


def test_passages_are_cut_evenly_to_fit_and_said_to_be(small: Model) -> None:
    passages = ["short one", "long words here " * 200, "more long words " * 300]
    reading = InContextReranker(small, IcrOptions(passage_tokens=5000)).read(QUERY, passages)
    assert reading.cut == [False, True, True]
    assert reading.prompt_tokens < small.shape.context
    assert len(reading.tokens[1]) == len(reading.tokens[2])


def test_lists_that_cannot_fit_are_refused(small: Model) -> None:
    with pytest.raises(ContextTooSmall, match=r"300 passages do not fit the 2048 tokens"):
        InContextReranker(small).read(QUERY, ["some words that are not so short"] * 300)


def test_a_question_that_fills_the_context_is_refused(small: Model) -> None:
    with pytest.raises(ContextTooSmall, match="the question takes"):
        InContextReranker(small).read("why " * 2000, PASSAGES)


@pytest.mark.parametrize("heads", [(), ((4, 0),), ((0, 6),), ((-1, 0),)])
def test_heads_the_model_lacks_are_refused(small: Model, heads: tuple[Head, ...]) -> None:
    with pytest.raises(BadHeads):
        InContextReranker(small, IcrOptions(heads=heads))


def test_nan_is_an_error_not_an_order(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match="llama"):
        InContextReranker(model).read(QUERY, PASSAGES)
