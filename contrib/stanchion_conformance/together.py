"""One call that carries several items or changes, of several queues."""

from datetime import timedelta

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Wait
from stanchion.model.changes import Applied, Refusal, Refused
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    a_change,
    a_claim,
    an_item,
    applied_all,
    counts_of,
    inserted,
    items,
    taken,
    the,
)
from stanchion_conformance.waiting import quiet
from stanchion_testing.clock import VirtualClock

NO, SECOND = timedelta(0), timedelta(seconds=1)


class Together(Ground):
    """What holds for each of several things holds for all of them in one call."""

    def test_a_unique_key_that_the_same_call_frees_can_be_taken(self, backend: Backend) -> None:
        """Make changes in their order; each meets what those before it have left."""
        inserted(backend, an_item("a", unique="digest", scope="end"), an_item("b"))
        frees = a_change(the(backend, "a"), State.CANCELLED, unique=None)
        takes = a_change(the(backend, "b"), State.QUEUED, unique="digest")
        answers = backend.apply(Apply([frees, takes]))

        assert [type(answer) for answer in answers] == [Applied, Applied]
        assert the(backend, "b").unique == "digest"

    def test_a_unique_key_that_the_same_call_takes_is_taken(self, backend: Backend) -> None:
        """Refuse the second of two that want it."""
        inserted(backend, an_item("a"), an_item("b"))
        takes = [a_change(the(backend, key), State.QUEUED, unique="digest") for key in "ab"]
        first, second = backend.apply(Apply(takes))

        assert isinstance(first, Applied)
        assert isinstance(second, Refused)
        assert second.why is Refusal.UNIQUE
        assert the(backend, "b").unique is None

    def test_an_insert_wakes_each_of_its_queues(self, backend: Backend) -> None:
        """One call may bring jobs to several, which different workers serve."""
        inserted(backend, *(an_item(queue=queue) for queue in ("one", "two", "three")))

        assert [backend.wait(Wait([queue], NO)) for queue in ("one", "two", "three")] == [True] * 3

    def test_a_call_that_queues_jobs_wakes_each_of_their_queues(self, backend: Backend) -> None:
        """As an insert does."""
        jobs = [taken(backend, queue=queue) for queue in ("one", "two")]
        quiet(backend, "one", "two")
        backend.apply(Apply([a_change(job, State.QUEUED) for job in jobs]))

        assert [backend.wait(Wait([queue], NO)) for queue in ("one", "two")] == [True] * 2

    def test_claim_promotes_at_most_a_batch_of_both_waiting_states(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Together, and not of each."""
        batch = backend.limits.batch
        inserted(backend, *items(f"r{n}" for n in range(batch)))
        retrying = [a_change(job, State.RETRYING, due=SECOND) for job in a_claim(backend).records]
        applied_all(backend, retrying)
        inserted(backend, *items([f"s{n}" for n in range(batch)], state=State.SCHEDULED, due=SECOND))
        clock.advance(1)
        a_claim(backend, limit=1)
        left = counts_of(backend)

        assert left[State.SCHEDULED] + left[State.RETRYING] == batch

    def test_a_repeated_claim_answers_with_the_jobs_of_each_of_its_queues(self, backend: Backend) -> None:
        """In the order of the first answer."""
        inserted(backend, *(an_item(key, queue=queue) for queue in ("two", "one") for key in "ab"))
        first = a_claim(backend, "one", "two", claim_id="c1")

        assert len(first.records) == 4
        assert a_claim(backend, "one", "two", claim_id="c1").records == first.records
