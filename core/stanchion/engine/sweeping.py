"""Sweeping: jobs that are due move on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from stanchion.contract.answers import Due
from stanchion.contract.requests import FindDue
from stanchion.engine.changing import apply
from stanchion.engine.driver import Driver
from stanchion.engine.notifying import Observer, notify_changed
from stanchion.engine.operations import Call, Steps
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.history import was_made
from stanchion.model.ids import new_key
from stanchion.model.signals import signal_for

ROUNDS: Final = 50
"""How many batches one sweep takes at most, so that it ends although others make jobs due all the time."""


def sweep(
    driver: Driver, queues: Sequence[str], rounds: int = ROUNDS, *, observer: Observer | None = None
) -> Steps[int]:
    """Move the jobs that are due.

    Args:
        driver: Where.

        queues: Where to look.

        rounds: How many batches to move at most.

        observer: Observes the changes that were made.

    Returns:
        How many were moved.
    """
    moved = 0
    for _ in range(rounds):
        count, more = yield from sweep_once(driver, queues, observer=observer)
        moved += count
        if not more:
            break
    return moved


def sweep_once(
    driver: Driver, queues: Sequence[str], *, observer: Observer | None = None
) -> Steps[tuple[int, bool]]:
    """Move the jobs of one answer.

    Args:
        driver: Where.

        queues: Where to look.

        observer: Observes the changes that were made.

    Returns:
        How many were moved, and whether there may be more.
    """
    by = new_key()
    due: Due = yield Call("due", (FindDue(queues, driver.backend.limits.batch),))
    changes = [driver.decide(head, signal_for(head), by) for head in due.heads]
    answers = yield from apply(driver, changes)
    moved = 0
    for head, change, answer in zip(due.heads, changes, answers, strict=True):
        at = answer.now if isinstance(answer, Applied) else _made_before(answer, change, by)
        if at is not None:
            notify_changed(driver, head, change, at, observer=observer)
            moved += 1
    return moved, bool(moved) and due.more


def _made_before(answer: Refused, change: Change, by: str) -> datetime | None:
    return None if answer.head is None else was_made(answer.head, answer.history, by, change.event)
