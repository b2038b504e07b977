"""Joint ICR against its formulas, computed from the eager implementation's own attentions."""

import math
import re
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rerank.errors import BadHeads, ContextTooSmall, NumericalError
from rerank.icr import INSTRUCTIONS, SEGMENT_TOKENS, Head, IcrOptions, InContextReranker
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
    monkeypatch.setattr("rerank.packed.CHUNK", {True: 37, False: 37})
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


def test_endings_of_one_pack_score_as_in_passes_of_their_own(small: Model) -> None:
    packed = InContextReranker(small, IcrOptions(drop_low=False)).read(QUERY, PASSAGES)
    alone = InContextReranker(small, IcrOptions(drop_low=False, calibrate=False))
    real, null = alone.read(QUERY, PASSAGES), alone.read("N/A", PASSAGES)
    for place in range(len(PASSAGES)):
        expected = [a.score - b.score for a, b in zip(real.tokens[place], null.tokens[place], strict=True)]
        assert [token.score for token in packed.tokens[place]] == pytest.approx(expected, abs=1e-5)


def test_the_null_query_itself_scores_nothing(small: Model) -> None:
    assert InContextReranker(small).read("N/A", PASSAGES).scores == [0, 0, 0, 0]


def test_nothing_runs_after_the_last_head_that_counts(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    options = IcrOptions(heads=((0, 3), (1, 2)))
    whole = InContextReranker(model, options).read(QUERY, PASSAGES)
    unneeded = re.compile(r"layers\.1\.(mlp|self_attn\.o_proj|post)|layers\.[23]\.|model\.norm|lm_head")
    spoilt = 0
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if unneeded.search(name):
                parameter.fill_(float("nan"))
                spoilt += 1
    assert spoilt == 25
    assert InContextReranker(model, options).read(QUERY, PASSAGES) == whole


def test_heads_count_by_their_weights(small: Model) -> None:
    def tokens(heads: tuple[Head, ...], weights: tuple[float, ...] | None = None) -> list[float]:
        options = IcrOptions(heads=heads, head_weights=weights, drop_low=False)
        read = InContextReranker(small, options).read(QUERY, PASSAGES)
        return [token.score for passage in read.tokens for token in passage]

    weights = (0.5, -2.0, 3.0)
    single = [tokens((head,)) for head in HEADS]
    expected = [
        sum(w * s for w, s in zip(weights, token, strict=True)) for token in zip(*single, strict=True)
    ]
    assert tokens(HEADS, weights) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(BadHeads, match="2 weights for 3 heads"):
        tokens(HEADS, (1.0, 2.0))


@pytest.mark.parametrize("family", ["llama", "mistral-sliding"])
def test_rows_are_taken_in_blocks(
    family: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InContextReranker(make_model(family, tokenizer))
    whole = reader.read(QUERY * 5, PASSAGES).scores
    monkeypatch.setattr("rerank.icr.BLOCK", 6 * 7 * 400)
    assert reader.read(QUERY * 5, PASSAGES).scores == pytest.approx(whole, abs=1e-5)


LONG = [
    f"{number} is the number of passages, and {number * 7} that of words: " * 3 for number in range(12, 27)
]


def test_segments_give_the_same_passages_the_same_scores(small: Model) -> None:
    reader = InContextReranker(small)
    twice = [passage for passage in LONG for _ in range(2)]
    read = reader.read(QUERY, twice)
    assert (read.segments, reader.segmented) == (2, 1)
    once = reader.read(QUERY, LONG)
    assert (once.segments, reader.segmented) == (1, 1)
    assert read.scores[::2] == read.scores[1::2] == once.scores
    assert read.tokens[::2] == read.tokens[1::2] == once.tokens
    assert read.cut == [cut for cut in once.cut for _ in range(2)]
    assert read.prompt_tokens == 2 * once.prompt_tokens


def test_no_passage_of_a_long_list_is_cut_to_nothing(small: Model) -> None:
    # The sum of all asks for fewer segments than those that get long passages only.
    passages = ["many words " * 40, "x", "y"] * 60
    read = InContextReranker(small).read(QUERY, passages)
    assert read.segments > 2
    assert [len(tokens) >= SEGMENT_TOKENS for tokens in read.tokens] == [True, False, False] * 60
    assert all(map(math.isfinite, read.scores))


def test_short_passages_share_one_context_however_many(small: Model) -> None:
    assert InContextReranker(small).read(QUERY, ["x"] * 200).segments == 1


def test_lists_of_any_length_are_read(small: Model) -> None:
    read = InContextReranker(small).read(QUERY, ["some words that are not so short"] * 300)
    assert read.segments > 1
    assert len(read.scores) == 300
    assert not any(read.cut)


def test_a_context_without_room_for_a_passage_is_refused(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama", tokenizer)
    reader = InContextReranker(model, IcrOptions(separator="-" * 200))
    monkeypatch.setattr(model, "shape", replace(model.shape, context=2 * len(reader.ending(QUERY))))
    with pytest.raises(ContextTooSmall, match="1 passages do not fit"):
        reader.read(QUERY, LONG[:3])


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
