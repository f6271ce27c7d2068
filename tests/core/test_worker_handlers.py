"""What a handler finds around it: its job, its thread or loop, its context, and middleware."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import pytest

from stanchion import Fixed, RunningJob, StanchionError, State, current_job, hookimpl
from stanchion_testing.clock import VirtualClock
from support.workers import an_app, step


def test_sync_handlers_run_in_threads_and_async_ones_on_the_loop() -> None:
    """A sync handler does not stand in the way of the loop."""
    app = an_app()
    threads: dict[str, threading.Thread] = {}

    @app.task
    def in_thread() -> None:
        threads["sync"] = threading.current_thread()

    @app.task
    async def on_loop() -> None:
        threads["async"] = threading.current_thread()

    in_thread.enqueue()
    on_loop.enqueue()
    step(app)

    assert threads["async"] is threading.main_thread()
    assert threads["sync"].name.startswith("stanchion-handler")


def test_a_handler_knows_its_job() -> None:
    """Id, task, number of the attempt and of the run are there, in threads and on the loop."""
    clock = VirtualClock()
    app = an_app(clock=clock)
    seen: list[tuple[str, str, int, int]] = []

    def look() -> None:
        job = current_job()
        seen.append((job.id, job.task, job.attempt, job.run))

    @app.task(retries=1, backoff=Fixed(1))
    def in_thread() -> None:
        look()
        raise OSError

    @app.task
    async def on_loop() -> None:
        look()

    in_thread.using(key="t").enqueue()
    step(app)
    clock.advance(1)
    step(app)
    on_loop.using(key="l").enqueue()
    step(app)

    assert seen == [
        ("default:t", "in_thread", 1, 1),
        ("default:t", "in_thread", 2, 2),
        ("default:l", "on_loop", 1, 1),
    ]


def test_outside_of_handlers_there_is_no_current_job() -> None:
    """Asking for it elsewhere is an error, not none."""
    with pytest.raises(StanchionError, match="inside a handler"):
        current_job()


def test_what_a_handler_wrote_goes_with_its_outcome() -> None:
    """Progress and log lines of a run that ends before the keeper looked are kept."""
    app = an_app()

    @app.task
    def talkative() -> None:
        current_job().progress(0.5, "half")
        current_job().log("one")
        current_job().log("two")
        current_job().progress(1)

    job = talkative.enqueue()
    step(app)

    assert job.refresh().progress is not None
    assert (job.progress.done, job.progress.message) == (1, "")
    assert job.log == ["one", "two"]


def test_saved_data_reaches_the_next_attempt() -> None:
    """What a failed attempt saved, the next one finds, restored by its type."""
    clock = VirtualClock()
    app = an_app(clock=clock)
    found: list[object] = []

    @app.task(retries=2, backoff=Fixed(1))
    async def resumable() -> None:
        job = current_job()
        found.append(job.saved(tuple[int, str]))
        job.save((job.attempt, "page"))
        assert job.saved(tuple[int, str]) == (job.attempt, "page")
        raise OSError

    resumable.enqueue()
    for _ in range(3):
        step(app)
        clock.advance(1)

    assert found == [None, (1, "page"), (2, "page")]


def test_context_variables_do_not_leak_between_jobs() -> None:
    """What one handler sets in its context, no other sees, nor does the worker."""
    app = an_app()
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[str] = []

    def look_and_set() -> None:
        seen.append(variable.get())
        variable.set("set")

    @app.task
    def in_thread() -> None:
        look_and_set()

    @app.task
    async def on_loop() -> None:
        look_and_set()

    for _ in range(2):
        in_thread.enqueue()
        on_loop.enqueue()
    step(app)

    assert seen == ["unset"] * 4
    assert variable.get() == "unset"


class Middleware:
    """A plugin that writes down what it saw around a handler."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self._name, self._seen = name, seen

    @hookimpl
    def around_job(self, job: RunningJob) -> object:
        return self._around(job)

    @contextmanager
    def _around(self, job: RunningJob) -> Iterator[None]:
        assert current_job() is job
        self._seen.append(f"{self._name} enters")
        try:
            yield
        except Exception as error:
            self._seen.append(f"{self._name} sees {error}")
            raise
        else:
            self._seen.append(f"{self._name} leaves")


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_middleware_goes_around_the_handler(kind: str) -> None:
    """The plugin listed first is the outermost, around handlers in threads and on the loop alike."""
    seen: list[str] = []
    app = an_app(plugins=[Middleware("outer", seen), Middleware("inner", seen)])

    def handler() -> None:
        seen.append("handler")

    async def async_handler() -> None:
        seen.append("handler")

    app.task(handler if kind == "thread" else async_handler).enqueue()
    step(app)

    assert seen == ["outer enters", "inner enters", "handler", "inner leaves", "outer leaves"]


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_middleware_sees_what_the_handler_raises(kind: str) -> None:
    """An exception passes through every context manager on its way out."""
    seen: list[str] = []
    app = an_app(plugins=[Middleware("outer", seen), Middleware("inner", seen)])

    def handler() -> None:
        raise ValueError("broken")

    async def async_handler() -> None:
        raise ValueError("broken")

    job = app.task(retries=0)(handler if kind == "thread" else async_handler).enqueue()
    step(app)

    assert seen == ["outer enters", "inner enters", "inner sees broken", "outer sees broken"]
    assert job.refresh().state is State.FAILED


def test_middleware_that_raises_fails_the_attempt() -> None:
    """What a context manager raises counts as if the handler had raised it, and the handler is not called."""
    called: list[bool] = []

    class Refusing:
        @hookimpl
        def around_job(self, job: RunningJob) -> object:
            raise PermissionError("not today")

    app = an_app(plugins=[Refusing()])

    @app.task(retries=0)
    def handler() -> None:
        called.append(True)

    job = handler.enqueue()
    step(app)

    assert job.refresh().state is State.FAILED
    assert job.errors[0].message == "not today"
    assert not called


def test_async_handlers_of_one_claim_run_side_by_side() -> None:
    """Jobs that wait for each other end, so they were running at the same time."""
    app = an_app()
    barrier = asyncio.Barrier(3)

    @app.task
    async def meet() -> None:
        await barrier.wait()

    jobs = [meet.enqueue() for _ in range(3)]
    step(app)

    assert {job.refresh().state for job in jobs} == {State.COMPLETED}


def test_sync_handlers_of_one_claim_run_side_by_side() -> None:
    """The same for threads."""
    app = an_app()
    barrier = threading.Barrier(3, timeout=10)

    @app.task(retries=0)
    def meet() -> None:
        barrier.wait()

    jobs = [meet.enqueue() for _ in range(3)]
    step(app)

    assert {job.refresh().state for job in jobs} == {State.COMPLETED}
