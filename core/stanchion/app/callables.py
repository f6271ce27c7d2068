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

        name: The name that was given. Defaults to the handler's own.

    Raises:
        InvalidArgument: It has no name of its own, or the name cannot be used.
    """
    found = getattr(handler, "__name__", None) if name is None else name
    if name is None and (found is None or found == "<lambda>"):
        raise InvalidArgument(f"{_kind(handler)} has no name to call its task by: give it one with name=")
    if not isinstance(found, str) or not 0 < len(found) <= 256 or not found.isprintable():
        raise InvalidArgument(f"a task is named by 1 to 256 printable characters, not {found!r}")
    return found


def check(handler: object) -> None:
    """Refuse what cannot be a handler.

    Raises:
        ConfigError: It cannot be called as a function, yields, or hides that it is async.
    """
    if isinstance(handler, str):
        raise _refused(handler, f"it is a text; a name is given with @app.task(name={handler!r})")
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
            f"it is async, and its decorator hides that: {_place(inner)} is a plain function, so nobody would await "
            "what it returns; make that one async, or, if it runs the coroutine itself, call it from a plain function",
        )


def _place(function: Any) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return f"a {type(function).__name__}"
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"


def _refused(handler: object, why: str) -> ConfigError:
    return ConfigError(f"{getattr(handler, '__qualname__', None) or repr(handler)} cannot be a task: {why}")


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling a handler gives a coroutine, which is then awaited on the worker's loop."""
    return inspect.iscoroutinefunction(function_of(handler))


def function_of(handler: Any) -> Any:
    """Return the function that is run when a handler is called: inside partials and static methods, of an object."""
    while isinstance(handler, functools.partial | staticmethod):
        handler = handler.func if isinstance(handler, functools.partial) else handler.__func__
    if inspect.isroutine(handler):
        return handler
    return handler.__call__


def hinted(handler: Any) -> Any:
    """Return the function whose type hints are a handler's: of an object around a function, those of the function."""
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
