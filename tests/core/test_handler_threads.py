"""The threads that call sync handlers."""

import logging
import threading

import pytest

from stanchion.worker.threads import HandlerThreads
from support.waiting import eventually


@pytest.fixture
def end():
    """Set at the end of a test, so that no thread outlives it."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def a_pool():
    """Makes pools that are shut down at the end."""
    pools = []

    def make(most):
        pools.append(HandlerThreads(most))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown(wait=False)


def no_more_threads(monkeypatch, *, after):
    """Let the process start this many more threads for handlers, as at a limit of the system."""
    real, left = threading.Thread.start, [after]

    def start(thread):
        if thread.name.startswith("stanchion-handler"):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


def test_a_call_has_its_result(a_pool):
    """Or what it raised."""
    pool = a_pool(2)
    assert pool.submit(divmod, 7, 2).result(10) == (3, 1)

    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 7, 0).result(10)


def test_threads_come_as_they_are_needed(a_pool, end):
    """One to begin with, a further one only for a call that finds none idle, and no more than allowed."""
    pool = a_pool(3)
    counts = [pool._count]
    for _ in range(5):
        pool.submit(end.wait, 20)
        counts.append(pool._count)
    end.set()

    assert counts[0] == 1
    assert counts[-1] == 3


def test_idle_threads_are_used_again(a_pool):
    """Calls one after another need one thread."""
    pool = a_pool(100)
    for number in range(50):
        assert pool.submit(abs, -number).result(10) == number
        eventually(lambda: pool._idle._value)

    assert pool._count <= 2


def test_where_no_thread_can_be_started_calls_wait_for_one(a_pool, monkeypatch, end, caplog):
    """Each is made once, none fails, and the log says so once."""
    caplog.set_level(logging.ERROR)
    no_more_threads(monkeypatch, after=1)
    pool = a_pool(5)
    made = []
    first = pool.submit(end.wait, 20)
    others = [pool.submit(made.append, number) for number in range(4)]
    assert not made
    end.set()
    assert first.result(10)
    for other in others:
        other.result(10)

    assert made == [0, 1, 2, 3]
    assert caplog.text.count("cannot start a thread, sync handlers run 1 at a time") == 1


def test_without_a_single_thread_there_is_no_pool(monkeypatch):
    """It is said before anything is claimed."""
    no_more_threads(monkeypatch, after=0)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        HandlerThreads(5)


def test_what_waits_at_the_end_is_not_called(a_pool, end):
    """It is told that it was cancelled; what is under way ends."""
    pool = a_pool(1)
    entered = threading.Event()
    under_way = pool.submit(lambda: entered.set() or end.wait(20))
    entered.wait(10)
    waiting = pool.submit(abs, -1)
    pool.shutdown()
    end.set()

    assert under_way.result(10)
    assert waiting.cancelled()


def test_threads_do_not_keep_the_process_from_ending(a_pool, end):
    """One that never returns is left behind."""
    pool = a_pool(1)
    pool.submit(end.wait, 20)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("stanchion-handler")]

    assert threads
    assert all(thread.daemon for thread in threads)
