"""Claims about the guards of `apply`."""

from datetime import timedelta

from msgspec.structs import replace

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply
from stanchion.model.changes import Applied, Change, Move, Refusal, Refused
from stanchion.model.effects import refuse
from stanchion.model.states import Event, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    LEASE,
    QUEUE,
    a_claim,
    an_item,
    change,
    inserted,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

MILLISECOND = timedelta(milliseconds=1)


class Guarding(Ground):
    """Changing only what is as it was when the change was decided."""

    def test_apply_refuses_a_change_of_an_absent_job(self, backend: Backend) -> None:
        """There is no record to answer with, and no queue begins to exist."""
        changes = [
            Change(job_id=job_id, event=Event.DELETE, state=State.QUEUED, move=Move(to=None))
            for job_id in ("mail:gone", "nowhere:a")
        ]
        inserted(backend, an_item())

        assert list(backend.apply(Apply(changes))) == [Refused(Refusal.ABSENT, None)] * 2
        assert list(backend.queues()) == [QUEUE]

    def test_apply_checks_the_guards_in_their_order(self, backend: Backend) -> None:
        """Of several guards that do not hold, the first in the order of the contract is answered."""
        inserted(backend, an_item("holder", unique="digest", scope="end"))
        a_claim(backend, limit=1)
        job = taken(backend, "a")
        wrong = {"claim": "other", "state": State.RETRYING, "if_due": True, "revision": 7}
        right = {"claim": job.claim, "state": State.RUNNING, "if_due": False, "revision": 0}
        before = self.dump(backend)

        words = []
        for holding in range(len(wrong) + 1):
            guards = dict([*list(right.items())[:holding], *list(wrong.items())[holding:]])
            answer = change(backend, job, State.CANCELLED, guards=guards, event=Event.CANCEL, unique="digest")
            assert isinstance(answer, Refused)
            assert answer == refuse(answer.why, job)
            words.append(answer.why)
        assert words == [Refusal.CLAIM, Refusal.STATE, Refusal.DUE, Refusal.REVISION, Refusal.UNIQUE]
        assert self.dump(backend) == before

    def test_apply_makes_a_change_whose_guards_all_hold(self, backend: Backend, clock: VirtualClock) -> None:
        """Answer the time, and the revision after the change."""
        job = taken(backend)
        clock.advance(LEASE)
        guards = {"claim": job.claim, "if_due": True, "revision": job.revision}
        answer = change(backend, job, State.COMPLETED, guards=guards, unique="digest")

        assert answer == Applied(clock.now(), 1)
        assert the(backend).state is State.COMPLETED

    def test_a_guard_that_is_not_given_does_not_count(self, backend: Backend) -> None:
        """Without claim, due and revision only the state is compared."""
        job = taken(backend)
        change(backend, job, State.RUNNING)
        answer = change(backend, job, State.COMPLETED)

        assert isinstance(answer, Applied)

    def test_a_job_is_due_at_its_instant(self, backend: Backend, clock: VirtualClock) -> None:
        """Not a millisecond before."""
        job = taken(backend)
        clock.advance(LEASE - MILLISECOND)
        early = change(backend, job, State.QUEUED, guards={"if_due": True})
        clock.advance(MILLISECOND)
        due = change(backend, job, State.QUEUED, guards={"if_due": True})

        assert early == refuse(Refusal.DUE, job)
        assert isinstance(due, Applied)

    def test_all_changes_but_those_of_a_run_that_goes_on_count_the_revision(self, backend: Backend) -> None:
        """Let a beat disturb no decision, and a cancel or the end of a run be noticed by all."""
        job = taken(backend)
        answers = [
            change(backend, job, State.RUNNING, guards={"claim": job.claim}),
            change(backend, job, State.RUNNING),
            change(backend, job, State.RUNNING, guards={"claim": job.claim, "revision": 1}),
            change(backend, job, State.QUEUED, guards={"claim": job.claim, "revision": 1}),
        ]

        assert [answer.revision for answer in answers if isinstance(answer, Applied)] == [0, 1, 1, 2]
        assert the(backend).revision == 2

    def test_a_job_that_ran_meanwhile_is_another_revision(self, backend: Backend) -> None:
        """Let nobody decide on a job as it was before its run, although it is in the same state again."""
        job = taken(backend)
        before = replace(job, state=State.QUEUED)
        change(backend, job, State.QUEUED, guards={"claim": job.claim})

        answer = change(backend, before, State.CANCELLED, guards={"revision": before.revision})

        assert answer == refuse(Refusal.REVISION, the(backend))
