"""Claims about `queues`, `configure` and `forget`; and about other ways to the same store."""

from datetime import timedelta

import pytest

from stanchion.contract.backend import Backend, HasAsync, HasDeadlines, MayWait
from stanchion.model.queues import QueueSettings
from stanchion.model.states import State
from stanchion_conformance.blocking import blocking
from stanchion_conformance.ground import Ground, lacks
from stanchion_conformance.making import (
    QUEUE,
    a_claim,
    an_item,
    change,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)

PAUSED = QueueSettings(paused=True)


class Settings(Ground):
    """Queues: they begin with their first job or setting, and end when they are forgotten."""

    def test_queues_are_named_in_order_with_their_settings(self, backend: Backend) -> None:
        """Those with jobs and those with settings alone."""
        inserted(backend, an_item(queue="zebra"), an_item(queue="Ape"), an_item(queue="ape.1"))
        backend.configure("ox", PAUSED)

        assert list(backend.queues().items()) == [
            ("Ape", QueueSettings()),
            ("ape.1", QueueSettings()),
            ("ox", PAUSED),
            ("zebra", QueueSettings()),
        ]

    def test_a_queue_can_be_paused_and_resumed(self, backend: Backend) -> None:
        """Its jobs wait, and go on in their order; running ones can be settled meanwhile."""
        inserted(backend, *items("abc"))
        (job,) = a_claim(backend, limit=1).records
        backend.configure(QUEUE, PAUSED)
        inserted(backend, an_item("d"))
        change(backend, job, State.COMPLETED, guards={"claim": job.claim})
        while_paused = a_claim(backend).records
        backend.configure(QUEUE, QueueSettings(paused=False))

        assert while_paused == []
        assert keys_of(a_claim(backend).records) == ["b", "c", "d"]

    def test_configuring_twice_is_configuring_once(self, backend: Backend) -> None:
        """It may be repeated after an unknown outcome."""
        for settings in (PAUSED, PAUSED, QueueSettings(), QueueSettings()):
            backend.configure(QUEUE, settings)
            assert backend.queues() == {QUEUE: settings}

    @pytest.mark.parametrize("state", sorted(State))
    def test_a_queue_with_a_job_is_not_forgotten(self, backend: Backend, state: State) -> None:
        """In whatever state the job is; nothing changes."""
        in_states(backend, {"a": state})
        backend.configure(QUEUE, PAUSED)
        before = self.dump(backend)

        assert not backend.forget(QUEUE)
        assert self.dump(backend) == before

    def test_a_forgotten_queue_is_gone_with_its_settings(self, backend: Backend) -> None:
        """Jobs that come to it later find a new queue, in the order they come."""
        inserted(backend, an_item("a", unique="digest", scope="end"))
        backend.configure(QUEUE, PAUSED)
        change(backend, the(backend), None)

        assert backend.forget(QUEUE)
        assert dict(backend.queues()) == {}
        inserted(backend, *items("cb"), an_item("a", unique="digest", scope="end"))
        assert backend.queues() == {QUEUE: QueueSettings()}
        assert keys_of(a_claim(backend).records) == ["c", "b", "a"]

    def test_an_absent_queue_is_forgotten_already(self, backend: Backend) -> None:
        """So that forgetting may be repeated."""
        assert backend.forget("nowhere")
        assert dict(backend.queues()) == {}

    def test_forgetting_one_queue_leaves_the_others(self, backend: Backend) -> None:
        """Also those whose names begin the same."""
        job = taken(backend, queue="mail")
        inserted(backend, an_item(queue="mail.2"))
        change(backend, job, None)

        assert backend.forget("mail")
        assert list(backend.queues()) == ["mail.2"]
        assert keys_of(a_claim(backend, "mail.2").records) == ["a"]


class Twins(Ground):
    """Other ways to the same store, for backends that have them."""

    def test_a_twin_with_a_deadline_serves_the_same_jobs(self, backend: Backend) -> None:
        """Its connections are its own: closing it leaves the backend open."""
        if not isinstance(backend, HasDeadlines):
            pytest.skip(lacks(backend, HasDeadlines))
        twin = backend.within(timedelta(seconds=5))
        inserted(backend, an_item())
        claimed = a_claim(twin)
        twin.close()

        assert claimed.records == [the(backend)]

    def test_an_impatient_twin_serves_the_same_jobs(self, backend: Backend) -> None:
        """Where nobody else uses the store there is nothing to wait for; closing it leaves the backend open."""
        if not isinstance(backend, MayWait):
            pytest.skip(lacks(backend, MayWait))
        inserted(backend, an_item())
        twin = backend.impatient()
        claimed = a_claim(twin)
        twin.close()

        assert claimed.records == [the(backend)]

    def test_an_async_twin_serves_the_same_jobs(self, backend: Backend) -> None:
        """On a loop of its own."""
        if not isinstance(backend, HasAsync):
            pytest.skip(lacks(backend, HasAsync))
        inserted(backend, an_item())
        with blocking(backend.to_async) as twin:
            claimed = a_claim(twin)

        assert claimed.records == [the(backend)]
