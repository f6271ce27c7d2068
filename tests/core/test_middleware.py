"""Middleware: what stands around a handler, plain or async, what it sees, and what it cannot break."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from contextvars import ContextVar

import pytest

from stanchion import Cancel, Fail, Retry, Snooze, Stanchion, State, current_job, hookimpl
from stanchion.context import Raised, Returned, RunningJob
from stanchion.errors import ConfigError, StanchionError
from stanchion.model.policies import Policy
from stanchion.plugins import middleware
from stanchion.plugins.manager import Plugins
from stanchion_testing.kit import Kit
from support.factories import a_record
from support.waiting import aeventually
from support.workers import an_app, is_in, step, working

NO_EXCEPTIONS = [SystemExit, GeneratorExit, asyncio.CancelledError, BaseException, KeyboardInterrupt]


def a_job():
    return RunningJob(a_record(State.RUNNING), Policy())


def around(function):
    """A plugin whose hook is this function."""

    class Plugin:
        around_job = staticmethod(hookimpl(function))

    return Plugin()


def called(plugins, handler, job=None):
    """Call a sync handler as a worker does."""
    return middleware.call(Plugins(plugins), job or a_job(), handler)


def awaited(plugins, handler, job=None):
    """Call an async handler as a worker does."""

    async def async_handler():
        return handler()

    async def main():
        return await middleware.acall(Plugins(plugins), job or a_job(), async_handler)

    return asyncio.run(main())


def failing():
    raise ValueError("no such user")


class Wrapper:
    """Writes down when a handler is entered and left, and what came of it."""

    def __init__(self, name, saw):
        self.name, self.saw = name, saw

    @hookimpl
    @contextmanager
    def around_job(self, job) -> Iterator[None]:
        self.saw.append(f"{self.name} enters")
        try:
            yield
        finally:
            self.saw.append((self.name, job.outcome))


class AsyncWrapper(Wrapper):
    """The same, async."""

    @hookimpl
    @asynccontextmanager
    async def around_job(self, job) -> AsyncIterator[None]:
        self.saw.append(f"{self.name} enters")
        try:
            yield
        finally:
            self.saw.append((self.name, job.outcome))


@contextmanager
def swallowing(job):
    with suppress(ValueError):
        yield


@contextmanager
def replacing(job):
    try:
        yield
    except ValueError as error:
        raise LookupError("replaced") from error


# The order


@pytest.mark.parametrize(
    ("call", "kinds"),
    [
        (called, (Wrapper, Wrapper)),
        (awaited, (Wrapper, Wrapper)),
        (awaited, (AsyncWrapper, AsyncWrapper)),
        (awaited, (Wrapper, AsyncWrapper)),
        (awaited, (AsyncWrapper, Wrapper)),
    ],
)
def test_the_first_plugin_is_the_outermost(call, kinds):
    """Middleware nests in the order it is listed, plain and async alike."""
    saw = []
    plugins = [kind(name, saw) for kind, name in zip(kinds, ("first", "second"), strict=True)]
    answer = call(plugins, lambda: saw.append("the handler runs") or 42)

    assert answer == 42
    assert saw == [
        "first enters",
        "second enters",
        "the handler runs",
        ("second", Returned(42)),
        ("first", Returned(42)),
    ]


def test_a_plugin_may_go_first_or_last():
    """Wherever it is listed."""
    saw = []

    class Last(Wrapper):
        @hookimpl(trylast=True)
        def around_job(self, job):
            return super().around_job(job)

    class First(Wrapper):
        @hookimpl(tryfirst=True)
        def around_job(self, job):
            return super().around_job(job)

    called([Last("last", saw), Wrapper("listed", saw), First("first", saw)], lambda: None)

    assert saw[:3] == ["first enters", "listed enters", "last enters"]


# What it sees


@pytest.mark.parametrize("outcome", [5, None, Retry(60), Snooze(60), Cancel("not wanted"), Fail("never")])
@pytest.mark.parametrize(("call", "kind"), [(called, Wrapper), (awaited, Wrapper), (awaited, AsyncWrapper)])
def test_middleware_sees_what_the_handler_returned(call, kind, outcome):
    """A result, or its word on the job."""
    saw = []
    call([kind("it", saw)], lambda: outcome)

    assert saw[-1] == ("it", Returned(outcome))


@pytest.mark.parametrize(("call", "kind"), [(called, Wrapper), (awaited, Wrapper), (awaited, AsyncWrapper)])
def test_middleware_sees_what_the_handler_raised(call, kind):
    """From the inside out, and the exception passes through each."""
    saw = []
    with pytest.raises(ValueError, match="no such user") as caught:
        call([kind("first", saw), kind("second", saw)], failing)

    assert saw[2:] == [("second", Raised(caught.value)), ("first", Raised(caught.value))]


@pytest.mark.parametrize("call", [called, awaited])
def test_middleware_sees_what_middleware_inside_of_it_let_pass(call):
    """An exception that was swallowed is gone; one that was replaced is the other."""
    saw = []
    call([Wrapper("outside", saw), around(swallowing)], failing)
    with pytest.raises(LookupError) as caught:
        call([Wrapper("outside", saw), around(replacing)], failing)

    assert saw[1::2] == [("outside", Returned(None)), ("outside", Raised(caught.value))]


def test_there_is_no_outcome_before_the_handler_has_ended():
    """Nobody knows it yet."""
    job = a_job()
    before = []
    called(
        [around(contextmanager(lambda job: (yield before.append(job.outcome))))],
        lambda: before.append(job.outcome),
        job,
    )

    assert before == [None, None]


def test_what_is_set_on_entering_is_there_in_an_async_handler():
    """It is entered in the handler's own task, so that context variables are shared."""
    tenant = ContextVar("tenant")

    @asynccontextmanager
    async def as_tenant(job):
        tenant.set("seven")
        yield

    assert awaited([around(as_tenant)], tenant.get) == "seven"


def test_an_object_that_is_both_is_async_around_async_handlers_only():
    """One plugin can serve both kinds of handlers."""
    saw = []

    class Both(AbstractContextManager, AbstractAsyncContextManager):
        def __exit__(self, *_):
            saw.append("plain")

        async def __aexit__(self, *_):
            saw.append("async")

    called([around(lambda job: Both())], lambda: None)
    awaited([around(lambda job: Both())], lambda: None)

    assert saw == ["plain", "async"]


# What it may do


@pytest.mark.parametrize("call", [called, awaited])
def test_middleware_may_let_a_job_pass(call):
    """By answering none."""
    assert call([around(lambda: None)], lambda: 5) == 5


@pytest.mark.parametrize("call", [called, awaited])
def test_middleware_may_swallow_what_the_handler_raises(call):
    """As any context manager may; the job then has no result."""
    assert call([around(swallowing)], failing) is None


@pytest.mark.parametrize("call", [called, awaited])
def test_what_middleware_raises_is_not_hidden(call):
    """It decides, so its errors fail the attempt."""
    with pytest.raises(ZeroDivisionError):
        call([around(lambda job: 1 / 0)], lambda: None)


# What it cannot break


def a_manager(when, error):
    class Manager(AbstractContextManager):
        def __enter__(self):
            if when == "entered":
                raise error

        def __exit__(self, *_):
            if when == "left":
                raise error

    return Manager()


def an_async_manager(when, error):
    @asynccontextmanager
    async def manager():
        if when == "entered":
            raise error
        yield
        if when == "left":
            raise error

    return manager()


@pytest.mark.parametrize("error", NO_EXCEPTIONS)
@pytest.mark.parametrize("when", ["called", "entered", "left"])
@pytest.mark.parametrize(
    ("call", "manager"), [(called, a_manager), (awaited, a_manager), (awaited, an_async_manager)]
)
def test_middleware_cannot_cancel_a_handler(call, manager, when, error):
    """What it raises fails the attempt; `CancelledError` would look as if the worker had stopped the handler."""

    def around_job():
        if when == "called":
            raise error
        return manager(when, error)

    with pytest.raises(StanchionError, match=f"^plugin Plugin raised {error.__name__} in hook around_job$"):
        call([around(around_job)], lambda: None)


@pytest.mark.parametrize("error", [GeneratorExit, asyncio.CancelledError, BaseException])
@pytest.mark.parametrize(("call", "kind"), [(called, Wrapper), (awaited, Wrapper), (awaited, AsyncWrapper)])
def test_middleware_passes_on_what_the_handler_is_cancelled_by(call, kind, error):
    """The same exception, so that the worker knows it again."""
    raised = error()

    def handler():
        raise raised

    with pytest.raises(error) as caught:
        call([kind("first", []), around(lambda: suppress(ValueError))], handler)
    assert caught.value is raised


@pytest.mark.parametrize("where", ["entering", "leaving"])
def test_a_worker_can_cancel_async_middleware(where):
    """What comes from outside while it waits is no error of the plugin's."""

    @asynccontextmanager
    async def waiting(job):
        if where == "entering":
            await asyncio.Event().wait()
        yield
        await asyncio.Event().wait()

    async def main():
        async def handler(): ...

        task = asyncio.create_task(middleware.acall(Plugins([around(waiting)]), a_job(), handler))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


@pytest.mark.parametrize("call", [called, awaited])
def test_middleware_is_a_context_manager(call):
    """The error names the plugin that returned something else."""
    with pytest.raises(TypeError, match="^plugin Plugin: around_job must return a context manager, not 5$"):
        call([around(lambda: 5)], lambda: None)


# Async middleware and sync handlers


def test_async_middleware_is_refused_around_a_sync_handler():
    """Nothing could await it; the error names plugin and task, and says what would be right."""
    with pytest.raises(
        ConfigError,
        match="^plugin Plugin: around_job returned an async context manager for the sync handler of task welcome; "
        "make the handler async, or let the hook return a plain context manager where job.is_async is False$",
    ):
        called([around(lambda job: asynccontextmanager(lambda: None)())], lambda: None)


def test_a_sync_handler_is_refused_where_middleware_is_seen_to_be_async():
    """When it is registered, before any job could fail by it."""
    app = Stanchion("memory://", plugins=[AsyncWrapper("tracing", [])])

    with pytest.raises(
        ConfigError,
        match="^cannot register task handler: its handler is sync, and around_job of plugin AsyncWrapper is async",
    ):

        @app.task
        def handler() -> None: ...

    assert not app.tasks


def test_so_it_is_where_plugins_are_overridden():
    """The tasks are there already."""
    app = Stanchion("memory://", plugins=())
    app.task(name="handler")(lambda: None)

    with pytest.raises(ConfigError, match="plugin AsyncWrapper is async"):  # noqa: SIM117 - it is not entered
        with app.override(plugins=[AsyncWrapper("tracing", [])]):
            raise AssertionError("it is not entered")


def test_middleware_may_serve_both_kinds_of_handlers():
    """It asks the job which kind it is."""
    saw = []

    class Tracing:
        @hookimpl
        def around_job(self, job):
            return self.on_loop() if job.is_async else self.in_thread()

        @asynccontextmanager
        async def on_loop(self):
            saw.append("async")
            yield

        @contextmanager
        def in_thread(self):
            saw.append("plain")
            yield

    app = an_app(plugins=[Tracing()])

    @app.task
    def in_thread() -> None: ...

    @app.task
    async def on_loop() -> None: ...

    jobs = [in_thread.enqueue(), on_loop.enqueue()]
    step(app)

    assert {job.refresh().state for job in jobs} == {State.COMPLETED}
    assert sorted(saw) == ["async", "plain"]


# With a worker


def test_async_middleware_goes_around_an_async_handler():
    """On the loop of the worker, and current_job() is known in it."""
    saw = []

    class Session:
        @hookimpl
        @asynccontextmanager
        async def around_job(self, job):
            assert current_job() is job
            await asyncio.sleep(0)
            saw.append("begins")
            yield
            await asyncio.sleep(0)
            saw.append(job.outcome)

    app = an_app(plugins=[Session()])

    @app.task
    async def later() -> Snooze:
        saw.append("runs")
        return Snooze(3600)

    job = later.enqueue()
    step(app)

    assert saw == ["begins", "runs", Returned(Snooze(3600))]
    assert job.refresh().state is State.SCHEDULED


def test_a_handler_that_is_cancelled_is_seen_to_be():
    """By its exception, and by why it was asked to stop."""
    saw = []

    class Noticing:
        @hookimpl
        @asynccontextmanager
        async def around_job(self, job):
            try:
                yield
            finally:
                await asyncio.sleep(0)  # it may take its time to clean up
                saw.append((type(job.outcome.error), job.stop_reason))

    app = an_app(plugins=[Noticing()])

    @app.task
    async def endless() -> None:
        await asyncio.Event().wait()

    async def main():
        job = await endless.aenqueue()
        async with working(app):
            await aeventually(lambda: is_in(job, State.RUNNING))
            await job.acancel()
            await aeventually(lambda: is_in(job, State.CANCELLED))

    asyncio.run(main())

    assert saw == [(asyncio.CancelledError, "cancel")]


def test_async_middleware_that_fails_fails_the_attempt_only():
    """The job is tried again."""

    class Broken:
        @hookimpl
        @asynccontextmanager
        async def around_job(self, job):
            if job.attempt == 1:
                raise SystemExit
            yield

    app = Stanchion("memory://", plugins=[Broken()])

    @app.task(retries=1)
    async def work() -> int:
        return 5

    with Kit(app) as kit:
        job = work.enqueue()
        kit.drain(raises=False, within=3600)

        assert job.result() == 5
        assert job.errors[0].message == "plugin Broken raised SystemExit in hook around_job"
