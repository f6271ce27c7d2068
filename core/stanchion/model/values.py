"""Values from callers: checked before any I/O."""

from typing import Final

from stanchion.errors import InvalidArgument
from stanchion.errors.texts import clipped

HIGHEST_PRIORITY: Final = 100
LOWEST_PRIORITY: Final = -100

LONGEST_MESSAGE: Final = 4 << 10
"""Bytes of UTF-8 kept of an error's message."""


def check_priority(value: object) -> int:
    """Return a priority if it is valid: an integer from -100 (last) to 100 (first).

    Args:
        value: A priority.

    Returns:
        The priority.

    Raises:
        InvalidArgument: It is not.
    """
    if type(value) is int and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        return value
    raise InvalidArgument(f"priority must be an integer from -100 (last) to 100 (first), not {value!r}")


def text(value: object, name: str) -> str:
    """Return a short string of a caller's, fit for every store.

    Args:
        value: A string.

        name: The argument's name, for the error.

    Returns:
        The string, cut at `LONGEST_MESSAGE`, with lone surrogates escaped.

    Raises:
        InvalidArgument: It is not a string.
    """
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a string, not {value!r}")
    return clipped(value, LONGEST_MESSAGE)
