"""Threads for calls that would block a loop."""

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from stanchion.engine.threads import Threads
from support.waiting import aeventually, eventually

NAME = "of a test"


@pytest.fixture
def threads() -> Iterator[Threads]:
    """At most two."""
    threads = Threads(NAME, 2)
    yield threads
    threads.shutdown()


def started() -> int:
    """How many of them there are."""
    return sum(thread.name == NAME for thread in threading.enumerate())


def run(story: Callable[[], object]) -> None:
    """Let a story happen on a loop."""
    asyncio.run(story())


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds up whoever waits for it, until the test is over at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_call_is_answered(threads: Threads) -> None:
    """With what it returned, or with what it raised."""

    async def story() -> None:
        assert await threads.call(lambda: threading.current_thread().name) == NAME
        with pytest.raises(KeyError, match="odd"):
            await threads.call(lambda: {}["odd"])

    run(story)


def test_the_loop_goes_on_meanwhile(threads: Threads, gate: threading.Event) -> None:
    """Though the call waits for something that is done on the loop."""

    async def story() -> None:
        waiting = asyncio.create_task(threads.call(lambda: gate.wait(20)))
        await asyncio.sleep(0)
        gate.set()

        assert await waiting

    run(story)


def test_a_thread_is_used_again(threads: Threads) -> None:
    """Calls that come one after the other need one."""

    async def story() -> None:
        for _ in range(10):
            await threads.call(int)
            await aeventually(lambda: threads._load._acts == 0)

    run(story)

    assert started() == 1


def test_a_thread_keeps_nothing_of_its_last_call(threads: Threads) -> None:
    """What was called may be large, or wait to be cleared away."""

    class Large:
        def __call__(self) -> None: ...

    async def story() -> None:
        large = Large()
        left = weakref.ref(large)
        await threads.call(large)
        del large
        await aeventually(lambda: left() is None)

    run(story)


def test_no_more_threads_are_started_than_allowed(threads: Threads, gate: threading.Event) -> None:
    """Further calls wait for one, in the order they came."""
    order: list[int] = []

    async def story() -> None:
        blocked = [asyncio.create_task(threads.call(lambda: gate.wait(20))) for _ in range(2)]
        others = [
            asyncio.create_task(threads.call(lambda number=number: order.append(number)))
            for number in range(5)
        ]
        await asyncio.sleep(0)
        assert started() == 2
        gate.set()
        await asyncio.gather(*blocked, *others)

    run(story)

    assert sorted(order) == list(range(5))


def test_a_cancelled_call_harms_nobody(threads: Threads, gate: threading.Event) -> None:
    """One that has begun continues, one that has not is never made; the thread is there for the next."""
    made: list[str] = []
    entered: list[bool] = []

    def wait() -> None:
        entered.append(True)
        gate.wait(20)

    async def story() -> None:
        begun = [asyncio.create_task(threads.call(wait)) for _ in range(2)]
        await aeventually(lambda: len(entered) == 2)
        not_begun = asyncio.create_task(threads.call(lambda: made.append("cancelled")))
        await asyncio.sleep(0)
        for task in (*begun, not_begun):
            task.cancel()
        await asyncio.gather(*begun, not_begun, return_exceptions=True)
        gate.set()
        await threads.call(lambda: made.append("next"))

    run(story)

    assert made == ["next"]


def test_a_thread_that_cannot_be_started_is_done_without(
    threads: Threads, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    """The call waits for one that is there; with none at all it fails, and later ones do not."""
    made: list[str] = []

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(RuntimeError, match="can't start"):
                await threads.call(lambda: made.append("refused"))
        first = asyncio.create_task(threads.call(lambda: gate.wait(20)))
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            second = asyncio.create_task(threads.call(int))
            await asyncio.sleep(0)
        gate.set()

        assert await asyncio.gather(first, second) == [True, 0]

    run(story)

    assert made == []


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_threads_end_that_nobody_needs(how: str) -> None:
    """With their owner, or when he closes them."""
    owned = [Threads(NAME, 2)]
    run(lambda: owned[0].call(int))
    if how == "closed":
        owned[0].shutdown()
    else:
        owned.clear()
        gc.collect()

    assert eventually(lambda: started() == 0)


PROGRAM = """
import asyncio, threading
from stanchion.engine.threads import Threads
threads = Threads("waits", 1)
async def story():
    waiting = asyncio.create_task(threads.call(threading.Event().wait))
    await asyncio.sleep(0)
asyncio.run(story())
print("the end")
"""


def test_a_process_ends_although_a_call_waits() -> None:
    """Nobody joins the threads."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=60
    )

    assert (done.stdout, done.stderr, done.returncode) == ("the end\n", "", 0)


# Where threads are short.


def no_more_threads(monkeypatch, *, after):
    """Let the process start this many more threads for handlers, as at a limit of the system."""
    real, left = threading.Thread.start, [after]

    def start(thread):
        if thread.name == NAME:
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


def test_where_no_thread_can_be_started_calls_wait_for_one(monkeypatch, gate, caplog):
    """Each is made once, none fails, and the log says so once."""
    caplog.set_level(logging.ERROR)
    no_more_threads(monkeypatch, after=1)
    pool = Threads(NAME, 5, ready=1)
    made = []
    pool.add([lambda: gate.wait(20)])
    for number in range(4):
        pool.add([partial(made.append, number)])
    assert not made
    assert pool.is_short
    gate.set()
    eventually(lambda: len(made) == 4)

    assert made == [0, 1, 2, 3]
    assert (
        caplog.text.count("of a test: could not start a thread: can't start new thread; 1 calls at a time")
        == 1
    )


def test_without_a_single_thread_there_is_no_pool(monkeypatch):
    """It is said before anything is claimed."""
    no_more_threads(monkeypatch, after=0)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        Threads(NAME, 5, ready=1)


# Groups.


def test_a_group_is_done_in_its_order(gate: threading.Event) -> None:
    """Each act in the thread that is free next."""
    pool, done = Threads(NAME, 1), []
    pool.add([partial(done.append, number) for number in range(50)])

    assert eventually(lambda: len(done) == 50)
    assert done == list(range(50))


def test_an_act_that_takes_long_delays_none_of_its_group(threads: Threads, gate: threading.Event) -> None:
    """A thread takes one act at a time; the others of the group are left to other threads."""
    done: list[int] = []
    threads.add([lambda: gate.wait(20), *(partial(done.append, number) for number in range(5))])

    assert eventually(lambda: len(done) == 5)
    assert not gate.is_set()


@pytest.mark.filterwarnings("error")
def test_an_act_that_raises_ends_no_thread(threads: Threads, caplog: pytest.LogCaptureFixture) -> None:
    """Not even if it is no exception; it is logged, and the next act is done."""
    done: list[int] = []

    def leave() -> None:
        raise SystemExit(3)

    threads.add([leave, leave, partial(done.append, 1)])

    assert eventually(lambda: done == [1])
    assert caplog.text.count("of a test: a call raised") == 2


def test_nothing_of_a_group_is_done_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller learns that; a later group is done."""
    done: list[int] = []
    pool = Threads(NAME, 2)
    with monkeypatch.context() as patch:
        no_more_threads(patch, after=0)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.add([partial(done.append, 1), partial(done.append, 2)])
    pool.add([partial(done.append, 3)])

    assert eventually(lambda: done)
    assert done == [3]
    pool.shutdown()


def test_what_was_added_is_done_before_the_end(gate: threading.Event) -> None:
    """Afterwards nothing is accepted."""
    pool, done = Threads(NAME, 1), []
    pool.add([lambda: gate.wait(20), partial(done.append, 1)])
    pool.shutdown()
    gate.set()

    assert eventually(lambda: done == [1])
    with pytest.raises(RuntimeError, match="are shut down"):
        pool.add([int])
