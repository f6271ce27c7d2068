"""How often and when a job is tried again, for how long it may run, and how long its record is kept."""

from datetime import timedelta
from typing import Final, Literal

import msgspec
from attrs import field, frozen

from stanchion.errors import InvalidArgument

LONGEST: Final = timedelta(days=3650)
"""No duration may be longer: ten years, far inside every backend's clock."""


def duration(value: float | timedelta, name: str, *, least: timedelta = timedelta(0)) -> timedelta:
    """Return a duration as given by a caller, checked.

    Args:
        value: A timedelta, or a number of seconds.

        name: The argument's name, for the error.

        least: The shortest duration allowed. Defaults to zero.

    Returns:
        The duration.

    Raises:
        InvalidArgument: It is not a number, not finite, too short, or longer than ten years.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise InvalidArgument(f"{name} must be seconds or a timedelta, not {value!r}")
    if not isinstance(value, timedelta):
        if not abs(value) <= LONGEST.total_seconds():  # not so for NaN either
            raise InvalidArgument(
                f"{name} must be a finite number of seconds, at most ten years, not {value!r}"
            )
        value = timedelta(seconds=value)
    if not least <= value <= LONGEST:
        raise InvalidArgument(f"{name} must be between {least} and ten years, not {value}")
    return value


def _wait(value: float | timedelta) -> timedelta:
    return duration(value, "wait")


def _base(value: float | timedelta) -> timedelta:
    return duration(value, "base")


def _cap(value: float | timedelta) -> timedelta:
    return duration(value, "cap")


@frozen
class Fixed:
    """The same wait before every retry."""

    wait: timedelta = field(converter=_wait)
    """How long; a timedelta or seconds."""

    def delay(self, attempt: int, roll: float) -> timedelta:
        """Return the wait before a retry.

        Args:
            attempt: The number of the attempt that failed; the first is 1.

            roll: Not used.

        Returns:
            The same wait every time.
        """
        return self.wait


@frozen
class Exponential:
    """A wait that doubles with every retry, with full jitter.

    The wait after attempt n is uniform between 0 and `base * 2**(n-1)`, at most `cap`. Full jitter spreads a
    crowd of failures best (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    base: timedelta = field(default=timedelta(seconds=5), converter=_base)
    """The upper bound of the first wait; a timedelta or seconds."""

    cap: timedelta = field(default=timedelta(hours=1), converter=_cap)
    """The upper bound of every wait; a timedelta or seconds."""

    def delay(self, attempt: int, roll: float) -> timedelta:
        """Return the wait before a retry.

        Args:
            attempt: The number of the attempt that failed; the first is 1.

            roll: A random number in [0, 1).

        Returns:
            A wait of up to `base * 2**(attempt-1)`, at most `cap`.
        """
        widest = self.base
        for _ in range(attempt - 1):
            if widest >= self.cap or not widest:
                break
            widest *= 2
        return roll * min(widest, self.cap)


Backoff = Fixed | Exponential
"""A retry policy: what `backoff=` takes."""

Until = Literal["start", "end"]
"""How long a unique key is held: until the job first starts, or until it is final."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a job that decide its life; stored with the job when it is enqueued, never changed after."""

    retries: int = 3
    """How many attempts may follow the first: N means N + 1 attempts."""

    max_lost: int = 3
    """How often it may be lost (its worker died) and run again; a worker's death uses up no attempt."""

    backoff: Backoff = Exponential()
    """How long to wait before the next attempt."""

    timeout: timedelta = timedelta(minutes=30)
    """How long one run may take; asynq's default, so that no handler runs forever."""

    keep: timedelta | None = timedelta(hours=24)
    """How long the record is kept once completed or cancelled; `None`: forever."""

    keep_failed: timedelta | None = timedelta(days=7)
    """How long the record is kept once failed or timed out; `None`: forever."""

    unique: str | None = None
    """The digest of its unique key, if it has one."""

    unique_until: Until = "end"
    """How long it holds the unique key."""

    @property
    def at_most_once(self) -> bool:
        """Whether the job must never start twice."""
        return self.retries == 0 and self.max_lost == 0
