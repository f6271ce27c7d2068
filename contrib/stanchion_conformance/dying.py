"""Claims about processes that are killed: what was acknowledged to them holds, and others finish their jobs."""

from collections.abc import Iterable
from datetime import timedelta
from random import randrange
from typing import ClassVar, Final

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, FindDue
from stanchion.model.changes import Applied
from stanchion.model.decisions import decide
from stanchion.model.records import Head, Record
from stanchion.model.signals import Completed, Lost, signal_for
from stanchion.model.states import FINAL, State
from stanchion_conformance.crew import HELD, a_crew, eventually
from stanchion_conformance.invariants import broken, listed
from stanchion_conformance.making import POLICY, QUEUE, a_claim, applied_all, counts_of, inserted, items
from stanchion_conformance.sharing import Shared

SHORT: Final = timedelta(seconds=1)
"""The lease of those who will be killed."""

LATEST: Final = 150
"""Before how many of its inserts a process is killed."""


class Dying(Shared):
    """SIGKILL, at the worst moment."""

    VICTIMS: ClassVar[int] = 3
    """How many processes work at the same time until each is killed."""

    def test_the_jobs_of_a_killed_process_are_completed_by_another(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """Lose once, and run again, each job that the process had not settled when its lease lapsed."""
        inserted(outsider, *items(f"{n}" for n in range(HELD)))
        with a_crew(1, "hold", whereabouts, QUEUE, SHORT) as (member,):
            member.until("completed", 2)
            member.kill()
        claimed, completed = member.ids("claimed"), member.ids("completed")
        due = eventually(lambda: _due(outsider, HELD - 2))
        applied_all(outsider, (decide(job, signal_for(job), roll=0, policy=POLICY) for job in due))
        _complete(outsider, a_claim(outsider).records)
        ended = listed(outsider, QUEUE, State.COMPLETED)

        assert len(claimed) == HELD
        assert {job.id for job in due} == {*claimed} - {*completed}
        assert {job.id: (job.run, job.count("lost")) for job in ended} == {
            job_id: (1, 0) if job_id in completed else (2, 1) for job_id in claimed
        }

    def test_a_killed_process_s_claim_cannot_be_swept_before_its_lease_lapsed(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """Nobody knows that it is dead: it may only be slow."""
        inserted(outsider, *items(f"{n}" for n in range(HELD)))
        with a_crew(1, "hold", whereabouts, QUEUE, timedelta(minutes=5)) as (member,):
            member.until("completed", 2)
            member.kill()
        held = listed(outsider, QUEUE, State.RUNNING)
        answers = outsider.apply(Apply([decide(job, Lost(), roll=0, policy=POLICY) for job in held]))

        assert len(held) == HELD - 2
        assert not [answer for answer in answers if isinstance(answer, Applied)]
        assert outsider.due(FindDue([QUEUE], HELD)).heads == []
        assert listed(outsider, QUEUE, State.RUNNING) == held

    def test_processes_killed_at_any_moment_leave_a_sound_store(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """Every acknowledged insert exists, every acknowledged settlement holds, and all that is left completes."""
        moments = [randrange(1, LATEST) for _ in range(self.VICTIMS)]
        with a_crew(self.VICTIMS, "toil", whereabouts, QUEUE, SHORT) as crew:
            for moment, member in sorted(zip(moments, crew, strict=True), key=lambda pair: pair[0]):
                member.until("inserted", moment)
                member.kill()
        left = {job.id: job for state in State for job in listed(outsider, QUEUE, state)}
        created = {job_id for member in crew for job_id in member.ids("inserted")}
        completed = {job_id for member in crew for job_id in member.ids("completed")}

        assert broken(outsider) == [], moments
        assert created - left.keys() == set(), moments
        assert {left[job_id].state for job_id in completed} == {State.COMPLETED}, moments
        eventually(lambda: _recovered(outsider))
        ended = {job.id: job for job in listed(outsider, QUEUE, State.COMPLETED)}
        assert ended.keys() == left.keys(), moments
        assert {job_id: ended[job_id] for job_id in completed} == {
            job_id: left[job_id] for job_id in completed
        }


def _due(backend: Backend, number: int) -> list[Head]:
    """The jobs that are due, once they are so many."""
    due = backend.due(FindDue([QUEUE], backend.limits.batch)).heads
    return due if len(due) >= number else []


def _complete(backend: Backend, jobs: Iterable[Record]) -> None:
    applied_all(backend, (decide(job, Completed(result=b"2"), roll=0, policy=POLICY) for job in jobs))


def _recovered(backend: Backend) -> bool:
    """Sweep, claim and complete once, as a worker would; whether nothing is left to do."""
    due = backend.due(FindDue([QUEUE], backend.limits.batch)).heads
    applied_all(backend, (decide(job, signal_for(job), roll=0, policy=POLICY) for job in due))
    _complete(backend, a_claim(backend).records)
    counts = counts_of(backend)
    return not any(number for state, number in counts.items() if state not in FINAL)
