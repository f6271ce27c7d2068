"""How what a backend shows is put beside what the oracle holds true."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from stanchion.contract.backend import Backend
from stanchion.model.history import Failure, Happening
from stanchion.model.records import Record
from stanchion.model.states import State
from stanchion_conformance.invariants import listed
from stanchion_conformance.oracle import Job, Oracle

_BUT_LISTS: Final = tuple(
    name for name in Record.__struct_fields__ if name not in ("lists", "place", "notes")
)

Seen = Mapping[str, Mapping[State, list[Record]]]
"""The jobs that a backend lists, by queue and state."""


def plain(record: Record | None) -> Job | None:
    """A record in the oracle's words. Places are compared by the order they lead to."""
    if record is None:
        return None
    lists: dict[str, list[Any]] = {"history": [], "errors": [], "log": []}
    for name, entries in record.lists.items():
        lists[name] = [(entry.at, _entry(name, entry.data)) for entry in entries]
    fields = {name: getattr(record, name) for name in _BUT_LISTS}
    return {**fields, "notes": dict(record.notes), **lists}


def _entry(name: str, data: bytes) -> object:
    if name == "history":
        entry = msgspec.json.decode(data, type=Happening)
        # The engine gives calls from outside ids of its own.
        by = entry.by if entry.by in ("", "someone") or entry.by.startswith("claim-") else "someone"
        return msgspec.structs.asdict(entry) | {"by": by}
    if name == "errors":
        failure = msgspec.json.decode(data, type=Failure)
        return {"type": failure.type, "run": failure.run}
    return data


def shown(job: Job | None) -> Job | None:
    """A job of the oracle as it is to be seen."""
    return job and {
        name: value for name, value in job.items() if name not in ("queue", "place", "policy", "born")
    }


def look(backend: Backend, queues: Iterable[str]) -> Seen:
    """All that is listed in some queues."""
    return {queue: {state: listed(backend, queue, state) for state in State} for queue in queues}


def glance(oracle: Oracle, backend: Backend, queues: Iterable[str]) -> Seen:
    """What is listed in some queues, where the backend counts jobs or the oracle has some."""
    counts = backend.count(list(queues))
    return {
        queue: {
            state: listed(backend, queue, state) if in_state[state] or oracle.of(queue, state) else []
            for state in State
        }
        for queue, in_state in counts.items()
    }


def fetched(backend: Backend, ids: Iterable[str]) -> dict[str, Record | None]:
    """Jobs by their ids, asked for in as many calls as it takes."""
    found: dict[str, Record | None] = {}
    remaining = list(ids)
    while batch := remaining[: backend.limits.batch]:
        found |= zip(batch, backend.get(batch), strict=True)
        del remaining[: len(batch)]
    return found


def differences(oracle: Oracle, backend: Backend, seen: Seen, ids: Iterable[str]) -> Iterator[str]:
    """In words, whatever of a backend is not as the oracle says.

    Args:
        oracle: What is right.

        backend: What is to be compared.

        seen: What the backend lists of the queues to compare.

        ids: Jobs to be asked for by their ids, there or not.
    """
    counts = backend.count(list(seen))
    for queue, by_state in seen.items():
        for state, records in by_state.items():
            yield from _of_list(oracle, queue, state, records)
            if counts[queue][state] != len(oracle.of(queue, state)):
                yield f"{counts[queue][state]} jobs of {queue} are counted {state}"
    for job_id, record in fetched(backend, ids).items():
        yield from unlike(plain(record), shown(oracle.jobs.get(job_id)), job_id)
    settings = {name: one.paused for name, one in backend.queues().items() if name in seen}
    if settings != oracle.paused:
        yield f"the queues and whether they are paused: {settings} instead of {oracle.paused}"
    yield from _of_due(oracle, backend, list(seen))


def _of_list(oracle: Oracle, queue: str, state: State, records: list[Record]) -> Iterator[str]:
    ids = [record.id for record in records]
    right = [job["id"] for job in (oracle.line(queue) if state == "queued" else oracle.of(queue, state))]
    if ids != right if state == "queued" else sorted(ids) != sorted(right):
        yield f"{queue} lists as {state}: {ids} instead of {right}"
    clocks = [record.due_at for record in records if record.due_at is not None]
    if clocks != sorted(clocks):
        yield f"{queue} does not list what is {state} by clock"


def unlike(got: object, right: object, what: str) -> Iterator[str]:
    """In words, where a value is not as it should be."""
    if isinstance(got, dict) and isinstance(right, dict):
        for name in right | got:
            yield from unlike(got.get(name), right.get(name), f"{what}, {name}")
    elif isinstance(got, list | tuple) and isinstance(right, list | tuple) and len(got) == len(right):
        for number, (one, other) in enumerate(zip(got, right, strict=True), 1):
            yield from unlike(one, other, f"{what}, {number}")
    elif got != right:
        yield f"{what}: {got!r} instead of {right!r}"


def _of_due(oracle: Oracle, backend: Backend, queues: list[str]) -> Iterator[str]:
    limit = backend.limits.batch
    due = backend.due(queues, limit)
    ids, right = [record.id for record in due.records], [job["id"] for job in oracle.due(queues)]
    if len(ids) != min(limit, len(right)) or not set(ids) <= set(right):
        yield f"due are {ids} instead of {right}"
    if due.now != oracle.now():
        yield f"it is {due.now} instead of {oracle.now()}"
    running = [record.state is State.RUNNING for record in due.records]
    if running != sorted(running, reverse=True):
        yield "due are not those that run before all others"
    for state in State:
        for queue in queues:
            mine = [one for one in due.records if one.state is state and one.queue == queue]
            clocks = [one.due_at for one in mine if one.due_at is not None]
            if clocks != sorted(clocks):
                yield f"due jobs that are {state} do not come oldest first"
