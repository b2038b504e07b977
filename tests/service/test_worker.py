"""The threads and their queue."""

import asyncio
import threading
from collections.abc import Callable, Generator

import pytest

from service.errors import Busy, Stopping
from service.worker import Job, Worker
from tests.service.running import WAIT

pytestmark = pytest.mark.anyio


class Work:
    """Jobs that note when they begin and end, and wait for a word after their first result."""

    def __init__(self) -> None:
        """Begin with nothing noted."""
        self.log: list[str] = []
        self.go = threading.Event()

    def job(self, name: str) -> Callable[[], Generator[str]]:
        """A job of this name."""

        def run() -> Generator[str]:
            self.log.append(f"{name} begins")
            try:
                yield f"{name} 1"
                assert self.go.wait(WAIT)
                yield f"{name} 2"
            finally:
                self.log.append(f"{name} ends")

        return run


async def gather(job: Job[str]) -> list[str]:
    """All that `job` yields."""
    return [event async for event in job]


async def first(job: Job[str]) -> str:
    """What `job` yields first."""
    return await anext(aiter(job))


async def test_jobs_are_done_one_at_a_time_in_their_order() -> None:
    worker, work = Worker(2), Work()
    jobs = [worker.submit(work.job(name)) for name in "abc"]
    assert await first(jobs[0]) == "a 1"
    assert (work.log, worker.waiting) == (["a begins"], 2)
    work.go.set()
    assert await gather(jobs[1]) == ["b 1", "b 2"]
    assert await gather(jobs[2]) == ["c 1", "c 2"]
    assert work.log == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert worker.waiting == 0
    await worker.close()


@pytest.mark.parametrize("room", [0, 2])
async def test_more_than_may_wait_are_refused(room: int) -> None:
    worker, work = Worker(room), Work()
    jobs = [worker.submit(work.job(str(number))) for number in range(1 + room)]
    with pytest.raises(Busy, match=f"{room} questions wait"):
        worker.submit(work.job("late"))
    work.go.set()
    for job in jobs:
        await gather(job)
    assert await gather(worker.submit(work.job("later"))) == ["later 1", "later 2"]
    await worker.close()


async def test_as_many_jobs_are_done_at_once_as_there_are_threads() -> None:
    worker, work = Worker(1, threads=2), Work()
    jobs = [worker.submit(work.job(name)) for name in "abc"]
    assert [await first(job) for job in jobs[:2]] == ["a 1", "b 1"]
    assert (sorted(work.log), worker.waiting) == (["a begins", "b begins"], 1)
    with pytest.raises(Busy, match="1 questions wait"):
        worker.submit(work.job("late"))
    work.go.set()
    assert await gather(jobs[2]) == ["c 1", "c 2"]
    await worker.close()


async def test_who_leaves_the_queue_makes_room_and_is_never_begun() -> None:
    worker, work = Worker(1), Work()
    running, waiting = worker.submit(work.job("a")), worker.submit(work.job("b"))
    waiting.leave()
    await asyncio.sleep(0)
    assert worker.waiting == 0
    work.go.set()
    await gather(running)
    assert await gather(worker.submit(work.job("c"))) == ["c 1", "c 2"]
    assert "b begins" not in work.log
    await worker.close()


async def test_who_leaves_in_the_middle_ends_the_job_after_what_it_yields_next() -> None:
    worker, work = Worker(1), Work()
    job = worker.submit(work.job("a"))
    assert await first(job) == "a 1"
    job.leave()
    work.go.set()
    await gather(worker.submit(work.job("b")))
    assert work.log == ["a begins", "a ends", "b begins", "b ends"]
    await worker.close()


async def test_what_a_job_raises_reaches_who_waits_and_the_next_is_done() -> None:
    def broken() -> Generator[str]:
        yield "one"
        raise ZeroDivisionError("by hand")

    worker, work = Worker(1), Work()
    work.go.set()
    with pytest.raises(ZeroDivisionError, match="by hand"):
        await gather(worker.submit(broken))
    assert await gather(worker.submit(work.job("a"))) == ["a 1", "a 2"]
    await worker.close()


async def test_a_whole_job_tells_only_what_it_yields_last() -> None:
    def nothing() -> Generator[str]:
        yield from ()

    worker, work = Worker(1), Work()
    job = worker.submit(work.job("a"), whole=True)
    reading = asyncio.create_task(gather(job))
    others = worker.submit(work.job("b"))
    await asyncio.sleep(0.05)
    assert not reading.done()
    work.go.set()
    assert await reading == ["a 2"]
    assert await gather(others) == ["b 1", "b 2"]
    assert await gather(worker.submit(nothing, whole=True)) == []
    await worker.close()


async def test_a_whole_job_that_fails_or_is_left_says_so() -> None:
    def broken() -> Generator[str]:
        yield "one"
        raise ZeroDivisionError("by hand")

    worker, work = Worker(1), Work()
    with pytest.raises(ZeroDivisionError, match="by hand"):
        await gather(worker.submit(broken, whole=True))
    job = worker.submit(work.job("a"), whole=True)
    job.leave()
    with pytest.raises(Stopping):
        await gather(job)
    work.go.set()
    assert await gather(worker.submit(work.job("b"), whole=True)) == ["b 2"]
    await worker.close()


async def test_closing_drops_what_waits_and_refuses_what_comes() -> None:
    worker, work = Worker(1), Work()
    running, waiting = worker.submit(work.job("a")), worker.submit(work.job("b"))
    assert await first(running) == "a 1"
    closing = asyncio.create_task(worker.close())
    await asyncio.sleep(0)
    with pytest.raises(Stopping):
        worker.submit(work.job("c"))
    work.go.set()
    await closing
    for job in (running, waiting):
        with pytest.raises(Stopping):
            await gather(job)
    assert work.log == ["a begins", "a ends"]
