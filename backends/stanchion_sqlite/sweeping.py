"""Finding jobs that are due, and quarantined records that can be read again."""

import sqlite3
from datetime import datetime
from itertools import product

import msgspec

from stanchion.contract.requests import FindDue
from stanchion.model.records import Head
from stanchion.model.states import SWEPT
from stanchion_sqlite.quarantine import look_again, readable_again, restore
from stanchion_sqlite.queues import queues_of
from stanchion_sqlite.rows import found_among, to_ms
from stanchion_sqlite.statements import statement
from stanchion_sqlite.transaction import Transaction


class Sweep(msgspec.Struct):
    """What was found."""

    heads: list[Head] = []
    more: bool = False
    suspects: dict[str, list[int]] = {}
    """Rows that cannot be read, by the name of their queue."""
    readable: dict[str, list[int]] = {}
    """Quarantined rows that can be read again, by the name of their queue."""

    @property
    def queues(self) -> set[str]:
        """The queues in which something is to be done."""
        return {*self.suspects, *self.readable}

    def tidy(self, transaction: Transaction) -> None:
        """Quarantine what cannot be read, and restore what can."""
        for name in self.queues.intersection(transaction.queues):
            queue = transaction.queues[name]
            look_again(transaction, queue, self.suspects.get(name, ()))
            restore(transaction, queue, self.readable.get(name, ()))


def sweep(
    cursor: sqlite3.Cursor, namespace: str, request: FindDue, now: datetime, looked_at: dict[int, int]
) -> Sweep:
    """Find jobs that are due, heads only.

    Args:
        cursor: A cursor that reads.

        namespace: Whose queues.

        request: What is asked for.

        now: The instant.

        looked_at: The quarantined row of each queue that was looked at last; it is changed.

    Returns:
        What was found.
    """
    found, queues = Sweep(), queues_of(cursor, namespace, request.queues).values()
    for state, queue in product(SWEPT, queues):
        left = request.limit - len(found.heads)
        if left <= 0:
            found.more = True
            break
        rows = cursor.execute(statement("due"), (queue.id, state, to_ms(now), left)).fetchall()
        jobs, others = found_among(queue.name, rows)
        found.heads += [job.head for job in jobs]
        found.more = found.more or len(rows) == left
        if others:
            found.suspects.setdefault(queue.name, []).extend(row[0] for row in others)
    for queue in queues:
        readable, looked_at[queue.id] = readable_again(cursor, queue, looked_at.get(queue.id, 0))
        if readable:
            found.readable[queue.name] = readable
    return found
