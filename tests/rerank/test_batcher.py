"""Micro-batching: the same scores in fewer passes, and nobody pays for another's request."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from rerank.errors import ContextTooSmall, NumericalError, Overloaded
from rerank.late.batcher import Batcher
from rerank.late.reranker import LateOptions, LateReranker, LateScores
from rerank.model import Model
from rerank.turn import Turn
from tests.rerank.test_late import close, profile_of

SECONDS = 30
"""Nothing here takes so long: a test that waits has failed."""


class Lengths:
    """A re-ranker that scores texts by their length and fails as it is told; keeps what each pass asked."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.memory = 1000
        self.open = threading.Event()
        self.open.set()
        self.began = threading.Event()

    def read_all(self, requests: Sequence[tuple[str, Sequence[str]]], /) -> list[LateScores]:
        self.passes.append([query for query, _ in requests])
        self.began.set()
        assert self.open.wait(SECONDS)
        if len(requests) > self.memory:
            raise torch.OutOfMemoryError("full")
        for query, _ in requests:
            if query == "long":
                raise ContextTooSmall("too long")
            if query == "nan":
                raise NumericalError("not finite")
            if query == "broken":
                raise ZeroDivisionError("a fault")
        return [LateScores([float(len(t)) for t in texts], [False] * len(texts), 0) for _, texts in requests]

    @contextmanager
    def busy(self, batcher: Batcher) -> Iterator[None]:
        """Busy with a request of its own meanwhile."""
        self.open.clear()
        self.began.clear()
        first = batcher.submit("first", [])
        assert self.began.wait(SECONDS)
        try:
            yield
        finally:
            self.open.set()
        first.result(SECONDS)


def together(reader: Lengths, batcher: Batcher) -> None:
    """A batch of two requests: the next one will wait to be joined."""
    with reader.busy(batcher):
        futures = [batcher.submit(query, []) for query in "xy"]
    for future in futures:
        future.result(SECONDS)


def wait_until(happened: Callable[[], bool]) -> None:
    """Look until something has happened."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_threads_share_passes_and_get_what_they_would_alone(small: Model) -> None:
    asks = [
        (f"question {n}" * (n % 5), [f"paragraph {m} about the query" for m in range(n % 7, n % 7 + 9)])
        for n in range(32)
    ]
    options = LateOptions(memory=1 << 22)
    alone = [LateReranker(small, profile_of(small), options).read(*ask) for ask in asks[:3]]
    single = LateReranker(small, profile_of(small), options)
    alone += [single.read(*ask) for ask in asks[3:]]
    start = threading.Barrier(len(asks))
    shared = LateReranker(small, profile_of(small), options)
    with Batcher(shared, small.turn) as batcher, ThreadPoolExecutor(32) as pool:

        def ask(query: str, texts: list[str]) -> LateScores:
            start.wait(SECONDS)
            return batcher.read(query, texts)

        futures = [pool.submit(ask, *one) for one in asks]
        got = [future.result(SECONDS) for future in futures]
        stats = batcher.stats()
    for one, expected in zip(got, alone, strict=True):
        assert one.scores == close(expected.scores)
    assert (stats.requests, stats.dropped, stats.waiting) == (32, 0, 0)
    assert stats.batches < 32
    assert stats.largest > 1


def test_what_queues_runs_as_one_within_bounds() -> None:
    reader = Lengths()
    with Batcher(reader, Turn(), max_pairs=4) as batcher:
        with reader.busy(batcher):
            sizes = [1, 2, 1, 3, 2, 9, 0]
            futures = [batcher.submit(str(n), ["xy"] * size) for n, size in enumerate(sizes)]
        assert [f.result(SECONDS).scores for f in futures] == [[2.0] * size for size in sizes]
        assert reader.passes == [["first"], ["0", "1", "2"], ["3"], ["4"], ["5"], ["6"]]
        assert (batcher.stats().largest, batcher.stats().batches) == (3, 6)


def test_a_batch_waits_to_be_joined_but_not_when_full() -> None:
    reader = Lengths()
    with Batcher(reader, Turn(), max_pairs=3, wait=SECONDS) as batcher:
        together(reader, batcher)
        futures = [batcher.submit(query, ["x"]) for query in "abc"]
        assert [future.result(SECONDS / 2).scores for future in futures] == [[1.0]] * 3
    assert reader.passes[-1] == ["a", "b", "c"]


def test_a_lone_caller_never_waits_to_be_joined() -> None:
    reader = Lengths()
    with Batcher(reader, Turn(), wait=2 * SECONDS) as batcher:
        for query in "abc":
            assert batcher.submit(query, ["x"]).result(SECONDS).scores == [1.0]
        # After company, one more waits; its batch is of one, and the next does not wait.
        together(reader, batcher)
        batcher.wait = 0.02
        for query in "de":
            assert batcher.submit(query, ["x"]).result(SECONDS).scores == [1.0]
        batcher.wait = 2 * SECONDS
        assert batcher.submit("f", ["x"]).result(SECONDS).scores == [1.0]


def test_who_comes_while_the_model_is_busy_elsewhere_runs_along() -> None:
    reader, turn = Lengths(), Turn()
    with Batcher(reader, turn) as batcher:
        with turn:
            first = batcher.submit("a", ["x"])
            wait_until(lambda: turn.waiting == 1)
            second = batcher.submit("b", ["x"])
        assert (first.result(SECONDS).scores, second.result(SECONDS).scores) == ([1.0], [1.0])
    assert reader.passes == [["a", "b"]]


def test_a_cancelled_request_does_not_run() -> None:
    reader = Lengths()
    with Batcher(reader, Turn()) as batcher:
        with reader.busy(batcher):
            left, kept = batcher.submit("left", ["x"]), batcher.submit("kept", ["x"])
            assert left.cancel()
        assert kept.result(SECONDS).scores == [1.0]
        assert reader.passes == [["first"], ["kept"]]
        assert batcher.stats().dropped == 1


def test_a_full_queue_refuses_and_forgets_the_cancelled() -> None:
    reader = Lengths()
    with Batcher(reader, Turn(), max_waiting=3) as batcher:
        with reader.busy(batcher):
            futures = [batcher.submit(str(n), ["x"]) for n in range(3)]
            with pytest.raises(Overloaded, match="3 questions wait"):
                batcher.submit("more", ["x"])
            with pytest.raises(Overloaded):
                batcher.read("more", ["x"])
            futures[1].cancel()
            instead = batcher.submit("instead", ["x"])
        assert instead.result(SECONDS).scores == [1.0]
        assert batcher.stats().requests == 5
        assert reader.passes == [["first"], ["0", "2", "instead"]]


@pytest.mark.parametrize(
    ("bad", "error"), [("long", ContextTooSmall), ("nan", NumericalError), ("broken", ZeroDivisionError)]
)
def test_one_bad_request_fails_alone(bad: str, error: type[Exception]) -> None:
    reader = Lengths()
    with Batcher(reader, Turn()) as batcher:
        with reader.busy(batcher):
            futures = [batcher.submit(query, ["x"]) for query in ("a", bad, "b", bad, "c")]
        assert [future.result(SECONDS).scores for future in futures[::2]] == [[1.0]] * 3
        for future in futures[1::2]:
            with pytest.raises(error):
                future.result(SECONDS)
        assert reader.passes[2:] == [["a"], [bad], ["b"], [bad], ["c"]]
        assert batcher.read("after", ["x"]).scores == [1.0]


def test_a_bad_request_of_a_real_reranker(small: Model) -> None:
    late = LateReranker(small, profile_of(small), LateOptions(memory=1 << 22))
    expected = late.read("x", ["a text"]).scores
    with Batcher(late, small.turn) as batcher:
        with small.turn:
            good, bad = batcher.submit("x", ["a text"]), batcher.submit("potassium " * 2000, ["a text"])
        assert good.result(SECONDS).scores == close(expected)
        with pytest.raises(ContextTooSmall, match="room for"):
            bad.result(SECONDS)


@pytest.mark.parametrize(("memory", "sizes"), [(3, [8, 4, 2, 2, 4, 2, 2]), (4, [8, 4, 4])])
def test_a_batch_too_large_for_memory_is_halved(memory: int, sizes: list[int]) -> None:
    reader = Lengths()
    with Batcher(reader, Turn()) as batcher:
        with reader.busy(batcher):
            reader.memory = memory
            futures = [batcher.submit(str(n), ["x" * n]) for n in range(8)]
        assert [future.result(SECONDS).scores for future in futures] == [[float(n)] for n in range(8)]
        assert list(map(len, reader.passes[1:])) == sizes


def test_one_request_too_large_for_memory_fails_alone() -> None:
    reader = Lengths()
    with Batcher(reader, Turn()) as batcher:
        reader.memory = 0
        with pytest.raises(torch.OutOfMemoryError):
            batcher.read("x", ["x"])
        reader.memory = 1
        assert batcher.read("x", ["x"]).scores == [1.0]


def test_close_ends_what_runs_and_cancels_what_waits() -> None:
    reader = Lengths()
    batcher = Batcher(reader, Turn())
    reader.open.clear()
    running = batcher.submit("running", ["x"])
    assert reader.began.wait(SECONDS)
    waiting = [batcher.submit("waiting", ["x"]) for _ in range(3)]
    closer = threading.Thread(target=batcher.close)
    closer.start()
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(SECONDS)
    reader.open.set()
    closer.join(SECONDS)
    assert not closer.is_alive()
    assert running.result(SECONDS).scores == [1.0]
    with pytest.raises(CancelledError):
        batcher.read("late", ["x"])
    batcher.close()
    assert reader.passes == [["running"]]
    assert (batcher.stats().dropped, batcher.stats().waiting) == (3, 0)


def test_close_while_a_batch_waits_to_be_joined() -> None:
    reader = Lengths()
    batcher = Batcher(reader, Turn(), wait=SECONDS)
    together(reader, batcher)
    future = batcher.submit("x", ["x"])
    batcher.close()
    assert future.cancelled()


def test_close_before_anything_was_asked() -> None:
    with Batcher(Lengths(), Turn()) as batcher:
        assert batcher.stats().requests == 0
    assert batcher.submit("x", ["x"]).cancelled()


def test_the_turn_keeps_the_reranker_to_its_holder() -> None:
    reader, turn = Lengths(), Turn()
    with Batcher(reader, turn) as batcher:
        with turn:
            future = batcher.submit("x", ["x"])
            assert not reader.began.wait(0.05)
            with pytest.raises(RuntimeError, match="give it back first"):
                batcher.read("x", ["x"])
        assert future.result(SECONDS).scores == [1.0]
