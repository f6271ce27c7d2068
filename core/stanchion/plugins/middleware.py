"""Middleware: calling a handler inside the context managers that `around_job` returns."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from types import TracebackType
from typing import Any, Final

from stanchion.context import Raised, Returned, RunningJob
from stanchion.errors import ConfigError
from stanchion.errors.texts import without_addresses
from stanchion.plugins.isolation import is_cancellation, isolated
from stanchion.plugins.manager import Plugins

_HOOK: Final = "around_job"

_INSTEAD: Final = (
    "make the handler async, or let the hook return a plain context manager where job.is_async is False"
)


def call(plugins: Plugins, job: RunningJob, handler: Callable[[], Any]) -> Any:
    """Call a sync handler inside the middleware of all plugins; the first one listed is the outermost.

    Args:
        plugins: The application's plugins.

        job: The job that runs.

        handler: Its handler, with its arguments.

    Returns:
        What the handler returned; `None` if middleware swallowed what it raised.

    Raises:
        ConfigError: Middleware is async.
        StanchionError: Middleware raised something that is not an `Exception`.
        TypeError: A hook returned something that is not a context manager.
    """
    result: Any = None
    with ExitStack() as stack:
        for manager in [_plain(job, *one) for one in _returned(plugins, job)]:
            stack.enter_context(manager)
        result = handler()
        job.outcome = Returned(result)
    return result


def acall(plugins: Plugins, job: RunningJob, handler: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
    """Call an async handler inside the middleware of all plugins, in the handler's own task.

    Args:
        plugins: The application's plugins.

        job: The job that runs.

        handler: Its handler, with its arguments.

    Returns:
        To be awaited: what the handler returned; `None` if middleware swallowed what it raised.

    Raises:
        StanchionError: Middleware raised something that is not an `Exception`.
        TypeError: A hook returned something that is not a context manager.
    """
    return _asurrounded(plugins, job, handler) if plugins.listening(_HOOK) else handler()


async def _asurrounded(plugins: Plugins, job: RunningJob, handler: Callable[[], Awaitable[Any]]) -> Any:
    result: Any = None
    managers = [_either(job, *one) for one in _returned(plugins, job)]
    async with AsyncExitStack() as stack:
        for manager in managers:
            if isinstance(manager, _Around):
                stack.enter_context(manager)
            else:
                await stack.enter_async_context(manager)
        result = await handler()
        job.outcome = Returned(result)
    return result


def check(plugins: Plugins, task: str, *, is_async: bool) -> None:
    """Refuse a sync handler where it is known that the middleware of a plugin is async.

    Args:
        plugins: The application's plugins.

        task: The name of the task.

        is_async: Whether its handler is async.

    Raises:
        ConfigError: It is; names the task and the plugin.
    """
    for name, hook in () if is_async else plugins.callers(_HOOK):
        if inspect.isasyncgenfunction(inspect.unwrap(hook)):
            raise ConfigError(
                f"cannot register task {task}: its handler is sync, and around_job of plugin {name} is async; "
                f"{_INSTEAD}"
            )


def _returned(plugins: Plugins, job: RunningJob) -> list[tuple[str, Any]]:
    """Return the names of plugins and what their hooks returned, outermost first."""
    returned: list[tuple[str, Any]] = []
    for name, hook in plugins.callers(_HOOK):
        with isolated(name, _HOOK):
            manager = hook(job=job)
        if manager is not None:
            returned.append((name, manager))
    return returned


def _either(job: RunningJob, plugin: str, manager: Any) -> "_Around | _AsyncAround":
    if isinstance(manager, AbstractAsyncContextManager):
        return _AsyncAround(plugin, job, manager)
    return _plain(job, plugin, manager)


def _plain(job: RunningJob, plugin: str, manager: Any) -> "_Around":
    if isinstance(manager, AbstractContextManager):
        return _Around(plugin, job, manager)
    if isinstance(manager, AbstractAsyncContextManager):
        raise ConfigError(
            f"plugin {plugin}: around_job returned an async context manager for the sync handler of task "
            f"{job.task}; {_INSTEAD}"
        )
    raise TypeError(
        f"plugin {plugin}: around_job must return a context manager, not {without_addresses(repr(manager))}"
    )


class _Guarded:
    """A context manager of a plugin, which sees how the handler ended when it is left."""

    def __init__(self, plugin: str, job: RunningJob, manager: Any) -> None:
        self._plugin, self._job, self._manager = plugin, job, manager

    def _show(self, error: BaseException | None) -> None:
        """Show it what passes through it: inner middleware may have raised, or swallowed what the handler raised."""
        if error is not None:
            self._job.outcome = Raised(error)
        elif not isinstance(self._job.outcome, Returned):
            self._job.outcome = Returned(None)


class _Around(_Guarded, AbstractContextManager[Any]):
    def __enter__(self) -> Any:
        with isolated(self._plugin, _HOOK):
            return self._manager.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._show(error)
        with isolated(self._plugin, _HOOK, passing=lambda raised: raised is error):
            left: bool | None = self._manager.__exit__(kind, error, trace)
            return left


class _AsyncAround(_Guarded, AbstractAsyncContextManager[Any]):
    async def __aenter__(self) -> Any:
        with isolated(self._plugin, _HOOK, passing=is_cancellation):
            return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._show(error)
        with isolated(self._plugin, _HOOK, passing=lambda raised: raised is error or is_cancellation(raised)):
            left: bool | None = await self._manager.__aexit__(kind, error, trace)
            return left
