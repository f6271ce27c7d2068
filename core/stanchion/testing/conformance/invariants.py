"""What is true of every store at rest, whatever was done to it, read through the contract alone."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from stanchion.backend import Backend
from stanchion.changes import LIST_LENGTH
from stanchion.jobs import Record
from stanchion.states import FINAL, State


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
    records: list[Record] = []
    for state in State:
        found = listed(backend, queue, state)
        if len(found) != counts[state]:
            yield f"{counts[state]} jobs are counted {state} and {len(found)} are listed"
        yield from (
            f"{one.id} is listed as {state} and is {one.state}" for one in found if one.state is not state
        )
        records += found
    yield from (
        f"{job_id} is listed {n} times" for job_id, n in Counter(r.id for r in records).items() if n > 1
    )
    holders = Counter(record.unique for record in records if record.unique is not None)
    yield from (f"{holders[key]} jobs hold the unique key {key}" for key in holders if holders[key] > 1)
    yield from _of_order([record for record in records if record.state is State.QUEUED])
    for record in records:
        yield from (f"{record.id} is {record.state}, but {words}" for words in _of_record(record))
    yield from _of_reading(backend, records)


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
