"""The plugin manager: holds the plugins that are listed, and calls their hooks one by one, in the order listed."""

import functools
import inspect
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

import pluggy

from stanchion.errors import ConfigError, InvalidArgument
from stanchion.errors.logs import logger
from stanchion.errors.texts import did_you_mean
from stanchion.plugins import hookspecs
from stanchion.plugins.loading import NamedPlugin, made, name_of

_log: Final = logger("stanchion.plugins")

_OWN: Final = frozenset(name for name, value in vars(hookspecs).items() if hasattr(value, "stanchion_spec"))
"""The hooks that Stanchion itself calls; plugins may specify others."""

Hook = Callable[..., Any]
"""A plugin's implementation of a hook; takes the arguments of the specification, by name."""


class Plugins:
    """The plugins of one application.

    Args:
        plugins: Plugins, in the order in which they are called: by name, or as `register` takes them.

    Raises:
        ConfigError: One of them cannot be used.
    """

    def __init__(self, plugins: Iterable[object] = ()) -> None:
        self.failures: dict[str, int] = {}
        """How often a hook raised, by plugin."""
        self._counting = threading.Lock()
        self._manager = pluggy.PluginManager("stanchion")
        self._manager.add_hookspecs(hookspecs)
        self._callers: dict[str, list[tuple[str, Hook]]] = {}
        self._specify([self._add(plugin, None) for plugin in plugins])

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin after the others.

        Args:
            plugin: An object or a module; a class or a function, which is called without arguments; or a name.

            name: What the log names it by, and what `get` finds it by. Defaults to the name it is listed by.

        Raises:
            ConfigError: It is added already, cannot be made, or has no hook or one that does not exist.
        """
        self._specify([self._add(plugin, name)])

    def get(self, name: str) -> Any:
        """Return a plugin, for an application that asks it for what it collected.

        Args:
            name: The name that it was listed by.

        Returns:
            The plugin.

        Raises:
            ConfigError: There is none of this name.
        """
        plugin = self._manager.get_plugin(name)
        if plugin is None:
            raise ConfigError(f"unknown plugin {name!r}; add it to plugins=[…]")
        return plugin

    def listening(self, hook: str) -> bool:
        """Return whether any plugin implements a hook.

        Args:
            hook: The name of the hook.

        Returns:
            `True` if one does.
        """
        return bool(self.callers(hook))

    def notify(self, hook: str, **arguments: object) -> None:
        """Notify every plugin; one that raises is logged and counted, and the next one is called.

        Whatever a hook raises ends here: the keeper and the delivery of outcomes must continue. Only a Ctrl-C that
        comes while a caller's own thread is in a hook is passed on to that caller.

        Args:
            hook: The name of an observing hook.

            **arguments: Its arguments.
        """
        for name, caller in self.callers(hook):
            try:
                caller(**arguments)
            except BaseException as error:
                with self._counting:
                    self.failures[name] = self.failures.get(name, 0) + 1
                if isinstance(error, KeyboardInterrupt) and _in_callers_thread():
                    raise
                _log.exception("plugin %s raised in hook %s", name, hook)

    def call(self, hook: str, **arguments: object) -> Any:
        """Call a hook of every plugin; what one raises is passed on.

        Args:
            hook: The name of a hook that a plugin specified.

            **arguments: Its arguments.

        Returns:
            The results that are not `None`, in the order of the plugins. With `hookspec(firstresult=True)` the first
            such result, and the plugins after it are not called; `None` if there is none.

        Raises:
            InvalidArgument: No plugin specifies such a hook, or it takes other arguments.
        """
        callers, spec = self.callers(hook), getattr(self._manager.hook, hook).spec
        if arguments.keys() != set(spec.argnames):
            raise InvalidArgument(
                f"hook {hook} takes the arguments ({', '.join(spec.argnames)}), not ({', '.join(arguments)})"
            )
        results = (result for _, caller in callers if (result := caller(**arguments)) is not None)
        return next(results, None) if spec.opts.get("firstresult") else list(results)

    def add_hookspecs(self, specifications: ModuleType | type) -> None:
        """Specify hooks of a plugin's own, for other plugins to implement; called in the hook of the same name.

        Args:
            specifications: A module or class, whose functions that specify hooks carry `@hookspec`.

        Raises:
            ConfigError: It specifies no hook, one that exists, or one that a plugin implements with other arguments.
        """
        try:
            self._manager.add_hookspecs(specifications)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise ConfigError(f"cannot add the hooks of {name_of(specifications)}: {error}") from error
        self._callers.clear()

    def callers(self, hook: str) -> list[tuple[str, Hook]]:
        """Return which plugins implement a hook, in the order in which they are called.

        Args:
            hook: The name of the hook.

        Returns:
            The names of the plugins, each with its function.

        Raises:
            InvalidArgument: There is no such hook.
        """
        callers = self._callers.get(hook)
        if callers is None:
            self._callers[hook] = callers = self._callers_of(hook)
        return callers

    def _callers_of(self, hook: str) -> list[tuple[str, Hook]]:
        """Return a caller for each implementation: pluggy itself begins with the last, and stops at one that raises."""
        relay = getattr(self._manager.hook, hook, None)
        if relay is None or not relay.has_spec():
            raise InvalidArgument(f"unknown hook {hook!r}{did_you_mean(hook, _specified(self._manager))}")
        places = {id(plugin): place for place, (_, plugin) in enumerate(self._manager.list_name_plugin())}
        implementations = sorted(
            relay.get_hookimpls(), key=lambda one: (one.trylast - one.tryfirst, places[id(one.plugin)])
        )
        return [(_name(self._manager, one.plugin), _caller(one)) for one in implementations]

    def _add(self, listed: object, name: str | None) -> object:
        if isinstance(listed, str):
            listed = NamedPlugin(name=listed)
        if isinstance(listed, NamedPlugin):
            name = name or listed.name
        plugin = made(listed)
        shown = name or name_of(plugin)
        try:
            hash(plugin)  # pluggy keeps plugins in sets
            if self._manager.is_registered(plugin) or (name is not None and self._manager.has_plugin(name)):
                raise ValueError("it is already registered")
            self._manager.register(plugin, name)
        except (TypeError, ValueError, pluggy.PluginValidationError) as error:
            raise ConfigError(f"cannot use plugin {shown}: {error}") from error
        return plugin

    def _specify(self, added: list[object]) -> None:
        """Let plugins specify hooks of their own, and check that every hook they implement exists.

        Raises:
            ConfigError: One does not exist, or cannot be called; or a plugin has none. No plugin is added then.
        """
        self._callers.clear()
        try:
            for plugin in added:
                for hook, implementation in _implementations(self._manager, plugin):
                    if hook == "add_hookspecs":
                        _caller(implementation)(plugins=self)
            for plugin in added:
                self._check(plugin)
        except BaseException:
            for plugin in added:
                self._manager.unregister(plugin)
            raise
        finally:
            self._callers.clear()

    def _check(self, plugin: object) -> None:
        cannot_use = f"cannot use plugin {_name(self._manager, plugin)}"
        implementations, known = _implementations(self._manager, plugin), _specified(self._manager)
        if not implementations:
            raise ConfigError(f"{cannot_use}: it has no hooks; mark them with @stanchion.hookimpl")
        for hook, one in implementations:
            if not one.optionalhook and hook not in known:
                raise ConfigError(f"{cannot_use}: unknown hook {hook!r}{did_you_mean(hook, known)}")
            if why := _unusable(hook, one):
                raise ConfigError(f"{cannot_use}: hook {hook} {why}")


def _name(manager: pluggy.PluginManager, plugin: object) -> str:
    """Return what messages call a plugin: as it was listed, or its class; pluggy itself would show its address."""
    name = manager.get_name(plugin)
    return name_of(plugin) if name is None or name == str(id(plugin)) else name


def _implementations(manager: pluggy.PluginManager, plugin: object) -> list[tuple[str, pluggy.HookImpl]]:
    """Return what a plugin implements: the names of hooks, and its functions."""
    return [
        (relay.name, one)
        for relay in manager.get_hookcallers(plugin) or ()
        for one in relay.get_hookimpls()
        if one.plugin is plugin
    ]


def _specified(manager: pluggy.PluginManager) -> list[str]:
    """Return the names of all hooks that exist, Stanchion's and those of plugins."""
    relays = vars(manager.hook)
    return [name for name, one in relays.items() if isinstance(one, pluggy.HookCaller) and one.has_spec()]


def _caller(implementation: pluggy.HookImpl) -> Hook:
    """Return a function that passes on those of its arguments that the implementation asks for."""
    function, names = implementation.function, implementation.argnames

    @functools.wraps(function)
    def call(**arguments: object) -> Any:
        return function(*[arguments[name] for name in names])

    return call


def _unusable(hook: str, implementation: pluggy.HookImpl) -> str:
    """Return why an implementation cannot be called; an empty string if it can."""
    function = implementation.function
    if implementation.wrapper or implementation.hookwrapper:
        return "is a wrapper: plugins are called one by one, so there is nothing to wrap"
    if hook not in _OWN:
        return ""
    around = hook == "around_job"
    if inspect.isgeneratorfunction(function):
        return "yields" + (": decorate it with @contextmanager" if around else "; a hook returns")
    if inspect.isasyncgenfunction(function):
        return "yields" + (": decorate it with @asynccontextmanager" if around else "; a hook returns")
    if inspect.iscoroutinefunction(function):
        return "is async: make it a plain function" + (
            " that returns an async context manager" if around else ""
        )
    return ""


def _in_callers_thread() -> bool:
    """Return whether this is the main thread, and no worker's loop runs on it."""
    import asyncio

    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
