"""What a handler may return instead of a result, to decide the new state of its job."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import field, frozen

from stanchion.errors import InvalidArgument
from stanchion.model.policies import duration
from stanchion.model.values import text

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""Instants lie between these, so that their milliseconds have at most 13 digits in every store."""


def _until(value: float | timedelta | datetime) -> timedelta | datetime:
    return aware(value, "until") if isinstance(value, datetime) else duration(value, "until")


def aware(value: datetime, name: str) -> datetime:
    """Return an instant as given by a caller, checked.

    Args:
        value: A datetime.

        name: The argument's name, for the error.

    Returns:
        The instant.

    Raises:
        InvalidArgument: It has no timezone, or is out of bounds.
    """
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidArgument(f"{name} must be a datetime with a timezone, not {value!r}")
    if not EARLIEST <= value < LATEST:
        raise InvalidArgument(f"{name} must be between the years 1970 and 2200, not {value}")
    return value


def _after(value: float | timedelta) -> timedelta:
    return duration(value, "after")


def _reason(value: str) -> str:
    return text(value, "reason")


@frozen
class Retry:
    """This attempt failed; try again after a wait of its own instead of the back-off's, while attempts are left."""

    after: timedelta = field(converter=_after)
    """How long to wait; a timedelta or seconds."""

    reason: str = field(default="", converter=_reason)
    """Why, for the job's errors."""

    error: BaseException | None = field(factory=sys.exception, init=False, eq=False, repr=False)
    """The exception that led to it, if it was made inside an `except`: its traceback is kept with the job."""


@frozen
class Snooze:
    """Not now: run the job later. Uses up no attempt."""

    until: timedelta | datetime = field(converter=_until)
    """An instant with a timezone, or how long from now: a timedelta or seconds."""


@frozen
class Cancel:
    """The job is not wanted any more; it ends cancelled."""

    reason: str = field(default="", converter=_reason)
    """Why, for the job's history."""


@frozen
class Fail:
    """The job failed and shall not be tried again, whatever attempts are left."""

    reason: str = field(default="", converter=_reason)
    """Why, for the job's errors."""

    error: BaseException | None = field(factory=sys.exception, init=False, eq=False, repr=False)
    """The exception that led to it, if it was made inside an `except`: its traceback is kept with the job."""


Outcome = Retry | Snooze | Cancel | Fail
"""What a handler may decide about its job."""
