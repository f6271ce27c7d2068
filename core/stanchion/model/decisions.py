"""Decisions: given a job and what happened to it, the one change to make. Pure functions, no I/O, no clock.

Each thing that can happen is a small value, a signal, that carries what is known of it. `decide` looks the
pair (state, event) up in the table, lets the signal's rule choose the move, and puts the guards around it:

- A signal of the run itself (its handler ended, its worker beats) names the claim. The backend refuses it once
  the claim no longer holds the job.
- Every other signal names the life it was decided on, by the instant of its creation. An id may be used again once
  its job was deleted; the new job is another one, and the backend refuses the change as if there were none.
- A signal of a sweep asks that the job is still due.
- Every signal whose outcome depends on what others may have written names the revision it was decided on. Only
  a beat and a completion do not: they are right whatever else was asked for meanwhile.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, assert_never

import msgspec

from stanchion.errors import IllegalTransition
from stanchion.model.changes import NOW, REPEATED, Change, Move, Now, Place
from stanchion.model.history import Failure, Happening
from stanchion.model.policies import Policy
from stanchion.model.records import Record
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

_Notes = Mapping[str, bytes | Now | None]
_NOTHING: Final[Mapping[str, Any]] = {}


class _FromRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run reports; `notes` and `append` are what its handler wrote since it last reported."""

    notes: Mapping[str, bytes] = {}
    append: Mapping[str, bytes] = {}


class Beaten(_FromRun, frozen=True, kw_only=True):
    """The run is alive."""

    event: ClassVar[Event] = Event.BEAT
    lease: timedelta


class Completed(_FromRun, frozen=True, kw_only=True):
    """The handler returned; `result` is its value, encoded."""

    event: ClassVar[Event] = Event.COMPLETE
    result: bytes


class Failed(_FromRun, frozen=True, kw_only=True):
    """The handler raised, or asked for `Retry` (then `wait` is set) or `Fail` (then `for_good`)."""

    event: ClassVar[Event] = Event.FAIL
    failure: Failure
    wait: timedelta | None = None
    for_good: bool = False


class TimedOut(_FromRun, frozen=True, kw_only=True):
    """The run went past its time limit."""

    event: ClassVar[Event] = Event.TIME_OUT
    failure: Failure


class Released(_FromRun, frozen=True, kw_only=True):
    """The worker hands the job back: its handler never started, or has ended by the worker's shutdown."""

    event: ClassVar[Event] = Event.RELEASE


class Snoozed(_FromRun, frozen=True, kw_only=True):
    """The handler puts the job off: for a time, or until an instant."""

    event: ClassVar[Event] = Event.SNOOZE
    until: timedelta | datetime


class TaskUnknown(_FromRun, frozen=True, kw_only=True):
    """The worker that claimed the job does not know its task."""

    event: ClassVar[Event] = Event.SNOOZE


class Cancelled(_FromRun, frozen=True, kw_only=True):
    """The handler cancels its own job, or stopped because it was asked to."""

    event: ClassVar[Event] = Event.CANCEL
    reason: str = ""


class GivenUp(_FromRun, frozen=True, kw_only=True):
    """The worker loses the job on purpose: it must not start twice and its handler was stopped half-way."""

    event: ClassVar[Event] = Event.LOSE


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """The lease lapsed."""

    event: ClassVar[Event] = Event.LOSE


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """The time of a waiting job came."""

    event: ClassVar[Event] = Event.PROMOTE


class Unblocked(msgspec.Struct, frozen=True, kw_only=True):
    """What the job waited for has ended."""

    event: ClassVar[Event] = Event.UNBLOCK


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """The job was final for as long as it was to be kept."""

    event: ClassVar[Event] = Event.EXPIRE


class CancelAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks to cancel the job."""

    event: ClassVar[Event] = Event.CANCEL
    reason: str = ""


class RetryAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks to run the job again, or now; a completed one only with `force`."""

    event: ClassVar[Event] = Event.RETRY
    force: bool = False


class Updated(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody changes a job that has not started: its priority, when it may start, or both."""

    event: ClassVar[Event] = Event.UPDATE
    priority: int | None = None
    start: timedelta | datetime | None = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks for the record to be gone."""

    event: ClassVar[Event] = Event.DELETE


Ended = Completed | Failed | TimedOut | Released | Snoozed | TaskUnknown | Cancelled | GivenUp
"""What ends a run, as its worker reports it."""

Swept = Lost | Promoted | Unblocked | Expired
"""What a sweep finds."""

Asked = CancelAsked | RetryAsked | Updated | Deleted
"""What somebody asks for from outside."""

Signal = Beaten | Ended | Swept | Asked
"""Everything that can happen to a job, but for being claimed, which backends do themselves."""

_BLIND: Final = frozenset({Event.BEAT, Event.COMPLETE})
"""Right whatever was changed from outside meanwhile, so guarded by the claim alone."""


def swept(record: Record) -> Swept:
    """What it means that a job's clock has run out; `queued` has no clock and is never due."""
    match record.state:
        case State.RUNNING:
            return Lost()
        case State.BLOCKED:
            return Unblocked()
        case State.SCHEDULED | State.RETRYING | State.QUEUED:
            return Promoted()
        case State.COMPLETED | State.FAILED | State.TIMED_OUT | State.CANCELLED:
            return Expired()
        case _:
            assert_never(record.state)


def decide(job: Record, signal: Signal, *, roll: float, policy: Policy, by: str = "") -> Change:
    """The change that a signal makes to a job.

    Args:
        job: The job as last read.

        signal: What happened to it.

        roll: A random number in [0, 1), for jitter.

        policy: The job's own policy, from its spec.

        by: For what is asked from outside, an id of the call; it is kept in the history, so that a repetition
            after a lost reply can be recognised. A run's id is its claim.

    Raises:
        IllegalTransition: The state machine has no such move.
    """
    event = signal.event
    targets = MOVES[job.state].get(event)
    run = signal if isinstance(signal, _FromRun) else None
    if targets is None or (run is not None and job.state is not State.RUNNING):
        raise IllegalTransition(job.id, job.state, event)
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


class _Case(msgspec.Struct, frozen=True):
    """A job, what happened to it, and the moves that most rules end in."""

    job: Record
    event: Event
    policy: Policy
    by: str
    run: _FromRun

    def counted(self, *counters: str) -> dict[str, bytes]:
        """The run's notes, and these counters one higher."""
        return {**self.run.notes, **{name: b"%d" % (self.job.count(name) + 1) for name in counters}}

    def happened(self, to: State, failure: Failure | None = None, reason: str = "") -> dict[str, bytes]:
        """The run's entries, the error if there is one, and an entry in the history."""
        ended = self.job.state is State.RUNNING and to is not State.RUNNING
        started = self.job.started_at if ended else None
        entry = Happening(
            event=self.event,
            to=to,
            by=self.by,
            run=self.job.run,
            started_ms=None if started is None else round(started.timestamp() * 1000),
            reason=reason,
        )
        error = {} if failure is None else {"errors": failure.encode()}
        return {**self.run.append, **error, "history": entry.encode()}

    def end(self, to: State, notes: _Notes, *, failure: Failure | None = None, reason: str = "") -> Move:
        """To a final state: the record is kept for a while, and its unique key is freed."""
        return Move(
            to=to,
            clock=_kept(self.policy, to),
            head={"unique": None} if self.job.unique else _NOTHING,
            notes=notes,
            append=self.happened(to, failure, reason),
        )

    def wait(
        self, to: State, clock: timedelta | datetime | None, notes: _Notes, failure: Failure | None = None
    ) -> Move:
        """Back to waiting; a job with a request to cancel never goes there."""
        if self.job.cancel_requested:
            return self.end(State.CANCELLED, notes, failure=failure)
        return Move(to=to, clock=clock, notes=notes, append=self.happened(to, failure))


_SILENT: Final = _FromRun()


def _kept(policy: Policy, to: State) -> timedelta | None:
    """How long the record of a job that ends is kept.

    One that must not start twice stays for as long as its enqueue may be repeated: else that would make it anew.
    """
    keep = policy.keep_failed if to in (State.FAILED, State.TIMED_OUT) else policy.keep
    return REPEATED if keep is not None and keep < REPEATED and policy.at_most_once else keep


def _move(case: _Case, signal: Signal, roll: float) -> Move:
    match signal:
        case Completed():
            return case.end(State.COMPLETED, {**case.counted("attempts"), "result": signal.result})
        case Beaten():
            return Move(to=State.RUNNING, clock=signal.lease, notes=signal.notes, append=signal.append)
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
            return case.wait(State.SCHEDULED, _unknown_wait(case.job), case.counted("snoozed", "unknown"))
        case Cancelled():
            return case.end(State.CANCELLED, case.counted("attempts"), reason=signal.reason)
        case CancelAsked():
            return _cancel(case, signal)
        case RetryAsked():
            return _retry(case, signal)
        case Promoted() | Unblocked():
            return Move(to=State.QUEUED, clock=None, head={"place": Place.TAIL})
        case Updated():
            return _update(case, signal)
        case Deleted() | Expired():
            return Move(to=None)
        case _:
            assert_never(signal)


def _fail(case: _Case, signal: Failed, roll: float) -> Move:
    attempt = case.job.count("attempts") + 1
    notes = case.counted("attempts")
    if signal.for_good or attempt > case.policy.retries:
        to = State.CANCELLED if case.job.cancel_requested else State.FAILED
        return case.end(to, notes, failure=signal.failure)
    wait = case.policy.backoff.delay(attempt, roll) if signal.wait is None else signal.wait
    return case.wait(State.RETRYING, wait, notes, signal.failure)


def _time_out(case: _Case, signal: TimedOut, roll: float) -> Move:
    attempt = case.job.count("attempts") + 1
    notes = case.counted("attempts")
    if attempt > case.policy.retries:
        to = State.CANCELLED if case.job.cancel_requested else State.TIMED_OUT
        return case.end(to, notes, failure=signal.failure)
    return case.wait(State.RETRYING, case.policy.backoff.delay(attempt, roll), notes, signal.failure)


def _lose(case: _Case, roll: float) -> Move:
    before, notes = case.job.count("lost"), case.counted("lost")
    failure = Failure(type="lost", message="its worker died or could not be reached", run=case.job.run)
    if before >= case.policy.max_lost and not case.job.cancel_requested:
        return case.end(State.FAILED, notes, failure=failure, reason="lost")
    if before == 0:
        return case.wait(State.QUEUED, None, notes, failure)
    return case.wait(
        State.RETRYING, roll * _doubled(LOST_SPREAD, before - 1, LOST_SPREAD_CAP), notes, failure
    )


def _doubled(span: timedelta, times: int, cap: timedelta) -> timedelta:
    return min(span * (1 << min(times, 20)), cap)


def _unknown_wait(job: Record) -> timedelta:
    return _doubled(UNKNOWN_WAIT, job.count("unknown"), UNKNOWN_WAIT_CAP)


def _cancel(case: _Case, signal: CancelAsked) -> Move:
    first: _Notes = {"cancel": signal.reason.encode(), "cancel_at": NOW}
    if case.job.state is not State.RUNNING:
        return case.end(State.CANCELLED, first, reason=signal.reason)
    notes = _NOTHING if case.job.cancel_requested else first
    return Move(to=State.RUNNING, notes=notes, append=case.happened(State.RUNNING, reason=signal.reason))


_RESET: Final = ("attempts", "lost", "unknown", "cancel", "cancel_at", "result", "progress")
"""The notes that a retry erases; saved data stays, for the handler to go on from."""


def _retry(case: _Case, signal: RetryAsked) -> Move:
    job = case.job
    if job.state is State.COMPLETED and not signal.force:
        raise IllegalTransition(job.id, job.state, case.event, "it has a result; force=True runs it again")
    taken = {"unique": case.policy.unique} if case.policy.unique and job.state in FINAL else {}
    return Move(
        to=State.QUEUED,
        clock=None,
        head={"place": Place.TAIL, **taken},
        notes={name: None for name in _RESET if name in job.notes},
        append=case.happened(State.QUEUED),
    )


def _update(case: _Case, signal: Updated) -> Move:
    state = case.job.state
    head = {} if signal.priority is None else {"priority": signal.priority}
    if signal.start is not None and state is State.BLOCKED:
        raise IllegalTransition(case.job.id, state, case.event, "it waits for other jobs, not for a time")
    if signal.start is None:
        return Move(to=state, head=head, append=case.happened(state))
    return Move(to=State.SCHEDULED, clock=signal.start, head=head, append=case.happened(State.SCHEDULED))


def hand_back(
    policy: Policy, *, started: bool, notes: Mapping[str, bytes], append: Mapping[str, bytes]
) -> Ended:
    """What a stopping worker says of a run it ends: a job that must not start twice is lost once started."""
    if started and policy.at_most_once:
        return GivenUp(notes=notes, append=append)
    return Released(notes=notes, append=append)
