"""What a worker does when a part of it fails: it ends with an error, or goes on, but never silently without."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from stanchion import Fail, Fixed, Retry, StanchionError, State, current_job
from stanchion.context import StopReason
from stanchion.contract.answers import Claimed
from stanchion.contract.requests import Claim
from stanchion.engine.engine import Engine
from stanchion.engine.operations import ONCE
from stanchion.errors import Unavailable
from stanchion.worker import Worker, claiming
from stanchion.worker.keeper import Keeper
from stanchion.worker.keeper.duties import Complaints
from stanchion.worker.keeper.sweeping import Sweep
from stanchion.worker.settling import PAUSES, Settler
from stanchion.worker.slots import Slots
from stanchion_testing.clock import VirtualClock
from support.waiting import aeventually, eventually
from support.workers import an_app, is_in, step, working
from support.yielding import YieldingMemory


class Panic(BaseException):
    """What native extensions raise."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is what is planted
def test_a_worker_whose_keeper_has_ended_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases, time limits and sweeps would be gone without a word."""

    def panic(*_: object) -> None:
        raise Panic

    async def story() -> None:
        app = an_app()
        with pytest.raises(StanchionError, match="a thread of its keeper has ended"):
            await asyncio.wait_for(Worker(app, queues=["default"]).main(), 10)

    monkeypatch.setattr(Complaints, "make", panic)
    monkeypatch.setattr(Sweep, "__call__", panic)
    asyncio.run(story())


def test_a_worker_whose_guard_has_ended_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers past their limit would not be stopped any more; it claims nothing."""

    async def story() -> None:
        app = an_app()

        @app.task
        async def small() -> None: ...

        job = small.enqueue()
        with pytest.raises(StanchionError, match="the guard of its runs has ended"):
            await asyncio.wait_for(Worker(app).main(), 10)

        assert is_in(job, State.QUEUED)

    monkeypatch.setattr(Keeper, "is_alive", False)
    asyncio.run(story())


@pytest.mark.parametrize("error", [Panic(), asyncio.CancelledError()], ids=repr)
def test_a_worker_that_cannot_record_outcomes_ends_with_an_error(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Its jobs would run, and never be settled."""

    async def broken(*_: object) -> bool:
        raise error

    async def story() -> None:
        app = an_app(grace=0.1)

        @app.task
        async def small() -> None: ...

        small.enqueue()
        with pytest.raises(StanchionError, match="outcomes can no longer be recorded"):
            await asyncio.wait_for(Worker(app).main(), 10)

    monkeypatch.setattr(Settler, "_send", broken)
    asyncio.run(story())


class Late(YieldingMemory):
    """A memory backend whose first claim is answered when its leases are over, by the worker's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.late = 3600.0
        """How many seconds the worker's clock moves while it waits for the answer."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        if answer.records:
            self.moved += self.late
            self.late = 0.0
        return answer

    moved = 0.0


def test_a_handler_whose_lease_is_over_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the claim came late; the job is handed back, and runs when it is claimed again."""

    async def story() -> None:
        app = an_app()
        backend = app.engine.backend = Late()
        real = claiming.monotonic
        monkeypatch.setattr("stanchion.worker.starting.monotonic", lambda: real() + backend.moved)
        monkeypatch.setattr(claiming, "monotonic", lambda: real() + backend.moved)
        runs: list[int] = []

        @app.task
        async def small() -> None:
            runs.append(1)

        job = small.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, State.COMPLETED))

        assert runs == [1]
        assert (job.record.run, job.record.count("released"), job.record.count("lost")) == (2, 1, 0)

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_time_limit_that_is_reached_while_the_worker_stops_is_recorded(kind: str) -> None:
    """Its handler has left at once; the worker waits until the keeper has recorded it, with what it wrote."""

    async def story() -> None:
        app = an_app(grace=3600)

        async def on_loop() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                current_job().save("at the end")

        def in_thread() -> None:
            current_job().wait_stop(20)
            current_job().save("at the end")
            current_job().check()

        task = app.task(retries=0, timeout=0.3)(in_thread if kind == "thread" else on_loop)
        job = task.enqueue()
        worker = Worker(app)
        main = asyncio.create_task(worker.main())
        await aeventually(lambda: is_in(job, State.RUNNING))
        await aeventually(lambda: all(run.started for run in worker._slots.runs.values()))
        worker.stop()
        await asyncio.wait_for(main, 10)

        assert is_in(job, State.TIMED_OUT)
        assert worker.stuck == []

    asyncio.run(story())


def test_a_worker_that_is_cancelled_again_ends_all_the_same() -> None:
    """As frameworks do that cancel a scope until it has ended: no thread of its keeper is left behind."""

    async def story() -> None:
        app = an_app(grace=3600)

        @app.task
        async def endless() -> None:
            await asyncio.Event().wait()

        job = endless.enqueue()
        main = asyncio.create_task(Worker(app).main())
        await aeventually(lambda: is_in(job, State.RUNNING))
        while not main.done():
            main.cancel()
            await asyncio.sleep(0)

        assert main.cancelled()
        assert is_in(job, State.QUEUED)

    asyncio.run(story())
    ours = ("stanchion-keeper", "stanchion-sweeper", "stanchion-guard")
    eventually(lambda: not [one for one in threading.enumerate() if one.name in ours])


def test_a_keeper_that_cannot_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may start one more thread, and no other."""
    real, left = threading.Thread.start, [1]

    def start(thread: threading.Thread) -> None:
        if thread.name in ("stanchion-keeper", "stanchion-sweeper", "stanchion-guard"):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        real(thread)

    async def story() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await asyncio.wait_for(Worker(an_app(), queues=["default"]).main(), 10)

        assert asyncio.all_tasks() == before

    monkeypatch.setattr(threading.Thread, "start", start)
    asyncio.run(story())
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "stanchion-keeper"])


def test_a_logger_that_raises_loses_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter or handler of the application's own."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a filter")

    async def story() -> None:
        app = an_app()

        @app.task(retries=0)
        async def failing() -> None:
            raise ValueError

        job = failing.enqueue()
        async with working(app):
            monkeypatch.setattr(logging.getLogger("stanchion.worker"), "handle", broken)
            await aeventually(lambda: is_in(job, State.FAILED))
            monkeypatch.undo()

    asyncio.run(story())


# The log


class Silent(YieldingMemory):
    """A memory backend that wakes nobody: its wakes went to workers that are no more."""

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        return super().wait([], timeout)


def test_jobs_that_the_keeper_queues_are_run_although_nobody_is_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its worker knows from it that there is something to claim."""
    monkeypatch.setattr(claiming, "POLL", timedelta(hours=1))

    async def story() -> None:
        app = an_app()
        app.engine.backend = Silent()

        @app.task
        async def small() -> None: ...

        job = small.enqueue()
        app.engine.call(app.engine.claim(["default"], 1, "gone", timedelta(milliseconds=200)))
        async with working(app):
            await aeventually(lambda: is_in(job, State.COMPLETED), within=10)

        assert job.record.count("lost") == 1

    asyncio.run(story())


class Patient(Slots):
    """Slots of a worker whose pauses after a failed claim take no time, and are written down."""

    pauses: ClassVar[list[float]] = []

    async def changed(self, timeout: float | None = None) -> None:
        if timeout is None:
            await super().changed()
        else:
            self.pauses.append(timeout)
            await asyncio.sleep(0)


class Away(YieldingMemory):
    """A memory backend that cannot be reached for some claims."""

    answers = iter(["away", "away", "here", "away", "away", "away", "away", "away"])

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        if next(self.answers, "here") == "away":
            raise Unavailable("away")
        return super().claim(queues, **request)


def test_pauses_between_failed_claims_begin_anew_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """They grow up to a second, and only while the backend stays away."""
    monkeypatch.setattr(claiming, "POLL", timedelta(0))
    monkeypatch.setattr(Patient, "pauses", [])
    monkeypatch.setattr("stanchion.worker.worker.Slots", Patient)

    async def story() -> list[float]:
        app = an_app()
        app.engine = Engine(Away(), app.plugins, pauses=ONCE)
        worker = Worker(app, queues=["default"])
        main = asyncio.create_task(worker.main())
        await aeventually(lambda: len(Patient.pauses) >= 7)
        worker.stop()
        await asyncio.wait_for(main, 10)
        return Patient.pauses

    assert asyncio.run(story())[:7] == [*PAUSES[:2], *PAUSES, PAUSES[-1]]


class Hasty(Worker):
    """A worker somebody cancels whose runs before they begin, as a program does that cancels all tasks of its loop."""

    async def _claim(self, limit: int) -> Claimed:
        claimed = await super()._claim(limit)
        for run in self._slots.runs.values():
            assert run.interrupt is not None
            run.interrupt()
        return claimed


def test_a_run_that_is_cancelled_before_it_begins_has_not_started() -> None:
    """Its job is handed back, though it must not start twice."""
    app = an_app()

    @app.task(retries=0, max_lost=0)
    async def once() -> None: ...

    job = once.enqueue()
    asyncio.run(asyncio.wait_for(Hasty(app).step(), 10))

    assert job.refresh().state is State.QUEUED
    assert (job.attempts, job.record.count("lost"), job.record.count("released")) == (0, 0, 1)


class Forestalled(Worker):
    """A worker whose runs are asked to stop before they begin, since their jobs were cancelled just then."""

    async def _claim(self, limit: int) -> Claimed:
        claimed = await super()._claim(limit)
        for run in self._slots.runs.values():
            self._app.job(run.record.id).cancel()
            run.ask_to_stop(StopReason.CANCEL)
        return claimed


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_a_handler_that_is_asked_to_stop_before_it_begins_is_not_called(kind: str) -> None:
    """A cancel that comes between claim and start ends the job cancelled."""
    app = an_app()
    called: list[bool] = []

    def in_thread() -> None:
        called.append(True)

    async def on_loop() -> None:
        called.append(True)

    job = app.task(in_thread if kind == "thread" else on_loop).enqueue()
    asyncio.run(asyncio.wait_for(Forestalled(app).step(), 10))

    assert job.refresh().state is State.CANCELLED
    assert not called


def test_a_worker_whose_slots_are_held_by_handlers_past_their_limit_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It claims nothing more; once stopped, it names the jobs whose handlers have not returned."""
    end = threading.Event()

    async def story() -> None:
        app = an_app(concurrency=1)

        @app.task(timeout=0.1, retries=0)
        def deaf() -> None:
            end.wait(20)

        first, second = deaf.enqueue(), deaf.enqueue()
        async with working(app) as worker:
            await aeventually(
                lambda: "all 1 slots are held by timed-out threads; not claiming" in caplog.text
            )

        assert (first.refresh().state, second.refresh().state) == (State.TIMED_OUT, State.QUEUED)
        assert worker.stuck == [first.id]
        end.set()

    asyncio.run(story())


def test_what_a_handler_returns_after_its_time_limit_is_discarded_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says which job, of which task, and why."""
    end = threading.Event()

    async def story() -> None:
        app = an_app()

        @app.task(timeout=0.1, retries=0)
        def slow() -> None:
            end.wait(20)

        job = slow.enqueue()
        line = f"{job.id} slow: handler finished after its time limit; result discarded"
        async with working(app):
            await aeventually(lambda: job.refresh().state is State.TIMED_OUT)
            end.set()
            await aeventually(lambda: line in caplog.text)
        assert job.refresh().state is State.TIMED_OUT

    asyncio.run(story())


def test_the_log_names_every_retry_and_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Which job, of which task, why, and what comes of it; the last failure with its traceback."""
    caplog.set_level(logging.INFO)
    clock = VirtualClock()
    app = an_app(clock=clock)

    @app.task(retries=1, backoff=Fixed(8))
    async def send(to: str) -> None:
        raise ConnectionError("connection refused")

    job = send.enqueue("ada@example.org")
    step(app)
    clock.advance(8)
    step(app)
    lines = [record.getMessage() for record in caplog.records if job.id in record.getMessage()]

    assert lines == [
        f"{job.id} send attempt 1 of 2 failed: ConnectionError: connection refused; retrying in 8 s",
        f"{job.id} send attempt 2 of 2 failed: ConnectionError: connection refused; job is failed",
    ]
    assert [record.levelname for record in caplog.records if job.id in record.getMessage()] == [
        "WARNING",
        "ERROR",
    ]
    assert 'raise ConnectionError("connection refused")' in caplog.text
    assert "ada@example.org" not in caplog.text


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Retry(60, "a 429"), "x attempt 1 of 4 failed: Retry: a 429; retrying in 60 s"),
        (Fail("no such customer"), "x attempt 1 of 4 failed: Fail: no such customer; job is failed"),
    ],
    ids=repr,
)
def test_the_log_names_failures_that_a_handler_returns(
    caplog: pytest.LogCaptureFixture, outcome: object, line: str
) -> None:
    """They are failures as well."""
    app = an_app()

    @app.task(name="x")
    async def handler() -> object:
        return outcome

    job = handler.enqueue()
    step(app)

    assert f"{job.id} {line}" in caplog.text


def test_the_log_names_losses(caplog: pytest.LogCaptureFixture) -> None:
    """A sweep says which jobs a dead worker left behind, and what comes of them."""
    clock = VirtualClock()
    app = an_app(clock=clock)

    @app.task(max_lost=0)
    async def small() -> None: ...

    job = small.enqueue()
    app.engine.call(app.engine.claim(["default"], 1, "dead", timedelta(seconds=1)))
    clock.advance(1)

    async def story() -> None:
        async with working(app):
            await aeventually(lambda: is_in(job, State.FAILED))

    asyncio.run(story())

    assert f"{job.id} small attempt 1 of 4 was lost: " in caplog.text


def test_what_is_logged_of_an_error_is_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever writes what a handler raises writes no line of the log."""
    app = an_app()

    @app.task(retries=0)
    async def evil() -> None:
        raise ValueError("x\n2026-11-25 10:00:00 CRITICAL forged \x1b[2J")

    evil.enqueue()
    step(app)

    assert r"ValueError: x\n2026-11-25 10:00:00 CRITICAL forged \x1b[2J" in caplog.text
    assert not [line for line in caplog.text.splitlines() if line.startswith("2026")]
