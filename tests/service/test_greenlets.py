"""Functions that wait for others, done by the event loop itself."""

import asyncio
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Generator

import pytest

from service.context import begin, current
from service.errors import Stopping
from service.greenlets import Greenlets, wait
from service.worker import Worker
from tests.service.running import WAIT

pytestmark = pytest.mark.anyio


class Work:
    """Functions that note when they begin and end, and wait in between for a word."""

    def __init__(self) -> None:
        """Begin with nothing noted, in a loop."""
        self.loop = asyncio.get_running_loop()
        self.log: list[str] = []
        self.go = asyncio.Event()

    def named(self, name: str) -> Callable[[], str]:
        """A function of this name."""

        def run() -> str:
            self.log.append(f"{name} begins")
            try:
                assert wait(self.go.wait(), self.loop)
            finally:
                self.log.append(f"{name} ends")
            return f"{name} in {threading.current_thread().name}"

        return run


async def test_the_loop_does_as_many_at_once_as_there_are_places_and_the_others_in_their_order() -> None:
    work, greenlets = Work(), Greenlets(2)
    tasks = [greenlets.submit(work.named(name)) for name in "abcd"]
    await asyncio.sleep(0.01)
    assert work.log == ["a begins", "b begins"]
    work.go.set()
    here = threading.current_thread().name
    assert await asyncio.gather(*tasks) == [f"{name} in {here}" for name in "abcd"]
    assert work.log[-4:] == ["c begins", "c ends", "d begins", "d ends"]


async def test_who_is_not_wanted_any_more_ends_where_it_waits_and_gives_its_place_up() -> None:
    work, greenlets = Work(), Greenlets(1)
    first, second, third = (greenlets.submit(work.named(name)) for name in "abc")
    await asyncio.sleep(0.01)
    first.cancel()
    second.cancel()
    await asyncio.sleep(0.01)
    assert work.log == ["a begins", "a ends", "c begins"], "b had not begun"
    assert (first.cancelled(), second.cancelled()) == (True, True)
    work.go.set()
    assert (await third).startswith("c")


async def test_what_is_raised_reaches_who_waits_and_what_it_raises_reaches_the_task() -> None:
    loop = asyncio.get_running_loop()

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("by hand")

    def caught() -> str:
        with pytest.raises(ZeroDivisionError, match="by hand"):
            wait(broken(), loop)
        return wait(asyncio.sleep(0, "went on"), loop)

    greenlets = Greenlets(1)
    assert await greenlets.submit(caught) == "went on"
    with pytest.raises(ZeroDivisionError, match="by hand"):
        await greenlets.submit(lambda: wait(broken(), loop))
    assert await greenlets.submit(lambda: "at once") == "at once"


def test_a_thread_waits_itself(loop: AbstractEventLoop) -> None:
    assert wait(asyncio.sleep(0, "from the loop"), loop) == "from the loop"


async def test_each_job_keeps_its_own_request_while_others_go_on() -> None:
    loop, turn = asyncio.get_running_loop(), asyncio.Event()

    def job() -> Generator[str]:
        yield current().id
        wait(turn.wait(), loop)
        yield current().id

    async def request(name: str) -> list[str]:
        begin(name)
        return [said async for said in worker.submit(job)]

    worker = Worker(0, 2, Greenlets)
    both = [asyncio.create_task(request(name)) for name in ("one", "two")]
    await asyncio.sleep(0.01)
    turn.set()
    assert await asyncio.gather(*both) == [["one", "one"], ["two", "two"]]
    assert await worker.close()


async def test_a_job_that_is_left_or_closed_ends_where_it_waits() -> None:
    work = Work()

    def job(name: str) -> Callable[[], Generator[str]]:
        def run() -> Generator[str]:
            yield "begun"
            yield work.named(name)()

        return run

    worker = Worker(1, 1, Greenlets)
    left, closed = worker.submit(job("left")), worker.submit(job("closed"))
    assert await anext(aiter(left)) == "begun"
    left.leave()
    events = aiter(closed)
    assert await asyncio.wait_for(anext(events), WAIT) == "begun"
    await asyncio.sleep(0.01)
    assert work.log == ["left begins", "left ends", "closed begins"]
    assert await worker.close()
    assert work.log[-1] == "closed ends"
    with pytest.raises(Stopping):
        await anext(events)
