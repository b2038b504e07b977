"""Re-ranking of hits: order, history, and the words that are shown as evidence."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from ragnarok.errors import BadQuery
from ragnarok.query import MAX_QUERY_TOKENS
from ragnarok.rerankers import AttentionReranker, KeepOrder, LateAttentionReranker
from ragnarok.rerankers.attention import highlights
from ragnarok.rerankers.late import TOGETHER
from ragnarok.types import Hit, Passage
from rerank.icr import InContextReranker, TokenScore
from rerank.model import Model
from tests.rerank.test_late import profile_of, reranker

TEXTS = ["The tower is in Paris.", "Bananas 🍌 are rich.", "שלום עולם", "", "The tower is in Paris."]
HITS = [
    Hit(f"d{n}", 9.0 - n, n, Passage(f"d{n}", text, f"Title {n}" if n % 2 else ""))
    for n, text in enumerate(TEXTS, start=1)
]
QUERY = "where is the tower?"


def test_attention_alone_orders_by_its_scores(small: Model) -> None:
    reader = InContextReranker(small)
    scores = reader.read(QUERY, [hit.passage.contents for hit in HITS]).scores
    ranked = AttentionReranker(reader, first_stage=0).rerank(QUERY, HITS)
    best = sorted(range(len(HITS)), key=lambda place: -scores[place])
    assert [hit.docid for hit in ranked] == [HITS[place].docid for place in best]
    assert [hit.rank for hit in ranked] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    for hit in ranked:
        before = HITS[hit.first_rank - 1]
        assert (hit.docid, hit.first_score, hit.passage) == (before.docid, before.score, before.passage)


def test_the_first_stage_is_the_limit_of_large_weights(small: Model) -> None:
    ranked = AttentionReranker(InContextReranker(small), first_stage=1e6).rerank(QUERY, HITS)
    assert [hit.docid for hit in ranked] == ["d1", "d2", "d3", "d4", "d5"]


def test_a_shuffled_list_keeps_its_first_ranks(small: Model) -> None:
    shuffled = [HITS[place] for place in (3, 0, 4, 2, 1)]
    ranked = AttentionReranker(InContextReranker(small), first_stage=1e6).rerank(QUERY, shuffled)
    assert [hit.docid for hit in ranked] == ["d1", "d2", "d3", "d4", "d5"]


def test_ties_go_to_the_better_first_rank(small: Model) -> None:
    # The question is the null query: calibrated, every score is 0.
    same = [Hit(f"d{n}", 1.0, n, Passage(f"d{n}", f"Text {n}.")) for n in (3, 1, 2)]
    ranked = AttentionReranker(InContextReranker(small), first_stage=0).rerank("N/A", same)
    assert [hit.score for hit in ranked] == [0, 0, 0]
    assert [hit.docid for hit in ranked] == ["d1", "d2", "d3"]
    assert [hit.rank for hit in ranked] == [1, 2, 3]


def test_a_question_of_too_many_tokens_is_refused(small: Model) -> None:
    late = LateAttentionReranker(reranker(small))
    with closing(late):
        for made in (late, AttentionReranker(InContextReranker(small))):
            with pytest.raises(BadQuery, match=r"2,049 tokens of .*, the limit is 2,048; ask"):
                made.rerank("7" * (MAX_QUERY_TOKENS + 1), HITS)
        assert late.batcher.stats().requests == 0


def test_cut_passages_are_said_to_be(small: Model) -> None:
    hits = [
        Hit("long", 1.0, 1, Passage("long", "word " * 900)),
        Hit("short", 1.0, 2, Passage("short", "word")),
    ]
    ranked = AttentionReranker(InContextReranker(small)).rerank(QUERY, hits)
    assert {hit.docid: hit.cut for hit in ranked} == {"long": True, "short": False}


def test_highlights_are_whole_words_of_the_text(small: Model) -> None:
    ranked = AttentionReranker(InContextReranker(small)).rerank(QUERY, HITS)
    for hit in ranked:
        text = hit.passage.text
        ends = [0]
        for mark in hit.highlights:
            assert ends[-1] <= mark.start < mark.end <= len(text)
            assert text[mark.start : mark.end].isalnum()
            assert not text[mark.start - 1 : mark.start].isalnum() or mark.start == 0
            assert not text[mark.end : mark.end + 1].isalnum()
            assert 0.3 <= mark.weight <= 1
            ends.append(mark.end)
    assert any(hit.highlights for hit in ranked)


def hit_of(text: str, title: str = "") -> Hit:
    return Hit("d", 1.0, 1, Passage("d", text, title))


def marked(hit: Hit, *tokens: tuple[int, int, float]) -> dict[str, float]:
    marks = highlights(hit, [TokenScore(*token) for token in tokens])
    return {hit.passage.text[mark.start : mark.end]: mark.weight for mark in marks}


def test_a_word_has_what_its_tokens_drew() -> None:
    #    0123456789012345678
    hit = hit_of("Big towers in Paris")
    tokens = [(0, 3, 0.1), (3, 6, 0.5), (6, 10, 1.5), (10, 13, -1.0), (13, 19, 1.0)]
    # " to" and "wers" drew 2 together; Paris half of that; Big a twentieth.
    assert marked(hit, *tokens) == {"towers": 1.0, "Paris": 0.5}


def test_what_a_title_drew_is_no_word_of_the_text() -> None:
    hit = hit_of("Seine river", title="Paris")
    # "Paris\nSeine river": the text begins at 6; a token that begins in the title is the title's.
    assert marked(hit, (0, 5, 9.0), (5, 8, 9.0), (6, 11, 1.0), (11, 17, 0.4)) == {"Seine": 1.0, "river": 0.4}


def test_emoji_and_right_to_left_text_keep_their_places() -> None:
    hit = hit_of("🍌🍌 banana שלום")
    assert marked(hit, (0, 1, 5.0), (1, 2, 5.0), (2, 9, 1.0), (9, 14, 0.5)) == {"banana": 1.0, "שלום": 0.5}


def test_combining_marks_do_not_break_words() -> None:
    for text in ("cafe\u0301s", "हिन्दी"):
        assert marked(hit_of(f"a {text} b"), (1, 3, 1.0)) == {text: 1.0}
    assert marked(hit_of("❤\ufe0f heart"), (0, 2, 5.0), (2, 8, 1.0)) == {"heart": 1.0}


@pytest.mark.parametrize("tokens", [[], [(0, 3, 0.0)], [(0, 3, -1.0)]])
def test_nothing_is_highlighted_where_nothing_drew(tokens: list[tuple[int, int, float]]) -> None:
    assert marked(hit_of("Big towers"), *tokens) == {}
    assert marked(hit_of(""), *tokens) == {}


def test_keep_order_changes_nothing() -> None:
    kept = KeepOrder().rerank("?", HITS)
    assert [(h.docid, h.score, h.rank) for h in kept] == [(h.docid, h.score, h.rank) for h in HITS]
    assert all((h.first_rank, h.first_score, h.highlights) == (h.rank, h.score, ()) for h in kept)
    assert KeepOrder().rerank("?", []) == []


def test_no_hits_give_none(small: Model) -> None:
    assert AttentionReranker(InContextReranker(small)).rerank(QUERY, []) == []


def test_scores_are_attention_less_the_ranks_weight(small: Model) -> None:
    (only,) = AttentionReranker(InContextReranker(small), first_stage=2).rerank(QUERY, HITS[2:3])
    assert only.score == -2 * math.log2(3 + 1)


def unranked(count: int) -> list[Hit]:
    """So many hits that nothing has ranked."""
    return [
        Hit(f"d{n}", 0.0, n, Passage(f"d{n}", f"{TEXTS[n % len(TEXTS)]} {n}")) for n in range(1, count + 1)
    ]


@pytest.fixture
def late(small: Model) -> Iterator[LateAttentionReranker]:
    reader = reranker(small, profile_of(small, together=2.0))
    made = LateAttentionReranker(reader, evidence=0, joint=InContextReranker(small))
    yield made
    made.close()


def scores_of(reranker: LateAttentionReranker, hits: list[Hit]) -> list[float]:
    """The hits' scores in the order they were given."""
    found = {hit.docid: hit.score for hit in reranker.rerank(QUERY, hits)}
    return [found[hit.docid] for hit in hits]


def test_a_short_list_that_nothing_has_ranked_is_read_as_a_whole(
    small: Model, late: LateAttentionReranker
) -> None:
    hits = unranked(TOGETHER)
    texts = [hit.passage.contents for hit in hits]
    alone = late.reader.read(QUERY, texts).scores
    drawn = InContextReranker(small).read(QUERY, texts).scores
    assert scores_of(late, hits) == pytest.approx(
        [one + 2.0 * mass for one, mass in zip(alone, drawn, strict=True)], abs=1e-5
    )
    assert max(drawn) > 1e-4


@pytest.mark.parametrize("change", ["long", "ranked", "late mode"])
def test_other_lists_are_not_read_as_a_whole(late: LateAttentionReranker, change: str) -> None:
    hits = unranked(TOGETHER + (change == "long"))
    if change == "ranked":
        # The profile gives a first stage no weight, so that late attention is all there is.
        hits = [replace(hit, score=-float(hit.rank)) for hit in hits]
    chosen = late.with_weight(None, evidence=0) if change == "late mode" else late
    alone = late.reader.read(QUERY, [hit.passage.contents for hit in hits]).scores
    assert scores_of(chosen, hits) == pytest.approx(alone, abs=1e-6)
