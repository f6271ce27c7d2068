"""Claims about what comes too late: a run past its lease, or a sweep that looked long ago, changes nothing."""

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, FindDue, Get
from stanchion.model.changes import Refusal, Refused
from stanchion.model.decisions import decide
from stanchion.model.effects import refuse
from stanchion.model.records import Record
from stanchion.model.signals import Beaten, Completed, Deleted, Lost, Signal, signal_for
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.living import ENDS
from stanchion_conformance.making import (
    LEASE,
    POLICY,
    QUEUE,
    a_claim,
    an_item,
    applied_all,
    bare,
    inserted,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

LATE: dict[str, Signal] = {
    **{name: signal for name, signal in ENDS.items() if name != "lose"},
    "complete": Completed(result=b"1"),
    "beat": Beaten(lease=LEASE, notes={"progress": b"9"}),
}
"""What a run may say of itself, too late."""


class Lagging(Ground):
    """A run whose lease lapsed, and a sweep that looked long ago."""

    @pytest.fixture
    def slept(self, backend: Backend, clock: VirtualClock) -> Record:
        """A job as its first run saw it, which then slept until the job was lost."""
        job = taken(backend)
        clock.advance(LEASE)
        _sweep(backend)
        return job

    @pytest.mark.parametrize("late", LATE)
    def test_a_late_run_is_refused_while_the_job_waits(
        self, backend: Backend, slept: Record, late: str
    ) -> None:
        """Refuse it though the lost job, which another is to run, still names its claim."""
        self._refused(backend, slept, LATE[late], Refusal.STATE)

    @pytest.mark.parametrize("late", LATE)
    def test_a_late_run_is_refused_while_another_runs(
        self, backend: Backend, slept: Record, late: str
    ) -> None:
        """Also if it is the same worker that took the job again: a claim is held, not a job."""
        (again,) = a_claim(backend, worker="worker").records
        self._refused(backend, slept, LATE[late], Refusal.CLAIM)

        assert (again.worker, again.run) == (slept.worker, slept.run + 1)

    @pytest.mark.parametrize("late", LATE)
    def test_a_late_run_is_refused_after_another_completed(
        self, backend: Backend, slept: Record, late: str
    ) -> None:
        """Keep the outcome that was accepted."""
        (again,) = a_claim(backend).records
        applied_all(backend, [decide(again, Completed(result=b"2"), roll=0, policy=POLICY)])
        self._refused(backend, slept, LATE[late], Refusal.CLAIM)

        assert the(backend).notes["result"] == b"2"

    @pytest.mark.parametrize("late", LATE)
    def test_a_late_run_is_refused_by_a_new_job_of_the_same_id(
        self, backend: Backend, slept: Record, late: str
    ) -> None:
        """Rely on claims: ids of jobs may be used again, claims never."""
        applied_all(backend, [decide(the(backend), Deleted(), roll=0, policy=POLICY)])
        inserted(backend, an_item())
        a_claim(backend)
        self._refused(backend, slept, LATE[late], Refusal.CLAIM)

    @pytest.mark.parametrize("late", LATE)
    def test_a_late_run_finds_no_job_that_was_deleted(
        self, backend: Backend, slept: Record, late: str
    ) -> None:
        """And does not bring it back."""
        applied_all(backend, [decide(the(backend), Deleted(), roll=0, policy=POLICY)])
        answers = backend.apply(Apply([decide(slept, LATE[late], roll=0, policy=POLICY)]))

        assert list(answers) == [Refused(Refusal.ABSENT, None)]
        assert backend.get(Get([slept.id])) == [None]

    def test_late_runs_do_not_hold_up_others(self, backend: Backend, slept: Record) -> None:
        """In one call, those that are in time are accepted."""
        prompt = taken(backend, "b", priority=1)
        ends = [decide(job, Completed(result=b"1"), roll=0, policy=POLICY) for job in (slept, prompt, slept)]
        answers = backend.apply(Apply(ends))

        assert [isinstance(answer, Refused) for answer in answers] == [True, False, True]
        assert the(backend, "b").state is State.COMPLETED

    def test_a_late_sweep_does_not_take_a_job_from_its_next_run(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Refuse a sweep that saw a lease which another sweep ended, before another worker claimed the job."""
        taken(backend)
        clock.advance(LEASE)
        (seen,) = backend.due(FindDue([QUEUE], 1)).heads
        _sweep(backend)
        (again,) = a_claim(backend).records
        answers = backend.apply(Apply([decide(seen, Lost(), roll=0, policy=POLICY)]))

        assert list(answers) == [refuse(Refusal.DUE, the(backend))]
        assert bare(the(backend)) == bare(again)

    def test_a_repeated_claim_does_not_take_back_what_was_lost(self, backend: Backend, slept: Record) -> None:
        """Asked again with the id of a claim whose job another one holds, the job is not among the answers."""
        (again,) = a_claim(backend).records
        repeated = a_claim(backend, claim_id=slept.claim)

        assert repeated.records == []
        assert bare(the(backend)) == bare(again)

    def _refused(self, backend: Backend, slept: Record, signal: Signal, why: Refusal) -> None:
        """Report what a claim says that does not hold the job any more: nothing changes."""
        before = self.dump(backend)
        found = the(backend)
        answers = backend.apply(Apply([decide(slept, signal, roll=0, policy=POLICY)]))

        assert list(answers) == [refuse(why, found)]
        assert self.dump(backend) == before


def _sweep(backend: Backend) -> None:
    due = backend.due(FindDue([QUEUE], backend.limits.batch)).heads
    applied_all(backend, (decide(job, signal_for(job), roll=0, policy=POLICY) for job in due))
