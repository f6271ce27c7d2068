"""A whole worker on the memory backend: claims, keeper and loop together, in real time."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from stanchion import Event, Fixed, State, current_job
from stanchion.context import StopReason
from stanchion.errors import BackendError, InvalidArgument, Unavailable
from stanchion.worker import Worker
from support.waiting import aeventually, eventually
from support.workers import Saboteur, Witness, an_app, drain, is_in, on_faulty_memory, working


def test_a_worker_needs_a_queue() -> None:
    """An application without tasks has nothing to serve."""
    with pytest.raises(InvalidArgument, match="cannot start a worker without a queue"):
        Worker(an_app())


def test_a_burst_drains_and_stops() -> None:
    """A worker in burst mode ends by itself once there is nothing left to do."""
    app = an_app(concurrency=3)

    @app.task
    async def small(number: int) -> int:
        return number

    jobs = [small.enqueue(number) for number in range(250)]
    drain(app)

    assert [job.result(timeout=0) for job in jobs] == list(range(250))


def test_an_idle_worker_hears_of_new_jobs() -> None:
    """A job that is enqueued while the worker waits is run without its poll."""

    async def story() -> None:
        app = an_app()
        ran = asyncio.Event()

        @app.task
        async def small() -> None:
            ran.set()

        async with working(app):
            await aeventually(lambda: _waits(app))
            await small.aenqueue()
            await asyncio.wait_for(ran.wait(), 4)  # a poll comes after 5 s

        assert ran.is_set()

    asyncio.run(story())


def test_concurrency_is_never_exceeded() -> None:
    """With four slots there are never five handlers at work, and all four are used."""
    app = an_app(concurrency=4)
    lock, four = threading.Lock(), threading.Barrier(4)
    now: set[int] = set()
    most: list[int] = []

    @app.task
    def counted(number: int) -> None:
        with lock:
            now.add(number)
            most.append(len(now))
        four.wait(10)
        with lock:
            now.discard(number)

    for number in range(60):
        counted.enqueue(number)
    drain(app)

    assert max(most) == 4
    assert len(most) == 60


def test_what_a_handler_says_is_seen_while_it_runs() -> None:
    """The keeper sends progress, saved data and log lines before the handler ends."""

    async def story() -> None:
        app = an_app()
        end = asyncio.Event()

        @app.task
        async def talkative() -> None:
            current_job().progress(0.25, "reading")
            current_job().log("began")
            await end.wait()

        job = talkative.enqueue()
        async with working(app):
            await aeventually(lambda: job.refresh().progress)
            assert job.state is State.RUNNING
            assert job.progress is not None
            assert job.progress.message == "reading"
            assert job.log == ["began"]
            end.set()
            await aeventually(lambda: is_in(job, State.COMPLETED))

    asyncio.run(story())


def test_a_handler_that_blocks_the_loop_keeps_its_job() -> None:
    """The keeper has a thread of its own: three leases of blocking lose nothing."""
    app = an_app()

    @app.task
    async def rude() -> None:
        time.sleep(1.8)  # noqa: ASYNC251 - the point of this test

    job = rude.enqueue()
    drain(app)

    assert job.refresh().state is State.COMPLETED
    assert job.record is not None
    assert (job.record.run, job.record.count("lost")) == (1, 0)


def test_a_running_async_handler_is_cancelled_on_request() -> None:
    """It gets CancelledError, and its job ends cancelled with the reason that was given."""

    async def story() -> None:
        app = an_app()
        ends: list[type[BaseException]] = []
        started = asyncio.Event()

        @app.task
        async def endless() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                ends.append(type(error))
                raise

        job = endless.enqueue()
        async with working(app):
            await started.wait()
            await job.acancel("changed my mind")
            await aeventually(lambda: is_in(job, State.CANCELLED))

        assert ends == [asyncio.CancelledError]
        assert job.history[0].reason == "changed my mind"

    asyncio.run(story())


def test_a_thread_sees_that_it_shall_stop() -> None:
    """A sync handler looks at `cancelled`, raises, and its job ends cancelled."""

    async def story() -> None:
        app = an_app()
        started = threading.Event()

        @app.task
        def patient() -> None:
            started.set()
            if current_job().wait_stop(20):
                raise InterruptedError

        job = patient.enqueue()
        async with working(app):
            await aeventually(started.is_set)
            await job.acancel()
            await aeventually(lambda: is_in(job, State.CANCELLED))

        assert not job.errors

    asyncio.run(story())


def test_a_handler_that_completes_in_spite_of_a_request_is_completed() -> None:
    """Work that was done is not thrown away."""

    async def story() -> None:
        app = an_app()
        started = asyncio.Event()

        @app.task
        async def stubborn() -> str:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "done all the same"
            raise AssertionError

        job = stubborn.enqueue()
        async with working(app):
            await started.wait()
            await job.acancel()
            await aeventually(lambda: is_in(job, State.COMPLETED))

        assert job.result(timeout=0) == "done all the same"

    asyncio.run(story())


def test_a_job_cancelled_before_its_handler_starts_never_starts() -> None:
    """While one handler blocks the loop, another that was claimed with it is cancelled: it is not called at all."""

    async def story() -> None:
        app = an_app()
        called: list[bool] = []

        def is_asked() -> bool:
            return any(run.stop is StopReason.CANCEL for run in list(worker._slots.runs.values()))

        @app.task(priority=1)
        async def rude() -> None:
            app.job("default:second").cancel()
            eventually(is_asked)  # the keeper is notified while the loop is blocked

        @app.task
        async def second() -> None:
            called.append(True)

        job = second.using(key="second").enqueue()
        rude.enqueue()
        async with working(app) as worker:
            await aeventually(lambda: is_in(job, State.CANCELLED))

        assert not called

    asyncio.run(story())


@pytest.mark.parametrize(("retries", "state"), [(0, State.TIMED_OUT), (1, State.RETRYING)])
def test_an_async_handler_is_stopped_at_its_limit(retries: int, state: State) -> None:
    """It is cancelled, and its attempt recorded as timed out."""

    async def story() -> None:
        app = an_app()
        ends: list[type[BaseException]] = []

        @app.task(timeout=0.1, retries=retries, backoff=Fixed(60))
        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                ends.append(type(error))
                raise

        job = endless.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, state))
            await aeventually(lambda: ends)

        assert ends == [asyncio.CancelledError]
        assert job.refresh().attempts == 1
        assert job.errors[0].type == "timed_out"
        assert "limit of 0.1 s" in job.errors[0].message

    asyncio.run(story())


def test_a_thread_past_its_limit_keeps_its_slot_and_loses_its_result() -> None:
    """Its job is recorded as timed out at once; the next one starts only when the thread has returned."""

    async def story() -> None:
        app = an_app(concurrency=1)
        end, next_started = threading.Event(), threading.Event()

        @app.task(timeout=0.1, retries=0)
        def slow() -> str:
            end.wait(20)
            return "too late"

        @app.task
        def following() -> bool:
            next_started.set()
            return end.is_set()

        late, job = slow.enqueue(), following.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(late, State.TIMED_OUT))
            assert job.refresh().state is State.QUEUED
            assert not next_started.is_set()
            end.set()
            await aeventually(lambda: is_in(job, State.COMPLETED))

        assert job.result(timeout=0) is True
        assert late.refresh().state is State.TIMED_OUT
        assert "result" not in late.record.notes

    asyncio.run(story())


def test_a_limit_reached_while_the_backend_is_away_is_recorded_later() -> None:
    """The handler is stopped at its limit; that its time was up is told again until it is heard."""

    async def story() -> None:
        app = an_app()
        backend = on_faulty_memory(app)
        backend.errors[Event.TIME_OUT] = [Unavailable("away"), Unavailable("away")]

        @app.task(timeout=0.1, retries=0)
        async def endless() -> None:
            await asyncio.Event().wait()

        job = endless.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, State.TIMED_OUT), within=5)

        assert not backend.errors[Event.TIME_OUT]

    asyncio.run(story())


def test_an_outcome_is_told_until_it_is_heard() -> None:
    """While the backend is away, the outcome of a run waits, and it is recorded once."""

    async def story() -> None:
        app = an_app()
        backend = on_faulty_memory(app)
        backend.errors[Event.COMPLETE] = [Unavailable("away") for _ in range(5)]
        ran: list[bool] = []

        @app.task
        async def small() -> None:
            ran.append(True)

        job = small.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, State.COMPLETED))

        assert ran == [True]
        assert job.attempts == 1

    asyncio.run(story())


@pytest.mark.parametrize("error", [BackendError("refused"), RuntimeError("a driver's bug")])
def test_whatever_goes_wrong_outcomes_are_told_again(error: Exception) -> None:
    """No error while outcomes are recorded ends their recording."""

    async def story() -> None:
        app = an_app()
        backend = on_faulty_memory(app)
        backend.errors[Event.COMPLETE] = [error, error]

        @app.task
        async def small() -> None: ...

        jobs = [small.enqueue() for _ in range(3)]
        async with working(app):
            await aeventually(lambda: all(is_in(job, State.COMPLETED) for job in jobs), within=5)

        assert [job.attempts for job in jobs] == [1, 1, 1]

    asyncio.run(story())


def test_an_outcome_that_cannot_be_recorded_does_not_keep_back_the_others() -> None:
    """One job that the backend refuses to change stays running; those settled with it and after it complete."""

    async def story() -> None:
        app = an_app()
        backend = on_faulty_memory(app)

        @app.task
        async def small() -> None: ...

        jobs = [small.enqueue() for _ in range(3)]
        backend.refused.add(jobs[1].id)
        async with working(app):
            await aeventually(
                lambda: is_in(jobs[0], State.COMPLETED) and is_in(jobs[2], State.COMPLETED), within=5
            )
            later = small.enqueue()
            await aeventually(lambda: is_in(later, State.COMPLETED), within=5)
            assert is_in(jobs[1], State.RUNNING)
            backend.refused.clear()
            await aeventually(lambda: is_in(jobs[1], State.COMPLETED), within=5)

    asyncio.run(story())


def test_a_worker_that_cannot_beat_stops_its_handlers() -> None:
    """Before its lease ends, the handler is cancelled, so that the next run does not overlap with this one."""

    async def story() -> None:
        app = an_app()
        backend = on_faulty_memory(app)
        backend.errors[Event.BEAT] = [Unavailable("away") for _ in range(1000)]
        running, most, runs = [], [], []

        @app.task
        async def endless() -> None:
            running.append(current_job().run)
            most.append(len(running))
            try:
                if current_job().run == 1:
                    await asyncio.Event().wait()
            finally:
                runs.append(running.pop())

        job = endless.enqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, State.COMPLETED))

        assert runs == [1, 2]
        assert max(most) == 1
        assert (job.attempts, job.record.count("lost")) == (1, 1)

    asyncio.run(story())


def test_a_plugin_that_raises_loses_no_job(caplog: pytest.LogCaptureFixture) -> None:
    """Every hook of it fails, every job completes, and the log names it."""
    app = an_app(plugins=[Saboteur()])

    @app.task
    async def small(number: int) -> int:
        return number

    jobs = [small.enqueue(number) for number in range(20)]
    drain(app)

    assert [job.result(timeout=0) for job in jobs] == list(range(20))
    assert sum(app.plugins.failures.values()) >= 60
    assert "Saboteur" in caplog.text


@pytest.mark.parametrize("odd", [SystemExit(3), KeyboardInterrupt(), BaseException("own")])
def test_a_handler_that_exits_does_not_end_the_worker(odd: BaseException) -> None:
    """The attempt has failed, and the next job is run."""
    app = an_app(concurrency=1)

    @app.task(retries=0)
    async def leave() -> None:
        raise odd

    @app.task
    def small() -> None: ...

    left, job = leave.enqueue(), small.enqueue()
    drain(app)

    assert left.refresh().state is State.FAILED
    assert job.refresh().state is State.COMPLETED


def test_lost_jobs_of_another_worker_are_run() -> None:
    """A job whose worker never comes back is swept up and run by one that lives, without using up an attempt."""

    async def story() -> None:
        app = an_app()

        @app.task
        async def small() -> int:
            return current_job().run

        job = small.enqueue()
        app.engine.call(app.engine.claim(["default"], 1, "gone", timedelta(milliseconds=200)))
        async with working(app):
            await aeventually(lambda: is_in(job, State.COMPLETED))

        assert job.result(timeout=0) == 2
        assert (job.attempts, job.record.count("lost")) == (1, 1)

    asyncio.run(story())


def test_plugins_hear_of_the_worker() -> None:
    """That it began, and that it ended, after all it had to tell of jobs."""
    witness = Witness()
    app = an_app(plugins=[witness])

    @app.task
    async def small() -> None: ...

    small.enqueue()
    drain(app)

    assert witness.saw == ["enqueued", "started", "claimed", "completed", "stopped"]


def _waits(app: Any) -> bool:
    return "default" not in app.engine.backend._notices._woken
