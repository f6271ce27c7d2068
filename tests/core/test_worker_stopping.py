"""How a worker ends: handlers get their grace, and what did not end goes back to the queue."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from stanchion import Job, Stanchion, State, current_job
from stanchion.app.tasks import Definition
from stanchion.contract.requests import Wait
from stanchion.engine.async_adapter import Inline
from stanchion.worker import Worker, shutdown
from stanchion.worker.runner import Runner
from stanchion.worker.runs import Run
from stanchion_memory import MemoryBackend
from support.waiting import aeventually
from support.workers import an_app, is_in, step

NEVER = 3600.0
"""Seconds of grace that no test waits for."""


class Standing:
    """A clock that stands still until it is moved, and counts how often it was read."""

    def __init__(self) -> None:
        self.now, self.reads = 1000.0, 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


def test_running_handlers_get_their_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it: a handler that ends late in it completes its job. Nothing is claimed any more."""
    clock = Standing()
    monkeypatch.setattr(shutdown, "monotonic", clock)

    async def story() -> None:
        app = an_app(concurrency=1, grace=NEVER)
        end = asyncio.Event()

        @app.task
        async def ending() -> str:
            await end.wait()
            return "in time"

        first, second = ending.enqueue(), ending.enqueue()
        worker, main = await _working(app, first)
        worker.stop()
        clock.now, before = clock.now + NEVER - 60, clock.reads
        await aeventually(lambda: clock.reads > before)
        end.set()
        await asyncio.wait_for(main, 10)

        assert first.result(timeout=0) == "in time"
        assert second.refresh().state is State.QUEUED

    asyncio.run(story())


def test_what_does_not_end_in_its_grace_is_released() -> None:
    """The handler is cancelled and the job queued again at its old place; no attempt was used up."""

    async def story() -> None:
        app = an_app(concurrency=1, grace=0.1)

        @app.task
        async def endless() -> None:
            current_job().save("so far")
            await asyncio.Event().wait()

        job, behind = endless.enqueue(), endless.enqueue()
        place = job.refresh().record.place
        worker, main = await _working(app, job)
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert job.refresh().state is State.QUEUED
        assert (job.attempts, job.record.count("lost"), job.record.count("released")) == (0, 0, 1)
        assert job.record.place == place < behind.refresh().record.place
        assert job.record.notes["saved"] == b'"so far"'
        assert job.history[-1].event == "release"

    asyncio.run(story())


def test_leases_are_kept_during_the_grace() -> None:
    """A handler that takes longer than its lease still ends in its grace."""

    async def story() -> None:
        app = an_app(grace=NEVER, lease=2)  # longer than any pause of a busy machine
        end = asyncio.Event()

        @app.task
        async def ending() -> str:
            await end.wait()
            return "in time"

        def lease_ends() -> Any:
            return job.refresh().record.due_at

        job = ending.enqueue()
        worker, main = await _working(app, job)
        worker.stop()
        first = lease_ends()
        await aeventually(lambda: lease_ends() > first + app.config.lease, within=10)
        end.set()
        await asyncio.wait_for(main, 10)

        assert job.result(timeout=0) == "in time"
        assert job.record.count("lost") == 0

    asyncio.run(story())


class Full:
    """A runner that has no room."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def start(self, runs: Sequence[Run]) -> None:
        self.asked.set()


class Waiting(Worker):
    """A worker whose runs wait for room."""

    full = Full()

    def _runner(self, definition: Definition) -> Runner:
        return self.full


def test_a_handler_that_was_not_entered_is_not_waited_for() -> None:
    """Its job is handed back at once, whatever the grace; no attempt was used up."""

    async def story() -> None:
        app = an_app(grace=NEVER)

        @app.task
        def small() -> None: ...

        job = small.enqueue()
        worker = Waiting(app)
        main = asyncio.create_task(worker.main())
        await aeventually(worker.full.asked.is_set)
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert job.refresh().state is State.QUEUED
        assert (job.attempts, job.record.count("released")) == (0, 1)
        assert worker.stuck == []

    asyncio.run(story())


def test_a_second_stop_ends_the_grace() -> None:
    """The job is released."""

    async def story() -> None:
        app = an_app(grace=NEVER)

        @app.task
        async def endless() -> None:
            await asyncio.Event().wait()

        job = endless.enqueue()
        worker, main = await _working(app, job)
        worker.stop()
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert job.refresh().state is State.QUEUED

    asyncio.run(story())


def test_a_cancelled_worker_gives_no_grace() -> None:
    """Whoever cancels `main` wants it to end; the job is released."""

    async def story() -> None:
        app = an_app(grace=NEVER)

        @app.task
        async def endless() -> None:
            await asyncio.Event().wait()

        job = endless.enqueue()
        _, main = await _working(app, job)
        main.cancel()
        await asyncio.wait({main}, timeout=10)

        assert main.cancelled()
        assert job.refresh().state is State.QUEUED

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_job_that_must_not_start_twice_is_lost_by_stopping(kind: str) -> None:
    """With no retries and nothing to lose, a started job that is stopped half-way has failed."""

    async def story() -> None:
        app = an_app(grace=0.1)

        async def on_loop() -> None:
            await asyncio.Event().wait()

        def in_thread() -> None:
            if current_job().wait_stop(20):
                raise InterruptedError

        once = app.task(retries=0, max_lost=0)(in_thread if kind == "thread" else on_loop)
        job = once.enqueue()
        worker, main = await _working(app, job)
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert job.refresh().state is State.FAILED
        assert job.history[-1].reason == "lost"
        assert job.errors[0].type == "lost"

    asyncio.run(story())


def test_a_thread_that_raises_because_it_shall_stop_is_released() -> None:
    """A sync handler that sees the shutdown and raises used up no attempt."""

    async def story() -> None:
        app = an_app(grace=0.1)

        @app.task(retries=0)
        def attentive() -> None:
            if current_job().wait_stop(20):
                raise InterruptedError

        job = attentive.enqueue()
        worker, main = await _working(app, job)
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert job.refresh().state is State.QUEUED
        assert (job.attempts, job.record.count("released")) == (0, 1)

    asyncio.run(story())


def test_a_released_job_is_run_by_the_next_worker() -> None:
    """It starts again, as its second run and still its first attempt."""

    async def story() -> tuple[Stanchion, Job[Any]]:
        app = an_app(grace=0.1)

        @app.task
        async def endless() -> tuple[int, int]:
            if current_job().run == 1:
                await asyncio.Event().wait()
            return current_job().run, current_job().attempt

        job = endless.enqueue()
        worker, main = await _working(app, job)
        worker.stop()
        await asyncio.wait_for(main, 10)
        return app, job

    app, job = asyncio.run(story())
    step(app)

    assert job.result(timeout=0) == (2, 1)


def test_a_cancelled_job_is_not_released() -> None:
    """A job with a request to cancel never goes back to waiting."""

    async def story() -> None:
        app = an_app(grace=NEVER)

        @app.task
        async def stubborn() -> None:
            while not stopping.is_set():
                try:
                    await stopping.wait()
                except asyncio.CancelledError:
                    asked.set()
            await asyncio.Event().wait()

        stopping, asked = asyncio.Event(), asyncio.Event()
        job = stubborn.enqueue()
        worker, main = await _working(app, job)
        await job.acancel()
        await asked.wait()
        stopping.set()
        worker.stop()
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert job.refresh().state is State.CANCELLED

    asyncio.run(story())


def test_a_thread_that_does_not_return_is_handed_back_last() -> None:
    """The worker ends without it, names it, and releases its job when told that the process exits."""
    app = an_app(grace=0.1)
    started, end = threading.Event(), threading.Event()

    @app.task
    def deaf() -> None:
        started.set()
        end.wait(20)

    async def story() -> None:
        main = asyncio.create_task(worker.main())
        await aeventually(started.is_set)
        worker.stop()
        await asyncio.wait_for(main, 10)

    job = deaf.enqueue()
    worker = Worker(app)
    asyncio.run(story())
    assert job.refresh().state is State.RUNNING
    worker.abandon()
    end.set()

    assert job.refresh().state is State.QUEUED
    assert (job.attempts, job.record.count("released")) == (0, 1)


waits: list[Inline] = []


class Absorbing(Inline):
    """An async backend whose `wait` swallows the first cancellation, as a driver may that connects just then."""

    async def wait(self, request: Wait) -> bool:
        waits.append(self)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()
        return False


class AbsorbingMemory(MemoryBackend):
    """A memory backend with such an async backend."""

    def to_async(self) -> Absorbing:
        """See `stanchion.contract.capabilities.HasAsync`."""
        return Absorbing(self)


def test_an_idle_worker_stops_although_its_driver_swallows_the_cancellation() -> None:
    """Stopping does not hang on a wait that has to be told twice."""

    async def story() -> None:
        app = an_app()
        app.engine.backend = AbsorbingMemory()
        worker = Worker(app, queues=["default"])
        main = asyncio.create_task(worker.main())
        await aeventually(lambda: waits)
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert worker.stuck == []

    asyncio.run(story())


async def _working(app: Stanchion, job: Job[Any]) -> tuple[Worker, "asyncio.Task[None]"]:
    """A worker that runs this job's handler by now."""
    worker = Worker(app)
    main = asyncio.create_task(worker.main())
    await aeventually(lambda: is_in(job, State.RUNNING))
    await aeventually(lambda: all(run.started for run in worker._slots.runs.values()))
    return worker, main
