"""Claims about `queues`, `configure` and `forget`; and about other ways to the same store."""

from datetime import timedelta

import pytest

from stanchion.contract.answers import Configured
from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import HasAsync, HasDeadlines, MayWait
from stanchion.contract.requests import Configure, Forget
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
    pause,
    taken,
    the,
)

USUAL = QueueSettings()
PAUSED = QueueSettings(paused=True)


class Settings(Ground):
    """Queues: they begin with their first job or setting, and end when they are forgotten."""

    def test_queues_are_named_in_order_with_their_settings(self, backend: Backend) -> None:
        """Name those with jobs and those with settings alone."""
        inserted(backend, an_item(queue="zebra"), an_item(queue="Ape"), an_item(queue="ape.1"))
        pause(backend, "ox")

        assert list(backend.queues().items()) == [
            ("Ape", USUAL),
            ("ape.1", USUAL),
            ("ox", PAUSED),
            ("zebra", USUAL),
        ]

    def test_a_queue_can_be_paused_and_resumed(self, backend: Backend) -> None:
        """Let its jobs wait, and go on in their order; accept outcomes of running ones meanwhile."""
        inserted(backend, *items("abc"))
        (job,) = a_claim(backend, limit=1).records
        pause(backend)
        inserted(backend, an_item("d"))
        change(backend, job, State.COMPLETED, guards={"claim": job.claim})
        while_paused = a_claim(backend).records
        pause(backend, paused=False)

        assert while_paused == []
        assert keys_of(a_claim(backend).records) == ["b", "c", "d"]

    def test_configure_answers_the_settings_before_and_after(self, backend: Backend) -> None:
        """Set, unset, and of a queue that did not exist."""
        answers = [
            backend.configure(Configure(queue=QUEUE, set={"paused": True})),
            backend.configure(Configure(queue=QUEUE, unset=["paused"])),
            backend.configure(Configure(queue=QUEUE, set={"paused": False})),
        ]

        assert answers == [
            Configured(before=USUAL, after=PAUSED),
            Configured(before=PAUSED, after=USUAL),
            Configured(before=USUAL, after=USUAL),
        ]

    def test_configure_leaves_settings_alone_that_it_does_not_name(self, backend: Backend) -> None:
        """Keep a queue paused when a caller changes another setting, or none."""
        pause(backend)
        answer = backend.configure(Configure(queue=QUEUE))

        assert answer == Configured(before=PAUSED, after=PAUSED)
        assert backend.queues() == {QUEUE: PAUSED}

    def test_configure_creates_its_queue(self, backend: Backend) -> None:
        """Though it changes nothing."""
        backend.configure(Configure(queue="new"))

        assert backend.queues() == {"new": USUAL}

    def test_configure_of_one_queue_leaves_the_others(self, backend: Backend) -> None:
        """Also those whose names begin the same."""
        inserted(backend, an_item(queue="mail.2"))
        pause(backend, "mail")

        assert backend.queues() == {"mail": PAUSED, "mail.2": USUAL}

    def test_configuring_twice_is_configuring_once(self, backend: Backend) -> None:
        """Accept a repetition after an unknown outcome."""
        for settings in (PAUSED, PAUSED, USUAL, USUAL):
            answer = backend.configure(Configure(queue=QUEUE, set={"paused": settings.paused}))
            assert answer.after == settings
            assert backend.queues() == {QUEUE: settings}

    @pytest.mark.parametrize("state", sorted(State))
    def test_a_queue_with_a_job_is_not_forgotten(self, backend: Backend, state: State) -> None:
        """In whatever state the job is; nothing changes."""
        in_states(backend, {"a": state})
        pause(backend)
        before = self.dump(backend)

        assert not backend.forget(Forget(QUEUE))
        assert self.dump(backend) == before

    def test_a_forgotten_queue_is_gone_with_its_settings(self, backend: Backend) -> None:
        """Begin a new queue with jobs that come later, in the order they come."""
        inserted(backend, an_item("a", unique="digest", scope="end"))
        pause(backend)
        change(backend, the(backend), None)

        assert backend.forget(Forget(QUEUE))
        assert dict(backend.queues()) == {}
        inserted(backend, *items("cb"), an_item("a", unique="digest", scope="end"))
        assert backend.queues() == {QUEUE: USUAL}
        assert keys_of(a_claim(backend).records) == ["c", "b", "a"]

    def test_an_absent_queue_is_forgotten_already(self, backend: Backend) -> None:
        """So that forgetting may be repeated."""
        assert backend.forget(Forget("nowhere"))
        assert dict(backend.queues()) == {}

    def test_forgetting_one_queue_leaves_the_others(self, backend: Backend) -> None:
        """Also those whose names begin the same."""
        inserted(backend, an_item(queue="mail"), an_item(queue="mail.2"))
        change(backend, the(backend, queue="mail"), None)

        assert backend.forget(Forget("mail"))
        assert list(backend.queues()) == ["mail.2"]
        assert keys_of(a_claim(backend, "mail.2").records) == ["a"]

    def test_reserved_queues_are_queues_like_others(self, backend: Backend) -> None:
        """Claim, list, pause and forget them: who may use them is no concern of a backend."""
        queue = "stanchion.workers"
        job = taken(backend, queue=queue)
        pause(backend, queue)
        found = dict(backend.queues())
        change(backend, job, State.COMPLETED, guards={"claim": job.claim})
        refused = backend.forget(Forget(queue))
        change(backend, the(backend, queue=queue), None)

        assert found == {queue: PAUSED}
        assert not refused
        assert backend.forget(Forget(queue))


class OtherWays(Ground):
    """Other ways to the same store, for backends that have them."""

    def test_a_backend_with_a_deadline_serves_the_same_jobs(self, backend: Backend) -> None:
        """Give it connections of its own: closing it leaves the backend open."""
        if not isinstance(backend, HasDeadlines):
            pytest.skip(lacks(backend, HasDeadlines))
        with_deadline = backend.within(timedelta(seconds=5))
        inserted(backend, an_item())
        claimed = a_claim(with_deadline)
        with_deadline.close()

        assert claimed.records == [the(backend)]

    def test_an_impatient_backend_serves_the_same_jobs(self, backend: Backend) -> None:
        """Serve where no other uses the store, and there is nothing to wait for; closing it leaves the backend open."""
        if not isinstance(backend, MayWait):
            pytest.skip(lacks(backend, MayWait))
        inserted(backend, an_item())
        impatient = backend.impatient()
        claimed = a_claim(impatient)
        impatient.close()

        assert claimed.records == [the(backend)]

    def test_an_async_backend_serves_the_same_jobs(self, backend: Backend) -> None:
        """On a loop of its own."""
        if not isinstance(backend, HasAsync):
            pytest.skip(lacks(backend, HasAsync))
        inserted(backend, an_item())
        with blocking(backend.to_async) as async_backend:
            claimed = a_claim(async_backend)

        assert claimed.records == [the(backend)]
