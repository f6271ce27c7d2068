"""Claims about stores with very many jobs: nothing is left out, nothing is seen twice, and the order holds."""

from collections.abc import Iterator
from datetime import timedelta
from typing import ClassVar

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Count, FindDue
from stanchion.model.changes import Applied
from stanchion.model.decisions import decide
from stanchion.model.records import Record
from stanchion.model.signals import signal_for
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import (
    POLICY,
    QUEUE,
    a_claim,
    applied_all,
    counts_of,
    inserted,
    items,
    keys_of,
)
from stanchion_testing.clock import VirtualClock

SECOND = timedelta(seconds=1)


class Growing(Ground):
    """Far more jobs than one call may carry."""

    SIZE: ClassVar[int] = 10_000
    """How many jobs there are. A backend that is slow to test may take fewer."""

    QUEUES: ClassVar[int] = 200
    """Over how many queues they are spread, where they are."""

    def test_many_waiting_jobs_are_claimed_in_order(self, backend: Backend) -> None:
        """Claim after claim takes a whole batch, until there are none."""
        keys = self._keys()
        inserted(backend, *items(keys))
        claims = list(_claims(backend))

        assert [key for claimed in claims for key in keys_of(claimed)] == keys
        assert {len(claimed) for claimed in claims[:-1]} == {backend.limits.batch}
        assert counts_of(backend) == {**dict.fromkeys(State, 0), State.RUNNING: self.SIZE}

    def test_many_jobs_are_listed_once_each(self, backend: Backend) -> None:
        """Page after page, in the order in which they will be taken; and counted."""
        keys = self._keys()
        inserted(backend, *items(keys))

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == keys
        assert counts_of(backend) == {**dict.fromkeys(State, 0), State.QUEUED: self.SIZE}

    def test_many_due_jobs_are_swept_to_the_last(self, backend: Backend, clock: VirtualClock) -> None:
        """Sweep after sweep is handed a batch of those that are left, and then none."""
        inserted(backend, *items(self._keys(), state=State.SCHEDULED, due=SECOND))
        clock.advance(SECOND)
        sizes = list(_sweeps(backend))

        assert sum(sizes) == self.SIZE
        assert {*sizes[:-1]} == {backend.limits.batch}
        assert counts_of(backend) == {**dict.fromkeys(State, 0), State.QUEUED: self.SIZE}

    def test_a_due_job_is_promoted_though_very_many_wait(self, backend: Backend, clock: VirtualClock) -> None:
        """Take it first by its priority, behind neither the queued nor those not due yet."""
        half = self._keys()[: self.SIZE // 2]
        inserted(backend, *items(half))
        later = [f"{key}-later" for key in half]
        inserted(backend, *items(later, state=State.SCHEDULED, due=60 * SECOND))
        inserted(backend, *items(["now"], state=State.SCHEDULED, due=SECOND, priority=1))
        clock.advance(SECOND)

        assert keys_of(a_claim(backend, limit=2).records) == ["now", half[0]]

    def test_many_queues_are_served(self, backend: Backend) -> None:
        """One claim may ask for all of them, and takes from each; all are named and counted."""
        queues = [f"queue-{n:04}" for n in range(self.QUEUES)]
        inserted(backend, *(item for queue in queues for item in items("ab", queue=queue)))
        found = [job.id for records in _claims(backend, *queues) for job in records]

        assert found == [f"{queue}:{key}" for queue in queues for key in "ab"]
        assert list(backend.queues()) == queues
        assert {counts[State.RUNNING] for counts in backend.count(Count(queues)).values()} == {2}

    def _keys(self) -> list[str]:
        return [f"{n:06}" for n in range(self.SIZE)]


def _claims(backend: Backend, *queues: str) -> Iterator[list[Record]]:
    """What claim after claim takes, until one takes none."""
    while records := a_claim(backend, *queues).records:
        yield records


def _sweeps(backend: Backend) -> Iterator[int]:
    """How many jobs sweep after sweep moves, until one is handed none, or moves none of those it was handed."""
    while due := backend.due(FindDue([QUEUE], backend.limits.batch)).heads:
        answers = applied_all(backend, (decide(job, signal_for(job), roll=0, policy=POLICY) for job in due))
        moved = sum(isinstance(answer, Applied) for answer in answers)
        yield moved
        if not moved:
            return
