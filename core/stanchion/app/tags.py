"""Tags: what jobs can be found by, given or computed from the arguments of the call."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from stanchion.app import callables
from stanchion.errors import ConfigError, InvalidArgument

LONGEST: Final = 256
"""Characters of the longest tag."""

Compute = Callable[..., Iterable[str]]
"""Computes tags from the arguments of a call, which it gets by the names of the parameters."""


def check_tags(value: Any) -> tuple[str, ...]:
    """Return tags if they are valid, sorted and each once.

    Args:
        value: A list, tuple or set of strings.

    Returns:
        The tags.

    Raises:
        InvalidArgument: They are not.
    """
    if not isinstance(value, list | tuple | set | frozenset) or not all(map(_is_tag, value)):
        raise InvalidArgument(
            f"tags must be a list, tuple or set of strings of 1–{LONGEST} printable characters, not {value!r}"
        )
    return tuple(sorted(set(value)))


def _is_tag(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()


def given_or_computed(value: Any) -> tuple[str, ...] | Compute:
    """Return the value of the option `tags` if it is valid.

    Args:
        value: Tags, or a function that computes them.

    Returns:
        The tags or the function.

    Raises:
        InvalidArgument: It is neither, or the function is async.
    """
    if not callable(value):
        return check_tags(value)
    if callables.is_async(value):
        raise InvalidArgument(f"tags must be computed by a plain function; {value!r} is async")
    return cast("Compute", value)


def check_call(task: str, compute: Compute, names: Iterable[str]) -> None:
    """Refuse a function that cannot be called with the arguments of a task.

    Args:
        task: The name of the task.

        compute: The function.

        names: The names of the task's parameters.

    Raises:
        ConfigError: It takes others, or needs more.
    """
    try:
        signature = inspect.signature(compute)
    except (TypeError, ValueError):
        return  # some callables in C have none; the first call will show
    try:
        signature.bind(**dict.fromkeys(names))
        for one in signature.parameters.values():  # `bind` of Python 3.13.0 accepts these by name
            if one.kind is one.POSITIONAL_ONLY and one.default is one.empty:
                raise TypeError(f"{one.name!r} can only be given by position")
    except TypeError as error:
        raise ConfigError(
            f"option tags of task {task}: {_name(compute)}{signature} cannot be called with the arguments by name "
            f"({', '.join(names)}): {error}; **_ takes those that it does not need"
        ) from error


def computed(task: str, compute: Compute, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags of a job.

    Args:
        task: The name of its task.

        compute: Computes them.

        arguments: The job's arguments by the names of the parameters.

    Returns:
        The tags.

    Raises:
        InvalidArgument: The function raised, or what it returned cannot be used.
    """
    try:
        return check_tags(compute(**arguments))
    except InvalidArgument as error:
        raise InvalidArgument(f"option tags of task {task}: {_name(compute)} returned: {error}") from error
    except Exception as error:
        raise InvalidArgument(
            f"option tags of task {task}: {_name(compute)} raised {type(error).__name__}: {error}"
        ) from error


def _name(compute: Compute) -> str:
    return getattr(compute, "__qualname__", None) or repr(compute)
