"""Notifying: transitions for observers, made only if there are any."""

from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec

from stanchion.contract.answers import Claimed, Inserted
from stanchion.engine.driver import Driver
from stanchion.model.changes import Change
from stanchion.model.effects import apply_change, create_record
from stanchion.model.history import Failure
from stanchion.model.queues import is_reserved
from stanchion.model.records import Head, Item, head_of
from stanchion.model.states import Event, State
from stanchion.model.transitions import Transition

HOOK: Final = "job_changed"
"""The hook of plugins that observe transitions."""

_ZERO: Final = timedelta(0)


class Observer(Protocol):
    """Observes the transitions of one caller, beside the plugins."""

    def wants(self, event: Event) -> bool:
        """Return whether it is to be called for an event.

        Args:
            event: The event.

        Returns:
            `True` if it is.
        """
        ...

    def __call__(self, transition: Transition) -> None:
        """Observe a transition."""
        ...


def notify_inserted(driver: Driver, item: Item, answer: Inserted) -> None:
    """Notify of a created job.

    Args:
        driver: Whose plugins are notified.

        item: What was inserted.

        answer: The backend's answer.
    """
    if answer.created and _is_observed(driver, item.id):
        job = head_of(create_record(item, now=answer.now, tail=lambda: 0))
        driver.plugins.notify(
            HOOK,
            transition=Transition(
                job=job, event=Event.ENQUEUE, from_state=None, to_state=job.state, at=answer.now
            ),
        )


def notify_claimed(driver: Driver, claimed: Claimed) -> None:
    """Notify of claimed jobs.

    Args:
        driver: Whose plugins are notified.

        claimed: The backend's answer.
    """
    for record in claimed.records if driver.plugins.listening(HOOK) else ():
        if not is_reserved(record.id):
            at = record.started_at or claimed.now  # a claim that is asked for again was made earlier
            waited = at - (record.queued_at or record.created_at)
            driver.plugins.notify(
                HOOK,
                transition=Transition(
                    job=head_of(record),
                    event=Event.CLAIM,
                    from_state=State.QUEUED,
                    to_state=State.RUNNING,
                    waited=max(_ZERO, waited),
                    at=at,
                ),
            )


def notify_changed(
    driver: Driver,
    found: Head,
    change: Change,
    at: datetime,
    *,
    elapsed: timedelta = _ZERO,
    observer: Observer | None = None,
) -> None:
    """Notify of a change that was made; beats are not notified of.

    Args:
        driver: Whose plugins are notified.

        found: The job as it was decided on.

        change: The change.

        at: When it was made.

        elapsed: How long the run took.

        observer: Observes it before the plugins do.
    """
    wanted = observer is not None and observer.wants(change.event)
    observed = change.event is not Event.BEAT and _is_observed(driver, found.id)
    if not wanted and not observed:
        return
    transition = _transition(found, change, at, elapsed)
    if wanted and observer is not None:
        observer(transition)
    if observed:
        driver.plugins.notify(HOOK, transition=transition)


def _is_observed(driver: Driver, job_id: str) -> bool:
    return driver.plugins.listening(HOOK) and not is_reserved(job_id)


def _transition(found: Head, change: Change, at: datetime, elapsed: timedelta) -> Transition:
    head = head_of(found)
    move = change.move
    result = move.notes.get("result")
    return Transition(
        job=apply_change(head, change, now=at, tail=lambda: head.place) or head,
        event=change.event,
        from_state=change.state,
        to_state=move.to,
        failure=_failure(move.append.get("errors")),
        result_size=None if result is None else len(result),
        elapsed=elapsed,
        at=at,
    )


def _failure(stored: bytes | None) -> Failure | None:
    return None if stored is None else msgspec.json.decode(stored, type=Failure)
