"""Values from callers: checked before any I/O."""

from typing import Final

from stanchion.errors import InvalidArgument
from stanchion.errors.texts import clipped

HIGHEST_PRIORITY: Final = 100
LOWEST_PRIORITY: Final = -100

LONGEST_MESSAGE: Final = 4 << 10
"""Bytes of UTF-8 kept of an error's message."""


def check_priority(value: object) -> int:
    """Return a priority if it is one: an integer from -100 (last) to 100 (first).

    Raises:
        InvalidArgument: It is not.
    """
    if type(value) is int and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        return value
    raise InvalidArgument(f"a priority is an integer from -100 (last) to 100 (first), not {value!r}")


def text(value: object, what: str) -> str:
    """Return a short text of a caller's, fit for every store: cut at `LONGEST_MESSAGE`, lone surrogates escaped.

    Raises:
        InvalidArgument: It is no text.
    """
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} is a text, not {value!r}")
    return clipped(value, LONGEST_MESSAGE)
