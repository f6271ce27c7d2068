"""The ledger of a queue: what is kept of it when a minute ends, and how it is read."""

import sqlite3
from datetime import datetime, timedelta
from typing import Final

from stanchion.contract.requests import ReadLedger
from stanchion.model.ledger import HOURS, MINUTES, Books, Snapshot, Snapshots, minute_of, thinned
from stanchion_sqlite.queues import QueueRow, queues_of, totals_of
from stanchion_sqlite.rows import Row, as_json
from stanchion_sqlite.statements import statement

_HOUR: Final = 60
"""Minutes."""


def keep(cursor: sqlite3.Cursor, queue: QueueRow, snapshot: Snapshot) -> None:
    """Keep the totals of a minute that ended, and forget some of those that were kept for long enough.

    Args:
        cursor: The cursor of the transaction.

        queue: The queue, whose ledger is in the next minute that something was counted in.

        snapshot: The totals.
    """
    ends_hour = snapshot.minute // _HOUR != queue.minute // _HOUR
    row = (queue.id, ends_hour, snapshot.minute, as_json(snapshot.totals))
    cursor.execute(statement("snapshot"), row)
    for kind, span in ((False, MINUTES), (True, HOURS)):
        oldest = snapshot.minute - span // timedelta(minutes=1)
        stays = int(kind)  # the last one before, the base for a queue that was idle for longer
        cursor.execute(statement("forget_snapshots"), (queue.id, kind, queue.id, kind, oldest, stays))


def read_books(cursor: sqlite3.Cursor, namespace: str, request: ReadLedger, now: datetime) -> Books:
    """Read a queue's ledger.

    Args:
        cursor: A cursor that reads.

        namespace: Whose queue.

        request: What is asked for.

        now: The backend's time.

    Returns:
        The totals, and the snapshots that are asked for.
    """
    queue = queues_of(cursor, namespace, [request.queue]).get(request.queue)
    if queue is None:
        return Books(now=now, totals={})
    snapshots = [] if request.since is None else _snapshots(cursor, queue, request.since, request.hourly)
    return Books(now=now, minute=queue.minute, totals=totals_of(queue.totals), snapshots=snapshots)


def _snapshots(cursor: sqlite3.Cursor, queue: QueueRow, since: datetime, hourly: bool) -> list[Snapshot]:
    """Read those since an instant and the last one before it, oldest first."""
    first = minute_of(since)
    this_hour = queue.minute // _HOUR * _HOUR
    rows = [
        *_of_kind(cursor, queue, ends_hour=True, since=first),
        *_of_kind(cursor, queue, ends_hour=False, since=max(first, this_hour) if hourly else first),
    ]
    found = [Snapshot(minute, totals_of(totals)) for minute, totals in sorted(rows)]
    if hourly:
        found = list({one.minute // _HOUR: one for one in found}.values())
    elif found:
        found = thinned(found, found[-1].minute)  # those in the store may be late to go
    return Snapshots(found).read(since)


def _of_kind(cursor: sqlite3.Cursor, queue: QueueRow, *, ends_hour: bool, since: int) -> list[Row]:
    where = {"queue": queue.id, "ends_hour": ends_hour, "since": since}
    return cursor.execute(statement("snapshots"), where).fetchall()
