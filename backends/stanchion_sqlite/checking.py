"""Looking for damage."""

import sqlite3
from collections.abc import Iterator, Sequence

from stanchion.contract.answers import CheckPage, Fault, Finding, unbalanced
from stanchion.contract.requests import Check
from stanchion.model.states import State
from stanchion_sqlite.queues import QueueRow, queues_of, totals_of
from stanchion_sqlite.rows import Found, found_among, unreadable
from stanchion_sqlite.statements import statement
from stanchion_sqlite.tags import missing
from stanchion_sqlite.transaction import LIMITS


def check_page(cursor: sqlite3.Cursor, namespace: str, request: Check) -> CheckPage:
    """Look at some jobs of a queue; first at the table of jobs and at the queue's ledger.

    Args:
        cursor: A cursor that reads.

        namespace: Whose queue.

        request: What is asked for.

    Returns:
        What was found.
    """
    queue = queues_of(cursor, namespace, [request.queue]).get(request.queue)
    findings = [] if request.cursor else list(_corrupt(cursor))
    if queue is None:
        return CheckPage(findings=findings, cursor=None)
    if not request.cursor:
        findings += _unbalanced(cursor, queue)
    place = (queue.id, request.cursor or "", LIMITS.batch)
    rows = cursor.execute(statement("check"), place).fetchall()
    jobs, others = found_among(queue.name, rows)
    findings += unreadable(queue.name, others)
    findings += _misplaced(cursor, [job for job in jobs if job.head.tags])
    return CheckPage(findings=findings, cursor=rows[-1][2] if len(rows) == LIMITS.batch else None)


def _corrupt(cursor: sqlite3.Cursor) -> Iterator[Finding]:
    for (words,) in cursor.execute("PRAGMA quick_check('stanchion_jobs')").fetchall():
        if words != "ok":
            yield Finding(fault=Fault.CORRUPT, where="stanchion_jobs", detail=words)


def _unbalanced(cursor: sqlite3.Cursor, queue: QueueRow) -> list[Finding]:
    rows = cursor.execute(statement("balance"), (queue.id,)).fetchall()
    totals = totals_of(rows[0][0]) if rows else {}
    there = {state: number for _, state, number in rows}
    return unbalanced(queue.name, totals, {state: there.get(state, 0) for state in State})


def _misplaced(cursor: sqlite3.Cursor, tagged: Sequence[Found]) -> Iterator[Finding]:
    """Find jobs that another program moved without the index of their tags."""
    rowids = missing(cursor, [job.rowid for job in tagged]) if tagged else ()
    for job in tagged:
        if job.rowid in rowids:
            detail = "the index of tags does not have it where it is"
            yield Finding(fault=Fault.MISPLACED, where=job.head.id, detail=detail)
