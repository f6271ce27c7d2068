"""Claims about several processes on one store, for stores that more than one process can come to."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar, Final

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.opening import open_backend
from stanchion.contract.requests import FindDue, Wait
from stanchion.model.states import State
from stanchion_conformance.blocking import called
from stanchion_conformance.crew import PATIENCE, a_crew, eventually
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import broken, listed
from stanchion_conformance.making import QUEUE, a_claim, inserted, items

JOBS: Final = 300
"""How many jobs the processes race for."""

LONG: Final = timedelta(seconds=PATIENCE)
"""The lease of claims that do not lapse in a test, and the timeout of waits that end before."""


class Shared(Ground):
    """The fixtures of claims about a store that several processes come to, each by its own clock."""

    @pytest.fixture
    def whereabouts(self, backend: Backend) -> tuple[str, str]:
        """The URL and the namespace of the store."""
        if backend.limits.local:
            pytest.skip(f"{called(backend)} keeps its store in this process alone (`Limits.local`)")
        found = self.address(backend)
        if found is None:
            pytest.skip(
                "`address` gives none: it is to give URL and namespace, for processes to open this store"
            )
        return found

    @pytest.fixture
    def outsider(self, whereabouts: tuple[str, str]) -> Iterator[Backend]:
        """The store as another process opens it, without the virtual clock."""
        outsider = open_backend(*whereabouts)
        yield outsider
        outsider.close()


class Sharing(Shared):
    """What threads of one process may not do to each other, processes may not either."""

    CREW: ClassVar[int] = 4
    """How many processes come to the store at the same time."""

    def test_each_job_is_started_by_one_process(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """They claim and complete some hundred jobs: each is claimed once, and completes in its first run."""
        wanted = _some(outsider)
        with a_crew(self.CREW, "work", whereabouts, QUEUE, LONG) as crew:
            for member in crew:
                member.end()
        claimed = Counter(job_id for member in crew for job_id in member.ids("claimed"))
        completed = Counter(job_id for member in crew for job_id in member.ids("completed"))
        ended = listed(outsider, QUEUE, State.COMPLETED)

        assert claimed == completed == Counter(wanted)
        assert {job.id: job.run for job in ended} == dict.fromkeys(wanted, 1)
        assert broken(outsider) == []

    def test_a_job_inserted_by_several_processes_is_created_by_one(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """Create it once, by its id or by its unique key; answer the others with it."""
        with a_crew(self.CREW, "produce", whereabouts, QUEUE, LONG) as crew:
            for member in crew:
                member.end()
        created = Counter(job_id.partition("-")[0] for member in crew for job_id in member.ids("inserted"))
        waiting = listed(outsider, QUEUE, State.QUEUED)

        assert created == {f"{QUEUE}:{n}": 2 for n in range(100)}
        assert sorted(job.id for job in waiting) == sorted(
            job_id for member in crew for job_id in member.ids("inserted")
        )

    def test_a_lapsed_lease_is_swept_by_one_process(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """Each job is lost once, however many look for lapsed leases at the same time."""
        wanted = _some(outsider)
        while a_claim(outsider, lease=timedelta(milliseconds=1)).records:
            pass
        eventually(lambda: len(outsider.due(FindDue([QUEUE], 1)).heads))
        with a_crew(self.CREW, "sweep", whereabouts, QUEUE, LONG) as crew:
            for member in crew:
                member.end()
        lost = Counter(job_id for member in crew for job_id in member.ids("lost"))
        waiting = listed(outsider, QUEUE, State.QUEUED)

        assert lost == Counter(wanted)
        assert {job.id: job.count("lost") for job in waiting} == dict.fromkeys(wanted, 1)

    def test_a_process_that_waits_is_woken_by_a_job_of_another(
        self, outsider: Backend, whereabouts: tuple[str, str]
    ) -> None:
        """Wake across processes."""
        a_claim(outsider, limit=0)
        with a_crew(1, "produce", whereabouts, QUEUE, LONG):
            woken = outsider.wait(Wait([QUEUE], LONG))

        assert woken


def _some(backend: Backend) -> list[str]:
    """The ids of some hundred jobs that wait now."""
    made = items(f"{n:04}" for n in range(JOBS))
    inserted(backend, *made)
    return [item.id for item in made]
