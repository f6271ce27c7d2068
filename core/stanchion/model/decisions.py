"""Decisions: given a job and what happened to it, the one change to make. Pure functions, no I/O, no clock.

Each thing that can happen is a small value, a signal, that carries what is known of it. `decide` looks the
pair (state, event) up in the table, lets the signal's rule choose the move, and puts the guards around it:

- A signal of the run itself (its handler ended, its worker beats) names the claim. The backend refuses it once
  the claim no longer holds the job.
- Every other signal names the life it was decided on, by the instant of its creation. An id may be used again once
  its job was deleted; the new job is another one, and the backend refuses the change as if there were none.
- A signal of a sweep requires that the job is still due.
- Every signal whose outcome depends on what others may have written names the revision it was decided on. Only
  a beat and a completion do not: they are valid despite concurrent changes.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

import msgspec
from msgspec.structs import replace

from stanchion.errors import IllegalTransition
from stanchion.model.changes import HISTORY, REPEATED, TAIL, UNCHANGED, Change, Move
from stanchion.model.history import Failure, HistoryEntry, completed_at_first
from stanchion.model.policies import Policy
from stanchion.model.records import Head
from stanchion.model.signals import (
    Beaten,
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Ended,
    Expired,
    Failed,
    FromRun,
    GivenUp,
    Lost,
    Promoted,
    Released,
    RetryAsked,
    Signal,
    Snoozed,
    Swept,
    TaskUnknown,
    TimedOut,
    Unblocked,
    Updated,
)
from stanchion.model.states import FINAL, MOVES, Event, State

UNKNOWN_WAIT: Final = timedelta(seconds=30)
"""How long a job of an unknown task first waits; long enough for a deployment to bring the task."""

UNKNOWN_WAIT_CAP: Final = timedelta(minutes=10)
"""The waits of a job of an unknown task double up to this."""

LOST_SPREAD: Final = timedelta(seconds=30)
"""The second loss of a job delays its next run by up to this, each further one by up to twice as long, at random: so
jobs that were lost together do not run together again, and one that kills its worker is lost without the others."""

LOST_SPREAD_CAP: Final = timedelta(minutes=10)
"""The bounds of these delays double up to this."""

_ADVICE: Final = {(State.RUNNING, Event.DELETE): "cancel it first"}
"""What to do instead of an event that is not legal in a state, where there is something."""

_NOTHING: Final[Mapping[str, Any]] = {}

ROLLED: Final = frozenset({Event.FAIL, Event.TIME_OUT, Event.LOSE})
"""The events whose rules use `roll`; for all others it may be zero. A random number costs as much as a decision."""

_BLIND: Final = frozenset({Event.BEAT, Event.COMPLETE})
"""Valid despite concurrent changes, so only the claim is checked."""


def decide(job: Head, signal: Signal, *, roll: float, policy: Policy, by: str = "") -> Change:
    """Return the change that a signal makes to a job.

    Args:
        job: The job as last read.

        signal: What happened to it.

        roll: A random number in [0, 1), for jitter.

        policy: The job's own policy.

        by: For what is asked from outside, an id of the call; it is kept in the history, so that a repetition
            after a lost reply can be recognised. A run's id is its claim.

    Returns:
        The change, with the guards under which it is valid.

    Raises:
        IllegalTransition: The state machine has no such move.
    """
    event = signal.event
    targets = MOVES[job.state].get(event)
    run = signal if isinstance(signal, FromRun) else None
    if targets is None or (run is not None and job.state is not State.RUNNING):
        raise IllegalTransition(job.id, job.state, event, _ADVICE.get((job.state, event), ""))
    case = _Case(job, event, policy, by if run is None else job.claim or "", run or _SILENT)
    move = _move(case, signal, roll)
    assert move.to in targets, f"{job.state}, {event} -> {move.to} is no row of the table"
    return Change(
        job_id=job.id,
        event=event,
        state=job.state,
        move=move,
        created_at=job.created_at if run is None else None,
        claim=None if run is None else job.claim,
        revision=None if event in _BLIND else job.revision,
        if_due=isinstance(signal, Swept),
    )


class _Case(msgspec.Struct, gc=False, frozen=True):
    """A job, what happened to it, and the moves that most rules end in."""

    job: Head
    event: Event
    policy: Policy
    by: str
    run: FromRun

    def counted(self, *counters: str) -> dict[str, int]:
        """Return these counters, each one higher."""
        return {name: self.job.count(name) + 1 for name in counters}

    def entry(self, to: State, reason: str = "") -> HistoryEntry:
        """Return the change as an entry of the history."""
        ended = self.job.state is State.RUNNING and to is not State.RUNNING
        return HistoryEntry(
            event=self.event,
            to=to,
            by=self.by,
            run=self.job.run,
            started_ms=_ms(self.job.started_at) if ended else None,
            reason=reason,
        )

    def appended(self, entry: HistoryEntry, failure: Failure | None = None) -> dict[str, bytes]:
        """Return the run's entries, the error if there is one, and an entry of the history."""
        error = {} if failure is None else {"errors": failure.encode()}
        return {**self.run.append, **error, HISTORY: entry.encode()}

    def end(
        self,
        to: State,
        counters: Mapping[str, int] = _NOTHING,
        *,
        failure: Failure | None = None,
        reason: str = "",
        **further: Any,
    ) -> Move:
        """Move to a final state: the record is kept for a while, and its unique key is freed."""
        return Move(
            to=to,
            due=_retention(self.policy, to),
            unique=None if self.job.unique else UNCHANGED,
            counters=counters,
            error=UNCHANGED if failure is None else failure.line,
            **{"notes": self.run.notes, "append": self.appended(self.entry(to, reason), failure), **further},
        )

    def wait(
        self,
        to: State,
        due: timedelta | datetime | None,
        counters: Mapping[str, int],
        failure: Failure | None = None,
    ) -> Move:
        """Move back to waiting; a job with a request to cancel never goes there."""
        if self.job.cancel is not None:
            return self.end(State.CANCELLED, counters, failure=failure)
        return Move(
            to=to,
            due=due,
            counters=counters,
            error=UNCHANGED if failure is None else failure.line,
            notes=self.run.notes,
            append=self.appended(self.entry(to), failure),
        )


_SILENT: Final = FromRun()


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


def _retention(policy: Policy, to: State) -> timedelta | None:
    """Return how long the record of a job that ends is kept.

    One that must not start twice stays for as long as its enqueue may be repeated: else that would make it anew.
    """
    retention = policy.keep_failed if to in (State.FAILED, State.TIMED_OUT) else policy.keep
    is_short = retention is not None and retention < REPEATED
    return REPEATED if is_short and policy.at_most_once else retention


def _move(case: _Case, signal: Signal, roll: float) -> Move:
    match signal:
        case Completed():
            return _complete(case, signal)
        case Beaten():
            return Move(to=State.RUNNING, due=signal.lease, notes=signal.notes, append=signal.append)
        case Failed():
            return _fail(case, signal, roll)
        case TimedOut():
            return _time_out(case, signal, roll)
        case Lost() | GivenUp():
            return _lose(case, roll)
        case Released():
            return case.wait(State.QUEUED, None, case.counted("released"))
        case Snoozed():
            return case.wait(State.SCHEDULED, signal.until, case.counted("snoozed"))
        case TaskUnknown():
            return case.wait(State.SCHEDULED, unknown_wait(case.job), case.counted("snoozed", "unknown"))
        case Cancelled():
            return case.end(State.CANCELLED, case.counted("attempts"), reason=signal.reason)
        case CancelAsked():
            return _cancel(case, signal)
        case RetryAsked():
            return _retry(case, signal)
        case Promoted() | Unblocked():
            return Move(to=State.QUEUED, due=None, place=TAIL)
        case Updated():
            return _update(case, signal)
        case Deleted() | Expired():
            return Move(to=None)
        case _:
            assert_never(signal)


def _complete(case: _Case, signal: Completed) -> Move:
    to = State.COMPLETED
    append = (
        signal.append if case.job.run == 1 else case.appended(case.entry(to))
    )  # else the head says it all
    return case.end(
        to, case.counted("attempts"), notes={**signal.notes, "result": signal.result}, append=append
    )


def _fail(case: _Case, signal: Failed, roll: float) -> Move:
    counters = case.counted("attempts")
    attempt = counters["attempts"]
    if signal.for_good or attempt > case.policy.retries:
        to = State.FAILED if case.job.cancel is None else State.CANCELLED
        return case.end(to, counters, failure=signal.failure)
    wait = case.policy.backoff.delay(attempt, roll) if signal.wait is None else signal.wait
    return case.wait(State.RETRYING, wait, counters, signal.failure)


def _time_out(case: _Case, signal: TimedOut, roll: float) -> Move:
    counters = case.counted("attempts")
    attempt = counters["attempts"]
    if attempt > case.policy.retries:
        to = State.TIMED_OUT if case.job.cancel is None else State.CANCELLED
        return case.end(to, counters, failure=signal.failure)
    return case.wait(State.RETRYING, case.policy.backoff.delay(attempt, roll), counters, signal.failure)


def _lose(case: _Case, roll: float) -> Move:
    before, counters = case.job.count("lost"), case.counted("lost")
    failure = Failure(type="lost", message="its worker died or could not be reached", run=case.job.run)
    if before >= case.policy.max_lost and case.job.cancel is None:
        return case.end(State.FAILED, counters, failure=failure, reason="lost")
    if before == 0:
        return case.wait(State.QUEUED, None, counters, failure)
    wait = roll * _doubled(LOST_SPREAD, before - 1, LOST_SPREAD_CAP)
    return case.wait(State.RETRYING, wait, counters, failure)


def _doubled(span: timedelta, times: int, cap: timedelta) -> timedelta:
    return min(span * (1 << min(times, 20)), cap)


def unknown_wait(job: Head) -> timedelta:
    """Return for how long a job is rescheduled whose task its worker does not know.

    Args:
        job: The job as claimed.

    Returns:
        The delay: `UNKNOWN_WAIT`, doubled each time, at most `UNKNOWN_WAIT_CAP`.
    """
    return _doubled(UNKNOWN_WAIT, job.count("unknown"), UNKNOWN_WAIT_CAP)


def _cancel(case: _Case, signal: CancelAsked) -> Move:
    if case.job.state is not State.RUNNING:
        return case.end(State.CANCELLED, reason=signal.reason, cancel=signal.reason)
    return Move(
        to=State.RUNNING,
        cancel=signal.reason if case.job.cancel is None else UNCHANGED,
        append=case.appended(case.entry(State.RUNNING, signal.reason)),
    )


_RESET: Final = ("attempts", "lost", "unknown")
"""The counters that a retry erases."""

_ERASED: Final[Mapping[str, None]] = {"result": None, "progress": None}
"""The notes that a retry erases; saved data stays, for the handler to continue from."""


def _retry(case: _Case, signal: RetryAsked) -> Move:
    job = case.job
    if job.state is State.COMPLETED and not signal.force:
        raise IllegalTransition(
            job.id, job.state, case.event, "use force=True to run it again and erase its result"
        )
    entry = case.entry(State.QUEUED)
    if completed_at_first(job):
        entry = replace(
            entry, started_ms=_ms(job.started_at), ended_ms=_ms(job.ended_at), completed_by=job.claim or ""
        )
    return Move(
        to=State.QUEUED,
        due=None,
        place=TAIL,
        unique=case.policy.unique if case.policy.unique and job.state in FINAL else UNCHANGED,
        cancel=UNCHANGED if job.cancel is None else None,
        error=UNCHANGED if job.error is None else None,
        counters={name: 0 for name in _RESET if name in job.counters},
        notes=_ERASED if job.run else {},
        append=case.appended(entry),
    )


def _update(case: _Case, signal: Updated) -> Move:
    state = case.job.state
    if signal.start is not None and state is State.BLOCKED:
        raise IllegalTransition(case.job.id, state, case.event, "it waits for other jobs, not for a time")
    to = state if signal.start is None else State.SCHEDULED
    return Move(
        to=to,
        due=UNCHANGED if signal.start is None else signal.start,
        priority=UNCHANGED if signal.priority is None else signal.priority,
        tags=UNCHANGED if signal.tags is None else signal.tags,
        append=case.appended(case.entry(to)),
    )


def hand_back(
    policy: Policy, *, started: bool, notes: Mapping[str, bytes], append: Mapping[str, bytes]
) -> Ended:
    """Return what a stopping worker reports of a run that it ends.

    Args:
        policy: The job's policy.

        started: Whether the handler was entered.

        notes: The notes that the handler wrote.

        append: The entries of lists that the handler wrote.

    Returns:
        The job is handed back; but one that must not start twice is given up once it was started.
    """
    if started and policy.at_most_once:
        return GivenUp(notes=notes, append=append)
    return Released(notes=notes, append=append)
