"""The connections of the Redis backend: kept, cut, interrupted, and given up at a deadline."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Barrier
from types import FrameType
from typing import Any

import pytest

from stanchion.contract.requests import Wait
from stanchion.errors import BackendError, Unavailable
from stanchion.model.changes import Topic
from stanchion.model.states import State
from stanchion_conformance.making import QUEUE, change, taken
from stanchion_redis import RedisBackend, connections
from stanchion_redis.connections import CONNECTIONS, Lane, Turns
from support.proxy import Proxy, a_proxy
from support.stores import a_namespace
from support.trickling import a_trickle
from support.waiting import eventually

AT_ONCE = 8
SHORT = timedelta(seconds=0.3)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with a_proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def backend(proxy: Proxy) -> Iterator[RedisBackend]:
    """A backend whose connections can be cut."""
    backend = RedisBackend(proxy.url, namespace=a_namespace())
    yield backend
    backend.close()


def busy(backend: RedisBackend) -> None:
    """Make several calls at once, so that as many connections are kept."""
    together = Barrier(AT_ONCE)

    def call(_: int) -> None:
        for _ in range(5):
            together.wait()
            backend.now()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(call, range(AT_ONCE)))


# Connections that died.


def test_connections_that_died_together_cost_no_call_an_error(backend: RedisBackend, proxy: Proxy) -> None:
    """The first call finds it out, and all of them are replaced."""
    busy(backend)
    kept = len(backend._lane._spare)
    proxy.cut()
    backend.now()

    assert kept > 1
    assert len(backend._lane._spare) == 1


def test_connections_of_a_loop_that_died_together_cost_no_call_an_error(redis_url: str) -> None:
    """The same for async calls."""

    async def story() -> tuple[int, int]:
        with a_proxy(redis_url) as proxy:
            twin = RedisBackend(proxy.url, namespace=a_namespace())
            backend = twin.to_async()
            await asyncio.gather(*(backend.now() for _ in range(AT_ONCE)))
            kept = len(backend._lane._spare)
            proxy.cut()
            await backend.now()
            left = len(backend._lane._spare)
            await backend.close()
            twin.close()
            return kept, left

    assert asyncio.run(story()) == (AT_ONCE, 1)


def test_a_wait_outlives_its_connection(backend: RedisBackend, proxy: Proxy) -> None:
    """The connection it waited on before was cut meanwhile."""
    backend.wait(Wait([QUEUE], timedelta(0)))
    proxy.cut()

    assert not backend.wait(Wait([QUEUE], timedelta(0)))


def test_a_watch_outlives_its_connection(backend: RedisBackend, proxy: Proxy) -> None:
    """It listens again, and hears what ends from then on."""
    watch = backend.watch([QUEUE], Topic.ENDED)
    before = watch._connection
    proxy.cut()
    eventually(lambda: watch.next(timedelta(0)) or watch._connection is not before)
    change(backend, taken(backend), State.COMPLETED)

    assert eventually(lambda: watch.next(timedelta(seconds=1))) == {"mail:a"}
    watch.close()


def test_a_silence_drops_the_connections_of_before(backend: RedisBackend, proxy: Proxy) -> None:
    """A call that is not answered in time raises, and the next ones do not wait for what is as dead."""
    quick = backend.within(SHORT)
    assert isinstance(quick, RedisBackend)
    busy(quick)
    proxy.fall_silent()
    with pytest.raises(Unavailable):
        quick.now()
    proxy.speak_again()

    assert quick.now()
    assert len(quick._lane._spare) == 1
    quick.close()


# Deadlines.


def test_an_answer_that_trickles_in_ends_at_the_deadline() -> None:
    """It is the whole call's, not that of each read."""
    with a_trickle() as url:
        backend = RedisBackend(url, namespace="test", deadline=SHORT)
        with pytest.raises(Unavailable):
            backend.now()
        backend.close()


def test_an_async_call_ends_at_its_deadline_as_well() -> None:
    """The loop goes on meanwhile."""

    async def story() -> None:
        backend = RedisBackend(url, namespace="test", deadline=SHORT).to_async()
        with pytest.raises(Unavailable):
            await backend.now()
        await backend.close()

    with a_trickle() as url:
        asyncio.run(story())


# Interrupts.

ROUNDS = 3
"""So that there are more interrupts than connections, also where they come before lines only."""


@contextmanager
def interrupted(at: int) -> Iterator[Callable[[], bool]]:
    """Raise KeyboardInterrupt before the bytecode (or line) of this number that the module of connections executes.

    Whether it was raised.
    """
    left, raised = at, False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left, raised
        if frame.f_code.co_filename != connections.__file__:
            return None
        frame.f_trace_opcodes = step == "opcode"
        if event == "call":
            sys.settrace(trace)  # else Python 3.12 tells of no bytecode of a function's first call
        if event == step:
            left -= 1
            if left == 0:
                raised = True
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    # Python 3.12 dies of a segmentation fault where bytecodes are traced beside coverage.
    step = "line" if before is not None and sys.version_info[:2] == (3, 12) else "opcode"
    sys.settrace(trace)
    try:
        yield lambda: raised
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python closes what was about to be disconnected
def test_no_interrupt_upsets_a_lane(backend: RedisBackend) -> None:
    """Wherever it strikes: afterwards as many calls can be made as before, and each gets its own reply."""
    lane = backend._lane
    assert lane.send("ECHO", "begin") == b"begin"
    interrupts = 0
    for _ in range(ROUNDS):
        struck, at = True, 0
        while struck:
            at += 1
            with interrupted(at) as was:
                lane.send("ECHO", f"{at}")
            struck = was()
            interrupts += struck

            assert lane.send("ECHO", f"after {at}") == f"after {at}".encode()

    assert interrupts > CONNECTIONS
    gc.collect()  # an interrupt while an exception was let go of leaves a cycle, which may keep a turn so long
    assert len([lane._turns.take(0) for _ in range(CONNECTIONS)]) == CONNECTIONS


def test_a_turn_that_was_lost_is_made_anew() -> None:
    """Once all others are taken; those that are taken are not."""
    turns = Turns(3)
    held = [turns.take(0) for _ in range(2)]
    turns.take(0)

    assert turns.take(0) not in held
    with pytest.raises(connections.AllInUse):
        held.append(turns.take(0)) or turns.take(0)


def test_a_closed_lane_makes_no_connection(backend: RedisBackend) -> None:
    """A call that another thread makes meanwhile raises."""
    lane = Lane(backend._clients.sync(SHORT), SHORT)
    lane.close()

    with pytest.raises(connections.exceptions.ConnectionError, match="closed"):
        lane.send("PING")


def test_a_closed_backend_opens_no_watch(backend: RedisBackend) -> None:
    """Sync or async, as for every other verb."""
    other = backend.to_async()
    backend.close()

    with pytest.raises(BackendError, match="^this backend is closed$"):
        backend.watch([QUEUE], Topic.ENDED)

    async def story() -> None:
        await other.close()
        with pytest.raises(BackendError, match="^this backend is closed$"):
            await other.watch([QUEUE], Topic.ENDED)

    asyncio.run(story())
