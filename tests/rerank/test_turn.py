"""A turn goes to one thread at a time, in the order in which they asked."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from rerank.turn import Turn
from tests.rerank.test_batcher import SECONDS, wait_until


def waits(turn: Turn, count: int) -> bool:
    return turn.waiting == count


def test_one_thread_at_a_time() -> None:
    turn = Turn()
    inside = most = 0

    def work(_: int) -> None:
        nonlocal inside, most
        for _ in range(50):
            with turn:
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (most, inside, turn.waiting, turn.is_mine) == (1, 0, 0, False)


def test_a_thread_may_take_it_again() -> None:
    turn, other = Turn(), threading.Event()

    def ask() -> None:
        with turn:
            other.set()

    thread = threading.Thread(target=ask)
    with turn:
        with turn:
            thread.start()
            wait_until(lambda: turn.waiting == 1)
        assert turn.is_mine
        assert not other.wait(0.02)
    assert other.wait(SECONDS)
    thread.join(SECONDS)
    assert not turn.is_mine


def test_it_goes_to_whoever_waited_longest() -> None:
    """Even if who has it asks again at once."""
    turn, order = Turn(), list[str]()

    def ask(name: str) -> None:
        with turn:
            order.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
    with turn:
        for thread in threads:
            before = turn.waiting
            thread.start()
            wait_until(partial(waits, turn, before + 1))
    ask("again")
    for thread in threads:
        thread.join(SECONDS)
    assert order == ["a", "b", "c", "again"]


def test_an_error_gives_it_back() -> None:
    turn = Turn()
    with pytest.raises(ZeroDivisionError, match="by hand"), turn:
        raise ZeroDivisionError("by hand")
    assert not turn.is_mine
    with turn:
        assert turn.is_mine


def test_who_is_interrupted_leaves_the_queue() -> None:
    turn, leave = Turn(), threading.Event()
    holding = threading.Event()

    def hold() -> None:
        with turn:
            holding.set()
            assert leave.wait(SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(SECONDS)

    def interrupt_main() -> None:
        wait_until(partial(waits, turn, 1))
        ident = threading.main_thread().ident
        assert ident is not None
        signal.pthread_kill(ident, signal.SIGINT)

    interrupt = threading.Thread(target=interrupt_main)
    interrupt.start()
    with pytest.raises(KeyboardInterrupt), turn:
        pass
    interrupt.join(SECONDS)
    assert turn.waiting == 0
    leave.set()
    thread.join(SECONDS)
    with turn:
        assert turn.is_mine
