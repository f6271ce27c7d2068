"""Inserting jobs, inside a transaction."""

from collections.abc import Sequence

from stanchion.contract.answers import Inserted
from stanchion.model.effects import create_record, takes_unique
from stanchion.model.ids import split_id
from stanchion.model.records import Item
from stanchion.model.states import Event
from stanchion_sqlite.columns import new_columns
from stanchion_sqlite.rows import Found
from stanchion_sqlite.transaction import Transaction


def insert(transaction: Transaction, items: Sequence[Item]) -> list[Inserted]:
    """Create jobs, each unless its id or its unique key is taken.

    Args:
        transaction: The transaction.

        items: The jobs, in the order in which they are created.

    Returns:
        An answer for each.
    """
    created = Inserted(True, None, transaction.now)
    return [_insert(transaction, item) or created for item in items]


def _insert(transaction: Transaction, item: Item) -> Inserted | None:
    """Create one job; if it was not created, return the answer."""
    name, key = split_id(item.id)
    queue = transaction.queue(name)
    record = create_record(item, now=transaction.now, tail=queue.tail)
    if item.unique is not None and not takes_unique(item):  # it must not be held by another job either
        there = transaction.jobs(queue, "holder", queue.id, key, queue.id, item.unique)
        if there:
            return Inserted(False, there[0].head, transaction.now)
    columns = new_columns(queue.id, key, record)
    while (rowid := transaction.create(columns)) is None:
        there = transaction.jobs(queue, "holder", queue.id, key, queue.id, item.unique)
        if there:  # else it could not be read, and was quarantined
            return Inserted(False, there[0].head, transaction.now)
    transaction.enter(queue, Found(rowid, record, record), Event.ENQUEUE)
    return None
