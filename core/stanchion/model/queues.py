"""Queues: their names and their settings."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from stanchion.errors import InvalidArgument

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_name(value: object, what: str = "queue name") -> str:
    """Return the name of a queue or namespace if it is valid.

    Names become parts of keys, file names and URLs, so they are limited to 1 to 128 characters of `A-Z a-z 0-9 _ . -`.

    Args:
        value: A name.

        what: What it names, for the error. Defaults to `queue name`.

    Returns:
        The name.

    Raises:
        InvalidArgument: It is not.
    """
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise InvalidArgument(f"invalid {what} {value!r}: use 1–128 characters of A–Z a–z 0–9 _ . -")


RESERVED: Final = "stanchion."
"""What the names of Stanchion's own queues begin with: they are hidden, and callers cannot use them."""


def check_queue(value: object) -> str:
    """Return the name of a queue that a caller may use.

    Args:
        value: A name.

    Returns:
        The name.

    Raises:
        InvalidArgument: It is no name, or one that is reserved.
    """
    name = check_name(value)
    if is_reserved(name):
        raise InvalidArgument(f"invalid queue name {name!r}: names that begin with {RESERVED!r} are reserved")
    return name


def is_reserved(name: str) -> bool:
    """Return whether a queue is one of Stanchion's own.

    Args:
        name: A queue's name.

    Returns:
        `True` if it begins with `RESERVED`.
    """
    return name.startswith(RESERVED)


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be set on a queue while it is in use; kept in the backend."""

    paused: bool = False
    """Workers stop claiming from a paused queue; running jobs continue, and jobs can be enqueued."""


DEFAULTS: Final = QueueSettings()
"""The settings of a queue that was never configured."""


def patched(settings: QueueSettings, changes: Mapping[str, Any], unset: Iterable[str] = ()) -> QueueSettings:
    """Return settings of which some are changed.

    Args:
        settings: The settings before.

        changes: New values by name.

        unset: Settings that get their default again.

    Returns:
        The settings afterwards.
    """
    return replace(settings, **{name: getattr(DEFAULTS, name) for name in unset}, **changes)
