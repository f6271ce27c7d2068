"""How what a backend shows is put beside what the oracle holds true."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.json import decode
from msgspec.structs import asdict

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Count, FindDue, ReadLedger
from stanchion.model.changes import Refused
from stanchion.model.history import Failure, HistoryEntry, history_of
from stanchion.model.records import Entry, Head, Record, head_of
from stanchion.model.states import SWEPT, State
from stanchion_conformance.drawing import TAGS
from stanchion_conformance.fates import Job, tallied
from stanchion_conformance.invariants import listed
from stanchion_conformance.oracle import Oracle

HEAD: Final = tuple(name for name in Head.__struct_fields__ if name not in ("place", "cancel"))
"""What is compared of a head, besides a request to cancel. Places are compared by the order they lead to."""

_BODY: Final = ("args", "notes", "history", "errors", "log")

Seen = Mapping[str, Mapping[State, list[Head]]]
"""The jobs that a backend lists, by queue and state."""

Found = Mapping[str, Record | None]
"""Jobs as they are read, by id."""


def plain_head(head: Head | None) -> Job | None:
    """Return a head in the oracle's words.

    Returns:
        Its fields by name; `None` for no head.
    """
    if head is None:
        return None
    fields = {name: getattr(head, name) for name in HEAD}
    return {**fields, "counters": dict(head.counters), "cancel": head.cancel and asdict(head.cancel)}


def plain(record: Record | None) -> Job | None:
    """Return a record in the oracle's words.

    Returns:
        Its fields by name; `None` for no record.
    """
    if record is None:
        return None
    body: Job = {"args": record.args, "notes": dict(record.notes)}
    for name in ("errors", "log"):
        body[name] = [(entry.at, _entry(name, entry.data)) for entry in record.lists.get(name, ())]
    body["history"] = _history(record, record.lists.get("history", ()))
    return {**(plain_head(record) or {}), **body}


def plain_claimed(record: Record) -> Job:
    """Return a claimed job in the oracle's words; its lists may be left out.

    Returns:
        Its head, arguments and notes.
    """
    return {**(plain_head(record) or {}), "args": record.args, "notes": dict(record.notes)}


def plain_refused(answer: Refused) -> tuple[str, Job | None, list[Any]]:
    """Return a refusal in the oracle's words.

    Returns:
        Why, the head of the job as found, and its history.
    """
    entries = [] if answer.head is None else _history(answer.head, answer.history)
    return answer.why.value, plain_head(answer.head), entries


def _history(head: Head, entries: Sequence[Entry]) -> list[tuple[object, Job]]:
    return [(at, _happened(entry)) for at, entry in history_of(head, entries)]


def _happened(entry: HistoryEntry) -> Job:
    # The engine gives calls from outside ids of its own.
    by = entry.by if entry.by in ("", "a caller") or entry.by.startswith("claim-") else "a caller"
    fields = asdict(entry) | {"by": by}
    return {name: value for name, value in fields.items() if name not in ("completed_by", "ended_ms")}


def _entry(name: str, data: bytes) -> object:
    if name == "errors":
        failure = decode(data, type=Failure)
        return {"type": failure.type, "run": failure.run}
    return data


def shown(job: Job | None, *parts: str) -> Job | None:
    """Return some parts of a job of the oracle.

    Returns:
        Its head, and these parts of its body; `None` for no job.
    """
    return job and {name: job[name] for name in (*HEAD, "cancel", *parts)}


def shown_whole(job: Job | None) -> Job | None:
    """Return a job of the oracle as `get` must answer it.

    Returns:
        Its head and all of its body; `None` for no job.
    """
    return shown(job, *_BODY)


def shown_claimed(job: Job) -> Job | None:
    """Return a job of the oracle as a claim must answer it.

    Returns:
        Its head, arguments and notes.
    """
    return shown(job, "args", "notes")


def look(backend: Backend, queues: Iterable[str]) -> Seen:
    """Return all that is listed in some queues.

    Returns:
        The heads by queue and state.
    """
    return {queue: {state: listed(backend, queue, state) for state in State} for queue in queues}


def glance(oracle: Oracle, backend: Backend, queues: Iterable[str]) -> Seen:
    """Return what is listed in some queues, where the backend counts jobs or the oracle has some.

    Returns:
        The heads by queue and state; an empty list where neither has a job.
    """
    counts = backend.count(Count(list(queues)))
    return {
        queue: {
            state: listed(backend, queue, state) if in_state[state] or oracle.of(queue, state) else []
            for state in State
        }
        for queue, in_state in counts.items()
    }


def differences(oracle: Oracle, backend: Backend, seen: Seen, found: Found) -> Iterator[str]:
    """Return, in words, whatever of a backend is not as the oracle says.

    Args:
        oracle: What is right.

        backend: What is to be compared.

        seen: What the backend lists of the queues to compare.

        found: Jobs as they were read by their ids, there or not.

    Returns:
        Sentences.
    """
    for queue, by_state in seen.items():
        for state, heads in by_state.items():
            yield from _of_list(oracle, queue, state, heads)
            yield from (f"{one.id} is not listed as it reads" for one in heads if not _reads(one, found))
    for job_id, record in found.items():
        yield from unlike(plain(record), shown_whole(oracle.jobs.get(job_id)), job_id)
    settings = {name: one.paused for name, one in backend.queues().items() if name in seen}
    if settings != oracle.paused:
        yield f"the queues and whether they are paused: {settings} instead of {oracle.paused}"
    yield from _of_counts(oracle, backend, list(seen))
    yield from _of_ledgers(oracle, backend, list(seen))
    yield from _of_due(oracle, backend, list(seen))


def _reads(head: Head, found: Found) -> bool:
    record = found.get(head.id)
    return record is not None and head_of(record) == head


def _of_list(oracle: Oracle, queue: str, state: State, heads: list[Head]) -> Iterator[str]:
    ids = [head.id for head in heads]
    right = [job["id"] for job in (oracle.line(queue) if state == "queued" else oracle.of(queue, state))]
    if ids != right if state == "queued" else sorted(ids) != sorted(right):
        yield f"{queue} lists as {state}: {ids} instead of {right}"
    deadlines = [head.due_at for head in heads if head.due_at is not None]
    if deadlines != sorted(deadlines):
        yield f"{queue} does not list what is {state} by deadline"


def _of_counts(oracle: Oracle, backend: Backend, queues: list[str]) -> Iterator[str]:
    for tag in (None, *TAGS):
        for queue, counts in backend.count(Count(queues, tag)).items():
            for state in State:
                right = sum(tag is None or tag in job["tags"] for job in oracle.of(queue, state))
                if counts[state] != right:
                    yield f"{counts[state]} jobs of {queue} are counted {state} with tag {tag}, not {right}"


def _of_ledgers(oracle: Oracle, backend: Backend, queues: list[str]) -> Iterator[str]:
    for queue in queues:
        books = backend.ledger(ReadLedger(queue=queue))
        got = {name: (tally.jobs, tally.ms) for name, tally in books.totals.items()}
        yield from unlike(got, tallied(oracle.counted.get(queue, ())), f"the ledger of {queue}")


def unlike(got: object, right: object, what: str) -> Iterator[str]:
    """Find, in words, where a value is not as it should be.

    Returns:
        A line for each difference.
    """
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
    due = backend.due(FindDue(queues, limit))
    ids, right = [head.id for head in due.heads], [job["id"] for job in oracle.due(queues)]
    if len(ids) != min(limit, len(right)) or not set(ids) <= set(right):
        yield f"due are {ids} instead of {right}"
    if due.now != oracle.now():
        yield f"it is {due.now} instead of {oracle.now()}"
    order = [SWEPT.index(head.state) for head in due.heads]
    if order != sorted(order):
        yield f"due jobs do not come by state: {[str(head.state) for head in due.heads]}"
    for state in State:
        for queue in queues:
            mine = [one for one in due.heads if one.state is state and one.queue == queue]
            places = [(one.due_at or due.now, one.created_at, one.id) for one in mine]
            if places != sorted(places):
                yield f"due jobs that are {state} do not come the longest due first: {places}"
