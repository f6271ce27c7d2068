"""Life stories: what `stanchion.model.decisions` decides, applied by the backend, job by job."""

from datetime import timedelta
from typing import Any

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, FindDue, Get
from stanchion.model.changes import HISTORY, Applied, Change, Refusal
from stanchion.model.decisions import LOST_SPREAD, decide
from stanchion.model.effects import apply_change, refuse
from stanchion.model.history import Failure, history_of
from stanchion.model.policies import Fixed, Policy
from stanchion.model.records import Cancel, Head, Record
from stanchion.model.signals import (
    Beaten,
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Expired,
    Failed,
    GivenUp,
    Lost,
    Promoted,
    Released,
    RetryAsked,
    Signal,
    Snoozed,
    TaskUnknown,
    TimedOut,
    Unblocked,
    Updated,
    signal_for,
)
from stanchion.model.states import FINAL, MOVES, Event, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    LEASE,
    QUEUE,
    a_claim,
    an_item,
    applied_all,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

MINUTE = timedelta(minutes=1)
DIGEST = "digest"
POLICY = Policy(retries=2, max_lost=2, backoff=Fixed(MINUTE))
FAILURE = Failure(type="ValueError", message="no")

ENDS: dict[str, Signal] = {
    "fail": Failed(failure=FAILURE),
    "fail for good": Failed(failure=FAILURE, for_good=True),
    "time out": TimedOut(failure=FAILURE),
    "release": Released(),
    "snooze": Snoozed(until=MINUTE),
    "unknown task": TaskUnknown(),
    "give up": GivenUp(),
    "cancel": Cancelled(reason="not me"),
    "lose": Lost(),
}
SIGNALS: list[Signal] = [
    *ENDS.values(),
    Completed(result=b"1"),
    Beaten(lease=LEASE),
    CancelAsked(reason="enough"),
    RetryAsked(force=True),
    Updated(priority=3),
    Updated(start=MINUTE),
    Promoted(),
    Unblocked(),
    Deleted(),
    Expired(),
]
"""Everything that can happen to a job, but for being claimed."""


def decided(job: Head, signal: Signal, policy: Policy = POLICY, by: str = "a caller") -> Change:
    """Return the change that a signal makes, without chance.

    Returns:
        The change.
    """
    return decide(job, signal, roll=0.5, policy=policy, by=by)


def moved(backend: Backend, job: Head, signal: Signal, policy: Policy = POLICY) -> Record:
    """Send a signal, which must be accepted and lead where the table says.

    Returns:
        The job afterwards.
    """
    change = decided(job, signal, policy)
    (answer,) = backend.apply(Apply([change]))
    assert isinstance(answer, Applied), answer
    (after,) = backend.get(Get([job.id]))
    assert after is not None
    assert after.state in MOVES[job.state][change.event]
    return after


def again(backend: Backend, queue: str = QUEUE) -> Record:
    """Claim the one job that is queued.

    Returns:
        Its record.
    """
    (job,) = a_claim(backend, queue).records
    return job


def events_of(job: Record) -> list[str]:
    """Return what its history says happened to it.

    Returns:
        The events, oldest first.
    """
    return [one.event for _, one in history_of(job, job.lists.get(HISTORY, ()))]


class Living(Ground):
    """Jobs from their beginning to their end."""

    def test_a_job_completes(self, backend: Backend, clock: VirtualClock) -> None:
        """Give it its result and one attempt, free its unique key, and keep it for a day."""
        job = taken(backend, unique=DIGEST, scope="end")
        clock.advance(2)
        after = moved(backend, job, Completed(result=b"42", notes={"saved": b"1"}, append={"log": b"done"}))

        assert (after.state, after.ended_at) == (State.COMPLETED, clock.now())
        assert after.due_at == clock.now() + timedelta(hours=24)
        assert (after.notes, after.counters) == ({"result": b"42", "saved": b"1"}, {"attempts": 1})
        assert events_of(after) == ["complete"]
        assert after.unique is None

    def test_a_first_completion_stands_in_the_head_alone(self, backend: Backend, clock: VirtualClock) -> None:
        """Write no entry; history still says when, by which claim, and since when it ran."""
        clock.advance(milliseconds=123)
        job = taken(backend)
        started = clock.now()
        clock.advance(2)
        after = moved(backend, job, Completed(result=b"1"))

        ((at, entry),) = history_of(after, after.lists.get(HISTORY, ()))
        assert HISTORY not in after.lists
        assert (at, entry.event, entry.to, entry.by) == (clock.now(), "complete", "completed", job.claim)
        assert (entry.run, entry.started_ms) == (1, round(started.timestamp() * 1000))

    def test_a_first_completion_is_still_known_after_a_retry(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """By force, though the head is that of the next run then; that writes an entry of its own."""
        job = taken(backend)
        clock.advance(2)
        ended = moved(backend, job, Completed(result=b"1"))
        first = history_of(ended, ended.lists.get(HISTORY, ()))
        clock.advance(1)
        queued = moved(backend, ended, RetryAsked(force=True))
        second = again(backend)
        after = moved(backend, second, Completed(result=b"2"))
        entries = after.lists[HISTORY]

        assert history_of(queued, queued.lists.get(HISTORY, ()))[:1] == first
        assert history_of(after, entries)[:1] == first
        assert [(one.event, one.by) for _, one in history_of(after, entries)] == [
            ("complete", job.claim),
            ("retry", "a caller"),
            ("complete", second.claim),
        ]

    @pytest.mark.parametrize(("end", "final"), [("fail", State.FAILED), ("time out", State.TIMED_OUT)])
    def test_a_job_is_tried_as_often_as_allowed(
        self, backend: Backend, clock: VirtualClock, end: str, final: State
    ) -> None:
        """Two retries are three attempts, each after its wait; then it is final and kept for a week."""
        inserted(backend, an_item())
        attempts = []
        for _ in range(3):
            attempts.append(moved(backend, again(backend), ENDS[end]))
            clock.advance(MINUTE)
        starts = (MINUTE * number for number in range(-3, 0))
        waits = [
            one.due_at and one.due_at - clock.now() - start
            for one, start in zip(attempts, starts, strict=True)
        ]
        states = [(one.state, wait) for one, wait in zip(attempts, waits, strict=True)]
        after = attempts[-1]

        assert states == [(State.RETRYING, MINUTE)] * 2 + [(final, timedelta(days=7))]
        assert (after.run, after.count("attempts")) == (3, 3)
        assert len(after.lists["errors"]) == len(after.lists["history"]) == 3
        assert after.error == FAILURE.line

    def test_a_job_that_fails_for_good_is_not_tried_again(self, backend: Backend) -> None:
        """Whatever attempts are left."""
        after = moved(backend, taken(backend), ENDS["fail for good"])

        assert (after.state, after.count("attempts")) == (State.FAILED, 1)

    def test_a_lost_job_runs_again_until_it_was_lost_too_often(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Losing uses up no attempt, but a job that kills its workers stops."""
        inserted(backend, an_item())
        states = []
        for _ in range(3):
            again(backend)
            clock.advance(LEASE)
            (due,) = backend.due(FindDue([QUEUE], 10)).heads
            states.append(moved(backend, due, signal_for(due)).state)
            clock.advance(LOST_SPREAD)

        after = the(backend)
        assert states == [State.QUEUED, State.RETRYING, State.FAILED]
        assert (after.count("lost"), after.count("attempts"), after.run) == (3, 0, 3)
        assert events_of(after) == ["lose"] * 3

    def test_a_released_job_goes_first_again(self, backend: Backend) -> None:
        """Keep its place, and use up nothing."""
        inserted(backend, *items("abc"))
        (job,) = a_claim(backend, limit=1).records
        after = moved(backend, job, Released())

        assert (after.notes, after.counters) == ({}, {"released": 1})
        assert keys_of(a_claim(backend).records) == ["a", "b", "c"]

    def test_a_snoozed_job_waits_for_its_time(self, backend: Backend, clock: VirtualClock) -> None:
        """Until an instant, or for a while; then it starts again and no attempt was used."""
        until = clock.now() + timedelta(hours=3)
        first = moved(backend, taken(backend), Snoozed(until=until))
        clock.advance(hours=3)
        second = moved(backend, again(backend), Snoozed(until=MINUTE))

        assert (first.state, first.due_at) == (State.SCHEDULED, until)
        assert second.due_at == clock.now() + MINUTE
        assert (second.count("snoozed"), second.count("attempts")) == (2, 0)

    def test_a_job_of_an_unknown_task_waits_longer_each_time(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """And does not delay others."""
        inserted(backend, an_item())
        waits = []
        for _ in range(3):
            after = moved(backend, again(backend), TaskUnknown())
            assert after.due_at is not None
            waits.append((after.due_at - clock.now()).total_seconds())
            clock.advance(waits[-1])

        assert waits == [30, 60, 120]

    @pytest.mark.parametrize("state", [State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RETRYING])
    def test_a_waiting_job_is_cancelled_at_once(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """Never start it."""
        (job,) = in_states(backend, {"a": state}).values()
        after = moved(backend, job, CancelAsked(reason="enough"))
        clock.advance(hours=1)

        assert (after.state, after.cancel and after.cancel.reason) == (State.CANCELLED, "enough")
        assert a_claim(backend).records == []

    def test_cancelling_a_running_job_is_a_request(self, backend: Backend) -> None:
        """Let it run on with the request, its lease untouched; keep the first reason."""
        job = taken(backend)
        first = moved(backend, job, CancelAsked(reason="first"))
        second = moved(backend, first, CancelAsked(reason="second"))

        assert (second.state, second.claim, second.due_at) == (State.RUNNING, job.claim, job.due_at)
        assert (second.cancel, second.revision) == (Cancel(reason="first", at=backend.now()), 2)

    @pytest.mark.parametrize("end", ENDS)
    def test_a_job_with_a_request_never_waits_again(
        self, backend: Backend, clock: VirtualClock, end: str
    ) -> None:
        """However its run ends, short of completing, it is cancelled."""
        asked = moved(backend, taken(backend, unique=DIGEST, scope="end"), CancelAsked())
        clock.advance(LEASE)
        after = moved(backend, asked, ENDS[end])

        assert (after.state, after.unique) == (State.CANCELLED, None)

    def test_a_job_with_a_request_may_complete(self, backend: Backend) -> None:
        """Accept its result, which is worth more than the request and needs to know nothing of it."""
        job = taken(backend)
        moved(backend, job, CancelAsked())
        after = moved(backend, job, Completed(result=b"1"))

        assert after.state is State.COMPLETED

    @pytest.mark.parametrize("final", sorted(FINAL))
    def test_a_final_job_can_be_run_again(self, backend: Backend, final: State) -> None:
        """From the tail, with its counters and its outcome erased, and its history kept."""
        ends: dict[State, Signal] = {
            State.COMPLETED: Completed(result=b"1"),
            State.FAILED: Failed(failure=FAILURE),
            State.TIMED_OUT: TimedOut(failure=FAILURE),
            State.CANCELLED: Cancelled(),
        }
        ended = moved(backend, taken(backend), ends[final], Policy(retries=0))
        inserted(backend, an_item("b"))
        after = moved(backend, ended, RetryAsked(force=True))

        assert ended.state is final
        assert (after.state, after.notes, after.counters) == (State.QUEUED, {}, {})
        assert (after.cancel, after.error) == (None, None)
        assert events_of(after) == [*events_of(ended), "retry"]
        assert keys_of(a_claim(backend).records) == ["b", "a"]

    def test_a_retry_takes_the_unique_key_again(self, backend: Backend) -> None:
        """Or is refused while another job holds it, and then nothing changed."""
        policy = Policy(unique=DIGEST)
        job = taken(backend, "a", unique=DIGEST, scope="end")
        ended = moved(backend, job, Completed(result=b"1"), policy)
        inserted(backend, an_item("b", unique=DIGEST, scope="end"))
        retry = decided(ended, RetryAsked(force=True), policy)
        before = self.dump(backend)
        (refused,) = backend.apply(Apply([retry]))
        unchanged = self.dump(backend)
        moved(backend, the(backend, "b"), CancelAsked())
        (accepted,) = backend.apply(Apply([retry]))

        assert refused == refuse(Refusal.UNIQUE, ended)
        assert unchanged == before
        assert isinstance(accepted, Applied)
        assert the(backend, "a").unique == DIGEST

    def test_a_unique_key_that_a_retry_took_again_is_freed_by_the_next_start(self, backend: Backend) -> None:
        """If that is its scope; not before, and not only by the first start."""
        policy = Policy(unique=DIGEST)
        ended = moved(backend, taken(backend, unique=DIGEST, scope="start"), Completed(result=b"1"), policy)
        moved(backend, ended, RetryAsked(force=True), policy)
        (before,) = inserted(backend, an_item("b", unique=DIGEST, scope="start"))
        job = again(backend)
        (after,) = inserted(backend, an_item("c", unique=DIGEST, scope="start"))

        assert job.unique is None
        assert [before.created, after.created] == [False, True]

    @pytest.mark.parametrize("state", [State.SCHEDULED, State.RETRYING])
    def test_a_waiting_job_can_be_started_now(self, backend: Backend, state: State) -> None:
        """End its wait by a retry that was asked for."""
        (job,) = in_states(backend, {"a": state}).values()
        moved(backend, job, RetryAsked())

        assert keys_of(a_claim(backend).records) == ["a"]

    @pytest.mark.parametrize("final", sorted(FINAL))
    def test_a_final_job_expires_when_its_retention_does(
        self, backend: Backend, clock: VirtualClock, final: State
    ) -> None:
        """And is gone then; its queue stays."""
        (job,) = in_states(backend, {"a": final}).values()
        assert job.due_at is not None
        clock.advance(job.due_at - clock.now())
        (due,) = backend.due(FindDue([QUEUE], 10)).heads
        answers = backend.apply(Apply([decided(due, signal_for(due))]))

        assert isinstance(answers[0], Applied)
        assert backend.get(Get([job.id])) == [None]
        assert list(backend.queues()) == [QUEUE]

    def test_a_job_can_be_updated_before_it_starts(self, backend: Backend, clock: VirtualClock) -> None:
        """Change its priority, and when it may start, which reschedules a queued one."""
        inserted(backend, *items("abc"))
        moved(backend, the(backend, "c"), Updated(priority=9))
        rescheduled = moved(backend, the(backend, "a"), Updated(start=MINUTE, priority=10))
        early = a_claim(backend)
        clock.advance(MINUTE)

        assert (rescheduled.state, rescheduled.due_at) == (State.SCHEDULED, clock.now())
        assert keys_of(early.records) == ["c", "b"]
        assert keys_of(a_claim(backend).records) == ["a"]

    def test_a_blocked_job_is_unblocked(self, backend: Backend, clock: VirtualClock) -> None:
        """Move it to the tail."""
        inserted(backend, an_item("a", state=State.BLOCKED, due=MINUTE), an_item("b"))
        clock.advance(MINUTE)
        (due,) = backend.due(FindDue([QUEUE], 10)).heads
        moved(backend, due, signal_for(due))

        assert keys_of(a_claim(backend).records) == ["b", "a"]

    def test_every_row_of_the_table_is_applied_as_the_model_says(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Send all signals to jobs in all states in which they are legal."""
        rows = [
            (f"{state}-{n}", state, signal)
            for n, signal in enumerate(SIGNALS)
            for state in State
            if signal.event in MOVES[state] and not _refused(state, signal)
        ]
        found = in_states(backend, {key: state for key, state, _ in rows})
        clock.advance(hours=1)
        changes = [decided(found[key], signal) for key, _, signal in rows]
        answers = applied_all(backend, changes)

        assert {(change.state, change.event) for change in changes} == _rows_without_claims()
        for change, answer in zip(changes, answers, strict=True):
            job = found[change.job_id.partition(":")[2]]
            (after,) = backend.get(Get([job.id]))
            place: Any = after.place if after else 0
            assert isinstance(answer, Applied), change
            assert after == apply_change(job, change, now=clock.now(), tail=[place].pop), change


def _refused(state: State, signal: Signal) -> bool:
    """Whether a signal is refused in a state in which others of its event are not."""
    match signal:
        case Cancelled():
            return state is not State.RUNNING
        case Updated(start=start):
            return state is State.BLOCKED and start is not None
        case _:
            return False


def _rows_without_claims() -> set[tuple[State, Event]]:
    return {(state, event) for state, events in MOVES.items() for event in events if event is not Event.CLAIM}
