"""Changes: what core decides and a backend applies, whole or not at all."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final

import msgspec

from stanchion.model.records import Entry, Head
from stanchion.model.states import FINAL, Event, State

LIST_LENGTH: Final = 100
"""How many entries of each of a record's lists are kept: the newest."""

LIST_BYTES: Final = 256 << 10
"""And how many bytes of them: seven of the longest tracebacks. The newest entry is kept whatever its size."""

HISTORY: Final = "history"
"""The list by whose entries a repeated change is recognised: a refusal shows it."""

REPEATED: Final = timedelta(minutes=1)
"""For how long a call may be repeated after an unknown outcome: longer than core tries
(`stanchion.engine.operations.PATIENT`) with the longest timeout of a backend, ten seconds."""


def remembered(lease: timedelta) -> timedelta:
    """Return for how long the answer to a claim is kept: while it may be asked for again, and its jobs are held.

    Args:
        lease: The lease that the claim asked for.

    Returns:
        The lease, or `REPEATED` if that is shorter.
    """
    return min(lease, REPEATED)


class Unchanged(Enum):
    """Marks a field that a move leaves unchanged."""

    UNCHANGED = "unchanged"


class Place(Enum):
    """Where a queued job is placed among the jobs of its priority."""

    TAIL = "tail"
    """After all others."""


UNCHANGED: Final = Unchanged.UNCHANGED
TAIL: Final = Place.TAIL


class Move(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What a change makes of a job, beside what `stanchion.model.effects` says of its states."""

    to: State | None
    """The state it goes to; `None`: it is deleted."""

    due: Unchanged | timedelta | datetime | None = UNCHANGED
    """Its new deadline: a timedelta counts from the backend's now; `None`: no deadline."""

    priority: Unchanged | int = UNCHANGED
    """-100 (last) to 100 (first)."""

    place: Unchanged | Place = UNCHANGED
    """Its place; unchanged, it is queued where it stood before it was claimed."""

    unique: Unchanged | str | None = UNCHANGED
    """The digest of a unique key to take; `None` frees the one it holds."""

    tags: Unchanged | tuple[str, ...] = UNCHANGED
    """What it can be found by."""

    cancel: Unchanged | str | None = UNCHANGED
    """The reason of a request to cancel it, which is noted with the instant; `None` erases the request."""

    error: Unchanged | str | None = UNCHANGED
    """Why a run failed, in one short line."""

    counters: Mapping[str, int] = {}
    """New values of counters; zero erases one."""

    notes: Mapping[str, bytes | None] = {}
    """Notes to write; `None` erases one."""

    append: Mapping[str, bytes] = {}
    """One entry for each of these lists."""


class Change(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One change to one job: the state it must be found in, further guards, and the move."""

    job_id: str
    """Which job."""

    event: Event
    """What happened to it; what the ledger counts. With `state` and `move.to` it is one of
    `stanchion.model.states.ROWS`, or leaves the state as it is."""

    state: State
    """The state the job must be found in."""

    move: Move
    """Its new state, and what else is changed."""

    created_at: datetime | None = None
    """Which life of the id is meant: the job must have been created at this instant."""

    claim: str | None = None
    """The fencing token: the job must be held by this claim."""

    revision: int | None = None
    """The job must not have been changed since this revision was read, but by claims and by a run that goes on."""

    if_due: bool = False
    """Its deadline must have passed."""


class Refusal(StrEnum):
    """Why a change was refused; checked in this order, the first failure is the answer."""

    ABSENT = "absent"
    CLAIM = "claim"
    STATE = "state"
    DUE = "due"
    REVISION = "revision"
    UNIQUE = "unique"


class Applied(msgspec.Struct, gc=False, frozen=True):
    """The change was made."""

    now: datetime
    """When, by the backend's clock."""

    revision: int
    """The job's revision after it."""


class Refused(msgspec.Struct, frozen=True):
    """The change was refused; nothing was written."""

    why: Refusal
    """The first guard that did not hold."""

    head: Head | None
    """The job as found; `None` if it is absent, or another job has its id by now."""

    history: tuple[Entry, ...] = ()
    """The entries of its list `HISTORY`: they and the head show whether this change was made before."""


class Topic(StrEnum):
    """What a watch is notified of."""

    ENDED = "ended"
    """Jobs that became final or were deleted."""

    TOUCHED = "touched"
    """Running jobs that were changed without their claim, such as by a request to cancel them."""


def topic_of(change: Change) -> Topic | None:
    """Return where a change is published once it is made.

    Args:
        change: The change.

    Returns:
        The topic; `None` if no watch is for such changes.
    """
    if change.move.to is None or change.move.to in FINAL:
        return Topic.ENDED
    if change.move.to is State.RUNNING and change.claim is None:
        return Topic.TOUCHED
    return None
