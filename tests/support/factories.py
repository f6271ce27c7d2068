"""Records, items and signals for tests: each in working order but for what the test says."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stanchion.codec.specs import encode_args, encode_policy
from stanchion.model.changes import Change, Move
from stanchion.model.history import Failure
from stanchion.model.policies import Policy
from stanchion.model.records import Item, Record, head_of
from stanchion.model.signals import (
    Beaten,
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Expired,
    Failed,
    GivenUp,
    Lost,
    Promoted,
    Released,
    RetryAsked,
    Signal,
    Snoozed,
    TaskUnknown,
    TimedOut,
    Unblocked,
    Updated,
)
from stanchion.model.states import FINAL, Event, State
from stanchion.model.transitions import Transition

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When everything happens, unless a test says otherwise."""

LEASE: Final = timedelta(seconds=30)
LATER: Final = timedelta(minutes=1)

_DEADLINES: Final = {
    State.BLOCKED: NOW,
    State.SCHEDULED: NOW,
    State.RUNNING: NOW + LEASE,
    State.RETRYING: NOW,
    **dict.fromkeys(FINAL, NOW + timedelta(hours=1)),
}


NO_ARGS: Final = encode_args(b"{}")


def a_policy(**options: Any) -> bytes:
    return encode_policy(Policy(**options))


def a_record(state: State = State.QUEUED, **fields: Any) -> Record:
    """A record that looks as a backend would keep it in this state."""
    running = {"claim": "claim-1", "worker": "worker-1", "run": 1, "started_at": NOW}
    ended = {"ended_at": NOW, **running}
    belonging = running if state is State.RUNNING else ended if state in FINAL else {}
    usual = {
        "id": "mail:1",
        "task": "welcome",
        "created_at": NOW,
        "args": NO_ARGS,
        "due_at": _DEADLINES.get(state),
    }
    return Record(state=state, **{**usual, **belonging, **fields})


def an_item(**fields: Any) -> Item:
    return Item(**{"id": "mail:1", "task": "welcome", "state": State.QUEUED, "args": NO_ARGS, **fields})


def a_change(state: State = State.RUNNING, to: State | None = State.QUEUED, **fields: Any) -> Change:
    """A change with no guard but the state, and a move with nothing but its target."""
    of_change = {name: fields.pop(name) for name in _OF_CHANGE if name in fields}
    usual = {"job_id": "mail:1", "event": Event.UPDATE}
    return Change(state=state, move=Move(to=to, **fields), **{**usual, **of_change})


_OF_CHANGE: Final = ("job_id", "event", "created_at", "claim", "revision", "if_due")


def a_transition(event: Event = Event.CLAIM, to: State = State.RUNNING, **fields: Any) -> Transition:
    """A transition into a state, of a job that looks like one in it."""
    usual = {"job": head_of(a_record(to)), "from_state": State.QUEUED, "to_state": to, "at": NOW}
    return Transition(event=event, **{**usual, **fields})


def a_failure(**fields: Any) -> Failure:
    return Failure(**{"type": "ValueError", "message": "no", "run": 1, **fields})


def signals() -> Iterable[Signal]:
    """One of every kind of signal."""
    return (
        Beaten(lease=LEASE),
        Completed(result=b"1"),
        Failed(failure=a_failure()),
        TimedOut(failure=a_failure(type="timed_out")),
        Released(),
        Snoozed(until=LATER),
        TaskUnknown(),
        Cancelled(),
        GivenUp(),
        Lost(),
        Promoted(),
        Unblocked(),
        Expired(),
        CancelAsked(reason="not wanted"),
        RetryAsked(force=True),
        Updated(priority=5),
        Deleted(),
    )
