"""Plugins: each hook is called, each plugin on its own, and none can lose a job."""

import asyncio
import logging
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from stanchion import hookimpl, hookspec
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.plugins import hookspecs
from stanchion.plugins.manager import Plugins
from support.factories import a_transition

ARGUMENTS = {
    "job_changed": {"transition": a_transition()},
    "worker_started": {"worker": "worker-1"},
    "worker_stopped": {"worker": "worker-1"},
    "swept": {"count": 3},
    "tick": {},
}


def a_plugin(hook, function, name="one_hook"):
    """A plugin with one hook."""
    module = types.ModuleType(name)
    setattr(module, hook, hookimpl(function))
    return module


class Counter:
    """Counts changes."""

    def __init__(self):
        self.count = 0

    @hookimpl
    def job_changed(self):
        self.count += 1


class Broken:
    """Raises at each change."""

    @hookimpl
    def job_changed(self, transition):
        raise ValueError(f"no {transition.job.id}")


def test_every_hook_is_tried_below():
    """All but those that decide, which have tests of their own."""
    specified = {name for name, value in vars(hookspecs).items() if hasattr(value, "stanchion_spec")}

    assert specified == {*ARGUMENTS, "around_job", "before_enqueue", "add_hookspecs"}


def listeners(heard):
    """For each hook a function that asks for all there is, and writes it down."""
    return {
        "job_changed": lambda transition: heard.append({"transition": transition}),
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
    plugins.notify(hook, **ARGUMENTS[hook])

    assert heard == [ARGUMENTS[hook]]


@pytest.mark.parametrize("hook", ARGUMENTS)
def test_a_hook_may_ask_for_less(hook):
    """Pluggy passes what is named, and nothing else."""
    heard = []
    plugins = Plugins([a_plugin(hook, lambda: heard.append(hook))])
    plugins.notify(hook, **ARGUMENTS[hook])

    assert heard == [hook]


def test_nobody_listens_unless_somebody_does():
    """So that hooks cost nothing then."""
    plugins = Plugins([Counter()])

    assert plugins.listening("job_changed")
    assert not plugins.listening("tick")


def test_a_plugin_that_raises_is_logged_and_counted_and_the_others_are_called(caplog):
    """It is named, and the error is shown."""
    before, after = Counter(), Counter()
    plugins = Plugins([before, Broken(), after])
    with caplog.at_level(logging.ERROR, "stanchion.plugins"):
        plugins.notify("job_changed", **ARGUMENTS["job_changed"])

    assert (before.count, after.count, plugins.failures) == (1, 1, {"Broken": 1})
    assert caplog.messages == ["plugin Broken raised in hook job_changed"]
    assert "ValueError: no mail:1" in caplog.text


NO_EXCEPTIONS = [SystemExit, GeneratorExit, asyncio.CancelledError, BaseException, KeyboardInterrupt]


def raising(error):
    def hook():
        raise error

    return hook


def told(plugins):
    plugins.notify("job_changed", **ARGUMENTS["job_changed"])


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
    plugins = Plugins([a_plugin("job_changed", raising(error)), after])
    tell(plugins)

    assert (after.count, plugins.failures) == (1, {"one_hook": 1})


@pytest.mark.parametrize("error", NO_EXCEPTIONS[:-1])
def test_nothing_that_a_hook_raises_reaches_who_enqueues(error):
    """What is called for is not the hook."""
    after = Counter()
    plugins = Plugins([a_plugin("job_changed", raising(error)), after])
    told(plugins)

    assert (after.count, plugins.failures) == (1, {"one_hook": 1})


def test_a_ctrl_c_during_a_hook_reaches_who_enqueues():
    """It is the user's, and asks the program to stop."""
    plugins = Plugins([a_plugin("job_changed", raising(KeyboardInterrupt))])

    with pytest.raises(KeyboardInterrupt):
        told(plugins)


def test_failures_are_counted_from_any_thread():
    """None is lost."""
    plugins = Plugins([Broken()])
    logging.getLogger("stanchion.plugins").disabled = True
    threads = [
        threading.Thread(
            target=lambda: [plugins.notify("job_changed", **ARGUMENTS["job_changed"]) for _ in range(200)]
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logging.getLogger("stanchion.plugins").disabled = False

    assert plugins.failures == {"Broken": 800}


# The order


def noting(order, name):
    """A hook that writes down its name."""
    return lambda: order.append(name)


@pytest.mark.parametrize("hook", ARGUMENTS)
def test_plugins_are_called_in_the_order_listed(hook):
    """Pluggy by itself begins with the last."""
    order = []
    plugins = Plugins([a_plugin(hook, noting(order, name), name) for name in ("first", "second", "third")])
    plugins.notify(hook, **ARGUMENTS[hook])

    assert order == ["first", "second", "third"]


def test_a_plugin_that_is_added_comes_last():
    """Behind those that the application was made with."""
    order = []
    plugins = Plugins([a_plugin("tick", noting(order, name), name) for name in ("first", "second")])
    plugins.notify("tick")
    plugins.register(a_plugin("tick", noting(order, "third"), "third"))
    plugins.notify("tick")

    assert order == ["first", "second", "first", "second", "third"]


def test_a_plugin_may_ask_to_go_first_or_last():
    """Of several that ask, the one that is listed first goes first."""
    order = []

    def asking(name, **options):
        module = types.ModuleType(name)
        module.tick = hookimpl(**options)(noting(order, name))
        return module

    plugins = Plugins(
        [
            asking("last 1", trylast=True),
            asking("last 2", trylast=True),
            asking("listed"),
            asking("first 1", tryfirst=True),
            asking("first 2", tryfirst=True),
        ]
    )
    plugins.notify("tick")

    assert order == ["first 1", "first 2", "listed", "last 1", "last 2"]


def test_a_plugin_may_implement_a_hook_twice():
    """Under another name; each of the functions is called once."""
    heard = []

    class Twice:
        @hookimpl
        def tick(self):
            heard.append("tick")

        @hookimpl(specname="tick")
        def also(self):
            heard.append("also")

    Plugins([Twice()]).notify("tick")

    assert sorted(heard) == ["also", "tick"]


# Hooks of a plugin's own


class AlertSpecs:
    """What the plugin below specifies."""

    @hookspec
    def alert(self, text, level):
        """Somebody should look."""

    @hookspec(firstresult=True)
    def contact(self, task):
        """Who is responsible for a task."""


class Alerts:
    """A plugin with hooks of its own, which it calls when a job was changed."""

    @hookimpl
    def add_hookspecs(self, plugins):
        plugins.add_hookspecs(AlertSpecs)
        self.plugins = plugins

    @hookimpl
    def job_changed(self, transition):
        self.plugins.notify("alert", text=f"{transition.job.id} is {transition.to_state}", level=2)


class Pager:
    """Another plugin, which implements them."""

    def __init__(self, name="pager"):
        self.name, self.heard = name, []

    @hookimpl
    def alert(self, text):
        self.heard.append(text)
        return f"{self.name} rings"

    @hookimpl
    def contact(self, task):
        return self.name if task == "welcome" else None


@pytest.mark.parametrize("listed_first", ["caller", "implementer"])
def test_a_plugin_may_specify_hooks_for_others(listed_first):
    """Whichever of the two is listed first."""
    pager, alerts = Pager(), Alerts()
    plugins = Plugins([alerts, pager] if listed_first == "caller" else [pager, alerts])
    plugins.notify("job_changed", **ARGUMENTS["job_changed"])

    assert pager.heard == ["mail:1 is running"]


def test_its_hooks_answer_in_the_order_listed():
    """With what is not none; of a hook that wants one result, the first."""
    plugins = Plugins([Pager("one"), Alerts(), Pager("two")])

    assert plugins.call("alert", text="look", level=1) == ["one rings", "two rings"]
    assert plugins.call("contact", task="welcome") == "one"
    assert plugins.call("contact", task="other") is None


def test_what_a_plugin_raises_reaches_the_plugin_that_calls():
    """With `call`; with `notify` it is logged and counted, as for any observer."""
    broken = a_plugin("alert", raising(LookupError))
    plugins = Plugins([Alerts(), broken])

    with pytest.raises(LookupError):
        plugins.call("alert", text="look", level=1)
    plugins.notify("alert", text="look", level=1)

    assert plugins.failures == {"one_hook": 1}


def test_hooks_are_called_as_they_are_specified():
    """An unknown one offers the nearest, and wrong arguments are named."""
    plugins = Plugins([Alerts()])

    with pytest.raises(InvalidArgument, match="^unknown hook 'alerts'; did you mean 'alert'\\?$"):
        plugins.call("alerts", text="look", level=1)
    with pytest.raises(
        InvalidArgument, match=r"^hook alert takes the arguments \(text, level\), not \(text, colour\)$"
    ):
        plugins.call("alert", text="look", colour="red")


class NoSpecs:
    """It specifies nothing."""


class JobSpecs:
    """It specifies what Stanchion specifies."""

    @hookspec
    def job_changed(self, transition): ...


@pytest.mark.parametrize(
    ("specs", "others", "why"),
    [
        (NoSpecs, [], "cannot add the hooks of NoSpecs: did not find any 'stanchion' hooks"),
        (JobSpecs, [], "cannot add the hooks of JobSpecs: .*job_changed.* already"),
        (AlertSpecs, [Alerts()], "cannot add the hooks of AlertSpecs: .* already"),
        (
            AlertSpecs,
            [a_plugin("alert", lambda colour: None)],
            "cannot add the hooks of AlertSpecs: .*colour",
        ),
    ],
)
def test_hooks_that_cannot_be_added_are_refused(specs, others, why):
    """When the application is made."""
    specifying = a_plugin("add_hookspecs", lambda plugins: plugins.add_hookspecs(specs), "specifying")

    with pytest.raises(ConfigError, match=f"(?s)^{why}"):
        Plugins([*others, specifying])


def test_hooks_that_nobody_specifies_are_refused():
    """The plugin that does is not listed; unless it is optional."""

    class Optional:
        @hookimpl(optionalhook=True)
        def alert(self): ...

    with pytest.raises(ConfigError, match="^cannot use plugin Pager: unknown hook 'alert'$"):
        Plugins([Pager()])
    assert not Plugins([Optional()]).listening("tick")


# What can be a plugin


def test_a_plugin_is_an_object_a_class_or_a_module():
    """A class is called without arguments."""
    module = types.ModuleType("counting")
    module.heard = []
    module.job_changed = hookimpl(lambda: module.heard.append(1))
    counter = Counter()
    plugins = Plugins([counter, Counter, module])
    plugins.notify("job_changed", **ARGUMENTS["job_changed"])

    assert (counter.count, module.heard) == (1, [1])


def test_a_plugin_is_found_by_its_entry_point():
    """And can be asked for by the same name."""
    plugins = Plugins(["stats"])

    assert type(plugins.get("stats")).__name__ == "Stats"


def test_a_plugin_that_is_not_listed_is_not_there():
    """Though it is installed."""
    with pytest.raises(ConfigError, match=r"^unknown plugin 'stats'; add it to plugins="):
        Plugins().get("stats")


class NeedsMore:
    def __init__(self, more):
        self.more = more


class Unhashable(Counter):
    __hash__ = None


COUNTER = Counter()


def async_hook():
    async def hook(): ...

    return hook


def yielding_hook():
    def hook():
        yield

    return hook


def async_yielding_hook():
    async def hook():
        yield

    return hook


def a_wrapper():
    module = types.ModuleType("one_hook")
    module.tick = hookimpl(wrapper=True)(yielding_hook())
    return module


def test_a_plugin_that_is_refused_is_not_there():
    """It can be added once it is right."""
    plugins = Plugins()
    wrong = a_plugin("job_chnged", lambda: None)
    with pytest.raises(ConfigError):
        plugins.register(wrong)
    del wrong.job_chnged
    wrong.tick = hookimpl(lambda: None)
    plugins.register(wrong)

    assert plugins.listening("tick")


def test_a_plugin_may_be_made_by_a_function():
    """Which is called without arguments."""
    counter = Counter()
    Plugins([lambda: counter]).notify("job_changed", **ARGUMENTS["job_changed"])

    assert counter.count == 1


@pytest.mark.parametrize(
    ("plugins", "why"),
    [
        (["nowhere"], "^unknown plugin 'nowhere'; installed: .*stats"),
        (["stat"], r"^unknown plugin 'stat'; installed: .*; did you mean 'stats'\?$"),
        (["stats", "stats"], "^cannot use plugin stats: it is already registered$"),
        ([COUNTER, COUNTER], "^cannot use plugin Counter: it is already registered$"),
        (
            [a_plugin("job_chnged", lambda job: None)],
            r"^cannot use plugin one_hook: unknown hook 'job_chnged'; did you mean 'job_changed'\?$",
        ),
        ([a_plugin("job_changed", lambda jobb: None)], "^cannot use plugin .*: .*jobb"),
        ([NeedsMore], "^cannot use plugin .*: .*'more'"),
        ([Unhashable()], "^cannot use plugin .*: unhashable type"),
        ([object()], "^cannot use plugin object: it has no hooks; mark them with @stanchion.hookimpl$"),
        (
            [a_plugin("tick", async_hook())],
            "^cannot use plugin .*: hook tick is async: make it a plain function$",
        ),
        ([a_plugin("tick", yielding_hook())], "^cannot use plugin .*: hook tick yields; a hook returns$"),
        (
            [a_plugin("around_job", async_hook())],
            "hook around_job is async: make it a plain function that returns",
        ),
        (
            [a_plugin("around_job", yielding_hook())],
            "hook around_job yields: decorate it with @contextmanager$",
        ),
        ([a_plugin("around_job", async_yielding_hook())], "yields: decorate it with @asynccontextmanager$"),
        (
            [a_wrapper()],
            "^cannot use plugin one_hook: hook tick is a wrapper: plugins are called one by one",
        ),
    ],
)
def test_what_cannot_be_a_plugin_is_refused(plugins, why):
    """When the application is made, and with the reason."""
    with pytest.raises(ConfigError, match=f"(?s){why}"):
        Plugins(plugins)
