"""Reporting: what a worker says of its runs is recorded."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from stanchion.engine.changing import apply, pauses
from stanchion.engine.driver import Driver
from stanchion.engine.notifying import Observer, notify_changed
from stanchion.engine.operations import Pause, Steps
from stanchion.errors import Contended, LeaseLost
from stanchion.model.changes import Applied, Change, Refusal, Refused
from stanchion.model.history import was_made
from stanchion.model.policies import Policy
from stanchion.model.records import Head
from stanchion.model.signals import Beaten, Ended

Reported = Applied | LeaseLost | Contended


class Report(msgspec.Struct, gc=False, frozen=True):
    """What a worker says of one of its runs."""

    job: Head
    """The job as claimed."""

    signal: Ended | Beaten
    """What happened to it."""

    policy: Policy
    """The job's policy."""

    elapsed: timedelta = timedelta(0)
    """How long the run took, by the worker's monotonic clock."""


def report(
    driver: Driver, reports: Sequence[Report], *, observer: Observer | None = None
) -> Steps[list[Reported]]:
    """Record what a worker says of its runs.

    Args:
        driver: Where.

        reports: What it says.

        observer: Observes the changes that were made.

    Returns:
        For each report that it was recorded, or why not. `LeaseLost`: the run no longer holds its job. `Contended`:
        others changed the job each time, so nothing is recorded yet; report it again. A report that is refused, but
        is in the job's history, was recorded by an earlier try of it.
    """
    answers: dict[int, Reported] = {}
    pending = dict(enumerate(reports))
    waits, conflicts = pauses(driver), 0
    while True:
        changes = [driver.decide(one.job, one.signal, policy=one.policy) for one in pending.values()]
        got = yield from apply(driver, changes)
        again: dict[int, Report] = {}
        for (index, one), change, answer in zip(pending.items(), changes, got, strict=True):
            if isinstance(answer, Refused) and answer.why is Refusal.REVISION and answer.head is not None:
                again[index] = replace(one, job=answer.head)
                continue
            answers[index] = made = _answer(one, change, answer)
            if isinstance(made, Applied):
                notify_changed(driver, one.job, change, made.now, elapsed=one.elapsed, observer=observer)
        pending, conflicts = again, conflicts + 1
        pause = next(waits, None) if pending else None
        if pause is None:
            break
        yield Pause(pause)
    for index, one in pending.items():
        answers[index] = Contended(one.job.id, one.signal.event, conflicts)
    return [answers[index] for index in range(len(reports))]


def _answer(one: Report, change: Change, answer: Applied | Refused) -> Applied | LeaseLost:
    if isinstance(answer, Applied):
        return answer
    if answer.head is not None:
        at = was_made(answer.head, answer.history, one.job.claim or "", change.event)
        if at is not None:
            return Applied(at, answer.head.revision)
    return LeaseLost(one.job.id)
