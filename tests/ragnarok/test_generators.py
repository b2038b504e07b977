"""Generators over a tiny random model: whatever it writes, every citation points somewhere."""

from collections.abc import Sequence

import pytest

from ragnarok.errors import BadQuery
from ragnarok.generators import LocalGenerator, LocalOptions, QuoteGenerator
from ragnarok.generators.local import INSTRUCTION, LEAD
from ragnarok.generators.quote import QuoteOptions
from ragnarok.query import MAX_QUERY_TOKENS
from ragnarok.seams import Generator
from ragnarok.sentences import split_sentences
from ragnarok.types import Answer, Hit, Passage, Sentence
from rerank.errors import ContextTooSmall
from rerank.model import Model

QUERY = "where is the tower?"
TEXTS = [
    "The tower is in Paris. It was built in 1889 by an engineer, for a world's fair.",
    "Bananas are rich in potassium.\nThey grow in warm places all over the world. Yes.",
    "The tower is in Paris. A tower may also be a\nstack of wooden blocks, or of cards.",
    "",
]


def hits(texts: Sequence[str] = TEXTS) -> list[Hit]:
    return [
        Hit(f"d{n}", 1 / n, n, Passage(f"d{n}", text, f"Title {n}")) for n, text in enumerate(texts, start=1)
    ]


def answer_of(generator: Generator, found: Sequence[Hit]) -> Answer:
    """The answer; its sentences are those that were streamed, and it holds together."""
    *sentences, answer = generator.stream(QUERY, found)
    assert isinstance(answer, Answer)
    assert answer.query == QUERY
    assert [s.text for s in sentences if isinstance(s, Sentence)] == [s.text for s in answer.sentences]
    cited = [place for sentence in answer.sentences for place in sentence.citations]
    assert set(cited) == set(range(len(answer.references)))
    assert len(set(answer.references)) == len(answer.references)
    assert set(answer.references) <= {hit.docid for hit in found}
    return answer


@pytest.mark.parametrize("support", [0.0, 1.25, 99.0])
def test_whatever_is_written_its_citations_hold(small: Model, support: float) -> None:
    options = LocalOptions(max_tokens=80, support=support, passages=3)
    answer = answer_of(LocalGenerator(small, options), hits())
    assert answer.sentences
    if support == 99:
        assert answer.references == ()
    if support == 0:
        # Every passage has the share it needs, and the best three are kept.
        assert {len(sentence.citations) for sentence in answer.sentences} == {3}


def test_the_same_question_has_the_same_answer(small: Model) -> None:
    generator = LocalGenerator(small, LocalOptions(max_tokens=30))
    assert answer_of(generator, hits()) == answer_of(generator, hits())


def test_an_answer_stops_at_its_limit_and_says_so(small: Model) -> None:
    answer = answer_of(LocalGenerator(small, LocalOptions(max_tokens=5)), hits())
    assert "the answer was stopped at its limit of 5 tokens" in answer.notes


def test_an_answer_that_repeats_itself_stops(small: Model) -> None:
    # The last token alone is what must not come again.
    answer = answer_of(LocalGenerator(small, LocalOptions(max_tokens=600, repeat=1)), hits())
    assert "the answer was stopped where the model began to repeat itself" in answer.notes


@pytest.mark.parametrize("make", [LocalGenerator, QuoteGenerator])
def test_without_hits_nothing_is_answered(small: Model, make: type[LocalGenerator | QuoteGenerator]) -> None:
    answer = answer_of(make(small), [])
    assert answer.sentences == ()
    assert answer.notes == ("no passage was found, so nothing can be answered",)


def test_a_question_that_fills_the_context_is_refused(small: Model) -> None:
    with pytest.raises(ContextTooSmall):
        list(LocalGenerator(small).stream("why " * 500, hits()))
    with pytest.raises(ContextTooSmall):
        list(QuoteGenerator(small).stream("why " * 500, hits()))


def test_a_question_of_too_many_tokens_is_refused(small: Model) -> None:
    for generator in (LocalGenerator(small), QuoteGenerator(small)):
        with pytest.raises(BadQuery, match=r"2,049 tokens of .*, the limit is 2,048; ask"):
            list(generator.stream("7" * (MAX_QUERY_TOKENS + 1), hits()))


def test_the_prompt_leads_in_with_words(small: Model) -> None:
    assert LEAD in small.tokenizer.decode(small.encode([LEAD])[0])


def test_a_prompt_of_ones_own_is_read_instead(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, int]] = []
    monkeypatch.setattr(small, "counted", lambda kind, tokens: heard.append((kind, tokens)))
    for prompt in ("", "Say it in one word."):
        answer_of(LocalGenerator(small, LocalOptions(max_tokens=1, prompt=prompt)), hits())
    (usual, own) = (tokens for kind, tokens in heard if kind == "answer_prompt")
    ours, theirs = map(len, small.encode([f"{INSTRUCTION}\n\nQuestion:", "Say it in one word.\n\nQuestion:"]))
    assert own - usual == theirs - ours != 0


def flat(text: str) -> str:
    return " ".join(text.split())


def test_quotations_are_the_passages_own_words(small: Model) -> None:
    found = hits()
    answer = answer_of(QuoteGenerator(small, QuoteOptions(behind=99)), found)
    texts = {hit.docid: flat(hit.passage.text) for hit in found}
    assert len(answer.sentences) == 3
    for sentence in answer.sentences:
        (place,) = sentence.citations
        assert sentence.text in texts[answer.references[place]]
        assert len(sentence.text.split()) >= 4, "Yes. is no quotation"
    assert len({sentence.text for sentence in answer.sentences}) == 3, "what stands twice is quoted once"


def test_quotations_keep_the_passages_order(small: Model) -> None:
    found = hits()
    whole = [flat(s) for hit in found for s in split_sentences(flat(hit.passage.text)) if len(s.split()) >= 4]
    answer = answer_of(QuoteGenerator(small, QuoteOptions(sentences=99, behind=99)), found)
    assert [sentence.text for sentence in answer.sentences] == list(dict.fromkeys(whole))


def test_at_most_so_many_are_quoted_from_so_many_passages(small: Model) -> None:
    answer = answer_of(QuoteGenerator(small, QuoteOptions(sentences=1, passages=1)), hits())
    assert len(answer.sentences) == 1
    assert answer.references == ("d1",)


@pytest.mark.parametrize("texts", [[""], ["Too short.", "\n\n"], ["word " * 200]])
def test_passages_without_a_sentence_to_quote(small: Model, texts: list[str]) -> None:
    answer = answer_of(QuoteGenerator(small), hits(texts))
    assert answer.sentences == ()
    assert answer.notes == ("the passages hold no sentence to quote, so nothing can be answered",)


def test_passages_longer_than_the_context_are_quoted_from_their_beginning(small: Model) -> None:
    long = " ".join(f"This is the sentence of number {n}." for n in range(900))
    answer = answer_of(QuoteGenerator(small), hits([long, *TEXTS]))
    assert answer.sentences
    assert all(flat(sentence.text) in flat(" ".join([long, *TEXTS])) for sentence in answer.sentences)
    answer_of(LocalGenerator(small, LocalOptions(max_tokens=5)), hits([long, *TEXTS]))
