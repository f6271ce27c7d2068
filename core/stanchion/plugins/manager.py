"""The plugin manager: loads the plugins that are listed, and calls their hooks one by one."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final

import pluggy

from stanchion.contract.entry_points import installed
from stanchion.errors import ConfigError, StanchionError
from stanchion.errors.logs import logger
from stanchion.plugins import hookspecs

_log: Final = logger("stanchion.plugins")

GROUP: Final = "stanchion.plugins"
"""The entry-point group that plugins are found in by name."""


class Plugins:
    """The plugins of one application."""

    def __init__(self, plugins: Iterable[object] = ()) -> None:
        self.failures: dict[str, int] = {}
        """How often a hook raised, by plugin."""
        self._counting = threading.Lock()
        self._manager = pluggy.PluginManager("stanchion")
        self._manager.add_hookspecs(hookspecs)
        self._callers: dict[str, list[tuple[str, Any]]] = {}
        for plugin in plugins:
            if isinstance(plugin, str):
                self.register(_load(plugin), plugin)
            else:
                self.register(plugin)

    def register(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin: an object, a module, or a class, which is then called without arguments.

        Args:
            plugin: The plugin.

            name: What the log names it by, and what `get` finds it by.

        Raises:
            ConfigError: It is added already, cannot be made, or has no hook or one that does not exist.
        """
        try:
            plugin = plugin() if isinstance(plugin, type) else plugin
            hash(plugin)  # pluggy keeps plugins in sets
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except (TypeError, ValueError, pluggy.PluginValidationError) as error:
            raise ConfigError(f"plugin {plugin!r} cannot be used: {error}") from error
        if not self._manager.get_hookcallers(plugin):
            raise ConfigError(f"plugin {plugin!r} has no hooks; they are marked with @stanchion.hookimpl")
        self._callers.clear()

    def get(self, name: str) -> Any:
        """The plugin that was listed by this name, for an application that asks it for what it collected.

        Raises:
            ConfigError: None was.
        """
        plugin = self._manager.get_plugin(name)
        if plugin is None:
            raise ConfigError(f"plugin {name!r} is not listed in plugins=[…]")
        return plugin

    def listening(self, hook: str) -> bool:
        """Whether any plugin implements this hook."""
        return bool(self._each(hook))

    def tell(self, hook: str, **arguments: object) -> None:
        """Call an observing hook of every plugin; one that raises is logged and counted, the others are called.

        Whatever a hook raises ends here: the keeper and the delivery of outcomes must go on. Only a Ctrl-C that
        comes while a caller's own thread is in a hook is passed on to that caller.
        """
        for name, caller in self._each(hook):
            try:
                caller(**arguments)
            except BaseException as error:
                with self._counting:
                    self.failures[name] = self.failures.get(name, 0) + 1
                if isinstance(error, KeyboardInterrupt) and _in_callers_thread():
                    raise
                _log.exception("plugin %s raised in hook %s", name, hook)

    def around(self, job: Any) -> list[AbstractContextManager[Any]]:
        """Return the context managers to enter around a handler, outermost first.

        Raises:
            StanchionError: A hook raised something that is no `Exception`, such as `CancelledError`, which must not
                be taken for a cancellation of the handler. The context managers raise it for the same reason.
            TypeError: A hook returned no context manager.
        """
        around: list[AbstractContextManager[Any]] = []
        for name, caller in self._each("around_job"):
            with _isolated(name):
                around += [_Around(name, manager) for manager in caller(job=job)]
        return around

    def _each(self, hook: str) -> list[tuple[str, Any]]:
        callers = self._callers.get(hook)
        if callers is None:
            self._callers[hook] = callers = self._callers_of(hook)
        return callers

    def _callers_of(self, hook: str) -> list[tuple[str, Any]]:
        """One caller for each implementing plugin: pluggy itself stops at the first that raises."""
        relay = getattr(self._manager.hook, hook)
        implementing = [implementation.plugin for implementation in relay.get_hookimpls()]
        everyone = self._manager.get_plugins()
        return [
            (
                self._name(plugin),
                self._manager.subset_hook_caller(hook, [other for other in everyone if other is not plugin]),
            )
            for plugin in implementing
        ]

    def _name(self, plugin: object) -> str:
        """What the log names a plugin by: as it was listed, or by its class; pluggy itself would use its address."""
        name = self._manager.get_name(plugin)
        return type(plugin).__name__ if name is None or name == str(id(plugin)) else name


class _Around(AbstractContextManager[Any]):
    """A plugin's context manager, isolated."""

    def __init__(self, plugin: str, manager: Any) -> None:
        if not isinstance(manager, AbstractContextManager):
            raise TypeError(f"plugin {plugin}: around_job must return a context manager, not {manager!r}")
        self._plugin = plugin
        self._manager: AbstractContextManager[Any] = manager

    def __enter__(self) -> Any:
        with _isolated(self._plugin):
            return self._manager.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with _isolated(self._plugin, passing=error):
            return self._manager.__exit__(kind, error, trace)


@contextmanager
def _isolated(plugin: str, passing: BaseException | None = None) -> Iterator[None]:
    """Turn what is no `Exception` into one, but for what the handler itself raised."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if error is passing:
            raise
        raise StanchionError(f"plugin {plugin} raised {type(error).__name__} in hook around_job") from error


def _in_callers_thread() -> bool:
    """Whether this is the main thread, and no worker's loop runs on it."""
    import asyncio

    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def _load(name: str) -> object:
    plugins = installed(GROUP)
    if name not in plugins:
        raise ConfigError(f"no plugin is named {name!r}; installed are: {', '.join(plugins) or 'none'}")
    try:
        return plugins[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"plugin {name!r} cannot be loaded: {error}") from error
