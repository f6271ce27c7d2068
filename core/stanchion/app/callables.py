"""What can be a handler: functions, bound methods, partials and callable objects, sync or async."""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from stanchion.errors import ConfigError, InvalidArgument


def name_of(handler: object, name: str | None) -> str:
    """Return the name of the task that a handler becomes.

    Args:
        handler: The handler.

        name: The name that was given; `None`: the handler's own.

    Returns:
        The name.

    Raises:
        InvalidArgument: It has no name of its own, or the name cannot be used.
    """
    found = getattr(handler, "__name__", None) if name is None else name
    if name is None and (found is None or found == "<lambda>"):
        raise InvalidArgument(f"cannot name a task after {_kind(handler)}: give it a name with name=")
    if not isinstance(found, str) or not 0 < len(found) <= 256 or not found.isprintable():
        raise InvalidArgument(f"invalid task name {found!r}: use 1–256 printable characters")
    return found


def check(handler: object) -> None:
    """Refuse what cannot be a handler.

    Args:
        handler: The handler.

    Raises:
        ConfigError: It cannot be called as a function, yields, or hides that it is async.
    """
    if isinstance(handler, str):
        raise _refused(handler, f"it is a string; a name is given with @app.task(name={handler!r})")
    if not callable(handler):
        raise _refused(handler, "it cannot be called")
    if isinstance(handler, type):
        raise _refused(handler, "it is a class; register a function that uses it")
    if _needs_self(handler):
        raise _refused(handler, "it is a method without its object; register a function")
    inner = function_of(handler)
    if any(map(_yields, (inner, inspect.unwrap(inner)))):
        raise _refused(handler, "it yields; a handler returns")
    if not is_async(handler) and inspect.iscoroutinefunction(inspect.unwrap(inner)):
        raise _refused(
            handler,
            f"it is async, and its decorator hides that: {_place(inner)} is a plain function, so what it returns "
            "would not be awaited; make that one async, or, if it runs the coroutine itself, call it from a plain "
            "function",
        )


def _place(function: Any) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return f"a {type(function).__name__}"
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"


def _refused(handler: object, why: str) -> ConfigError:
    name = getattr(handler, "__qualname__", None) or repr(handler)
    return ConfigError(f"cannot register {name} as a task: {why}")


def is_async(handler: Callable[..., Any]) -> bool:
    """Return whether calling a handler gives a coroutine, to be awaited on the worker's loop.

    Args:
        handler: The handler.

    Returns:
        `True` if it does.
    """
    return inspect.iscoroutinefunction(function_of(handler))


def function_of(handler: Any) -> Any:
    """Return the function that is run when a handler is called.

    Args:
        handler: The handler.

    Returns:
        The function inside partials and static methods, or of a callable object.
    """
    while isinstance(handler, functools.partial | staticmethod):
        handler = handler.func if isinstance(handler, functools.partial) else handler.__func__
    if inspect.isroutine(handler):
        return handler
    return handler.__call__


def hinted(handler: Any) -> Any:
    """Return the function whose type hints are a handler's.

    Args:
        handler: The handler.

    Returns:
        The function; of an object around a function, that function.
    """
    if not inspect.isroutine(handler) and not isinstance(handler, functools.partial):
        handler = inspect.unwrap(handler)
    return function_of(handler)


def _needs_self(handler: object) -> bool:
    if not isinstance(handler, FunctionType):
        return False
    owner, _, _ = handler.__qualname__.rpartition(".")
    first = handler.__code__.co_varnames[: handler.__code__.co_argcount][:1]
    return owner != "" and not owner.endswith("<locals>") and first in [("self",), ("cls",)]


def _yields(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _kind(handler: object) -> str:
    if isinstance(handler, functools.partial):
        return "a partial"
    return "a lambda" if isinstance(handler, FunctionType) else f"an object of type {type(handler).__name__}"
