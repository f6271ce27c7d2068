"""Applying changes, inside a transaction."""

from collections import defaultdict
from collections.abc import Sequence

from stanchion.model.changes import Applied, Change, Refusal, Refused, topic_of
from stanchion.model.effects import apply_change, first_refusal, refuse
from stanchion.model.ids import split_id
from stanchion.model.records import Record
from stanchion_sqlite.queues import QueueRow
from stanchion_sqlite.rows import Found, as_json
from stanchion_sqlite.transaction import Transaction

Jobs = dict[str, Found]
"""Jobs by id."""


def apply(transaction: Transaction, changes: Sequence[Change]) -> list[Applied | Refused]:
    """Make changes.

    Args:
        transaction: The transaction, about the queues of the changed jobs.

        changes: The changes, in the order in which they are made.

    Returns:
        An answer for each.
    """
    jobs = _read(transaction, changes)
    return [_apply(transaction, change, jobs) for change in changes]


def _read(transaction: Transaction, changes: Sequence[Change]) -> Jobs:
    """Read the jobs: those alone with their notes and lists of which some are written."""
    writes: defaultdict[str, bool] = defaultdict(bool)
    for change in changes:
        writes[change.job_id] |= bool(change.move.notes or change.move.append)
    keys: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for job_id, writes_body in writes.items():
        name, key = split_id(job_id)
        keys[name, "changing" if writes_body else "heads"].append(key)
    jobs: Jobs = {}
    for (name, statement), wanted in keys.items():
        queue = transaction.queues.get(name)
        if queue is not None:
            found = transaction.jobs(queue, statement, as_json(wanted), queue.id)
            jobs.update((job.head.id, job) for job in found)
    return jobs


def _apply(transaction: Transaction, change: Change, jobs: Jobs) -> Applied | Refused:
    name, key = split_id(change.job_id)
    job = jobs.get(change.job_id)
    queue = transaction.queues.get(name)
    if job is None or queue is None:
        return refuse(Refusal.ABSENT, None)
    found = job.head
    why = first_refusal(
        found, change, now=transaction.now, holder=lambda unique: _holder(transaction, queue, unique)
    )
    if why is not None:
        record = _with_lists(transaction, queue, key, job)
        if record is None:
            del jobs[change.job_id]
        return refuse(why, record)
    after = apply_change(found, change, now=transaction.now, tail=queue.tail)
    topic = topic_of(change)
    if topic is not None:
        transaction.publish(queue, topic, key)
    if after is None:
        transaction.delete(queue, job, change.event)
        del jobs[change.job_id]
        return Applied(transaction.now, found.revision + 1)
    transaction.move(queue, job, change.event, after)
    queue.arrived(after)
    return Applied(transaction.now, after.revision)


def _holder(transaction: Transaction, queue: QueueRow, unique: str) -> str | None:
    """Return the id of the job that holds a unique key."""
    transaction.write()
    row = transaction.run("unique", queue.id, unique).fetchone()
    return row and f"{queue.name}:{row[0]}"


def _with_lists(transaction: Transaction, queue: QueueRow, key: str, job: Found) -> Record | None:
    """Return a job with its lists, of which a refusal shows one; `None` if they cannot be read."""
    if isinstance(job.head, Record):
        return job.head
    transaction.write()
    there = transaction.jobs(queue, "changing", as_json([key]), queue.id)
    return there[0].head if there else None
