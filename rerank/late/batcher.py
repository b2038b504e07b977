"""Requests of many threads as few passes of one re-ranker: what has queued while it was busy runs as one.

One thread works, and only in its model's turn, so that a re-ranker, which is not safe for two, may serve any
number beside whatever else the model does. A batch is made up once the turn is there: what came while the
model was busy runs along. Waiting for more pays only where several ask at once, so a batch waits to be
joined only if the one before it was joined: a lone caller never waits. A request that nobody waits for any
more is dropped before it runs, and one that fails fails alone. This module knows nothing of attention.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, Self

import torch

from rerank.errors import Overloaded, RerankError
from rerank.late.reranker import LateScores
from rerank.turn import Turn

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """What does the work: `rerank.late.reranker.LateReranker`."""

    def read_all(self, requests: Sequence[tuple[str, Sequence[str]]], /) -> list[LateScores]:
        """The scores of each request's texts; all fail where one does."""


@dataclass(frozen=True, slots=True)
class BatchStats:
    """What was counted so far, and how many requests wait now.

    `requests` were taken in and `dropped` of them cancelled before they ran; `batches` passes were made,
    the largest of `largest` requests.
    """

    requests: int
    batches: int
    dropped: int
    largest: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass that was made: of how many requests and texts, and how many of these no store held."""

    requests: int
    texts: int
    read: int


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    query: str
    texts: list[str]
    answer: Future[LateScores] = field(default_factory=Future)
    came: float = field(default_factory=time.monotonic)


class Batcher:
    """A queue of requests and the thread that works it off; all methods are safe for threads."""

    def __init__(
        self,
        reranker: Reader,
        turn: Turn,
        *,
        max_pairs: int = 4096,
        max_waiting: int = 256,
        wait: float = 0.002,
    ) -> None:
        """`turn` is that of the re-ranker's model: hold it to use the re-ranker otherwise, and not to `read`.

        A batch has at most `max_pairs` texts (or one request). After one of several requests, the next waits
        `wait` seconds to be joined. At most `max_waiting` requests wait.
        """
        self.turn, self.max_pairs, self.max_waiting, self.wait = turn, max_pairs, max_waiting, wait
        self.told: Callable[[Pass], None] = lambda _: None
        """Hears, in the thread that works, of each pass that gave scores, before they are handed out."""
        self._reranker = reranker
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = self._joined = False
        self._requests = self._batches = self._dropped = self._largest = 0
        self._thread: threading.Thread | None = None

    def submit(self, query: str, texts: Sequence[str]) -> Future[LateScores]:
        """Queue a request up; cancelling its future drops it. After `close` it is cancelled at once.

        Raises `Overloaded` where as many wait as may.
        """
        request = _Request(query, list(texts))
        with self._changed:
            if self._closed:
                request.answer.cancel()
                return request.answer
            if len(self._waiting) >= self.max_waiting:
                self._drop_cancelled()
            if len(self._waiting) >= self.max_waiting:
                raise Overloaded(
                    f"{len(self._waiting)} questions wait already, and no more may; ask again in a moment"
                )
            self._requests += 1
            self._waiting.append(request)
            self._changed.notify_all()
            if self._thread is None:
                # A daemon: a program that forgets to close this can end nevertheless.
                self._thread = threading.Thread(target=self._work, name="late-batches", daemon=True)
                self._thread.start()
        return request.answer

    def read(self, query: str, texts: Sequence[str]) -> LateScores:
        """Submit and wait. Raises `Overloaded`, `CancelledError` on `close`, and what the re-ranker does."""
        if self.turn.is_mine:
            raise RuntimeError("a thread that has the model's turn would wait for itself: give it back first")
        answer = self.submit(query, texts)
        try:
            return answer.result()
        finally:
            answer.cancel()  # Interrupted: nobody waits any more.

    def stats(self) -> BatchStats:
        """What was counted so far."""
        with self._changed:
            return BatchStats(self._requests, self._batches, self._dropped, self._largest, len(self._waiting))

    def close(self) -> None:
        """Cancel what waits, let what runs end, and end the thread."""
        with self._changed:
            self._closed = True
            for request in self._waiting:
                request.answer.cancel()
            self._drop_cancelled()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        """The batcher itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _drop_cancelled(self) -> None:
        kept = [request for request in self._waiting if not request.answer.cancelled()]
        self._dropped += len(self._waiting) - len(kept)
        self._waiting = deque(kept)

    def _work(self) -> None:
        while self._has_work():
            with self.turn:
                batch = self._take()
                # From here on they can be cancelled no more.
                running = [request for request in batch if request.answer.set_running_or_notify_cancel()]
                with self._changed:
                    self._dropped += len(batch) - len(running)
                    self._joined = len(running) > 1
                if running:
                    self._answer(running)

    def _has_work(self) -> bool:
        """Wait for a request, and for others where they are likely; whether this is still open."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if self._waiting and self._joined:
                left = self._waiting[0].came + self.wait - time.monotonic()
                self._changed.wait_for(lambda: self._closed or self._is_full(), timeout=max(left, 0))
            return not self._closed

    def _take(self) -> list[_Request]:
        """The next requests, in the order they came."""
        with self._changed:
            batch: list[_Request] = []
            pairs = 0
            while self._waiting and (not batch or pairs + len(self._waiting[0].texts) <= self.max_pairs):
                batch.append(self._waiting.popleft())
                pairs += len(batch[-1].texts)
            return batch

    def _is_full(self) -> bool:
        return (
            len(self._waiting) >= self.max_waiting
            or sum(len(request.texts) for request in self._waiting) >= self.max_pairs
        )

    def _answer(self, batch: Sequence[_Request]) -> None:
        """Run a batch; where it fails, in halves for want of memory, and one by one otherwise."""
        with self._changed:
            self._batches += 1
            self._largest = max(self._largest, len(batch))
        failed: Exception
        try:
            found = self._reranker.read_all([(request.query, request.texts) for request in batch])
            answers = list(zip(batch, found, strict=True))
        except (RerankError, torch.OutOfMemoryError) as error:
            failed = error
        except Exception as error:
            logger.exception("%d requests could not be scored", len(batch))
            failed = error
        else:
            texts = sum(len(request.texts) for request in batch)
            self.told(Pass(len(batch), texts, texts - sum(scores.kept for scores in found)))
            for request, scores in answers:
                request.answer.set_result(scores)
            return
        # The frames of an error hold what is to be freed before anything runs again.
        failed.__traceback__ = None
        if len(batch) == 1:
            batch[0].answer.set_exception(failed)
            return
        size = len(batch) // 2 if isinstance(failed, torch.OutOfMemoryError) else 1
        for start in range(0, len(batch), size):
            self._answer(batch[start : start + size])
