"""Effects: what a change makes of a record, computed once for all backends. Pure functions.

Backends that hold records in this process call them. A backend that changes records by scripts takes `CROSSINGS` as
data for them; that it comes to the same is a claim of the conformance suite.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from stanchion.model.changes import (
    HISTORY,
    LIST_BYTES,
    LIST_LENGTH,
    TAIL,
    UNCHANGED,
    Change,
    Move,
    Refusal,
    Refused,
)
from stanchion.model.records import Cancel, Entry, Head, Item, Record, head_of
from stanchion.model.states import FINAL, State

H = TypeVar("H", bound=Head)

_MILLISECOND: Final = timedelta(milliseconds=1)


class Crossing(msgspec.Struct, frozen=True):
    """What going from one state to another makes of a head, whatever else the move says."""

    stamps: tuple[str, ...]
    """The fields that are set to the instant of the change."""

    erases: tuple[str, ...]
    """The fields that are erased."""

    only_forward: bool
    """Whether the deadline never moves back: a lease is extended, not shortened."""

    since: str | None
    """The field from which the ledger counts how long the job was in the state that it leaves."""


def _crossing(state: State, to: State | None) -> Crossing:
    stamps = {"queued_at": to is State.QUEUED is not state, "ended_at": to in FINAL and state not in FINAL}
    erases = {"due_at": to is State.QUEUED, "ended_at": state in FINAL and to not in FINAL}
    since = {State.QUEUED: "queued_at", State.RUNNING: "started_at"}.get(state)
    return Crossing(
        stamps=tuple(name for name, is_one in stamps.items() if is_one),
        erases=tuple(name for name, is_one in erases.items() if is_one),
        only_forward=state is State.RUNNING is to,
        since=None if state is to else since,
    )


CROSSINGS: Final[Mapping[tuple[State, State | None], Crossing]] = {
    (state, to): _crossing(state, to) for state, to in product(State, (*State, None))
}
"""What each way from state to state makes of a head; `None` stands for deletion."""


PLACED: Final = frozenset({State.QUEUED, State.RUNNING})
"""The first states in which a job has a place among the queued ones; a running one for the case that it is queued
later."""


def takes_unique(item: Item) -> bool:
    """Return whether a new job holds its unique key: one that has started does not if the key is free from then on.

    Args:
        item: The job to insert.

    Returns:
        `True` if it does; `False` as well if it has none.
    """
    return item.unique is not None and (item.state is not State.RUNNING or item.scope != "start")


def create_record(item: Item, *, now: datetime, tail: Callable[[], int]) -> Record:
    """Return what inserting an item makes.

    Args:
        item: The item.

        now: The backend's time.

        tail: Gives the next place at the tail of the job's queue.

    Returns:
        A job whose deadline counts from now. One in a state of `PLACED` is at the tail; a running one is in its first
        run.
    """
    created = Record(
        id=item.id,
        task=item.task,
        state=item.state,
        created_at=now,
        due_at=instant(item.due, now),
        priority=item.priority,
        place=tail() if item.state in PLACED else 0,
        unique=item.unique if takes_unique(item) else None,
        scope=item.scope,
        tags=item.tags,
        policy=item.policy,
        args=item.args,
    )
    if item.state is not State.RUNNING:
        return created
    return replace(created, started_at=now, claim=item.claim, worker=item.worker, run=1)


def promote_record(found: H, *, now: datetime, tail: Callable[[], int]) -> H:
    """Return what promoting makes of a waiting job that is due: queued at the tail, changed without a claim.

    Args:
        found: The job as found.

        now: The backend's time.

        tail: Gives the next place at the tail of the job's queue.

    Returns:
        The job afterwards.
    """
    return replace(
        found, state=State.QUEUED, due_at=None, queued_at=now, place=tail(), revision=found.revision + 1
    )


def claim_record(found: H, *, now: datetime, ends: datetime, claim: str, worker: str) -> H:
    """Return what claiming makes of a queued job: its next run; a unique key held until the start is free.

    Args:
        found: The job as found.

        now: The backend's time.

        ends: When the lease ends.

        claim: The id of the claim.

        worker: The worker.

    Returns:
        The job afterwards.
    """
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


def apply_change(found: H, change: Change, *, now: datetime, tail: Callable[[], int]) -> H | None:
    """Return what an accepted change makes of a job.

    Args:
        found: The job as found; what is written to notes and lists is left out of a head alone.

        change: The change; `first_refusal` has returned `None` for it.

        now: The backend's time.

        tail: Gives the next place at the tail of the job's queue.

    Returns:
        The job afterwards; `None`: it is deleted.
    """
    move, to = change.move, change.move.to
    if to is None:
        return None
    crossing = CROSSINGS[found.state, to]
    after: dict[str, object] = {
        "state": to,
        "due_at": _deadline(found, move, now, only_forward=crossing.only_forward),
        "revision": found.revision + (change.claim is None or to is not found.state),
    }
    for name in crossing.erases:
        after[name] = None
    for name in crossing.stamps:
        after[name] = now
    if move.priority is not UNCHANGED:
        after["priority"] = move.priority
    if move.unique is not UNCHANGED:
        after["unique"] = move.unique
    if move.tags is not UNCHANGED:
        after["tags"] = move.tags
    if move.error is not UNCHANGED:
        after["error"] = move.error
    if move.cancel is not UNCHANGED:
        after["cancel"] = None if move.cancel is None else Cancel(reason=move.cancel, at=now)
    if to is State.QUEUED and move.place is TAIL:
        after["place"] = tail()
    if move.counters:
        after["counters"] = _merged(found.counters, move.counters)
    if isinstance(found, Record):
        after |= _body_after(found, move, now)
    return replace(found, **after)


def first_refusal(
    found: Head | None, change: Change, *, now: datetime, holder: Callable[[str], str | None]
) -> Refusal | None:
    """Return the first guard of a change that does not hold for the job found.

    Backends that hold records in this process ask this; others check the same, in the same order, in the store.

    Args:
        found: The job as found.

        change: The change to be made.

        now: The backend's time.

        holder: Answers which job holds a unique key in the job's queue.

    Returns:
        The refusal; `None` if all hold.
    """
    if found is None or change.created_at not in (None, found.created_at):
        return Refusal.ABSENT
    if change.claim is not None and found.claim != change.claim:
        return Refusal.CLAIM
    if found.state is not change.state:
        return Refusal.STATE
    if change.if_due and (found.due_at is None or found.due_at > now):
        return Refusal.DUE
    if change.revision is not None and found.revision != change.revision:
        return Refusal.REVISION
    wanted = change.move.unique
    if isinstance(wanted, str) and holder(wanted) not in (None, found.id):
        return Refusal.UNIQUE
    return None


def refuse(why: Refusal | None, found: Record | None) -> Refused:
    """Return the answer to a change that is refused.

    Args:
        why: The first guard that does not hold; `None` only if there is no job.

        found: The job as found.

    Returns:
        The answer, without the job's body but for its history.
    """
    if found is None or why is None or why is Refusal.ABSENT:
        return Refused(Refusal.ABSENT, None)
    return Refused(why, head_of(found), found.lists.get(HISTORY, ()))


def spent(found: Head, to: State | None, now: datetime) -> int:
    """Return how long a job was in the state that it leaves, for the ledger.

    Args:
        found: The job as found.

        to: The state it goes to; `None`: it is deleted.

        now: The backend's time.

    Returns:
        Milliseconds since it was queued or its run was started; zero for other states, and where it stays.
    """
    field = CROSSINGS[found.state, to].since
    if field is None:
        return 0
    since = getattr(found, field) or found.created_at
    return max(0, (now - since) // _MILLISECOND)


def instant(due: timedelta | datetime | None, now: datetime) -> datetime | None:
    """Return the instant that a deadline means, cut to whole milliseconds as every store keeps it.

    Args:
        due: An instant, or a timedelta from now.

        now: The backend's time.

    Returns:
        The instant; `None` if there is no deadline.
    """
    at = now + due if isinstance(due, timedelta) else due
    return at and whole(at)


def whole(at: datetime) -> datetime:
    """Return an instant cut to whole milliseconds.

    Args:
        at: The instant.

    Returns:
        The same, or the last millisecond before it.
    """
    return at.replace(microsecond=at.microsecond // 1000 * 1000) if at.microsecond % 1000 else at


def _deadline(found: Head, move: Move, now: datetime, *, only_forward: bool) -> datetime | None:
    due_at = found.due_at if move.due is UNCHANGED else instant(move.due, now)
    if only_forward and found.due_at is not None and due_at is not None:
        return max(due_at, found.due_at)
    return due_at


def _body_after(found: Record, move: Move, now: datetime) -> dict[str, object]:
    after: dict[str, object] = {}
    if move.notes:
        after["notes"] = _merged(found.notes, move.notes)
    if move.append:
        after["lists"] = _appended(found.lists, move.append, now)
    return after


V = TypeVar("V")


def _merged(found: Mapping[str, V], writes: Mapping[str, V | None]) -> Mapping[str, V]:
    return {name: value for name, value in {**found, **writes}.items() if value is not None and value != 0}


def _appended(
    lists: Mapping[str, tuple[Entry, ...]], appends: Mapping[str, bytes], now: datetime
) -> Mapping[str, tuple[Entry, ...]]:
    after = dict(lists)
    for name, data in appends.items():
        after[name] = _newest((*lists.get(name, ()), Entry(at=now, data=data)))
    return after


def _newest(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries of a list that are kept: as many of the newest as there is room for, and at least one."""
    total = 0
    for newer, entry in enumerate(reversed(entries[-LIST_LENGTH:])):
        total += len(entry.data)
        if newer and total > LIST_BYTES:
            return entries[-newer:]
    return entries[-LIST_LENGTH:]
