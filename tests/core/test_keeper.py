"""What becomes of runs when the backend answers some calls of their worker badly, late or not at all."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from datetime import timedelta

import pytest

from stanchion import Event, Stanchion, State
from stanchion.contract.answers import Claimed, Due
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Claim, FindDue, Get, Wait
from stanchion.engine.engine import Engine
from stanchion.engine.operations import ONCE
from stanchion.errors import Unavailable
from stanchion.model.changes import Applied, Change, Refusal, Refused
from stanchion.model.effects import refuse
from stanchion.worker import Worker
from stanchion.worker.leftovers import LAST_CALL
from stanchion.worker.runs import Lease, Run
from stanchion_memory import MemoryBackend
from support.factories import a_record
from support.waiting import aeventually, eventually
from support.workers import an_app, drain, is_in, on_faulty_memory, working


class Contested(MemoryBackend):
    """A memory backend on which others are quicker, as often as a test says, when a run's time is up."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses
        """How many more of these changes are refused."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        return [self._one(change) for change in request.changes]

    def _one(self, change: Change) -> Applied | Refused:
        if change.event is Event.TIME_OUT and self.losses:
            self.losses -= 1
            return refuse(Refusal.REVISION, self.get(Get([change.job_id]))[0])
        return super().apply(Apply([change]))[0]


class Mute(MemoryBackend):
    """A memory backend that makes claims and says nothing of it, as often as a test says."""

    def __init__(self, silences: int) -> None:
        super().__init__()
        self.silences = silences
        """How many more claims are not answered."""
        self.asked: list[str] = []
        """The ids of the claims, each time they were asked for."""

    def claim(self, request: Claim) -> Claimed:
        self.asked.append(request.claim_id)
        claimed = super().claim(request)
        if self.silences:
            self.silences -= 1
            raise Unavailable("no answer")
        return claimed


class Noticing(MemoryBackend):
    """A memory backend that knows whether somebody has waited on it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = threading.Event()

    def wait(self, request: Wait) -> bool:
        self.waited.set()
        return super().wait(request)


class Limited(MemoryBackend):
    """A memory backend that writes down what its copies with a deadline are asked, and with which one."""

    deadline: timedelta | None = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[tuple[str, timedelta | None]] = set()
        self.deadlines: list[timedelta] = []

    def within(self, deadline: timedelta) -> "Limited":
        self.deadlines.append(deadline)
        other = copy(self)
        other.deadline = deadline
        return other

    def close(self) -> None:
        if self.deadline is None:  # a copy is closed by itself
            super().close()

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        self.asked.update((change.event, self.deadline) for change in request.changes)
        return super().apply(request)

    def due(self, request: FindDue) -> Due:
        self.asked.add(("due", self.deadline))
        return super().due(request)


def test_each_call_of_the_keeper_has_a_deadline_of_a_sixth_of_the_lease() -> None:
    """A beat that is not answered is tried again before it is too late; the worker's own calls wait for longer."""
    app = an_app()
    backend = app.engine.backend = Limited()
    deadline = app.config.lease / 6

    @app.task
    def waiting() -> None:
        eventually(lambda: {(Event.BEAT, deadline), ("due", deadline)} <= backend.asked)

    job = waiting.enqueue()
    drain(app)

    assert is_in(job, State.COMPLETED)
    assert {with_deadline for event, with_deadline in backend.asked if event in (Event.BEAT, "due")} == {
        deadline
    }
    assert (Event.COMPLETE, None) in backend.asked


def test_the_last_call_of_a_process_has_a_deadline() -> None:
    """It is about to end, and shall not be held up by a store that does not answer."""
    app = an_app()
    backend = app.engine.backend = Limited()
    worker = Worker(app, queues=["default"])
    worker.abandon()
    nothing_to_say = list(backend.deadlines)
    worker._leftovers.hold([Run(a_record(State.RUNNING), Lease(0, 30), 0)])
    worker.abandon()

    assert nothing_to_say == []
    assert backend.deadlines == [LAST_CALL]


# Time limits.


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_queue_that_refuses_time_limits_does_not_keep_those_of_others(kind: str) -> None:
    """One job's limit cannot be recorded; that of a job in another queue, reached later, is."""

    async def story() -> None:
        app = an_app()
        backend = on_faulty_memory(app)
        end = threading.Event()

        async def on_loop() -> None:
            await asyncio.Event().wait()

        def in_thread() -> None:
            end.wait(20)

        endless = app.task(retries=0)(in_thread if kind == "thread" else on_loop)
        bad = endless.using(queue="bad", timeout=0.1).enqueue()
        good = endless.using(queue="good", timeout=0.2).enqueue()
        backend.refused.add(bad.id)
        async with working(app, queues=["bad", "good"]):
            await aeventually(lambda: is_in(good, State.TIMED_OUT))
            assert is_in(bad, State.RUNNING)
            end.set()

        assert (good.head.run, good.head.count("lost")) == (1, 0)

    asyncio.run(story())


def test_a_limit_that_others_keep_from_being_recorded_is_recorded_again() -> None:
    """However often somebody else changes the job just then, its first run ends timed out."""

    async def story() -> None:
        app = an_app()
        backend = app.engine.backend = Contested(losses=20)

        @app.task(timeout=0.2, retries=0)
        async def endless() -> None:
            await asyncio.Event().wait()

        job = endless.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, State.TIMED_OUT))

        assert backend.losses == 0
        assert (job.head.run, job.head.count("lost")) == (1, 0)

    asyncio.run(story())


# Claims.


def test_a_claim_that_is_not_answered_is_asked_for_again() -> None:
    """With the same id, until it is answered: its jobs run, for the first time, and none is lost."""
    backend = Mute(silences=3)
    app = _an_app_that_asks_once(backend)

    @app.task
    async def small(number: int) -> int:
        return number

    jobs = [small.enqueue(number) for number in range(3)]
    drain(app)

    assert [job.result(timeout=0) for job in jobs] == [0, 1, 2]
    assert {(job.head.run, job.head.count("lost")) for job in jobs} == {(1, 0)}
    assert len(set(backend.asked[:4])) == 1
    assert backend.silences == 0


def test_the_jobs_of_a_claim_that_was_not_answered_go_back_when_the_worker_stops() -> None:
    """It asks once more before it ends, and hands back what it took without knowing."""

    async def story() -> None:
        backend = Mute(silences=1)
        app = _an_app_that_asks_once(backend)
        called: list[bool] = []

        @app.task
        async def small() -> None:
            called.append(True)

        jobs = [small.enqueue() for _ in range(3)]
        worker = Worker(app)
        main = asyncio.create_task(worker.main())
        await aeventually(lambda: backend.asked)
        assert [job.refresh().state for job in jobs] == [State.RUNNING] * 3
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert [job.refresh().state for job in jobs] == [State.QUEUED] * 3
        assert {job.head.count("lost") for job in jobs} == {0}
        assert {job.history[-1].event for job in jobs} == {Event.RELEASE}
        assert not called

    asyncio.run(story())


# Endings.


def test_a_cancelled_worker_leaves_nothing_on_the_loop() -> None:
    """The program that runs `main` in a task of its own, and cancels it while it is idle, has its loop to itself."""

    async def story() -> None:
        app = an_app()
        backend = app.engine.backend = Noticing()
        before = asyncio.all_tasks()
        main = asyncio.create_task(Worker(app, queues=["default"]).main())
        await aeventually(backend.waited.is_set)
        main.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(main, 10)

        assert main.cancelled()
        assert asyncio.all_tasks() == before

    asyncio.run(story())


def test_only_jobs_whose_handlers_have_not_returned_are_stuck() -> None:
    """One that completed is not, although its outcome could not be recorded before the worker gave up.

    The last call of the process records that, and hands back the others.
    """
    app = an_app(grace=0.1)
    backend = on_faulty_memory(app)
    backend.errors[Event.COMPLETE] = [Unavailable("away") for _ in range(1000)]
    started, end = threading.Event(), threading.Event()

    @app.task
    async def small() -> None: ...

    @app.task
    def deaf() -> None:
        started.set()
        end.wait(20)

    async def story() -> None:
        main = asyncio.create_task(worker.main())
        await aeventually(lambda: started.is_set() and len(backend.errors[Event.COMPLETE]) < 1000)
        worker.stop()
        await asyncio.wait_for(main, 20)

    done, held = small.enqueue(), deaf.enqueue()
    worker = Worker(app)
    asyncio.run(story())
    stuck, before = worker.stuck, done.refresh().state
    backend.errors.clear()
    worker.abandon()
    end.set()

    assert (stuck, before) == ([held.id], State.RUNNING)
    assert (done.refresh().state, held.refresh().state) == (State.COMPLETED, State.QUEUED)


def _an_app_that_asks_once(backend: Backend) -> Stanchion:
    """An application on this backend whose leases outlast a test, and whose calls are made once, not repeated."""
    app = Stanchion("memory://", lease=30, sweep=0.1, grace=0.1)
    app.engine = Engine(backend, app.plugins, pauses=ONCE)
    return app
