"""Claims about `watch`, for backends that have it."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import Watch, WatchesJobs
from stanchion.contract.requests import Apply
from stanchion.model.changes import Topic
from stanchion.model.states import FINAL, State
from stanchion_conformance.ground import Ground, lacks
from stanchion_conformance.making import QUEUE, a_change, an_item, change, inserted, taken, the

PATIENCE = 10.0
"""Seconds after which a notification that did not come will not come."""


def notified(watch: Watch, *wanted: str) -> set[str]:
    """Collect notifications until all that is wanted came, or patience ends.

    Returns:
        The ids that came.
    """
    found: set[str] = set()
    end = time.monotonic() + PATIENCE
    while not found.issuperset(wanted) and time.monotonic() < end:
        found |= watch.next(timedelta(seconds=1))
    return found


class Watching(Ground):
    """Being notified at once when jobs end or are changed from outside."""

    @pytest.fixture
    def watcher(self, backend: Backend) -> WatchesJobs:
        """The backend, if it has the capability."""
        if not isinstance(backend, WatchesJobs):
            pytest.skip(lacks(backend, WatchesJobs))
        return backend

    @pytest.fixture
    def ended(self, watcher: WatchesJobs) -> Iterator[Watch]:
        """A watch for jobs of the usual queue that end."""
        watch = watcher.watch([QUEUE], Topic.ENDED)
        yield watch
        watch.close()

    @pytest.fixture
    def touched(self, watcher: WatchesJobs) -> Iterator[Watch]:
        """A watch for running jobs of the usual queue that are changed from outside."""
        watch = watcher.watch([QUEUE], Topic.TOUCHED)
        yield watch
        watch.close()

    @pytest.mark.parametrize("to", [*sorted(FINAL), None])
    def test_the_end_of_a_job_is_published(self, backend: Backend, ended: Watch, to: State | None) -> None:
        """Every final state, and deletion."""
        job = taken(backend)
        if to is None:
            change(backend, job, State.QUEUED)
        change(backend, the(backend), to)

        assert notified(ended, "mail:a") == {"mail:a"}

    def test_several_ends_are_published_together(self, backend: Backend, ended: Watch) -> None:
        """One call that ends many jobs names each."""
        jobs = [taken(backend, key) for key in "abc"]
        backend.apply(Apply([a_change(job, State.COMPLETED) for job in jobs]))

        assert notified(ended, "mail:a", "mail:b", "mail:c") == {"mail:a", "mail:b", "mail:c"}

    def test_other_queues_and_other_events_are_not_published(self, backend: Backend, ended: Watch) -> None:
        """Neither ends elsewhere, nor what leaves a job unfinished, nor what is refused."""
        other = taken(backend, "a", queue="other")
        change(backend, other, State.COMPLETED)
        job = taken(backend, "b")
        change(backend, job, State.RUNNING)
        change(backend, job, State.COMPLETED, guards={"claim": "stale"})
        change(backend, job, State.RETRYING, due=None)
        change(backend, taken(backend, "last"), State.COMPLETED)

        assert notified(ended, "mail:last") == {"mail:last"}

    def test_a_running_job_that_is_touched_is_published(self, backend: Backend, touched: Watch) -> None:
        """That is how its worker learns that a caller asks to cancel it."""
        job = taken(backend)
        change(backend, job, State.RUNNING, cancel="")

        assert notified(touched, "mail:a") == {"mail:a"}

    def test_what_a_run_does_itself_is_not_published(self, backend: Backend, touched: Watch) -> None:
        """Publish no beats and outcomes to the worker that sent them, nor changes of waiting jobs."""
        job = taken(backend)
        change(backend, job, State.RUNNING, guards={"claim": job.claim})
        change(backend, job, State.COMPLETED, guards={"claim": job.claim})
        inserted(backend, an_item("b"))
        change(backend, the(backend, "b"), State.QUEUED, priority=1)
        change(backend, the(backend, "b"), State.CANCELLED)
        change(backend, taken(backend, "last"), State.RUNNING)

        assert notified(touched, "mail:last") == {"mail:last"}

    def test_a_watch_over_several_queues_is_notified_of_each(
        self, backend: Backend, watcher: WatchesJobs
    ) -> None:
        """And each watch of all, however many there are."""
        watches = [watcher.watch(["one", "two"], Topic.ENDED) for _ in range(2)]
        for queue in ("one", "two"):
            change(backend, taken(backend, queue=queue), State.COMPLETED)
        found = [notified(watch, "one:a", "two:a") for watch in watches]
        for watch in watches:
            watch.close()

        assert found == [{"one:a", "two:a"}] * 2

    def test_one_call_is_published_in_each_of_its_queues(
        self, backend: Backend, watcher: WatchesJobs
    ) -> None:
        """By watches of one queue each, and of both topics."""
        jobs = [taken(backend, queue=queue) for queue in ("one", "two", "three")]
        topics = {"one": Topic.ENDED, "two": Topic.ENDED, "three": Topic.TOUCHED}
        watches = {queue: watcher.watch([queue], topic) for queue, topic in topics.items()}
        ends = [a_change(job, State.COMPLETED) for job in jobs[:2]]
        backend.apply(Apply([*ends, a_change(jobs[2], State.RUNNING, cancel="")]))
        found = [notified(watch, f"{queue}:a") for queue, watch in watches.items()]
        for watch in watches.values():
            watch.close()

        assert found == [{"one:a"}, {"two:a"}, {"three:a"}]

    def test_what_was_published_is_not_published_again(self, backend: Backend, ended: Watch) -> None:
        """Let a caller that waits for another job sleep on."""
        change(backend, taken(backend), State.COMPLETED)
        first, second = notified(ended, "mail:a"), ended.next(timedelta(0))
        change(backend, taken(backend, "b"), State.COMPLETED)
        third = notified(ended, "mail:b")

        assert (first, second, third) == ({"mail:a"}, frozenset(), {"mail:b"})

    def test_a_watch_is_not_notified_when_nothing_changes(self, ended: Watch) -> None:
        """End its wait with its timeout."""
        assert ended.next(timedelta(milliseconds=10)) == frozenset()
        assert ended.next(timedelta(0)) == frozenset()

    def test_closing_a_watch_ends_its_wait(self, watcher: WatchesJobs) -> None:
        """From another thread."""
        watch = watcher.watch([QUEUE], Topic.ENDED)
        found: list[frozenset[str]] = []
        thread = threading.Thread(
            target=lambda: found.append(watch.next(timedelta(seconds=PATIENCE))), daemon=True
        )
        thread.start()
        thread.join(0.05)
        watch.close()
        thread.join(PATIENCE / 2)

        assert found == [frozenset()]
