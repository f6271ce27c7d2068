"""Controlling: callers change jobs from outside."""

from datetime import datetime

from msgspec.structs import replace

from stanchion.engine.changing import apply, pauses
from stanchion.engine.driver import Driver
from stanchion.engine.finding import find
from stanchion.engine.notifying import notify_changed
from stanchion.engine.operations import Pause, Steps
from stanchion.errors import Contended, IllegalTransition, JobNotFound, UniqueHeld
from stanchion.model.changes import Applied, Change, Refusal
from stanchion.model.effects import apply_change
from stanchion.model.history import was_made
from stanchion.model.ids import new_key
from stanchion.model.records import Head
from stanchion.model.signals import Asked, Deleted


def ask(
    driver: Driver,
    job_id: str,
    signal: Asked,
    *,
    known: Head | None = None,
    created_at: datetime | None = None,
) -> Steps[Head | None]:
    """Change a job from outside.

    Args:
        driver: Where.

        job_id: Which job.

        signal: What is asked for.

        known: The job as the caller knows it: if nothing has changed since, it need not be read. It names the life.

        created_at: When the job that is meant was created; defaults to that of `known`, or whichever has the id.

    Returns:
        The job afterwards, with its body if `known` has one; `None` if it was deleted.

    Raises:
        JobNotFound: There is no such job, or no more: another one may have its id by now. Deleting a known job that
            is gone is harmless, since a deletion whose reply was lost looks the same.
        IllegalTransition: Its state does not allow it.
        UniqueHeld: Another job holds its unique key.
        Contended: It was changed by others during each try.
    """
    by = new_key()
    life = known.created_at if known is not None and created_at is None else created_at
    try:
        head, change = yield from _first(driver, job_id, signal, by, known, life)
    except JobNotFound:
        if known is not None and isinstance(signal, Deleted):
            return None
        raise
    return (yield from _change(driver, signal, by, head, change))


def _change(driver: Driver, signal: Asked, by: str, head: Head, change: Change) -> Steps[Head | None]:
    """Apply a change, and decide it again as long as it conflicts with other changes."""
    conflicts = 0
    for pause in pauses(driver):
        (answer,) = yield from apply(driver, [change])
        if isinstance(answer, Applied):
            notify_changed(driver, head, change, answer.now)
            return _after(head, change, answer)
        if answer.why is Refusal.UNIQUE:
            raise UniqueHeld(head.id)
        if answer.head is None:
            if isinstance(signal, Deleted):
                return None
            raise JobNotFound(head.id)
        at = was_made(answer.head, answer.history, by, change.event)
        if at is not None:
            notify_changed(driver, head, change, at)
            return answer.head
        head = answer.head
        change = driver.decide(head, signal, by)
        conflicts += 1
        yield Pause(pause)
    raise Contended(head.id, signal.event, conflicts)


def _first(
    driver: Driver, job_id: str, signal: Asked, by: str, known: Head | None, life: datetime | None
) -> Steps[tuple[Head, Change]]:
    """Decide on the job as it is known, or as it is, if it must be read or may have become another since."""
    if known is not None:
        try:
            return known, driver.decide(known, signal, by)
        except IllegalTransition:
            pass
    head = yield from find(job_id)
    if life not in (None, head.created_at):
        raise JobNotFound(job_id)
    return head, driver.decide(head, signal, by)


def _after(head: Head, change: Change, answer: Applied) -> Head | None:
    after = apply_change(head, change, now=answer.now, tail=lambda: head.place)
    return None if after is None else replace(after, revision=answer.revision)
