"""Prompts: where each passage lies, and how lists are cut to fit."""

import copy

import pytest

from rerank.errors import ContextTooSmall
from rerank.model import Model
from rerank.prompt import ChatFrame, PassageContext, passage_context
from tests.rerank.conftest import make_model, make_tokenizer

PASSAGES = ["The tower.\nIt was built in 1889.", "Zürich 🦜 שלום", "", "<|im_end|>", "x"]


def context(
    model: Model, passages: list[str], reserve: int = 10, passage_tokens: int | None = None
) -> PassageContext:
    return passage_context(
        model,
        "<|im_start|>user\n",
        " Here are some paragraphs:",
        passages,
        separator="\n\n",
        reserve=reserve,
        passage_tokens=passage_tokens,
    )


def test_spans_hold_the_numbered_passages(small: Model) -> None:
    made = context(small, PASSAGES)
    for place, (start, end) in enumerate(made.spans):
        assert small.tokenizer.decode(made.tokens[start:end]) == f"[{place + 1}] {PASSAGES[place]}"
    whole = "".join(f"\n\n[{number}] {passage}" for number, passage in enumerate(PASSAGES, start=1))
    opening = "<|im_start|>user\n Here are some paragraphs:"
    assert small.tokenizer.decode(made.tokens) == f"{opening}{whole}\n\n"
    assert not any(made.cut)


def test_numbers_follow_the_place_in_the_prompt_and_spans_the_caller(small: Model) -> None:
    made = passage_context(
        small, "", "", ["first", "second", "third"], separator="|", reserve=0, order=[2, 0, 1]
    )
    assert small.tokenizer.decode(made.tokens) == "|[1] third|[2] first|[3] second|"
    read = [small.tokenizer.decode(made.tokens[start:end]) for start, end in made.spans]
    assert read == ["[2] first", "[3] second", "[1] third"]


def letters(count: int) -> str:
    """A text that takes `count` tokens in a prompt: the space before it and each z are one."""
    return "z" * (count - 1)


def test_each_passage_is_cut_to_its_limit(small: Model) -> None:
    made = context(small, [letters(10), letters(30)], passage_tokens=20)
    assert made.lengths == [10, 20]
    assert made.cut == [False, True]
    assert small.tokenizer.decode(made.tokens[slice(*made.spans[1])]) == "[2] " + "z" * 19
    assert made.offsets(1)[-1] == (18, 19)


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [
        ([20, 50, 90], 160, [20, 50, 90]),
        ([20, 50, 90], 159, [20, 50, 89]),
        ([20, 50, 90], 120, [20, 50, 50]),
        # 20 + 2 · 47 = 114: one token of 115 stays free, for 48 would take 116.
        ([20, 50, 90], 115, [20, 47, 47]),
        ([90, 20, 50], 51, [17, 17, 17]),
    ],
)
def test_the_longest_are_cut_first_and_evenly(
    small: Model, lengths: list[int], room: int, kept: list[int]
) -> None:
    passages = [letters(length) for length in lengths]
    around = len(context(small, passages).tokens) - sum(lengths)
    made = context(small, passages, reserve=small.shape.context - around - room)
    assert made.lengths == kept
    assert made.cut == [count < length for count, length in zip(kept, lengths, strict=True)]
    assert small.shape.context - len(made.tokens) >= small.shape.context - around - room


def test_what_cannot_fit_is_refused_with_numbers_and_the_way_out(small: Model) -> None:
    passages = [letters(40), letters(40)]
    around = len(context(small, passages).tokens) - 80
    with pytest.raises(ContextTooSmall) as caught:
        context(small, passages, reserve=small.shape.context - around - 31)
    assert str(caught.value) == (
        "2 passages do not fit the 2048 tokens that llama reads: 2017 are taken, which leaves 15 a passage "
        "(at least 16 are needed). Give fewer passages, a shorter question or a model with a longer context"
    )


def test_an_ending_longer_than_the_context_is_refused(small: Model) -> None:
    with pytest.raises(ContextTooSmall, match="leaves 0 a passage"):
        context(small, ["", ""], reserve=small.shape.context * 2)


def test_the_chat_template_frames_the_question(small: Model) -> None:
    plain = ChatFrame.of(small)
    assert plain == ChatFrame("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    told = ChatFrame.of(small, "Be brief.")
    assert told.before == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    assert told.after == plain.after


def test_without_a_chat_template_the_frame_is_plain() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    model = make_model("llama", copy.copy(tokenizer))
    assert ChatFrame.of(model) == ChatFrame("", "\n\nAnswer:")
    assert ChatFrame.of(model, "Be brief.") == ChatFrame("Be brief.", "\n\nAnswer:")
