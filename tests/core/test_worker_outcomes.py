"""What the end of a handler means for its job: one step of a worker at a time, on a clock that stands still."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from stanchion import Cancel, Fail, Fixed, JobFailed, Retry, Snooze, Stanchion, State
from stanchion.codec.specs import encode_args
from stanchion.model.records import Item
from stanchion_testing.clock import VirtualClock
from support.workers import Witness, an_app, step


def test_what_a_handler_returns_is_the_result() -> None:
    """A job whose handler returns is completed, and its result is what came back."""
    app = an_app()

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    job = add.enqueue(1, 2)
    step(app)

    assert job.refresh().state is State.COMPLETED
    assert job.result() == 3
    assert job.attempts == 1


def test_a_failure_waits_for_its_back_off() -> None:
    """A job whose handler raised is tried again after its wait, and not before."""
    clock = VirtualClock()
    app = an_app(clock=clock)

    @app.task(retries=1, backoff=Fixed(60))
    async def flaky() -> None:
        raise OSError("no route")

    job = flaky.enqueue()
    step(app)

    assert job.refresh().state is State.RETRYING
    assert [(error.type, error.message, error.run) for error in job.errors] == [("OSError", "no route", 1)]
    clock.advance(59.9)
    assert step(app) == 0
    clock.advance(0.1)
    assert step(app) == 1
    assert job.refresh().state is State.FAILED
    with pytest.raises(JobFailed, match="OSError: no route"):
        job.result()


def test_an_hour_of_retries() -> None:
    """Retries with a wait of ten minutes each take an hour of the clock, and end in success."""
    clock = VirtualClock()
    app = an_app(clock=clock)
    started = []

    @app.task(retries=6, backoff=Fixed(600))
    def late() -> str:
        started.append(clock.now())
        if len(started) <= 6:
            raise ConnectionError
        return "at last"

    job = late.enqueue()
    for _ in range(7):
        step(app)
        clock.advance(600)

    assert started[-1] - started[0] == timedelta(hours=1)
    assert job.result(timeout=0) == "at last"
    assert job.attempts == 7


@pytest.mark.parametrize(
    ("outcome", "state", "attempts", "due_in"),
    [
        (Retry(90), State.RETRYING, 1, 90),
        (Snooze(45), State.SCHEDULED, 0, 45),
        (Cancel("not needed"), State.CANCELLED, 1, 24 * 3600),
        (Fail("hopeless"), State.FAILED, 1, 7 * 24 * 3600),
    ],
)
def test_a_handler_can_say_what_becomes_of_its_job(
    outcome: object, state: State, attempts: int, due_in: float
) -> None:
    """Outcomes that are returned decide over the state, the attempts used and the clock."""
    clock = VirtualClock()
    app = an_app(clock=clock)

    @app.task
    def decided() -> Any:
        return outcome

    job = decided.enqueue()
    step(app)

    assert job.refresh().state is state
    assert job.attempts == attempts
    assert job.record is not None
    assert job.record.due_at == clock.now() + timedelta(seconds=due_in)


def test_reasons_are_kept() -> None:
    """The reason of an outcome can be read from the job."""
    app = an_app()

    @app.task
    def hopeless() -> Fail:
        return Fail("hopeless")

    @app.task
    def unwanted() -> Cancel:
        return Cancel("nobody asked")

    failed, cancelled = hopeless.enqueue(), unwanted.enqueue()
    step(app)

    assert failed.refresh().errors[0].message == "hopeless"
    assert cancelled.refresh().history[-1].reason == "nobody asked"


def test_retry_uses_up_attempts() -> None:
    """A handler that asks for another attempt when none is left has failed."""
    clock = VirtualClock()
    app = an_app(clock=clock)

    @app.task(retries=1)
    def again() -> Retry:
        return Retry(1, "not yet")

    job = again.enqueue()
    step(app)
    clock.advance(1)
    step(app)

    assert job.refresh().state is State.FAILED
    assert [error.message for error in job.errors] == ["not yet", "not yet"]


@pytest.mark.parametrize("outcome", [Fail("\ud800"), Retry(1, "\ud800"), Cancel("\ud800")])
def test_a_reason_that_is_no_text_harms_nobody(outcome: object) -> None:
    """An outcome whose reason cannot be stored as it is does not keep the outcomes beside it from the backend."""
    app = an_app()

    @app.task
    def odd() -> Any:
        return outcome

    @app.task
    def even() -> None: ...

    strange, plain = odd.enqueue(), even.enqueue()
    step(app)

    assert plain.refresh().state is State.COMPLETED
    assert strange.refresh().state is not State.RUNNING


def test_a_result_that_cannot_be_stored_fails_the_attempt() -> None:
    """The handler's work is done, but its result would be lost: that is a failure."""
    app = an_app()

    @app.task(retries=0)
    def opaque() -> object:
        return object()

    job = opaque.enqueue()
    step(app)

    assert job.refresh().state is State.FAILED
    assert job.errors[0].type == "PayloadError"
    assert "the result of task opaque" in job.errors[0].message


def test_a_job_of_an_unknown_task_is_put_off(caplog: pytest.LogCaptureFixture) -> None:
    """It waits 30 s, then twice as long each time up to 10 min, uses up no attempt, and the log names it."""
    clock = VirtualClock()
    newer, older = an_app(clock=clock), an_app(clock=clock)
    older.engine.backend = newer.engine.backend

    @newer.task
    def fresh() -> str:
        return "done"

    job = fresh.enqueue()
    waits = []
    for _ in range(6):
        step(older, queues=["default"])
        record = job.refresh().record
        assert record is not None
        assert record.due_at is not None
        waits.append((record.due_at - clock.now()).total_seconds())
        clock.advance(waits[-1])
    step(newer)

    assert waits == [30, 60, 120, 240, 480, 600]
    assert job.result(timeout=0) == "done"
    assert job.attempts == 1
    assert f"{job.id}: task 'fresh' is not registered in this worker; rescheduled in 30 s" in caplog.text


def test_an_unknown_task_does_not_block_those_behind_it() -> None:
    """A worker that meets a job it cannot run goes on with the next."""
    newer, older = an_app(), an_app(concurrency=1)
    older.engine.backend = newer.engine.backend

    @newer.task
    def fresh() -> None: ...

    @older.task
    def known() -> None: ...

    fresh.enqueue()
    job = known.enqueue()
    step(older, times=2)

    assert job.refresh().state is State.COMPLETED


def test_arguments_that_cannot_be_read_fail_for_good() -> None:
    """A job written by another version is not tried again and again."""
    app = an_app()

    @app.task
    def known() -> None: ...

    _insert(app, Item(id="default:odd", task="known", state=State.QUEUED, args=b"z9 something"))
    step(app)

    job = app.job("default:odd")
    assert job.state is State.FAILED
    assert job.errors[0].type == "Unreadable"
    assert "b'z9'" in job.errors[0].message


def test_arguments_that_no_longer_fit_fail_for_good() -> None:
    """A job enqueued for an older signature is not tried again, whatever attempts are left."""
    app = an_app()

    @app.task
    def welcome(address: str) -> None: ...

    args = encode_args(b'{"name":"ada"}')
    _insert(app, Item(id="default:old", task="welcome", state=State.QUEUED, args=args))
    step(app)

    job = app.job("default:old")
    assert job.state is State.FAILED
    assert "cannot read the stored arguments of task welcome" in job.errors[0].message


def test_arguments_whose_restoring_raises_anything_fail_for_good() -> None:
    """Whatever the types in a signature do while they are restored, the job ends and the worker goes on."""
    import attrs

    @attrs.define
    class Range:
        low: int
        strict: bool = False

        def __attrs_post_init__(self) -> None:
            if broken:
                raise LookupError("gone")

    broken = False
    app = an_app()

    def span(over: Range) -> None: ...

    span.__annotations__ = {"over": Range, "return": None}
    job = app.task(span).enqueue(Range(1))
    broken = True
    step(app)

    assert job.refresh().state is State.FAILED
    assert job.errors[0].message == "gone"


def test_payloads_never_appear_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Neither arguments nor results are logged, at any level; what a handler puts into an exception is."""
    caplog.set_level(logging.DEBUG)
    clock = VirtualClock()
    app = an_app(clock=clock)

    @app.task(retries=1, backoff=Fixed(0))
    def secretive(password: str) -> str:
        if not secrets:
            secrets.append(password)
            raise ValueError("wrong password")
        return password

    secrets: list[str] = []
    job = secretive.enqueue("hunter2")
    step(app, times=2)

    assert job.result(timeout=0) == "hunter2"
    assert "hunter2" not in caplog.text
    assert f"{job.id} secretive attempt 1 of 2 failed: ValueError: wrong password" in caplog.text


def test_hooks_tell_the_story_of_a_job() -> None:
    """Plugins hear of each thing that happens, once and in order."""
    clock, witness = VirtualClock(), Witness()
    app = an_app(clock=clock, plugins=[witness])
    outcomes = iter([ValueError("first"), Snooze(1), "fine"])

    @app.task(backoff=Fixed(1), keep=10)
    def eventful() -> Any:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    eventful.enqueue()
    for _ in range(3):
        step(app)
        clock.advance(1)
    clock.advance(10)
    step(app)

    assert witness.saw == [
        *("enqueued", "claimed", "retrying"),
        *("claimed", "scheduled"),
        *("claimed", "completed", "expired"),
    ]


def test_hooks_tell_of_bad_ends() -> None:
    """Failing for good and cancelling are told as such."""
    witness = Witness()
    app = an_app(plugins=[witness])

    @app.task
    def hopeless() -> Fail:
        return Fail()

    @app.task
    def unwanted() -> Cancel:
        return Cancel()

    hopeless.enqueue()
    step(app)
    unwanted.enqueue()
    step(app)

    assert witness.saw == ["enqueued", "claimed", "failed", "enqueued", "claimed", "cancelled"]


def test_priority_goes_first() -> None:
    """Of the jobs of a queue the highest priority runs first, and equal ones in the order they came."""
    app = an_app(concurrency=1)
    ran: list[str] = []

    @app.task
    def note(name: str) -> None:
        ran.append(name)

    for name, priority in [("b1", 0), ("c", -5), ("a", 5), ("b2", 0)]:
        note.using(priority=priority).enqueue(name)
    step(app, times=4)

    assert ran == ["a", "b1", "b2", "c"]


def test_queues_are_served_in_strict_order() -> None:
    """A worker takes nothing from a queue while one named before it has a job."""
    app = an_app(concurrency=1)
    ran: list[str] = []

    @app.task
    def note(name: str) -> None:
        ran.append(name)

    for queue in ["second", "first", "second", "first"]:
        note.using(queue=queue, priority=100 if queue == "second" else 0).enqueue(queue)
    step(app, times=4, queues=["first", "second"])

    assert ran == ["first", "first", "second", "second"]


@pytest.mark.parametrize(
    "odd", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), BaseException("own")]
)
@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_what_is_no_exception_fails_the_attempt_all_the_same(odd: BaseException, kind: str) -> None:
    """A handler that exits, is interrupted, or raises a class of its own has failed; the job is not lost."""
    app = an_app()

    def leave() -> None:
        raise odd

    async def leave_loop() -> None:
        raise odd

    job = app.task(retries=0)(leave if kind == "thread" else leave_loop).enqueue()
    step(app)

    assert job.refresh().state is State.FAILED
    in_coroutine = "RuntimeError" if isinstance(odd, StopIteration) else type(odd).__name__
    assert job.errors[0].type == (in_coroutine if kind == "loop" else type(odd).__name__)


def test_a_handler_that_cancels_itself_has_failed() -> None:
    """CancelledError out of a handler that nobody asked to stop is a failure like any other."""
    import asyncio

    app = an_app()

    @app.task(retries=0)
    async def confused() -> None:
        raise asyncio.CancelledError

    job = confused.enqueue()
    step(app)

    assert job.refresh().state is State.FAILED
    assert job.errors[0].type == "CancelledError"


def _insert(app: Stanchion, item: Item) -> None:
    app.engine.call(app.engine.insert([item]))
