"""What is true of every store at rest, whatever was done to it, read through the contract alone."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from stanchion.codec.payloads import policy_of
from stanchion.contract.backend import Backend
from stanchion.model.changes import LIST_LENGTH
from stanchion.model.history import Happening, decode_list
from stanchion.model.records import Record
from stanchion.model.states import FINAL, MOVES, Event, State


def listed(backend: Backend, queue: str, state: State) -> list[Record]:
    """All jobs of a queue in a state, page by page."""
    page = backend.list(queue, state)
    records = list(page.records)
    while page.cursor is not None:
        page = backend.list(queue, state, page.cursor)
        records += page.records
    return records


def findings(backend: Backend, queue: str) -> list[str]:
    """What `check` finds in a queue, page by page."""
    page = backend.check(queue)
    found = list(page.findings)
    while page.cursor is not None:
        page = backend.check(queue, page.cursor)
        found += page.findings
    return [f"{one.fault}: {one.where}: {one.detail}" for one in found]


def everything(backend: Backend) -> Any:
    """All that can be read, in an order that does not depend on the store."""
    queues = backend.queues()
    return queues, {
        queue: {record.id: record for state in State for record in listed(backend, queue, state)}
        for queue in queues
    }


def broken(backend: Backend) -> list[str]:
    """What is wrong with a store at rest, in words; nothing, if its backend keeps the contract."""
    return [
        f"queue {queue}: {words}"
        for queue in backend.queues()
        for words in (*findings(backend, queue), *_of_queue(backend, queue))
    ]


def _of_queue(backend: Backend, queue: str) -> Iterator[str]:
    counts = backend.count([queue])[queue]
    found = {state: listed(backend, queue, state) for state in State}
    for state, records in found.items():
        if len(records) != counts[state]:
            yield f"{counts[state]} jobs are counted {state} and {len(records)} are listed"
    yield from amiss(found)
    yield from _of_reading(backend, [record for records in found.values() for record in records])


def amiss(found: Mapping[State, list[Record]]) -> Iterator[str]:
    """What is wrong with the jobs of one queue, as they are listed in each state, in words."""
    for state, listing in found.items():
        yield from (
            f"{one.id} is listed as {state} and is {one.state}" for one in listing if one.state is not state
        )
    records = [record for listing in found.values() for record in listing]
    yield from (
        f"{job_id} is listed {n} times" for job_id, n in Counter(r.id for r in records).items() if n > 1
    )
    holders = Counter(record.unique for record in records if record.unique is not None)
    yield from (f"{holders[key]} jobs hold the unique key {key}" for key in holders if holders[key] > 1)
    yield from _of_order(found[State.QUEUED])
    for record in records:
        yield from (f"{record.id} is {record.state}, but {words}" for words in _of_record(record))


def _of_order(queued: list[Record]) -> Iterator[str]:
    places = [(-record.priority, record.place) for record in queued]
    if places != sorted(places):
        yield "its queued jobs are not listed by priority and place"
    if len(set(places)) != len(places):
        yield "two of its queued jobs have the same place"


def _of_record(record: Record) -> Iterator[str]:
    running, final = record.state is State.RUNNING, record.state in FINAL
    if running != (record.claim is not None) or running != (record.worker is not None):
        yield f"its claim is {record.claim} and its worker {record.worker}"
    if running and (record.due_at is None or record.started_at is None or record.run < 1):
        yield f"its lease ends {record.due_at}, it was started {record.started_at} in run {record.run}"
    if record.state is State.QUEUED and record.due_at is not None:
        yield f"it has a clock: {record.due_at}"
    if final != (record.ended_at is not None):
        yield f"it ended {record.ended_at}"
    if record.revision < 0 or record.run < 0:
        yield f"its revision is {record.revision} and its run {record.run}"
    if (record.run > 0) != (record.started_at is not None):
        yield f"its run is {record.run} and it was started {record.started_at}"
    if any(len(entries) > LIST_LENGTH for entries in record.lists.values()):
        yield "one of its lists is too long"
    instants = (record.created_at, record.started_at, record.ended_at, record.due_at)
    if any(at.utcoffset() is None or at.utcoffset() or at.microsecond % 1000 for at in instants if at):
        yield f"one of its times is not in UTC and whole milliseconds: {instants}"


def _of_reading(backend: Backend, records: list[Record]) -> Iterator[str]:
    size = backend.limits.batch
    for at in range(0, len(records), size):
        batch = records[at : at + size]
        again = backend.get([record.id for record in batch])
        yield from (
            f"{one.id} reads otherwise than it is listed"
            for one, other in zip(batch, again, strict=True)
            if one != other
        )


def unlived(record: Record) -> Iterator[str]:
    """What is wrong with a job to which nothing was done but what `stanchion.model.decisions` decided, in words.

    Each run is ended once or under way, no more attempts were used up and deaths survived than its policy grants,
    and its history is a way through the table.
    """
    history: list[Happening] = decode_list(record.lists, "history", Happening)
    policy = policy_of(record.spec)
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
    """Where a job may have gone from a state without an entry in its history."""
    reached, pending = {state}, [state]
    while pending:
        moves = MOVES[pending.pop()]
        for event in (Event.PROMOTE, Event.UNBLOCK, Event.CLAIM):
            new = {to for to in moves.get(event, ()) if to is not None} - reached
            reached |= new
            pending += new
    return reached


def reverted(before: Record, after: Record) -> Iterator[str]:
    """What is wrong with how a job changed meanwhile: what only grows has shrunk, in words."""
    if before.run > after.run or before.revision > after.revision:
        yield f"{after.id} went back from run {before.run}, revision {before.revision} to {after.run}, {after.revision}"
    if before.run == after.run and before.claim != after.claim is not None:
        yield f"{after.id} is held by {after.claim} in a run that it did not start"
    held = before.claim is not None and before.claim == after.claim
    if held and before.due_at and (after.due_at is None or before.due_at > after.due_at):
        yield f"the lease on {after.id} went back from {before.due_at} to {after.due_at}"
    for name, entries in before.lists.items():
        if len(entries) < LIST_LENGTH and after.lists.get(name, ())[: len(entries)] != entries:
            yield f"the {name} of {after.id} was rewritten"
