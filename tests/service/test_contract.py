"""What every implementation of a seam keeps, in this process and behind HTTP."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest

from indexes import SearchError
from ragnarok.assemble import IndexRetriever, PipelineSettings
from ragnarok.errors import BadQuery
from ragnarok.generators import LocalGenerator, LocalOptions, QuoteGenerator
from ragnarok.rerankers import AttentionReranker, LateAttentionReranker
from ragnarok.types import Answer, Hit, Passage, Sentence
from rerank.icr import InContextReranker
from service.app import create_app
from service.clients import RemoteGenerator, RemoteReranker, RemoteRetriever, Upstream
from service.errors import OverLimit
from service.library import Library
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_late import reranker
from tests.service.conftest import CORPUS
from tests.service.fakes import PASSAGES, Reciter, Reverser
from tests.service.running import served

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from indexes import Index
    from ragnarok.seams import Generator, Reranker, Retriever
    from rerank.model import Model

QUERY = "where is the tower?"
HITS = [
    *(Hit(d, 9.0 - n, n, Passage(d, x, t, u)) for n, (d, t, x, u) in enumerate(CORPUS, start=1)),
    *(Hit(p.docid, 2.0 - n, n + 5, p) for n, p in enumerate(PASSAGES)),
]


class Without:
    """An application that has no route at some paths, as servers of others have none there."""

    def __init__(self, app: ASGIApp, *paths: str) -> None:
        """Take `paths` from `app`."""
        self.app, self.paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything else."""
        if scope.get("path") in self.paths:
            scope = {**scope, "path": "/nothing"}
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """What is closed when the module's tests are done."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def pyserini(small_index: Index, stack: ExitStack) -> str:
    """The address of Pyserini's own server over the same index."""
    command = [
        sys.executable,
        "-m",
        "tests.service.pyserini_server",
        str(small_index.folder / "bm25"),
        "small",
    ]
    process = stack.enter_context(Popen(command, stdout=PIPE, text=True))
    stack.callback(process.terminate)
    assert process.stdout is not None
    return f"http://127.0.0.1:{int(process.stdout.readline())}"


@pytest.fixture(scope="module")
def ours(small_index: Index) -> ASGIApp:
    """A retrieval service over the index."""
    settings = Settings(serve="retrieval", index="small", max_hits=100)
    return create_app(settings, Parts(library=Library({"small": small_index}, settings)))


@pytest.fixture(scope="module", params=["here", "ours", "v1", "old", "pyserini"])
def retriever(
    request: pytest.FixtureRequest,
    small_index: Index,
    ours: ASGIApp,
    stack: ExitStack,
    loop: AbstractEventLoop,
) -> Retriever:
    """Each way to search the same index."""
    if request.param == "here":
        return IndexRetriever(small_index, PipelineSettings())
    if request.param == "pyserini":
        if sys.version_info >= (3, 12):
            pytest.skip("Pyserini 2 starts its server in another way")
        address = request.getfixturevalue("pyserini")
    else:
        gone = {"ours": (), "v1": ("/v1/search",), "old": ("/v1/search", "/v1/small/search")}
        address = stack.enter_context(served(Without(ours, *gone[request.param])))
    remote = RemoteRetriever(Upstream("retrieval", [address], loop), "small")
    stack.callback(remote.close)
    return remote


def test_a_retriever_finds_the_best_of_each_query(retriever: Retriever) -> None:
    queries = ["river tower", "Bananas, Paris? & more", "nothing of this", "", "the"]
    found = retriever.search(queries, 3)
    assert [[hit.docid for hit in hits] for hits in found] == [
        ["tower", "a/b?c&d#1"],
        ["fruit", "tower"],
        ["last"],
        [],
        [],
    ]
    for hits in found:
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    texts = {docid: f"{title}\n{text}" if title else text for docid, title, text, _ in CORPUS}
    for hit in (hit for hits in found for hit in hits):
        assert hit.passage.contents == texts[hit.docid]
        assert hit.passage.docid == hit.docid
    assert [len(hits) for hits in retriever.search(["river", "Paris"], 1)] == [1, 1]
    assert retriever.search([], 3) == []


def test_a_retriever_gives_the_scores_of_the_index(retriever: Retriever, small_index: Index) -> None:
    (mine,), (theirs,) = small_index.search(["river in Paris"], 5), retriever.search(["river in Paris"], 5)
    assert [(h.docid, h.rank) for h in mine] == [(h.docid, h.rank) for h in theirs]
    assert [h.score for h in theirs] == pytest.approx([h.score for h in mine], abs=1e-6)


def test_our_own_service_says_what_was_wrong(ours: ASGIApp, loop: AbstractEventLoop) -> None:
    with served(ours) as address:
        upstream = Upstream("retrieval", [address], loop)
        with pytest.raises(OverLimit, match="101 hits are over this service's limit of 100"):
            RemoteRetriever(upstream, "small").search(["river"], 101)
        with pytest.raises(SearchError, match="it has no part dense"):
            RemoteRetriever(upstream, "small", "dense").search(["river"], 5)
        upstream.close()


def rerankers(model: Model) -> dict[str, Callable[[], Reranker]]:
    """Every way to re-rank."""
    return {
        "late": lambda: LateAttentionReranker(reranker(model), first_stage=0.3, evidence=5),
        "joint": lambda: AttentionReranker(InContextReranker(model)),
        "fake": Reverser,
    }


@pytest.mark.parametrize("name", ["late", "joint", "fake"])
def test_a_reranker_keeps_the_hits_and_what_was_said_of_them(
    name: str, small: Model, stack: ExitStack, loop: AbstractEventLoop
) -> None:
    local = rerankers(small)[name]()
    parts = Parts(reranker=local)
    if isinstance(local, LateAttentionReranker):
        parts.modes["late"] = local
    if isinstance(local, AttentionReranker):
        parts.modes["joint"] = local
    app = create_app(Settings(serve="rerank"), parts)
    remote = RemoteReranker(Upstream("rerank", [stack.enter_context(served(app))], loop))
    stack.callback(remote.close)
    given = [HITS[place] for place in (4, 0, 2, 1, 3, *range(5, len(HITS)))]
    both = local.rerank(QUERY, given), remote.rerank(QUERY, given)
    for ranked in both:
        assert sorted(hit.docid for hit in ranked) == sorted(hit.docid for hit in HITS)
        assert [hit.rank for hit in ranked] == list(range(1, len(HITS) + 1))
        if name != "fake":
            assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
        for hit in ranked:
            (before,) = (one for one in HITS if one.docid == hit.docid)
            assert (hit.first_rank, hit.first_score) == (before.rank, before.score)
            assert hit.passage == before.passage
            assert all(0 <= mark.start < mark.end <= len(hit.passage.text) for mark in hit.highlights)
    assert any(hit.highlights for hit in both[1])
    for mine, theirs in zip(*both, strict=True):
        if name == "late" and mine.rank > 5:  # as many are looked at as are told to be
            theirs = replace(theirs, highlights=mine.highlights)
        assert theirs == replace(mine, score=theirs.score)
        assert theirs.score == pytest.approx(mine.score, abs=1e-5)
    assert local.rerank(QUERY, []) == remote.rerank(QUERY, []) == []
    with pytest.raises(BadQuery, match="the limit is"):
        remote.rerank("word " * 20_000, given)


@pytest.mark.parametrize("name", ["quote", "local", "fake"])
def test_a_generator_says_every_sentence_and_then_the_whole(
    name: str, small: Model, stack: ExitStack, loop: AbstractEventLoop
) -> None:
    kinds: dict[str, Generator] = {
        "quote": QuoteGenerator(small),
        "local": LocalGenerator(small, LocalOptions(max_tokens=24, passage_tokens=40)),
        "fake": Reciter(),
    }
    local = kinds[name]
    app = create_app(Settings(serve="generation"), Parts(generator=local))
    remote = RemoteGenerator(Upstream("generation", [stack.enter_context(served(app))], loop))
    stack.callback(remote.close)
    mine, theirs = list(local.stream(QUERY, HITS[:4])), list(remote.stream(QUERY, HITS[:4]))
    assert mine == theirs
    *sentences, answer = theirs
    assert isinstance(answer, Answer)
    assert all(isinstance(sentence, Sentence) for sentence in sentences)
    assert list(answer.sentences) == sentences
    assert answer.query == QUERY
    assert all(0 <= place < len(answer.references) for s in answer.sentences for place in s.citations)
    (nothing,) = remote.stream(QUERY, [])
    assert isinstance(nothing, Answer)
    assert (nothing.sentences, len(nothing.notes)) == ((), 1)
