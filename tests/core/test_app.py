"""The application: enqueuing, asking about jobs, and telling them what to do, on the memory backend."""

import asyncio
import threading
from datetime import timedelta

import pytest

from stanchion import (
    Event,
    Fail,
    IllegalTransition,
    JobFailed,
    JobNotFound,
    ResultTimeout,
    Retry,
    Stanchion,
    State,
    current_job,
    hookimpl,
)
from stanchion.contract.backend import Limits
from stanchion.engine import waiting
from stanchion.errors import (
    BackendError,
    ConfigError,
    InvalidArgument,
    PayloadError,
    QueueNotEmpty,
    UniqueHeld,
)
from stanchion.model.queues import QueueSettings
from stanchion_testing.clock import VirtualClock
from support.workers import Witness, an_app, drain, step


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def witness():
    return Witness()


@pytest.fixture
def app(clock, witness):
    with an_app(clock=clock, plugins=[witness]) as found:
        yield found


@pytest.fixture
def add(app):
    """A task that adds."""

    @app.task(queue="sums", retries=0)
    def add(one: int, other: int = 1) -> int:
        return one + other

    return add


class Untouched:
    """A backend that must not be called, but to be closed."""

    limits = Limits(batch=100, local=True)

    def close(self):
        pass

    def __getattr__(self, verb):
        raise AssertionError(f"{verb} was called")


# Tasks


def test_a_task_is_still_a_function(add):
    """Calling it runs it in this thread."""
    assert add(1, other=2) == 3


def test_a_decorator_needs_no_options(app):
    """`@app.task` alone names the task after its function."""

    @app.task
    def plain() -> None:
        """Do nothing."""

    assert (plain.name, plain.__name__, plain.__doc__) == ("plain", "plain", "Do nothing.")
    assert plain.enqueue().id.startswith("default:")


def test_a_name_is_registered_once(app, add):
    """Jobs know their task by nothing else."""
    with pytest.raises(
        ConfigError, match="cannot register a second task named 'add': give one of them another name="
    ):
        app.task(name="add")(lambda: None)


def test_wrong_options_are_refused_where_they_are_written(app):
    """Before the function is even there."""
    with pytest.raises(InvalidArgument, match="unknown option 'retry'"):
        app.task(retry=5)


@pytest.mark.parametrize(
    "act",
    [
        lambda app, add: add.enqueue("one"),
        lambda app, add: add.enqueue(1, 2, 3),
        lambda app, add: add.enqueue(float("nan")),
        lambda app, add: asyncio.run(add.aenqueue("one")),
        lambda app, add: add.using(delay=-1),
        lambda app, add: add.using(queue="a:b"),
        lambda app, add: add.using(priority=True),
        lambda app, add: app.job("nowhere"),
        lambda app, add: asyncio.run(app.ajob("nowhere")),
        lambda app, add: app.jobs("a:b", "queued"),
        lambda app, add: app.jobs("sums", "waiting"),
        lambda app, add: app.ajobs("sums", "waiting"),
        lambda app, add: app.queue(""),
    ],
)
def test_bad_input_is_refused_before_any_io(app, add, act):
    """The backend is not asked."""
    app.engine.backend = Untouched()

    with pytest.raises(InvalidArgument):
        act(app, add)


@pytest.mark.parametrize(
    "act",
    [
        lambda job: job.cancel(5),
        lambda job: job.update(),
        lambda job: job.update(priority=101),
        lambda job: job.update(delay=-1),
        lambda job: job.result(timeout=-1),
        lambda job: asyncio.run(job.aupdate(priority=1.0)),
    ],
)
def test_bad_input_to_a_job_is_refused_before_any_io(app, add, act):
    """The backend is not asked either."""
    job = add.enqueue(1)
    app.engine.backend = Untouched()

    with pytest.raises(InvalidArgument):
        act(job)


# Enqueuing


def test_an_enqueued_job_waits_in_its_queue(add, app):
    """Where its handle and anybody else can see it."""
    job = add.enqueue(1)

    assert (job.is_new, job.queue, job.task, job.state) == (True, "sums", "add", State.QUEUED)
    assert app.job(job.id).state is State.QUEUED


def test_options_can_be_changed_for_one_call(add):
    """The task itself is as before."""
    job = add.using(queue="other", priority=5, tags={"b", "a"}, delay=60).enqueue(1)

    assert (job.queue, job.priority, job.tags, job.state) == ("other", 5, ("a", "b"), State.SCHEDULED)
    assert add.enqueue(1).queue == "sums"


def test_a_key_of_one_s_own_makes_one_job(add, witness):
    """Enqueuing again answers with the job that is there."""
    first = add.using(key="daily:7").enqueue(1)
    second = add.using(key="daily:7").enqueue(2)

    assert (first.id, first.is_new) == ("sums:daily:7", True)
    assert (second.id, second.is_new) == ("sums:daily:7", False)
    assert witness.saw == ["enqueued"]


def test_a_held_unique_key_answers_with_its_holder(app, add):
    """Until the holder ends, or starts if that was asked for."""
    first = add.using(unique="ada").enqueue(1)
    second = add.using(unique="ada").enqueue(2)
    drain(app)

    assert (second.id, second.is_new) == (first.id, False)
    assert add.using(unique="ada").enqueue(3).is_new


def test_many_jobs_are_enqueued_in_order(app, add, witness):
    """In batches, the handles in the order of the drafts."""
    jobs = app.enqueue_many(add.draft(number) for number in range(250))
    drain(app)

    assert [job.result(1) for job in jobs] == [number + 1 for number in range(250)]
    assert witness.saw.count("enqueued") == 250


def test_no_jobs_are_enqueued_as_well(app):
    """Nothing happens then."""
    assert app.enqueue_many([]) == []


# Reading


def test_a_job_that_is_not_there_is_not_found(app):
    """The error names it."""
    with pytest.raises(JobNotFound, match="^job sums:1 does not exist"):
        app.job("sums:1")


def test_a_handle_shows_what_was_last_read(app, add):
    """Until it is refreshed."""
    job = add.enqueue(1)
    drain(app)

    assert job.state is State.QUEUED
    assert job.refresh().state is State.COMPLETED


def test_jobs_are_listed_page_by_page(app, add):
    """Each appears once, however many there are."""
    ids = [job.id for job in app.enqueue_many(add.draft(number) for number in range(250))]
    found = [job.id for job in app.jobs("sums", State.QUEUED)]

    assert found == ids
    assert list(app.jobs("sums", "failed")) == []
    assert list(app.jobs("nowhere", "queued")) == []


def test_a_failed_job_tells_why(app):
    """Errors, history and attempts are there for people."""

    @app.task(retries=0)
    def broken() -> None:
        raise ValueError("no such user")

    job = broken.enqueue()
    drain(app)
    job.refresh()

    assert [(one.type, one.message, one.run) for one in job.errors] == [("ValueError", "no such user", 1)]
    assert [(one.event, one.to) for one in job.history] == [("fail", "failed")]
    assert job.attempts == 1


def test_nothing_is_known_of_a_job_that_was_only_enqueued(add):
    """But what was asked for."""
    job = add.enqueue(1)

    assert (job.attempts, job.progress, job.errors, job.history, job.log) == (0, None, [], [], [])


# Results


def test_a_result_is_restored_by_its_type(app):
    """As the handler's hint says."""

    @app.task
    async def wait() -> timedelta:
        return timedelta(seconds=1.5)

    job = wait.enqueue()
    drain(app)

    assert job.result() == timedelta(seconds=1.5)
    assert app.job(job.id).result() == timedelta(seconds=1.5)


def test_a_result_is_waited_for(add, app, monkeypatch):
    """The end of the job wakes whoever waits, without asking again and again."""
    monkeypatch.setattr(waiting, "POLL", timedelta(hours=1))
    job = add.enqueue(1)
    worker = threading.Thread(target=drain, args=(app,))
    worker.start()

    assert job.result(timeout=20) == 2
    worker.join()


def test_a_result_is_had_where_no_watch_can_be_had(add, app, monkeypatch):
    """It is asked for now and then instead, by sync and async callers."""

    def refuse(*_):
        raise BackendError("all connections are in use")

    monkeypatch.setattr(app.engine.backend, "watch", refuse)
    job = add.enqueue(1)
    worker = threading.Thread(target=drain, args=(app,))
    worker.start()

    assert job.result(timeout=20) == 2
    worker.join()
    assert asyncio.run(app.job(job.id).aresult(timeout=20)) == 2


def test_a_result_can_be_awaited(add, app, monkeypatch):
    """By the loop that the worker runs on, too."""
    monkeypatch.setattr(waiting, "POLL", timedelta(hours=1))

    async def main():
        job = await add.aenqueue(1)
        waiting = asyncio.create_task(job.aresult(timeout=20))
        await asyncio.to_thread(drain, app)
        return await waiting

    assert asyncio.run(main()) == 2


def test_waiting_ends(add):
    """The job goes on, and the error is one of Python's own as well."""
    job = add.enqueue(1)

    with pytest.raises(
        ResultTimeout, match=f"^job {job.id} did not finish within 0.01 s \\(it is queued\\)$"
    ):
        job.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(job.aresult(timeout=timedelta(milliseconds=10)))


def test_a_job_that_did_not_complete_has_no_result(app):
    """The error tells its state, and the last of its errors if there are any."""

    @app.task
    def broken() -> Retry | Fail:
        return Fail("no such user") if current_job().attempt == 2 else Retry(0, "busy")

    failed, cancelled = broken.enqueue(), broken.using(delay=60).enqueue().cancel()
    drain(app)

    with pytest.raises(JobFailed, match=f"^job {failed.id} failed: Fail: no such user$"):
        failed.result()
    with pytest.raises(JobFailed, match=f"^job {cancelled.id} was cancelled$"):
        cancelled.result()


def test_a_deleted_job_has_no_result(add):
    """Nor will it ever."""
    job = add.enqueue(1)
    job.delete()

    with pytest.raises(JobNotFound):
        job.result()


# Telling jobs what to do


def test_a_waiting_job_is_cancelled(add, witness):
    """At once, and for good."""
    job = add.enqueue(1).cancel("not wanted")

    assert job.state is State.CANCELLED
    assert job.history[-1].reason == "not wanted"
    assert witness.saw == ["enqueued", "cancelled"]


def test_a_final_job_is_not_cancelled(add):
    """The error names the job, its state and the wish."""
    job = add.enqueue(1).cancel()

    with pytest.raises(IllegalTransition, match=f"^cannot cancel job {job.id}: it is cancelled$") as refused:
        job.cancel()
    assert (refused.value.state, refused.value.event) == (State.CANCELLED, Event.CANCEL)


def test_a_completed_job_is_retried_by_force(add, app):
    """Its result is erased, and it runs again."""
    job = add.enqueue(1)
    drain(app)

    with pytest.raises(IllegalTransition, match="force=True"):
        job.retry()
    assert job.retry(force=True).state is State.QUEUED
    assert step(app) == 1
    assert job.refresh().record.run == 2


def test_a_retry_takes_the_unique_key_again_or_is_refused(add):
    """Another job may hold it by now."""
    first = add.using(unique="ada").enqueue(1).cancel()
    second = add.using(unique="ada").enqueue(2)

    with pytest.raises(UniqueHeld, match=f"^cannot retry job {first.id}: another job holds its unique key$"):
        first.retry()
    second.delete()
    assert first.retry().state is State.QUEUED
    assert not add.using(unique="ada").enqueue(3).is_new


def test_a_job_is_updated_before_it_starts(add, clock, app):
    """Its priority, and when it may start."""
    job = add.enqueue(1).update(priority=7, delay=60)

    assert (job.priority, job.state) == (7, State.SCHEDULED)
    assert step(app) == 0
    clock.advance(60)
    assert step(app) == 1


def test_a_job_is_deleted(add, app):
    """And is gone for everybody; deleting it again is harmless."""
    job = add.enqueue(1)
    job.delete()
    job.delete()

    with pytest.raises(JobNotFound):
        job.refresh()
    assert app.queue("sums").count()[State.QUEUED] == 0


def test_the_async_twins_do_the_same(app, add):
    """Each method that asks the backend has one."""

    async def main():
        async with app:
            job = (await app.aenqueue_many([add.draft(1)]))[0]
            states = [(await job.aupdate(priority=3, delay=60)).state, (await job.acancel("no")).state]
            states += [
                (await job.aretry()).state,
                (await job.arefresh()).state,
                (await app.ajob(job.id)).state,
            ]
            listed = [one.id async for one in app.ajobs("sums", "queued")]
            queue = app.queue("sums")
            await queue.apause()
            counted = await queue.acount()
            await queue.aresume()
            await job.adelete()
            await queue.aforget()
            return states, listed == [job.id], counted[State.QUEUED], app.queues()

    states, found, counted, queues = asyncio.run(main())

    assert states == ["scheduled", "cancelled", "queued", "queued", "queued"]
    assert (found, counted, queues) == (True, 1, {})


# Queues


def test_a_paused_queue_hands_out_nothing(app, add):
    """Jobs can still be enqueued; resuming lets them go."""
    queue = app.queue("sums")
    queue.pause()
    queue.pause()
    add.enqueue(1)

    assert (step(app), app.queues()) == (0, {"sums": QueueSettings(paused=True)})
    queue.resume()
    assert (step(app), app.queues()) == (1, {"sums": QueueSettings(paused=False)})


def test_jobs_are_counted_by_state(app, add):
    """Every state has its number."""
    add.enqueue(1)
    add.enqueue(2).cancel()
    counts = app.queue("sums").count()

    assert counts == {**dict.fromkeys(State, 0), State.QUEUED: 1, State.CANCELLED: 1}


def test_only_an_empty_queue_is_forgotten(app, add):
    """With its settings."""
    job = add.enqueue(1)
    queue = app.queue("sums")

    with pytest.raises(QueueNotEmpty, match="^cannot forget queue sums: it still has jobs"):
        queue.forget()
    job.delete()
    queue.forget()
    assert app.queues() == {}


# The application itself


def test_everything_shows_itself(app, add):
    """In one line that says what a person wants to know."""
    job = add.using(key="7", retries=2).enqueue(1)
    found = app.job(job.id)

    assert repr(app) == "<Stanchion memory:// stanchion, 1 tasks>"
    assert repr(add) == "<Task add in queue sums>"
    assert repr(app.queue("sums")) == "<Queue sums>"
    assert repr(job) == repr(found) == "<Job sums:7 queued, attempt 0 of 3>"


def test_a_plugin_that_raises_does_not_keep_a_job_from_being_enqueued(clock):
    """The job is there, and the failure is counted."""

    class Broken:
        @hookimpl
        def job_changed(self):
            raise RuntimeError("broken")

    with an_app(clock=clock, plugins=[Broken()]) as app:
        job = app.task(name="nothing")(lambda: None).enqueue()

        assert app.job(job.id).state is State.QUEUED
        assert app.plugins.failures == {"Broken": 1}


def test_a_closed_application_says_so(app, add):
    """Closing twice is harmless."""
    app.close()
    app.close()

    with pytest.raises(BackendError, match="closed"):
        add.enqueue(1)


def test_two_applications_on_memory_share_nothing():
    """Each has a store of its own."""
    one, other = Stanchion("memory://"), Stanchion("memory://")
    job = one.task(name="nothing")(lambda: None).enqueue()

    with pytest.raises(JobNotFound):
        other.job(job.id)


def test_a_payload_that_is_too_large_is_refused(app):
    """By the same error as any other that cannot be stored."""
    task = app.task(name="long")(lambda text: None)

    with pytest.raises(PayloadError, match="the limit is 1048576"):
        task.enqueue("x" * (1 << 20))
