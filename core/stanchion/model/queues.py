"""Queues: their names and their settings."""

import re
from typing import Final

import msgspec

from stanchion.errors import InvalidArgument

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_name(value: object, what: str = "queue") -> str:
    """Return the name of a queue or namespace if it is one.

    Names become parts of keys, file names and URLs, so they are kept to 1 to 128 of `A-Z a-z 0-9 _ . -`.

    Raises:
        InvalidArgument: It is not.
    """
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise InvalidArgument(f"a {what} is named by 1 to 128 of A-Z a-z 0-9 _ . -, not {value!r}")


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be set on a queue while it is in use; kept in the backend."""

    paused: bool = False
    """A paused queue hands out no jobs; running ones go on, and jobs can be enqueued."""
