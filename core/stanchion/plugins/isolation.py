"""Isolation: what a deciding hook raises is an error of its plugin, and never taken for a stop or the program's end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stanchion.errors import StanchionError


@contextmanager
def isolated(
    plugin: str, hook: str, passing: Callable[[BaseException], bool] | None = None
) -> Iterator[None]:
    """Turn what a plugin raises and is not an `Exception` into a `StanchionError` that names the plugin.

    Args:
        plugin: The name of the plugin.

        hook: The hook that is called.

        passing: Whether an exception is not the plugin's, and passes unchanged. Defaults to never.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if passing is not None and passing(error):
            raise
        raise StanchionError(f"plugin {plugin} raised {type(error).__name__} in hook {hook}") from error


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether the user asks the program to stop.

    Args:
        error: What was raised.

    Returns:
        `True` for a Ctrl-C.
    """
    return isinstance(error, KeyboardInterrupt)


def is_cancellation(error: BaseException) -> bool:
    """Return whether the running asyncio task was cancelled, so that the exception is not the plugin's.

    Args:
        error: What was raised.

    Returns:
        `True` if it was.
    """
    import asyncio  # enqueuing needs no event loop

    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
