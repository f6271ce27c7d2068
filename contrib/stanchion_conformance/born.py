"""Claims about jobs that are inserted running: as if they had been queued and claimed in the same instant."""

from datetime import timedelta
from typing import Any, Final

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import FindDue
from stanchion.model.changes import Applied, Refusal
from stanchion.model.decisions import decide
from stanchion.model.effects import refuse
from stanchion.model.history import history_of
from stanchion.model.records import Item
from stanchion.model.signals import Beaten, Completed, signal_for
from stanchion.model.states import State
from stanchion_conformance.balancing import totals_of
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    LEASE,
    POLICY,
    QUEUE,
    a_claim,
    an_item,
    applied_all,
    change,
    created,
    inserted,
    items,
    keys_of,
    the,
    there,
)
from stanchion_testing.clock import VirtualClock

SECOND: Final = timedelta(seconds=1)


def running(key: str = "a", **given: Any) -> Item:
    """Return a job to insert running.

    Returns:
        The item, held by the claim `mine`.
    """
    return an_item(key, **{"state": State.RUNNING, "claim": "mine", "worker": "me", "due": LEASE, **given})


class BornRunning(Ground):
    """Jobs that begin in the hands of their claim."""

    def test_a_job_can_be_inserted_running(self, backend: Backend, clock: VirtualClock) -> None:
        """In its first run, started now, held by the claim that was given until its lease ends."""
        clock.advance(5)
        item = running(tags=("t",), priority=3, due=12 * SECOND)

        assert inserted(backend, item) == [created(backend)]
        job = the(backend)
        assert (job.state, job.run, job.claim, job.worker) == (State.RUNNING, 1, "mine", "me")
        assert (job.created_at, job.started_at) == (clock.now(), clock.now())
        assert (job.due_at, job.queued_at, job.ended_at) == (clock.now() + 12 * SECOND, None, None)
        assert (job.tags, job.priority, job.revision, job.args) == (("t",), 3, 0, item.args)

    def test_it_is_held_by_its_claim(self, backend: Backend, clock: VirtualClock) -> None:
        """Hand it to no other claim; accept its beats and its completion, and refuse those of others."""
        inserted(backend, running())
        job = the(backend)
        claimed = a_claim(backend)
        clock.advance(10)
        beat = decide(job, Beaten(lease=LEASE, notes={"progress": b"1"}), roll=0, policy=POLICY)
        stale = change(backend, job, State.COMPLETED, guards={"claim": "other"})
        (answer,) = applied_all(backend, [beat])
        held = the(backend)
        (ended,) = applied_all(backend, [decide(job, Completed(result=b"1"), roll=0, policy=POLICY)])
        after = the(backend)

        assert claimed.records == []
        assert stale == refuse(Refusal.CLAIM, job)
        assert isinstance(answer, Applied)
        assert (held.due_at, held.notes) == (clock.now() + LEASE, {"progress": b"1"})
        assert isinstance(ended, Applied)
        assert (after.state, after.count("attempts"), after.claim) == (State.COMPLETED, 1, "mine")
        assert [one.event for _, one in history_of(after, after.lists.get("history", ()))] == ["complete"]

    def test_it_is_lost_when_its_lease_lapses(self, backend: Backend, clock: VirtualClock) -> None:
        """Find it in a sweep at that instant; then any worker may claim it."""
        inserted(backend, running())
        clock.advance(LEASE - timedelta(milliseconds=1))
        early = backend.due(FindDue([QUEUE], 10)).heads
        clock.advance(milliseconds=1)
        due = backend.due(FindDue([QUEUE], 10)).heads
        assert (early, keys_of(due)) == ([], ["a"])
        applied_all(backend, (decide(one, signal_for(one), roll=0, policy=POLICY) for one in due))
        (again,) = a_claim(backend, worker="other").records
        late = change(backend, due[0], State.COMPLETED, guards={"claim": "mine"})

        assert (again.run, again.worker, again.count("lost")) == (2, "other", 1)
        assert late == refuse(Refusal.CLAIM, the(backend))

    def test_it_stands_where_it_would_stand_if_it_had_been_claimed(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Behind those that came before it, when it is released, and before those that came later."""
        inserted(backend, an_item("a"), running("b"), running("c"), an_item("d"))
        clock.advance(1)
        for key in "cb":
            change(backend, the(backend, key), State.QUEUED, guards={"claim": "mine"})

        assert keys_of(a_claim(backend).records) == ["a", "b", "c", "d"]

    def test_its_insert_may_be_repeated(self, backend: Backend) -> None:
        """Answer with the job as it is."""
        inserted(backend, running())
        before = self.dump(backend)
        answers = inserted(backend, running(claim="another", due=2 * LEASE))

        assert answers == [there(backend)]
        assert self.dump(backend) == before

    @pytest.mark.parametrize(("scope", "holds"), [("start", False), ("end", True)])
    def test_its_unique_key_is_held_as_by_a_job_that_was_started(
        self, backend: Backend, scope: Any, holds: bool
    ) -> None:
        """One held until the start is free at once, one held until the end is not."""
        inserted(backend, running("a", unique="digest", scope=scope))
        (answer,) = inserted(backend, an_item("b", unique="digest", scope=scope))

        assert (the(backend, "a").unique, the(backend, "a").scope) == ("digest" if holds else None, scope)
        assert answer.created is not holds

    @pytest.mark.parametrize("scope", ["start", "end"])
    def test_it_is_not_inserted_while_its_unique_key_is_held(self, backend: Backend, scope: Any) -> None:
        """Though it would free it at once."""
        inserted(backend, an_item("a", unique="digest", scope=scope))

        assert inserted(backend, running("b", unique="digest", scope=scope)) == [there(backend, "a")]

    def test_its_way_is_counted(self, backend: Backend, clock: VirtualClock) -> None:
        """Count its birth, and its end with the time since then; but no claim."""
        inserted(backend, *(running(key) for key in "ab"))
        clock.advance(2)
        change(backend, the(backend), State.COMPLETED)

        assert {name: (one.jobs, one.ms) for name, one in totals_of(backend).items()} == {
            "-.enqueue.running": (2, 0),
            "running.complete.completed": (1, 2_000),
        }

    def test_it_is_handed_to_no_claim(self, backend: Backend) -> None:
        """Hand a worker with a claim id of its own queued jobs, beside many that were born running."""
        inserted(backend, *(running(f"r{n}") for n in range(5)), *items("ab"))
        claimed = a_claim(backend)

        assert keys_of(claimed.records) == ["a", "b"]
        assert (claimed.more, claimed.ask_again_at) == (False, None)
