"""The state machine: which states a job has, what can happen to it, and where that leads.

Two rules.

1. Everything about legal transitions is in this file. No other code assigns a state, and no backend knows
   more about states than which of them are final.
2. This file does no I/O, reads no clock and knows no backend. It is data, and a reader can check it by eye.

How it works. A job is in exactly one `State`. Something happens to it: an `Event`. The table `MOVES` says, for
each pair of the two, into which states the job may go. A pair that is absent is illegal: it raises
`IllegalTransition` and nothing changes. Which of several states a legal event leads to is decided by
`stanchion.model.decisions.decide`, from the job's own counters and options; the table bounds what it may answer.

One deadline per job. Each state has at most one instant (`due_at`) at which time itself moves the job, and its
meaning belongs to the state:

| state | waits for | its deadline means |
|---|---|---|
| blocked | other jobs | when to look at its parents again |
| scheduled | a time | when it may start |
| queued | a worker | (none) |
| running | its handler | when the lease ends |
| retrying | its next attempt | when it may start |
| completed, failed, timed_out, cancelled | nothing: final | when it is deleted; `None`: kept forever |

So one sweep serves every state: find what is due, decide what that means, apply it.

What is not modelled here. A job that does not exist has no state: it is created in one of `FIRST`, and a
deleted job is absent (`GONE` stands for that in the table); see `ROWS` for the ways in and out of being. Pausing is
a property of queues. A request to cancel a running job is a field of the job, not a state: the handler still runs,
and its outcome decides.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a job is in its life; exactly one at a time."""

    __hash__ = str.__hash__  # an enum's own is a Python function, called for each look at a table

    BLOCKED = "blocked"
    """Waits for other jobs to end."""

    SCHEDULED = "scheduled"
    """Waits for a time before it is queued; a snoozed job waits here too."""

    QUEUED = "queued"
    """Can be claimed by a worker now, unless its queue is paused."""

    RUNNING = "running"
    """Claimed by a worker that holds a lease on it. When the lease lapses, a sweep declares it lost."""

    RETRYING = "retrying"
    """A run failed, timed out or was lost more than once, and the next one waits for its time."""

    COMPLETED = "completed"
    """Final: the handler returned, and its result was accepted."""

    FAILED = "failed"
    """Final: no attempt is left, the handler asked not to be retried, or the job was lost too often."""

    TIMED_OUT = "timed_out"
    """Final: the last attempt ran past its time limit."""

    CANCELLED = "cancelled"
    """Final: a caller, or the handler itself, cancelled it."""


class Event(StrEnum):
    """What can happen to a job."""

    __hash__ = str.__hash__

    ENQUEUE = "enqueue"
    """It was created, in one of `FIRST`. Done by backends inside `insert`."""

    PROMOTE = "promote"
    """Its time came. Backends do this inside `claim`; a sweep does it for queues that no worker claims from."""

    UNBLOCK = "unblock"
    """The jobs it waited for have ended."""

    CLAIM = "claim"
    """A worker took it. Done by backends inside `claim`, never decided from outside."""

    BEAT = "beat"
    """Its worker is alive: the lease is extended and notes of the run are written."""

    COMPLETE = "complete"
    """The handler returned."""

    FAIL = "fail"
    """The handler raised, or its outcome said so."""

    TIME_OUT = "time_out"
    """The run went past the job's time limit."""

    LOSE = "lose"
    """The lease lapsed: the worker died, or could not reach the backend."""

    RELEASE = "release"
    """The worker handed it back, its handler never started or ended by the worker's shutdown."""

    SNOOZE = "snooze"
    """It was rescheduled, by the handler or because the worker does not know the task."""

    CANCEL = "cancel"
    """A caller, or the handler, wants it not to run, or not to continue."""

    RETRY = "retry"
    """A caller wants it to run again, or now."""

    UPDATE = "update"
    """Its priority, tags or start time were changed before it started."""

    DELETE = "delete"
    """A caller wants its record gone."""

    EXPIRE = "expire"
    """It was final for as long as it was to be kept."""

    QUARANTINE = "quarantine"
    """Its record cannot be read, and left its place. Done by backends, wherever they find one."""

    RESTORE = "restore"
    """Its quarantined record can be read again, and is back in its place. Done by backends."""


GONE: Final = None
"""Stands for "no such job" where a state is expected: what deleting leads to."""

FIRST: Final = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RUNNING})
"""The states a job may be created in; a running one with the claim that holds it."""

FINAL: Final = frozenset({State.COMPLETED, State.FAILED, State.TIMED_OUT, State.CANCELLED})
"""The states that only `retry`, `delete` and `expire` leave."""

WAITING: Final = (State.SCHEDULED, State.RETRYING)
"""The states whose deadline says when the job may start: a claim queues those that are due."""

SWEPT: Final = (State.RUNNING, *WAITING, State.BLOCKED, *sorted(FINAL))
"""The states with a deadline, in the order in which a sweep looks at them: what a worker's death left comes first."""


def _to(*states: State | None) -> frozenset[State | None]:
    return frozenset(states)


MOVES: Final[Mapping[State, Mapping[Event, frozenset[State | None]]]] = {
    State.BLOCKED: {
        Event.UNBLOCK: _to(State.QUEUED),
        Event.CANCEL: _to(State.CANCELLED),
        Event.UPDATE: _to(State.BLOCKED),
        Event.DELETE: _to(GONE),
    },
    State.SCHEDULED: {
        Event.PROMOTE: _to(State.QUEUED),
        Event.RETRY: _to(State.QUEUED),
        Event.CANCEL: _to(State.CANCELLED),
        Event.UPDATE: _to(State.SCHEDULED),
        Event.DELETE: _to(GONE),
    },
    State.QUEUED: {
        Event.CLAIM: _to(State.RUNNING),
        Event.CANCEL: _to(State.CANCELLED),
        Event.UPDATE: _to(State.QUEUED, State.SCHEDULED),
        Event.DELETE: _to(GONE),
    },
    State.RUNNING: {
        Event.BEAT: _to(State.RUNNING),
        Event.COMPLETE: _to(State.COMPLETED),
        Event.FAIL: _to(State.RETRYING, State.FAILED, State.CANCELLED),
        Event.TIME_OUT: _to(State.RETRYING, State.TIMED_OUT, State.CANCELLED),
        Event.LOSE: _to(State.QUEUED, State.RETRYING, State.FAILED, State.CANCELLED),
        Event.RELEASE: _to(State.QUEUED, State.CANCELLED),
        Event.SNOOZE: _to(State.SCHEDULED, State.CANCELLED),
        Event.CANCEL: _to(State.RUNNING, State.CANCELLED),
    },
    State.RETRYING: {
        Event.PROMOTE: _to(State.QUEUED),
        Event.RETRY: _to(State.QUEUED),
        Event.CANCEL: _to(State.CANCELLED),
        Event.DELETE: _to(GONE),
    },
    State.COMPLETED: {
        Event.RETRY: _to(State.QUEUED),
        Event.DELETE: _to(GONE),
        Event.EXPIRE: _to(GONE),
    },
    State.FAILED: {
        Event.RETRY: _to(State.QUEUED),
        Event.DELETE: _to(GONE),
        Event.EXPIRE: _to(GONE),
    },
    State.TIMED_OUT: {
        Event.RETRY: _to(State.QUEUED),
        Event.DELETE: _to(GONE),
        Event.EXPIRE: _to(GONE),
    },
    State.CANCELLED: {
        Event.RETRY: _to(State.QUEUED),
        Event.DELETE: _to(GONE),
        Event.EXPIRE: _to(GONE),
    },
}
"""The machine: `MOVES[state][event]` are the states the event may lead to; an absent pair is illegal."""

Row = tuple[State | None, Event, State | None]
"""A way from one state to another, or into being or out of it."""

ROWS: Final[frozenset[Row]] = frozenset(
    {
        *((GONE, Event.ENQUEUE, to) for to in FIRST),
        *((state, Event.QUARANTINE, GONE) for state in State),
        *((GONE, Event.RESTORE, state) for state in State),
        *(
            (state, event, to)
            for state, events in MOVES.items()
            for event, targets in events.items()
            for to in targets
            if to is not state
        ),
    }
)
"""All of them: what a queue's ledger counts. An event that leaves the state as it is is not counted."""
