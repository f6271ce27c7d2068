"""A local backend's verbs, made async."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import pytest

from stanchion.contract.answers import Inserted
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Claim, Get, Insert, Wait
from stanchion.engine import async_adapter as inline
from stanchion.engine.async_adapter import Inline
from stanchion.errors import Busy
from stanchion.model.changes import Topic
from stanchion.model.states import Event, State
from stanchion_memory import MemoryBackend
from support.factories import LEASE, a_change, an_item

LONG: Final = timedelta(seconds=60)
"""Longer than anybody waits who is woken."""


class Waits(MemoryBackend):
    """A backend whose `insert` waits for a gate, and for a moment only where it may not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.threads: list[str] = []
        """Where it was called."""

    def insert(self, request: Insert) -> Sequence[Inserted]:
        self.threads.append(threading.current_thread().name)
        self.gate.wait(20)
        return super().insert(request)

    def impatient(self) -> Backend:
        """See `stanchion.contract.capabilities.MayWait`."""
        return Impatient(self)


class Impatient:
    """The same backend, whose `insert` does not wait."""

    def __init__(self, patient: Waits) -> None:
        self._patient = patient

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._patient, verb)

    def insert(self, request: Insert) -> Sequence[Inserted]:
        if not self._patient.gate.is_set():
            raise Busy("not now")
        return self._patient.insert(request)


def test_a_call_that_has_to_wait_leaves_the_loop() -> None:
    """Which goes on; what need not wait is done on it."""
    backend = Waits()

    async def story() -> None:
        adapter = Inline(backend)
        waiting = asyncio.create_task(adapter.insert(Insert([an_item(id="mail:a")])))
        await asyncio.sleep(0)
        assert await adapter.get(Get(["mail:a"])) == [None]
        backend.gate.set()
        assert (await waiting)[0].created
        assert (await adapter.insert(Insert([an_item(id="mail:b")])))[0].created

    asyncio.run(story())

    assert backend.threads == ["stanchion-call", threading.main_thread().name]


def test_a_local_backend_is_called_on_the_loop() -> None:
    """A thread would be slower."""
    backend = Waits()
    backend.gate.set()
    asyncio.run(Inline(backend).insert(Insert([an_item(id="mail:a")])))

    assert backend.threads == [threading.main_thread().name]


@pytest.mark.parametrize("waits_for", ["jobs", "ends"])
def test_waiting_needs_none_of_the_loop_s_own_threads(waits_for: str) -> None:
    """Handlers may have filled them all with `asyncio.to_thread`."""
    backend, gate = MemoryBackend(), threading.Event()

    async def story() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        filling = asyncio.create_task(asyncio.to_thread(gate.wait, 20))
        try:
            assert await _waited(Inline(backend), backend, waits_for)
        finally:
            gate.set()
            await filling

    asyncio.run(story())


@pytest.mark.parametrize("waits_for", ["jobs", "ends"])
def test_more_waits_than_threads_are_all_woken(monkeypatch: pytest.MonkeyPatch, waits_for: str) -> None:
    """They share the threads there are."""
    monkeypatch.setattr(inline, "MOST", 2)
    backend = MemoryBackend()

    async def story() -> None:
        adapter = Inline(backend)
        idle = [asyncio.create_task(adapter.wait(Wait(["idle"], LONG))) for _ in range(5)]
        assert await _waited(adapter, backend, waits_for)
        for task in idle:
            task.cancel()
        await asyncio.gather(*idle, return_exceptions=True)

    asyncio.run(story())


async def _waited(adapter: Inline, backend: MemoryBackend, waits_for: str) -> Any:
    """What a wait came back with, or a watch heard of."""
    backend.insert(Insert([an_item(id="mail:first")]))
    claim = Claim(queues=["mail"], limit=1, claim_id="claim-1", worker="worker-1", lease=LEASE)
    (record,) = backend.claim(claim).records
    watch = await adapter.watch(["mail"], Topic.ENDED)
    waiting = asyncio.create_task(
        adapter.wait(Wait(["mail"], LONG)) if waits_for == "jobs" else watch.next(LONG)
    )
    await asyncio.sleep(0)
    if waits_for == "jobs":
        backend.insert(Insert([an_item(id="mail:second")]))
    else:
        backend.apply(Apply([a_change(to=State.COMPLETED, event=Event.COMPLETE, job_id=record.id)]))
    try:
        return await waiting
    finally:
        await watch.close()
