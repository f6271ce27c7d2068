"""Changes: what core decides and a backend applies, whole or not at all."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from stanchion.model.records import Entry, Item, Record
from stanchion.model.states import FINAL, Event, State

LIST_LENGTH: Final = 100
"""How many entries of each of a record's lists are kept: the newest."""

LIST_BYTES: Final = 256 << 10
"""And how many bytes of them: seven of the longest tracebacks. The newest entry is kept whatever its size."""

REPEATED: Final = timedelta(minutes=1)
"""For how long a call may be repeated after an unknown outcome: longer than core tries
(`stanchion.engine.operations.PATIENT`) with the longest deadline of a backend, ten seconds."""


def remembered(lease: timedelta) -> timedelta:
    """For how long the answer to a claim is kept: while it may be asked for again, and its jobs are held."""
    return min(lease, REPEATED)


class Keep(Enum):
    """The clock stays as it is."""

    KEEP = "keep"


class Now(Enum):
    """Stands for the instant of the change, by the backend's clock."""

    NOW = "now"


class Place(Enum):
    """Where a queued job stands among the jobs of its priority."""

    KEEP = "keep"
    """Where it stood before it was claimed."""

    TAIL = "tail"
    """Behind all others."""


KEEP: Final = Keep.KEEP
NOW: Final = Now.NOW


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a job."""

    to: State | None
    """The state it goes to; none: it is deleted."""

    clock: Keep | timedelta | datetime | None = KEEP
    """Its new clock: a timedelta counts from the backend's now; none: no clock."""

    head: Mapping[str, Any] = {}
    """Changes to `priority` (int), `place` (Place; kept unless given), `unique` (a digest to take, none to free)."""

    notes: Mapping[str, bytes | Now | None] = {}
    """Notes to write. `NOW` stamps the backend's time as milliseconds in ASCII; none erases the note."""

    append: Mapping[str, bytes] = {}
    """One entry for each of these lists."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change to one job: the state it must be found in, further guards, and the move."""

    job_id: str
    """Which job."""

    event: Event
    """What happened to it; for logs and history, a backend does not look at it."""

    state: State
    """The state the job must be found in."""

    move: Move
    """What becomes of it."""

    created_at: datetime | None = None
    """Which life of the id is meant: the job must have been created at this instant."""

    claim: str | None = None
    """The fencing token: the job must be held by this claim."""

    revision: int | None = None
    """The job must not have been changed without a claim since this revision was read."""

    if_due: bool = False
    """Its clock must have run out."""


class Refusal(StrEnum):
    """Why a change was refused; checked in this order, the first failure is the answer."""

    ABSENT = "absent"
    CLAIM = "claim"
    STATE = "state"
    DUE = "due"
    REVISION = "revision"
    UNIQUE = "unique"


class Applied(msgspec.Struct, frozen=True):
    """The change was made."""

    now: datetime
    """When, by the backend's clock."""

    revision: int
    """The job's revision after it."""


class Refused(msgspec.Struct, frozen=True):
    """The change was not made, and nothing was."""

    why: Refusal
    """The first guard that did not hold."""

    record: Record | None
    """The job as found; `None` if it is absent, or another job has its id by now."""


def first_refusal(
    found: Record | None, change: Change, *, now: datetime, holder: Callable[[str], str | None]
) -> Refused | None:
    """Return the answer to a change one of whose guards does not hold for the record found.

    Backends that hold records in this process ask this; others check the same, in the same order, in the store.

    Args:
        found: The job as found.

        change: The change to be made.

        now: The backend's time.

        holder: Answers which job holds a unique key in the job's queue.

    Returns:
        The first guard that does not hold, with the job as found; `None` if all hold.
    """
    if found is None or change.created_at not in (None, found.created_at):
        return Refused(Refusal.ABSENT, None)
    why = _first_guard(found, change, now)
    wanted = change.move.head.get("unique")
    if why is None and wanted is not None and holder(wanted) not in (None, found.id):
        why = Refusal.UNIQUE
    return None if why is None else Refused(why, found)


def _first_guard(found: Record, change: Change, now: datetime) -> Refusal | None:
    if change.claim is not None and found.claim != change.claim:
        return Refusal.CLAIM
    if found.state is not change.state:
        return Refusal.STATE
    if change.if_due and (found.due_at is None or found.due_at > now):
        return Refusal.DUE
    if change.revision is not None and found.revision != change.revision:
        return Refusal.REVISION
    return None


def created(item: Item, *, now: datetime, tail: Callable[[], int]) -> Record:
    """What inserting an item makes: a job whose clock counts from now, at the tail if it is queued."""
    return Record(
        id=item.id,
        task=item.task,
        state=item.state,
        due_at=instant(item.clock, now),
        priority=item.priority,
        place=tail() if item.state is State.QUEUED else 0,
        unique=item.unique,
        scope=item.scope,
        tags=item.tags,
        created_at=now,
        spec=item.spec,
    )


def promoted(found: Record, *, tail: Callable[[], int]) -> Record:
    """What promoting makes of a waiting job whose time has come: queued at the tail, changed without a claim."""
    return replace(found, state=State.QUEUED, due_at=None, place=tail(), revision=found.revision + 1)


def claimed(found: Record, *, now: datetime, ends: datetime, claim: str, worker: str) -> Record:
    """What claiming makes of a queued job: its next run; a unique key held until the start is free."""
    return replace(
        found,
        state=State.RUNNING,
        due_at=ends,
        claim=claim,
        run=found.run + 1,
        worker=worker,
        started_at=now,
        unique=None if found.scope == "start" else found.unique,
    )


def applied(found: Record, change: Change, *, now: datetime, tail: Callable[[], int]) -> Record | None:
    """What an accepted change makes of the record found; none: it is deleted.

    This is what every backend does, written once. Besides what the move says: leaving `running` erases claim
    and worker, entering a final state stamps `ended_at` and leaving one erases it, a clock that stays in
    `running` never moves back, and a change without a claim counts the revision up.

    Args:
        found: The job as found.

        change: The change, which `first_refusal` has nothing against.

        now: The backend's time.

        tail: Gives the next place at the tail of the job's queue.
    """
    move, to = change.move, change.move.to
    if to is None:
        return None
    at_tail = to is State.QUEUED and move.head.get("place") is Place.TAIL
    return replace(
        found,
        state=to,
        due_at=_clock(found, move, now),
        claim=found.claim if to is State.RUNNING else None,
        worker=found.worker if to is State.RUNNING else None,
        revision=found.revision + (change.claim is None),
        priority=move.head.get("priority", found.priority),
        place=tail() if at_tail else found.place,
        unique=move.head.get("unique", found.unique),
        ended_at=(found.ended_at if found.state in FINAL else now) if to in FINAL else None,
        notes=_noted(found.notes, move.notes, now),
        lists=_appended(found.lists, move.append, now),
    )


def _clock(found: Record, move: Move, now: datetime) -> datetime | None:
    if move.to is State.QUEUED:
        return None
    due_at = found.due_at if move.clock is KEEP else instant(move.clock, now)
    if move.to is State.RUNNING and found.due_at is not None and due_at is not None:
        return max(due_at, found.due_at)
    return due_at


def instant(clock: timedelta | datetime | None, now: datetime) -> datetime | None:
    """The instant a clock stands for, cut to whole milliseconds as every store keeps it."""
    at = now + clock if isinstance(clock, timedelta) else clock
    return at and whole(at)


def whole(at: datetime) -> datetime:
    """An instant cut to whole milliseconds."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000) if at.microsecond % 1000 else at


def stamp(now: datetime) -> bytes:
    """An instant as a note: milliseconds since 1970 in ASCII."""
    return str(round(now.timestamp() * 1000)).encode()


def _noted(
    notes: Mapping[str, bytes], writes: Mapping[str, bytes | Now | None], now: datetime
) -> Mapping[str, bytes]:
    if not writes:
        return notes
    after = dict(notes)
    for name, value in writes.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = stamp(now) if value is NOW else value
    return after


def _appended(
    lists: Mapping[str, tuple[Entry, ...]], appends: Mapping[str, bytes], now: datetime
) -> Mapping[str, tuple[Entry, ...]]:
    if not appends:
        return lists
    after = dict(lists)
    for name, data in appends.items():
        after[name] = _newest((*lists.get(name, ()), Entry(at=now, data=data)))
    return after


def _newest(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries of a list that are kept: as many of the newest as there is room for, and at least one."""
    total = 0
    for newer, entry in enumerate(reversed(entries[-LIST_LENGTH:])):
        total += len(entry.data)
        if newer and total > LIST_BYTES:
            return entries[-newer:]
    return entries[-LIST_LENGTH:]
