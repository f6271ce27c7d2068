"""Claims about `wait` and `close`. Wakes are hints: what is claimed is that they come, not that nothing else does."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Get, Wait
from stanchion.errors import StanchionError
from stanchion.model.changes import TAIL
from stanchion.model.states import State
from stanchion_conformance.ground import Ground, unchecked
from stanchion_conformance.making import (
    QUEUE,
    a_claim,
    an_item,
    change,
    in_states,
    inserted,
    pause,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

LONG = timedelta(seconds=20)
"""Longer than any test waits for something that comes."""

SHORT = timedelta(milliseconds=10)
NO = timedelta(0)


class Waiter(threading.Thread):
    """Waits in a thread, and holds the answer or the error."""

    def __init__(self, backend: Backend, *queues: str) -> None:
        super().__init__(daemon=True)
        self._wait: Callable[[], bool] = lambda: backend.wait(Wait(queues or (QUEUE,), LONG))
        self.answer: Any = None

    def run(self) -> None:
        """Wait."""
        try:
            self.answer = self._wait()
        except StanchionError as error:
            self.answer = error

    def __enter__(self) -> Self:
        self.start()
        self.join(0.05)
        assert self.is_alive(), "it did not wait"
        return self

    def __exit__(self, *_: object) -> None:
        self.join(LONG.total_seconds() / 2)
        assert not self.is_alive(), "it still waits"


def quiet(backend: Backend, *queues: str) -> None:
    """Use up the wakes that came so far."""
    a_claim(backend, *queues, limit=0)
    wakes = [backend.wait(Wait(queues or (QUEUE,), NO)) for _ in range(3)]
    assert not wakes[-1], "it wakes for nothing, again and again"


class Waiting(Ground):
    """Sleeping until there may be something to claim."""

    @pytest.mark.parametrize("timeout", [NO, SHORT])
    def test_wait_ends_without_a_wake_at_its_timeout(self, backend: Backend, timeout: timedelta) -> None:
        """Nothing came: the answer says so."""
        assert backend.wait(Wait([QUEUE], timeout)) is False

    @pytest.mark.parametrize("timeout", [NO, LONG])
    def test_a_wake_that_came_before_is_not_lost(self, backend: Backend, timeout: timedelta) -> None:
        """Treat a wake as a level, not an edge: a job inserted after the last claim ends the next wait at once."""
        a_claim(backend)
        inserted(backend, an_item())

        assert backend.wait(Wait([QUEUE], timeout)) is True

    @pytest.mark.parametrize("timeout", [NO, LONG])
    def test_a_wake_in_any_of_the_queues_counts(self, backend: Backend, timeout: timedelta) -> None:
        """Whatever its position among those asked for."""
        inserted(backend, an_item(queue="last"))

        assert backend.wait(Wait(["first", "second", "last"], timeout)) is True

    def test_a_claim_that_leaves_jobs_behind_wakes_the_next(self, backend: Backend) -> None:
        """One wake may go to one waiter alone, so each that leaves something passes it on."""
        inserted(backend, an_item("a"), an_item("b"))
        backend.wait(Wait([QUEUE], LONG))
        a_claim(backend, limit=1)

        assert backend.wait(Wait([QUEUE], LONG)) is True

    def test_an_insert_wakes(self, backend: Backend) -> None:
        """Wake a caller that waits when a job comes."""
        with Waiter(backend, "other", QUEUE) as waiter:
            inserted(backend, an_item())

        assert waiter.answer is True

    def test_resuming_wakes(self, backend: Backend) -> None:
        """Wake when the jobs of a paused queue can be claimed again."""
        inserted(backend, an_item())
        pause(backend)
        quiet(backend)
        with Waiter(backend) as waiter:
            pause(backend, paused=False)

        assert waiter.answer is True

    @pytest.mark.parametrize("state", sorted(set(State) - {State.QUEUED}))
    def test_a_change_that_queues_a_job_wakes(self, backend: Backend, state: State) -> None:
        """From wherever it comes."""
        (job,) = in_states(backend, {"a": state}).values()
        quiet(backend)
        with Waiter(backend) as waiter:
            change(backend, job, State.QUEUED, place=TAIL)

        assert waiter.answer is True

    def test_a_new_earliest_due_time_wakes(self, backend: Backend) -> None:
        """Wake a caller that waits until the next job is due, when another one is due earlier."""
        inserted(backend, an_item("a", state=State.SCHEDULED, due=timedelta(hours=2)))
        quiet(backend)
        with Waiter(backend) as waiter:
            inserted(backend, an_item("b", state=State.SCHEDULED, due=timedelta(hours=1)))

        assert waiter.answer is True

    @pytest.mark.parametrize("to", [State.SCHEDULED, State.RETRYING])
    def test_a_change_that_makes_a_job_the_first_to_be_due_wakes(self, backend: Backend, to: State) -> None:
        """Wake at a retry with a short wait, and at a start that was moved to the front."""
        job = taken(backend)
        inserted(backend, an_item("b", state=State.SCHEDULED, due=timedelta(hours=2)))
        quiet(backend)
        with Waiter(backend) as waiter:
            change(backend, job, to, due=timedelta(hours=1))

        assert waiter.answer is True

    def test_moving_the_clock_wakes(self, backend: Backend, clock: VirtualClock) -> None:
        """Wake a caller when a test moves the time, so that it looks again."""
        inserted(backend, an_item(state=State.SCHEDULED, due=timedelta(seconds=30)))
        quiet(backend)
        with Waiter(backend) as waiter:
            clock.advance(30)

        assert waiter.answer is True
        assert a_claim(backend).records == [the(backend)]

    def test_other_queues_do_not_wake(self, backend: Backend) -> None:
        """Only those asked for count."""
        inserted(backend, an_item(queue="other"))

        assert backend.wait(Wait([QUEUE], SHORT)) is False

    def test_waiters_who_claim_pass_the_wake_on(self, backend: Backend) -> None:
        """Wake the next waiter when a claim leaves jobs behind, though a wake may go to one alone."""
        found: list[str] = []

        def work() -> None:
            backend.wait(Wait([QUEUE], LONG))
            found.extend(job.id for job in a_claim(backend, limit=1).records)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for worker in workers:
            worker.start()
            worker.join(0.02)
        inserted(backend, an_item("a"), an_item("b"), an_item("c"))
        for worker in workers:
            worker.join(LONG.total_seconds() / 2)

        assert sorted(found) == ["mail:a", "mail:b", "mail:c"]

    @unchecked("it closes the backend")
    def test_close_ends_a_wait(self, backend: Backend) -> None:
        """From another thread, at once; the wait found nothing."""
        with Waiter(backend) as waiter:
            backend.close()

        assert waiter.answer is False

    @unchecked("it closes the backend")
    def test_a_closed_backend_may_be_closed_again_and_not_be_used(self, backend: Backend) -> None:
        """Closing twice is harmless; every verb raises an error of ours."""
        inserted(backend, an_item())
        backend.close()
        backend.close()

        with pytest.raises(StanchionError):
            backend.get(Get(["mail:a"]))
        with pytest.raises(StanchionError):
            inserted(backend, an_item("b"))
        with pytest.raises(StanchionError):
            a_claim(backend)
