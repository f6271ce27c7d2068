"""Inserting: jobs into the backend."""

from collections.abc import Iterable, Sequence
from typing import Any

from stanchion.contract.answers import Inserted
from stanchion.contract.capabilities import JoinsTransactions
from stanchion.contract.requests import Insert
from stanchion.engine.batching import batches, item_size
from stanchion.engine.driver import Driver
from stanchion.engine.notifying import HOOK, notify_inserted
from stanchion.engine.operations import Call, Steps
from stanchion.errors import InvalidArgument, Unsupported
from stanchion.model.records import Item
from stanchion.model.states import State


def insert(driver: Driver, items: Iterable[Item], connection: Any = None) -> Steps[list[Inserted]]:
    """Create jobs, in batches.

    Args:
        driver: Where.

        items: The jobs.

        connection: Inside the transaction of this connection. Then plugins are not notified, since it is not
            known yet whether there will be such jobs.

    Returns:
        An answer for each item, in that order.

    Raises:
        InvalidArgument: A job is to be inserted running, and has no claim, worker or lease.
        Unsupported: There is a connection, and the backend joins no transactions.
    """
    if connection is not None and not isinstance(driver.backend, JoinsTransactions):
        raise Unsupported("joining transactions", driver.backend)
    verb, further = ("insert", ()) if connection is None else ("insert_joined", (connection,))
    observed = connection is None and driver.plugins.listening(HOOK)
    answers: list[Inserted] = []
    for batch in batches(items, driver.backend.limits, item_size):
        for item in batch:
            if item.state is State.RUNNING:
                _check_held(item)
        got: Sequence[Inserted] = yield Call(verb, (Insert(batch), *further))
        known = [one if one.created else _recognised(item, one) for item, one in zip(batch, got, strict=True)]
        if observed:
            for item, answer in zip(batch, known, strict=True):
                notify_inserted(driver, item, answer)
        answers += known
    return answers


def _check_held(item: Item) -> None:
    """Refuse a job that is inserted running, and that no worker holds."""
    if item.claim is None or item.worker is None or item.due is None:
        raise InvalidArgument(
            f"cannot insert job {item.id} running: it needs a claim, a worker and a lease (due)"
        )


def _recognised(item: Item, answer: Inserted) -> Inserted:
    """Return the answer to an insert that may have been repeated: what it finds may be its own first time.

    A key made by us names one call. Beside a key of the caller's, the policy says which call wrote it.
    """
    there = answer.head
    own = there is not None and there.id == item.id and there.policy == item.policy
    return Inserted(True, there, there.created_at) if there is not None and own else answer
