"""Late scores taken apart: the parts sum to the score, and each is what its formula says."""

import math
from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from rerank.errors import ContextTooSmall, NumericalError
from rerank.late import explain
from rerank.late import reranker as reranking
from rerank.late.explain import Explanation, explanations
from rerank.late.queries import NULL_QUERY
from rerank.late.reranker import LateOptions, LateReranker
from rerank.late.types import Rows
from rerank.model import Model
from rerank.profile import ROWS, HeadProfile, Kinds, ModelIdentity, Signal
from tests.rerank.conftest import FAMILIES, make_model

TEXTS = ["The tower is in Paris.\nIt was built in 1889.", "Titel – äöü 🦜", "x", "", "a long text " * 60]
QUERY = "where is the tower?"
SIGNALS = (
    Signal(0, 1, "query", 0.7, mean=-3.0, scale=2.0),
    Signal(0, 5, "suffix", -0.4, mean=1.0),
    Signal(1, 3, "query", 0.9, scale=0.5),
    Signal(1, 3, "null", -0.8, mean=0.3, scale=0.5),
    Signal(1, 4, "query", -0.2, mean=5.0),
    Signal(2, 0, "null-suffix", 0.6, mean=-2.0, scale=1.5),
)


def reranker(model: Model, *signals: Signal, int8: bool = False, memory: int = 1 << 22) -> LateReranker:
    profile = HeadProfile(
        ModelIdentity.of(model), "late-1", signals=signals or SIGNALS, passage_tokens=64, position=80
    )
    return LateReranker(model, profile, LateOptions(int8=int8, memory=memory))


def scores(found: Explanation) -> list[float]:
    return [token.score for token in found.tokens]


def check_sums(found: Explanation, score: float) -> None:
    assert found.score == pytest.approx(score, rel=1e-5, abs=1e-5)
    assert found.constant + sum(scores(found)) == pytest.approx(score, rel=1e-5, abs=1e-5)
    assert found.constant + sum(head.contribution for head in found.heads) == pytest.approx(
        score, rel=1e-5, abs=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_heads_sum_to_the_score(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    late = reranker(make_model(family, tokenizer))
    read = late.read(QUERY, TEXTS)
    for text, score, cut in zip(TEXTS, read.scores, read.cut, strict=True):
        found = late.explain(QUERY, text)
        check_sums(found, score)
        assert found.cut == cut
        assert [(head.layer, head.head, head.rows) for head in found.heads] == [
            (signal.layer, signal.head, signal.rows) for signal in late.profile.signals
        ]


def test_so_they_do_from_int8_keys(small: Model) -> None:
    late = reranker(small, int8=True)
    for text, score in zip(TEXTS, late.read(QUERY, TEXTS).scores, strict=True):
        check_sums(late.explain(QUERY, text), score)


@pytest.mark.parametrize("kind", ROWS)
def test_each_kind_of_rows_equals_its_formula(small: Model, kind: Kinds) -> None:
    late = reranker(small, Signal(2, 5, kind, 0.75, mean=2.0, scale=0.5))
    asked = NULL_QUERY if kind.startswith("null") else QUERY
    found = late.explain(QUERY, TEXTS[0])
    # The same head as a query signal of weight and scale 1 gives its rows, and the keys as they are kept.
    probe = reranker(small, Signal(2, 5, "query", 1.0))
    rows, _ = probe.queries.read([asked])
    probe.read(QUERY, TEXTS[:1])
    ids = small.encode([TEXTS[0]])[0]
    keys = next(probe.documents.read(probe.documents.tokenize(TEXTS[:1]), probe.null)).keys[:, 0].tolist()
    assert len(keys) == len(ids)
    own = len(small.encode([f"Query: {asked}"])[0])
    vectors = rows.vectors[:, 0].tolist()
    chosen = vectors[own:] if kind.endswith("suffix") else vectors[:own]
    tokens, even = [0.0] * len(ids), 0.0
    for vector in chosen:
        logits = [sum(a * b for a, b in zip(vector, key, strict=True)) * rows.scale for key in keys]
        mass = math.log(sum(map(math.exp, logits)))
        level = sum(logits) / len(logits) + math.log(len(logits))
        even += level * 1.5 / len(chosen)
        for place, logit in enumerate(logits):
            tokens[place] += 1.5 / len(chosen) * (mass - level) * math.exp(logit - mass)
    assert scores(found) == pytest.approx(tokens, rel=1e-4, abs=1e-5)
    assert found.heads[0].contribution == pytest.approx(sum(tokens), rel=1e-4)
    # A positive weight: a token can only speak for the text.
    assert min(scores(found)) >= 0


def test_a_text_of_equal_tokens_is_all_constant(small: Model) -> None:
    late = reranker(small)
    single = late.explain(QUERY, "x")
    assert scores(single) == pytest.approx([0.0], abs=1e-6)
    assert single.constant == pytest.approx(single.score, abs=1e-6)


def test_tokens_cover_the_characters_that_were_read(small: Model) -> None:
    late = reranker(small)
    for text in TEXTS[:3]:
        found = late.explain(QUERY, text)
        covered = {place for token in found.tokens for place in range(token.start, token.end)}
        assert covered == set(range(len(text)))
    assert [(token.start, token.end) for token in late.explain(QUERY, "").tokens] == [(0, 0)]
    long = late.explain(QUERY, TEXTS[-1])
    assert long.cut
    assert len(long.tokens) == 64


def test_many_texts_are_explained_as_one(small: Model) -> None:
    # Memory holds two of the longest: what is explained first has left it by the end.
    late = reranker(small, memory=2 * 64 * 4 * 8 * 4)
    assert late.memory.capacity == 2
    for found, text in zip(explanations(late, QUERY, TEXTS), TEXTS, strict=True):
        alone = reranker(small).explain(QUERY, text)
        assert (found.score, found.constant) == pytest.approx((alone.score, alone.constant), rel=1e-5)
        assert scores(found) == pytest.approx(scores(alone), rel=1e-4, abs=1e-5)
    assert explanations(late, QUERY, []) == []


def counted(late: LateReranker, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The queries of every run from now on."""
    runs: list[list[str]] = []
    read = late.queries.read

    def run(queries: Sequence[str]) -> tuple[Rows, torch.Tensor]:
        runs.append(list(queries))
        return read(queries)

    monkeypatch.setattr(late.queries, "read", run)
    return runs


def test_a_query_that_was_just_scored_does_not_run_again(
    small: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = reranker(small)
    runs = counted(late, monkeypatch)
    queries = ["who built it?", QUERY, "when was the long text written, and by whom?"]
    read = late.read_all([(query, TEXTS[:2]) for query in queries])
    late.read("another one", TEXTS[:1])
    assert runs == [queries, ["another one"]]
    for query, scored in zip(queries, read, strict=True):
        for text, score in zip(TEXTS[:2], scored.scores, strict=True):
            found = late.explain(query, text)
            check_sums(found, score)
            fresh = reranker(small).explain(query, text)
            assert scores(found) == pytest.approx(scores(fresh), rel=1e-4, abs=1e-6)
    assert runs == [queries, ["another one"]]


def test_rows_are_kept_of_the_last_queries_only(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    late = reranker(small)
    runs = counted(late, monkeypatch)
    monkeypatch.setattr(reranking, "ASKED", 2 * len(late.queries.encode([QUERY])[0]))
    asked = [f"{QUERY[:-1]}{number}" for number in "?!."]
    for query in asked:
        late.read(query, TEXTS[:1])
    for query in reversed(asked):
        late.explain(query, TEXTS[0])
    assert runs == [[query] for query in [*asked, asked[0]]]
    long = "a long question " * 10
    for _ in range(2):
        check_sums(late.explain(long, TEXTS[0]), late.read(long, TEXTS[:1]).scores[0])
    assert runs[4:] == [[long]] * 4


def test_long_queries_are_taken_in_blocks(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    late = reranker(small)
    whole = late.explain(QUERY * 9, TEXTS[0])
    monkeypatch.setattr(explain, "BLOCK", 100)
    blocks = late.explain(QUERY * 9, TEXTS[0])
    assert scores(blocks) == pytest.approx(scores(whole), rel=1e-4, abs=1e-6)
    assert blocks.score == pytest.approx(whole.score, rel=1e-6)


def test_what_cannot_be_scored_cannot_be_explained(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    late = reranker(model)
    with pytest.raises(ContextTooSmall):
        late.explain("why " * 2000, TEXTS[0])
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match="llama"):
        late.explain(QUERY, "never read before")
