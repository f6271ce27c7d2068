"""Claiming jobs, inside a transaction."""

from datetime import datetime

import msgspec

from stanchion.contract.answers import Claimed, Room
from stanchion.contract.requests import Claim
from stanchion.model.changes import remembered
from stanchion.model.effects import claim_record, promote_record, whole
from stanchion.model.ordering import place_of
from stanchion.model.records import Record
from stanchion.model.states import WAITING, Event, State
from stanchion_sqlite.queues import QueueRow, next_due
from stanchion_sqlite.rows import Found, Row, Unreadable, as_json, found, to_ms
from stanchion_sqlite.transaction import LIMITS, Transaction


class Taken(msgspec.Struct):
    """What a claim did."""

    answer: Claimed
    asked: list[QueueRow] = []
    """The queues that it looked for, as far as they exist."""
    left: list[QueueRow] = []
    """Those in which it left queued jobs behind."""


def claim(transaction: Transaction, request: Claim) -> Taken:
    """Take jobs for a worker.

    Args:
        transaction: The transaction, about the queues of the claim.

        request: The claim.

    Returns:
        What was done; if the claim was answered before, the jobs that it still holds.
    """
    now = transaction.now
    again = _claimed_before(transaction, request.claim_id)
    if again is not None:
        return Taken(Claimed(records=again, now=now, ask_again_at=None))
    ends = whole(now + request.lease)
    room, taken, waiting = Room(LIMITS.bytes), list[Found](), list[datetime]()
    asked = [transaction.queues[name] for name in request.queues if name in transaction.queues]
    left: list[QueueRow] = []
    for queue in asked:
        if queue.settings.paused:
            continue
        next_due = _promote(transaction, queue)
        if next_due is not None:
            waiting.append(next_due)
        if _take(transaction, queue, request, taken, room, ends):
            left.append(queue)
    _remember(transaction, request.claim_id, taken, now + remembered(request.lease))
    ask_again_at = now if left else min(waiting, default=None)
    answer = Claimed(records=[job.head for job in taken], now=now, ask_again_at=ask_again_at)
    return Taken(answer, asked, left)


def _promote(transaction: Transaction, queue: QueueRow) -> datetime | None:
    """Queue the jobs whose time has come, longest due first; return when the next one is due."""
    first = next_due(transaction.cursor, queue)
    if first is None or first > transaction.now:
        return first
    now = to_ms(transaction.now)
    due = [
        job for state in WAITING for job in transaction.jobs(queue, "due", queue.id, state, now, LIMITS.batch)
    ]
    due.sort(key=lambda job: place_of(job.head))
    for job in due[: LIMITS.batch]:
        after = promote_record(job.head, now=transaction.now, tail=queue.tail)
        transaction.move(queue, job, Event.PROMOTE, after)
    transaction.write()
    return next_due(transaction.cursor, queue)


def _take(
    transaction: Transaction,
    queue: QueueRow,
    request: Claim,
    taken: list[Found],
    room: Room,
    ends: datetime,
) -> bool:
    """Make the first queued jobs running, as many as were asked for and fit; return whether there are more."""
    asked_for = max(0, request.limit - len(taken))
    jobs, others, is_over = list[Found](), list[Row](), False
    for row in transaction.run("queued", queue.id, asked_for):
        try:
            job = found(queue.name, row)
        except Unreadable:
            others.append(row)
            continue
        is_over = not room.fits(len(job.head.args) + len(row[-1] or b""))
        if is_over:
            break
        jobs.append(job)
    transaction.quarantine(queue, others)
    transaction.leave(queue, jobs, Event.CLAIM, State.RUNNING)
    if jobs:
        rowids = as_json([job.rowid for job in jobs])
        times = to_ms(ends), to_ms(transaction.now)
        transaction.run("claim", request.claim_id, request.worker, *times, rowids)
    for job in jobs:
        job.head = claim_record(
            job.head, now=transaction.now, ends=ends, claim=request.claim_id, worker=request.worker
        )
    taken += jobs
    if len(jobs) + len(others) < asked_for and not is_over:
        return False
    return bool(transaction.run("has_queued", queue.id).fetchone()[0])


def _claimed_before(transaction: Transaction, claim_id: str) -> list[Record] | None:
    """Return the jobs of a claim that it still holds; `None` if no such claim is remembered."""
    now = to_ms(transaction.now)
    row = transaction.run("claimed", transaction.namespace, claim_id, now).fetchone()
    if row is None:
        return None
    asked = {queue.id: queue for queue in transaction.queues.values()}
    rows = transaction.run("held", row[0], claim_id).fetchall()
    held = ((asked[row[1]], row) for row in rows if row[1] in asked)
    return [job.head for queue, row in held for job in transaction.readable(queue, [row])]


def _remember(transaction: Transaction, claim_id: str, taken: list[Found], ends: datetime) -> None:
    """Keep the answer to a claim until then, and forget those that were kept for long enough."""
    transaction.run("forget_claims", to_ms(transaction.now))
    if taken:
        rowids = as_json([job.rowid for job in taken])
        transaction.run("remember_claim", transaction.namespace, claim_id, to_ms(ends), rowids)
