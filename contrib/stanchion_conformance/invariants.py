"""Invariants: what is true of every store at rest, whatever was done to it, read through the contract alone."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from stanchion.codec.specs import policy_of
from stanchion.contract.answers import unbalanced
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Check, Count, Get, List, ReadLedger
from stanchion.model.changes import HISTORY, LIST_LENGTH
from stanchion.model.history import history_of
from stanchion.model.ledger import Books, Tally, Totals, row_of
from stanchion.model.records import Head, Record, head_of
from stanchion.model.states import FINAL, MOVES, Event, State

MOST_TAGS: Final = 5
"""Of how many tags the index is looked at after a test."""

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before all snapshots."""


def listed(backend: Backend, queue: str, state: State, **given: Any) -> list[Head]:
    """List all jobs of a queue in a state, page by page; `given` are filters of the listing.

    Returns:
        The heads, in the order of the listing.
    """
    page = backend.list(List(queue=queue, state=state, **given))
    heads = list(page.heads)
    while page.cursor is not None:
        page = backend.list(List(queue=queue, state=state, cursor=page.cursor, **given))
        heads += page.heads
    return heads


def read(backend: Backend, ids: Iterable[str]) -> dict[str, Record | None]:
    """Read jobs by their ids, in as many calls as it takes.

    Returns:
        The record of each id; `None` for an id without one.
    """
    found: dict[str, Record | None] = {}
    remaining = list(ids)
    while batch := remaining[: backend.limits.batch]:
        found |= zip(batch, backend.get(Get(batch)), strict=True)
        del remaining[: len(batch)]
    return found


def findings(backend: Backend, queue: str) -> list[str]:
    """Return what `check` finds in a queue, page by page.

    Returns:
        A line for each finding.
    """
    page = backend.check(Check(queue))
    found = list(page.findings)
    while page.cursor is not None:
        page = backend.check(Check(queue, page.cursor))
        found += page.findings
    return [f"{one.fault}: {one.where}: {one.detail}" for one in found]


def everything(backend: Backend) -> Any:
    """Return all that can be read, in an order that does not depend on the store.

    Returns:
        The queues, and for each its jobs and its ledger.
    """
    queues = backend.queues()
    return queues, {queue: (_jobs(backend, queue), _counted(backend, queue)) for queue in queues}


def _jobs(backend: Backend, queue: str) -> dict[str, Record | None]:
    return read(backend, sorted(head.id for state in State for head in listed(backend, queue, state)))


def _counted(backend: Backend, queue: str) -> Totals:
    return dict(sorted(backend.ledger(ReadLedger(queue=queue)).totals.items()))


def broken(backend: Backend) -> list[str]:
    """Return what is wrong with a store at rest.

    Returns:
        A line for each fault; none if the backend keeps the contract.
    """
    return [
        f"queue {queue}: {words}"
        for queue in backend.queues()
        for words in (*findings(backend, queue), *_of_queue(backend, queue))
    ]


def _of_queue(backend: Backend, queue: str) -> Iterator[str]:
    counts = backend.count(Count([queue]))[queue]
    found = {state: listed(backend, queue, state) for state in State}
    for state, heads in found.items():
        if len(heads) != counts[state]:
            yield f"{counts[state]} jobs are counted {state} and {len(heads)} are listed"
    yield from amiss(found)
    books = backend.ledger(ReadLedger(queue=queue, since=_BEGINNING))
    yield from (f"{one.where}: {one.detail}" for one in unbalanced(queue, books.totals, counts))
    yield from miscounted(books)
    yield from _of_tags(backend, queue, found)
    yield from _of_reading(backend, [head for heads in found.values() for head in heads])


def amiss(found: Mapping[State, Sequence[Head]]) -> Iterator[str]:
    """Find what is wrong with the jobs of one queue, as they are listed in each state.

    Returns:
        A line for each fault.
    """
    for state, listing in found.items():
        yield from (
            f"{one.id} is listed as {state} and is {one.state}" for one in listing if one.state is not state
        )
    heads = [head for listing in found.values() for head in listing]
    yield from (
        f"{job_id} is listed {n} times" for job_id, n in Counter(head.id for head in heads).items() if n > 1
    )
    holders = Counter(head.unique for head in heads if head.unique is not None)
    yield from (f"{holders[key]} jobs hold the unique key {key}" for key in holders if holders[key] > 1)
    yield from _of_order(found[State.QUEUED])
    for head in heads:
        yield from (f"{head.id} is {head.state}, but {words}" for words in _of_head(head))


def miscounted(books: Books) -> Iterator[str]:
    """Find what is wrong with a ledger.

    Returns:
        A line for each fault.
    """
    for name, tally in books.totals.items():
        row = row_of(name)
        if row is None:
            yield f"its ledger counts what is no row of the table: {name}"
        elif tally.jobs < 1 or tally.ms < 0 or (tally.ms and row[0] not in _TIMED):
            yield f"its ledger counts for {name}: {tally}"
    minutes = [one.minute for one in books.snapshots]
    if minutes != sorted(set(minutes)) or (minutes and minutes[-1] >= books.minute):
        yield f"its snapshots are of the minutes {minutes}, and it counted last in {books.minute}"
    growing = [*(one.totals for one in books.snapshots), books.totals]
    for before, after in pairwise(growing):
        if any(_is_less(after.get(name, Tally()), tally) for name, tally in before.items()):
            yield f"its totals were {before} and later {after}"


def _is_less(one: Tally, other: Tally) -> bool:
    return one.jobs < other.jobs or one.ms < other.ms


_TIMED: Final = (State.QUEUED, State.RUNNING)
"""The states of which a ledger counts how long jobs were in them."""


def _of_tags(backend: Backend, queue: str, found: Mapping[State, Sequence[Head]]) -> Iterator[str]:
    for tag in sorted({tag for heads in found.values() for head in heads for tag in head.tags})[:MOST_TAGS]:
        counts = backend.count(Count([queue], tag=tag))[queue]
        for state, heads in found.items():
            right = [head.id for head in heads if tag in head.tags]
            ids = (
                [head.id for head in listed(backend, queue, state, tag=tag)] if right or counts[state] else []
            )
            if ids != right:
                yield f"{ids} are listed as {state} with tag {tag}, instead of {right}"
            if counts[state] != len(right):
                yield f"{counts[state]} jobs are counted {state} with tag {tag}, instead of {len(right)}"


def _of_order(queued: Sequence[Head]) -> Iterator[str]:
    places = [(-head.priority, head.place) for head in queued]
    if places != sorted(places):
        yield "its queued jobs are not listed by priority and place"
    if len(set(places)) != len(places):
        yield "two of its queued jobs have the same place"


def _of_head(head: Head) -> Iterator[str]:
    if type(head) is not Head:
        yield f"it is listed as a {type(head).__name__}"
    running, final, started = head.state is State.RUNNING, head.state in FINAL, head.run > 0
    if started != (head.claim is not None) or started != (head.worker is not None):
        yield f"its run is {head.run}, its claim {head.claim} and its worker {head.worker}"
    if running and (head.due_at is None or not started):
        yield f"its lease ends {head.due_at} in run {head.run}"
    if head.state is State.QUEUED and head.due_at is not None:
        yield f"it has a deadline: {head.due_at}"
    if final != (head.ended_at is not None):
        yield f"it ended {head.ended_at}"
    if head.revision < 0 or head.run < 0:
        yield f"its revision is {head.revision} and its run {head.run}"
    if started != (head.started_at is not None):
        yield f"its run is {head.run} and it was started {head.started_at}"
    if any(number <= 0 for number in head.counters.values()):
        yield f"its counters are {head.counters}"
    cancelled_at = head.cancel and head.cancel.at
    instants = (head.created_at, head.queued_at, head.started_at, head.ended_at, head.due_at, cancelled_at)
    if any(at.utcoffset() is None or at.utcoffset() or at.microsecond % 1000 for at in instants if at):
        yield f"one of its times is not in UTC and whole milliseconds: {instants}"


def _of_reading(backend: Backend, heads: Sequence[Head]) -> Iterator[str]:
    again = read(backend, [head.id for head in heads])
    for head in heads:
        record = again[head.id]
        if record is None or head_of(record) != head:
            yield f"{head.id} reads otherwise than it is listed"
        elif any(len(entries) > LIST_LENGTH for entries in record.lists.values()):
            yield f"one of the lists of {head.id} is too long"


def unlived(record: Record) -> Iterator[str]:
    """Find what is wrong with a job that only `stanchion.model.decisions` moved.

    Each run is ended once or under way, no more attempts were used up and losses survived than its policy grants,
    and its history is a way through the table.

    Returns:
        A line for each fault.
    """
    history = [entry for _, entry in history_of(record, record.lists.get(HISTORY, ()))]
    policy = policy_of(record.policy)
    ended = sum(one.started_ms is not None for one in history) + (record.state is State.RUNNING)
    if record.run != ended and len(history) < LIST_LENGTH:
        yield f"{record.id} was started {record.run} times, and {ended} runs ended or go on"
    if record.count("attempts") > policy.retries + 1:
        yield f"{record.id} used up {record.count('attempts')} attempts of {policy.retries + 1}"
    if record.count("lost") > policy.max_lost + 1:
        yield f"{record.id} was lost {record.count('lost')} times and may be {policy.max_lost}"
    for one, other in pairwise(history):
        event, to = Event(other.event), State(other.to)
        if not any(to in MOVES[state].get(event, ()) for state in _unrecorded(State(one.to))):
            yield f"{record.id} was {one.to}, and then {event} made it {to}"
    if history and record.state not in _unrecorded(State(history[-1].to)):
        yield f"{record.id} was {history[-1].to} and is {record.state}, and its history does not say why"


def _unrecorded(state: State) -> set[State]:
    """Return where a job may have gone from a state without an entry in its history."""
    reached, pending = {state}, [state]
    while pending:
        moves = MOVES[pending.pop()]
        for event in (Event.PROMOTE, Event.UNBLOCK, Event.CLAIM):
            new = {to for to in moves.get(event, ()) if to is not None} - reached
            reached |= new
            pending += new
    return reached


def reverted(before: Record, after: Record) -> Iterator[str]:
    """Find how a job went backwards: what only grows has shrunk.

    Returns:
        A line for each fault.
    """
    if before.run > after.run or before.revision > after.revision:
        yield f"{after.id} went back from run {before.run}, revision {before.revision} to {after.run}, {after.revision}"
    if before.run == after.run and before.claim != after.claim:
        yield f"{after.id} is held by {after.claim} in a run that it did not start"
    held = before.state is after.state is State.RUNNING and before.claim == after.claim
    if held and before.due_at and (after.due_at is None or before.due_at > after.due_at):
        yield f"the lease on {after.id} went back from {before.due_at} to {after.due_at}"
    for name, entries in before.lists.items():
        if len(entries) < LIST_LENGTH and after.lists.get(name, ())[: len(entries)] != entries:
            yield f"the {name} of {after.id} was rewritten"
