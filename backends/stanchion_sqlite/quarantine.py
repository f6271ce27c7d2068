"""The quarantine: records that cannot be read, and some that can be read again, after an upgrade or a repair."""

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from stanchion.model.states import Event
from stanchion_sqlite.queues import QueueRow
from stanchion_sqlite.rows import KEY, STATE, UNIQUE, Found, Row, Unreadable, as_json, found
from stanchion_sqlite.statements import statement
from stanchion_sqlite.transaction import Transaction

A_FEW: Final = 3
"""How many quarantined records of a queue are looked at in one sweep."""


def look_again(transaction: Transaction, queue: QueueRow, rowids: Iterable[int]) -> None:
    """Quarantine what cannot be read still.

    Args:
        transaction: The transaction.

        queue: Their queue.

        rowids: Rows that could not be read.
    """
    transaction.jobs(queue, "again", as_json(list(rowids)))


def readable_again(cursor: sqlite3.Cursor, queue: QueueRow, behind: int) -> tuple[list[int], int]:
    """Look at a few quarantined records.

    Args:
        cursor: A cursor that reads.

        queue: Their queue.

        behind: The row that was looked at last.

    Returns:
        Those that can be read again, and the row that was looked at last; zero after the end.
    """
    rows = cursor.execute(statement("in_quarantine"), (queue.id, behind, A_FEW)).fetchall()
    readable = [job.rowid for job in _restored(queue, rows)]
    return readable, rows[-1][0] if len(rows) == A_FEW else 0


def restore(transaction: Transaction, queue: QueueRow, rowids: Iterable[int]) -> None:
    """Put quarantined records back into their place, unless their id or their unique key was taken meanwhile.

    Args:
        transaction: The transaction.

        queue: Their queue.

        rowids: Those that could be read.
    """
    for rowid in rowids:
        rows = transaction.run("in_quarantine", queue.id, rowid - 1, 1).fetchall()
        for job in _restored(queue, rows):
            head = job.head
            key = head.id.removeprefix(f"{queue.name}:")
            if transaction.run("restore", key, head.state, head.unique, job.rowid).rowcount == 1:
                transaction.run("forget_quarantine", job.rowid)
                transaction.enter(queue, job, Event.RESTORE)


def _restored(queue: QueueRow, rows: Iterable[Row]) -> list[Found]:
    """Return what quarantined rows would be in their place, as far as they can be read there."""
    jobs = []
    for row in rows:
        before: list[Any] = list(row[:-3])
        before[KEY], before[STATE], before[UNIQUE] = row[-3:]
        try:
            jobs.append(found(queue.name, tuple(before)))
        except Unreadable:
            continue
    return jobs
