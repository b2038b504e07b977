"""Several threads through one pipeline: what each gets alone, in fewer passes, one at a time at the model."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from ragnarok.assemble import PipelineSettings, build_generator, build_reranker
from ragnarok.generators import LocalOptions
from ragnarok.pipeline import Pipeline, Result
from ragnarok.rerankers import LateAttentionReranker
from ragnarok.types import Hit, Passage
from rerank.late.reranker import LateOptions
from rerank.model import Model
from rerank.policies import POLICIES, RazorPolicy
from rerank.profile import HeadProfile
from tests.rerank.conftest import make_model, make_tokenizer
from tests.rerank.test_batcher import SECONDS, wait_until
from tests.rerank.test_late import close, profile_of

THREADS = 8
QUESTIONS = [f"where is the tower number {n}? " + "And why? " * (n % 3) for n in range(THREADS)]
GATES = ((0.9, 0.1), (0.2, 0.8), (0.7, 0.3), (0.4, 0.6))


class Shelf:
    """A retriever that finds other passages for each question."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [
            [
                Hit(f"d{n}", 9.0 - n, n, Passage(f"d{n}", f"The tower {n} is in the town {len(query)}."))
                for n in range(1, k + 1)
            ]
            for query in queries
        ]


def gated(model: Model) -> HeadProfile:
    return replace(profile_of(model), gates=GATES)


def pipeline_of(model: Model, **changes: object) -> Pipeline:
    chosen: dict[str, Any] = {
        "profile": gated(model),
        "late": LateOptions(memory=1 << 22),
        "generator": "local",
        "generate": LocalOptions(max_tokens=6, support=0.5),
        "depth": 5,
    }
    settings = PipelineSettings(**(chosen | changes))
    return Pipeline(Shelf(), build_reranker(model, settings), build_generator(model, settings), depth=5)


def look_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the policy that looks for its heads read few tokens."""
    monkeypatch.setattr(RazorPolicy, "measure", partial(RazorPolicy.measure, tokens=20))


def ask_all(pipeline: Pipeline) -> list[Result]:
    """All questions at once."""
    start = threading.Barrier(THREADS)

    def ask(question: str) -> Result:
        start.wait(SECONDS)
        return pipeline.ask(question)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, QUESTIONS))


def assert_same(found: Result, alone: Result) -> None:
    """Scores up to rounding; batches add up in another order."""
    assert [hit.docid for hit in found.hits] == [hit.docid for hit in alone.hits]
    assert [hit.score for hit in found.hits] == close([hit.score for hit in alone.hits])
    marks = [[(m.start, m.end) for m in hit.highlights] for hit in found.hits]
    assert marks == [[(m.start, m.end) for m in hit.highlights] for hit in alone.hits]
    assert found.answer == alone.answer


@pytest.mark.parametrize(
    "changes",
    [{}, {"generator": "quote"}, {"mode": "joint"}, {"policy": "duo"}],
    ids=["late", "quote", "joint", "duo"],
)
def test_threads_get_what_they_would_alone(small: Model, changes: dict[str, object]) -> None:
    with pipeline_of(small, **changes) as pipeline:
        alone = [pipeline.ask(question) for question in QUESTIONS]
    with pipeline_of(small, **changes) as pipeline:
        for found, expected in zip(ask_all(pipeline), alone, strict=True):
            assert_same(found, expected)


def test_what_threads_ask_at_once_is_one_batch(small: Model) -> None:
    with pipeline_of(small) as pipeline, ThreadPoolExecutor(THREADS) as pool:
        made = pipeline.reranker
        assert isinstance(made, LateAttentionReranker)
        with small.turn:
            asked = [pool.submit(pipeline.rank, question) for question in QUESTIONS]
            wait_until(lambda: made.batcher.stats().waiting == THREADS)
        for future in asked:
            future.result(SECONDS)
        stats = made.batcher.stats()
    assert (stats.requests, stats.batches, stats.largest) == (THREADS, 1, THREADS)


def test_nobody_waits_for_a_whole_answer(small: Model) -> None:
    order: list[str] = []
    options = LocalOptions(max_tokens=400, repeat=1000)
    with pipeline_of(small, generate=options) as pipeline:
        begun = threading.Event()
        steps = small.network.base_model.register_forward_hook(lambda *_: begun.set())

        def answer() -> None:
            *_, last = pipeline.generator.stream(QUESTIONS[0], Shelf().search(QUESTIONS[:1], 5)[0])
            assert last
            order.append("answered")

        thread = threading.Thread(target=answer)
        thread.start()
        assert begun.wait(SECONDS)
        steps.remove()
        pipeline.rank(QUESTIONS[1])
        order.append("ranked")
        thread.join(SECONDS)
    assert order == ["ranked", "answered"]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model that fails when it is used by a thread that does not have its turn."""
    model = make_model("llama", make_tokenizer())

    def check(*_: object) -> None:
        assert model.turn.is_mine, "the model was used out of turn"

    def checked(works: Callable[..., object]) -> Callable[..., object]:
        def work(*args: object, **kwargs: object) -> object:
            check()
            return works(*args, **kwargs)

        return work

    for module in (model.network.base_model, model.network.get_output_embeddings()):
        module.register_forward_pre_hook(check)
    # What every way of a fast tokenizer to tokens and back goes through.
    for name in ("_encode_plus", "_decode"):
        monkeypatch.setattr(model.tokenizer, name, checked(getattr(model.tokenizer, name)))
    return model


def test_the_watch_notices(watched: Model) -> None:
    for use in (
        lambda: watched.tokenizer(["x"]),
        lambda: watched.tokenizer.decode([5]),
        lambda: watched.network.base_model(torch.tensor([[5]])),
    ):
        with pytest.raises(AssertionError, match="out of turn"):
            use()
        with watched.turn:
            use()


@pytest.mark.parametrize("policy", list(POLICIES))
def test_whatever_writes_does_so_in_its_turn(
    watched: Model, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_briefly(monkeypatch)
    with pipeline_of(watched, policy=policy) as pipeline:
        assert pipeline.ask(QUESTIONS[0]).hits
        assert not watched.turn.is_mine


@pytest.mark.parametrize("mode", ["late", "joint"])
def test_whatever_ranks_and_quotes_does_so_in_its_turn(watched: Model, mode: str) -> None:
    with pipeline_of(watched, mode=mode, generator="quote") as pipeline:
        assert pipeline.ask(QUESTIONS[0]).answer.sentences
        assert not watched.turn.is_mine


def test_an_answer_that_is_not_read_on_holds_nobody_up(small: Model) -> None:
    with pipeline_of(small, generate=LocalOptions(max_tokens=60, repeat=1000)) as pipeline:
        events = pipeline.stream(QUESTIONS[0])
        for _ in range(2):
            next(events)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(pipeline.rank, QUESTIONS[1]).result(SECONDS)
        assert not small.turn.is_mine
