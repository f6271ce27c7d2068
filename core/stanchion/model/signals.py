"""Signals: what can happen to a job, each with what is known of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar, assert_never

import msgspec

from stanchion.model.history import Failure
from stanchion.model.records import Head
from stanchion.model.states import Event, State


class FromRun(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What a run reports; `notes` and `append` are what its handler wrote since it last reported."""

    notes: Mapping[str, bytes] = {}
    """Notes to write."""

    append: Mapping[str, bytes] = {}
    """One entry for each of these lists."""


class Beaten(FromRun, frozen=True, kw_only=True):
    """The run is alive."""

    event: ClassVar[Event] = Event.BEAT
    lease: timedelta


class Completed(FromRun, frozen=True, kw_only=True):
    """The handler returned; `result` is its value, encoded."""

    event: ClassVar[Event] = Event.COMPLETE
    result: bytes


class Failed(FromRun, frozen=True, kw_only=True):
    """The handler raised, or asked for `Retry` (then `wait` is set) or `Fail` (then `for_good`)."""

    event: ClassVar[Event] = Event.FAIL
    failure: Failure
    wait: timedelta | None = None
    for_good: bool = False


class TimedOut(FromRun, frozen=True, kw_only=True):
    """The run went past its time limit."""

    event: ClassVar[Event] = Event.TIME_OUT
    failure: Failure


class Released(FromRun, frozen=True, kw_only=True):
    """The worker hands the job back: its handler never started, or has ended by the worker's shutdown."""

    event: ClassVar[Event] = Event.RELEASE


class Snoozed(FromRun, frozen=True, kw_only=True):
    """The handler reschedules the job: for a time, or until an instant."""

    event: ClassVar[Event] = Event.SNOOZE
    until: timedelta | datetime


class TaskUnknown(FromRun, frozen=True, kw_only=True):
    """The worker that claimed the job does not know its task."""

    event: ClassVar[Event] = Event.SNOOZE


class Cancelled(FromRun, frozen=True, kw_only=True):
    """The handler cancels its own job, or stopped because it was asked to."""

    event: ClassVar[Event] = Event.CANCEL
    reason: str = ""


class GivenUp(FromRun, frozen=True, kw_only=True):
    """The worker gives the job up on purpose: it must not start twice and its handler was stopped half-way."""

    event: ClassVar[Event] = Event.LOSE


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The lease lapsed."""

    event: ClassVar[Event] = Event.LOSE


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """The time of a waiting job came."""

    event: ClassVar[Event] = Event.PROMOTE


class Unblocked(msgspec.Struct, frozen=True, kw_only=True):
    """What the job waited for has ended."""

    event: ClassVar[Event] = Event.UNBLOCK


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """The job was final for as long as it was to be kept."""

    event: ClassVar[Event] = Event.EXPIRE


class CancelAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The caller asks to cancel the job."""

    event: ClassVar[Event] = Event.CANCEL
    reason: str = ""


class RetryAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The caller asks to run the job again, or now; a completed one only with `force`."""

    event: ClassVar[Event] = Event.RETRY
    force: bool = False


class Updated(msgspec.Struct, frozen=True, kw_only=True):
    """The caller changes a job that has not started: its priority, its tags, when it may start."""

    event: ClassVar[Event] = Event.UPDATE
    priority: int | None = None
    tags: tuple[str, ...] | None = None
    start: timedelta | datetime | None = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The caller asks to delete the record."""

    event: ClassVar[Event] = Event.DELETE


Ended = Completed | Failed | TimedOut | Released | Snoozed | TaskUnknown | Cancelled | GivenUp
"""What ends a run, as its worker reports it."""

Swept = Lost | Promoted | Unblocked | Expired
"""What a sweep finds."""

Asked = CancelAsked | RetryAsked | Updated | Deleted
"""What callers ask for from outside."""

Signal = Beaten | Ended | Swept | Asked
"""Everything that can happen to a job, but for being claimed, which backends do themselves."""


def signal_for(head: Head) -> Swept:
    """Return what it means that a job is due.

    Args:
        head: The job; a queued one has no deadline and is never due.

    Returns:
        The signal of its state.
    """
    match head.state:
        case State.RUNNING:
            return Lost()
        case State.BLOCKED:
            return Unblocked()
        case State.SCHEDULED | State.RETRYING | State.QUEUED:
            return Promoted()
        case State.COMPLETED | State.FAILED | State.TIMED_OUT | State.CANCELLED:
            return Expired()
        case _:
            assert_never(head.state)
