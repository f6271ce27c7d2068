"""Plugins: each hook is called, each plugin on its own, and none can lose a job."""

import asyncio
import logging
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta

import pytest

from stanchion import hookimpl
from stanchion.context import RunningJob
from stanchion.errors import ConfigError, StanchionError
from stanchion.model.policies import Policy
from stanchion.model.states import State
from stanchion.plugins import hookspecs
from stanchion.plugins.manager import Plugins
from support.factories import a_record, an_item

ARGUMENTS = {
    "job_enqueued": {"job": an_item()},
    "job_claimed": {"job": a_record(), "worker": "worker-1"},
    "job_completed": {"job": a_record(), "elapsed": timedelta(seconds=1)},
    "job_failed": {"job": a_record(), "elapsed": timedelta(seconds=1)},
    "job_retrying": {"job": a_record(), "elapsed": timedelta(seconds=1)},
    "job_timed_out": {"job": a_record(), "elapsed": timedelta(seconds=1)},
    "job_lost": {"job": a_record()},
    "job_released": {"job": a_record()},
    "job_cancelled": {"job": a_record()},
    "job_expired": {"job": a_record()},
    "worker_started": {"worker": "worker-1"},
    "worker_stopped": {"worker": "worker-1"},
    "swept": {"count": 3},
    "tick": {},
}


def a_plugin(hook, function):
    """A plugin with one hook."""
    module = types.ModuleType("one_hook")
    setattr(module, hook, hookimpl(function))
    return module


def a_job():
    return RunningJob(a_record(State.RUNNING), Policy())


class Counter:
    """Counts claims."""

    def __init__(self):
        self.count = 0

    @hookimpl
    def job_claimed(self):
        self.count += 1


class Broken:
    """Raises at each claim."""

    @hookimpl
    def job_claimed(self, job):
        raise ValueError(f"no {job.id}")


class Wrapper:
    """Writes down when a handler is entered and left."""

    def __init__(self, name, saw):
        self.name, self.saw = name, saw

    @hookimpl
    def around_job(self, job):
        return self.around()

    @contextmanager
    def around(self) -> Iterator[None]:
        self.saw.append(f"{self.name} enters")
        try:
            yield
        except ValueError:
            self.saw.append(f"{self.name} sees the error")
            raise
        finally:
            self.saw.append(f"{self.name} leaves")


def test_every_hook_is_tried_below():
    """All but the deciding one, which has tests of its own."""
    specified = {name for name, value in vars(hookspecs).items() if hasattr(value, "stanchion_spec")}

    assert specified == {*ARGUMENTS, "around_job"}


def listeners(heard):
    """For each hook a function that asks for all there is, and writes it down."""
    return {
        "job_enqueued": lambda job: heard.append({"job": job}),
        "job_claimed": lambda job, worker: heard.append({"job": job, "worker": worker}),
        "job_completed": lambda job, elapsed: heard.append({"job": job, "elapsed": elapsed}),
        "job_failed": lambda job, elapsed: heard.append({"job": job, "elapsed": elapsed}),
        "job_retrying": lambda job, elapsed: heard.append({"job": job, "elapsed": elapsed}),
        "job_timed_out": lambda job, elapsed: heard.append({"job": job, "elapsed": elapsed}),
        "job_lost": lambda job: heard.append({"job": job}),
        "job_released": lambda job: heard.append({"job": job}),
        "job_cancelled": lambda job: heard.append({"job": job}),
        "job_expired": lambda job: heard.append({"job": job}),
        "worker_started": lambda worker: heard.append({"worker": worker}),
        "worker_stopped": lambda worker: heard.append({"worker": worker}),
        "swept": lambda count: heard.append({"count": count}),
        "tick": lambda: heard.append({}),
    }


@pytest.mark.parametrize("hook", ARGUMENTS)
def test_a_hook_is_called_with_what_it_asks_for(hook):
    """All arguments of its specification are there for the asking."""
    heard = []
    plugins = Plugins([a_plugin(hook, listeners(heard)[hook])])
    plugins.tell(hook, **ARGUMENTS[hook])

    assert heard == [ARGUMENTS[hook]]


@pytest.mark.parametrize("hook", ARGUMENTS)
def test_a_hook_may_ask_for_less(hook):
    """Pluggy passes what is named, and nothing else."""
    heard = []
    plugins = Plugins([a_plugin(hook, lambda: heard.append(hook))])
    plugins.tell(hook, **ARGUMENTS[hook])

    assert heard == [hook]


def test_nobody_listens_unless_somebody_does():
    """So that hooks cost nothing then."""
    plugins = Plugins([Counter()])

    assert plugins.listening("job_claimed")
    assert not plugins.listening("job_failed")


def test_a_plugin_that_raises_is_logged_and_counted_and_the_others_are_called(caplog):
    """It is named, and the error is shown."""
    before, after = Counter(), Counter()
    plugins = Plugins([before, Broken(), after])
    with caplog.at_level(logging.ERROR, "stanchion.plugins"):
        plugins.tell("job_claimed", **ARGUMENTS["job_claimed"])

    assert (before.count, after.count, plugins.failures) == (1, 1, {"Broken": 1})
    assert caplog.messages == ["plugin Broken raised in hook job_claimed"]
    assert "ValueError: no mail:1" in caplog.text


NO_EXCEPTIONS = [SystemExit, GeneratorExit, asyncio.CancelledError, BaseException, KeyboardInterrupt]


def raising(error):
    def hook():
        raise error

    return hook


def told(plugins):
    plugins.tell("job_claimed", **ARGUMENTS["job_claimed"])


async def told_on_a_loop(plugins):
    told(plugins)


def told_in_a_thread(plugins):
    with ThreadPoolExecutor() as threads:
        threads.submit(told, plugins).result()


@pytest.mark.parametrize("error", NO_EXCEPTIONS)
@pytest.mark.parametrize(
    "tell",
    [lambda plugins: asyncio.run(told_on_a_loop(plugins)), told_in_a_thread],
    ids=["on a loop", "in a thread"],
)
def test_nothing_that_a_hook_raises_reaches_a_worker(tell, error):
    """Its keeper and its delivery of outcomes would end by it."""
    after = Counter()
    plugins = Plugins([a_plugin("job_claimed", raising(error)), after])
    tell(plugins)

    assert (after.count, plugins.failures) == (1, {"one_hook": 1})


@pytest.mark.parametrize("error", NO_EXCEPTIONS[:-1])
def test_nothing_that_a_hook_raises_reaches_who_enqueues(error):
    """What is called for is not the hook."""
    after = Counter()
    plugins = Plugins([a_plugin("job_claimed", raising(error)), after])
    told(plugins)

    assert (after.count, plugins.failures) == (1, {"one_hook": 1})


def test_a_ctrl_c_during_a_hook_reaches_who_enqueues():
    """It is the user's, and asks the program to stop."""
    plugins = Plugins([a_plugin("job_claimed", raising(KeyboardInterrupt))])

    with pytest.raises(KeyboardInterrupt):
        told(plugins)


def test_failures_are_counted_from_any_thread():
    """None is lost."""
    plugins = Plugins([Broken()])
    logging.getLogger("stanchion.plugins").disabled = True
    threads = [
        threading.Thread(
            target=lambda: [plugins.tell("job_claimed", **ARGUMENTS["job_claimed"]) for _ in range(200)]
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logging.getLogger("stanchion.plugins").disabled = False

    assert plugins.failures == {"Broken": 800}


# Around a handler


def wrapped(plugins, handler):
    """Call a handler as a worker does."""
    with ExitStack() as stack:
        for manager in plugins.around(a_job()):
            stack.enter_context(manager)
        handler()


def failing():
    raise ValueError("no such user")


def test_the_first_plugin_is_the_outermost():
    """Middleware nests in the order it is listed."""
    saw = []
    plugins = Plugins([Wrapper("first", saw), Wrapper("second", saw)])
    wrapped(plugins, lambda: saw.append("the handler runs"))

    assert saw == [
        "first enters",
        "second enters",
        "the handler runs",
        "second leaves",
        "first leaves",
    ]


def test_middleware_sees_the_handler_s_exception():
    """From the inside out."""
    saw = []
    plugins = Plugins([Wrapper("first", saw), Wrapper("second", saw)])
    with pytest.raises(ValueError, match="no such user"):
        wrapped(plugins, failing)

    assert saw[2:] == ["second sees the error", "second leaves", "first sees the error", "first leaves"]


def test_middleware_may_let_a_job_pass():
    """By answering none."""
    plugins = Plugins([a_plugin("around_job", lambda: None)])

    assert plugins.around(a_job()) == []


def test_what_middleware_raises_is_not_hidden():
    """It decides, so its errors fail the attempt."""
    plugins = Plugins([a_plugin("around_job", lambda job: 1 / 0)])

    with pytest.raises(ZeroDivisionError):
        plugins.around(a_job())


@pytest.mark.parametrize("error", NO_EXCEPTIONS)
@pytest.mark.parametrize("when", ["called", "entered", "left"])
def test_middleware_cannot_cancel_a_handler(when, error):
    """What it raises fails the attempt; `CancelledError` would look as if the worker had stopped the handler."""

    class Manager(AbstractContextManager):
        def __enter__(self):
            if when == "entered":
                raise error

        def __exit__(self, *_):
            if when == "left":
                raise error

    def around_job():
        if when == "called":
            raise error
        return Manager()

    with pytest.raises(StanchionError, match=f"^plugin one_hook raised {error.__name__} in hook around_job$"):
        wrapped(Plugins([a_plugin("around_job", around_job)]), lambda: None)


@pytest.mark.parametrize("error", NO_EXCEPTIONS[1:])
def test_middleware_passes_on_what_the_handler_is_cancelled_by(error):
    """The same exception, so that the worker knows it again."""
    raised = error()
    plugins = Plugins([Wrapper("first", []), a_plugin("around_job", lambda: suppress(ValueError))])

    def handler():
        raise raised

    with pytest.raises(error) as caught:
        wrapped(plugins, handler)
    assert caught.value is raised


def test_middleware_may_swallow_what_the_handler_raises():
    """As any context manager may."""
    wrapped(Plugins([a_plugin("around_job", lambda: suppress(ValueError))]), failing)


def test_middleware_is_a_context_manager():
    """The error names the plugin that returned something else."""
    plugins = Plugins([a_plugin("around_job", lambda: 5)])

    with pytest.raises(TypeError, match="^plugin one_hook: around_job must return a context manager, not 5$"):
        plugins.around(a_job())


# What can be a plugin


def test_a_plugin_is_an_object_a_class_or_a_module():
    """A class is called without arguments."""
    module = types.ModuleType("counting")
    module.heard = []
    module.job_claimed = hookimpl(lambda: module.heard.append(1))
    counter = Counter()
    plugins = Plugins([counter, Counter, module])
    plugins.tell("job_claimed", **ARGUMENTS["job_claimed"])

    assert (counter.count, module.heard) == (1, [1])


def test_a_plugin_is_found_by_its_entry_point():
    """And can be asked for by the same name."""
    plugins = Plugins(["stats"])

    assert type(plugins.get("stats")).__name__ == "Stats"


def test_a_plugin_that_is_not_listed_is_not_there():
    """Though it is installed."""
    with pytest.raises(ConfigError, match=r"^plugin 'stats' is not listed"):
        Plugins().get("stats")


class NeedsMore:
    def __init__(self, more):
        self.more = more


class Unhashable(Counter):
    __hash__ = None


COUNTER = Counter()


@pytest.mark.parametrize(
    ("plugins", "why"),
    [
        (["nowhere"], "^no plugin is named 'nowhere'; installed are: .*stats"),
        ([COUNTER, COUNTER], "^plugin .* cannot be used: Plugin .*already registered"),
        ([a_plugin("job_claimd", lambda job: None)], "^plugin .* cannot be used: unknown hook 'job_claimd'"),
        ([a_plugin("job_claimed", lambda jobb: None)], "^plugin .* cannot be used: .*jobb"),
        ([NeedsMore], "^plugin .* cannot be used: .*'more'"),
        ([Unhashable()], "^plugin .* cannot be used: unhashable type"),
        ([object()], "^plugin .* has no hooks; they are marked with @stanchion.hookimpl$"),
    ],
)
def test_what_cannot_be_a_plugin_is_refused(plugins, why):
    """When the application is made, and with the reason."""
    with pytest.raises(ConfigError, match=f"(?s){why}"):
        Plugins(plugins)
